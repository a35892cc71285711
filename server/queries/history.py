"""Lists of what happened: a window of what is held, or an earlier answer carried on. Pure.

A log holds all that happened since some moment, and the exchange's lists reach back further. So a list is
made in one of two ways, else not at all:

* of the log alone, where all that is asked for happened since that moment;
* of the upstream's last answer to the same question, however old, and of what happened since it was asked.
"""

from collections.abc import Callable, Sequence

import msgspec

from replica import Age, Document, Row, Whole
from server.queries.streams import NOT_READ, Found, Memory, Params, query, stream

JOIN_MS = 10_000
"""So long before an answer was asked for must a log have been whole that carries it on: answers lag, and our
clock may differ from the upstream's."""

FILLS = 2000
"""Rows of a list of fills, slices or orders at the most (info.md 1.3)."""

ROWS = 500
"""Of the other lists it is not known: from so many on they are left to the upstream."""

TRADES = 10
"""`recentTrades` has about so many; with fewer in an answer it is not known how many there can be."""

_raws = msgspec.json.Decoder(list[msgspec.Raw]).decode


class _Time(msgspec.Struct):
    time: int


class _Fill(msgspec.Struct):
    twap: int | None = msgspec.field(name="twapId", default=None)


class _Slice(msgspec.Struct):
    fill: _Time


class _Status(msgspec.Struct):
    time: int = msgspec.field(name="statusTimestamp")


_time = msgspec.json.Decoder(_Time).decode
_fill = msgspec.json.Decoder(_Fill).decode
_slice = msgspec.json.Decoder(_Slice).decode
_status = msgspec.json.Decoder(_Status).decode

When = Callable[[msgspec.Raw], int]
"""When a row of an answer happened, ms."""


def time_of(raw: msgspec.Raw) -> int:
    return _time(raw).time


def slice_time(raw: msgspec.Raw) -> int:
    return _slice(raw).fill.time


def status_time(raw: msgspec.Raw) -> int:
    return _status(raw).time


def twap_time(raw: msgspec.Raw) -> int:
    """In seconds on the wire, the only one that is."""
    return _time(raw).time * 1000


Select = Callable[[list[msgspec.Raw]], list[msgspec.Raw]]


def _all(raws: list[msgspec.Raw]) -> list[msgspec.Raw]:
    return raws


# -- the two ways --------------------------------------------------------------------------------------


def window(whole: Whole, start: int, end: int | None) -> list[Row] | None:
    """The rows of a window, both ends included, oldest first; None where it begins before what is held."""
    if start < whole.since_ms:
        return None
    return [row for row in whole.rows if start <= row.time and (end is None or row.time <= end)]


def carried_on(
    whole: Whole,
    raws: list[msgspec.Raw],
    asked_ms: int,
    when: When,
    *,
    known: Select = _all,
    start: int = 0,
) -> list[Row] | None:
    """What happened since an answer of these rows, oldest first; None where the log can't tell.

    `asked_ms`: the upstream's time when it was asked for; `start`: what is older is not in it. `known`: those
    of its rows that the log has, too. What happens at one time is told at once: a time at which the answer
    has fewer of them than the log, or more, is not the end of either.
    """
    if whole.since_ms > asked_ms - JOIN_MS:
        return None
    times = [when(raw) for raw in known(raws)]
    newest = max(times, default=0)
    if newest >= whole.since_ms and times.count(newest) != sum(row.time == newest for row in whole.rows):
        return None
    rows = [row for row in whole.rows if row.time > newest and row.time >= max(whole.since_ms, start)]
    if rows and rows[0].time <= max((when(raw) for raw in raws), default=0):
        return None  # an answer that has later rows should have this one
    return rows


