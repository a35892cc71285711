"""What waits to be written: bounded, and honest about what found no room.

The event loop puts, the writer's thread takes. Neither waits for the other longer than a list takes to change
hands.
"""

from dataclasses import dataclass
from threading import Lock

from replica.recording.format import Entry, entry


@dataclass(slots=True)
class Loss:
    """Entries that are not in the recording, until somebody says so in it."""

    since: float = 0.0
    until: float = 0.0
    wall: float = 0.0
    records: int = 0
    bytes: int = 0

    def add(self, one: Entry) -> None:
        """Count an entry; one that told of a loss itself counts as what it told of."""
        if not self.records:
            self.since = one.at
        self.until, self.wall = max(self.until, one.at), one.wall
        if one.kind == "gap":
            since, records, size = (one.members[name] for name in ("since", "records", "bytes"))
            assert isinstance(since, int | float) and isinstance(records, int) and isinstance(size, int)
            self.since = min(self.since, since)
            self.records += records
            self.bytes += size
        else:
            self.records += 1
            self.bytes += one.size

    def told(self) -> Entry:
        return entry(
            self.until, self.wall, "gap", since=round(self.since, 6), records=self.records, bytes=self.bytes
        )


class Backlog:
    """Holds up to `limit` bytes of entries. The mutable state is `_waiting`, `_size` and `_loss`."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = Lock()
        self._waiting: list[Entry] = []
        self._size = 0
        self._taken = 0
        self._loss: Loss | None = None

    def put(self, one: Entry) -> bool:
        """Keep an entry, or count it as lost. True when it is time to take: half of the room is used.

        Once there was no room, nothing is kept before the next `take`: what is lost is one stretch of time.
        """
        with self._lock:
            if self._loss is not None or self._size + one.size > self._limit:
                self._loss = self._loss or Loss()
                self._loss.add(one)
                return True
            self._waiting.append(one)
            self._size += one.size
            return self._size - self._taken > self._limit // 2

    def take(self) -> list[Entry]:
        """Everything that waits, in order, and what was lost after it as a `gap`. Call `wrote` next."""
        with self._lock:
            batch, self._waiting = self._waiting, []
            self._taken = self._size
            if self._loss is not None:
                batch.append(self._loss.told())
                self._loss = None
            return batch

    def wrote(self) -> None:
        """What was taken is off our hands: its room is free."""
        with self._lock:
            self._size -= self._taken
            self._taken = 0
