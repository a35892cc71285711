"""What clients say on `/ws`, as values; and the texts that answer them. Sans I/O.

The forms, acknowledgements and error strings are the exchange's (wire, measured by third parties in 2026).
Subscription types that the exchange has and this devnode does not feed are refused like unknown ones:
an acknowledgement without data would look like a silent upstream.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import orjson

from server.devnode.info import address
from server.devnode.markets import MAIN_DEX

PONG = '{"channel":"pong"}'


@dataclass(frozen=True, slots=True)
class Subscription:
    """A subscription by value: two that mean the same are equal, whatever the client left out."""

    kind: str
    user: str | None  # lower-case; None for market data
    dex: str | None  # "" is the main dex; None for all of them

    @property
    def wire(self) -> str:
        """The normalised form, as acknowledgements and errors echo it."""
        form: dict[str, str] = {"type": self.kind}
        if self.user is not None:
            form["user"] = self.user
        if self.dex is not None:
            form["dex"] = self.dex
        return orjson.dumps(form).decode()


@dataclass(frozen=True, slots=True)
class Ping:
    pass


@dataclass(frozen=True, slots=True)
class Change:
    """Subscribe or unsubscribe. `echo` is what the acknowledgement repeats."""

    subscribe: bool
    subscription: Subscription
    echo: str


@dataclass(frozen=True, slots=True)
class Post:
    """A request over the socket: `kind` is "info" or "action"."""

    id: int
    kind: str
    payload: Any


@dataclass(frozen=True, slots=True)
class Invalid:
    """Nothing that can be acted on. `error` is the text for the error channel."""

    error: str


Message = Ping | Change | Post | Invalid


def parse_message(raw: str, dexes: Collection[str]) -> Message:
    """Read one text frame of a client."""
    unreadable = Invalid(f"Error parsing JSON into valid websocket request: {raw}")
    try:
        message = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return unreadable
    if not isinstance(message, dict):
        return unreadable
    method = message.get("method")
    if method == "ping":
        return Ping()
    if method in ("subscribe", "unsubscribe"):
        subscription = _subscription(message.get("subscription"))
        if subscription is None:
            return unreadable
        if subscription.dex is not None and subscription.dex not in dexes:
            return Invalid(f"Invalid subscription {subscription.wire}")
        return Change(method == "subscribe", subscription, _echo(subscription, message["subscription"]))
    if method == "post":
        return _post(message) or unreadable
    return unreadable


def acknowledgement(change: Change) -> str:
    method = "subscribe" if change.subscribe else "unsubscribe"
    return (
        '{"channel":"subscriptionResponse","data":{"method":"'
        + method
        + '","subscription":'
        + change.echo
        + "}}"
    )


def error(text: str) -> str:
    return '{"channel":"error","data":' + orjson.dumps(text).decode() + "}"


def post_answer(id_: int, kind: str, payload: str) -> str:
    """`kind` is "info", "action" or "error"; `payload` is JSON text."""
    return f'{{"channel":"post","data":{{"id":{id_},"response":{{"type":"{kind}","payload":{payload}}}}}}}'


def _subscription(form: object) -> Subscription | None:
    if not isinstance(form, dict):
        return None
    kind, dex = form.get("type"), form.get("dex")
    if dex is not None and not isinstance(dex, str):
        return None
    if kind == "allMids":
        return Subscription("allMids", None, dex or MAIN_DEX)
    user = address(form.get("user"))
    if user is None:
        return None
    if kind == "clearinghouseState":
        return Subscription("clearinghouseState", user, dex or MAIN_DEX)
    if kind == "allDexsClearinghouseState":
        return Subscription("allDexsClearinghouseState", user, None)
    return None


def _echo(subscription: Subscription, form: dict[str, Any]) -> str:
    # Recorded: a bare allMids comes back bare. Clients want back every field that they sent, so a dex
    # that was sent, even "", is repeated.
    if subscription.kind == "allMids" and form.get("dex") is None:
        return '{"type":"allMids"}'
    return subscription.wire


def _post(message: dict[str, Any]) -> Post | None:
    id_, request = message.get("id"), message.get("request")
    if not isinstance(id_, int) or isinstance(id_, bool) or not isinstance(request, dict):
        return None
    kind = request.get("type")
    if kind not in ("info", "action") or "payload" not in request:
        return None
    return Post(id_, kind, request["payload"])
