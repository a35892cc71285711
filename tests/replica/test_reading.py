"""How new what was pushed is, and what was made of it."""

import math
from collections.abc import Iterator

from replica.clock import Clock
from replica.reading import LATE_AFTER_S, MOST_MADE, Age, LiveBounds, Reading
from replica.state.upstream_clock import UpstreamClock
from replica.streams.memory import Latest, Whole
from replica.subscription import Subscription

T0 = 1_771_587_392.0
MIDS = Subscription({"type": "allMids"})
CONTEXTS = Subscription({"type": "allDexsAssetCtxs"})
SPOT = Subscription({"type": "spotState", "user": "0x" + "a1" * 20})


class Streams:
    def __init__(self) -> None:
        self.held: dict[Subscription, Latest] = {}
        self.logs: dict[Subscription, Whole] = {}

    def latest(self, subscription: Subscription) -> Latest | None:
        return self.held.get(subscription)

    def whole(self, subscription: Subscription) -> Whole | None:
        return self.logs.get(subscription)


class Site:
    def __init__(self, *, wall_ahead_s: float = 0.0) -> None:
        self.now = 100.0
        self.heard = -math.inf
        self.streams = Streams()
        self.upstream_clock = UpstreamClock()
        clock = Clock(monotonic=lambda: self.now, wall=lambda: T0 + self.now + wall_ahead_s)
        self.reading = Reading(
            self.streams,
            lambda _: self.heard,
            clock,
            self.upstream_clock,
            LiveBounds(account_s=6.0, market_s=7.0, contexts_s=8.0),
        )

    def age(self, subscription: Subscription) -> Age:
        found = self.reading.latest(subscription)
        assert found is not None
        return found[1]


def test_a_push_without_a_time_is_as_of_a_little_before_it_came() -> None:
    site = Site()
    for subscription, bound_s in ((SPOT, 6.0), (MIDS, 7.0), (CONTEXTS, 8.0)):
        site.streams.held[subscription] = Latest(b"1", 98.0, 0)
        late = 98.0 - LATE_AFTER_S
        assert site.age(subscription) == Age(int((T0 + late) * 1000), 98.0, late, 98.0 + bound_s)


def test_a_push_with_a_time_is_of_that_time_but_reflects_no_more() -> None:
    site = Site()
    site.streams.held[SPOT] = Latest(b"1", 98.0, 1234)
    assert site.age(SPOT) == Age(1234, 98.0, 98.0 - LATE_AFTER_S, 104.0)


def test_of_two_clocks_the_earlier_counts() -> None:
    for wall_ahead_s, lag_s in ((30.0, 0.0), (0.0, 0.0), (-30.0, -30.0)):
        site = Site(wall_ahead_s=wall_ahead_s)
        site.upstream_clock.observe(int((T0 + 90.0) * 1000), 90.0)
        site.streams.held[MIDS] = Latest(b"1", 98.0, 0)
        assert site.age(MIDS).as_of == int((T0 + lag_s + 98.0 - LATE_AFTER_S) * 1000)


def test_that_nothing_happened_is_as_new_as_the_last_word_on_the_connection() -> None:
    site = Site()
    whole = Whole((), 7)
    site.streams.logs[SPOT] = whole
    assert site.reading.whole(SPOT) is None
    site.heard = 99.0
    found = site.reading.whole(SPOT)
    assert found is not None
    assert found[0] is whole
    assert (found[1].received, found[1].reflects) == (99.0, 99.0 - LATE_AFTER_S)
    assert site.reading.whole(MIDS) is None
    assert site.reading.latest(SPOT) is None


def test_what_is_made_of_two_is_as_old_as_the_older() -> None:
    assert Age(1, 2.0, 3.0, 4.0).joined(Age(4, 3.0, 2.0, 1.0)) == Age(1, 2.0, 2.0, 1.0)


def test_a_body_is_made_once_of_the_same_parts() -> None:
    reading = Site().reading
    bodies: Iterator[bytes] = (b"%d" % number for number in range(5000))
    one, two, equal = b"".join([b"a", b"b"]), b"cd", b"".join([b"a", b"b"])
    assert one == equal
    assert one is not equal
    assert [reading.made("x", (one, two), lambda: next(bodies)) for _ in range(3)] == [b"0"] * 3
    assert reading.made("x", (equal, two), lambda: next(bodies)) == b"1"
    assert reading.made("x", (equal,), lambda: next(bodies)) == b"2"
    assert reading.made("x", (equal,), lambda: next(bodies)) == b"2"
    assert reading.made("y", (equal,), lambda: None) is None
    for number in range(MOST_MADE):
        reading.made(number, (), lambda: next(bodies))
    assert reading.made("x", (equal,), lambda: b"anew") == b"anew"
