"""The exchange's clock: it follows, stands, advances, and never goes back."""

from hypothesis import given
from hypothesis import strategies as st

from server.devnode.clock import Clock


class Wall:
    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __call__(self) -> float:
        return self.seconds


def test_it_follows_and_holds_where_the_other_clock_is_set_back() -> None:
    wall = Wall(1000.0)
    clock = Clock(wall)
    assert clock.now_ms() == 1_000_000
    wall.seconds = 1001.5
    assert clock.now_ms() == 1_001_500
    wall.seconds = 900.0
    assert clock.now_ms() == 1_001_500


def test_a_pause_holds_it_and_afterwards_it_shows_what_it_would_have_shown() -> None:
    wall = Wall(1000.0)
    clock = Clock(wall)
    clock.pause()
    wall.seconds = 1010.0
    assert (clock.now_ms(), clock.paused) == (1_000_000, True)
    clock.advance(4_000)
    assert clock.now_ms() == 1_004_000
    clock.resume()
    assert (clock.now_ms(), clock.paused) == (1_014_000, False)
    clock.resume()
    assert clock.now_ms() == 1_014_000


def test_it_begins_where_it_is_told_to() -> None:
    wall = Wall(1000.0)
    clock = Clock(wall, start_ms=5)
    assert clock.now_ms() == 5
    wall.seconds = 1001.0
    assert clock.now_ms() == 1005
    assert repr(clock) == "<Clock 1005>"


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("advance"), st.integers(0, 10_000)),
            st.tuples(st.just("wall"), st.integers(-5, 5)),
            st.sampled_from([("pause", 0), ("resume", 0)]),
        )
    )
)
def test_it_never_goes_back(acts: list[tuple[str, int]]) -> None:
    wall = Wall(100.0)
    clock = Clock(wall, start_ms=1_000)
    before = clock.now_ms()
    for act, amount in acts:
        if act == "wall":
            wall.seconds += amount
        elif act == "advance":
            clock.advance(amount)
        else:
            getattr(clock, act)()
        if act == "advance" and clock.paused:
            assert clock.now_ms() == before + amount
        assert clock.now_ms() >= before
        before = clock.now_ms()


def test_it_gets_a_second_ahead_of_the_other_clock_and_no_further() -> None:
    wall = Wall(1000.0)
    clock = Clock(wall)
    told = [clock.next_ms() for _ in range(5_000)]
    assert told[:1_000] == list(range(1_000_001, 1_001_001)) and set(told[1_000:]) == {1_001_000}
    wall.seconds = 1000.75
    assert (clock.now_ms(), clock.next_ms()) == (1_001_000, 1_001_001)
    wall.seconds = 1002.0
    assert clock.now_ms() == 1_002_000


def test_while_it_stands_every_moment_is_new_and_none_is_kept_afterwards() -> None:
    wall = Wall(1000.0)
    clock = Clock(wall)
    clock.pause()
    assert [clock.next_ms() for _ in range(3_000)][-1] == 1_003_000
    wall.seconds = 1010.0
    clock.resume()
    assert clock.now_ms() == 1_010_000
