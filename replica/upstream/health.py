"""When did each stream last say something, and what follows from its silence. Pure: compares clocks only."""

from collections import OrderedDict
from collections.abc import Hashable
from itertools import takewhile


class Health:
    """Last receive of the connection and of each of its streams.

    A stream that is quiet for its `silent_after_s` is silent: its subscription may have been lost upstream.
    When most streams are, the connection itself is: a half-open socket looks just like that. But not while
    others speak that keep no cadence: what these would lose is more than a fault of those is worth.
    The mutable state is `_last`, per time of silence in the order in which the streams last spoke, `_after`
    which says where in it each is, and the moments of the ping.
    """

    def __init__(self, *, silent_after_s: float, pong_within_s: float) -> None:
        self._silent_after = silent_after_s
        self._pong_within = pong_within_s
        self._last: dict[float, OrderedDict[Hashable, float]] = {silent_after_s: OrderedDict()}
        self._after: dict[Hashable, float] = {}
        self._pinged: float | None = None
        self._lively = float("-inf")
        self.received_at = 0.0

    def opened(self, now: float) -> None:
        """A new connection: no stream has been heard on it."""
        self._last = {self._silent_after: OrderedDict()}
        self._after.clear()
        self._pinged = None
        self._lively = float("-inf")
        self.received_at = now

    def received(self, now: float, stream: Hashable | None = None) -> None:
        """Something arrived; `stream` when it belongs to one whose silence counts."""
        self.received_at = now
        if stream is not None:
            after = self._after.get(stream)
            if after is None:
                self.expected(stream, now)
            else:
                last = self._last[after]
                last[stream] = now
                last.move_to_end(stream)

    def lively(self, now: float) -> None:
        """A stream spoke whose silence does not count."""
        self.received_at = self._lively = now

    def expected(self, stream: Hashable, now: float, silent_after_s: float | None = None) -> None:
        """From now on the silence of this stream counts; after the usual time unless another is given."""
        if stream not in self._after:
            after = self._after[stream] = silent_after_s or self._silent_after
            self._last.setdefault(after, OrderedDict())[stream] = now

    def expects(self, stream: Hashable) -> bool:
        return stream in self._after

    def ended(self, stream: Hashable) -> None:
        after = self._after.pop(stream, None)
        if after is not None:
            del self._last[after][stream]

    def pinged(self, now: float) -> None:
        if self._pinged is None:
            self._pinged = now

    def ponged(self) -> None:
        self._pinged = None

    def silent(self, now: float) -> list[Hashable]:
        """The streams that should have spoken by now."""
        quiet: list[Hashable] = []
        for after, last in self._last.items():
            # The longest quiet come first: those that speak are not looked at.
            quiet += takewhile(lambda stream, last=last, after=after: now - last[stream] > after, last)  # type: ignore[misc]
        return quiet

    def verdict(self, now: float) -> str | None:
        """Why the connection should be given up, or None.

        A missing pong counts even while data flows: it is the only proof that what we *send* arrives.
        """
        if self._pinged is not None and now - self._pinged > self._pong_within:
            return f"no pong for {self._pong_within:g} s"
        silent = self.silent(now)
        if 2 * len(silent) > len(self._after):
            for_s = min(self._after[stream] for stream in silent)
            if now - self._lively <= for_s:
                return None
            return f"{len(silent)} of {len(self._after)} streams silent for {for_s:g} s"
        return None
