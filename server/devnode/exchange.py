"""`POST /exchange`: every signer is unknown here. Sans I/O; orders come with the dev exchange."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import orjson

from server.devnode.info import JSON, MALFORMED, Answer, address


def answer(request: Mapping[str, Any], body: bytes) -> Answer:
    """Answer a signed action. Refusals of the exchange's own kind are HTTP 200; a bad shape is 422.

    Raises nothing, whatever the shape of `request`.
    """
    if not _deserialises(request):
        return MALFORMED
    text = f"User or API Wallet {_signer(body)} does not exist."
    return Answer(200, orjson.dumps({"status": "err", "response": text}), JSON)


def _signer(body: bytes) -> str:
    # The exchange names the address it recovers from the signature. Nothing here can recover one yet,
    # so the bytes of the request stand in for it: the same request names the same address.
    return "0x" + hashlib.sha256(body).hexdigest()[:40]


def _deserialises(request: Mapping[str, Any]) -> bool:
    action, nonce, signature = request.get("action"), request.get("nonce"), request.get("signature")
    if not isinstance(action, dict) or not isinstance(action.get("type"), str):
        return False
    if not isinstance(nonce, int) or isinstance(nonce, bool) or nonce < 0:
        return False
    if not isinstance(signature, dict) or not {"r", "s", "v"} <= signature.keys():
        return False
    if not all(_is_hex(signature[part]) for part in ("r", "s")) or signature["v"] not in (27, 28):
        return False
    vault, expires = request.get("vaultAddress"), request.get("expiresAfter")
    # One common client sends the vault's address without its 0x, and the exchange takes it.
    if vault is not None and address(vault) is None and address(f"0x{vault}") is None:
        return False
    return expires is None or (isinstance(expires, int) and not isinstance(expires, bool) and expires >= 0)


def _is_hex(value: object) -> bool:
    """A word of a signature: leading zeros may be trimmed."""
    if not isinstance(value, str) or not value.startswith("0x") or len(value) > 66:
        return False
    return all(c in "0123456789abcdefABCDEF" for c in value[2:])
