"""Where in a recording we are. Pure: whoever asks says what the clock reads, in seconds."""

from __future__ import annotations

import math


class Playhead:
    """The mutable state is the moment it was last set to, and when that was; `speed` and `paused`.

    Before `begin` it stands at its moment, as it does while it is paused. `speed` is how many seconds of the
    recording go by in one.
    """

    def __init__(self, speed: float) -> None:
        self.paused = False
        self._moment = 0.0
        self._set_at: float | None = None
        self._speed = checked_speed(speed)

    def __repr__(self) -> str:
        how = "not begun" if self._set_at is None else "paused" if self.paused else "running"
        return f"<Playhead set to {self._moment:g} s, {how}>"

    @property
    def speed(self) -> float:
        return self._speed

    @property
    def runs(self) -> bool:
        return self._set_at is not None and not self.paused

    def begin(self, now: float) -> bool:
        """Run from now on. False if it had begun before."""
        if self._set_at is not None:
            return False
        self._set_at = now
        return True

    def moment(self, now: float) -> float:
        """Seconds since the recording's beginning."""
        if self._set_at is None or self.paused:
            return self._moment
        return self._moment + (now - self._set_at) * self._speed

    def due(self, moment: float) -> float | None:
        """What the clock will read at that moment; None while this stands still."""
        if self._set_at is None or self.paused:
            return None
        return self._set_at + (moment - self._moment) / self._speed

    def move(self, moment: float, now: float) -> None:
        """Be at that moment now."""
        self._moment = moment
        if self._set_at is not None:
            self._set_at = now

    def pause(self, now: float) -> None:
        self.move(self.moment(now), now)
        self.paused = True

    def resume(self, now: float) -> None:
        self.move(self.moment(now), now)
        self.paused = False

    def change_speed(self, speed: float, now: float) -> None:
        """From now on. Raises `ValueError` for what is no number above 0."""
        speed = checked_speed(speed)
        self.move(self.moment(now), now)
        self._speed = speed


def checked_speed(speed: float) -> float:
    if not 0 < speed < math.inf:
        raise ValueError(f"{speed} is no speed: a number above 0 is needed")
    return speed
