"""Prices: a seeded, mean-reverting random walk on the exchange's legal ticks, for any set of markets."""

from __future__ import annotations

import math
from collections.abc import Iterable
from random import Random
from typing import Any

from server.devnode.markets import Market

# The walk is held near its start: a devnode that runs for a week still shows plausible prices, and no
# synthetic account (see accounts.py) can be carried into liquidation, which this version does not play.
MAX_DRIFT = 0.08  # of the logarithm of the price
_PULL = 0.002  # share of the drift given back at every step
_COMMON = 0.6  # share of a step that all markets make together


def legal(ticks: int, decimals: int) -> int:
    """The nearest legal price: at most 5 significant figures; whole numbers are always legal. Ticks >= 1.

    Source: official docs, tick and lot size. The bound on decimals is in the unit itself.
    """
    step = step_at(ticks, decimals)
    return max(1, (ticks + step // 2) // step * step)


def step_at(ticks: int, decimals: int) -> int:
    """The distance to the next legal price above."""
    return int(min(10 ** max(0, len(str(ticks)) - 5), 10**decimals))


class Walk:
    """The prices of some markets, in ticks.

    The mutable state is `marks`, the drifts behind them, and the starts that they drift from.
    """

    def __init__(self, markets: Iterable[Market], random: Random) -> None:
        self.markets = tuple(markets)
        self.marks: dict[str, int] = {m.coin: legal(m.start, m.decimals) for m in self.markets}
        self._starts = [m.start for m in self.markets]
        self._drifts = [0.0] * len(self.markets)
        self._random = random

    def step(self, common: float) -> None:
        """Advance every market by one step; `common` is a standard normal shared by all walks."""
        gauss = self._random.gauss
        own = math.sqrt(1 - _COMMON**2)
        for i, market in enumerate(self.markets):
            move = market.volatility * (_COMMON * common + own * gauss(0.0, 1.0))
            drift = self._drifts[i] * (1 - _PULL) + move
            self._drifts[i] = drift = min(MAX_DRIFT, max(-MAX_DRIFT, drift))
            self.marks[market.coin] = legal(round(self._starts[i] * math.exp(drift)), market.decimals)

    def set_mark(self, coin: str, ticks: int) -> None:
        """Put the mark of one coin at the nearest legal price. It walks on from there."""
        i = next(i for i, market in enumerate(self.markets) if market.coin == coin)
        self.marks[coin] = self._starts[i] = legal(ticks, self.markets[i].decimals)
        self._drifts[i] = 0.0

    def snapshot(self) -> object:
        return dict(self.marks), tuple(self._starts), tuple(self._drifts), self._random.getstate()

    def revert(self, snapshot: Any) -> None:
        """Be again as `snapshot` says; it stays good for another time."""
        marks, starts, drifts, state = snapshot
        self.marks, self._starts, self._drifts = dict(marks), list(starts), list(drifts)
        self._random.setstate(state)


def price_text(ticks: int, decimals: int) -> str:
    """Print ticks as a wire price, one decimal kept: 9724 at 2 decimals is "97.24"."""
    if decimals == 0:
        return f"{ticks}.0"
    text = str(ticks).rjust(decimals + 1, "0")
    whole, fraction = text[:-decimals], text[-decimals:].rstrip("0")
    return f"{whole}.{fraction or '0'}"
