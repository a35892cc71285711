"""Hourly funding: longs pay shorts, or the other way round, each by size x oracle x rate.

What each pays is truncated to the micro-USD; a clearing account takes the other side of every payment, so
that not one micro-USD comes or goes. Source of the formula: official docs, funding. The premium is that of
the mark over the oracle at the hour; the exchange averages impact prices over it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from server.devnode.engine.events import Funding
from server.devnode.engine.state import CLEARING, Ground, State

HOUR_MS = 3_600_000
UNIT = 10**10  # rates are printed with ten decimals
INTEREST = UNIT // 10_000  # 0.01% per 8 hours
CLAMP = UNIT * 5 // 10_000
CAP = UNIT * 4 // 100  # per hour
MAX_HOURS = 24 * 366  # funded at once, when time was advanced by more


def rate(mark: int, oracle: int) -> int:
    """The rate of an hour, in 10^-10; positive is paid by longs."""
    premium = (mark - oracle) * UNIT // oracle
    eight = premium + max(-CLAMP, min(CLAMP, INTEREST - premium))
    return max(-CAP, min(CAP, eight // 8 if eight >= 0 else -(-eight // 8)))


def fund(ground: Ground) -> None:
    """Settle every full hour that has passed since the last one settled."""
    state = ground.state
    hour = state.now // HOUR_MS
    if not state.hour:
        state.hour = hour
    for _ in range(min(hour - state.hour, MAX_HOURS)):
        _fund_hour(ground)
    state.hour = max(state.hour, hour)


class Hour(NamedTuple):
    """What an hour costs in one market."""

    coin: str
    rate: int
    per_lot: int  # in 10^-10 of a micro-USD


def _fund_hour(ground: Ground) -> None:
    state = ground.state
    now, clearing = state.now, state.accounts[CLEARING]
    hours: dict[int, Hour] = {}
    taken: Counter[str] = Counter()  # by dex
    for address, account in state.accounts.items():
        for dex, pool in account.pools.items():
            if not pool.holdings:
                continue
            rows, from_cross, all_time = [], 0, pool.all_time
            for asset, holding in pool.holdings.items():
                hour = hours.get(asset)
                if hour is None:
                    hour = hours[asset] = _hour(ground, asset)
                coin, rate_, per_lot = hour
                lots = holding.lots
                due = lots * per_lot
                paid = due // UNIT if due >= 0 else -(-due // UNIT)
                if holding.raw is None:
                    from_cross += paid
                else:
                    holding.raw -= paid
                    taken[dex] += paid
                all_time[asset] = all_time.get(asset, 0) + paid
                holding.since_open += paid
                holding.since_change += paid
                rows.append(Funding(now, address, asset, coin, -paid, lots, rate_))
            ground.history.add_fundings(address, rows)
            pool.cash -= from_cross
            taken[dex] += from_cross
            if pool.safe is not None:
                pool.safe.cash -= from_cross
    for dex, paid in taken.items():
        clearing.pool(dex).cash += paid
    _count_as_travel(state, hours)


def _hour(ground: Ground, asset: int) -> Hour:
    oracle = ground.state.oracles[asset]
    found = rate(ground.state.marks[asset], oracle)
    return Hour(ground.instruments[asset].coin, found, oracle * found)


def _count_as_travel(state: State, hours: Mapping[int, Hour]) -> None:
    """Let nobody who was safe from liquidation have to be looked at for what he has paid.

    A position has lost a share f of its notional at most: as much as the marks take off by going on from
    where they stand by a factor 1 + f / 1.5 (see `liquidation`).
    """
    shares = (abs(hour.per_lot) / (state.marks[asset] * UNIT) for asset, hour in hours.items())
    state.travel += math.log1p(max(shares, default=0.0) / 1.5)
