"""The exchange's clock: follows another until it is paused, can be advanced, never goes back. Sans I/O."""

from __future__ import annotations

from collections.abc import Callable

MOST_AHEAD_MS = 1_000


class Clock:
    """The mutable state is how far it is ahead, where it stands while it is paused, and the last it told.

    `seconds` is the clock that it follows; `start_ms` is what it shows at first, when that is given.
    """

    def __init__(self, seconds: Callable[[], float], *, start_ms: int | None = None) -> None:
        self._seconds = seconds
        self._ahead_ms = 0 if start_ms is None else start_ms - self._theirs()
        self._held_ms: int | None = None
        self._last_ms = 0

    def __repr__(self) -> str:
        return f"<Clock {self.now_ms()}{' paused' if self.paused else ''}>"

    @property
    def paused(self) -> bool:
        return self._held_ms is not None

    def now_ms(self) -> int:
        now = self._theirs() + self._ahead_ms if self._held_ms is None else self._held_ms
        self._last_ms = max(self._last_ms, now)
        return self._last_ms

    def next_ms(self) -> int:
        """A moment that was not told yet, a millisecond later if need be.

        Asked more than once a millisecond it gets ahead of the clock that it follows, by `MOST_AHEAD_MS` at
        most; then it tells a moment again, until the other has caught up.
        """
        if self._held_ms is not None:
            self._held_ms += 1
            return self.now_ms()
        bound = self._theirs() + self._ahead_ms + MOST_AHEAD_MS
        if self.now_ms() < bound:
            self._last_ms += 1
        return self._last_ms

    def pause(self) -> None:
        self._held_ms = self.now_ms()

    def resume(self) -> None:
        """Show again what it would show had it not been paused: blocks after a halt carry the real time."""
        if self._held_ms is not None:
            self._ahead_ms = max(self._ahead_ms, self._held_ms - self._theirs())
            self._held_ms = None

    def advance(self, ms: int) -> None:
        """Go forward, paused or not. `ms` is not negative."""
        self._ahead_ms += ms
        if self._held_ms is not None:
            self._held_ms += ms

    def _theirs(self) -> int:
        return int(self._seconds() * 1000)
