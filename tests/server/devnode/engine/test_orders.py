"""Orders one by one: what they answer, what rests, what is refused and in which words."""

import pytest

from tests.server.devnode.engine.exchange import (
    ANN,
    BOB,
    BTC,
    CAT,
    HYPE,
    NOW,
    QUOTED,
    Hand,
    cloid,
    row,
)


@pytest.fixture
def hand() -> Hand:
    return Hand()


def test_an_order_rests_and_is_matched_at_its_price(hand: Hand) -> None:
    resting = hand.sell(ANN, "97250", "0.01", cloid=cloid(1))
    assert resting == {"resting": {"oid": 1, "cloid": cloid(1)}}
    assert hand.buy(BOB, "97300", "0.004") == {"filled": {"totalSz": "0.004", "avgPx": "97250.0", "oid": 2}}
    assert hand.szi(ANN) == -400 and hand.szi(BOB) == 400
    (left,) = hand.engine.open_orders(ANN)
    assert (left["sz"], left["origSz"], left["cloid"]) == ("0.006", "0.01", cloid(1))
    assert hand.statuses(BOB) == ["open", "filled"] and hand.statuses(ANN) == ["open"]


def test_a_partial_fill_of_a_resting_order_is_told_by_its_fill_alone(hand: Hand) -> None:
    oid = hand.oid(hand.sell(ANN, "97250", "0.01"))
    for _ in range(2):
        hand.buy(BOB, "97300", "0.004")
        status = hand.engine.order_status(ANN, oid)["order"]
        assert (status["status"], status["order"]["sz"]) == ("open", "0.01")
    assert hand.statuses(ANN) == ["open"] and len(hand.engine.fills(ANN)) == 2
    assert hand.engine.open_orders(ANN)[0]["sz"] == "0.002"
    hand.cancel(ANN, BTC, oid)
    status = hand.engine.order_status(ANN, oid)["order"]
    assert (status["status"], status["order"]["sz"]) == ("canceled", "0.002")


def test_fills_tell_both_sides(hand: Hand) -> None:
    hand.sell(ANN, "97250", "0.01")
    hand.buy(BOB, "97300", "0.004")
    (taken,), (made,) = hand.engine.fills(BOB), hand.engine.fills(ANN)
    assert list(taken) == [
        "coin", "px", "sz", "side", "time", "startPosition", "dir", "closedPnl", "hash", "oid", "crossed",
        "fee", "tid", "feeToken", "twapId",
    ]  # fmt: skip
    assert (taken["dir"], taken["fee"], taken["crossed"]) == ("Open Long", "0.17505", True)
    assert (made["dir"], made["fee"], made["crossed"]) == ("Open Short", "0.05835", False)
    assert taken["tid"] == made["tid"] and taken["hash"] == made["hash"]
    (trade,) = hand.engine.recent_trades("BTC")
    assert (trade["users"], trade["side"]) == ([BOB, ANN], "B")


def test_price_then_time(hand: Hand) -> None:
    first = hand.oid(hand.sell(ANN, "97250", "0.01"))
    second = hand.oid(hand.sell(CAT, "97250", "0.01"))
    best = hand.oid(hand.sell(ANN, "97249", "0.01"))
    hand.buy(BOB, "97250", "0.025")
    makers = {fill["oid"] for user in (ANN, CAT) for fill in hand.engine.fills(user)}
    assert makers == {first, second, best}
    assert hand.engine.open_orders(CAT)[0]["sz"] == "0.005"
    assert hand.engine.open_orders(ANN) == []


