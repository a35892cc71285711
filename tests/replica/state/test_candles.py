"""Closed candles are kept, and a window is answered from them only where none of it is missing."""

import json
from typing import Any

from replica.state.candles import MOST_BACK, Candle, CandleStore, read_candle
from replica.state.documents import Document

M = 60_000


def wire(number: int, n: int = 5) -> dict[str, Any]:
    return {"t": number * M, "T": number * M + M - 1, "s": "BTC", "c": "1.50", "n": n}


def candle(number: int, n: int = 5) -> Candle:
    return read_candle(json.dumps(wire(number, n)).encode())


def answer(numbers: range | list[int], *, as_of: int | None = None, received: float = 1.0) -> Document:
    """The last of them forms since half a minute."""
    as_of = numbers[-1] * M + M // 2 if as_of is None else as_of
    body = json.dumps([wire(number) for number in numbers]).encode()
    return Document(body, as_of=as_of, received=received, fresh_until=received + 0.5)


def told(
    store: CandleStore, start: int, end: int | None = None, pushed: Candle | None = None
) -> list[int] | None:
    window = store.window("BTC", "1m", start, end, None if pushed is None else (pushed, 9.0))
    return None if window is None else [read_candle(raw).t // M for raw in window.rows]


def holding(numbers: range) -> CandleStore:
    store = CandleStore()
    store.learn("BTC", "1m", numbers[0] * M, None, answer(numbers))
    store.check()
    return store


def test_another_window_is_answered_with_the_candle_that_forms_now() -> None:
    store = holding(range(10, 15))
    assert told(store, 10 * M) == [10, 11, 12, 13, 14]
    assert told(store, 12 * M, pushed=candle(14, 7)) == [12, 13, 14]
    assert told(store, 14 * M) == [14]
    assert told(store, 12 * M, 15 * M) == [12, 13, 14]
    assert told(store, 11 * M, 13 * M - 1) == [11, 12]
    assert store.window("ETH", "1m", 12 * M, None, None) is None
    assert store.window("BTC", "3m", 12 * M, None, None) is None


def test_the_forming_one_is_the_newer_of_the_pushed_and_the_answered() -> None:
    store = holding(range(10, 15))
    for pushed, raw in ((candle(14, 7), candle(14, 7).raw), (candle(14, 4), candle(14, 5).raw)):
        window = store.window("BTC", "1m", 12 * M, None, (pushed, 9.0))
        assert window is not None
        assert (window.rows[-1], window.answer) == (raw, None)
    window = store.window("BTC", "1m", 12 * M, None, (candle(13, 7), 9.0))
    assert window is not None
    assert window.answer is not None


def test_no_short_list() -> None:
    store = holding(range(10, 15))
    assert told(store, 9 * M) is None  # from before
    assert told(store, 15 * M) is None  # after all of it
    # 14 has closed: how, only the upstream knows.
    assert told(store, 12 * M, pushed=candle(15)) is None
    store.learn("BTC", "1m", 14 * M, None, answer(range(14, 16), as_of=15 * M + 1998, received=2.0))
    assert told(store, 12 * M, pushed=candle(15)) is None  # not settled yet
    store.learn("BTC", "1m", 14 * M, None, answer(range(14, 16), as_of=15 * M + 1999, received=3.0))
    assert told(store, 12 * M, pushed=candle(15)) == [12, 13, 14, 15]
    store.check()


def test_the_last_row_of_a_window_of_the_past_is_not_the_one_that_forms() -> None:
    store = CandleStore()
    store.learn("BTC", "1m", 10 * M, 14 * M, answer(range(10, 15), as_of=60 * M))
    assert told(store, 12 * M) is None
    assert told(store, 12 * M, pushed=candle(60)) is None


def test_what_does_not_meet_is_not_put_together() -> None:
    store = holding(range(10, 15))
    store.learn("BTC", "1m", 20 * M, None, answer(range(20, 25), received=2.0))
    assert told(store, 12 * M, pushed=candle(24)) is None
    assert told(store, 21 * M, pushed=candle(24)) == [21, 22, 23, 24]
    # Nor is something older put in its place; what is between them joins them.
    store.learn("BTC", "1m", 5 * M, 9 * M, answer(range(5, 10), as_of=24 * M, received=3.0))
    assert told(store, 21 * M, pushed=candle(24)) == [21, 22, 23, 24]
    store.learn("BTC", "1m", 11 * M, 21 * M, answer(range(11, 22), as_of=24 * M, received=4.0))
    assert told(store, 11 * M, pushed=candle(24)) == list(range(11, 25))
    store.check()


def test_whether_the_candle_around_an_edge_is_in_is_learnt_from_answers() -> None:
    store = holding(range(10, 15))
    assert told(store, 11 * M + 1) is None
    assert told(store, 10 * M, 13 * M) is None
    store.learn("BTC", "1m", 11 * M + 1, None, answer(range(11, 15), received=2.0))
    assert told(store, 12 * M + 1) == [12, 13, 14]
    store.learn("BTC", "1m", 11 * M + 1, None, answer(range(12, 15), received=3.0))
    assert told(store, 12 * M + 1) == [13, 14]
    store.learn("BTC", "1m", 11 * M, 14 * M + 5, answer(range(11, 15), received=4.0))
    assert told(store, 10 * M, 13 * M) == [10, 11, 12, 13]


def test_no_more_than_the_upstream_has() -> None:
    store = holding(range(10, 10 + MOST_BACK))
    store.learn("BTC", "1m", 5000 * M, None, answer(range(5000, 5020), received=2.0))
    store.check()
    assert told(store, 19 * M, pushed=candle(5019)) is None
    assert len(told(store, 20 * M, pushed=candle(5019)) or []) == MOST_BACK
    assert told(store, 19 * M, 30 * M, pushed=candle(5019)) is None


def test_what_was_not_used_for_the_longest_time_goes_first() -> None:
    store = CandleStore(most=10)
    for coin in ("BTC", "ETH"):
        store.learn(coin, "1m", 10 * M, None, answer(range(10, 15)))
    assert len(store) == 8
    assert told(store, 12 * M) is not None
    store.learn("SOL", "1m", 10 * M, None, answer(range(10, 15)))
    store.check()
    assert told(store, 12 * M) is not None
    assert store.window("ETH", "1m", 12 * M, None, None) is None


def test_what_is_no_list_of_candles_is_left_alone() -> None:
    store = holding(range(10, 15))
    for body in (
        b"null",
        b"[]",
        b"[1]",
        b'[{"t":1}]',
        b"<html>",
        b"[" * 9999,
        json.dumps([wire(2), wire(1)]).encode(),
    ):
        store.learn("BTC", "1m", 0, None, Document(body, as_of=1, received=9.0, fresh_until=9.5))
    store.check()
    assert told(store, 12 * M) == [12, 13, 14]