def newest_first(
    whole: Whole,
    earlier: bytes,
    asked_ms: int,
    when: When,
    *,
    most: int,
    cut: bool,
    known: Select = _all,
) -> bytes | None:
    """A list of the newest rows as it is now. `known`: those of its rows that the log has, too.

    `cut`: it has `most` rows at the most; else it is not known how many it may have, and a longer one is not
    made.
    """
    raws = _raws(earlier)
    new = carried_on(whole, raws, asked_ms, when, known=known)
    if new is None or (raws and when(raws[0]) < when(raws[-1])):
        return None
    if len(new) + len(raws) > most and not cut:
        return None
    return _body([row.raw for row in reversed(new)] + [bytes(raw) for raw in raws], most)


def oldest_first(
    whole: Whole,
    earlier: bytes,
    asked_ms: int,
    when: When,
    *,
    most: int,
    known: Select = _all,
    start: int = 0,
) -> bytes | None:
    """A list that begins at `start`, as it is now; None where it would be `most` rows or more."""
    raws = _raws(earlier)
    new = carried_on(whole, raws, asked_ms, when, known=known, start=start)
    if new is None or len(new) + len(raws) >= most or (raws and when(raws[0]) > when(raws[-1])):
        return None
    return _body([bytes(raw) for raw in raws] + [row.raw for row in new], most)


def _body(rows: Sequence[bytes], most: int) -> bytes:
    return b"[%s]" % b",".join(rows[:most])


# -- parameters ----------------------------------------------------------------------------------------


def _number(params: Params, name: str) -> int | None:
    value = params.get(name)
    return value if isinstance(value, int) else None


def _read(memory: Memory, type_: str, params: Params) -> tuple[Whole, Age] | None:
    return memory.reading.whole(stream(type_, params.get("user"), coin=params.get("coin")))


def _carrying_on(
    type_: str,
    made: Callable[[Whole, Document], bytes | None],
    memory: Memory,
    params: Params,
    earlier: Document | None,
    *beside: object,
) -> Found | None:
    """An answer made of a stream and of the earlier one; `beside`: what else it is made of."""
    read = _read(memory, type_, params)
    if read is None or earlier is None:
        return None
    whole, age = read

    def make() -> bytes | None:
        try:
            return made(whole, earlier)
        except NOT_READ:
            return None

    body = memory.reading.made((type_, tuple(params.items())), (whole, earlier, *beside), make)
    return None if body is None else Found(body, age)


# -- fills: their stream lacks the slices of TWAPs, which the lists have --------------------------------


def _slices_only(raws: list[msgspec.Raw]) -> list[msgspec.Raw]:
    return [raw for raw in raws if _fill(raw).twap is not None]


def _no_slices(raws: list[msgspec.Raw]) -> list[msgspec.Raw]:
    return [raw for raw in raws if _fill(raw).twap is None]


def _without_slices_since(slices: Whole, earlier: Document, start: int) -> bool:
    """Whether it is known that no slice of a TWAP was filled since."""
    raws = _slices_only(_raws(earlier.body))
    return carried_on(slices, raws, earlier.as_of, time_of, start=start) == []


def _fills(
    made: Callable[[Whole, Document], bytes | None],
    memory: Memory,
    params: Params,
    earlier: Document | None,
) -> Found | None:
    read = _read(memory, "userTwapSliceFills", params)
    if read is None or params.get("aggregateByTime"):
        return None
    slices, age = read
    start = _number(params, "startTime") or 0

    def without_slices(whole: Whole, then: Document) -> bytes | None:
        return made(whole, then) if _without_slices_since(slices, then, start) else None

    found = _carrying_on("userFills", without_slices, memory, params, earlier, slices)
    return None if found is None else Found(found.body, found.age.joined(age))


def _user_fills(memory: Memory, params: Params, earlier: Document | None) -> Found | None:
    return _fills(
        lambda whole, then: newest_first(
            whole, then.body, then.as_of, time_of, most=FILLS, cut=True, known=_no_slices
        ),
        memory,
        params,
        earlier,
    )


