"""Every subscription type of the exchange as data, and what a frame says of the subscription it belongs to.

Source: spec/websocket.md, section 6. A subscription's *address* is what its frames say of themselves: the
channel and the fields that they name. Frames of two subscriptions with one address can't be told apart on one
socket: the variants of a coin's `l2Book`, or the `orderUpdates` of two users, whose frames name nobody.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum

import msgspec

from replica.subscription import Subscription

Address = tuple[str, ...]
"""(channel, field, ...). `ANY` for a type we do not know: whatever nobody else claims may be its."""

ANY: Address = ("*",)

INTERVALS = ("1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "8h", "12h", "1d", "3d", "1w", "1M")


class Kind(Enum):
    """What a frame is, and with that what a client may miss of it."""

    STATE = "state"  # the whole; the last one is all that counts
    CANDLE = "candle"  # the forming candle; the last one of each candle counts
    LOG = "log"  # rows, each of which counts, with a snapshot at the beginning
    EVENTS = "events"  # rows, each of which counts, without a snapshot
    DELTA = "delta"  # changes of a map, the whole map at the beginning
    UNKNOWN = "unknown"


class Param(Enum):
    """How the value of a subscription's field is to look."""

    ADDRESS = "address"  # 0x and 40 hex digits, in any case
    COIN = "coin"  # a name of the universe, in its case
    PERP = "perp"  # such a name, but none of spot or an outcome
    DEX = "dex"  # a name of `perpDexs`, "" or absent for the main one
    INTERVAL = "interval"
    FLAG = "flag"
    SIG_FIGS = "nSigFigs"  # 2, 3, 4, 5 or null
    MANTISSA = "mantissa"  # 2, 5 or null, and only with nSigFigs 5


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamType:
    """One subscription type. `named` are the fields of the subscription that its frames repeat.

    `silent_after_s` is several times its cadence where the exchange keeps one, None where silence is usual.
    `defaults` are what the exchange adds to the echo; `channel` where it is not the name. `asides` are params
    that some clients leave out when they unsubscribe, having sent them when they subscribed.
    """

    name: str
    kind: Kind
    params: Mapping[str, Param] = field(default_factory=dict)
    required: tuple[str, ...] = ()
    named: tuple[str, ...] = ()
    channel: str = ""
    silent_after_s: float | None = None
    defaults: Mapping[str, object] = field(default_factory=dict)
    asides: tuple[str, ...] = ()


_USER = {"user": Param.ADDRESS}
_COIN = {"coin": Param.COIN}
_DEX = {"dex": Param.DEX}


def _of_user(name: str, kind: Kind, **more: Param) -> StreamType:
    return StreamType(name=name, kind=kind, params={**_USER, **more}, required=("user",), named=("user",))


def _anonymous(name: str, channel: str = "") -> StreamType:
    return StreamType(name=name, kind=Kind.EVENTS, params=_USER, required=("user",), channel=channel)


def _of_user_and_dex(name: str) -> StreamType:
    return StreamType(
        name=name, kind=Kind.STATE, params={**_USER, **_DEX}, required=("user",), named=("user", "dex")
    )


def _of_coin(name: str, kind: Kind, **more: object) -> StreamType:
    return StreamType(name=name, kind=kind, params=_COIN, required=("coin",), named=("coin",), **more)  # type: ignore[arg-type]


