"""Who gets a place on the feed."""

from replica.tracking import Plan, plan

A, B, C = ("0x" + letter * 40 for letter in "abc")


def test_the_first_of_the_list_get_the_places_and_the_others_wait_in_order() -> None:
    assert plan([B, A, C], users_limit=2) == Plan((B, A), (C,))
    assert plan([B, A, C], users_limit=1) == Plan((B,), (A, C))
    assert plan([B, A, C], users_limit=3) == Plan((B, A, C), ())


def test_named_twice_is_one_place() -> None:
    assert plan([A, A, B, A, C], users_limit=2) == Plan((A, B), (C,))


def test_no_limit() -> None:
    many = tuple(f"0x{number:040x}" for number in range(5000))
    assert plan(many, users_limit=0) == Plan(many, ())


def test_nobody() -> None:
    assert plan([], users_limit=10) == Plan((), ())
