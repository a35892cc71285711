"""What time is it at the upstream? Estimated from the times of the states it sends."""

from collections import deque


class UpstreamClock:
    """A lower bound on the upstream's clock, from `time` fields and the moments they reached us.

    A state cannot be from the future: when one of `time` t arrives at wall clock w, the upstream's clock
    was at least t. The best offset t - w of the last minutes is kept, so our own clock may be skewed.
    """

    SPAN_S = 600.0
    _STEP_S = 10.0

    def __init__(self) -> None:
        # Best offset per step of ten seconds: (step, ms), newest last.
        self._best: deque[tuple[int, float]] = deque()

    def observe(self, time_ms: int, wall_s: float) -> None:
        """A state of upstream time `time_ms` arrived at wall clock `wall_s`."""
        if not time_ms:
            return
        offset = time_ms - wall_s * 1000.0
        step = int(wall_s // self._STEP_S)
        if self._best and self._best[-1][0] == step:
            if offset > self._best[-1][1]:
                self._best[-1] = (step, offset)
        else:
            self._best.append((step, offset))
            while self._best[0][0] < step - self.SPAN_S / self._STEP_S:
                self._best.popleft()

    def now_ms(self, wall_s: float) -> int:
        """The upstream's clock at wall clock `wall_s`, at least. The wall clock itself before any state."""
        offset = max((offset for _, offset in self._best), default=0.0)
        return int(wall_s * 1000.0 + offset)
