"""When did each stream last say something, and what follows from its silence. Pure: compares clocks only."""

from collections import OrderedDict
from collections.abc import Hashable
from itertools import takewhile


class Health:
    """Last receive of the connection and of each of its streams.

    A stream that is quiet for `silent_after_s` is silent: its subscription may have been lost upstream.
    When most streams are, the connection itself is: a half-open socket looks just like that.
    The mutable state is `_last`, in the order in which the streams last spoke, and the moments of the ping.
    """

    def __init__(self, *, silent_after_s: float, pong_within_s: float) -> None:
        self._silent_after = silent_after_s
        self._pong_within = pong_within_s
        self._last: OrderedDict[Hashable, float] = OrderedDict()
        self._pinged: float | None = None
        self.received_at = 0.0

    def opened(self, now: float) -> None:
        """A new connection: no stream has been heard on it."""
        self._last.clear()
        self._pinged = None
        self.received_at = now

    def received(self, now: float, stream: Hashable | None = None) -> None:
        """Something arrived; `stream` when it belongs to one."""
        self.received_at = now
        if stream is not None:
            self._last[stream] = now
            self._last.move_to_end(stream)

    def expected(self, stream: Hashable, now: float) -> None:
        """A stream was confirmed: from now on its silence counts."""
        self._last.setdefault(stream, now)

    def ended(self, stream: Hashable) -> None:
        self._last.pop(stream, None)

    def pinged(self, now: float) -> None:
        if self._pinged is None:
            self._pinged = now

    def ponged(self) -> None:
        self._pinged = None

    def silent(self, now: float) -> list[Hashable]:
        """The streams that should have spoken by now."""
        # The longest quiet come first: those that speak are not looked at.
        quiet = takewhile(lambda item: now - item[1] > self._silent_after, self._last.items())
        return [stream for stream, _ in quiet]

    def verdict(self, now: float) -> str | None:
        """Why the connection should be given up, or None.

        A missing pong counts even while data flows: it is the only proof that what we *send* arrives.
        """
        if self._pinged is not None and now - self._pinged > self._pong_within:
            return f"no pong for {self._pong_within:g} s"
        silent = len(self.silent(now))
        if silent and 2 * silent > len(self._last):
            return f"{silent} of {len(self._last)} streams silent for {self._silent_after:g} s"
        return None
