"""Reading the few kinds of value that signatures cover. All raise `Malformed`, naming the field."""

import re

from server.signing.errors import Malformed

_ADDRESS = re.compile(r"(?:0x)?([0-9a-fA-F]{40})")
UINT64 = 1 << 64


def address_bytes(value: object, field: str, *, prefixed: bool = True) -> bytes:
    """Return the 20 bytes of a hex address in any case; unless `prefixed`, the 0x may be missing."""
    match = _ADDRESS.fullmatch(value) if isinstance(value, str) else None
    if match is None or (prefixed and len(match[0]) != 42):
        raise Malformed(f"{field}: an address is needed")
    return bytes.fromhex(match[1])


def uint(value: object, field: str, limit: int = UINT64) -> int:
    """Return a whole number from 0 up to but not including `limit`."""
    if type(value) is not int or not 0 <= value < limit:
        raise Malformed(f"{field}: a whole number below 2^{limit.bit_length() - 1} is needed")
    return value


def text_bytes(value: object, field: str) -> bytes:
    """Return a string's UTF-8."""
    if not isinstance(value, str):
        raise Malformed(f"{field}: a string is needed")
    try:
        return value.encode()
    except UnicodeEncodeError:
        raise Malformed(f"{field}: lone surrogates have no UTF-8") from None
