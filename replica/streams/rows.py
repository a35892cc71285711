"""Rows of log-like streams: where a frame keeps them, what tells one from another, when they happened.

A row stays the bytes that came. Identities follow spec/info.md section 2.2; per type they are in `LAYOUTS`.

Order inside frames: oldest first, in snapshots too (recorded `userFills` and `userFundings` snapshots of
2026-10; of the other types nothing is recorded, and the same is taken for true). `trades` have no snapshot
key: a connection begins with a replay of recent ones, then come those of each block.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple

import msgspec

from replica.subscription import Subscription

Key = tuple[object, ...]


class Row(NamedTuple):
    """One row. `time` in ms of the upstream's clock, 0 where it has none.

    `key` is its identity. `alias` is what it has in common with its twin in an answer of `/info`, where that
    says less (an order update's remaining size), else the key itself. `part` is the field of a `user` frame
    that it came in.
    """

    time: int
    key: Key
    alias: Key
    raw: bytes
    part: str = ""


class Batch(NamedTuple):
    """The rows of one frame."""

    rows: list[Row]
    snapshot: bool


class Opening(Enum):
    """With what a connection begins."""

    SNAPSHOT = "snapshot"  # `isSnapshot: true`
    REPLAY = "replay"  # recent rows, in a frame that looks as any other; none at all where nothing happened
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Layout:
    """How one subscription's frames are read and written. `read` raises msgspec's errors.

    `most` is the length of a snapshot that we write, unless the upstream was seen to send longer ones. Its
    own length is not known; this is the length of the same list in `/info` (spec/info.md 1.3).
    """

    read: Callable[[bytes], Batch]
    write: Callable[[Sequence[Row], bool], tuple[bytes, ...]]
    opening: Opening
    most: int


# -- rows of each type ----------------------------------------------------------------------------------


class _Fill(msgspec.Struct):
    time: int
    coin: str
    oid: int
    tid: int = 0
    side: str = ""


class _Slice(msgspec.Struct):
    fill: _Fill
    id: int | None = msgspec.field(name="twapId", default=None)


class _Funding(msgspec.Struct):
    time: int
    coin: str


class _Ledger(msgspec.Struct):
    time: int
    hash: str
    delta: msgspec.Raw


class _TwapState(msgspec.Struct):
    coin: str
    timestamp: int


class _Twap(msgspec.Struct):
    time: int
    state: _TwapState
    status: msgspec.Raw
    id: int | None = msgspec.field(name="twapId", default=None)


class _Order(msgspec.Struct):
    oid: int
    sz: str


class _Status(msgspec.Struct):
    order: _Order
    status: str
    time: int = msgspec.field(name="statusTimestamp")


class _Trade(msgspec.Struct):
    time: int
    coin: str
    tid: int


_fill = msgspec.json.Decoder(_Fill).decode
_slice = msgspec.json.Decoder(_Slice).decode
_funding = msgspec.json.Decoder(_Funding).decode
_ledger = msgspec.json.Decoder(_Ledger).decode
_twap = msgspec.json.Decoder(_Twap).decode
_status = msgspec.json.Decoder(_Status).decode
_trade = msgspec.json.Decoder(_Trade).decode


def _fill_key(fill: _Fill) -> Key:
    # `oid` and `side` too: who trades with himself has both sides of one `tid`.
    return (fill.time, fill.coin, fill.tid, fill.oid, fill.side)


def fill_row(raw: msgspec.Raw) -> Row:
    fill = _fill(raw)
    key = _fill_key(fill)
    return Row(fill.time, key, key, bytes(raw))


def slice_row(raw: msgspec.Raw) -> Row:
    slice_ = _slice(raw)
    key = (*_fill_key(slice_.fill), slice_.id)
    return Row(slice_.fill.time, key, key, bytes(raw))


def funding_row(raw: msgspec.Raw) -> Row:
    funding = _funding(raw)
    key = (funding.time, funding.coin)
    return Row(funding.time, key, key, bytes(raw))


def ledger_row(raw: msgspec.Raw) -> Row:
    update = _ledger(raw)
    key = (update.time, update.hash, bytes(update.delta))
    return Row(update.time, key, key, bytes(raw))


def twap_row(raw: msgspec.Raw) -> Row:
    """Its `time` is in seconds, the only one of the wire that is."""
    twap = _twap(raw)
    key = (twap.id, twap.state.coin, twap.state.timestamp, bytes(twap.status), twap.time)
    return Row(twap.time * 1000, key, key, bytes(raw))


def order_row(raw: msgspec.Raw) -> Row:
    """A change of an order's status. Partial fills are `open` again, with less left, perhaps in one block."""
    status = _status(raw)
    alias = (status.order.oid, status.status, status.time)
    key = (*alias, status.order.sz) if status.status == "open" else alias
    return Row(status.time, key, alias, bytes(raw))


def trade_row(raw: msgspec.Raw) -> Row:
    trade = _trade(raw)
    key = (trade.time, trade.tid)  # `tid` is unique with these and the coin only
    return Row(trade.time, key, key, bytes(raw))


# -- frames ---------------------------------------------------------------------------------------------


def joined(rows: Iterable[Row]) -> bytes:
    return b",".join([row.raw for row in rows])


def _listed(channel: str, name: str, user: str, row: Callable[[msgspec.Raw], Row], most: int) -> Layout:
    """`{isSnapshot?, user, <name>: [...]}`."""
    shape = msgspec.defstruct(
        "Listed",
        [("rows", list[msgspec.Raw], msgspec.field(name=name)), ("snapshot", bool, False)],
        rename={"snapshot": "isSnapshot"},
    )
    decode: Any = msgspec.json.Decoder(shape).decode
    head = f'{{"channel":"{channel}","data":{{'.encode()
    body = f'"user":"{user}","{name}":['.encode()

    def read(data: bytes) -> Batch:
        listed = decode(data)
        return Batch([row(raw) for raw in listed.rows], listed.snapshot)

    def write(rows: Sequence[Row], snapshot: bool) -> tuple[bytes, ...]:
        return (b"".join((head, b'"isSnapshot":true,' if snapshot else b"", body, joined(rows), b"]}}")),)

    return Layout(read, write, Opening.SNAPSHOT, most)


_raws = msgspec.json.Decoder(list[msgspec.Raw]).decode


def _bare(channel: str, row: Callable[[msgspec.Raw], Row], opening: Opening, most: int) -> Layout:
    """`data` is the list."""
    head = f'{{"channel":"{channel}","data":['.encode()

    def read(data: bytes) -> Batch:
        return Batch([row(raw) for raw in _raws(data)], False)

    def write(rows: Sequence[Row], snapshot: bool) -> tuple[bytes, ...]:
        return (b"".join((head, joined(rows), b"]}")),)

    return Layout(read, write, opening, most)


class _Liquidation(msgspec.Struct):
    lid: int


class _Cancel(msgspec.Struct):
    coin: str
    oid: int


_liquidation = msgspec.json.Decoder(_Liquidation).decode
_cancel = msgspec.json.Decoder(_Cancel).decode


def liquidation_row(raw: msgspec.Raw) -> Row:
    key = (_liquidation(raw).lid,)
    return Row(0, key, key, bytes(raw))


def cancel_row(raw: msgspec.Raw) -> Row:
    cancel = _cancel(raw)
    key = (cancel.coin, cancel.oid)
    return Row(0, key, key, bytes(raw))


PARTS: Mapping[str, tuple[Callable[[msgspec.Raw], Row], bool]] = {
    # field of a `user` frame: (its rows, whether they come as a list)
    "fills": (fill_row, True),
    "funding": (funding_row, False),
    "liquidation": (liquidation_row, False),
    "nonUserCancel": (cancel_row, True),
    "twapHistory": (twap_row, True),
    "twapSliceFills": (slice_row, True),
}

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def part_row(part: str, raw: msgspec.Raw) -> Row:
    """A row as an event of the `user` channel."""
    row = PARTS[part][0](raw)
    return row._replace(key=(part, *row.key), alias=(part, *row.alias), part=part)


def _read_user(data: bytes) -> Batch:
    rows = []
    for part, raw in _fields(data).items():
        known = PARTS.get(part)
        if known is None:
            raise msgspec.ValidationError(f"an event we do not know: {part}")
        rows += [part_row(part, one) for one in _raws(raw)] if known[1] else [part_row(part, raw)]
    return Batch(rows, False)


def _write_user(rows: Sequence[Row], snapshot: bool) -> tuple[bytes, ...]:
    """One kind of thing a frame, in the order of the rows."""
    groups: list[list[Row]] = []
    for row in rows:
        if groups and groups[-1][0].part == row.part and PARTS[row.part][1]:
            groups[-1].append(row)
        else:
            groups.append([row])
    return tuple(
        b'{"channel":"user","data":{"%s":%s}}'
        % (
            group[0].part.encode(),
            b"[%s]" % joined(group) if PARTS[group[0].part][1] else group[0].raw,
        )
        for group in groups
    )


_USER_EVENTS = Layout(_read_user, _write_user, Opening.NOTHING, 0)
_ORDER_UPDATES = _bare("orderUpdates", order_row, Opening.NOTHING, 0)
_TRADES = _bare("trades", trade_row, Opening.REPLAY, 30)  # of BTC these were about 20 s

_LISTED: Mapping[str, tuple[str, Callable[[msgspec.Raw], Row], int]] = {
    "userFills": ("fills", fill_row, 2000),
    "userFundings": ("fundings", funding_row, 500),
    "userNonFundingLedgerUpdates": ("nonFundingLedgerUpdates", ledger_row, 500),
    "userTwapSliceFills": ("twapSliceFills", slice_row, 2000),
    "userTwapHistory": ("history", twap_row, 2000),
    "userHistoricalOrders": ("orderHistory", order_row, 2000),
}


def layout_of(subscription: Subscription) -> Layout | None:
    """None for a type without rows that can be told apart."""
    type_ = subscription.type
    if type_ == "trades":
        return _TRADES
    if type_ == "orderUpdates":
        return _ORDER_UPDATES
    if type_ == "userEvents":
        return _USER_EVENTS
    listed = _LISTED.get(type_)
    if listed is None:
        return None
    name, row, most = listed
    return _listed(type_, name, subscription.user or "", row, most)
