"""A mirror that does as the test says, and clients that only listen."""

from collections.abc import Hashable
from typing import Any, NamedTuple

import orjson

from replica import Subscription
from server.ws.hub import Hub, HubLimits
from server.ws.subscribing import Wanted, read
from server.ws.topic import Member

ALICE = "0x" + "a1" * 20


class Span(NamedTuple):
    from_ms: int | None
    to_ms: int
    reason: str


class FakeMirror:
    """Remembers, of every held subscription, the last frame, or all of them for those in `logs`."""

    def __init__(self) -> None:
        self.held: dict[Subscription, list[bytes]] = {}
        self.up: set[Subscription] = set()
        self.owed: list[Subscription] = []
        self.refusals: dict[str, str] = {}  # by type: what hold says
        self.logs: set[str] = {"trades", "userFills"}
        self.held_in_all = 0
        self.most = 1000
        self.listener: Hub | None = None
        self.at_once = False  # confirms with the hold, as if it were still warm

    def hold(self, subscription: Subscription) -> str | None:
        assert subscription not in self.held, "held twice"
        if subscription.type in self.refusals:
            return self.refusals[subscription.type]
        if len(self.held) >= self.most:
            return f"Cannot subscribe to more than {self.most} channels."
        self.held[subscription] = []
        self.held_in_all += 1
        if self.at_once:
            self.up.add(subscription)
        return None

    def release(self, subscription: Subscription) -> None:
        del self.held[subscription]
        self.up.discard(subscription)

    def confirmed(self, subscription: Subscription) -> bool:
        return subscription in self.up

    def promised(self, subscription: Subscription) -> None:
        assert subscription in self.held and subscription not in self.up
        self.owed.append(subscription)

    def snapshot(self, subscription: Subscription) -> tuple[bytes, ...]:
        return tuple(self.held[subscription])

    # -- what the upstream does ------------------------------------------------------------------------

    def confirm(self, subscription: Subscription) -> None:
        self.up.add(subscription)
        assert self.listener is not None
        self.listener.confirmed(subscription)

    def confirm_all(self) -> None:
        for subscription in tuple(self.held):
            self.confirm(subscription)

    def refuse(self, subscription: Subscription, text: str) -> None:
        del self.held[subscription]
        self.up.discard(subscription)
        assert self.listener is not None
        self.listener.refused(subscription, text)

    def push(self, subscription: Subscription, value: Any) -> bytes:
        """The frame that was pushed; to nobody while it is not held."""
        text: bytes = orjson.dumps({"channel": subscription.type, "data": value})
        if subscription in self.held:
            if subscription not in self.up:
                self.confirm(subscription)  # always before the first frame
            kept = self.held[subscription]
            if subscription.type not in self.logs:
                kept.clear()
            kept.append(text)
            assert self.listener is not None
            self.listener.frame(subscription, text)
        return text


class Ear:
    """A sink: everything that it was sent, unpacked, with the key it came with."""

    def __init__(self) -> None:
        self.texts: list[bytes] = []
        self.keys: list[Hashable | None] = []
        self.holds: dict[Subscription, Member] = {}

    def send(self, frame: bytes, key: Hashable | None) -> None:
        self.texts.append(unpacked(frame))
        self.keys.append(key)

    @property
    def heard(self) -> list[Any]:
        """As values; heard once."""
        texts, self.texts = self.texts, []
        return [orjson.loads(text) for text in texts]


def unpacked(frame: bytes) -> bytes:
    """The text of one unmasked frame; the rest of the suite reads frames with a library of others."""
    size, start = frame[1], 2
    if size == 126:
        size, start = int.from_bytes(frame[2:4], "big"), 4
    elif size == 127:
        size, start = int.from_bytes(frame[2:10], "big"), 10
    assert frame[0] == 0x81 and len(frame) == start + size
    return frame[start:]


def wanted(type_: str = "allMids", **fields: Any) -> Wanted:
    message = {"type": type_, **fields}
    found = read(message, orjson.dumps({"method": "subscribe", "subscription": message}))
    assert isinstance(found, Wanted), found
    return found


def known(coins: dict[str, bool | None], subscription: Subscription) -> bool | None:
    """As a universe of these coins and of no dexes."""
    fields = dict(subscription.fields)
    return coins.get(str(fields["coin"]), False) if "coin" in fields else "dex" not in fields


class Stage:
    """A hub between the two, at a time that the test sets."""

    def __init__(self, **limits: Any) -> None:
        self.mirror = FakeMirror()
        self.coins: dict[str, bool | None] = {"BTC": True, "ETH": True}
        self.hub = Hub(self.mirror, lambda one: known(self.coins, one), HubLimits(**limits), epoch="run")
        self.mirror.listener = self.hub
        self.now = 100.0

    def subscribe(self, ear: Ear, type_: str = "allMids", **fields: Any) -> str | None:
        return self.hub.subscribe(ear, ear.holds, wanted(type_, **fields), self.now)

    def unsubscribe(self, ear: Ear, type_: str = "allMids", **fields: Any) -> str | None:
        return self.hub.unsubscribe(ear, ear.holds, wanted(type_, **fields), self.now)

    def later(self, seconds: float) -> None:
        self.now += seconds
        self.hub.tick(self.now)


def acknowledgement(method: str = "subscribe", type_: str = "allMids", **fields: Any) -> Any:
    subscription = {"type": type_, **fields}
    return {
        "channel": "subscriptionResponse",
        "data": {"method": method, "subscription": subscription},
    }
