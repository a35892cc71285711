"""Keccak-256 and the way back from a signature to its signer."""

import re
from typing import Any, NamedTuple

import sha3  # type: ignore[import-untyped]
from coincurve import PublicKey

from server.signing.errors import Malformed, Unrecoverable

_WORD = re.compile(r"0x([0-9a-fA-F]{1,64})")
_RECOVERY_ID = {27: b"\x00", 28: b"\x01"}


class Signature(NamedTuple):
    """As the wire has it: two hex numbers, leading zeros there or not, and 27 or 28."""

    r: Any
    s: Any
    v: Any

    @classmethod
    def of(cls, value: object) -> "Signature":
        """Read `{"r", "s", "v"}`. Raises `Malformed` where one is missing; `signer` judges the values."""
        if not isinstance(value, dict):
            raise Malformed("signature: an object is needed")
        try:
            return cls(value["r"], value["s"], value["v"])
        except KeyError as error:
            raise Malformed(f"signature.{error.args[0]} is missing") from None


def keccak256(data: bytes) -> bytes:
    """Hash `data` to 32 bytes, as Ethereum does (the padding before SHA-3 was standardised)."""
    digest: bytes = sha3.keccak_256(data).digest()
    return digest


def signer(digest: bytes, signature: Signature) -> str:
    """Return the lower-case address whose key signed the 32 bytes of `digest`.

    Any well-formed signature recovers somebody: over a wrong digest it is an address that nobody has. Both
    values of s that belong to an r are taken, the low and the high one.

    Raises `Unrecoverable` when r or s is not a number of the curve or v is neither 27 nor 28.
    """
    r, s, v = signature
    recovery_id = _RECOVERY_ID.get(v) if type(v) is int else None
    if recovery_id is None:
        raise Unrecoverable
    try:
        point = PublicKey.from_signature_and_message(_word(r) + _word(s) + recovery_id, digest, hasher=None)
    except Exception:  # of several kinds: out of the field, zero, no point of the curve
        raise Unrecoverable from None
    return "0x" + keccak256(point.format(compressed=False)[1:])[12:].hex()


def trimmed(word: object) -> str:
    """Write r or s as the exchange does: lower-case, no leading zeros.

    Raises `Unrecoverable` for what is not a number of up to 256 bits.
    """
    return f"{int.from_bytes(_word(word), 'big'):#x}"


def _word(text: object) -> bytes:
    match = _WORD.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise Unrecoverable
    return bytes.fromhex(match[1].zfill(64))
