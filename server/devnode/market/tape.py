"""What is summed up from the engine's events as they come: candles, volumes, open interest, funding rates.

Candles follow the marks, which always move, and count the trades. Everything here can be made anew from the
events alone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from server.devnode.engine.events import Event, Fill, PriceMoves, Trade
from server.devnode.engine.funding import HOUR_MS, rate
from server.devnode.engine.listing import Instrument, Listing
from server.devnode.engine.units import number
from server.devnode.market.past_marks import PastMarks

MINUTE_MS = 60_000
DAY_MS = 24 * HOUR_MS
BARS = 5_000  # of each kind, counted back from now: official docs, candleSnapshot
HOURS = 5_000  # of funding rates
INTERVALS = {
    "1m": MINUTE_MS, "3m": 3 * MINUTE_MS, "5m": 5 * MINUTE_MS, "15m": 15 * MINUTE_MS, "30m": 30 * MINUTE_MS,
    "1h": HOUR_MS, "2h": 2 * HOUR_MS, "4h": 4 * HOUR_MS, "8h": 8 * HOUR_MS, "12h": 12 * HOUR_MS,
    "1d": DAY_MS, "3d": 3 * DAY_MS, "1w": 7 * DAY_MS, "1M": 0,
}  # fmt: skip
_BASES = (MINUTE_MS, HOUR_MS, DAY_MS)  # every interval is made of bars of one of these
_MONDAY_MS = 4 * DAY_MS  # the first week of the epoch began on a Thursday


class Bar:
    """One candle of a base interval, in ticks and lots."""

    __slots__ = ("close", "count", "high", "lots", "low", "open", "start")

    def __init__(self, start: int, px: int) -> None:
        self.start = start
        self.open = self.high = self.low = self.close = px
        self.lots = self.count = 0

    def see(self, px: int) -> None:
        self.close = px
        if px > self.high:
            self.high = px
        elif px < self.low:
            self.low = px

    def join(self, later: Bar) -> None:
        self.close = later.close
        self.high, self.low = max(self.high, later.high), min(self.low, later.low)
        self.lots += later.lots
        self.count += later.count


class HourlyRate(NamedTuple):
    time: int
    rate: int  # 10^-10
    premium: float


class Day:
    """The trades of one market in the last 24 hours."""

    __slots__ = ("lots", "ntl", "trades")

    def __init__(self) -> None:
        self.trades: deque[tuple[int, int, int]] = deque()
        self.lots = self.ntl = 0

    def clone(self) -> Day:
        twin = Day()
        twin.trades, twin.lots, twin.ntl = self.trades.copy(), self.lots, self.ntl
        return twin

    def add(self, time: int, lots: int, ntl: int) -> None:
        self.trades.append((time, lots, ntl))
        self.lots += lots
        self.ntl += ntl

    def prune(self, now: int) -> None:
        while self.trades and self.trades[0][0] <= now - DAY_MS:
            _, lots, ntl = self.trades.popleft()
            self.lots -= lots
            self.ntl -= ntl


class Tape:
    """The mutable state is the sums. `began` is when the candles begin."""

    def __init__(self, listing: Listing, began: int) -> None:
        self.listing = listing
        self.open_interest: dict[int, int] = dict.fromkeys(listing.by_asset, 0)
        self.rates: dict[str, deque[HourlyRate]] = {}
        self.exchange_days: dict[int, int] = {}  # micro-USD traded by UTC day
        self.past = PastMarks(began)
        self._days: dict[str, Day] = {}
        self._hour = began // HOUR_MS
        self._marks = {asset: inst.market.start for asset, inst in listing.by_asset.items()}
        self._oracles = dict(self._marks)
        self._bars: dict[int, dict[int, deque[Bar]]] = {base: {} for base in _BASES}
        for asset, px in self._marks.items():
            self._see(asset, px, began)

    def clone(self) -> Tape:
        """A tape that goes its own way; the listing is shared."""
        twin = Tape(self.listing, 0)
        twin.open_interest, twin.exchange_days = dict(self.open_interest), dict(self.exchange_days)
        twin.rates = {coin: rows.copy() for coin, rows in self.rates.items()}
        twin.past = self.past.clone()
        twin._days = {coin: day.clone() for coin, day in self._days.items()}
        twin._hour, twin._marks, twin._oracles = self._hour, dict(self._marks), dict(self._oracles)
        for base, of_base in self._bars.items():
            for asset, bars in of_base.items():
                # Only the newest bar still changes: the others are shared.
                copy = twin._bars[base][asset] = bars.copy()
                copy[-1] = _copy(copy[-1], copy[-1].start)
        return twin

    def absorb(self, events: Iterable[Event], *, past: bool = False) -> None:
        """Sum up events. Trades of the `past`, before the world began, count for open interest alone."""
        for event in events:
            if isinstance(event, Fill):
                self._fill(event)
            elif isinstance(event, Trade) and not past:
                self._trade(event)
            elif isinstance(event, PriceMoves):
                self._moves(event)

    def day(self, coin: str, now: int) -> tuple[int, int]:
        """Lots and lots x ticks traded within 24 hours."""
        day = self._days.get(coin)
        if day is None:
            return 0, 0
        day.prune(now)
        return day.lots, day.ntl

    def day_before(self, asset: int, now: int) -> int:
        """The price of 24 hours ago, or the oldest there is."""
        for base in (MINUTE_MS, HOUR_MS):
            bars = self._bars[base][asset]
            if bars[0].start <= now - DAY_MS:
                back = min(len(bars) - 1, DAY_MS // base)
                while back < len(bars) - 1 and bars[-1 - back].start > now - DAY_MS:
                    back += 1
                return bars[-1 - back].close
        return self._bars[HOUR_MS][asset][0].open

    def candles(self, coin: str, interval: str, start: int, end: int) -> list[dict[str, Any]]:
        """The rows of `candleSnapshot`, oldest first, the forming one last."""
        inst = self.listing.by_coin[coin]
        grouped: list[Bar] = []
        for bar in self._bars[_base(interval)][inst.asset]:
            opening = opening_of(bar.start, interval)
            if grouped and grouped[-1].start == opening:
                grouped[-1].join(bar)
            else:
                grouped.append(_copy(bar, opening))
        return [
            _row(inst, bar, interval)
            for bar in grouped[-BARS:]
            if bar.start <= end and closing_of(bar.start, interval) >= start
        ]

    def forming(self, coin: str, interval: str) -> dict[str, Any]:
        inst = self.listing.by_coin[coin]
        bars = self._bars[_base(interval)][inst.asset]
        opening = opening_of(bars[-1].start, interval)
        parts = list(_while_from(bars, opening))
        whole = _copy(parts[-1], opening)
        for bar in reversed(parts[:-1]):
            whole.join(bar)
        return _row(inst, whole, interval)

    def _fill(self, fill: Fill) -> None:
        inst = self.listing.by_asset[fill.asset]
        if not inst.is_spot:
            end = fill.start + (fill.lots if fill.is_buy else -fill.lots)
            self.open_interest[fill.asset] += max(0, end) - max(0, fill.start)

    def _trade(self, trade: Trade) -> None:
        ntl, day = trade.lots * trade.px, trade.time // DAY_MS
        self._days.setdefault(trade.coin, Day()).add(trade.time, trade.lots, ntl)
        scale = 100 if self.listing.by_asset[trade.asset].is_spot else 1
        self.exchange_days[day] = self.exchange_days.get(day, 0) + ntl // scale
        self._see(trade.asset, trade.px, trade.time)
        for bars in self._bars.values():
            bars[trade.asset][-1].lots += trade.lots
            bars[trade.asset][-1].count += 1

    def _moves(self, moves: PriceMoves) -> None:
        self.past.changing(moves.time, self._marks)
        self._oracles.update(moves.oracles)
        self._marks.update(moves.marks)
        for asset, px in self._marks.items():
            self._see(asset, px, moves.time)
        if moves.time // HOUR_MS > self._hour:
            self._hour = moves.time // HOUR_MS
            for asset, inst in self.listing.by_asset.items():
                if not inst.is_spot:
                    mark, oracle = self._marks[asset], self._oracles[asset]
                    row = HourlyRate(moves.time, rate(mark, oracle), mark / oracle - 1)
                    self.rates.setdefault(inst.coin, deque(maxlen=HOURS)).append(row)

    def _see(self, asset: int, px: int, time: int) -> None:
        for base, of_base in self._bars.items():
            bars = of_base.get(asset)
            if bars is None:
                bars = of_base[asset] = deque(maxlen=BARS)
            opening = time - time % base
            if not bars or bars[-1].start < opening:
                bars.append(Bar(opening, px))
            else:
                bars[-1].see(px)


def opening_of(time: int, interval: str) -> int:
    """When the candle of `time` began."""
    if interval == "1M":
        moment = datetime.fromtimestamp(time // 1000, UTC)
        return int(moment.replace(day=1, hour=0, minute=0, second=0).timestamp()) * 1000
    size = INTERVALS[interval]
    shift = _MONDAY_MS if interval == "1w" else 0
    return (time - shift) // size * size + shift


def closing_of(opening: int, interval: str) -> int:
    """Its last millisecond."""
    if interval == "1M":
        return opening_of(opening + 31 * DAY_MS, interval) - 1
    return opening + INTERVALS[interval] - 1


def _base(interval: str) -> int:
    size = INTERVALS[interval] or DAY_MS
    return next(base for base in reversed(_BASES) if size >= base)


def _copy(bar: Bar, start: int) -> Bar:
    copy = Bar(start, bar.open)
    copy.join(bar)
    return copy


def _while_from(bars: Sequence[Bar], opening: int) -> Iterator[Bar]:
    """The newest bars, newest first, back to an opening."""
    for bar in reversed(bars):
        if bar.start < opening:
            return
        yield bar


def _row(inst: Instrument, bar: Bar, interval: str) -> dict[str, Any]:
    return {
        "t": bar.start,
        "T": closing_of(bar.start, interval),
        "s": inst.coin,
        "i": interval,
        "o": number(bar.open, inst.px_decimals),
        "c": number(bar.close, inst.px_decimals),
        "h": number(bar.high, inst.px_decimals),
        "l": number(bar.low, inst.px_decimals),
        "v": number(bar.lots, inst.sz_decimals),
        "n": bar.count,
    }
