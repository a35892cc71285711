"""What the store makes of each event: the newest by the upstream's clock, and for how long it is trusted."""

import pytest

from replica.events import AccountFetched, AccountStates, FollowingEnded, State
from replica.state.clearinghouse import HeldState
from replica.state.store import Bounds, Event, Store

A, B, C = ("0x" + letter * 40 for letter in "abc")
BOUNDS = Bounds(live_s=6.0, ttl_s=5.0, frozen_after_s=15.0, cached_states=3)


def state(time: int, dex: str = "", mark: str = "") -> State:
    return State(dex, b'{"v":"%d%s","time":%d}' % (time, mark.encode(), time), time)


def timeless(mark: str, dex: str = "") -> State:
    return State(dex, b'{"v":"%s"}' % mark.encode(), 0)


def pushed(user: str, *states: State) -> AccountStates:
    return AccountStates(user, states)


def fetched(user: str, what: State, started: float) -> AccountFetched:
    return AccountFetched(user, what, started)


def ended(*users: str) -> FollowingEnded:
    return FollowingEnded(users, "lost")


def store(*events: tuple[float, Event], bounds: Bounds = BOUNDS) -> Store:
    made = Store(bounds)
    for now, event in events:
        made.apply(event, now)
        made.check()
    return made


def held(made: Store, user: str = A, dex: str = "") -> HeldState:
    found = made.get(user, dex)
    assert found is not None
    return found


def kept(made: Store) -> set[tuple[str, str]]:
    return {(user, dex) for dex, table in made.tables.items() for user in table}


# -- what is held ------------------------------------------------------------------------------------------


def test_nothing_is_held_at_first() -> None:
    made = store()
    assert made.get(A, "") is None
    assert made.table("") == {}
    assert (len(made), made.version, made.passed_over) == (0, 0, 0)
    assert not made.followed(A)


def test_the_upstreams_bytes_and_their_row_of_a_batch() -> None:
    body = b'{"marginSummary": {"accountValue":"7434835.0399999993"},"time":17}'
    found = held(store((1.0, pushed(A, State("xyz", body, 17)))), A, "xyz")
    assert found.body == body
    assert found.piece == b'["%s",%s]' % (A.encode(), body)
    assert (found.as_of, found.received, found.fetched) == (17, 1.0, False)


def test_a_push_holds_every_dex_of_the_account() -> None:
    made = store((0.0, pushed(A, state(5), state(6, "xyz"))), (0.0, pushed(B, state(7, "xyz"))))
    assert kept(made) == {(A, ""), (A, "xyz"), (B, "xyz")}
    assert made.table("xyz").keys() == {A, B}
    assert len(made) == 3
    assert made.followed(A) and not made.followed(C)
    assert made.followed_count == 2


@pytest.mark.parametrize("late", [pushed(A, state(4)), fetched(A, state(4), 0.5)])
def test_an_older_state_is_passed_over(late: Event) -> None:
    made = store((0.0, pushed(A, state(5))), (1.0, late))
    assert held(made).as_of == 5
    assert held(made).body == state(5).body
    assert made.passed_over == 1
    assert made.version == 1


def test_of_one_time_the_later_bytes_win_and_the_same_bytes_change_nothing() -> None:
    made = store((0.0, pushed(A, state(5))))
    before = held(made)
    made.apply(pushed(A, state(5)), 1.0)
    assert held(made) is before
    assert (made.version, before.received) == (1, 1.0)
    made.apply(pushed(A, state(5, mark="b")), 2.0)
    assert held(made).body == state(5, mark="b").body
    assert made.version == 2


def test_states_without_a_time_follow_the_order_of_arrival_and_give_way_to_any_with_one() -> None:
    made = store((0.0, pushed(A, timeless("one"))), (1.0, pushed(A, timeless("two"))))
    assert held(made).body == timeless("two").body
    made.apply(pushed(A, state(1)), 2.0)
    made.apply(pushed(A, timeless("three")), 3.0)
    assert held(made).as_of == 1


def test_a_state_in_a_readers_hands_does_not_change_under_it() -> None:
    made = store((0.0, pushed(A, state(5))))
    mine = held(made)
    made.apply(pushed(A, state(6)), 1.0)
    assert (mine.as_of, mine.body) == (5, state(5).body)


# -- for how long it is trusted ----------------------------------------------------------------------------


def test_a_pushed_state_is_live_for_its_bound() -> None:
    found = held(store((10.0, pushed(A, state(5)))))
    assert found.live(15.9) and found.fresh(15.9)
    assert not found.live(16.0) and not found.fresh(16.0)


