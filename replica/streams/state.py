"""State-like streams: the last frame is all that counts."""

from collections.abc import Callable, Mapping, Sequence

import msgspec

from replica.streams.backfill import Backfill
from replica.streams.memory import Latest, Now, Out, Tally

OLDER_FOR_S = 60.0
"""How long frames that are older than the one shown are passed over. A clock that was set back is believed
then: what is shown would stand still for ever."""


class _Time(msgspec.Struct):
    time: int = 0


class _State(msgspec.Struct):
    state: _Time = msgspec.field(name="clearinghouseState")


class _AllDexs(msgspec.Struct):
    states: tuple[tuple[str, _Time], ...] = msgspec.field(name="clearinghouseStates")


class _User(msgspec.Struct):
    time: int = msgspec.field(name="serverTime", default=0)


class _WebData3(msgspec.Struct):
    user: _User = msgspec.field(name="userState")


_time = msgspec.json.Decoder(_Time).decode
_state = msgspec.json.Decoder(_State).decode
_all_dexs = msgspec.json.Decoder(_AllDexs).decode
_web_data3 = msgspec.json.Decoder(_WebData3).decode

TIMES: Mapping[str, Callable[[bytes], int]] = {
    "l2Book": lambda data: _time(data).time,
    "bbo": lambda data: _time(data).time,
    "clearinghouseState": lambda data: _state(data).state.time,
    "allDexsClearinghouseState": lambda data: max((s.time for _, s in _all_dexs(data).states), default=0),
    "webData3": lambda data: _web_data3(data).user.time,
}
"""Where a frame says of what time it is, ms; the other types' frames don't."""


class StateMemory:
    """The latest frame, as it came.

    A frame older (by its own time) than the one shown is passed over. After `lost` who joins gets nothing
    until the next frame: the upstream's clients take the first frame for how things are now, and a frame
    has no place in which to say that it is old. Who was there before has what he has.
    """

    wants: Backfill | None = None
    waits = False

    def __init__(self, type_: str, tally: Tally) -> None:
        self._time_of = TIMES.get(type_)
        self._tally = tally
        self._frame: bytes | None = None
        self._latest: Latest | None = None
        self._fresh = False
        self._shown_ms = 0
        self._shown_at = 0.0

    def confirmed(self, now: Now) -> Sequence[Out]:
        return ()

    def lost(self) -> None:
        self._fresh = False

    def receive(self, frame: bytes, data: bytes, now: Now) -> Sequence[Out]:
        time_ms = 0
        if self._time_of is not None:
            try:
                time_ms = self._time_of(data)
            except (msgspec.DecodeError, UnicodeError, RecursionError):
                self._tally.unreadable += 1
            recently = now.monotonic - self._shown_at < OLDER_FOR_S
            if 0 < time_ms < self._shown_ms and recently:
                self._tally.repeated += 1
                return ()
            if time_ms:
                self._shown_ms = time_ms
                self._shown_at = now.monotonic
        self._frame = frame
        self._latest = Latest(data, now.monotonic, time_ms)
        self._fresh = True
        return (frame,)

    def overdue(self, now: Now) -> Sequence[Out]:
        return ()

    def healed(self, backfill: Backfill, now: Now) -> Sequence[Out]:
        return ()

    def snapshot(self) -> tuple[bytes, ...]:
        return (self._frame,) if self._fresh and self._frame is not None else ()

    def latest(self) -> Latest | None:
        """What who joins now would get, for readers; None while that is nothing."""
        return self._latest if self._fresh else None

    def check(self) -> None:
        assert self._frame is not None or not self._fresh

    def __repr__(self) -> str:
        size = 0 if self._frame is None else len(self._frame)
        return f"<state {size} bytes{'' if self._fresh else ' STALE'}>"