TYPES: Mapping[str, StreamType] = {
    row.name: row
    for row in (
        StreamType(name="allMids", kind=Kind.STATE, params=_DEX, named=("dex",), silent_after_s=20.0),
        StreamType(
            name="l2Book",
            kind=Kind.STATE,
            params={**_COIN, "nSigFigs": Param.SIG_FIGS, "mantissa": Param.MANTISSA, "fast": Param.FLAG},
            required=("coin",),
            named=("coin",),
            silent_after_s=20.0,
            defaults={"nSigFigs": None, "mantissa": None, "fast": False},
        ),
        _of_coin("bbo", Kind.STATE),
        _of_coin("trades", Kind.LOG),
        StreamType(
            name="candle",
            kind=Kind.CANDLE,
            params={**_COIN, "interval": Param.INTERVAL},
            required=("coin", "interval"),
            named=("coin", "interval"),
        ),
        _of_coin("activeAssetCtx", Kind.STATE),
        StreamType(name="assetCtxs", kind=Kind.STATE, params=_DEX, named=("dex",)),
        StreamType(name="spotAssetCtxs", kind=Kind.STATE),
        StreamType(name="allDexsAssetCtxs", kind=Kind.STATE, silent_after_s=45.0),
        StreamType(name="fastAssetCtxs", kind=Kind.DELTA),
        StreamType(name="outcomeMetaUpdates", kind=Kind.EVENTS),
        _of_user_and_dex("clearinghouseState"),
        StreamType(
            name="allDexsClearinghouseState",
            kind=Kind.STATE,
            params=_USER,
            required=("user",),
            named=("user",),
            silent_after_s=15.0,
        ),
        _of_user_and_dex("openOrders"),
        StreamType(
            name="spotState",
            kind=Kind.STATE,
            params={**_USER, "isPortfolioMargin": Param.FLAG, "ignorePortfolioMargin": Param.FLAG},
            required=("user",),
            named=("user",),
            asides=("isPortfolioMargin", "ignorePortfolioMargin"),
        ),
        _of_user_and_dex("twapStates"),
        StreamType(
            name="activeAssetData",
            kind=Kind.STATE,
            params={**_USER, "coin": Param.PERP},
            required=("user", "coin"),
            named=("user", "coin"),
        ),
        _of_user("webData3", Kind.STATE),
        _anonymous("orderUpdates"),
        _anonymous("userEvents", "user"),
        _anonymous("notification"),
        _of_user("userFills", Kind.LOG, aggregateByTime=Param.FLAG),
        _of_user("userFundings", Kind.LOG),
        _of_user("userNonFundingLedgerUpdates", Kind.LOG),
        _of_user("userTwapSliceFills", Kind.LOG),
        _of_user("userTwapHistory", Kind.LOG),
        _of_user("userHistoricalOrders", Kind.LOG),
        _of_user("webData2", Kind.STATE),
    )
}

COMPOSED = frozenset({"webData2"})
"""Types that the exchange has no more: they never go up, `replica/composed.py` makes them of others."""

ANONYMOUS = frozenset({"orderUpdates", "userEvents", "notification"})
"""Types whose frames name no user: a socket holds them for one user only (section 1.3)."""

ALIASES = {"activeSpotAssetCtx": "activeAssetCtx"}
"""Channels that are another's by the same rule (a spot coin's contexts)."""


def kind_of(subscription: Subscription) -> Kind:
    row = TYPES.get(subscription.type)
    return Kind.UNKNOWN if row is None else row.kind


def address_of(subscription: Subscription) -> Address:
    """What the frames of this subscription say of themselves."""
    row = TYPES.get(subscription.type)
    if row is None:
        return ANY
    fields = dict(subscription.fields)
    return (row.channel or row.name, *(str(fields.get(name, "")) for name in row.named))


def address_in(channel: str, data: bytes | msgspec.Raw) -> Address | None:
    """What a frame says of itself; None for an unknown channel or data that breaks its promise."""
    channel = ALIASES.get(channel, channel)
    read = _READERS.get(channel)
    if read is None:
        return None
    try:
        return (channel, *read(data))
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None


# -- reading the named fields, and nothing else, out of a frame's data ---------------------------------


class _Named(msgspec.Struct):
    coin: str = ""
    dex: str = ""
    user: str = ""


class _Candle(msgspec.Struct):
    s: str
    i: str


class _Coin(msgspec.Struct):
    coin: str


class _UserState(msgspec.Struct):
    user: str


class _WebData3(msgspec.Struct):
    user_state: _UserState = msgspec.field(name="userState")


_named = msgspec.json.Decoder(_Named).decode
_candle = msgspec.json.Decoder(_Candle).decode
_coins = msgspec.json.Decoder(list[_Coin]).decode
_web_data3 = msgspec.json.Decoder(_WebData3).decode

_Reader = Callable[[bytes | msgspec.Raw], tuple[str, ...]]


def _nothing(data: bytes | msgspec.Raw) -> tuple[str, ...]:
    return ()


def _of_candle(data: bytes | msgspec.Raw) -> tuple[str, ...]:
    candle = _candle(data)
    return candle.s, candle.i


def _of_trades(data: bytes | msgspec.Raw) -> tuple[str, ...]:
    rows = _coins(data)
    if not rows:
        # Some replay of an empty market: of which coin, it doesn't say, and there is nothing in it.
        raise msgspec.DecodeError("no trade")
    return (rows[0].coin,)


def _of_web_data3(data: bytes | msgspec.Raw) -> tuple[str, ...]:
    return (_web_data3(data).user_state.user.lower(),)


def _of_fields(names: tuple[str, ...]) -> _Reader:
    def read(data: bytes | msgspec.Raw) -> tuple[str, ...]:
        found = _named(data)
        return tuple(
            found.user.lower() if name == "user" else found.dex if name == "dex" else found.coin
            for name in names
        )

    return read


_READERS: Mapping[str, _Reader] = {
    row.channel or row.name: _of_fields(row.named) if row.named else _nothing for row in TYPES.values()
} | {"candle": _of_candle, "trades": _of_trades, "webData3": _of_web_data3}
