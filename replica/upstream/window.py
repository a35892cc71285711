"""A count that no sliding window may exceed: messages sent, connections opened."""

from collections import deque


class SlidingWindow:
    """At most `limit` takes in any `span_s` seconds. `limit` 0 means no limit.

    The mutable state is `_taken`: the moments of the takes still inside the window, oldest first.
    """

    def __init__(self, limit: int, span_s: float) -> None:
        self._limit = limit
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

    def earliest(self, now: float) -> float:
        """When the next may go: `now` or later."""
        return now if self.room(now) > 0 else self._taken[0] + self._span
