"""`candleSnapshot`: an earlier answer, with the candle that forms now as the stream has it. Pure.

The last frame of a candle that has closed may lack its last trades, so closed candles come from the upstream
alone: once a roll, an answer is asked for again. What answers had of them is kept (`replica.CandleStore`),
and any window that lies wholly in it is answered.
"""

import msgspec

from replica import Age, Document, Subscription, read_candle
from server.queries.streams import NOT_READ, Found, Memory, Params, query


class _Candle(msgspec.Struct):
    t: int
    n: int = 0


_candle = msgspec.json.Decoder(_Candle).decode
_raws = msgspec.json.Decoder(list[msgspec.Raw]).decode


def with_forming(earlier: bytes, forming: bytes, end: int | None) -> bytes | None:
    """The rows of an earlier answer, its last one replaced by the same candle as it is now.

    None where that is another candle by now, and where it is outside of what was asked for.
    """
    raws = _raws(earlier)
    if not raws:
        return None
    last, now = _candle(raws[-1]), _candle(forming)
    if last.t != now.t or (end is not None and now.t > end):
        return None
    # A stream that lags behind the answer has nothing to add to it.
    rows = [bytes(raw) for raw in raws[:-1]] + [forming if now.n >= last.n else bytes(raws[-1])]
    return b"[%s]" % b",".join(rows)


def learn(memory: Memory, params: Params, answer: Document) -> None:
    """Keep what an answer of the upstream has of closed candles."""
    coin, interval, start, end = _window(params)
    memory.candles.learn(coin, interval, start, end, answer)


def _window(params: Params) -> tuple[str, str, int, int | None]:
    start, end = params["startTime"], params.get("endTime")
    assert isinstance(start, int)  # the table insists on it
    return str(params["coin"]), str(params["interval"]), start, end if isinstance(end, int) else None


def _held(memory: Memory, params: Params, latest: tuple[bytes, Age] | None) -> Found | None:
    """From the closed candles that are held, whatever window is asked for."""
    try:
        pushed = None if latest is None else (read_candle(latest[0]), latest[1].received)
    except NOT_READ:
        return None
    window = memory.candles.window(*_window(params), pushed)
    if window is None:
        return None
    if window.answer is not None:
        answer = window.answer
        age = Age(answer.as_of, answer.received, answer.reflects, answer.fresh_until)
    else:
        assert latest is not None  # the forming one is from one or the other
        age = latest[1]
    return Found(b"[%s]" % b",".join(window.rows), age)


def _candle_snapshot(memory: Memory, params: Params, earlier: Document | None) -> Found | None:
    coin, interval, _, end = _window(params)
    subscription = Subscription({"type": "candle", "coin": coin, "interval": interval})
    latest = memory.reading.latest(subscription)
    found = _held(memory, params, latest)
    if found is not None or latest is None or earlier is None:
        return found
    data, age = latest

    def make() -> bytes | None:
        try:
            return with_forming(earlier.body, data, end)
        except NOT_READ:
            return None

    body = memory.reading.made((subscription, params.get("startTime"), end), (data, earlier), make)
    return None if body is None else Found(body, age)


candle_snapshot = query(_candle_snapshot, of_accounts=False)
