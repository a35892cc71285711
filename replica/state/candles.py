"""Candles that have closed, as answers of `candleSnapshot` had them. Source: spec/info.md 1.3, 2.3. Pure.

A closed candle never changes. Of each coin and interval one stretch is held, in which no candle is missing
that the upstream has; the newest candle of an answer still forms and is kept beside it. `learn` is the only
mutation, but for the order of use; the mutable state is the stretches and what answers show of their edges.
"""

from bisect import bisect_left
from collections import OrderedDict
from itertools import pairwise
from operator import attrgetter
from typing import NamedTuple

import msgspec

from replica.state.documents import Document

MOST_BACK = 5000
"""The upstream has about so many candles, counted back from now, and cuts an answer to them (info.md 1.3)."""

MOST_HELD = 100_000
"""Of all coins and intervals together: about 35 MB. What was not used for the longest time goes first."""

SETTLED_MS = 2000
"""A candle that closed so long before the question is told as it will stay: answers are up to 0.8 s old."""


class _Wire(msgspec.Struct):
    t: int
    close: int = msgspec.field(name="T")
    n: int = 0


_wire = msgspec.json.Decoder(_Wire).decode
_raws = msgspec.json.Decoder(list[msgspec.Raw]).decode
_close = attrgetter("close")


class Candle(NamedTuple):
    """First and last millisecond, trades so far, and the bytes."""

    t: int
    close: int
    n: int
    raw: bytes


class Window(NamedTuple):
    """The rows of an answer. `answer`: where the forming one is from; None: from the stream."""

    rows: list[bytes]
    answer: Document | None


class _Stretch(NamedTuple):
    closed: list[Candle]
    newest: Candle
    answer: Document


def read_candle(data: bytes | msgspec.Raw) -> Candle:
    """Raises `msgspec.DecodeError` or `UnicodeError` if it is none."""
    wire = _wire(data)
    return Candle(wire.t, wire.close, wire.n, bytes(data))


class CandleStore:
    """One stretch of closed candles per coin and interval."""

    def __init__(self, most: int = MOST_HELD) -> None:
        self._most = most
        self._stretches: OrderedDict[tuple[str, str], _Stretch] = OrderedDict()
        self._size = 0
        # Whether the candle is in an answer in which startTime, or endTime, lies. No source says it.
        self._first_is_in: bool | None = None
        self._last_is_in = False

    def __len__(self) -> int:
        return self._size

    def learn(self, coin: str, interval: str, start: int, end: int | None, answer: Document) -> None:
        """Keep the closed candles of an answer (status 200) to the question for this window (ms)."""
        try:
            rows = [read_candle(raw) for raw in _raws(answer.body)]
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            return
        if not rows or any(one.close >= next_.t for one, next_ in pairwise(rows)):
            return
        stretch = self._stretches.get((coin, interval))
        self._learn_edges(rows, stretch.closed if stretch is not None else [], start, end)
        closed = [row for row in rows[:-1] if row.close + SETTLED_MS <= answer.as_of]
        newest = rows[-1]
        if stretch is not None:
            closed = _joined(stretch.closed, closed)
            if stretch.newest[:3] > newest[:3] or stretch.answer.received > answer.received:
                newest, answer = stretch.newest, stretch.answer
            self._size -= len(stretch.closed)
        closed = closed[-MOST_BACK:]
        self._size += len(closed)
        self._stretches[coin, interval] = _Stretch(closed, newest, answer)
        self._stretches.move_to_end((coin, interval))
        while self._size > self._most:
            _, gone = self._stretches.popitem(last=False)
            self._size -= len(gone.closed)

    def window(
        self, coin: str, interval: str, start: int, end: int | None, pushed: tuple[Candle, float] | None
    ) -> Window | None:
        """All candles that the upstream would answer, or None if that is not known.

        `pushed`: the forming candle as the stream has it, and when it came (our monotonic clock).
        """
        stretch = self._stretches.get((coin, interval))
        if stretch is None or not stretch.closed:
            return None
        self._stretches.move_to_end((coin, interval))
        closed, newest, answer = stretch
        forming, of = newest, answer if newest.t <= answer.as_of <= newest.close else None
        if pushed is not None and pushed[0].t >= newest.t:
            candle, received = pushed
            if candle.t > newest.t or (candle.n, received) >= (newest.n, answer.received):
                forming = candle
            of = None
        elif of is None:
            return None
        if forming.t != closed[-1].close + 1 or not closed[0].t <= start <= forming.t:
            return None
        first = bisect_left(closed, start, key=_close)
        if first < len(closed) and closed[first].t < start:
            if self._first_is_in is None:
                return None
            first += not self._first_is_in
        rows = [*closed[first:], forming]
        if len(rows) > MOST_BACK:
            return None
        if end is not None and end < forming.close:
            rows = [row for row in rows if row.t <= end]
            if rows and end < rows[-1].close and not self._last_is_in:
                return None
        return Window([row.raw for row in rows], of)

    def _learn_edges(self, rows: list[Candle], held: list[Candle], start: int, end: int | None) -> None:
        first, last = rows[0], rows[-1]
        if first.t < start <= first.close:
            self._first_is_in = True
        elif len(rows) < MOST_BACK:
            at = bisect_left(held, start, key=_close)
            if at < len(held) and held[at].t < start and first.t == held[at].close + 1:
                self._first_is_in = False
        if end is not None and end < last.close:
            self._last_is_in = True

    # -- proof -----------------------------------------------------------------------------------------

    def check(self) -> None:
        """Every structural invariant; tests call it after each step."""
        assert self._size == sum(len(stretch.closed) for stretch in self._stretches.values()) <= self._most
        for closed, _, _ in self._stretches.values():
            assert len(closed) <= MOST_BACK
            assert all(one.close < next_.t for one, next_ in pairwise(closed))

    def __repr__(self) -> str:
        return f"<CandleStore {self._size} candles of {len(self._stretches)} kinds>"


def _joined(held: list[Candle], told: list[Candle]) -> list[Candle]:
    """Both, where they meet or overlap; else the later one: between them there may be others."""
    if not held or not told:
        return held or told
    if told[0].t > held[-1].close + 1:
        return told
    if held[0].t > told[-1].close + 1:
        return held
    before = [row for row in held if row.t < told[0].t]
    return before + told + [row for row in held if row.t > told[-1].t]
