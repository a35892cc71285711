"""Which actions deserialise. What does not is an HTTP 422 on the wire and must not reach the engine."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

Check = Callable[[Any], bool]

_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")
_CLOID = re.compile(r"0x[0-9a-fA-F]{32}")


def is_natural(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def is_text(value: object) -> bool:
    return isinstance(value, str)


def is_flag(value: object) -> bool:
    return isinstance(value, bool)


def is_address(value: object) -> bool:
    return isinstance(value, str) and _ADDRESS.fullmatch(value) is not None


def is_cloid(value: object) -> bool:
    return isinstance(value, str) and _CLOID.fullmatch(value) is not None


def maybe(check: Check) -> Check:
    return lambda value: value is None or check(value)


def rows(check: Check) -> Check:
    return lambda value: isinstance(value, list) and all(map(check, value))


def either(*checks: Check) -> Check:
    return lambda value: any(check(value) for check in checks)


def record(**fields: Check) -> Check:
    """An object with these fields at least; one that may be null may be absent too."""

    def check(value: Any) -> bool:
        return isinstance(value, dict) and all(is_fit(value.get(name)) for name, is_fit in fields.items())

    return check


_LIMIT = record(limit=record(tif=lambda tif: tif in ("Alo", "Ioc", "Gtc", "FrontendMarket")))
_TRIGGER = record(trigger=record(isMarket=is_flag, triggerPx=is_text, tpsl=lambda tpsl: tpsl in ("tp", "sl")))
_ORDER = record(
    a=is_natural, b=is_flag, p=is_text, s=is_text, r=is_flag, t=either(_LIMIT, _TRIGGER), c=maybe(is_cloid)
)
_BUILDER = record(b=is_address, f=is_natural)
_OID = either(is_natural, is_cloid)
_GROUPING = either(
    lambda value: isinstance(value, str) and value in ("na", "normalTpsl", "positionTpsl"),
    record(p=is_natural),
)
_SENT = {"destination": is_address, "amount": is_text, "token": is_text}
_SIDES = {"sourceDex": is_text, "destinationDex": is_text, "fromSubAccount": maybe(is_text)}

ACTIONS: Mapping[str, Check] = {
    "order": record(orders=rows(_ORDER), grouping=_GROUPING, builder=maybe(_BUILDER)),
    "modify": record(oid=_OID, order=_ORDER),
    "batchModify": record(modifies=rows(record(oid=_OID, order=_ORDER))),
    "cancel": record(cancels=rows(record(a=is_natural, o=is_natural))),
    "cancelByCloid": record(cancels=rows(record(asset=is_natural, cloid=is_cloid))),
    "scheduleCancel": record(time=maybe(is_natural)),
    "twapOrder": record(
        twap=record(a=is_natural, b=is_flag, s=is_text, r=is_flag, m=is_natural, t=is_flag),
        details=maybe(record(t=maybe(record(p=is_text, a=is_flag)), s=maybe(is_text))),
    ),
    "twapCancel": record(a=is_natural, t=is_natural),
    "updateLeverage": record(asset=is_natural, isCross=is_flag, leverage=is_natural),
    "updateIsolatedMargin": record(asset=is_natural, isBuy=is_flag, ntli=is_integer),
    "topUpIsolatedOnlyMargin": record(asset=is_natural, leverage=is_text),
    "approveAgent": record(agentAddress=is_address, agentName=maybe(is_text)),
    "approveBuilderFee": record(builder=is_address, maxFeeRate=is_text),
    "createSubAccount": record(name=is_text),
    "subAccountModify": record(subAccountUser=is_address, name=is_text),
    "subAccountTransfer": record(subAccountUser=is_address, isDeposit=is_flag, usd=is_natural),
    "subAccountSpotTransfer": record(
        subAccountUser=is_address, isDeposit=is_flag, token=is_text, amount=is_text
    ),
    "setReferrer": record(code=is_text),
    "registerReferrer": record(code=is_text),
    "reserveRequestWeight": record(weight=is_natural, destination=maybe(is_address)),
    "usdSend": record(destination=is_address, amount=is_text),
    "spotSend": record(**_SENT),
    "usdClassTransfer": record(amount=is_text, toPerp=is_flag),
    "sendAsset": record(**_SENT, **_SIDES),
    "agentSendAsset": record(**_SENT, **_SIDES),
    "withdraw3": record(destination=is_address, amount=is_text),
    "vaultTransfer": record(vaultAddress=is_address, isDeposit=is_flag, usd=is_natural),
}


def deserialises(action: object) -> bool:
    """Has the action the shape of its type? Of a type without a row only the `type` is looked at."""
    if not isinstance(action, dict) or not isinstance(kind := action.get("type"), str):
        return False
    check = ACTIONS.get(kind)
    return check is None or check(action)
