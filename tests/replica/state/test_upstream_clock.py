"""The upstream's time, never told later than it is."""

from hypothesis import given
from hypothesis import strategies as st

from replica.state.upstream_clock import UpstreamClock

WALL = 1_771_587_392.0


def test_before_any_state_nothing_is_known() -> None:
    assert UpstreamClock().now_ms(WALL) is None
    assert UpstreamClock().lag_s(int(WALL * 1000), WALL) == 0.0


def test_states_without_a_time_tell_nothing() -> None:
    clock = UpstreamClock()
    clock.observe(0, WALL)
    assert clock.now_ms(WALL) is None


def test_a_state_is_late_against_the_least_delayed_one() -> None:
    clock = UpstreamClock()
    for second, delay_ms in ((0, 300), (5, 2300), (10, 4300)):
        time_ms = int((WALL + second) * 1000) - delay_ms
        clock.observe(time_ms, WALL + second)
        assert abs(clock.lag_s(time_ms, WALL + second) - (delay_ms - 300) / 1000) < 0.002
    assert clock.lag_s(0, WALL) == 0.0


def test_the_least_delayed_state_tells_best() -> None:
    clock = UpstreamClock()
    ahead = 30_000  # the upstream's clock runs half a minute before ours
    for second, delay_ms in ((0, 5000), (1, 200), (2, 4000), (12, 3000)):
        clock.observe(int((WALL + second) * 1000) + ahead - delay_ms, WALL + second)
    assert clock.now_ms(WALL + 20) == int((WALL + 20) * 1000) + ahead - 200


def test_our_own_clock_may_be_fast() -> None:
    clock = UpstreamClock()
    clock.observe(int(WALL * 1000) - 90_000, WALL)
    assert clock.now_ms(WALL + 1) == int((WALL + 1) * 1000) - 90_000


def test_what_was_learned_is_forgotten_after_ten_minutes() -> None:
    clock = UpstreamClock()
    clock.observe(int(WALL * 1000) + 5000, WALL)
    for second in range(10, 600, 10):
        clock.observe(int((WALL + second) * 1000), WALL + second)
    assert clock.now_ms(WALL) == int(WALL * 1000) + 5000
    for second in range(600, 630, 10):
        clock.observe(int((WALL + second) * 1000), WALL + second)
    assert clock.now_ms(WALL) == int(WALL * 1000)


@given(
    st.integers(-(10**6), 10**6),
    st.lists(st.tuples(st.floats(0.0, 300.0), st.integers(0, 60_000)), min_size=1, max_size=200),
)
def test_never_later_than_the_upstream_is_and_never_earlier_than_its_last_state(
    skew_ms: int, states: list[tuple[float, int]]
) -> None:
    clock = UpstreamClock()
    wall = WALL
    for gap, delay_ms in states:
        wall += gap
        upstream_ms = wall * 1000 + skew_ms
        time_ms = int(upstream_ms - delay_ms)
        clock.observe(time_ms, wall)
        told = clock.now_ms(wall)
        assert told is not None
        assert time_ms - 1 <= told <= upstream_ms
    assert len(clock._best) <= clock.SPAN_S / 10 + 2