@pytest.mark.parametrize(
    ("order", "text"),
    [
        (row(BTC, True, "97000.5", "0.01"), "Price must be divisible by tick size. asset=0"),
        (row(BTC, True, "97000.55", "0.01"), "Price must be divisible by tick size. asset=0"),
        (row(BTC, True, "97000", "0.0001"), "Order must have minimum value of $10. asset=0"),
        (row(BTC, True, "97000", "100"), "Insufficient margin to place order. asset=0"),
        (row(BTC, True, "97000", "0.01", reduce_only=True),
         "Reduce only order would increase position. asset=0"),
        (row(BTC, True, "97250", "0.01", tif="Alo"),
         "Post only order would have immediately matched, bbo was 97200@97250. asset=0"),
        (row(BTC, True, "97200", "0.01", tif="Ioc"),
         "Order could not immediately match against any resting orders. asset=0"),
        (row(BTC, True, "97200", "0.01", tif="FrontendMarket"),
         "No liquidity available for market order. asset=0"),
        (row(BTC, True, "97000", "0.01", trigger=("97200", "sl", True)), "Invalid TP/SL price. asset=0"),
        (row(HYPE, True, "45", "0.1"), "Order must have minimum value of 10 USDC. asset=10002"),
        (row(HYPE, True, "45", "1"), "Insufficient spot balance asset=10002"),
        (row(BTC, True, "97000", "9"), "Insufficient margin to place order. asset=0"),
    ],
)  # fmt: skip
def test_an_order_is_refused_in_the_real_words(hand: Hand, order: dict[str, object], text: str) -> None:
    hand.buy(ANN, "97200", "0.01")
    hand.sell(ANN, "97250", "0.01")
    assert hand.orders(BOB, order) == [{"error": text}]
    assert hand.engine.open_orders(BOB) == []
    assert hand.statuses(BOB)[0].endswith("Rejected")


@pytest.mark.parametrize(
    ("order", "text"),
    [
        (row(BTC, True, "97000", "0.000001"), "Order has invalid size. asset=0"),
        (row(BTC, True, "97000", "-1"), "Order has invalid size. asset=0"),
        (row(BTC, True, "97000", "0"), "Order has zero size. asset=0"),
        (row(BTC, True, "abc", "1"), "Order has invalid price. asset=0"),
        (row(BTC, True, "0", "1"), "Order has invalid price. asset=0"),
        (row(BTC, True, "197000", "0.01"),
         "Order price cannot be more than 80% away from the reference price asset=0"),
    ],
)  # fmt: skip
def test_what_its_text_alone_refuses_refuses_the_batch(
    hand: Hand, order: dict[str, object], text: str
) -> None:
    assert hand.orders(BOB, row(BTC, True, "97000", "0.01"), order) == text
    assert hand.engine.open_orders(BOB) == [] and hand.statuses(BOB) == []


def test_empty_and_endless_batches(hand: Hand) -> None:
    assert hand.orders(BOB) == "Orders are empty"
    many = [row(BTC, True, "97000", "0.01")] * 201
    assert hand.orders(BOB, *many) == "Signed action over weight limit of 200."


def test_own_orders_are_expired_not_traded_with(hand: Hand) -> None:
    hand.sell(ANN, "97250", "0.01")
    hand.sell(BOB, "97260", "0.01")
    assert hand.buy(ANN, "97260", "0.01")["filled"]["avgPx"] == "97260.0"
    assert "selfTradeCanceled" in hand.statuses(ANN)


def test_an_ioc_takes_what_there_is(hand: Hand) -> None:
    hand.sell(ANN, "97250", "0.01")
    assert hand.buy(BOB, "97250", "0.03", tif="Ioc")["filled"]["totalSz"] == "0.01"
    assert hand.engine.open_orders(BOB) == []
    assert hand.engine.order_status(BOB, 2)["order"]["status"] == "canceled"


def test_reduce_only_stops_at_the_position(hand: Hand) -> None:
    hand.sell(ANN, "97250", "0.01")
    hand.buy(BOB, "97250", "0.01")
    hand.buy(ANN, "97240", "0.05")
    assert hand.sell(BOB, "97000", "0.03", tif="Ioc", reduce_only=True)["filled"]["totalSz"] == "0.01"
    assert hand.szi(BOB) == 0
    assert hand.sell(BOB, "97000", "0.03", tif="Ioc", reduce_only=True) == {
        "error": "Reduce only order would increase position. asset=0"
    }


