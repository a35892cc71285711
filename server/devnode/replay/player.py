"""Lets the recording happen: one timer walks through the happenings, in their order, at their moments.

Time begins with the first client, so that whoever is started after the replay misses nothing. A loop that
was held up makes up for it in one stretch; nothing is left out and nothing overtakes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from server.devnode.replay.script import Down, Pushed, Refused, Script, Up
from server.devnode.subscriptions import Subscription

REFUSED_STATUS = 503
"""For a dial that found nobody: a server that is there can't be as silent as one that is not."""


class Listener(Protocol):
    """One connection. Neither method blocks or raises."""

    had: dict[Subscription, int]
    """Which frame of a stream it was given last; the player's own notes."""

    def put(self, frame: bytes) -> None: ...

    def end(self, code: int | None, why: str) -> None:
        """The connection is over once what was put is sent. `code` None: without a close frame."""


class Player:
    """The mutable state is the place in the script, who is connected, who listens, and what was pushed last.

    `speed` is how many seconds of the recording go by in one. Without `drops` connections neither end nor
    are refused, whatever was recorded.
    """

    def __init__(self, script: Script, *, speed: float, drops: bool, say: Callable[[str], None]) -> None:
        self._script = script
        self._speed = speed
        self._drops = drops
        self._say = say
        self._began: float | None = None
        self._place = 0
        self._timer: asyncio.TimerHandle | None = None
        self._connected: dict[Listener, None] = {}
        self._channels: dict[Subscription, dict[Listener, None]] = {}
        self._last: dict[Subscription, tuple[int, bytes]] = {}
        self._up = script.connected
        self.over = False

    # -- time ------------------------------------------------------------------------------------------

    def moment(self) -> float:
        """Where in the recording we are; from the first call on, it plays."""
        loop = asyncio.get_running_loop()
        if self._began is None:
            self._began = loop.time()
            self._play()
        return (loop.time() - self._began) * self._speed

    def takes(self, recorded_s: float) -> float:
        """How long so much of the recording's time takes here."""
        return recorded_s / self._speed

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _due(self, at: float) -> float:
        assert self._began is not None
        return self._began + at / self._speed

    def _play(self) -> None:
        """Do everything that is due and set the timer for what comes next."""
        loop = asyncio.get_running_loop()
        happenings = self._script.happenings
        while self._place < len(happenings):
            at, what = happenings[self._place]
            if self._due(at) > loop.time():
                self._timer = loop.call_at(self._due(at), self._play_next)
                return
            self._happen(what)
        if self._due(self._script.length_s) > loop.time():
            self._timer = loop.call_at(self._due(self._script.length_s), self._end)
        else:
            self._end()

    def _play_next(self) -> None:
        """The timer's: what it was set for is due, even where the clock is a rounding error short of it."""
        self._happen(self._script.happenings[self._place][1])
        self._play()

    def _end(self) -> None:
        self.over = True
        self._say(f"the recording is over ({self._script.length_s:.1f} s): it stays at its end")

    # -- what happens ----------------------------------------------------------------------------------

    def _happen(self, what: object) -> None:
        place, self._place = self._place, self._place + 1
        if isinstance(what, Pushed):
            self._push(place, what)
        elif isinstance(what, Up):
            self._up = True
        elif isinstance(what, Down):
            self._up = False
            if self._drops:
                # What a later joiner gets is what was pushed on the connection that comes then.
                self._last.clear()
                if what.by_upstream:
                    for listener in list(self._connected):
                        listener.end(what.code, what.why)

    def _push(self, place: int, what: Pushed) -> None:
        stream = what.stream
        if stream is None:
            for listener in list(self._connected):
                listener.put(what.frame)
            return
        self._last[stream] = (place, what.frame)
        for listener in list(self._channels.get(stream, ())):
            listener.had[stream] = place
            listener.put(what.frame)

    # -- clients ---------------------------------------------------------------------------------------

    def fate_of_dial(self) -> int | None:
        """The status with which a websocket is refused at this moment, None for a welcome.

        While the recording has no connection a dial shares the fate of the recording's next one. A welcomed
        client hears nothing before that is up.
        """
        self.moment()
        if self._up or not self._drops:
            return None
        for place in range(self._place, len(self._script.happenings)):
            _, what = self._script.happenings[place]
            if isinstance(what, Refused):
                return REFUSED_STATUS if what.status is None else what.status
            if isinstance(what, Up):
                return None
        return None

    def connect(self, listener: Listener) -> None:
        self._connected[listener] = None

    def disconnect(self, listener: Listener) -> None:
        """It has left its streams."""
        self._connected.pop(listener, None)

    def refusal(self, stream: Subscription) -> str | None:
        """The error text with which a subscription is refused at this moment."""
        timeline = self._script.refusals.get(stream.user or "")
        return None if timeline is None else timeline.find(self.moment())[1]

    def join(self, stream: Subscription, listener: Listener) -> None:
        """Send from now on. The last frame comes at once, unless this connection has had it."""
        self._channels.setdefault(stream, {})[listener] = None
        last = self._last.get(stream)
        if last is not None and listener.had.get(stream) != last[0]:
            listener.had[stream] = last[0]
            listener.put(last[1])

    def leave(self, stream: Subscription, listener: Listener) -> None:
        channel = self._channels[stream]
        del channel[listener]
        if not channel:
            del self._channels[stream]
