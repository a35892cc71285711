"""`POST /info` of a replay: what was answered then. A request and a moment in, what becomes of it out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from server.devnode.clearinghouse import render_zero
from server.devnode.info import DEX_TYPES, FAILED, Answer, InfoRequest, ok, parse
from server.devnode.markets import MAIN_DEX
from server.devnode.recorded import canonical, unrecorded
from server.devnode.replay.script import Answered, Script

NOT_READ = (msgspec.DecodeError, UnicodeError, RecursionError)


class Outcome(NamedTuple):
    """`answer` after `after_s` of the recording's time; None: the connection is cut then instead."""

    answer: Answer | None
    after_s: float = 0.0


class Answers:
    """Which answer, in this order:

    1. The recorded one to the same request (as in `recorded`: user in any case, a null field as left out):
       the newest that was asked for at or before this moment, else the first later one.
    2. A clearinghouseState is the one that was pushed, chosen likewise, where that is newer than a recorded
       answer or there is none. A recorded refusal or failure stands: that is what happened to reads then.
    3. As from a folder of recordings that holds none: empty for accounts, a refusal for everything else.
    """

    def __init__(self, script: Script) -> None:
        self._script = script
        self.dexes: Sequence[str] = _dexes(script)
        asked = (msgspec.json.decode(request) for request in script.answers)
        states = (one["user"] for one in asked if one.get("type") == "clearinghouseState" and "user" in one)
        self.addresses: Sequence[str] = tuple(dict.fromkeys((*script.states, *states)))

    def find(self, fields: Mapping[str, Any], moment: float, now_ms: int) -> Outcome:
        """What becomes of a request that is a JSON object. `now_ms` is the `time` of empty states."""
        timeline = self._script.answers.get(canonical(fields))
        asked, answered = (None, None) if timeline is None else timeline.find(moment)
        request = parse(fields)
        if isinstance(request, InfoRequest) and request.kind == "clearinghouseState":
            pushed = self._pushed(request, moment)
            if pushed is not None and (
                answered is None
                or asked is None
                or (answered.status == 200 and _nearer(pushed[0], asked, moment))
            ):
                return Outcome(ok(pushed[1]))
        if answered is not None:
            return _outcome(answered)
        if isinstance(request, Answer):
            return Outcome(request)
        if request.kind in DEX_TYPES and request.dex not in self.dexes:
            return Outcome(FAILED)
        if request.kind == "clearinghouseState":
            return Outcome(ok(render_zero(now_ms)))
        return Outcome(unrecorded(request.kind, now_ms))

    def _pushed(self, request: InfoRequest, moment: float) -> tuple[float, bytes] | None:
        timeline = self._script.states.get(request.user)
        if timeline is None:
            return None
        at, frame = timeline.find(moment)
        state = states_in(frame).get(request.dex)
        return None if state is None else (at, state)


def _nearer(one: float, other: float, moment: float) -> bool:
    """Whether `one` is chosen before `other`: the newest up to this moment, else the first later one."""
    if one <= moment and other <= moment:
        return one > other
    return one < other


def _outcome(answered: Answered) -> Outcome:
    if answered.status is None:
        return Outcome(None, answered.took_s)
    return Outcome(Answer(answered.status, answered.body, answered.content_type), answered.took_s)


class _AllDexs(msgspec.Struct):
    states: tuple[tuple[str, msgspec.Raw], ...] = msgspec.field(name="clearinghouseStates")


class _OneDex(msgspec.Struct):
    state: msgspec.Raw = msgspec.field(name="clearinghouseState")
    dex: str = MAIN_DEX


class _Frame(msgspec.Struct):
    data: _AllDexs


class _FrameOfOne(msgspec.Struct):
    data: _OneDex


def states_in(frame: bytes) -> Mapping[str, bytes]:
    """The account states in a frame by dex, as slices of it; none of what is no such frame."""
    try:
        return {dex: bytes(raw) for dex, raw in msgspec.json.decode(frame, type=_Frame).data.states}
    except NOT_READ:
        pass  # the other form
    try:
        one = msgspec.json.decode(frame, type=_FrameOfOne).data
    except NOT_READ:
        return {}
    return {one.dex: bytes(one.state)}


def _dexes(script: Script) -> tuple[str, ...]:
    """Every dex that the recording knows of, the main one first."""
    names = [MAIN_DEX]
    listed = script.answers.get(canonical({"type": "perpDexs"}))
    if listed is not None:
        _, answered = listed.find(0.0)
        try:
            rows = msgspec.json.decode(answered.body, type=list[dict[str, Any] | None])
        except NOT_READ:
            rows = []
        names += [str(row["name"]) for row in rows if row is not None and "name" in row]
    for timeline in script.states.values():
        _, frame = timeline.find(script.length_s)
        names += states_in(frame)
    return tuple(dict.fromkeys(names))
