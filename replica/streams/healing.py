"""Which answers of `/info` have what a stream missed, and how their rows become the stream's own.

Values stay the bytes of the answer; where a stream's row has fewer or other fields, it is put together from
their slices. What no answer has, is not healed: a `liquidation` event (its `lid` is nowhere else; its fills
tell that there was one, and then a gap is said), and an order update that tells nothing but a partial fill,
if the upstream sends such: `historicalOrders` has a row per change of status.
"""

from collections.abc import Iterable

import msgspec

from replica.streams.backfill import Backfill, Convert, Newest, Source, Window
from replica.streams.rows import (
    Row,
    fill_row,
    funding_row,
    ledger_row,
    order_row,
    part_row,
    slice_row,
    trade_row,
    twap_row,
)
from replica.subscription import Subscription

HISTORY = 2000
"""Rows of `historicalOrders`, `twapHistory` at the most."""

RECENT_TRADES = 10
"""Rows of `recentTrades` at the least: the number is not published, about 10 were seen."""

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_text = msgspec.json.Decoder(str).decode
_order = ("coin", "side", "limitPx", "sz", "oid", "timestamp", "origSz")

NON_USER_CANCELS = frozenset(
    {
        "marginCanceled",
        "vaultWithdrawalCanceled",
        "openInterestCapCanceled",
        "selfTradeCanceled",
        "siblingFilledCanceled",
        "delistedCanceled",
        "liquidatedCanceled",
        "outcomeSettledCanceled",
        "scheduledCancel",
        "internalCancel",
    }
)
"""Statuses that come as `nonUserCancel` events, too. `reduceOnlyCanceled` does not (spec/websocket.md 6)."""


def _object(pairs: Iterable[tuple[str, bytes | msgspec.Raw]]) -> msgspec.Raw:
    return msgspec.Raw(b"{%s}" % b",".join(b'"%s":%s' % (name.encode(), bytes(v)) for name, v in pairs))


def _is_null(value: msgspec.Raw | None) -> bool:
    return value is None or bytes(value) == b"null"


def plain_order(order: msgspec.Raw) -> msgspec.Raw:
    """A frontend order -> the order of an update: no trigger, `cloid` and `reduceOnly` only where set."""
    fields = _fields(order)
    pairs: list[tuple[str, bytes | msgspec.Raw]] = [(name, fields[name]) for name in _order if name in fields]
    if not _is_null(fields.get("cloid")):
        pairs.append(("cloid", fields["cloid"]))
    if bytes(fields.get("reduceOnly", msgspec.Raw(b""))) == b"true":
        pairs.append(("reduceOnly", b"true"))
    return _object(pairs)


def order_update(raw: msgspec.Raw) -> tuple[Row]:
    """A row of `historicalOrders` -> of `orderUpdates`."""
    fields = _fields(raw)
    status = [(name, fields[name]) for name in ("status", "statusTimestamp")]
    return (order_row(_object([("order", plain_order(fields["order"])), *status])),)


def flat_funding(raw: msgspec.Raw) -> msgspec.Raw:
    """A row of `userFunding` -> as the streams have it: flat, without a hash."""
    fields = _fields(raw)
    delta = _fields(fields["delta"])
    return _object([("time", fields["time"]), *((n, v) for n, v in delta.items() if n != "type")])


def _is_of_a_twap(raw: msgspec.Raw) -> bool:
    return not _is_null(_fields(raw).get("twapId"))


def _fills(twaps_too: bool) -> Convert:
    """Rows of `userFillsByTime` -> of `userFills`: those of TWAPs have a stream of their own."""
    return lambda raw: () if _is_of_a_twap(raw) and not twaps_too else (fill_row(raw),)


def _event_of_fill(raw: msgspec.Raw) -> tuple[Row, ...]:
    return () if _is_of_a_twap(raw) else (part_row("fills", raw),)


def _event_of_status(raw: msgspec.Raw) -> tuple[Row, ...]:
    """A row of `historicalOrders` -> a `nonUserCancel`, if it is one. It has no time: that of the status."""
    fields = _fields(raw)
    if _text(fields["status"]) not in NON_USER_CANCELS:
        return ()
    order = _fields(fields["order"])
    row = part_row("nonUserCancel", _object([("coin", order["coin"]), ("oid", order["oid"])]))
    return (row._replace(time=msgspec.json.decode(fields["statusTimestamp"], type=int)),)


def backfill(
    subscription: Subscription, since_ms: int, *, pages: int, twaps_too: bool = False
) -> Backfill | None:
    """What to ask for to know every row since `since_ms` (ms, inclusive); None where there is nothing to ask.

    `twaps_too`: this upstream's `userFills` has fills of TWAPs as well.
    """
    user = {"user": subscription.user}

    def window(type_: str, convert: Convert, **more: object) -> Window:
        return Window(type_, {**user, **more}, since_ms, convert, pages=pages)

    def orders(convert: Convert) -> Newest:
        return Newest(
            "historicalOrders", user, since_ms, convert, when=lambda raw: order_row(raw).time, longest=HISTORY
        )

    def twaps(convert: Convert) -> Newest:
        return Newest(
            "twapHistory", user, since_ms, convert, when=lambda raw: twap_row(raw).time, longest=HISTORY
        )

    sources: list[Source]
    match subscription.type:
        case "userFills":
            more = {"aggregateByTime": True} if dict(subscription.fields).get("aggregateByTime") else {}
            sources = [window("userFillsByTime", _fills(twaps_too), **more)]
        case "userFundings":
            sources = [window("userFunding", lambda raw: (funding_row(flat_funding(raw)),))]
        case "userNonFundingLedgerUpdates":
            sources = [window("userNonFundingLedgerUpdates", lambda raw: (ledger_row(raw),))]
        case "userTwapSliceFills":
            sources = [window("userTwapSliceFillsByTime", lambda raw: (slice_row(raw),))]
        case "userTwapHistory":
            sources = [twaps(lambda raw: (twap_row(raw),))]
        case "userHistoricalOrders":
            sources = [orders(lambda raw: (order_row(raw),))]
        case "orderUpdates":
            sources = [orders(order_update)]
        case "userEvents":
            sources = [
                window("userFillsByTime", _event_of_fill),
                window("userFunding", lambda raw: (part_row("funding", flat_funding(raw)),)),
                window("userTwapSliceFillsByTime", lambda raw: (part_row("twapSliceFills", raw),)),
                twaps(lambda raw: (part_row("twapHistory", raw),)),
                orders(_event_of_status),
            ]
        case "trades":
            sources = [
                Newest(
                    "recentTrades",
                    {"coin": dict(subscription.fields).get("coin")},
                    since_ms,
                    lambda raw: (trade_row(raw),),
                    when=lambda raw: trade_row(raw).time,
                    longest=RECENT_TRADES,
                )
            ]
        case _:
            return None
    return Backfill(since_ms, sources)
