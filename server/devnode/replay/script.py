"""What happens when, read out of a tape: pushes and ends of connections in order, answers by request.

Answers to what the recorded client said (acknowledgements, pongs, refusals) are no happenings: a client of
the replay is answered when it speaks itself.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, TypeVar

from server.devnode.info import address, load
from server.devnode.recorded import canonical
from server.devnode.replay.streams import Sockets, Stays
from server.devnode.replay.tape import Record, Tape
from server.devnode.subscriptions import Subscription

T = TypeVar("T")

_ACCOUNT_STATES = frozenset({"allDexsClearinghouseState", "clearinghouseState"})
REPLIES = frozenset({"subscriptionResponse", "pong", "post"})
FAILED_BY_US = frozenset({"CancelledError"})
"""Failures that say nothing about the upstream: the recorder's own client went away."""


class Pushed(NamedTuple):
    """A message the upstream sent unasked. `stream` None: it says of no subscription that we know."""

    stream: Subscription | None
    frame: bytes
    socket: int = 0
    stays: Stays = Stays.ALONE


class Up(NamedTuple):
    """A recorded websocket was established."""

    socket: int = 0


class Down(NamedTuple):
    """It ended. `code` None where the upstream cut it without a close frame."""

    by_upstream: bool
    code: int | None
    why: str
    socket: int = 0


class Refused(NamedTuple):
    """A dial came to nothing."""

    status: int | None
    socket: int = 0


Happening = Pushed | Up | Down | Refused


class Answered(NamedTuple):
    """What became of a request that was asked then. `status` None: no answer came in this time."""

    took_s: float
    status: int | None
    content_type: str
    body: bytes


class Timeline(Generic[T]):
    """Values by the moment they became true. Put them in order of time."""

    def __init__(self) -> None:
        self._moments: list[float] = []
        self._values: list[T] = []

    def put(self, at: float, value: T) -> None:
        place = bisect_right(self._moments, at)
        self._moments.insert(place, at)
        self._values.insert(place, value)

    def __len__(self) -> int:
        return len(self._values)

    def find(self, moment: float) -> tuple[float, T]:
        """The newest at or before this moment, else the first later one, with its own moment."""
        place = max(0, bisect_right(self._moments, moment) - 1)
        return self._moments[place], self._values[place]


@dataclass(slots=True)
class Script:
    """Not changed once it is read. Moments are in seconds since the tape's beginning."""

    name: str
    upstream: str
    began: float | None
    """In seconds since 1970."""
    length_s: float
    connected: bool
    notes: tuple[str, ...]
    happenings: list[tuple[float, Happening]] = field(default_factory=list)
    answers: dict[bytes, Timeline[Answered]] = field(default_factory=dict)
    """By the canonical form of the request."""
    states: dict[str, Timeline[bytes]] = field(default_factory=dict)
    """The frames with account states, by user."""
    refusals: dict[str, Timeline[str | None]] = field(default_factory=dict)
    """What a subscription of this user was refused with; None where it was accepted."""

    @property
    def frames(self) -> int:
        return sum(isinstance(what, Pushed) for _, what in self.happenings)


def read_script(tape: Tape) -> Script:
    script = Script(tape.name, tape.upstream, tape.began, tape.length_s, tape.connected, tape.notes)
    sockets = Sockets()
    # By socket: users whose subscription is not answered yet, and when it was asked for.
    waiting: dict[int, dict[str, float]] = defaultdict(dict)
    for record in tape.records:
        socket = record.socket
        asked = waiting[socket]
        match record.kind:
            case "in":
                _received(script, record, asked, sockets)
            case "out":
                sockets.went(socket, record.bytes() or b"")
                if record.members.get("carried") is not True:  # what is repeated was answered long ago
                    asked.update(dict.fromkeys(_subscribed(record), record.at))
            case "http":
                _answered(script, record)
            case "opened":
                asked.clear()
                sockets.began(socket)
                script.happenings.append((record.at, Up(socket)))
            case "closed":
                asked.clear()
                by_upstream = record.members["by"] == "upstream"
                down = Down(by_upstream, record.members["code"], record.members["why"], socket)
                script.happenings.append((record.at, down))
            case "refused":
                script.happenings.append((record.at, Refused(record.members["status"], socket)))
    _stay_connected(script)
    return script