def test_of_two_reduce_only_orders_that_exceed_the_position_the_first_ends(hand: Hand) -> None:
    hand.sell(ANN, "97250", "0.01")
    hand.buy(BOB, "97250", "0.01")
    hand.sell(BOB, "99000", "0.01", reduce_only=True)
    second = hand.oid(hand.sell(BOB, "99100", "0.01", reduce_only=True))
    assert [order["oid"] for order in hand.engine.open_orders(BOB)] == [second]
    assert "reduceOnlyCanceled" in hand.statuses(BOB)


def test_a_cloid_names_the_latest_order_that_had_it(hand: Hand) -> None:
    assert hand.engine.order_status(ANN, cloid(5)) == {"status": "unknownOid"}
    first = hand.oid(hand.buy(ANN, "97000", "0.01", cloid=cloid(5)))
    hand.cancel(ANN, BTC, first)
    assert hand.engine.order_status(ANN, cloid(5))["order"]["order"]["oid"] == first
    before = hand.engine.snapshot()
    hand.buy(ANN, "97000", "0.0001", cloid=cloid(5))  # refused: it counts
    assert hand.engine.order_status(ANN, cloid(5))["order"]["status"] == "minTradeNtlRejected"
    assert hand.engine.order_status(BOB, cloid(5)) == {"status": "unknownOid"}
    hand.engine.revert(before)
    assert hand.engine.order_status(ANN, cloid(5))["order"]["status"] == "canceled"


def test_cancels(hand: Hand) -> None:
    oid = hand.oid(hand.buy(ANN, "97000", "0.01", cloid=cloid(5)))
    never = {"error": "Order was never placed, already canceled, or filled. asset=0"}
    assert hand.cancel(BOB, BTC, oid) == never
    assert hand.cancel(ANN, BTC, oid) == "success"
    assert hand.cancel(ANN, BTC, oid) == never
    hand.buy(ANN, "97000", "0.01", cloid=cloid(6))
    answer = hand.act(ANN, "cancelByCloid", cancels=[{"asset": BTC, "cloid": cloid(6)}])
    assert answer == {"type": "cancel", "data": {"statuses": ["success"]}}
    assert hand.engine.core(ANN).order_margin == 0


def test_resting_orders_hold_margin_back_as_recorded() -> None:
    """The recorded case: one resting buy, no position: size x limit price / leverage."""
    hand = Hand()
    hand.act(ANN, "updateLeverage", asset=BTC, isCross=True, leverage=2)
    hand.buy(ANN, "65000", "0.0005")
    assert hand.engine.core(ANN).order_margin == 16_250_000


def test_unknown_signers(hand: Hand) -> None:
    nobody = "0x" + "77" * 20
    cancel = {"cancels": [{"a": 0, "o": 1}]}
    assert hand.act(nobody, "cancel", **cancel) == f"User or API Wallet {nobody} does not exist."
    sent = hand.act(nobody, "usdSend", destination=ANN, amount="1", time=1)
    assert sent == f"Must deposit before performing actions. User: {nobody}"


def test_a_faucet_lets_anybody_be_born() -> None:
    hand = Hand(faucet=1_000_000)
    assert hand.act("0x" + "77" * 20, "noop") == {"type": "default"}
    assert hand.engine.ledger_updates("0x" + "77" * 20)[0]["delta"] == {"type": "deposit", "usdc": "1.0"}


def test_the_house_quotes_what_is_traded() -> None:
    assert Hand().engine.book("BTC") == {"coin": "BTC", "time": NOW, "levels": [[], []]}
    hand = Hand(QUOTED)
    assert "filled" in hand.buy(ANN, "98000", "0.01", tif="Ioc")
    hand.engine.book("ETH")
    book = hand.engine.book("ETH")
    assert book is not None and [len(side) for side in book["levels"]] == [20, 20]
