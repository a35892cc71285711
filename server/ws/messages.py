"""What a client says, and the texts it is answered with. Pure. Source: spec/websocket.md, sections 1, 4."""

import re
from typing import NamedTuple

import msgspec
import orjson


class Subscribe(NamedTuple):
    """`fields` as the client sent them; `raw` is the whole message, for the error that repeats it."""

    fields: dict[str, object]
    raw: bytes


class Unsubscribe(NamedTuple):
    fields: dict[str, object]
    raw: bytes


class Ping(NamedTuple):
    pass


class Post(NamedTuple):
    """`id` is the client's number and `payload` its object, both as the bytes that came."""

    id: bytes
    kind: str  # "info" or "action"
    payload: bytes


class Bad(NamedTuple):
    """`text` is what the client is told of it."""

    text: str


Message = Subscribe | Unsubscribe | Ping | Post | Bad


class _Request(msgspec.Struct):
    type: str
    payload: msgspec.Raw


class _Envelope(msgspec.Struct):
    method: str
    subscription: msgspec.Raw = msgspec.Raw()
    id: msgspec.Raw = msgspec.Raw()
    request: _Request | None = None


_envelope = msgspec.json.Decoder(_Envelope).decode
_NUMBER = re.compile(rb"-?\d{1,20}")


def read(raw: bytes) -> Message:
    """One text message of a client. `raw` is valid UTF-8. Never raises."""
    try:
        envelope = _envelope(raw)
    except (msgspec.DecodeError, RecursionError):
        return unparsable(raw)
    if envelope.method == "ping":
        return Ping()
    if envelope.method in ("subscribe", "unsubscribe"):
        fields = _object(bytes(envelope.subscription))
        if fields is None or not isinstance(fields.get("type"), str):
            return unparsable(raw)
        return Subscribe(fields, raw) if envelope.method == "subscribe" else Unsubscribe(fields, raw)
    if envelope.method == "post":
        id_, request = bytes(envelope.id).strip(), envelope.request
        if request is None or request.type not in ("info", "action") or not _NUMBER.fullmatch(id_):
            return unparsable(raw)
        # The slice, not what it decodes to: a signed action must go up as it was written.
        payload = bytes(request.payload)
        return Post(id_, request.type, payload) if payload[:1] == b"{" else unparsable(raw)
    return unparsable(raw)


def _object(raw: bytes) -> dict[str, object] | None:
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None


# -- texts (section 1.2) -------------------------------------------------------------------------------

PONG = b'{"channel":"pong"}'


def unparsable(raw: bytes) -> Bad:
    return Bad("Error parsing JSON into valid websocket request: " + raw.decode("utf-8", "replace"))


def already_subscribed(echo: bytes) -> str:
    return f"Already subscribed: {echo.decode()}"


def already_unsubscribed(echo: bytes) -> str:
    return f"Already unsubscribed: {echo.decode()}"


def invalid_subscription(echo: bytes, why: str = "") -> str:
    """Without a colon. `why` comes behind the JSON, where clients that match by it don't mind."""
    return f"Invalid subscription {echo.decode()}{f' ({why})' if why else ''}"


def too_many_subscriptions(limit: int) -> str:
    return f"Cannot subscribe to more than {limit} channels."


def too_many_messages(limit: int) -> str:
    return f"Cannot send more than {limit} messages per minute."


def too_many_new(per_minute: int) -> str:
    """Ours: the exchange counts what is held alone."""
    return f"Cannot subscribe to more than {per_minute} new channels per minute."


def too_many_posts(id_: bytes) -> str:
    return f"too many pending post requests id={id_.decode()}"


_REPEATING = ("Already subscribed", "Already unsubscribed", "Invalid subscription")
_PARSING = "Error parsing JSON into valid websocket request"


def refused_upstream(text: str, echo: bytes) -> str:
    """The upstream's refusal in its words, but with the subscription as this client wrote it.

    Ours went up without what says nothing (null, false, ""), and a client only knows its own by every field
    that it sent (spec/websocket.md, 1.1).
    """
    if text.startswith(_PARSING):
        return f'{_PARSING}: {{"method":"subscribe","subscription":{echo.decode()}}}'
    prefix = next((prefix for prefix in _REPEATING if text.startswith(prefix)), None)
    if prefix is None:
        return text
    return invalid_subscription(echo) if prefix == _REPEATING[-1] else f"{prefix}: {echo.decode()}"


def acknowledged(method: str, echo: bytes, more: bytes = b"") -> bytes:
    """`more` is what follows `data` at the top level, for clients that asked for it."""
    return b'{"channel":"subscriptionResponse","data":{"method":"%s","subscription":%s}%s}' % (
        method.encode(),
        echo,
        more,
    )


def error(text: str) -> bytes:
    return b'{"channel":"error","data":%s}' % orjson.dumps(text)


# -- answers to posts (section 4) ----------------------------------------------------------------------


def info_answer(id_: bytes, type_: str, data: bytes) -> bytes:
    payload = b'{"type":%s,"data":%s}' % (orjson.dumps(type_), data)
    return _answer(id_, b"info", payload)


def action_answer(id_: bytes, answer: bytes) -> bytes:
    return _answer(id_, b"action", answer)


def failed_post(id_: bytes, text: str) -> bytes:
    return _answer(id_, b"error", orjson.dumps(text))


def _answer(id_: bytes, type_: bytes, payload: bytes) -> bytes:
    return b'{"channel":"post","data":{"id":%s,"response":{"type":"%s","payload":%s}}}' % (
        id_,
        type_,
        payload,
    )
