"""What clients say on `/ws`, as values; and the texts that answer them. Sans I/O.

The forms, acknowledgements and error strings are the exchange's (wire, measured by third parties in 2026).
Subscription types that the exchange has and the present source does not feed are refused like unknown ones:
an acknowledgement without data would look like a silent upstream.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import orjson

from server.devnode.info import address, load
from server.devnode.markets import MAIN_DEX

PONG = '{"channel":"pong"}'


@dataclass(frozen=True, slots=True)
class Subscription:
    """A subscription by value: two that mean the same are equal, whatever the client left out."""

    kind: str
    user: str | None  # lower-case; None for market data
    dex: str | None  # "" is the main dex; None for all of them
    more: tuple[tuple[str, Any], ...] = ()  # what else it names, defaults filled in, in the wire's order

    @property
    def form(self) -> dict[str, Any]:
        form: dict[str, Any] = {"type": self.kind}
        if self.user is not None:
            form["user"] = self.user
        if self.dex is not None:
            form["dex"] = self.dex
        return form | dict(self.more)

    @property
    def wire(self) -> str:
        """The normalised form, as acknowledgements and errors echo it."""
        return orjson.dumps(self.form).decode()

    def get(self, name: str) -> Any:
        return next((value for key, value in self.more if key == name), None)

    @property
    def coin(self) -> str:
        return str(self.get("coin") or "")


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


@dataclass(frozen=True, slots=True)
class Fatal:
    """A subscription at which the exchange drops the whole connection, without a word."""


Message = Ping | Change | Post | Invalid


@dataclass(frozen=True, slots=True)
class Offer:
    """What can be subscribed to: the account states alone, or with `coins` (spot ones apart) everything."""

    dexes: Collection[str]
    coins: Collection[str] | None = None
    spot_coins: Collection[str] = ()
    intervals: Collection[str] = ()


def parse_message(raw: str, dexes: Collection[str]) -> Message:
    """Read one text frame of a client, to whom the states on `dexes` are offered."""
    message = read_message(raw, Offer(dexes))
    assert not isinstance(message, Fatal), "no coin is offered, so none is unknown"
    return message


def read_message(raw: str, offer: Offer) -> Message | Fatal:
    """Read one text frame of a client."""
    unreadable = Invalid(f"Error parsing JSON into valid websocket request: {raw}")
    try:
        message = load(raw)
    except ValueError:
        return unreadable
    if not isinstance(message, dict):
        return unreadable
    method = message.get("method")
    if method == "ping":
        return Ping()
    if method in ("subscribe", "unsubscribe"):
        subscription = _subscription(message.get("subscription"), offer)
        if subscription is None:
            return unreadable
        if isinstance(subscription, Fatal):
            return subscription
        if subscription.dex is not None and subscription.dex not in offer.dexes:
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


_STATES = frozenset({"clearinghouseState", "openOrders", "twapStates"})  # of an account on a dex
_ACCOUNTS = frozenset(
    {
        "allDexsClearinghouseState", "spotState", "webData3", "orderUpdates", "userEvents", "notification",
        "userFundings", "userNonFundingLedgerUpdates", "userTwapSliceFills", "userTwapHistory",
        "userHistoricalOrders",
    }
)  # fmt: skip
_COINS = frozenset({"bbo", "trades", "activeAssetCtx"})
_EVERYTHING = frozenset(
    {
        "spotAssetCtxs", "allDexsAssetCtxs", "fastAssetCtxs", "outcomeMetaUpdates", "explorerBlock",
        "explorerTxs",
    }
)  # fmt: skip
_ALWAYS = frozenset({"allMids", "clearinghouseState", "allDexsClearinghouseState"})
_ECHOED = ("isPortfolioMargin", "ignorePortfolioMargin")  # sent with spotState, and not heeded here
_SIG_FIGS = (None, 2, 3, 4, 5)
_MANTISSAS = (2, 5)


def _subscription(form: object, offer: Offer) -> Subscription | Fatal | None:
    if not isinstance(form, dict):
        return None
    kind, dex = form.get("type"), form.get("dex")
    if not isinstance(kind, str) or not (dex is None or isinstance(dex, str)):
        return None
    if offer.coins is None and kind not in _ALWAYS:
        return None
    if kind in ("allMids", "assetCtxs"):
        return Subscription(kind, None, dex or MAIN_DEX)
    if kind in _EVERYTHING:
        return Subscription(kind, None, None)
    if kind in _COINS or kind in ("l2Book", "candle"):
        return _market(kind, form, offer)
    user = address(form.get("user"))
    if user is None:
        return None
    if kind in _STATES:
        return Subscription(kind, user, dex or MAIN_DEX)
    if kind in _ACCOUNTS:
        return Subscription(kind, user, None)
    if kind == "userFills":
        merged = form.get("aggregateByTime")
        fits = merged is None or isinstance(merged, bool)
        return Subscription(kind, user, None, (("aggregateByTime", bool(merged)),)) if fits else None
    if kind == "activeAssetData" and offer.coins is not None:
        coin = form.get("coin")
        if not isinstance(coin, str):
            return None
        known = coin in offer.coins and coin not in offer.spot_coins
        return Subscription(kind, user, None, (("coin", coin),)) if known else Fatal()
    return None


def _market(kind: str, form: dict[str, Any], offer: Offer) -> Subscription | Fatal | None:
    coin = form.get("coin")
    if not isinstance(coin, str) or offer.coins is None:
        return None
    named: tuple[tuple[str, Any], ...] = (("coin", coin),)
    if kind == "candle":
        interval = form.get("interval")
        if not isinstance(interval, str) or interval not in offer.intervals:
            return None
        named += (("interval", interval),)
    elif kind == "l2Book":
        sig_figs, mantissa, fast = (form.get(name) for name in ("nSigFigs", "mantissa", "fast"))
        if not (_is_whole(sig_figs) and _is_whole(mantissa) and (fast is None or isinstance(fast, bool))):
            return None
        if not can_merge(sig_figs, mantissa):
            return Fatal()
        named += (("nSigFigs", sig_figs), ("mantissa", mantissa), ("fast", bool(fast)))
    return Subscription(kind, None, None, named) if coin in offer.coins else Fatal()


def can_merge(sig_figs: int | None, mantissa: int | None) -> bool:
    """Would the exchange merge a book's levels like that? A mantissa goes with five figures alone."""
    if mantissa is not None:
        return sig_figs == 5 and mantissa in _MANTISSAS
    return sig_figs in _SIG_FIGS


def _is_whole(value: object) -> bool:
    return value is None or (isinstance(value, int) and not isinstance(value, bool))


def _echo(subscription: Subscription, form: dict[str, Any]) -> str:
    # Recorded: a bare allMids comes back bare. Clients want back every field that they sent, so a dex
    # that was sent, even "", is repeated.
    if subscription.kind == "allMids" and form.get("dex") is None:
        return '{"type":"allMids"}'
    sent = {name: form[name] for name in _ECHOED if isinstance(form.get(name), bool)}
    return orjson.dumps(subscription.form | sent).decode() if sent else subscription.wire


def _post(message: dict[str, Any]) -> Post | None:
    id_, request = message.get("id"), message.get("request")
    if not isinstance(id_, int) or isinstance(id_, bool) or not isinstance(request, dict):
        return None
    kind = request.get("type")
    if kind not in ("info", "action") or "payload" not in request:
        return None
    return Post(id_, kind, request["payload"])
