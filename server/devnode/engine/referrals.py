"""Referral codes: who has one, and who came by whose.

Nobody is paid or discounted for it here. The texts were seen by a third party on the testnet (the SDK
nktkas/hyperliquid asserts them in its tests); how much must be traded is of the official docs, referrals.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from server.devnode.engine import refusals
from server.devnode.engine.account import Account, Referred
from server.devnode.engine.refusals import Refused
from server.devnode.engine.state import Ground

Action = Mapping[str, Any]
Response = dict[str, Any]
DEFAULT: Response = {"type": "default"}

VOLUME = 10_000_000_000  # micro-USD that must be traded before one may have a code


def register_referrer(ground: Ground, account: Account, action: Action) -> Response:
    if account.code is not None:
        raise Refused(refusals.HAS_CODE)
    if account.volume < VOLUME:
        raise Refused(refusals.NO_CODE_YET)
    code = action["code"]
    if not code or code in ground.state.codes:
        raise Refused(refusals.CODE_TAKEN)
    account.code = code
    ground.state.codes[code] = account.address
    return DEFAULT


def set_referrer(ground: Ground, account: Account, action: Action) -> Response:
    code = action["code"]
    if account.referred is not None:
        raise Refused(refusals.HAS_REFERRER)
    referrer = ground.state.codes.get(code)
    if referrer is None:
        raise Refused(refusals.NO_REFERRER)
    if referrer == account.address:
        raise Refused(refusals.SELF_REFERRAL)
    account.referred = Referred(referrer, code, ground.state.now, account.volume)
    ground.state.accounts[referrer].referrals.append(account.address)
    return DEFAULT
