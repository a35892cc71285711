"""What a devnode was asked and what it sent, for tests that count upstream calls."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

_KINDS = 200  # kinds come from clients: what exceeds this is counted as "other"


@dataclass(slots=True)
class Stats:
    """Counts since start. All keys are the wire's own names."""

    info: Counter[str] = field(default_factory=Counter)  # /info requests by type, refused ones included
    exchange: Counter[str] = field(default_factory=Counter)  # /exchange requests by action type
    statuses: Counter[int] = field(default_factory=Counter)  # HTTP answers by status
    subscribed: Counter[str] = field(default_factory=Counter)  # accepted subscriptions by type
    unsubscribed: Counter[str] = field(default_factory=Counter)
    posts: Counter[str] = field(default_factory=Counter)  # websocket posts: "info" or "action"
    errors: Counter[str] = field(default_factory=Counter)  # websocket errors by their first two words
    frames: Counter[str] = field(default_factory=Counter)  # data frames by channel
    connections: int = 0  # websocket connections accepted
    refused_connections: int = 0
    dropped: Counter[str] = field(default_factory=Counter)  # cut by us: "idle", "slow" or "fault"

    def count(self, counter: Counter[str], kind: object) -> None:
        """Count something a client named."""
        name = kind[:64] if isinstance(kind, str) else "?"
        if name not in counter and len(counter) >= _KINDS:
            name = "other"
        counter[name] += 1
