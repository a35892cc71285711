"""`POST /exchange`: every signer is unknown here. Sans I/O; orders come with the dev exchange.

What fails to deserialise is a 422, before any signature is looked at. The envelope is checked for all
actions, the inside for orders and cancels; of other actions only the `type`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import orjson

from server.devnode.info import MALFORMED, Answer, address, is_cloid, is_natural

_TIFS = ("Alo", "Ioc", "Gtc", "FrontendMarket")


def answer(request: Mapping[str, Any], body: bytes) -> Answer:
    """Answer a signed action. Its own refusals are HTTP 200. Raises nothing, whatever the shape."""
    if not _deserialises(request):
        return MALFORMED
    text = f"User or API Wallet {_signer(body)} does not exist."
    return Answer(200, orjson.dumps({"status": "err", "response": text}))


def _signer(body: bytes) -> str:
    # The exchange names the address it recovers from the signature. Nothing here can recover one yet,
    # so the bytes of the request stand in for it: the same request names the same address.
    return "0x" + hashlib.sha256(body).hexdigest()[:40]


def _deserialises(request: Mapping[str, Any]) -> bool:
    action, signature, vault = request.get("action"), request.get("signature"), request.get("vaultAddress")
    expires = request.get("expiresAfter")
    return (
        isinstance(action, dict)
        and _is_action(action)
        and is_natural(request.get("nonce"))
        and isinstance(signature, dict)
        and _is_word(signature.get("r"))
        and _is_word(signature.get("s"))
        and is_natural(signature.get("v"))
        # One common client sends the vault's address without its 0x, and the exchange takes it.
        and (vault is None or address(vault) is not None or address(f"0x{vault}") is not None)
        and (expires is None or is_natural(expires))
    )


def _is_action(action: Mapping[str, Any]) -> bool:
    match action.get("type"):
        case "order":
            return _all(action.get("orders"), _is_order) and "grouping" in action
        case "modify":
            return _is_modify(action)
        case "batchModify":
            return _all(action.get("modifies"), _is_modify)
        case "cancel":
            return _all(
                action.get("cancels"), lambda row: is_natural(row.get("a")) and is_natural(row.get("o"))
            )
        case "cancelByCloid":
            return _all(
                action.get("cancels"), lambda row: is_natural(row.get("asset")) and is_cloid(row.get("cloid"))
            )
        case kind:
            return isinstance(kind, str)


def _all(rows: object, check: Any) -> bool:
    return isinstance(rows, list) and all(isinstance(row, dict) and check(row) for row in rows)


def _is_modify(row: Mapping[str, Any]) -> bool:
    oid, order = row.get("oid"), row.get("order")
    return (is_natural(oid) or is_cloid(oid)) and isinstance(order, dict) and _is_order(order)


def _is_order(order: Mapping[str, Any]) -> bool:
    kind, cloid = order.get("t"), order.get("c")
    return (
        is_natural(order.get("a"))
        and isinstance(order.get("b"), bool)
        and isinstance(order.get("p"), str)  # a number here is the classic mistake of new clients
        and isinstance(order.get("s"), str)
        and isinstance(order.get("r"), bool)
        and isinstance(kind, dict)
        and (_is_limit(kind.get("limit")) or _is_trigger(kind.get("trigger")))
        and (cloid is None or is_cloid(cloid))
    )


def _is_limit(limit: object) -> bool:
    return isinstance(limit, dict) and limit.get("tif") in _TIFS


def _is_trigger(trigger: object) -> bool:
    return (
        isinstance(trigger, dict)
        and isinstance(trigger.get("isMarket"), bool)
        and isinstance(trigger.get("triggerPx"), str)
        and trigger.get("tpsl") in ("tp", "sl")
    )


def _is_word(value: object) -> bool:
    """A word of a signature: leading zeros may be trimmed."""
    return (
        isinstance(value, str)
        and value.startswith("0x")
        and len(value) <= 66
        and all(c in "0123456789abcdefABCDEF" for c in value[2:])
    )