def _stay_connected(script: Script) -> None:
    """That the recorder hung up in order to stop is nothing that happened to the upstream."""
    ended: set[int] = set()
    for place in range(len(script.happenings) - 1, -1, -1):
        _, what = script.happenings[place]
        if isinstance(what, Pushed):
            continue
        if isinstance(what, Down) and not what.by_upstream and what.socket not in ended:
            del script.happenings[place]
        ended.add(what.socket)


def _received(script: Script, record: Record, asked: dict[str, float], sockets: Sockets) -> None:
    frame = record.bytes()
    assert frame is not None, "only what we send is ever withheld"
    envelope = _object(frame)
    channel, data = envelope.get("channel"), envelope.get("data")
    if channel == "subscriptionResponse":
        if isinstance(data, dict) and data.get("method") == "subscribe":
            for user in _user_of(data.get("subscription")):
                if user in asked:
                    script.refusals.setdefault(user, Timeline()).put(asked.pop(user), None)
        return
    if channel in REPLIES:
        return
    if channel == "error" and isinstance(data, str):
        refused = _refused_user(data, asked)
        if refused is not None:
            script.refusals.setdefault(refused, Timeline()).put(asked.pop(refused), data)
            return
    socket = record.socket
    stream, stays = sockets.came(socket, channel, data) or (stream_of(channel, data), Stays.ALONE)
    if stream is None and socket:
        return  # of a type that we do not know, or left over of one that was given up
    script.happenings.append((record.at, Pushed(stream, frame, socket, stays)))
    if stream is not None and stream.user is not None and stream.kind in _ACCOUNT_STATES:
        script.states.setdefault(stream.user, Timeline()).put(record.at, frame)


def stream_of(channel: object, data: object) -> Subscription | None:
    """The subscription under which a message came, as far as it says so itself."""
    if not isinstance(data, dict):
        return None
    dex = data.get("dex", "")
    if channel == "allMids" and isinstance(dex, str):
        return Subscription(kind="allMids", user=None, dex=dex)
    user = address(data.get("user"))
    if user is None:
        return None
    if channel == "allDexsClearinghouseState":
        return Subscription(kind="allDexsClearinghouseState", user=user, dex=None)
    if channel == "clearinghouseState" and isinstance(dex, str):
        return Subscription(kind="clearinghouseState", user=user, dex=dex)
    return None


def _subscribed(record: Record) -> Iterator[str]:
    message = _object(record.bytes() or b"")
    if message.get("method") == "subscribe":
        yield from _user_of(message.get("subscription"))


def _refused_user(text: str, asked: Mapping[str, float]) -> str | None:
    """Whose subscription an error text refuses: the one it repeats, else the one that waits longest."""
    if "{" in text:
        repeated = _object(text[text.index("{") : text.rfind("}") + 1].encode())
        for user in _user_of(repeated.get("subscription", repeated)):
            return user if user in asked else None
    return next(iter(asked), None) if text.startswith("Cannot ") else None


def _user_of(subscription: object) -> Iterator[str]:
    user = address(subscription.get("user")) if isinstance(subscription, dict) else None
    if user is not None:
        yield user


def _answered(script: Script, record: Record) -> None:
    members = record.members
    request = record.bytes("request")
    if members["path"] != "/info" or request is None or members.get("failure") in FAILED_BY_US:
        return
    fields = _object(request)
    if not fields:
        return
    if "failure" in members:
        answered = Answered(members["took"], None, "", b"")
    else:
        body = record.bytes("answer")
        if body is None:
            return
        answered = Answered(members["took"], members["status"], members["content_type"], body)
    # By when it was asked: whoever asks then gets it when the recorded client got it, not earlier.
    line = script.answers.setdefault(canonical(fields), Timeline())
    line.put(record.at - members["took"], answered)


def _object(raw: bytes) -> dict[str, Any]:
    """The JSON object in these bytes, an empty one for anything else."""
    try:
        value = load(raw)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
