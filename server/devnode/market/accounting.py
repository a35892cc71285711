"""What is worked out of an account's past: volumes, fees, and the old page in one answer."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import Any

import orjson

from server.devnode.clearinghouse import fmt
from server.devnode.engine.fees import RATE_UNIT, TIERS, Tier
from server.devnode.engine.units import CENT, number, usd
from server.devnode.market.contexts import perp_contexts, spot_contexts
from server.devnode.market.course import into_perps
from server.devnode.market.tape import DAY_MS
from server.devnode.market.truth import Truth
from server.devnode.markets import MAIN_DEX

FEE_DAYS = 15


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
    account = truth.engine.ground.state.accounts.get(user)
    mine = _rates(TIERS[account.tier if account else 0])
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
            **_rates(TIERS[0]),
            "tiers": {
                "vip": [{"ntlCutoff": usd(tier.volume), **_rates(tier)} for tier in TIERS[1:]],
                "mm": [],
            },
            "referralDiscount": "0.0",
            "stakingDiscountTiers": [{"bpsOfMaxSupply": "0.0", "discount": "0.0"}],
        },
        "userCrossRate": mine["cross"],
        "userAddRate": mine["add"],
        "userSpotCrossRate": mine["spotCross"],
        "userSpotAddRate": mine["spotAdd"],
        "activeReferralDiscount": "0.0",
        "trial": None,
        "feeTrialEscrow": "0.0",
        "nextTrialAvailableTimestamp": None,
        "stakingLink": None,
        "activeStakingDiscount": {"bpsOfMaxSupply": "0.0", "discount": "0.0"},
    }


def _rates(tier: Tier) -> dict[str, str]:
    decimals = len(str(RATE_UNIT)) - 1
    return {
        "cross": number(tier.perp[True], decimals),
        "add": number(tier.perp[False], decimals),
        "spotCross": number(tier.spot[True], decimals),
        "spotAdd": number(tier.spot[False], decimals),
    }


def cum_ledger(truth: Truth, user: str) -> int:
    """What came into the perps less what went out of them by transfers, micro-USD."""
    return sum(into_perps(event.delta, user) for event in truth.engine.ground.history.ledger.get(user, ()))


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
