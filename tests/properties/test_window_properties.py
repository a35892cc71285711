"""No window of the span, wherever it lies, holds more than the limit."""

from hypothesis import given
from hypothesis import strategies as st

from replica.upstream.window import SlidingWindow

SPAN = 60.0
gaps = st.one_of(st.floats(0.0, 100.0), st.sampled_from([0.0, 0.1, 59.9, 60.0, 61.2]))


@given(st.integers(1, 5), st.lists(st.tuples(gaps, st.integers(1, 8)), max_size=60))
def test_no_window_holds_more_than_the_limit(limit: int, arrivals: list[tuple[float, int]]) -> None:
    window = SlidingWindow(limit, SPAN)
    now = 0.0
    taken: list[float] = []
    for gap, many in arrivals:
        now += gap
        for _ in range(many):
            earliest = window.earliest(now)
            assert (earliest == now) == (window.room(now) > 0)
            if window.room(now) > 0:
                window.take(now)
                taken.append(now)
        assert 0 <= window.room(now) <= limit
    for start in taken:
        assert sum(start <= moment <= start + SPAN for moment in taken) <= limit


@given(st.integers(1, 4), st.lists(gaps, min_size=1, max_size=30))
def test_at_the_earliest_moment_there_is_room_and_not_before(limit: int, waits: list[float]) -> None:
    window = SlidingWindow(limit, SPAN)
    now = 0.0
    for wait in waits:
        now += wait
        earliest = window.earliest(now)
        if now < (before := (now + earliest) / 2) < earliest:
            assert window.room(before) == 0
        assert window.room(earliest) > 0
        now = earliest
        window.take(now)


@given(st.integers(2, 6), st.data(), st.lists(gaps, min_size=1, max_size=30))
def test_who_leaves_the_reserve_leaves_it(limit: int, data: st.DataObject, waits: list[float]) -> None:
    keep = data.draw(st.integers(0, limit - 1))
    window = SlidingWindow(limit, SPAN, reserve=keep)
    assert window.reserve == keep
    now = 0.0
    for wait in waits:
        now = window.earliest(now + wait, keep=keep)
        assert window.room(now) > keep
        window.take(now)
        assert window.room(now) >= keep
