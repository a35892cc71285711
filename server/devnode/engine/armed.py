"""The trigger orders of one market that wait for their price, so sorted that those due are found at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from sortedcontainers import SortedDict  # type: ignore[import-untyped]

from server.devnode.engine.account import Order


@dataclass(slots=True)
class Armed:
    """Keys are (price, oid) of what triggers above it, (-price, oid) of what triggers below."""

    above: Any = field(default_factory=SortedDict)
    below: Any = field(default_factory=SortedDict)

    def __iter__(self) -> Iterator[Order]:
        return chain(self.above.values(), self.below.values())

    def add(self, order: Order) -> None:
        side, key = self._place(order)
        side[key] = order

    def remove(self, order: Order) -> None:
        side, key = self._place(order)
        side.pop(key, None)

    def due(self, mark: int) -> Iterator[Order]:
        """Those whose price has come, in no order of time."""
        for side, reached in ((self.above, mark), (self.below, -mark)):
            for (px, _), order in side.items():
                if px > reached:
                    break
                yield order

    def _place(self, order: Order) -> tuple[Any, tuple[int, int]]:
        terms = order.terms
        if terms.triggers_above:
            return self.above, (terms.trigger_px, terms.oid)
        return self.below, (-terms.trigger_px, terms.oid)
