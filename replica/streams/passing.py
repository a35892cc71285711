"""Streams of which nothing can be remembered: events without an identity, and types we do not know."""

from collections.abc import Sequence

from replica.streams.backfill import Backfill
from replica.streams.memory import Gap, Now, Out, Tally


class PassingMemory:
    """Frames go out as they come: `notification`, `outcomeMetaUpdates`, unknown types.

    Two equal notifications may be two events, so nothing is taken for a repetition; no answer of `/info`
    has what was missed, so each new connection begins with a gap. Who joins late begins with the next
    frame: of an unknown type we can't tell a state, which he should have, from an event, which he must not.
    """

    wants: Backfill | None = None
    waits = False

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._since_ms: int | None = None

    def confirmed(self, now: Now) -> Sequence[Out]:
        since, self._since_ms = self._since_ms, now.wall_ms
        if since is None:
            return ()
        return (Gap(since, now.wall_ms, "this stream has no history"),)

    def lost(self) -> None:
        """Something is missing since we last heard: the connection may have been dead for long."""

    def receive(self, frame: bytes, data: bytes, now: Now) -> Sequence[Out]:
        self._since_ms = now.wall_ms
        return (frame,)

    def overdue(self, now: Now) -> Sequence[Out]:
        return ()

    def healed(self, backfill: Backfill, now: Now) -> Sequence[Out]:
        return ()

    def snapshot(self) -> tuple[bytes, ...]:
        return ()

    def check(self) -> None:
        """Nothing is kept."""

    def __repr__(self) -> str:
        return "<passing>"
