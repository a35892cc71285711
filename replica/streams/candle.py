"""`candle`: the forming candle of a coin and interval, sent again and again until the next one begins.

The last frame of each candle counts: those that closed during an outage come from `candleSnapshot`.
"""

from collections.abc import Sequence

import msgspec

from replica.streams.backfill import Backfill, Missing, Question
from replica.streams.memory import Gap, Latest, Now, Out, Tally
from replica.subscription import Subscription

MOST_WAITING = 1000
"""Candles that roll while others are asked for."""


class _Candle(msgspec.Struct):
    t: int
    n: int = 0


_candle = msgspec.json.Decoder(_Candle).decode
_raws = msgspec.json.Decoder(list[msgspec.Raw]).decode
_Version = tuple[int, int]
"""(t, n): when the candle opened (ms), and of how many trades it is so far."""


class Candles:
    """`candleSnapshot` from one candle to another, both included (a backfill's source)."""

    def __init__(self, subscription: Subscription, first_ms: int, last_ms: int) -> None:
        self.rows = []  # type: ignore[var-annotated]  # it has candles instead
        self.missing: Missing | None = None
        self.candles: list[tuple[_Version, bytes]] = []
        self._first_ms = first_ms
        fields = dict(subscription.fields)
        wanted = {
            "coin": fields.get("coin"),
            "interval": fields.get("interval"),
            "startTime": first_ms,
            "endTime": last_ms,
        }
        body = msgspec.json.encode({"type": "candleSnapshot", "req": wanted})
        self._question: Question | None = Question("candleSnapshot", body)

    def question(self) -> Question | None:
        return self._question

    def answer(self, body: bytes) -> None:
        candles = [(_version(raw), bytes(raw)) for raw in _raws(body)]
        self.candles = sorted(candles)
        oldest = self.candles[0][0][0] if self.candles else None
        if oldest is None or oldest > self._first_ms:
            # The first of them exists, we have seen it: an answer without it was cut.
            self.missing = Missing(None, oldest, "the upstream has no candles so old any more")
        self._question = None


class CandleMemory:
    """The latest frame. A frame of an older candle, or of fewer trades of the same, is passed over."""

    waits = False

    def __init__(self, subscription: Subscription, tally: Tally) -> None:
        self._subscription = subscription
        self._tally = tally
        self._frame: bytes | None = None
        self._latest: Latest | None = None
        self._shown: _Version = (0, 0)
        self._fresh = False
        self._returning = False
        self._waiting: dict[int, tuple[_Version, bytes]] = {}
        self._whole_ms = 0  # the candle with which the present connection began
        self._source: Candles | None = None
        self._wants: Backfill | None = None

    @property
    def wants(self) -> Backfill | None:
        return self._wants

    def confirmed(self, now: Now) -> Sequence[Out]:
        self._returning = self._frame is not None
        self._whole_ms = 0
        return ()

    def lost(self) -> None:
        self._fresh = False
        self._returning = False
        self._wants = None

    def receive(self, frame: bytes, data: bytes, now: Now) -> Sequence[Out]:
        try:
            version = _version(data)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            self._tally.unreadable += 1
            return (frame,)
        self._whole_ms = self._whole_ms or version[0]
        if version < self._shown:
            self._tally.repeated += 1
            return ()
        if (self._returning or self._waiting) and version[0] > self._shown[0]:
            self._returning = False
            held = self._waiting.get(version[0])
            if held is None or held[0] <= version:
                self._waiting[version[0]] = (version, frame)
            if len(self._waiting) > MOST_WAITING:
                self._wants = None
                gap = Gap(self._shown[0], self._whole_ms, "too long before the candles could be had")
                self._tally.gaps += 1
                return (gap, *self._flush({}))
            if self._wants is None:
                # The one that was forming is asked for as well: how it ended was missed.
                self._source = Candles(self._subscription, self._shown[0], version[0] - 1)
                self._wants = Backfill(self._shown[0], (self._source,))
            return ()
        self._returning = False
        if version == self._shown and frame == self._frame:
            self._fresh = True
            self._latest = Latest(data, now.monotonic, 0)
            self._tally.repeated += 1
            return ()
        outs = self._show(version, frame)
        self._latest = Latest(data, now.monotonic, 0)
        return outs

    def overdue(self, now: Now) -> Sequence[Out]:
        return ()

    def healed(self, backfill: Backfill, now: Now) -> Sequence[Out]:
        if backfill is not self._wants or self._source is None:
            return ()
        self._wants = None
        outs: list[Out] = []
        missing = backfill.missing
        if missing is not None:
            to_ms = self._whole_ms if missing.to_ms is None else missing.to_ms
            outs.append(Gap(self._shown[0], to_ms, missing.reason))
            self._tally.gaps += 1
        found = {
            version[0]: (version, b'{"channel":"candle","data":%s}' % data)
            for version, data in self._source.candles
            # The one that forms now is in an answer, too; the stream has it newer.
            if version > self._shown and version[0] < max(self._waiting)
        }
        self._source = None
        self._tally.rows_healed += len(found)
        return (*outs, *self._flush(found))

    def snapshot(self) -> tuple[bytes, ...]:
        return (self._frame,) if self._fresh and self._frame is not None else ()

    def latest(self) -> Latest | None:
        """The candle that forms now; None while that is not known."""
        return self._latest if self._fresh else None

    def _flush(self, found: dict[int, tuple[_Version, bytes]]) -> Sequence[Out]:
        """Show what was found and what waited, one frame a candle: the one of more trades."""
        waiting, self._waiting = self._waiting, {}
        outs: list[Out] = []
        for t in sorted({*found, *waiting}):
            candle = max((one[t] for one in (found, waiting) if t in one), key=lambda one: one[0])
            outs += self._show(*candle)
        return outs

    def _show(self, version: _Version, frame: bytes) -> Sequence[Out]:
        self._shown = version
        self._frame = frame
        self._latest = None
        self._fresh = True
        return (frame,)

    def check(self) -> None:
        """Tests call it after each step."""
        assert len(self._waiting) <= MOST_WAITING
        assert all(version > self._shown for version, _ in self._waiting.values())
        assert self._wants is None or self._waiting

    def __repr__(self) -> str:
        waiting = f" {len(self._waiting)} waiting" if self._waiting else ""
        return f"<candle of {self._shown[0]} {self._shown[1]} trades{waiting}>"


def _version(data: bytes | msgspec.Raw) -> _Version:
    candle = _candle(data)
    return candle.t, candle.n
