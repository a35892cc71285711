"""A count that no sliding window may exceed: messages sent, connections opened."""

from collections import deque


class SlidingWindow:
    """At most `limit` takes in any `span_s` seconds. `limit` 0 means no limit.

    `reserve` of them are for the takers that must not be kept waiting by the others: who is none of those
    leaves them.
    The mutable state is `_taken`: the moments of the takes still inside the window, oldest first.
    """

    def __init__(self, limit: int, span_s: float, *, reserve: int = 0) -> None:
        self._limit = limit
        self.reserve = reserve
        # The upstream counts arrivals, we count departures: a little slack keeps jitter on the way from
        # squeezing one more into its window than into ours.
        self._span = span_s * 1.02
        self._taken: deque[float] = deque()

    def room(self, now: float) -> int:
        """How many may go now."""
        if not self._limit:
            return 1 << 30
        # Added as in `earliest`, to the last bit: at the moment it names there is room.
        while self._taken and self._taken[0] + self._span <= now:
            self._taken.popleft()
        return self._limit - len(self._taken)

    def take(self, now: float) -> None:
        """Record one. The caller asked for `room` first."""
        if self._limit:
            self._taken.append(now)

    def earliest(self, now: float, *, keep: int = 0) -> float:
        """When the next may go, `now` or later; `keep`, below the limit, are left for others."""
        room = self.room(now)
        return now if room > keep else self._taken[keep - room] + self._span
