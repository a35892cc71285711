"""Windows of a log, and answers carried on by it: never a row too few, never one too many."""

import json

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from replica import Row, Whole
from server.queries.history import JOIN_MS, carried_on, newest_first, oldest_first, time_of, window
from server.queries.order_status import over

raws_of = msgspec.json.Decoder(list[msgspec.Raw]).decode


def row(number: int, time: int) -> Row:
    return Row(time, (number,), (number,), json.dumps({"id": number, "time": time}).encode())


def numbers(body: bytes | None) -> list[int] | None:
    return None if body is None else [one["id"] for one in json.loads(body)]


def listed(rows: list[Row]) -> bytes:
    return b"[%s]" % b",".join(one.raw for one in rows)


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[Row], Whole, int]:
    """All that happened, the end of it as a log holds it, and how much of it happened when it was asked."""
    times = sorted(draw(st.lists(st.integers(0, 40), max_size=25)))
    rows = [row(number, time * 1000) for number, time in enumerate(times)]
    since = draw(st.integers(0, 41)) * 1000
    # Of what is before, some rows may be held all the same.
    stray = draw(st.sets(st.sampled_from(range(len(rows))))) if rows else set()
    held = tuple(one for one in rows if one.time >= since or one.key[0] in stray)
    return rows, Whole(held, since), draw(st.integers(0, 60)) * 1000


@given(histories(), st.integers(0, 45), st.none() | st.integers(0, 45))
def test_a_window_is_all_of_it_or_nothing(
    history: tuple[list[Row], Whole, int], start: int, end: int | None
) -> None:
    rows, whole, _ = history
    first, last = start * 1000, None if end is None else end * 1000
    truth = [one for one in rows if first <= one.time <= (1 << 60 if last is None else last)]
    found = window(whole, first, last)
    assert found == (truth if first >= whole.since_ms else None)


@given(histories(), st.integers(0, 45), st.integers(1, 30))
def test_an_answer_carried_on_is_the_truth_or_nothing(
    history: tuple[list[Row], Whole, int], start: int, most: int
) -> None:
    rows, whole, asked_ms = history
    then = [one for one in rows if one.time <= asked_ms]

    newest = newest_first(whole, listed(then[::-1][:most]), asked_ms, time_of, most=most, cut=True)
    if newest is not None:
        assert numbers(newest) == [one.key[0] for one in rows[::-1][:most]]
    first = start * 1000
    earlier = [one for one in then if one.time >= first]
    oldest = oldest_first(whole, listed(earlier), asked_ms, time_of, most=most, start=first)
    if oldest is not None:
        assert numbers(oldest) == [one.key[0] for one in rows if one.time >= first]
        assert whole.since_ms <= asked_ms - JOIN_MS


def test_an_answer_is_carried_on_where_that_is_certain() -> None:
    rows = [row(number, number * 1000) for number in range(40)]
    whole = Whole(tuple(rows[10:]), 10_000)
    for asked in range(20, 40):
        body = listed(rows[: asked + 1])
        raws = raws_of(body)
        assert carried_on(whole, raws, asked * 1000, time_of) == rows[asked + 1 :]
        # An answer that lags behind the log, and one that is ahead of it by a row.
        assert carried_on(whole, raws[:-2], asked * 1000, time_of) == rows[asked - 1 :]
    assert carried_on(whole, raws_of(listed(rows[:20])), 19_999, time_of) is None
    assert carried_on(whole, raws_of(listed([*rows, row(99, 39_000)])), 60_000, time_of) is None
    assert carried_on(whole, raws_of(listed([*rows, row(99, 50_000)])), 60_000, time_of) is None
    # Its rows that are no rows of the log are not missed there, but nothing is put in before them.
    strange = raws_of(listed([*rows[:20], row(99, 30_500)]))
    assert carried_on(whole, strange, 60_000, time_of, known=lambda raws: raws[:20]) is None
    strange = raws_of(listed([*rows[:20], row(99, 19_500)]))
    assert carried_on(whole, strange, 60_000, time_of, known=lambda raws: raws[:20]) == rows[20:]


def test_a_list_of_which_the_length_is_not_known_is_not_cut() -> None:
    rows = [row(number, number * 1000) for number in range(40)]
    whole, then = Whole(tuple(rows), 0), listed(rows[:20][::-1])
    assert numbers(newest_first(whole, then, 20_000, time_of, most=40, cut=False)) == list(range(40))[::-1]
    assert newest_first(whole, then, 20_000, time_of, most=39, cut=False) is None
    assert numbers(newest_first(whole, then, 20_000, time_of, most=7, cut=True)) == list(range(33, 40))[::-1]
    assert newest_first(whole, listed(rows[:20]), 20_000, time_of, most=40, cut=True) is None
    assert oldest_first(whole, then, 20_000, time_of, most=99) is None


# -- orders that are over ------------------------------------------------------------------------------


def order(oid: int, status: str, time: int, cloid: str | None = None, child: int | None = None) -> Row:
    children = [] if child is None else [{"oid": child, "cloid": None, "children": []}]
    said = {"oid": oid, "children": children, "cloid": cloid}
    raw = msgspec.json.encode({"order": said, "status": status, "statusTimestamp": time})
    return Row(time, (oid,), (oid,), raw)


def status(whole: Whole, oid: int | str) -> str | None:
    found = over(whole, oid)
    return None if found is None else json.loads(found.raw)["status"]


def test_of_an_order_its_last_status_counts_and_only_if_it_is_final() -> None:
    cloid, other = "0x" + "1" * 32, "0x" + "2" * 32
    rows = (
        order(1, "canceled", 10),
        order(2, "open", 20, cloid),
        order(2, "filled", 21, cloid),
        order(3, "open", 22),
        order(4, "perpMarginRejected", 23),
        order(5, "triggered", 24),
        order(6, "scheduledCancel", 25, child=7),
        order(8, "open", 26, cloid),
        order(9, "reduceOnlyCanceled", 27, other),
        order(10, "somethingNew", 28),
    )
    whole = Whole(rows, 20)
    assert status(whole, 2) == "filled"
    assert status(whole, 4) == "perpMarginRejected"
    assert status(whole, 6) == "scheduledCancel"
    assert status(whole, other) == "reduceOnlyCanceled"
    # From before it is whole, resting, triggered, a child, used again, never heard of, of a new status.
    for oid in (1, 3, 5, 7, cloid, 99, "0x" + "3" * 32, 10):
        assert status(whole, oid) is None
