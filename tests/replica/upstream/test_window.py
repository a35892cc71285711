"""At most so many in any span, with a little slack for the way to the upstream."""

import pytest

from replica.upstream.window import SlidingWindow


def test_no_more_than_the_limit_until_the_oldest_has_left_the_span() -> None:
    window = SlidingWindow(3, 60.0)
    for now in (0.0, 1.0, 1.0):
        assert window.room(now) > 0
        window.take(now)
    assert window.room(1.0) == 0
    assert window.earliest(1.0) == pytest.approx(61.2)  # 60 s and a fiftieth
    assert window.room(61.1) == 0
    assert window.room(61.2) == 1
    assert window.room(62.2) == 3


def test_with_room_the_next_may_go_at_once() -> None:
    window = SlidingWindow(1, 60.0)
    assert window.earliest(7.0) == 7.0
    window.take(7.0)
    assert window.earliest(100.0) == 100.0


def test_no_limit() -> None:
    window = SlidingWindow(0, 60.0)
    for _ in range(10_000):
        window.take(0.0)
    assert window.room(0.0) > 1_000_000
    assert window.earliest(0.0) == 0.0


def test_what_was_taken_beyond_the_limit_counts() -> None:
    window = SlidingWindow(1, 60.0)
    window.take(0.0)
    window.take(10.0)
    assert window.room(61.2) == 0
    assert window.earliest(61.2) == pytest.approx(71.2)
