"""What trading costs: the fee schedule, and the tier that an account's volume of two weeks makes.

The rates are those of the recorded `userFees`. How volume counts is of the official docs, fees: that of the
14 whole UTC days before today, spot twice, sub-accounts with their master, looked at when a day ends. Not
played: rebates by the share of all that makers do (in a world of few traders every one of them would have
the highest), discounts for stakes and referrals, and what builder dexes charge more.
"""

from __future__ import annotations

from typing import NamedTuple

from server.devnode.engine.account import Account
from server.devnode.engine.state import State

RATE_UNIT = 100_000
DAY_MS = 86_400_000
DAYS = 14
SPOT_WEIGHT = 2


class Tier(NamedTuple):
    """Above `volume` (micro-USD): rates in 1/100000 of the notional, as (maker, taker)."""

    volume: int
    perp: tuple[int, int]
    spot: tuple[int, int]


_USD = 1_000_000
TIERS = (
    Tier(0, (15, 45), (40, 70)),
    Tier(5_000_000 * _USD, (12, 40), (30, 60)),
    Tier(25_000_000 * _USD, (8, 35), (20, 50)),
    Tier(100_000_000 * _USD, (4, 30), (10, 40)),
    Tier(500_000_000 * _USD, (0, 28), (0, 35)),
    Tier(2_000_000_000 * _USD, (0, 26), (0, 30)),
    Tier(7_000_000_000 * _USD, (0, 24), (0, 25)),
)


def count(account: Account, now: int, volume: int, *, is_spot: bool) -> None:
    """Let a fill count for the tier."""
    day = now // DAY_MS
    account.daily[day] = account.daily.get(day, 0) + volume * (SPOT_WEIGHT if is_spot else 1)


def assess(state: State) -> None:
    """Put everybody into the tier of the days that are over, once a day."""
    today = state.now // DAY_MS
    if today == state.assessed:
        return
    state.assessed = today
    for account in state.accounts.values():
        if account.daily:
            account.daily = {day: sum_ for day, sum_ in account.daily.items() if day >= today - DAYS}
    for account in state.accounts.values():
        if account.master is None:
            family = [account, *(state.accounts[sub] for sub in account.subs)]
            volume = sum(sum_ for one in family for day, sum_ in one.daily.items() if day < today)
            tier = sum(volume > tier.volume for tier in TIERS[1:])
            for one in family:
                one.tier = tier
