"""What the streams hold for readers, and how far each of it may be trusted. Plain calls, no waiting.

A push says nothing of how long it was under way, and most say nothing of their time. So it counts as of a
little before it came: a write that was answered meanwhile may not be in it.
"""

import math
from collections import OrderedDict
from collections.abc import Callable, Hashable
from operator import is_
from typing import NamedTuple, Protocol

from replica.clock import Clock
from replica.state.upstream_clock import UpstreamClock
from replica.streams.memory import Latest, Whole
from replica.subscription import Subscription

LATE_AFTER_S = 2.0
"""A push may take this long on its way, the upstream's rendering included, and count as new on arrival."""


class LiveBounds(NamedTuple):
    """Up to what age (seconds) the last push of a stream answers reads, by what it is of.

    Just above the 5 s of `allMids` and of account states. Contexts come every 13.6 s and answer while as
    young as mids may be, no longer: older prices are worse than a question to the upstream.
    """

    account_s: float = 6.0
    market_s: float = 6.0
    contexts_s: float = 6.0


CONTEXTS = frozenset({"allDexsAssetCtxs", "assetCtxs", "spotAssetCtxs"})

MOST_MADE = 1000
"""Bodies that are kept beside what they were made of."""


class Age(NamedTuple):
    """How new something is, as `replica.Document` has it."""

    as_of: int
    received: float
    reflects: float
    fresh_until: float

    def joined(self, other: "Age") -> "Age":
        """Of something made of both: it is as old as the older, in each respect."""
        return Age(
            min(self.as_of, other.as_of),
            min(self.received, other.received),
            min(self.reflects, other.reflects),
            min(self.fresh_until, other.fresh_until),
        )


class Streams(Protocol):
    """The mirror, as far as readers know it."""

    def latest(self, subscription: Subscription) -> Latest | None: ...
    def whole(self, subscription: Subscription) -> Whole | None: ...


class Reading:
    """One per replica. The mutable state is `_made`: bodies, with what they were made of."""

    def __init__(
        self,
        streams: Streams,
        heard: Callable[[Subscription], float],
        clock: Clock,
        upstream_clock: UpstreamClock,
        bounds: LiveBounds,
    ) -> None:
        self._streams = streams
        self._heard = heard
        self._clock = clock
        self._upstream_clock = upstream_clock
        self._bounds = bounds
        self._made: OrderedDict[Hashable, tuple[tuple[object, ...], bytes | None]] = OrderedDict()

    def now(self) -> float:
        """Our monotonic clock."""
        return self._clock.monotonic()

    def latest(self, subscription: Subscription) -> tuple[bytes, Age] | None:
        """The last `data` of a state that is fed now, and its age."""
        latest = self._streams.latest(subscription)
        if latest is None:
            return None
        age = self._age(subscription, latest.received)
        return latest.data, age._replace(as_of=latest.time_ms) if latest.time_ms else age

    def whole(self, subscription: Subscription) -> tuple[Whole, Age] | None:
        """The rows of a log that is fed now and lacks none, and their age.

        Rows come when something happens: that nothing has, is as new as the last word on their connection.
        """
        whole = self._streams.whole(subscription)
        if whole is None:
            return None
        heard = self._heard(subscription)
        return None if heard == -math.inf else (whole, self._age(subscription, heard))

    def made(
        self, what: Hashable, parts: tuple[object, ...], make: Callable[[], bytes | None]
    ) -> bytes | None:
        """What `make` returns, made once as long as the parts are the same objects."""
        kept = self._made.get(what)
        if kept is not None and len(kept[0]) == len(parts) and all(map(is_, kept[0], parts)):
            return kept[1]
        body = make()
        self._made[what] = parts, body
        self._made.move_to_end(what)
        if len(self._made) > MOST_MADE:
            self._made.popitem(last=False)
        return body

    def _age(self, subscription: Subscription, received: float) -> Age:
        bounds = self._bounds
        if subscription.user is not None:
            bound_s = bounds.account_s
        else:
            bound_s = bounds.contexts_s if subscription.type in CONTEXTS else bounds.market_s
        return Age(
            self.dated_ms(received) - int(LATE_AFTER_S * 1000),
            received,
            received - LATE_AFTER_S,
            received + bound_s,
        )

    def dated_ms(self, moment: float) -> int:
        """The upstream's clock at a moment of ours, rather too early than too late."""
        clock = self._clock
        wall_ms = int((clock.wall() - (clock.monotonic() - moment)) * 1000.0)
        told_ms = self._upstream_clock.now_ms(moment)
        return wall_ms if told_ms is None else min(wall_ms, told_ms)
