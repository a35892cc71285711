"""Lets the recording happen: one timer walks through the happenings, in their order, at their moments.

Time begins with the first client, so that whoever is started after the replay misses nothing. A loop that
was held up makes up for it in one stretch; nothing is left out and nothing overtakes. What is done by the
controls is done in one stretch too, without an await.
"""

from __future__ import annotations

import asyncio
import math
from bisect import bisect_right
from collections.abc import Callable
from typing import Any, Protocol

from server.devnode.replay.playhead import Playhead
from server.devnode.replay.script import Down, Happening, Pushed, Refused, Script, Up
from server.devnode.replay.streams import Stays
from server.devnode.subscriptions import Subscription

VERBS = ("pause", "resume", "step", "advance", "seek", "speed")
"""The controls that are offered over HTTP."""

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
    """The mutable state is the playhead, the place in the script, who is connected, who listens, and what was
    pushed last.

    `speed` is how many seconds of the recording go by in one. Without `drops` connections neither end nor
    are refused, whatever was recorded. Bad values for a control are `ValueError`s.
    """

    def __init__(self, script: Script, *, speed: float, drops: bool, say: Callable[[str], None]) -> None:
        self._script = script
        self.head = Playhead(speed)
        self._drops = drops
        self._say = say
        self._place = 0
        self._timer: asyncio.TimerHandle | None = None
        self._connected: dict[Listener, None] = {}
        self._channels: dict[Subscription, dict[Listener, None]] = {}
        self._kept: dict[Subscription, list[tuple[int, bytes]]] = {}
        self._sockets: dict[Subscription, int] = {}  # over which recorded one a stream comes
        self._up = script.connected
        self.over = False

    # -- time ------------------------------------------------------------------------------------------

    def moment(self) -> float:
        """Where in the recording we are; from the first call on, it plays."""
        if self.head.begin(_now()):
            self._play()
        return self.head.moment(_now())

    def takes(self, recorded_s: float) -> float:
        """How long so much of the recording's time takes here."""
        return recorded_s / self.head.speed

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _play(self) -> None:
        """Where time runs: do everything that is due, and set the timer for what comes next."""
        self.stop()
        happenings = self._script.happenings
        while self._place < len(happenings):
            at, what = happenings[self._place]
            if not self._is_due(at, self._play_next):
                return
            self._happen(what)
        if self._is_due(self._script.length_s, self._end):
            self._end()

    def _is_due(self, at: float, then: Callable[[], None]) -> bool:
        """Whether that moment has come; if it is to come, the timer is set for it."""
        due = self.head.due(at)
        if due is None:
            return False
        if due > _now():
            self._timer = asyncio.get_running_loop().call_at(due, then)
            return False
        return True

    def _play_next(self) -> None:
        """The timer's: what it was set for is due, even where the clock is a rounding error short of it."""
        self._happen(self._script.happenings[self._place][1])
        self._play()

    def _end(self) -> None:
        if not self.over:
            self.over = True
            self._say(f"the recording is over ({self._script.length_s:.1f} s): it stays at its end")

    # -- controls --------------------------------------------------------------------------------------

    def pause(self) -> None:
        """Stand still. Requests are answered as of this moment; connections stay, and nothing is pushed."""
        self.head.pause(_now())
        self.stop()

    def resume(self) -> None:
        """Go on from this moment."""
        self.head.resume(_now())
        self._play()

    def speed(self, times: float) -> None:
        """Play so many times as fast as it was recorded, from this moment on."""
        self.head.change_speed(times, _now())
        self._play()

    def step(self, happenings: int = 1) -> int:
        """Let the next ones happen now: pushes, and connections made, lost or refused. Returns how many did.

        The moment is then that of the last of them.
        """
        if happenings < 1:
            raise ValueError(f"{happenings} is no number of happenings from 1")
        coming = self._script.happenings[self._place : self._place + happenings]
        for at, what in coming:
            self.head.move(at, _now())
            self._happen(what)
        if len(coming) < happenings:
            self.head.move(max(self._script.length_s, self.head.moment(_now())), _now())
            self._end()
        self._play()
        return len(coming)

    def advance(self, seconds: float) -> None:
        """Let everything that happens in the next so many seconds of the recording happen now, in order."""
        if not 0 <= seconds < math.inf:
            raise ValueError(f"{seconds} is no number of seconds")
        moment = self.head.moment(_now()) + seconds
        self.head.move(moment, _now())
        while (
            self._place < len(self._script.happenings) and self._script.happenings[self._place][0] <= moment
        ):
            self._happen(self._script.happenings[self._place][1])
        if moment >= self._script.length_s:
            self._end()
        self._play()

    def seek(self, seconds: float | None = None, time: int | None = None) -> None:
        """Be at this moment of the recording, back or forth: `seconds` after its beginning, or at `time`, ms.

        Nothing of what lies between is sent, and every websocket is cut: who comes back finds the upstream
        as it was then.
        """
        moment = self._moment_of(seconds, time)
        for listener in list(self._connected):
            listener.end(None, "")
        self.head.move(moment, _now())
        self._up, self.over = self._script.connected, False
        self._kept.clear()
        self._sockets.clear()
        self._place = self._place_at(moment)
        for place, (_, what) in enumerate(self._script.happenings[: self._place]):
            self._note(place, what)
        self._play()

    def _place_at(self, moment: float) -> int:
        """How many happenings there are up to a moment."""
        return bisect_right(self._script.happenings, moment, key=lambda happening: happening[0])

    def _moment_of(self, seconds: float | None, time: int | None) -> float:
        if (seconds is None) == (time is None):
            raise ValueError("it takes either seconds or a time")
        if time is not None:
            if self._script.began is None:
                raise ValueError("this recording does not say when it was made")
            seconds = time / 1000 - self._script.began
        assert seconds is not None
        if not 0 <= seconds <= self._script.length_s:
            raise ValueError(f"{seconds:g} s is not within the recording's {self._script.length_s:g} s")
        return seconds

    def status(self) -> dict[str, Any]:
        """Where it stands. `moment` and `length` are in seconds, `time` is the moment's in ms since 1970."""
        script, moment = self._script, min(self.head.moment(_now()), self._script.length_s)
        return {
            "recording": script.name,
            "upstream": script.upstream,
            "moment": round(moment, 6),
            "length": script.length_s,
            "time": None if script.began is None else round((script.began + moment) * 1000),
            "speed": self.head.speed,
            "paused": self.head.paused,
            "running": self.head.runs and not self.over,
            "over": self.over,
            "happened": self._place,
            "happenings": len(script.happenings),
            "websockets": len(self._connected),
        }

    # -- what happens ----------------------------------------------------------------------------------

    def _happen(self, what: Happening) -> None:
        place, self._place = self._place, self._place + 1
        self._note(place, what)
        if isinstance(what, Pushed):
            self._push(place, what)
        elif isinstance(what, Down) and what.by_upstream and self._drops:
            for listener in self._listeners_over(what.socket):
                listener.end(what.code, what.why)

    def _listeners_over(self, socket: int) -> list[Listener]:
        """Who listens to something that comes over it. Over the first is also who listens to nothing."""
        others: set[int] = set()
        mine: set[int] = set()
        for stream, listeners in self._channels.items():
            over = mine if self._sockets.get(stream, 0) == socket else others
            over.update(map(id, listeners))
        return [one for one in self._connected if id(one) in mine or (not socket and id(one) not in others)]

    def _note(self, place: int, what: Happening) -> None:
        """What stays of a happening, for who comes later."""
        if isinstance(what, Pushed):
            if what.stream is not None:
                self._sockets[what.stream] = what.socket
                if what.stays is Stays.ALONE:
                    self._kept[what.stream] = [(place, what.frame)]
                elif what.stays is Stays.TOO:
                    self._kept.setdefault(what.stream, []).append((place, what.frame))
        elif isinstance(what, Up):
            self._up |= not what.socket
        elif isinstance(what, Down):
            self._up &= bool(what.socket)
            if self._drops:
                # What a later joiner gets is what was pushed on the connection that comes then.
                for stream in [one for one in self._kept if self._sockets[one] == what.socket]:
                    del self._kept[stream]

    def _push(self, place: int, what: Pushed) -> None:
        stream = what.stream
        if stream is None:
            for listener in list(self._connected):
                listener.put(what.frame)
            return
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
            if isinstance(what, Pushed) or what.socket:
                continue
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
        """Send from now on. What stays of it comes at once, as far as this connection has not had it."""
        self._channels.setdefault(stream, {})[listener] = None
        for place, frame in self._kept.get(stream, ()):
            if listener.had.get(stream, -1) < place:
                listener.had[stream] = place
                listener.put(frame)

    def leave(self, stream: Subscription, listener: Listener) -> None:
        channel = self._channels[stream]
        del channel[listener]
        if not channel:
            del self._channels[stream]


def _now() -> float:
    return asyncio.get_running_loop().time()
