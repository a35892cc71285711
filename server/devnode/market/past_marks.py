"""The marks of the past, at the moments from which portfolios are drawn."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from server.devnode.engine.funding import HOUR_MS

DAY_MS = 24 * HOUR_MS


class Period(NamedTuple):
    """How far a portfolio goes back, None being to the beginning, and how far apart its points are."""

    name: str
    span: int | None
    step: int

    def start(self, now: int) -> int:
        """The last of its points that is no later than the beginning of the span."""
        return 0 if self.span is None else (now - self.span) // self.step * self.step

    def points(self, now: int, born: int) -> Iterator[int]:
        """Its points after an account was born, oldest first."""
        first = max(self.start(now), (born // self.step + 1) * self.step)
        yield from range(first, now + 1, self.step)


# Recorded: a day has points every 2 h to 2 h 20, a week every 2 h to 4 h 40, a month every 9 h to 24 h, all
# time every week or two. Each step is a multiple of those before it.
PERIODS = (
    Period("day", DAY_MS, 2 * HOUR_MS),
    Period("week", 7 * DAY_MS, 4 * HOUR_MS),
    Period("month", 30 * DAY_MS, 12 * HOUR_MS),
    Period("allTime", None, 7 * DAY_MS),
)
STEP_MS = PERIODS[0].step


class PastMarks:
    """The mutable state is the marks that stood at some points in time: those that a period still asks for.

    Marks are kept where they change, so a world in which they do not costs nothing.
    """

    def __init__(self, began: int) -> None:
        self._last = began // STEP_MS
        self._points: list[int] = []
        self._marks: list[Mapping[int, int]] = []

    def __len__(self) -> int:
        return len(self._points)

    def clone(self) -> PastMarks:
        twin = PastMarks(0)
        twin._last, twin._points, twin._marks = self._last, self._points.copy(), self._marks.copy()
        return twin

    def changing(self, time: int, marks: Mapping[int, int]) -> None:
        """The marks that stood until now change at `time`."""
        if time // STEP_MS > self._last:
            self._last = time // STEP_MS
            self._points.append(self._last * STEP_MS)
            self._marks.append(dict(marks))
            self._thin(time)

    def at(self, point: int) -> Mapping[int, int] | None:
        """The marks at a point of a period, by asset; None where they have not changed since."""
        found = bisect_left(self._points, point)
        return self._marks[found] if found < len(self._points) else None

    def _thin(self, now: int) -> None:
        """Forget what stands for no point of any period any more: each stands for those since the last."""
        points, marks, since = [], [], 0
        for point, one in zip(self._points, self._marks, strict=True):
            if any(
                point // step > since // step and point // step * step >= period.start(now)
                for period in PERIODS
                if (step := period.step)
            ):
                points.append(point)
                marks.append(one)
                since = point
        self._points, self._marks = points, marks