def _user_fills_by_time(memory: Memory, params: Params, earlier: Document | None) -> Found | None:
    start, end, is_reversed = _number(params, "startTime"), _number(params, "endTime"), params.get("reversed")
    fills, slices = _read(memory, "userFills", params), _read(memory, "userTwapSliceFills", params)
    if fills is None or slices is None or start is None or params.get("aggregateByTime"):
        return None
    rows, others = window(fills[0], start, end), window(slices[0], start, end)
    if rows is not None and others == []:
        # Of more than there is room for it is not known which ones are told in reverse.
        if len(rows) > FILLS and is_reversed:
            return None
        raws = [row.raw for row in rows]
        return Found(_body(raws[::-1] if is_reversed else raws, FILLS), fills[1].joined(slices[1]))
    if end is not None or is_reversed:
        return None
    return _fills(
        lambda whole, then: oldest_first(
            whole, then.body, then.as_of, time_of, most=FILLS, known=_no_slices, start=start
        ),
        memory,
        params,
        earlier,
    )


# -- by type -------------------------------------------------------------------------------------------


def _user_twap_slice_fills(memory: Memory, params: Params, earlier: Document | None) -> Found | None:
    return _carrying_on(
        "userTwapSliceFills",
        lambda whole, then: newest_first(whole, then.body, then.as_of, slice_time, most=FILLS, cut=True),
        memory,
        params,
        earlier,
    )


def _user_twap_slice_fills_by_time(memory: Memory, params: Params, earlier: Document | None) -> Found | None:
    """Which of them comes first is nowhere said: no more than one is answered."""
    start, end = _number(params, "startTime"), _number(params, "endTime")
    slices = _read(memory, "userTwapSliceFills", params)
    if slices is None or start is None:
        return None
    rows = window(slices[0], start, end)
    if rows is None or len(rows) > 1:
        return None
    return Found(_body([row.raw for row in rows], FILLS), slices[1])


def _twap_history(memory: Memory, params: Params, earlier: Document | None) -> Found | None:
    return _carrying_on(
        "userTwapHistory",
        lambda whole, then: newest_first(whole, then.body, then.as_of, twap_time, most=ROWS, cut=False),
        memory,
        params,
        earlier,
    )


def _historical_orders(memory: Memory, params: Params, earlier: Document | None) -> Found | None:
    return _carrying_on(
        "userHistoricalOrders",
        lambda whole, then: newest_first(whole, then.body, then.as_of, status_time, most=FILLS, cut=True),
        memory,
        params,
        earlier,
    )


def _ledger_updates(memory: Memory, params: Params, earlier: Document | None) -> Found | None:
    type_ = "userNonFundingLedgerUpdates"
    start, end = _number(params, "startTime"), _number(params, "endTime")
    read = _read(memory, type_, params)
    if read is None:
        return None
    rows = None if start is None else window(read[0], start, end)
    if rows is not None:
        return None if len(rows) >= ROWS else Found(_body([row.raw for row in rows], ROWS), read[1])
    if end is not None:
        return None

    def made(whole: Whole, then: Document) -> bytes | None:
        return oldest_first(whole, then.body, then.as_of, time_of, most=ROWS, start=start or 0)

    return _carrying_on(type_, made, memory, params, earlier)


def _recent_trades(memory: Memory, params: Params, earlier: Document | None) -> Found | None:
    def made(whole: Whole, then: Document) -> bytes | None:
        most = len(_raws(then.body))
        if most < TRADES:
            return None
        held = [row.raw for row in whole.rows if row.time >= whole.since_ms]
        if len(held) >= most:
            return _body(held[::-1], most)
        return newest_first(whole, then.body, then.as_of, time_of, most=most, cut=True)

    return _carrying_on("trades", made, memory, params, earlier)


user_fills = query(_user_fills, of_accounts=True)
user_fills_by_time = query(_user_fills_by_time, of_accounts=True)
user_twap_slice_fills = query(_user_twap_slice_fills, of_accounts=True)
user_twap_slice_fills_by_time = query(_user_twap_slice_fills_by_time, of_accounts=True)
twap_history = query(_twap_history, of_accounts=True)
historical_orders = query(_historical_orders, of_accounts=True)
user_non_funding_ledger_updates = query(_ledger_updates, of_accounts=True)
recent_trades = query(_recent_trades, of_accounts=False)
