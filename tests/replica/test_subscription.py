"""One key however a subscription is spelt, and its form on the wire."""

from typing import Any

import pytest

from replica.subscription import Subscription, all_dexs_clearinghouse_state

USER = "0x" + "Ab" * 20
L2 = {"type": "l2Book", "coin": "kPEPE"}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (L2, {"coin": "kPEPE", "type": "l2Book"}),
        (L2, {**L2, "nSigFigs": None, "mantissa": None, "fast": False}),
        ({"type": "openOrders", "user": USER}, {"type": "openOrders", "user": USER.lower(), "dex": ""}),
        ({"type": "userFills", "user": USER}, {"type": "userFills", "user": USER.upper().replace("X", "x")}),
    ],
)
def test_the_same_said_otherwise(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert Subscription(one) == Subscription(other)
    assert hash(Subscription(one)) == hash(Subscription(other))
    assert Subscription(one).wire() == Subscription(other).wire()


@pytest.mark.parametrize(
    "other",
    [
        {"type": "l2Book", "coin": "KPEPE"},
        {**L2, "nSigFigs": 5},
        {**L2, "fast": True},
        {**L2, "dex": "xyz"},
        {"type": "trades", "coin": "kPEPE"},
        {"type": "l2Book"},
        {},
    ],
)
def test_not_the_same(other: dict[str, Any]) -> None:
    assert Subscription(L2) != Subscription(other)
    assert Subscription(L2) != other


def test_the_wire_has_the_type_first_and_nothing_that_says_nothing() -> None:
    wire = Subscription({"user": USER, "dex": "", "aggregateByTime": None, "type": "userFills"}).wire()
    assert list(wire.items()) == [("type", "userFills"), ("user", USER.lower())]
    assert Subscription(wire) == Subscription({"type": "userFills", "user": USER})


def test_whose_it_is() -> None:
    assert Subscription({"type": "userFills", "user": USER}).user == USER.lower()
    assert Subscription(L2).user is None
    assert Subscription({"type": "userFills", "user": ["a", "list"]}).user is None


def test_an_echo_answers_what_is_all_in_it() -> None:
    sent = Subscription({**L2, "nSigFigs": 5})
    assert sent.answered_by(Subscription({**L2, "nSigFigs": 5, "mantissa": None, "depth": 20}))
    assert not sent.answered_by(Subscription(L2))
    assert not sent.answered_by(Subscription({**L2, "nSigFigs": 4}))
    assert Subscription(L2).answered_by(sent)


@pytest.mark.parametrize("value", [["a"], {"b": [1]}, 1.5, 10**30, "\ud800", True])
def test_a_hostile_echo_is_a_subscription_like_any_other(value: object) -> None:
    hostile = Subscription({"type": value, "user": value, "coin": value})
    assert hostile == Subscription({"type": value, "user": value, "coin": value})
    assert hostile in {hostile}
    repr(hostile)


def test_every_dex_of_an_account() -> None:
    stream = all_dexs_clearinghouse_state(USER.lower())
    assert stream.wire() == {"type": "allDexsClearinghouseState", "user": USER.lower()}
    assert stream.user == USER.lower()
    assert stream == all_dexs_clearinghouse_state(USER.lower())
    assert repr(stream) == f"<allDexsClearinghouseState {USER.lower()}>"
