"""EIP-712 for what the exchange uses of it: flat structures under two domains.

A digest is keccak("\\x19\\x01" ‖ domain separator ‖ keccak(type hash ‖ 32 bytes for each field)). Separators
and type hashes are computed once.
"""

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from server.signing.ecrecover import keccak256
from server.signing.errors import Malformed
from server.signing.values import address_bytes, text_bytes, uint

_DOMAIN_TYPE = keccak256(
    b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
)
_VERSION = keccak256(b"1")
_ZERO_CONTRACT = bytes(32)
_CHAIN_ID = re.compile(r"0x[0-9a-fA-F]{1,64}")
_HEX = re.compile(r"0[xX]((?:[0-9a-fA-F]{2})*)")


class Structure:
    """A type whose fields are all atoms. `row` is (name, Solidity type), in the order of the type."""

    def __init__(self, name: str, *rows: tuple[str, str]) -> None:
        self.name = name
        self.rows = rows
        self._type_hash = keccak256(f"{name}({','.join(f'{kind} {field}' for field, kind in rows)})".encode())
        self._atoms = tuple((field, _ATOMS[kind]) for field, kind in rows)

    def hash(self, message: Mapping[str, Any]) -> bytes:
        """Hash `message`, whose other fields don't matter. Raises `Malformed` for a missing or wrong one."""
        parts = [self._type_hash]
        for field, atom in self._atoms:
            if field not in message:
                raise Malformed(f"{field} is missing")
            parts.append(atom(message[field], field))
        return keccak256(b"".join(parts))

    def __repr__(self) -> str:
        return f"<Structure {self.name}>"


def domain_separator(name: str, chain_id: int) -> bytes:
    """The domain `name`, version 1, of a chain below 2^256, without a contract."""
    parts = (_DOMAIN_TYPE, keccak256(name.encode()), _VERSION, chain_id.to_bytes(32, "big"), _ZERO_CONTRACT)
    return keccak256(b"".join(parts))


@lru_cache(maxsize=64)  # a client names the chain: the few real ones stay, and nobody can fill the memory
def transaction_domain(chain_id: str) -> bytes:
    """The domain of user-signed actions, for an action's `signatureChainId` (hex)."""
    if not _CHAIN_ID.fullmatch(chain_id):
        raise Malformed("signatureChainId: a hex number is needed")
    return domain_separator("HyperliquidSignTransaction", int(chain_id, 16))


def digest(domain: bytes, structure_hash: bytes) -> bytes:
    """What is signed: 32 bytes."""
    return keccak256(b"\x19\x01" + domain + structure_hash)


def _string(value: object, field: str) -> bytes:
    return keccak256(text_bytes(value, field))


def _bytes(value: object, field: str) -> bytes:
    match = _HEX.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise Malformed(f"{field}: hex bytes are needed")
    return keccak256(bytes.fromhex(match[1]))


def _bytes32(value: object, field: str) -> bytes:
    if not isinstance(value, bytes) or len(value) != 32:
        raise Malformed(f"{field}: 32 bytes are needed")
    return value


def _bool(value: object, field: str) -> bytes:
    if not isinstance(value, bool):
        raise Malformed(f"{field}: true or false is needed")
    return value.to_bytes(32, "big")


def _address(value: object, field: str) -> bytes:
    return address_bytes(value, field).rjust(32, b"\0")


def _uint(bits: int) -> Callable[[object, str], bytes]:
    limit = 1 << bits
    return lambda value, field: uint(value, field, limit).to_bytes(32, "big")


_ATOMS: dict[str, Callable[[object, str], bytes]] = {
    "string": _string,
    "bytes": _bytes,
    "bytes32": _bytes32,
    "bool": _bool,
    "address": _address,
    "uint32": _uint(32),
    "uint64": _uint(64),
}
