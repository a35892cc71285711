"""The append-only log, and the indexes by which it is read: per account, per market, per order."""

from __future__ import annotations

from collections import defaultdict
from typing import TypeVar

from server.devnode.engine.events import (
    Event,
    Fill,
    Funding,
    LedgerUpdate,
    OrderStatus,
    Trade,
    TwapStatus,
)

E = TypeVar("E")
Index = dict[str, list[E]]


class History:
    """The mutable state is the list of events; every index is a view of it and rebuilt from it.

    `quiet` names accounts whose orders and fills nobody asks for: the house. Their trades are kept.
    """

    def __init__(self, quiet: frozenset[str] = frozenset()) -> None:
        self.quiet = quiet
        self.events: list[Event] = []
        self._index()

    def __repr__(self) -> str:
        return f"<History {len(self.events)} events>"

    def _index(self) -> None:
        self.fills: Index[Fill] = defaultdict(list)
        self.statuses: Index[OrderStatus] = defaultdict(list)
        self.latest: dict[int, OrderStatus] = {}
        self.trades: Index[Trade] = defaultdict(list)
        self.fundings: Index[Funding] = defaultdict(list)
        self.ledger: Index[LedgerUpdate] = defaultdict(list)
        self.twaps: Index[TwapStatus] = defaultdict(list)

    def add(self, event: Event) -> None:
        self.events.append(event)
        self._place(event)

    def _place(self, event: Event) -> None:
        kind = type(event)
        if kind is OrderStatus:
            assert isinstance(event, OrderStatus)
            self.statuses[event.terms.user].append(event)
            self.latest[event.terms.oid] = event
        elif kind is Fill:
            assert isinstance(event, Fill)
            self.fills[event.user].append(event)
        elif kind is Trade:
            assert isinstance(event, Trade)
            self.trades[event.coin].append(event)
        elif kind is Funding:
            assert isinstance(event, Funding)
            self.fundings[event.user].append(event)
        elif kind is LedgerUpdate:
            assert isinstance(event, LedgerUpdate)
            for user in event.users:
                self.ledger[user].append(event)
        elif kind is TwapStatus:
            assert isinstance(event, TwapStatus)
            self.twaps[event.state.user].append(event)

    def since(self, seq: int) -> list[Event]:
        """The events from sequence number `seq` on."""
        return self.events[seq:]

    def restore(self, events: tuple[Event, ...]) -> None:
        self.events = list(events)
        self._index()
        for event in self.events:
            self._place(event)
