"""Where in a recording we are: a playhead by itself, and against one that adds up small steps."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.devnode.replay.playhead import Playhead


def test_it_stands_until_it_begins() -> None:
    head = Playhead(2.0)
    assert (head.moment(50.0), head.due(4.0), head.runs) == (0.0, None, False)
    head.move(3.0, 60.0)
    assert head.moment(70.0) == 3.0
    assert head.begin(100.0) and not head.begin(101.0)
    assert (head.moment(102.0), head.due(9.0), head.runs) == (7.0, 103.0, True)


def test_paused_before_it_begins_it_begins_paused() -> None:
    head = Playhead(1.0)
    head.pause(1.0)
    head.begin(2.0)
    assert (head.moment(50.0), head.due(1.0), head.runs) == (0.0, None, False)
    head.resume(60.0)
    assert (head.moment(61.0), head.due(5.0)) == (1.0, 65.0)


@pytest.mark.parametrize("speed", [0, -1, math.inf, math.nan])
def test_what_is_no_speed_changes_nothing(speed: float) -> None:
    head = Playhead(2.0)
    with pytest.raises(ValueError, match="is no speed"):
        head.change_speed(speed, 1.0)
    with pytest.raises(ValueError, match="is no speed"):
        Playhead(speed)
    assert head.speed == 2.0


ACTS = st.lists(
    st.tuples(
        st.integers(0, 40),
        st.one_of(
            st.sampled_from([("pause", 0), ("resume", 0)]),
            st.tuples(st.just("speed"), st.sampled_from([0.5, 1, 4])),
            st.tuples(st.just("move"), st.integers(0, 100)),
        ),
    ),
    max_size=12,
)


@given(ACTS)
def test_it_adds_up_what_ran(acts: list[tuple[int, tuple[str, float]]]) -> None:
    head = Playhead(1.0)
    head.begin(1000.0)
    now, moment, speed, runs = 1000.0, 0.0, 1.0, True
    for wait, (act, value) in acts:
        now += wait
        moment += wait * speed * runs
        if act == "pause":
            head.pause(now)
            runs = False
        elif act == "resume":
            head.resume(now)
            runs = True
        elif act == "speed":
            head.change_speed(value, now)
            speed = value
        else:
            head.move(value, now)
            moment = value
        assert head.moment(now) == moment
        assert head.runs == runs
        due = head.due(moment + 8.0)
        assert due == (now + 8.0 / speed if runs else None)
        if due is not None:
            assert head.moment(due) == moment + 8.0