def test_a_push_that_came_late_is_that_much_older() -> None:
    made = store()
    made.apply(pushed(A, state(5)), 10.0, late_s=4.0)
    assert held(made).received == 6.0
    assert held(made).live(11.9) and not held(made).live(12.0)
    made.apply(pushed(A, state(6)), 20.0, late_s=7.0)
    assert held(made).as_of == 6
    assert not held(made).live(20.0)
    made.check()


def test_a_fetched_state_is_fresh_for_its_ttl_counted_from_the_request() -> None:
    found = held(store((12.0, fetched(A, state(5), 10.0))))
    assert found.fetched
    assert (found.received, found.reflects) == (10.0, 10.0)
    assert found.fresh(14.9) and not found.fresh(15.0)
    assert not found.live(12.0)


def test_an_answer_that_was_overtaken_vouches_for_what_overtook_it() -> None:
    made = store((4.2, fetched(A, state(5), 0.0)), (4.5, fetched(A, state(4), 4.0)))
    found = held(made)
    assert (found.as_of, found.reflects, found.received) == (5, 4.0, 0.0)
    assert found.fresh(8.9) and not found.fresh(9.0)


def test_an_answer_older_than_what_was_held_at_the_question_vouches_for_nothing() -> None:
    made = store((0.0, fetched(A, state(5), 0.0)), (4.5, fetched(A, state(4), 4.0)))
    found = held(made)
    assert (found.as_of, found.reflects, found.received) == (5, 0.0, 0.0)
    assert not found.fresh(5.0)


def test_nothing_is_live_once_its_feed_has_ended() -> None:
    made = store((0.0, pushed(A, state(5), state(5, "xyz"))), (0.0, pushed(B, state(5))))
    made.apply(ended(A, C), 1.0)
    made.check()
    assert not held(made).live(1.0) and not held(made).fresh(1.0)
    assert not held(made, A, "xyz").live(1.0)
    assert held(made, B).live(1.0)
    assert not made.followed(A) and made.followed(B)
    made.apply(pushed(A, state(6)), 2.0)
    assert held(made).live(2.0) and made.followed(A)
    assert not held(made, A, "xyz").live(2.0)


def test_the_ttl_of_an_answer_outlives_the_feed() -> None:
    made = store((0.0, pushed(A, state(5))), (1.0, fetched(A, state(5), 1.0)), (2.0, ended(A)))
    assert held(made).fresh(5.9) and not held(made).fresh(6.0)
    assert not held(made).live(2.0)


def test_an_answer_that_overtakes_the_feed_leaves_the_account_live() -> None:
    made = store((0.0, pushed(A, state(5))), (1.0, fetched(A, state(7), 0.9)))
    found = held(made)
    assert found.as_of == 7
    assert found.live(5.9) and not found.live(6.0)  # as long as the push before it, no longer
    made.apply(pushed(A, state(6)), 5.0)  # a push of before the answer says nothing of it
    assert held(made).as_of == 7 and not held(made).live(6.0)
    made.apply(ended(A), 5.5)
    assert not held(made).live(5.5)


def test_a_push_of_newer_bytes_reflects_what_the_answer_before_it_did() -> None:
    made = store((0.0, fetched(A, state(5), 0.0)), (1.0, pushed(A, state(6))))
    found = held(made)
    assert found.reflects == 0.0 and not found.fetched
    assert found.live(6.9) and not found.fresh(7.0)


def test_an_upstream_that_repeats_one_time_stands_still() -> None:
    made = store((0.0, pushed(A, state(5))))
    for second in range(1, 16):
        made.apply(pushed(A, state(5)), float(second))
        made.check()
        assert held(made).live(float(second)) is (second < 15)
    assert held(made).live_until == 15.0
    made.apply(pushed(A, state(6)), 16.0)
    assert held(made).live(21.9)


def test_other_bytes_of_one_time_stand_still_too() -> None:
    made = store((0.0, pushed(A, state(5))), (14.0, pushed(A, state(5, mark="b"))))
    assert held(made).live_until == 15.0


def test_without_a_time_other_bytes_are_what_moves() -> None:
    made = store((0.0, pushed(A, timeless("one"))), (14.0, pushed(A, timeless("two"))))
    assert held(made).live_until == 20.0
    made.apply(pushed(A, timeless("two")), 28.0)
    assert held(made).live_until == 29.0


def test_the_frozen_check_can_be_switched_off() -> None:
    made = store((0.0, pushed(A, state(5))), bounds=Bounds(frozen_after_s=0.0))
    made.apply(pushed(A, state(5)), 1000.0)
    assert held(made).live(1005.9)


