"""Which recorded message belongs to which subscription, and what a later joiner is given of it. Sans I/O.

A message says of itself a part of what was subscribed to, or nothing; the rest is told by the socket it came
over: no two subscriptions of one socket have messages that say the same of themselves.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import Any

from server.devnode.info import address
from server.devnode.market.tape import INTERVALS
from server.devnode.subscriptions import Change, Fatal, Message, Offer, Subscription, read_message

_SAID = {"coin": ("coin", "s"), "interval": ("i",)}  # where a message names what a subscription does
_CHANNELS = {"userEvents": "user"}
_SPOT = {"activeSpotAssetCtx": "activeAssetCtx"}
_EVENTS = frozenset({"orderUpdates", "userEvents", "notification", "trades", "outcomeMetaUpdates"})
_LISTS = frozenset(
    {
        "userFills", "userFundings", "userNonFundingLedgerUpdates", "userTwapSliceFills", "userTwapHistory",
        "userHistoricalOrders",
    }
)  # fmt: skip


class Stays(Enum):
    """What becomes of the messages of a stream for who joins it later."""

    ALONE = "alone"  # this one is all he needs
    TOO = "too"  # he needs it after those before it
    NOT = "not"  # it is over


class _Anything:
    """Every coin: that it was not recorded does not say that there is none."""

    def __contains__(self, name: object) -> bool:
        return True


def said(raw: str, dexes: Iterable[str] | None = None) -> Message | Fatal:
    """Read what a client says. `dexes` None: any."""
    anything: Any = _Anything()
    known: Any = anything if dexes is None else dexes
    return read_message(raw, Offer(known, anything, (), INTERVALS))


class Sockets:
    """What the recorded client is subscribed to, by socket. Told in the order of the recording."""

    def __init__(self) -> None:
        self._held: dict[int, dict[Subscription, bool]] = {}  # and whether a message of it came

    def began(self, socket: int) -> None:
        self._held.pop(socket, None)

    def went(self, socket: int, raw: bytes) -> None:
        message = said(raw.decode(errors="replace"))
        if isinstance(message, Change):
            held = self._held.setdefault(socket, {})
            if message.subscribe:
                held[message.subscription] = False
            else:
                held.pop(message.subscription, None)

    def came(self, socket: int, channel: object, data: object) -> tuple[Subscription, Stays] | None:
        """Whose message this is, and what stays of it. None: nobody's that we know."""
        held = self._held.get(socket, {})
        for one, more in held.items():
            if _fits(one, channel, data):
                held[one] = True
                return one, _stays(one, data, more)
        return None


def _fits(one: Subscription, channel: object, data: Any) -> bool:
    if _SPOT.get(str(channel), channel) != _CHANNELS.get(one.kind, one.kind):
        return False
    if isinstance(data, list):
        data = data[0] if data and isinstance(data[0], dict) else {}
    if not isinstance(data, dict):
        return True
    if one.kind == "webData3" and isinstance(data.get("userState"), dict):
        data = data["userState"]
    if one.user is not None and "user" in data and address(data["user"]) != one.user:
        return False
    if one.dex is not None and data.get("dex", "") != one.dex:
        return False
    return all(
        data[name] == one.get(field)
        for field, names in _SAID.items()
        if one.get(field) is not None
        for name in names
        if name in data
    )


def _stays(one: Subscription, data: object, more: bool) -> Stays:
    if one.kind in _EVENTS:
        return Stays.NOT
    if one.kind in _LISTS:
        return Stays.ALONE if isinstance(data, dict) and data.get("isSnapshot") is True else Stays.TOO
    if one.kind == "fastAssetCtxs":
        return Stays.TOO if more else Stays.ALONE
    return Stays.ALONE
