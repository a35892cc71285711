"""What time is it at the upstream? Estimated from the times of the states it sends."""

from collections import deque


class UpstreamClock:
    """A lower bound on the upstream's clock, from `time` fields and the moments they reached us.

    A state cannot be from the future: when one of `time` t arrives at our moment m, the upstream's clock was
    at least t. The best offset t - m of the last minutes is kept. Moments are of our monotonic clock, which
    nobody sets: a correction of the wall clock must not make every state look late.
    """

    SPAN_S = 600.0
    _STEP_S = 10.0

    def __init__(self) -> None:
        # Best offset per step of ten seconds: (step, ms), newest last; and the best of them all.
        self._best: deque[tuple[int, float]] = deque()
        self._offset: float | None = None

    def observe(self, time_ms: int, now: float) -> None:
        """A state of upstream time `time_ms` arrived at `now`. States without a time (0) tell nothing."""
        if not time_ms:
            return
        offset = time_ms - now * 1000.0
        step = int(now // self._STEP_S)
        if not self._best or self._best[-1][0] != step:
            self._best.append((step, offset))
            while self._best[0][0] < step - self.SPAN_S / self._STEP_S:
                self._best.popleft()
            self._offset = max(offset for _, offset in self._best)
        elif offset > self._best[-1][1]:
            self._best[-1] = (step, offset)
            if self._offset is None or offset > self._offset:
                self._offset = offset

    def now_ms(self, now: float) -> int | None:
        """The upstream's clock at `now`, at least; None before any state told it."""
        return None if self._offset is None else int(now * 1000.0 + self._offset)

    def lag_s(self, time_ms: int, now: float) -> float:
        """How late a state of `time_ms` that arrives at `now` is, against the least delayed one of late."""
        if not time_ms or self._offset is None:
            return 0.0
        return max(0.0, (now * 1000.0 + self._offset - time_ms) / 1000.0)
