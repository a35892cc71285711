"""How many actions an account may send: as many as it has traded USDC, and some to begin with.

Source: official docs, address-based limits; the text of the refusal was recorded (spec/limits_errors.md 2).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from server.devnode.engine.units import usd

FREE = 10_000  # of an account, before it has traded anything
CANCELS = 100_000  # more may be cancelled than placed: by so many, or twice as many
PAUSE_MS = 10_000  # who has used up all may send one action in so long
STALE = 5  # an action that came after its `expiresAfter` counts as so many
TOO_MANY = (
    "Too many cumulative requests sent ({} > {}) for cumulative volume traded ${}. "
    "Place taker orders to free up 1 request per USDC traded."
)


class Allowance:
    """The mutable state is what was sent, and when one was last let through beyond what is allowed.

    `free` is what an account may send untraded. None enforces nothing, and all is counted still.
    """

    def __init__(self, free: int | None) -> None:
        self.used: Counter[str] = Counter()
        self._free = free
        self._beyond: dict[str, int] = {}

    def cap(self, volume: int) -> int:
        """What somebody who has traded so many micro-USD may send."""
        return (FREE if self._free is None else self._free) + volume // 1_000_000

    def take(
        self, user: str, action: Mapping[str, Any], volume: int, now_ms: int, reserved: int = 0
    ) -> str | None:
        """Count an action, or return the text of its refusal: what is refused does not count.

        `reserved` actions were paid for, and are used up before the others.
        """
        cap, used = self.cap(volume) + reserved, self.used[user] + items_of(action)
        if action["type"] in ("cancel", "cancelByCloid"):
            cap = min(cap + CANCELS, 2 * cap)
        if self._free is not None and used > cap:
            if now_ms < self._beyond.get(user, now_ms - PAUSE_MS) + PAUSE_MS:
                return TOO_MANY.format(used, cap, usd(volume))
            self._beyond[user] = now_ms
        self.used[user] = used
        return None

    def expired(self, user: str, action: Mapping[str, Any]) -> None:
        """Count an action that came too late."""
        self.used[user] += STALE * items_of(action)

    def snapshot(self) -> object:
        return Counter(self.used), dict(self._beyond)

    def revert(self, snapshot: Any) -> None:
        used, beyond = snapshot
        self.used, self._beyond = Counter(used), dict(beyond)


def items_of(action: Mapping[str, Any]) -> int:
    """What an action counts for its account."""
    lists = (action.get(name) for name in ("orders", "cancels", "modifies"))
    return max([1, *(len(rows) for rows in lists if isinstance(rows, list))])
