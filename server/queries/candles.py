"""`candleSnapshot`: an earlier answer, with the candle that forms now as the stream has it. Pure.

The last frame of a candle that has closed may lack its last trades, so closed candles come from the upstream
alone: once a roll, an answer is asked for again.
"""

import msgspec

from replica import Document, Subscription
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


def _candle_snapshot(memory: Memory, params: Params, earlier: Document | None) -> Found | None:
    coin, interval, end = params.get("coin"), params.get("interval"), params.get("endTime")
    subscription = Subscription({"type": "candle", "coin": coin, "interval": interval})
    latest = memory.reading.latest(subscription)
    if latest is None or earlier is None:
        return None
    data, age = latest

    def make() -> bytes | None:
        try:
            return with_forming(earlier.body, data, end if isinstance(end, int) else None)
        except NOT_READ:
            return None

    body = memory.reading.made((subscription, params.get("startTime"), end), (data, earlier), make)
    return None if body is None else Found(body, age)


candle_snapshot = query(_candle_snapshot, of_accounts=False)
