"""TWAPs: slices every half minute, catching up, ending; and what refuses them."""

import pytest

from tests.server.devnode.engine.exchange import ANN, BTC, QUOTED, Hand


@pytest.fixture
def hand() -> Hand:
    return Hand(QUOTED)


Row = dict[str, object]


def twap(sz: str = "0.01", minutes: int = 5, *, reduce: bool = False, jitter: bool = False) -> Row:
    return {"a": BTC, "b": True, "s": sz, "r": reduce, "m": minutes, "t": jitter}


@pytest.mark.parametrize("jitter", [False, True])
def test_a_twap_runs_to_its_end(hand: Hand, jitter: bool) -> None:
    answer = hand.act(ANN, "twapOrder", twap=twap(jitter=jitter))
    assert answer == {"type": "twapOrder", "data": {"status": {"running": {"twapId": 1}}}}
    hand.advance(1)
    ((number, state),) = hand.engine.twap_states(ANN)
    assert number == 1 and (state["sz"], state["minutes"], state["side"]) == ("0.01", 5, "B")
    for _ in range(10):
        hand.advance(30_000)
    assert hand.engine.twap_states(ANN) == [] and hand.szi(ANN) == 1_000
    assert [row["status"]["status"] for row in hand.engine.twap_history(ANN)] == ["finished", "activated"]
    slices = hand.engine.twap_slice_fills(ANN)
    assert len(slices) >= 10 and {row["twapId"] for row in slices} == {1}
    assert {row["fill"]["hash"] for row in slices} == {"0x" + "0" * 64}
    assert sum(float(row["fill"]["sz"]) for row in slices) == pytest.approx(0.01)


def test_a_twap_that_could_not_trade_catches_up() -> None:
    hand = Hand()
    hand.act(ANN, "twapOrder", twap=twap("0.1"))
    hand.advance(1)
    hand.advance(60_000)
    assert hand.szi(ANN) == 0
    hand.sell("0x" + "b2" * 20, "97240", "0.1")
    hand.advance(30_000)
    assert hand.szi(ANN) == 3_000  # three times the normal slice, no more


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        (twap(minutes=1), "Invalid TWAP duration: 1 min(s)"),
        (twap(minutes=120), "TWAP order value too small. Min is $1200, which is $10 per minute."),
        (twap(reduce=True), "Reduce-only TWAP order would increase position."),
    ],
)
def test_refusals(hand: Hand, fields: dict[str, object], text: str) -> None:
    assert hand.act(ANN, "twapOrder", twap=fields)["data"] == {"status": {"error": text}}


@pytest.mark.parametrize(
    ("px", "above", "short_of_it"), [("97500", True, "97499"), ("97000", False, "97001")]
)
def test_a_twap_waits_for_its_trigger(hand: Hand, px: str, above: bool, short_of_it: str) -> None:
    details = {"t": {"p": px, "a": above}, "s": None}
    answer = hand.act(ANN, "twapOrder", twap=twap(), details=details)
    assert answer["data"] == {"status": {"running": {"twapId": 1}}}
    hand.mark("BTC", short_of_it)
    ((_, state),) = hand.engine.twap_states(ANN)
    assert state["trigger"] == {"px": f"{px}.0", "above": above} and hand.szi(ANN) == 0
    hand.mark("BTC", px)
    assert hand.szi(ANN) == 100
    told = [row["status"]["status"] for row in hand.engine.twap_history(ANN)]
    assert told == ["activated", "waitingForTrigger"]


@pytest.mark.parametrize(("stop", "short_of_it"), [("97500", "97499"), ("97000", "97001")])
def test_a_twap_ends_at_its_stop_price(hand: Hand, stop: str, short_of_it: str) -> None:
    hand.act(ANN, "twapOrder", twap=twap(), details={"t": None, "s": stop})
    hand.mark("BTC", short_of_it)
    ((_, state),) = hand.engine.twap_states(ANN)
    assert state["stopPx"] == f"{stop}.0" and hand.szi(ANN) == 100
    hand.engine.set_mark("BTC", stop, hand.now)
    hand.advance(30_000)
    assert hand.engine.twap_states(ANN) == [] and hand.szi(ANN) == 100
    assert hand.engine.twap_history(ANN)[0]["status"] == {"status": "stopped"}


@pytest.mark.parametrize("details", [{"t": {"p": "0", "a": True}}, {"s": "x"}, {"s": "97000.55"}])
def test_a_twap_s_prices_are_prices(hand: Hand, details: Row) -> None:
    assert hand.act(ANN, "twapOrder", twap=twap(), details=details) == "Order has invalid price. asset=0"


def test_a_twap_is_cancelled_once(hand: Hand) -> None:
    hand.act(ANN, "twapOrder", twap=twap())
    assert hand.act(ANN, "twapCancel", a=BTC, t=1)["data"] == {"status": "success"}
    gone = "TWAP was never placed, already canceled, or filled."
    assert hand.act(ANN, "twapCancel", a=BTC, t=1)["data"] == {"status": {"error": gone}}
    assert hand.engine.twap_history(ANN)[0]["status"] == {"status": "terminated"}
