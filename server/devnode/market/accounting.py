"""What is worked out of an account's past: volumes, fees, the portfolio, and the old page in one answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson

from server.devnode.clearinghouse import MICRO, fmt
from server.devnode.engine.listing import USDC
from server.devnode.engine.settlement import PERP_FEES, RATE_UNIT, SPOT_FEES
from server.devnode.engine.units import CENT, number, usd
from server.devnode.market.contexts import perp_contexts, spot_contexts
from server.devnode.market.tape import DAY_MS
from server.devnode.market.truth import Truth
from server.devnode.markets import MAIN_DEX

FEE_DAYS = 15
PERIODS = {"day": DAY_MS, "week": 7 * DAY_MS, "month": 30 * DAY_MS, "allTime": None}


def rate_limit(truth: Truth, user: str) -> dict[str, Any]:
    """`userRateLimit`: what was paid for is no part of the cap, but is used up first (spec/info.md)."""
    volume = truth.engine.volume(user)
    used = truth.signed.allowance.used[user] - truth.engine.reserved(user)
    return {
        "cumVlm": usd(volume),
        "nRequestsUsed": max(0, used),
        "nRequestsCap": truth.signed.allowance.cap(volume),
        "nRequestsSurplus": max(0, -used),
    }


def user_fees(truth: Truth, user: str, now_ms: int) -> dict[str, Any]:
    taken: Counter[int] = Counter()
    added: Counter[int] = Counter()
    for fill in truth.engine.ground.history.fills.get(user, ()):
        inst = truth.engine.listing.by_asset[fill.asset]
        ntl = fill.lots * fill.px // (CENT if inst.is_spot else 1)
        (taken if fill.crossed else added)[fill.time // DAY_MS] += ntl
    today = now_ms // DAY_MS
    cross, add, spot_cross, spot_add = (
        number(rate, len(str(RATE_UNIT)) - 1)
        for rate in (PERP_FEES[True], PERP_FEES[False], SPOT_FEES[True], SPOT_FEES[False])
    )
    return {
        "dailyUserVlm": [
            {
                "date": datetime.fromtimestamp(day * DAY_MS // 1000, UTC).date().isoformat(),
                "userCross": usd(taken[day]),
                "userAdd": usd(added[day]),
                "exchange": usd(truth.tape.exchange_days.get(day, 0)),
            }
            for day in range(today - FEE_DAYS + 1, today + 1)
        ],
        "feeSchedule": {
            "cross": cross,
            "add": add,
            "spotCross": spot_cross,
            "spotAdd": spot_add,
            "tiers": {"vip": [], "mm": []},  # the base tier is everyone's
            "referralDiscount": "0.0",
            "stakingDiscountTiers": [{"bpsOfMaxSupply": "0.0", "discount": "0.0"}],
        },
        "userCrossRate": cross,
        "userAddRate": add,
        "userSpotCrossRate": spot_cross,
        "userSpotAddRate": spot_add,
        "activeReferralDiscount": "0.0",
        "trial": None,
        "feeTrialEscrow": "0.0",
        "nextTrialAvailableTimestamp": None,
        "stakingLink": None,
        "activeStakingDiscount": {"bpsOfMaxSupply": "0.0", "discount": "0.0"},
    }


def perp_value(truth: Truth, user: str) -> int:
    """The value of all perps of an account, micro-USD."""
    account = truth.engine.ground.state.accounts.get(user)
    marks, value = truth.engine.ground.state.marks, 0
    for pool in account.pools.values() if account else ():
        value += pool.cash
        value += sum(one.lots * marks[asset] + (one.raw or 0) for asset, one in pool.holdings.items())
    return value


def spot_value(truth: Truth, user: str) -> int:
    account = truth.engine.ground.state.accounts.get(user)
    marks, value = truth.engine.ground.state.marks, 0
    prices = {inst.base: (marks[inst.asset], inst.lot_wei) for inst in truth.coins.values() if inst.is_spot}
    for token, balance in account.spot.items() if account else ():
        px, lot_wei = (1, 1) if token == USDC else prices.get(token, (0, 1))
        value += balance.total * px // lot_wei // CENT
    return value


def cum_ledger(truth: Truth, user: str) -> int:
    """What came into the perps less what went out of them by transfers, micro-USD."""
    return sum(_into_perps(event.delta, user) for event in truth.engine.ground.history.ledger.get(user, ()))


def _into_perps(delta: Mapping[str, Any], user: str) -> int:
    """What a movement of money brought into the perps of one who had part in it."""
    kind = delta["type"]
    if kind == "deposit":
        return _micro(delta["usdc"])
    if kind == "withdraw":
        return -_micro(delta["usdc"]) - _micro(delta["fee"])
    if kind == "accountClassTransfer":
        return _micro(delta["usdc"]) * (1 if delta["toPerp"] else -1)
    if kind in ("internalTransfer", "subAccountTransfer"):
        return _micro(delta["usdc"]) * (bool(delta["destination"] == user) - bool(delta["user"] == user))
    if kind == "send":
        gained = bool(delta["destination"] == user and delta["destinationDex"] != "spot")
        lost = bool(delta["user"] == user and delta["sourceDex"] != "spot")
        return _micro(delta["usdcValue"]) * (gained - lost)
    return 0


def _micro(text: str) -> int:
    """An amount as it is told, with the noise that doubles have in their last digits."""
    return round(float(text) * MICRO)


def portfolio(truth: Truth, user: str, now_ms: int) -> list[Any]:
    """Two points a line: the beginning, and now. What lies between is not kept."""
    perp, spot = perp_value(truth, user), spot_value(truth, user)
    came = cum_ledger(truth, user)
    fills = truth.engine.ground.history.fills.get(user, ())
    began = fills[0].time if fills else now_ms
    rows = []
    for prefix, value, of_perps in (("", perp + spot, False), ("perp", perp, True)):
        for period, length in PERIODS.items():
            start = began if length is None else max(began, now_ms - length)
            volume = sum(
                fill.lots * fill.px // (CENT if inst.is_spot else 1)
                for fill in fills
                if fill.time >= start
                and not ((inst := truth.engine.listing.by_asset[fill.asset]).is_spot and of_perps)
            )
            name = prefix + period[0].upper() + period[1:] if prefix else period
            pnl = fmt(perp - came)
            points: list[list[list[Any]]] = [
                [[start, fmt(value)], [now_ms, fmt(value)]],
                [[start, "0.0"], [now_ms, pnl]],
            ]
            row = {"accountValueHistory": points[0], "pnlHistory": points[1], "vlm": usd(volume)}
            rows.append([name, row])
    return rows


def agent_of(truth: Truth, user: str) -> tuple[str | None, int | None]:
    """The unnamed agent and until when it is good."""
    account = truth.engine.ground.state.accounts.get(user)
    agent = account.agents.get("") if account else None
    return (agent.address, agent.valid_until) if agent else (None, None)


def web_data(truth: Truth, user: str, now_ms: int, orders: str, spot: str) -> str:
    """`webData2`: one answer for the whole of the old page."""
    agent, until = agent_of(truth, user)
    said = orjson.dumps(
        {"agentAddress": agent, "agentValidUntil": until, "cumLedger": fmt(cum_ledger(truth, user))}
    ).decode()
    twaps = orjson.dumps(truth.engine.twap_states(user)).decode()
    return (
        f'{{"clearinghouseState":{truth.state(user, MAIN_DEX, now_ms)},"leadingVaults":[]'
        f',"totalVaultEquity":"0.0","openOrders":{orders},{said[1:-1]}'
        f',"meta":{truth.markets.meta[MAIN_DEX]},"assetCtxs":{perp_contexts(truth, MAIN_DEX)}'
        f',"serverTime":{now_ms},"isVault":false,"user":"{user}","twapStates":{twaps}'
        f',"spotState":{spot},"spotAssetCtxs":{spot_contexts(truth)},"perpsAtOpenInterestCap":[]}}'
    )
