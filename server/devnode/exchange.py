"""`POST /exchange` up to the signature: the shape of actions. Sans I/O.

What fails to deserialise is a 422, before any signature is looked at. What a well-formed action is answered
with is the affair of a source that trades; where none does, every signer is unknown.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from server.devnode.info import MALFORMED, Answer, address, is_cloid, is_natural

_TIFS = ("Alo", "Ioc", "Gtc", "FrontendMarket")
_PRICE = re.compile(r"[0-9]{1,12}(\.[0-9]{1,12})?")


def is_price(text: str) -> bool:
    """A plain decimal, as people type a price or an amount."""
    return _PRICE.fullmatch(text) is not None


def is_address(value: object) -> bool:
    return address(value) is not None


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_flag(value: object) -> bool:
    return isinstance(value, bool)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _or_null(check: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda value: value is None or check(value)


_TWAP = {"a": is_natural, "b": _is_flag, "s": _is_text, "r": _is_flag, "m": is_natural, "t": _is_flag}
_SEND = {
    "destination": _is_text,
    "sourceDex": _is_text,
    "destinationDex": _is_text,
    "token": _is_text,
    "amount": _is_text,
    "fromSubAccount": _or_null(_is_text),
}
FIELDS: Mapping[str, Mapping[str, Callable[[object], bool]]] = {
    # What an action must have to be read at all; whether it makes sense is the engine's affair.
    "agentSendAsset": _SEND,
    "approveAgent": {"agentAddress": is_address, "agentName": _or_null(_is_text)},
    "approveBuilderFee": {"maxFeeRate": _is_text, "builder": is_address},
    "createSubAccount": {"name": _is_text},
    "scheduleCancel": {"time": _or_null(is_natural)},
    "sendAsset": _SEND,
    "setReferrer": {"code": _is_text},
    "spotSend": {"destination": _is_text, "token": _is_text, "amount": _is_text},
    "subAccountModify": {"subAccountUser": is_address, "name": _is_text},
    "subAccountSpotTransfer": {
        "subAccountUser": is_address,
        "isDeposit": _is_flag,
        "token": _is_text,
        "amount": _is_text,
    },
    "subAccountTransfer": {"subAccountUser": is_address, "isDeposit": _is_flag, "usd": _is_whole},
    "topUpIsolatedOnlyMargin": {"asset": is_natural, "leverage": _is_text},
    "twapCancel": {"a": is_natural, "t": is_natural},
    "updateIsolatedMargin": {"asset": is_natural, "ntli": _is_whole},
    "updateLeverage": {"asset": is_natural, "isCross": _is_flag, "leverage": is_natural},
    "usdClassTransfer": {"amount": _is_text, "toPerp": _is_flag},
    "usdSend": {"destination": _is_text, "amount": _is_text},
    "vaultTransfer": {"vaultAddress": is_address},
    "withdraw3": {"destination": _is_text, "amount": _is_text},
}


def answer(request: Mapping[str, Any], body: bytes) -> Answer:
    """Answer a signed action. Its own refusals are HTTP 200. Raises nothing, whatever the shape."""
    if not deserialises(request):
        return MALFORMED
    text = f"User or API Wallet {_signer(body)} does not exist."
    return Answer(200, orjson.dumps({"status": "err", "response": text}))


def _signer(body: bytes) -> str:
    # The exchange names the address it recovers from the signature. Nothing here can recover one yet,
    # so the bytes of the request stand in for it: the same request names the same address.
    return "0x" + hashlib.sha256(body).hexdigest()[:40]


def deserialises(request: Mapping[str, Any]) -> bool:
    """Has a request the shape of a signed action?"""
    action, signature, vault = request.get("action"), request.get("signature"), request.get("vaultAddress")
    expires = request.get("expiresAfter")
    return (
        isinstance(action, dict)
        and is_action(action)
        and is_natural(request.get("nonce"))
        and isinstance(signature, dict)
        and _is_word(signature.get("r"))
        and _is_word(signature.get("s"))
        and is_natural(signature.get("v"))
        # One common client sends the vault's address without its 0x, and the exchange takes it.
        and (vault is None or address(vault) is not None or address(f"0x{vault}") is not None)
        and (expires is None or is_natural(expires))
    )


def is_action(action: Mapping[str, Any]) -> bool:
    """Has an action the fields that its type needs? Of types unknown here, `type` is enough."""
    match action.get("type"):
        case "order":
            return (
                _all(action.get("orders"), _is_order)
                and "grouping" in action
                and _is_builder(action.get("builder"))
            )
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
        case "twapOrder":
            return isinstance(twap := action.get("twap"), dict) and _has(twap, _TWAP)
        case kind:
            return isinstance(kind, str) and _has(action, FIELDS.get(kind, {}))


def _all(rows: object, check: Any) -> bool:
    return isinstance(rows, list) and all(isinstance(row, dict) and check(row) for row in rows)


def _has(row: Mapping[str, Any], fields: Mapping[str, Any]) -> bool:
    return all(check(row.get(name)) for name, check in fields.items())


def _is_builder(value: object) -> bool:
    return value is None or (
        isinstance(value, dict) and address(value.get("b")) is not None and is_natural(value.get("f"))
    )


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
