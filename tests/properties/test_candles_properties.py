"""Whatever windows were asked for and when: what the closed candles answer is what the upstream would."""

import json

from hypothesis import given
from hypothesis import strategies as st

from replica.state.candles import SETTLED_MS, CandleStore, read_candle
from replica.state.documents import Document

M = 60_000
ROWS = 40


class Upstream:
    """Candles of a minute, some never traded; `inside`: that in which startTime lies is in an answer."""

    def __init__(self, traded: list[bool], inside: bool) -> None:
        self._traded = traded
        self._inside = inside

    def forming(self, now: int) -> bytes | None:
        number = now // M
        return self._row(number, now) if self._traded[number] else None

    def says(self, start: int, end: int | None, now: int) -> list[bytes]:
        rows = []
        for number in range(now // M + 1):
            first = number * M + (0 if not self._inside else M - 1)
            if self._traded[number] and first >= start and (end is None or number * M <= end):
                rows.append(self._row(number, now))
        return rows

    def _row(self, number: int, now: int) -> bytes:
        trades = min(now - number * M, M)  # more of them with time, until it closes
        return json.dumps({"t": number * M, "T": number * M + M - 1, "n": trades}).encode()


windows = st.tuples(st.integers(0, ROWS * M), st.none() | st.integers(0, ROWS * M))
steps = st.lists(st.tuples(st.integers(0, 2 * M), windows, st.booleans()), max_size=30)


@given(st.lists(st.booleans() | st.just(True), min_size=ROWS, max_size=ROWS), st.booleans(), steps)
def test_what_is_held_answers_as_the_upstream_would(
    traded: list[bool], inside: bool, asked: list[tuple[int, tuple[int, int | None], bool]]
) -> None:
    upstream, store, now = Upstream(traded, inside), CandleStore(), 10 * M
    for wait, (start, end), streams in asked:
        now = min(now + wait, ROWS * M - 1)
        forming = upstream.forming(now) if streams else None
        pushed = None if forming is None else (read_candle(forming), now / 1000)
        window = store.window("BTC", "1m", start, end, pushed)
        if window is not None:
            of = now if window.answer is None else window.answer.as_of
            assert window.rows == upstream.says(start, end, of)
            assert window.rows or end is not None
        rows = upstream.says(start, end, now)
        body = b"[%s]" % b",".join(rows)
        store.learn("BTC", "1m", start, end, Document(body, as_of=now, received=now / 1000, fresh_until=0.0))
        store.check()


@given(st.integers(20 * M, 30 * M), st.integers(1, 15))
def test_a_window_that_moves_is_answered(now: int, back: int) -> None:
    upstream, store = Upstream([True] * ROWS, True), CandleStore()
    rows = upstream.says(M + 1, None, now)
    store.learn(
        "BTC",
        "1m",
        M + 1,
        None,
        Document(b"[%s]" % b",".join(rows), as_of=now, received=1.0, fresh_until=2.0),
    )
    start = now - back * M
    window = store.window("BTC", "1m", start, now + 5 * M, None)
    # The one that has just closed may still be told otherwise.
    assert (window is not None) == (now % M >= SETTLED_MS - 1)
    assert window is None or window.rows == upstream.says(start, None, now)
