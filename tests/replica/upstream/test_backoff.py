"""Delays between dials: doubling, bounded, jittered, and over only after a healthy spell."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from replica.upstream.backoff import Backoff


class Fixed(Random):
    """A generator that always says the same."""

    def __init__(self, value: float) -> None:
        super().__init__(0)
        self.value = value

    def random(self) -> float:
        return self.value


def backoff(random: Random) -> Backoff:
    return Backoff(first_s=0.5, longest_s=30.0, healthy_after_s=60.0, random=random)


def test_delays_double_up_to_the_longest() -> None:
    series = backoff(Fixed(0.0))
    assert [series.ended(0.0) for _ in range(8)] == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]


def test_chance_takes_off_up_to_a_quarter() -> None:
    series = backoff(Fixed(1.0))
    assert [series.ended(0.0) for _ in range(3)] == [0.375, 0.75, 1.5]


def test_a_connection_that_did_not_live_long_is_not_health() -> None:
    series = backoff(Fixed(0.0))
    assert [series.ended(lived) for lived in (0.01, 59.9, 10.0)] == [0.5, 1.0, 2.0]


def test_a_healthy_spell_starts_the_series_over() -> None:
    series = backoff(Fixed(0.0))
    for _ in range(5):
        series.ended(0.0)
    assert series.ended(60.0) == 0.5
    assert series.ended(0.0) == 1.0


@given(st.integers(), st.lists(st.floats(0.0, 200.0), max_size=50))
def test_an_upstream_that_drops_us_is_dialled_ever_more_seldom(seed: int, lived: list[float]) -> None:
    series = backoff(Random(seed))
    failures = 0
    for spell in lived:
        delay = series.ended(spell)
        failures = 1 if spell >= 60.0 else failures + 1
        longest = min(0.5 * 2.0 ** (failures - 1), 30.0)
        assert 0.75 * longest <= delay <= longest
