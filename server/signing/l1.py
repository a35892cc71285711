"""L1 actions: the hash of an action, and the phantom agent that signs for it (page "Signing").

Everything but the 32 bytes of the hash is constant per network, so it is computed once.
"""

import msgspec

from server.signing.ecrecover import keccak256
from server.signing.errors import Malformed
from server.signing.typed_data import digest, domain_separator
from server.signing.values import address_bytes, uint

_DOMAIN = domain_separator("Exchange", 1337)
_AGENT_TYPE = keccak256(b"Agent(string source,bytes32 connectionId)")
_MAINNET_AGENT = _AGENT_TYPE + keccak256(b"a")
_TESTNET_AGENT = _AGENT_TYPE + keccak256(b"b")
_pack = msgspec.msgpack.Encoder().encode


def connection_id(action: object, nonce: object, vault_address: object, expires_after: object) -> bytes:
    """Hash an action, which must be in canonical form, with all that decides what it means: 32 bytes.

    `nonce` and `expires_after` are in ms, the latter may be None; `vault_address` is None or hex with or
    without 0x. Raises `Malformed`.
    """
    try:
        packed = _pack(action)
    except (OverflowError, RecursionError, TypeError, UnicodeEncodeError, ValueError) as error:
        raise Malformed(f"action: {error}") from None
    packed += uint(nonce, "nonce").to_bytes(8, "big")
    if vault_address is None:
        packed += b"\x00"
    else:
        packed += b"\x01" + address_bytes(vault_address, "vaultAddress", prefixed=False)
    if expires_after is not None:
        packed += b"\x00" + uint(expires_after, "expiresAfter").to_bytes(8, "big")
    return keccak256(packed)


def agent_digest(connection: bytes, *, mainnet: bool) -> bytes:
    """What the key of an account or of its agent signs for a `connection_id`."""
    agent = _MAINNET_AGENT if mainnet else _TESTNET_AGENT
    return digest(_DOMAIN, keccak256(agent + connection))