# -- how much is kept --------------------------------------------------------------------------------------


def users(*numbers: int) -> list[str]:
    return [f"0x{number:040x}" for number in numbers]


def test_of_what_nobody_feeds_the_longest_unrefreshed_goes_first() -> None:
    one, two, three, four, five = users(1, 2, 3, 4, 5)
    made = store(*((0.0, fetched(user, state(5), 0.0)) for user in (one, two, three)))
    made.apply(fetched(one, state(4), 0.0), 1.0)  # overtaken, and refreshes it all the same
    made.apply(fetched(two, state(4), 0.5), 1.0)  # lags, and does not
    made.apply(fetched(four, state(5), 1.0), 1.0)
    made.check()
    assert kept(made) == {(three, ""), (one, ""), (four, "")}
    made.apply(fetched(five, state(5, "xyz"), 1.0), 1.0)
    assert kept(made) == {(one, ""), (four, ""), (five, "xyz")}


def test_what_is_fed_is_never_thrown_out_and_counts_for_nothing() -> None:
    one, two, three, four, five = users(1, 2, 3, 4, 5)
    made = store((0.0, pushed(A, state(5), state(5, "xyz"))))
    for user in (one, two, three, four):
        made.apply(fetched(user, state(5), 0.0), 0.0)
    made.apply(fetched(A, state(6), 0.0), 0.0)
    made.check()
    assert kept(made) == {(A, ""), (A, "xyz"), (two, ""), (three, ""), (four, "")}
    # Once its feed ends it is like the others, and the newest of them.
    made.apply(ended(A), 1.0)
    made.check()
    assert kept(made) == {(A, ""), (A, "xyz"), (four, "")}
    # And fed again it makes room.
    made.apply(pushed(A, state(7)), 2.0)
    made.apply(fetched(five, state(5), 2.0), 2.0)
    made.apply(fetched(one, state(5), 2.0), 2.0)
    made.check()
    assert kept(made) == {(A, ""), (A, "xyz"), (four, ""), (five, ""), (one, "")}


def test_an_empty_dex_is_forgotten() -> None:
    one, two = users(1, 2)
    bounds = Bounds(cached_states=1)
    made = store((0.0, fetched(one, state(5, "xyz"), 0.0)), (0.0, fetched(two, state(5), 0.0)), bounds=bounds)
    assert list(made.tables) == [""]


def test_nothing_is_cached_where_nothing_may_be() -> None:
    made = store((0.0, fetched(A, state(5), 0.0)), bounds=Bounds(cached_states=0))
    assert len(made) == 0
    made.apply(pushed(A, state(5)), 0.0)
    assert len(made) == 1
    made.apply(ended(A), 0.0)
    made.check()
    assert len(made) == 0


# -- watching ----------------------------------------------------------------------------------------------


def test_a_watcher_is_told_whenever_its_document_is_heard_of() -> None:
    made = store()
    heard: list[int] = []
    unwatch = made.watch(A, "", lambda: heard.append(held(made).as_of))
    made.apply(pushed(A, state(5)), 0.0)
    made.apply(pushed(A, state(5)), 1.0)
    made.apply(pushed(A, state(4)), 1.0)  # passed over: nothing new was learned
    made.apply(fetched(A, state(4), 0.5), 1.0)  # lags: no better
    made.apply(fetched(A, state(4), 0.0), 1.0)  # overtaken, but it vouches for what is held
    made.apply(pushed(A, state(9, "xyz")), 2.0)
    made.apply(pushed(B, state(9)), 2.0)
    made.apply(fetched(A, state(6), 2.0), 2.0)
    assert heard == [5, 5, 5, 6]
    unwatch()
    unwatch()
    made.apply(pushed(A, state(7)), 3.0)
    assert heard == [5, 5, 5, 6]


def test_a_watcher_may_leave_while_it_is_told_and_others_stay() -> None:
    made = store()
    heard: list[str] = []

    def once() -> None:
        heard.append("once")
        unwatch()

    unwatch = made.watch(A, "", once)
    leave = made.watch(A, "", lambda: heard.append("always"))
    for second in range(3):
        made.apply(pushed(A, state(second)), float(second))
    assert heard == ["once", "always", "always", "always"]
    leave()
    assert not made._watchers


def test_repr() -> None:
    made = store((0.0, pushed(A, state(5))), (0.0, fetched(B, state(5), 0.0)))
    assert repr(made) == "<Store v2: 2 states, 1 accounts followed>"
