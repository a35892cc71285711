"""What every memory of a subscription is: frames and clock readings in, frames to publish out. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from replica.streams.backfill import Backfill
from replica.streams.rows import Row


class Gap(NamedTuple):
    """Something is missing from a stream and can't be had any more.

    It happened after `from_ms` (None: not known since when) and not after `to_ms`, in the upstream's time
    (ms). Said before the rows that come after it.
    """

    from_ms: int | None
    to_ms: int
    reason: str


Out = bytes | Gap
"""What a listener is told: a whole frame, or what is missing."""


class Now(NamedTuple):
    """Both clocks, read once per event: `monotonic` in seconds, `wall_ms` to meet wire times.

    `upstream_ms` is what the upstream's own clock shows at the least; None before anything told that.
    """

    monotonic: float
    wall_ms: int
    upstream_ms: int | None = None


@dataclass(slots=True)
class Tally:
    """Counts of a mirror. `repeated` are rows or states that came again (or too late) and were not told.

    `faults` are ours: a memory or the listener raised.
    """

    frames: int = 0
    rows_healed: int = 0
    repeated: int = 0
    gaps: int = 0
    unreadable: int = 0
    faults: int = 0


class Latest(NamedTuple):
    """The last whole frame of a state: what is under its `data`.

    `received` is our monotonic clock when it came, `time_ms` the upstream's time of it, 0 where it says none.
    """

    data: bytes
    received: float
    time_ms: int


class Whole(NamedTuple):
    """Rows of a log, oldest first, and since when none of them is missing.

    Every row of a `time` from `since_ms` on (ms of the upstream's clock) that was told up to now is here.
    Rows before that may be here too, and others not. The same object as long as nothing changes.
    """

    rows: tuple[Row, ...]
    since_ms: int


class Memory(Protocol):
    """One subscription's. All methods are plain calls; what they return is published in that order."""

    @property
    def wants(self) -> Backfill | None:
        """The questions whose answers it waits for; the same object until they are answered or moot."""
        ...

    @property
    def waits(self) -> bool:
        """Whether it waits for the frame with which a connection begins; `overdue` ends that."""
        ...

    def confirmed(self, now: Now) -> Sequence[Out]:
        """A connection feeds it from here on."""
        ...

    def lost(self) -> None:
        """Nothing feeds it until the next `confirmed`."""
        ...

    def receive(self, frame: bytes, data: bytes, now: Now) -> Sequence[Out]:
        """One data frame, and the slice of it under `data`."""
        ...

    def overdue(self, now: Now) -> Sequence[Out]:
        """The connection's first frame did not come in time."""
        ...

    def healed(self, backfill: Backfill, now: Now) -> Sequence[Out]:
        """`wants` is over, for better or worse."""
        ...

    def snapshot(self) -> tuple[bytes, ...]:
        """Whole frames for who joins late; () while there is nothing that may be shown."""
        ...

    def check(self) -> None:
        """Tests call it after each step."""
        ...
