"""Frame bytes <-> events and requests. The only module of the replica that knows JSON.

A frame's envelope is decoded; the states inside stay slices of what came (`msgspec.Raw`), because their
numbers carry binary64 artefacts that no round trip may touch, and because it is several times cheaper.
"""

import re
from collections.abc import Callable, Mapping

import msgspec

from replica.events import (
    AccountStates,
    Acknowledged,
    Data,
    ErrorText,
    Frame,
    Pong,
    State,
    Unknown,
    Unreadable,
)

ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")
GREETING = b"Websocket connection established."
"""The bare text the exchange once sent first; not seen since 2026, still skipped by its own SDK."""


NO_CHANNEL = "(no channel)"
"""In place of the channel of a frame that is a bare list, as those of the explorer's feeds are."""


class _Envelope(msgspec.Struct):
    channel: str
    data: msgspec.Raw = msgspec.Raw(b"null")


class _AllDexs(msgspec.Struct):
    user: str
    states: tuple[tuple[str, msgspec.Raw], ...] = msgspec.field(name="clearinghouseStates")


class _OneDex(msgspec.Struct):
    user: str
    state: msgspec.Raw = msgspec.field(name="clearinghouseState")
    dex: str = ""


class _Ack(msgspec.Struct):
    method: str
    subscription: dict[str, object]


class _Time(msgspec.Struct):
    time: int = 0


_envelope = msgspec.json.Decoder(_Envelope).decode
_all_dexs = msgspec.json.Decoder(_AllDexs).decode
_one_dex = msgspec.json.Decoder(_OneDex).decode
_ack = msgspec.json.Decoder(_Ack).decode
_text = msgspec.json.Decoder(str).decode
_time = msgspec.json.Decoder(_Time).decode
_rows = msgspec.json.Decoder(list[msgspec.Raw]).decode

NOT_READ = (msgspec.DecodeError, UnicodeError, RecursionError)
"""Everything bytes from outside can make a decoder raise; the last two by bad UTF-8 and by deep nesting."""

# `time` is the last key of a state as the wire has it. Digits, one brace and the end can only close the
# outermost object, and a quote after a comma or brace opens a key (`"a\"time":1` has one inside a key), so a
# match is the state's own `time` whatever lies before it.
_TAIL_TIME = re.compile(rb'[,{]"time":(\d{1,16})}\Z')
_TAIL_BYTES = 32


def read_state(dex: str, body: bytes) -> State | None:
    """Make a `State` of one JSON object, or None when it is something else (`null`, a list, not JSON)."""
    if body[:1] != b"{":
        return None
    tail = _TAIL_TIME.search(body, max(0, len(body) - _TAIL_BYTES))
    if tail is not None:
        return State(dex, body, int(tail.group(1)))
    try:
        return State(dex, body, _time(body).time)
    except NOT_READ:
        return None


def read_answer(dex: str, body: bytes) -> State | None:
    """Like `read_state`, for the body of an HTTP answer: proves that the whole body is one JSON object.

    A state inside a frame was proved by decoding its envelope; an HTTP body was not looked at by anyone.
    """
    try:
        value = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    except NOT_READ:
        return None
    if "marginSummary" not in value:
        return None
    return read_state(dex, body.strip())


def count_rows(body: bytes) -> int:
    """How many rows an answer that is a list has; 0 for anything else. (Weight is charged per row.)"""
    try:
        return len(_rows(body))
    except NOT_READ:
        return 0


def _states(user: str, pairs: tuple[tuple[str, msgspec.Raw], ...]) -> AccountStates | Unreadable:
    states = []
    for dex, raw in pairs:
        state = read_state(dex, bytes(raw))
        if state is not None:
            states.append(state)
    if not ADDRESS.fullmatch(user):
        return Unreadable("a state for no address")
    return AccountStates(user.lower(), tuple(states))


