"""The append-only log, and the indexes by which it is read: per account, per market, per order."""

from __future__ import annotations

from collections import defaultdict
from typing import TypeVar

from server.devnode.engine.events import (
    Collateral,
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
    """The mutable state is the events that are still held, from sequence number `base` on, and the indexes.

    An index keeps its events when the log forgets them.
    """

    def __init__(self) -> None:
        self.base = 0
        self.events: list[Event] = []
        self.fills: Index[Fill] = defaultdict(list)
        self.statuses: Index[OrderStatus] = defaultdict(list)
        self.latest: dict[int, OrderStatus] = {}
        self.by_cloid: dict[tuple[str, str], OrderStatus] = {}  # the latest, by user and cloid
        self.trades: Index[Trade] = defaultdict(list)
        self.fundings: Index[Funding] = defaultdict(list)
        self.ledger: Index[LedgerUpdate] = defaultdict(list)
        self.twaps: Index[TwapStatus] = defaultdict(list)
        self.collateral: Index[Collateral] = defaultdict(list)
        self.built: Index[Fill] = defaultdict(list)  # by the builder who was paid for it

    def __repr__(self) -> str:
        return f"<History {len(self.events)} events>"

    def add(self, event: Event) -> None:
        self.events.append(event)
        if isinstance(event, OrderStatus):
            terms = event.terms
            self.statuses[terms.user].append(event)
            self.latest[terms.oid] = event
            if terms.cloid is not None:
                self.by_cloid[terms.user, terms.cloid] = event
        elif isinstance(event, Fill):
            self.fills[event.user].append(event)
            if event.builder is not None:
                self.built[event.builder].append(event)
        elif isinstance(event, Trade):
            self.trades[event.coin].append(event)
        elif isinstance(event, LedgerUpdate):
            for user in event.users:
                self.ledger[user].append(event)
        elif isinstance(event, TwapStatus):
            self.twaps[event.state.user].append(event)
        elif isinstance(event, Collateral):
            self.collateral[event.source].append(event)
            self.collateral[event.target].append(event)

    def add_fundings(self, user: str, events: list[Funding]) -> None:
        """Add what one account paid and received: there are so many of these at once."""
        self.events += events
        self.fundings[user] += events

    @property
    def seq(self) -> int:
        return self.base + len(self.events)

    def since(self, seq: int) -> list[Event]:
        """The events from sequence number `seq` on. Raises `LookupError` where some are forgotten."""
        if seq < self.base:
            raise LookupError(f"events before {self.base} are forgotten")
        return self.events[seq - self.base :]

    def forget(self, before: int) -> None:
        """Drop the events with a lower sequence number from the log."""
        count = max(0, min(before - self.base, len(self.events)))
        del self.events[:count]
        self.base += count

    def clone(self) -> History:
        """A history that goes its own way; the events, being frozen, are shared."""
        twin = History()
        twin.base, twin.events = self.base, self.events.copy()
        twin.latest, twin.by_cloid = self.latest.copy(), self.by_cloid.copy()
        for name in ("fills", "statuses", "trades", "fundings", "ledger", "twaps", "collateral", "built"):
            getattr(twin, name).update((key, rows.copy()) for key, rows in getattr(self, name).items())
        return twin
