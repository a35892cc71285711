"""The exchange's limits per client address, as pure ledgers that take the time of the loop.

Source: official docs, rate limits and user limits (2026-08). Each limit can be switched off alone.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

WINDOW_S = 60.0

_LIGHT = frozenset(
    {"l2Book", "allMids", "clearinghouseState", "orderStatus", "spotClearinghouseState", "exchangeStatus"}
)
# One more weight for every 20 (candles: 60) rows of the answer. Whether the quotient is rounded is not
# published; floor, like the formula for batches that is.
_PER_20 = frozenset(
    {
        "recentTrades", "historicalOrders", "userFills", "userFillsByTime", "fundingHistory", "userFunding",
        "userNonFundingLedgerUpdates", "twapHistory", "userTwapSliceFills", "userTwapSliceFillsByTime",
        "delegatorHistory", "delegatorRewards", "validatorStats",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits per client address; None switches one off."""

    users: int | None = 10  # distinct addresses across user-specific subscriptions, all connections
    subscriptions: int | None = 1000
    messages_per_minute: int | None = 2000
    connections: int | None = 10
    connections_per_minute: int | None = 30
    weight_per_minute: int | None = 1200
    # Of an account, beside one for each USDC it has traded; the exchange's is 10,000. Off: a bot that is
    # developed here asks more often than it trades.
    actions_per_account: int | None = None

    @classmethod
    def off(cls) -> Limits:
        return cls(
            users=None,
            subscriptions=None,
            messages_per_minute=None,
            connections=None,
            connections_per_minute=None,
            weight_per_minute=None,
            actions_per_account=None,
        )


def info_weight(kind: str, items: int = 0) -> int:
    """The weight of an `/info` request whose answer had `items` rows."""
    base = 2 if kind in _LIGHT else 60 if kind == "userRole" else 20
    if kind in _PER_20:
        return base + items // 20
    return base + items // 60 if kind == "candleSnapshot" else base


def exchange_weight(action: Mapping[str, Any]) -> int:
    """1 + floor(batch length / 40), the batch being the list of orders, cancels or modifies."""
    batches = (action.get(name) for name in ("orders", "cancels", "modifies"))
    return 1 + max((len(batch) for batch in batches if isinstance(batch, list)), default=0) // 40


class Window:
    """A sliding 60 s window: no such stretch of time ever holds more than `limit`."""

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self._taken: deque[tuple[float, int]] = deque()
        self._total = 0

    def take(self, cost: int, now: float) -> bool:
        """Take `cost` if it fits, all or nothing. What is refused does not count."""
        if self._limit is None:
            return True
        while self._taken and self._taken[0][0] <= now - WINDOW_S:
            self._total -= self._taken.popleft()[1]
        if self._total + cost > self._limit:
            return False
        self._taken.append((now, cost))
        self._total += cost
        return True

    def used(self, now: float) -> int:
        return sum(cost for at, cost in self._taken if at > now - WINDOW_S)


@dataclass(slots=True)
class Usage:
    """Everything one client address has used up. Changed by `Ledger` alone."""

    weight: Window
    messages: Window
    opened: Window
    connections: int = 0
    subscriptions: int = 0
    users: Counter[str] = field(default_factory=Counter)  # address -> subscriptions that name it


class Ledger:
    """The books of all client addresses. A call asks and takes in one; it says what was refused."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._usage: dict[str, Usage] = {}

    def of(self, ip: str) -> Usage:
        usage = self._usage.get(ip)
        if usage is None:
            limits = self.limits
            usage = self._usage[ip] = Usage(
                Window(limits.weight_per_minute),
                Window(limits.messages_per_minute),
                Window(limits.connections_per_minute),
            )
        return usage

    def request(self, ip: str, weight: int, now: float) -> bool:
        return self.of(ip).weight.take(weight, now)

    def connect(self, ip: str, now: float) -> bool:
        usage = self.of(ip)
        if self.limits.connections is not None and usage.connections >= self.limits.connections:
            return False
        if not usage.opened.take(1, now):
            return False
        usage.connections += 1
        return True

    def disconnect(self, ip: str) -> None:
        self.of(ip).connections -= 1

    def message(self, ip: str, now: float) -> str | None:
        """Count a message from the client. Returns the error text when it is one too many."""
        if self.of(ip).messages.take(1, now):
            return None
        return f"Cannot send more than {self.limits.messages_per_minute} messages per minute."

    def subscribe(self, ip: str, user: str | None) -> str | None:
        """Count a subscription. Returns the error text, which names no request, when it is refused."""
        usage, limits = self.of(ip), self.limits
        if limits.subscriptions is not None and usage.subscriptions >= limits.subscriptions:
            return f"Cannot subscribe to more than {limits.subscriptions} channels."
        if user is not None:
            if limits.users is not None and user not in usage.users and len(usage.users) >= limits.users:
                return f"Cannot track more than {limits.users} total users."
            usage.users[user] += 1
        usage.subscriptions += 1
        return None

    def unsubscribe(self, ip: str, user: str | None) -> None:
        """Give a subscription back. The slot of its user is free at once if it was the last one."""
        usage = self.of(ip)
        usage.subscriptions -= 1
        if user is not None:
            usage.users[user] -= 1
            if not usage.users[user]:
                del usage.users[user]
