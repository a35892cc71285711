"""Hourly funding: longs pay shorts, or the other way round, each by size x oracle x rate.

What each pays is truncated to the micro-USD; a clearing account takes the other side of every payment, so
that not one micro-USD comes or goes. Source of the formula: official docs, funding. The premium is that of
the mark over the oracle at the hour; the exchange averages impact prices over it.
"""

from __future__ import annotations

from server.devnode.engine.events import Funding
from server.devnode.engine.state import CLEARING, SYSTEM, Ground

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


def _fund_hour(ground: Ground) -> None:
    state = ground.state
    clearing = state.accounts[CLEARING]
    rates: dict[int, int] = {}
    for account in state.accounts.values():
        for dex, pool in account.pools.items():
            for asset, holding in sorted(pool.holdings.items()):
                found = rates.get(asset)
                if found is None:
                    found = rates[asset] = rate(state.marks[asset], state.oracles[asset])
                owed = holding.lots * state.oracles[asset] * found
                paid = owed // UNIT if owed >= 0 else -(-owed // UNIT)
                if holding.raw is None:
                    pool.cash -= paid
                else:
                    holding.raw -= paid
                pool.all_time[asset] = pool.all_time.get(asset, 0) + paid
                holding.since_open += paid
                holding.since_change += paid
                clearing.pool(dex).cash += paid
                if account.address not in SYSTEM:
                    inst = ground.instruments[asset]
                    ground.history.add(
                        Funding(state.now, account.address, asset, inst.coin, -paid, holding.lots, found)
                    )
