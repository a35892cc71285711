"""Who listens to what, and when it is sent next. One rendering per channel and push, however many listen.

Every channel has its own timer, at a phase of the push period that follows from its name. So a thousand
accounts are a thousand small callbacks spread evenly, never one long stretch on the event loop.
"""

from __future__ import annotations

import asyncio
import math
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from server.devnode.abilities import Source
from server.devnode.faults import Faults
from server.devnode.stats import Stats
from server.devnode.subscriptions import Subscription


class Script(Protocol):
    """What is said on the channels, and when."""

    def period(self, subscription: Subscription) -> float | None:
        """Seconds between two frames; None where nothing is due by itself."""

    def opened(self, subscription: Subscription) -> None:
        """A channel begins."""

    def closed(self, subscription: Subscription) -> None:
        """Nobody listens any more."""

    def opening(self, subscription: Subscription) -> str | None:
        """The first frame of a listener."""

    def frame(self, subscription: Subscription) -> str | None:
        """The frame of a period."""

    def heard(self, events: Sequence[Any]) -> Iterable[tuple[Subscription, str]]:
        """What is to be sent because of some events of the source, to channels that were opened."""


class States:
    """The script of a source that has states and mids, and no events."""

    def __init__(self, source: Source, now_ms: Callable[[], int], push_s: float) -> None:
        self._source = source
        self._now_ms = now_ms
        self._push_s = push_s

    def period(self, subscription: Subscription) -> float | None:
        return self._push_s

    def opened(self, subscription: Subscription) -> None:
        """Nothing is kept of channels."""

    closed = opened

    def opening(self, subscription: Subscription) -> str | None:
        return self.frame(subscription)

    def heard(self, events: Sequence[Any]) -> Iterable[tuple[Subscription, str]]:
        return ()

    def frame(self, subscription: Subscription) -> str | None:
        source, user, dex = self._source, subscription.user, subscription.dex
        if user is None:
            mids = source.mids(dex or "")
            if mids is None:
                return None
            # The frame of the main dex has no `dex` key; clients drop one that does.
            head = f'"dex":"{dex}",' if dex else ""
            return f'{{"channel":"allMids","data":{{{head}"mids":{mids}}}}}'
        now_ms = self._now_ms()
        if dex is not None:
            return (
                f'{{"channel":"clearinghouseState","data":{{"dex":"{dex}","user":"{user}"'
                f',"clearinghouseState":{source.state(user, dex, now_ms)}}}}}'
            )
        states = ",".join(f'["{name}",{source.state(user, name, now_ms)}]' for name in source.dexes)
        return (
            f'{{"channel":"allDexsClearinghouseState","data":{{"user":"{user}"'
            f',"clearinghouseStates":[{states}]}}}}'
        )


BLOCK_S = 0.001
"""The longest that one block lasts: so long what happens is kept together for those who listen."""


class Listener(Protocol):
    """One connection. `put` never blocks and never raises: a listener that cannot keep up ends itself."""

    def put(self, frame: str) -> None: ...


@dataclass(slots=True)
class _Channel:
    subscription: Subscription
    # A dict for its order: listeners are served in the order in which they came.
    listeners: dict[Listener, None] = field(default_factory=dict)
    timer: asyncio.TimerHandle | None = None


class Feeds:
    """The mutable state is the channels, of which each exists as long as somebody listens to it, and what
    has happened in the block that is not over.

    What happened at one time is told in one frame, as on the exchange. So a block is over before anybody
    joins, or is told a state, or anything is dated later; and after `BLOCK_S` by itself.
    """

    def __init__(self, script: Script, stats: Stats, faults: Faults) -> None:
        self._script = script
        self._stats = stats
        self._faults = faults
        self._channels: dict[Subscription, _Channel] = {}
        self._block: list[Any] = []
        self._closing: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._channels)

    def join(self, subscription: Subscription, listener: Listener) -> None:
        """Send the first frame at once and then what the script says. The caller has acknowledged before."""
        self.close_block()
        channel = self._channels.get(subscription)
        if channel is None:
            channel = self._channels[subscription] = _Channel(subscription)
            self._script.opened(subscription)
            self._arm(channel)
        channel.listeners[listener] = None
        self._send(subscription, [listener], self._script.opening(subscription))

    def heard(self, events: Sequence[Any]) -> None:
        """Something happened in the block of now: who listens to it is told when that is over."""
        if not self._channels or not events:
            return
        self._block += events
        if self._closing is None:
            self._closing = asyncio.get_running_loop().call_later(BLOCK_S, self.close_block)
        elif self._closing.when() <= asyncio.get_running_loop().time():
            self.close_block()  # who keeps the loop busy does not keep the block open

    def close_block(self) -> None:
        """Tell what has happened; what happens from now on is of a later time."""
        if self._closing is None:
            return
        self._closing.cancel()
        events, self._block, self._closing = self._block, [], None
        for subscription, frame in self._script.heard(events):
            self._send(subscription, list(self._channels[subscription].listeners), frame)

    def leave(self, subscription: Subscription, listener: Listener) -> None:
        self.close_block()
        channel = self._channels[subscription]
        del channel.listeners[listener]
        self._faults.left(listener, subscription)
        if not channel.listeners:
            if channel.timer is not None:
                channel.timer.cancel()
            del self._channels[subscription]
            self._script.closed(subscription)

    def push(self, user: str | None) -> None:
        """Send every channel now, or those of one account. The next push is due when it was."""
        self.close_block()
        for subscription, channel in list(self._channels.items()):
            if user in (None, subscription.user):
                self._send(subscription, list(channel.listeners), self._script.frame(subscription))

    def stale_push(self, user: str | None) -> None:
        """Repeat the oldest frame of every channel, or of those of one account."""
        for subscription, channel in list(self._channels.items()):
            if user in (None, subscription.user) and (frame := self._faults.oldest(subscription)):
                for listener in list(channel.listeners):
                    listener.put(frame)

    def _arm(self, channel: _Channel) -> None:
        loop = asyncio.get_running_loop()
        subscription = channel.subscription
        period = self._script.period(subscription)
        if period is None:
            return
        name = subscription.user or f"{subscription.kind}/{subscription.coin or subscription.dex}"
        phase = zlib.crc32(name.encode()) / 2**32
        periods = loop.time() / period - phase
        due = (math.floor(periods) + 1 + phase) * period
        if due <= loop.time():  # the quotient was a whole number but for its last bit
            due += period
        channel.timer = loop.call_at(due, self._push, channel, due, period)

    def _push(self, channel: _Channel, due: float, period: float) -> None:
        loop = asyncio.get_running_loop()
        # From the time it was due, not from now: a late push must not shift the phase. A loop that was
        # held up for whole periods skips them.
        missed = max(0, math.floor((loop.time() - due) / period))
        due += (missed + 1) * period
        channel.timer = loop.call_at(due, self._push, channel, due, period)
        self.close_block()
        subscription = channel.subscription
        self._send(subscription, list(channel.listeners), self._script.frame(subscription))

    def _send(self, subscription: Subscription, listeners: list[Listener], frame: str | None) -> None:
        if frame is None:
            return
        self._stats.frames[subscription.kind] += len(listeners)
        for listener in listeners:
            for late_s, text in self._faults.push(listener, subscription, frame):
                if late_s:
                    asyncio.get_running_loop().call_later(late_s, listener.put, text)
                else:
                    listener.put(text)
