"""What every answer from the streams has in common: how it is judged, and the streams by name. Pure.

A query looks at what is held and makes the exchange's answer of it, or None: not held, not fed now, or not
the whole of what is asked for. Values are slices of what came, never read and written again.
"""

from collections.abc import Callable, Hashable, Mapping
from functools import lru_cache
from typing import NamedTuple, Protocol

import msgspec

from replica import Age, CandleStore, Document, Reading, Subscription
from server.freshness import Asked

Params = Mapping[str, object]
NOT_READ = (msgspec.DecodeError, UnicodeError, RecursionError)


class Documents(Protocol):
    """What is remembered of answers of the upstream, fresh or not."""

    def get(self, key: Hashable) -> Document | None: ...


class Memory(Protocol):
    """What a query may look at: `replica.Replica` is one."""

    @property
    def reading(self) -> Reading: ...
    @property
    def documents(self) -> Documents: ...
    @property
    def candles(self) -> CandleStore: ...


class Found(NamedTuple):
    """An answer, and how new it is."""

    body: bytes
    age: Age


Find = Callable[[Memory, Params, Document | None], Found | None]
"""`earlier`: the upstream's last answer to the very same question, if it is remembered, fresh or not."""

Query = Callable[[Memory, Params, Asked, Document | None], Document | None]

Learn = Callable[[Memory, Params, Document], None]
"""Keeps what a good answer of the upstream says beyond the question that was asked."""

NOT_OLDER_BY_S = 0.5
"""A push about an account may show how it was this long before it came: the upstream renders and sends it.
Of the market it does not matter: what `/info` says of prices is 0.3 to 0.8 s old itself (info.md 5)."""


def query(find: Find, *, of_accounts: bool) -> Query:
    """Judge what `find` finds: None unless it is as fresh as was asked for, and not older than `earlier`.

    An answer about the market is not held to the writes of the client that asks.
    """
    lead_s = NOT_OLDER_BY_S if of_accounts else 0.0

    def judged(memory: Memory, params: Params, asked: Asked, earlier: Document | None) -> Document | None:
        found = find(memory, params, earlier)
        if found is None:
            return None
        age = found.age
        document = Document(
            found.body,
            as_of=age.as_of,
            received=age.received,
            fresh_until=age.fresh_until,
            reflects=age.reflects,
        )
        wanted = asked if of_accounts else asked.without_writes()
        if not wanted.from_memory(document):
            return None
        if earlier is None or age.received >= earlier.received + lead_s:
            return document
        return document if found.body == earlier.body else None

    return judged


@lru_cache(maxsize=4096)
def stream(type_: str, user: object = None, dex: object = None, coin: object = None) -> Subscription:
    """A subscription by its usual fields."""
    return Subscription({"type": type_, "user": user, "dex": dex, "coin": coin})
