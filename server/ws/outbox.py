"""What waits for one client that reads slower than it is sent to. Pure.

Of a state only the newest is worth sending: it takes the place of the older one, in its place in the line.
Everything else waits in full and in order. What waits is bounded in messages, in bytes and in time; beyond a
bound the verdict is a text that says by how much, and the client is let go.
"""

from collections import OrderedDict
from collections.abc import Hashable
from typing import NamedTuple


class OutboxLimits(NamedTuple):
    messages: int = 1000
    size: int = 8 << 20  # bytes
    behind_s: float = 30.0


class Outbox:
    """Made when a client's socket takes no more. `now` is the monotonic clock, `size` the bytes that wait."""

    __slots__ = ("_limits", "_since", "_waiting", "size")

    def __init__(self, limits: OutboxLimits, now: float) -> None:
        self._limits = limits
        self._waiting: OrderedDict[Hashable, tuple[bytes, float]] = OrderedDict()
        self.size = 0
        self._since = now  # when its socket last took something

    def put(self, frame: bytes, key: Hashable | None, now: float) -> None:
        """`key` None: to be kept whatever comes after; else the next one with this key takes its place."""
        if key is None:
            key = _Place()
        older = self._waiting.get(key)
        if older is None:
            self._waiting[key] = (frame, now)
        else:
            # The place in the line has been waiting since the first of them.
            self._waiting[key] = (frame, older[1])
            self.size -= len(older[0])
        self.size += len(frame)

    def pop(self) -> bytes | None:
        """The next to send."""
        if not self._waiting:
            return None
        _, (frame, _) = self._waiting.popitem(last=False)
        self.size -= len(frame)
        return frame

    def moved(self, now: float) -> None:
        """Its socket took something."""
        self._since = now

    def verdict(self, now: float) -> str | None:
        """Why this client is not worth waiting for any longer, or None."""
        limits = self._limits
        if len(self._waiting) > limits.messages:
            return f"{len(self._waiting)} messages behind"
        # One message may be larger than the bound: it is not behind for that.
        if self.size > limits.size and len(self._waiting) > 1:
            return f"{self.size} bytes behind"
        if self.behind_s(now) > limits.behind_s:
            return f"{self.behind_s(now):.0f} s behind"
        return None

    def behind_s(self, now: float) -> float:
        """How long its oldest message has waited, or its socket has taken nothing."""
        for _, since in self._waiting.values():
            return now - min(since, self._since)
        return now - self._since

    def __len__(self) -> int:
        return len(self._waiting)

    def __repr__(self) -> str:
        return f"<Outbox {len(self)} messages, {self.size} B>"


class _Place:
    """A key that equals no other."""

    __slots__ = ()
