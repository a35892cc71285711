"""So many at once, then so many a minute."""

import hypothesis
import hypothesis.strategies as st

from server.ws.allowance import Allowance


def test_what_is_used_up_comes_back_with_time() -> None:
    allowance = Allowance(3, 60)
    assert [allowance.take(100.0) for _ in range(4)] == [True, True, True, False]
    assert not allowance.take(100.9)
    assert allowance.take(101.1)
    assert not allowance.take(101.2)
    assert [allowance.take(1000.0) for _ in range(4)] == [True, True, True, False]


def test_none_is_no_limit() -> None:
    allowance = Allowance(0, 60)
    assert all(allowance.take(0.0) for _ in range(10_000))


@hypothesis.given(st.lists(st.floats(0.0, 30.0), max_size=200), st.integers(1, 20), st.integers(0, 120))
def test_no_span_of_time_has_more_than_it_may(pauses: list[float], most: int, per_minute: int) -> None:
    allowance, now = Allowance(most, per_minute), 50.0
    taken: list[float] = []
    for pause in pauses:
        now += pause
        if allowance.take(now):
            taken.append(now)
    for first, began in enumerate(taken):
        for last in range(first, len(taken)):
            assert last - first + 1 <= most + (taken[last] - began) * per_minute / 60 + 1e-6
