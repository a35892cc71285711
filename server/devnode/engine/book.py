"""The book of one market: price-time priority, levels with their sums, snapshots of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NamedTuple

from sortedcontainers import SortedDict  # type: ignore[import-untyped]

from server.devnode.engine.account import Order


class LevelView(NamedTuple):
    px: int
    lots: int
    n: int


@dataclass(slots=True)
class Level:
    px: int
    lots: int = 0
    orders: dict[int, Order] = field(default_factory=dict)  # by oid, oldest first


class Side:
    """One half of the book. Keys are prices for asks and their negatives for bids: the best comes first."""

    __slots__ = ("_sign", "levels")

    def __init__(self, *, is_bid: bool) -> None:
        self._sign = -1 if is_bid else 1
        self.levels: Any = SortedDict()  # of Level, by key

    def best(self) -> Level | None:
        if not self.levels:
            return None
        level: Level = self.levels.peekitem(0)[1]
        return level

    def add(self, order: Order) -> None:
        px = order.terms.px
        key = self._sign * px
        level = self.levels.get(key)
        if level is None:
            level = self.levels[key] = Level(px)
        level.orders[order.terms.oid] = order
        level.lots += order.left

    def remove(self, order: Order) -> bool:
        """Take an order off. Returns whether it was there."""
        key = self._sign * order.terms.px
        level = self.levels.get(key)
        if level is None or level.orders.pop(order.terms.oid, None) is None:
            return False
        level.lots -= order.left
        if not level.orders:
            del self.levels[key]
        return True

    def reduce(self, order: Order, lots: int) -> None:
        """Take `lots` off an order on the book; with its last lot the order goes too."""
        key = self._sign * order.terms.px
        level = self.levels[key]
        level.lots -= lots
        order.left -= lots
        if not order.left:
            del level.orders[order.terms.oid]
            if not level.orders:
                del self.levels[key]

    def __iter__(self) -> Iterator[Level]:
        return map(self.levels.__getitem__, self.levels)  # the values, at the speed of C


class Book:
    __slots__ = ("asks", "bids", "last")

    def __init__(self) -> None:
        self.bids = Side(is_bid=True)
        self.asks = Side(is_bid=False)
        self.last = 0  # price of the last trade

    def __repr__(self) -> str:
        bid, ask = self.bids.best(), self.asks.best()
        return f"<Book {bid.px if bid else '-'} @ {ask.px if ask else '-'}>"

    def side(self, is_buy: bool) -> Side:
        return self.bids if is_buy else self.asks

    def levels(
        self, depth: int = 20, sig_figs: int | None = None, mantissa: int | None = None
    ) -> tuple[list[LevelView], list[LevelView]]:
        """Bids and asks, best first. `sig_figs` and `mantissa` merge levels, bids downwards, asks upwards."""
        return (
            _views(self.bids, depth, sig_figs, mantissa, up=False),
            _views(self.asks, depth, sig_figs, mantissa, up=True),
        )

    def check(self) -> None:
        """Every invariant of the structure. For tests."""
        bid, ask = self.bids.best(), self.asks.best()
        assert bid is None or ask is None or bid.px < ask.px, f"crossed: {self}"
        for side in (self.bids, self.asks):
            for level in side:
                assert level.orders
                assert level.lots == sum(order.left for order in level.orders.values())
                assert all(order.left > 0 and order.terms.px == level.px for order in level.orders.values())


def _views(
    side: Side, depth: int, sig_figs: int | None, mantissa: int | None, *, up: bool
) -> list[LevelView]:
    if sig_figs is None:
        return [LevelView(level.px, level.lots, len(level.orders)) for level in islice(side, depth)]
    found: list[LevelView] = []
    px = lots = n = 0
    for level in side:
        if n and (level.px <= px if up else level.px >= px):
            lots += level.lots
            n += len(level.orders)
            continue
        if n:
            found.append(LevelView(px, lots, n))
            if len(found) == depth:
                return found
        step = 10 ** max(0, len(str(level.px)) - sig_figs) * (mantissa or 1)
        px = -(-level.px // step) * step if up else level.px // step * step
        lots, n = level.lots, len(level.orders)
    return [*found, LevelView(px, lots, n)] if n else found
