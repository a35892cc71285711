"""The two clocks everything below the composition root is given: nothing reads the time by itself."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Clock:
    """`monotonic` (s) measures durations and ages; `wall` (s since 1970) only meets wire timestamps."""

    monotonic: Callable[[], float]
    wall: Callable[[], float]