ALL_DEXS = "allDexsClearinghouseState"
ONE_DEX = "clearinghouseState"
ACCOUNT_STATES = frozenset({ALL_DEXS, ONE_DEX})
"""Channels, and types of subscription, that bring account states."""


def read_states(channel: str, data: msgspec.Raw) -> AccountStates | Unreadable:
    """Read the data of a frame of one of `ACCOUNT_STATES`. Never raises."""
    try:
        if channel == ALL_DEXS:
            all_dexs = _all_dexs(data)
            return _states(all_dexs.user, all_dexs.states)
        one_dex = _one_dex(data)
        return _states(one_dex.user, ((one_dex.dex, one_dex.state),))
    except NOT_READ as error:
        return Unreadable(str(error))


def _read_ack(data: msgspec.Raw) -> Frame:
    ack = _ack(data)
    return Acknowledged(ack.method, ack.subscription)


def _read_error(data: msgspec.Raw) -> Frame:
    return ErrorText(_text(data))


def _read_pong(data: msgspec.Raw) -> Frame:
    return Pong()


_CHANNELS: Mapping[str, Callable[[msgspec.Raw], Frame]] = {
    "subscriptionResponse": _read_ack,
    "error": _read_error,
    "pong": _read_pong,
}


def read_frame(frame: bytes | str) -> Frame:
    """Read one received frame. Never raises: what can't be read becomes `Unreadable` or `Unknown`."""
    try:
        envelope = _envelope(frame)
        read = _CHANNELS.get(envelope.channel)
        if read is None:
            return Data(envelope.channel, envelope.data)
        return read(envelope.data)
    except NOT_READ as error:
        text = frame.encode("utf-8", "replace") if isinstance(frame, str) else frame
        if text == GREETING:
            return Unknown("(greeting)")
        if _is_list(text):
            return Data(NO_CHANNEL, msgspec.Raw(text))
        return Unreadable(str(error))


def _is_list(text: bytes) -> bool:
    try:
        _rows(text)
    except NOT_READ:
        return False
    return True


def embedded_object(text: str) -> dict[str, object] | None:
    """The JSON object inside an error text such as `Already subscribed: {...}`; None if there is none."""
    start = text.find("{")
    if start < 0:
        return None
    try:
        return msgspec.json.decode(text[start : text.rfind("}") + 1], type=dict[str, object])
    except NOT_READ:
        return None


def write_request(method: str, subscription: Mapping[str, object] | None = None) -> bytes:
    """The text of a client frame: `{"method":"ping"}` or `{"method":"subscribe","subscription":{...}}`."""
    if subscription is None:
        return msgspec.json.encode({"method": method})
    return msgspec.json.encode({"method": method, "subscription": subscription})


PING = write_request("ping")


def invalid_subscription(subscription: Mapping[str, object]) -> str:
    """The upstream's own words for one that it will not have (spec/websocket.md 1.2)."""
    return f"Invalid subscription {msgspec.json.encode(subscription).decode()}"


class _Write(msgspec.Struct):
    action: dict[str, msgspec.Raw]


_write = msgspec.json.Decoder(_Write).decode
_BATCHES = ("orders", "cancels", "modifies")


def count_items(body: bytes) -> int:
    """How many orders, cancels or modifies an `/exchange` body carries: its weight grows with them."""
    try:
        action = _write(body).action
    except NOT_READ:
        return 0
    return max((count_rows(bytes(action[name])) for name in _BATCHES if name in action), default=0)


def read_perp_dexs(body: bytes) -> tuple[str, ...] | None:
    """The dex names of a `perpDexs` answer, main dex `""` first; None if it is not one.

    The wire's list begins with null, which stands for the main dex.
    """
    try:
        rows = msgspec.json.decode(body, type=list[dict[str, msgspec.Raw] | None])
        names = [
            "" if row is None else msgspec.json.decode(row["name"], type=str)
            for row in rows
            if row is None or "name" in row
        ]
    except NOT_READ:
        return None
    return ("", *dict.fromkeys(name for name in names if name))
