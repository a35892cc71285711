"""The limits that count over all connections, and the ceilings that refusals teach."""

from collections import Counter

from replica.upstream.usage import LedgerLimits, Usage

TEXT = "Cannot track more than 2 total users."


def usage(*users: str | None, **limits: float) -> Usage:
    made = Usage(LedgerLimits(**limits))  # type: ignore[arg-type]
    for user in users:
        made.take(user)
    return made


def test_a_user_takes_one_slot_however_often_it_is_named() -> None:
    made = usage("a", "a", "b", None, users=2)
    assert made.fits("a")
    assert made.fits(None)
    assert not made.fits("c")
    made.give_back("a")
    assert not made.fits("c")
    made.give_back("a")
    assert made.fits("c")
    made.check(Counter("b"), on_wire=2, leaving=0)
    assert repr(made) == "<Usage 1 users, 2 subscriptions, 0 leaving>"


def test_subscriptions_are_counted_with_and_without_a_user() -> None:
    made = usage("a", None, subscriptions=3)
    assert made.fits(None)
    made.take(None)
    assert not made.fits(None)
    assert not made.fits("a")


def test_no_limit_at_all() -> None:
    made = usage(*map(str, range(100)), users=0, subscriptions=0)
    assert made.fits("new")
    assert not made.no_user_more("new")


def test_a_refused_user_shows_a_ceiling_for_a_while() -> None:
    made = usage("a", "b", users=10, refused_for_s=600)
    made.users_refused(TEXT, 100.0)
    assert made.users_text == TEXT
    assert made.no_user_more("c")
    assert not made.no_user_more("a")
    assert not made.no_user_more(None)
    assert made.fits("c")
    assert not made.fits_by_now("c")
    made.forget_in_time(699.9)
    assert made.no_user_more("c")
    made.forget_in_time(700.0)
    assert made.fits_by_now("c")
    assert made.users_text is None


def test_a_refused_subscription_shows_one_that_does_not_count_what_is_leaving() -> None:
    made = usage(None, None, None)
    made.leaving = 1
    made.subscriptions_refused(0.0)
    assert made.subscriptions_ceiling == 2
    assert not made.fits_by_now(None)
    made.give_back(None)
    made.give_back(None)
    assert made.fits_by_now(None)


def test_a_ceiling_leaves_room_for_one() -> None:
    made = usage()
    made.users_refused(TEXT, 0.0)
    made.subscriptions_refused(0.0)
    assert made.fits_by_now("a")
