"""Referral codes: what one needs for one, who may name it, and what both are told."""

import pytest

from server.devnode.engine.referrals import VOLUME
from tests.server.devnode.engine.exchange import ANN, BOB, CAT, Hand

OK = {"type": "default"}


@pytest.fixture
def hand() -> Hand:
    return Hand(usd=100_000)


def trade(hand: Hand, usd: int) -> None:
    """Let Ann and Bob trade so many USD with each other, at 100,000 a bitcoin."""
    hand.sell(ANN, "100000", str(usd / 100_000))
    assert "filled" in hand.buy(BOB, "100000", str(usd / 100_000))


def test_a_code_wants_volume_and_belongs_to_one(hand: Hand) -> None:
    early = "Cannot generate referral code until enough volume traded"
    trade(hand, 9_900)
    assert hand.act(ANN, "registerReferrer", code="ANN") == early
    assert hand.engine.referrer_state(ANN) == {"stage": "needToTrade", "data": {"required": "10000.0"}}
    trade(hand, 100)
    assert hand.engine.volume(ANN) == VOLUME
    assert hand.engine.referrer_state(ANN) == {"stage": "needToCreateCode"}
    assert hand.act(ANN, "registerReferrer", code="ANN") == OK
    assert hand.act(BOB, "registerReferrer", code="ANN") == "Referral code already registered"
    assert hand.act(ANN, "registerReferrer", code="A") == "Referral code already registered for this user"
    assert hand.act(CAT, "registerReferrer", code="CAT") == early


def test_a_referrer_is_set_once_and_is_somebody_else(hand: Hand) -> None:
    trade(hand, 20_000)
    assert hand.act(BOB, "setReferrer", code="ANN") == "Referral code does not exist"
    assert hand.engine.referred(BOB) is None
    assert hand.act(ANN, "registerReferrer", code="ANN") == OK
    assert hand.act(ANN, "setReferrer", code="ANN") == "Cannot self-refer"
    assert hand.act(BOB, "setReferrer", code="ANN") == OK
    assert hand.act(BOB, "setReferrer", code="ANN") == "Referrer already set"
    assert hand.engine.referred(BOB) == {"referrer": ANN, "code": "ANN"}
    trade(hand, 500)  # counts from here on
    state = hand.engine.referrer_state(ANN)
    assert (state["stage"], state["data"]["code"], state["data"]["nReferrals"]) == ("ready", "ANN", 1)
    (row,) = state["data"]["referralStates"]
    assert (row["user"], row["cumVlm"], row["timeJoined"]) == (BOB, "500.0", hand.now)


def test_a_code_goes_and_comes_back_with_the_world(hand: Hand) -> None:
    trade(hand, 20_000)
    before, digest = hand.engine.snapshot(), hand.engine.digest()
    hand.act(ANN, "registerReferrer", code="ANN")
    hand.act(CAT, "setReferrer", code="ANN")
    assert hand.engine.digest() != digest
    hand.engine.revert(before)
    assert hand.engine.digest() == digest
    assert hand.act(CAT, "setReferrer", code="ANN") == "Referral code does not exist"
