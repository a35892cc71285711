"""Trigger orders, TP/SL in their groupings, modify, scheduled cancels."""

import pytest

from tests.server.devnode.engine.exchange import ANN, BOB, BTC, CAT, Hand, cloid, row


@pytest.fixture
def hand() -> Hand:
    """Bob is long 0.01 BTC from 97240; Cat's bids and asks stand a little off."""
    hand = Hand()
    hand.sell(ANN, "97240", "0.01")
    hand.buy(BOB, "97240", "0.01")
    hand.buy(CAT, "96000", "0.1")
    hand.sell(CAT, "99000", "0.1")
    return hand


def stop(px: str, **fields: object) -> dict[str, object]:
    return row(BTC, False, "90000", "0.01", reduce_only=True, trigger=(px, "sl", True), **fields)


def take(px: str) -> dict[str, object]:
    return row(BTC, False, "90000", "0.01", reduce_only=True, trigger=(px, "tp", True))


def test_a_stop_waits_and_fires(hand: Hand) -> None:
    (status,) = hand.orders(BOB, stop("96500", cloid=cloid(3)))
    assert status["resting"]["cloid"] == cloid(3)
    (waiting,) = hand.engine.open_orders(BOB)
    told = (waiting["triggerCondition"], waiting["orderType"], waiting["tif"], waiting["triggerPx"])
    assert told == ("Price below 96500", "Stop Market", None, "96500.0")
    hand.mark("BTC", "96501")
    assert hand.szi(BOB) == 1_000
    hand.mark("BTC", "96500")
    assert hand.szi(BOB) == 0 and hand.engine.fills(BOB)[0]["px"] == "96000.0"
    assert hand.statuses(BOB)[-3:] == ["open", "triggered", "filled"]


def test_a_trigger_that_would_fire_at_once_is_no_trigger(hand: Hand) -> None:
    assert hand.orders(BOB, stop("97240")) == [{"error": "Invalid TP/SL price. asset=0"}]
    assert hand.orders(BOB, take("97000")) == [{"error": "Invalid TP/SL price. asset=0"}]


def test_a_triggered_limit_order_rests(hand: Hand) -> None:
    limit = row(BTC, False, "98000", "0.01", reduce_only=True, trigger=("97500", "tp", False))
    hand.orders(BOB, limit)
    hand.mark("BTC", "97600")
    (resting,) = hand.engine.open_orders(BOB)
    assert (resting["orderType"], resting["limitPx"]) == ("Take Profit Limit", "98000.0")
    assert hand.engine.levels("BTC")[1][0].px == 980_000


def test_position_tpsl_ends_with_its_sibling_and_with_the_position(hand: Hand) -> None:
    both = hand.orders(BOB, stop("96500"), take("98500"), grouping="positionTpsl")
    assert both == ["waitingForTrigger", "waitingForTrigger"]
    assert all(order["isPositionTpsl"] for order in hand.engine.open_orders(BOB))
    hand.mark("BTC", "96400")
    assert hand.szi(BOB) == 0 and hand.engine.open_orders(BOB) == []
    assert hand.statuses(BOB)[-2:] == ["reduceOnlyCanceled", "filled"]
    refused = {"error": "Reduce only order would increase position. asset=0"}
    assert hand.orders(BOB, stop("96000"), grouping="positionTpsl") == [refused]


@pytest.mark.parametrize(("sz", "left"), [("0", 0), ("0.01", 1_000)])
def test_a_position_tpsl_of_size_0_is_of_the_position_as_it_then_is(hand: Hand, sz: str, left: int) -> None:
    hand.orders(BOB, stop("96500") | {"s": sz}, grouping="positionTpsl")
    hand.sell(ANN, "97240", "0.01")
    hand.buy(BOB, "97240", "0.01")
    hand.mark("BTC", "96500")
    assert hand.szi(BOB) == left


def test_position_tpsl_ends_where_the_position_is_turned_over(hand: Hand) -> None:
    hand.orders(BOB, stop("96500"), grouping="positionTpsl")
    hand.buy(ANN, "97240", "0.005")
    hand.sell(BOB, "97240", "0.005")
    assert len(hand.engine.open_orders(BOB)) == 1
    hand.buy(ANN, "97240", "0.02")
    hand.sell(BOB, "97240", "0.02")
    assert hand.szi(BOB) == -1_500 and hand.engine.open_orders(BOB) == []
    assert "reduceOnlyCanceled" in hand.statuses(BOB)


@pytest.mark.parametrize("sz", ["", ".", "x"])
def test_a_position_tpsl_has_a_size(hand: Hand, sz: str) -> None:
    assert hand.orders(BOB, stop("96500") | {"s": sz}, grouping="positionTpsl") == (
        "Order has invalid size. asset=0"
    )


def test_children_wait_for_their_parent(hand: Hand) -> None:
    entry = row(BTC, True, "97000", "0.02")
    statuses = hand.orders(BOB, entry, stop("96500"), take("98500"), grouping="normalTpsl")
    assert [*statuses[0]] == ["resting"] and statuses[1:] == ["waitingForFill"] * 2
    (parent,) = hand.engine.open_orders(BOB)
    assert [child["orderType"] for child in parent["children"]] == ["Stop Market", "Take Profit Market"]
    hand.sell(ANN, "97000", "0.02")
    assert [order["isTrigger"] for order in hand.engine.open_orders(BOB)] == [True, True]
    hand.mark("BTC", "96500")
    assert hand.szi(BOB) == 2_000 and hand.engine.open_orders(BOB) == []
    assert "siblingFilledCanceled" in hand.statuses(BOB)


def test_children_of_a_filled_parent_wait_for_their_price_at_once(hand: Hand) -> None:
    entry = row(BTC, True, "99000", "0.02", tif="Ioc")
    statuses = hand.orders(BOB, entry, stop("96500"), grouping="normalTpsl")
    assert [*statuses[0]] == ["filled"] and statuses[1] == "waitingForTrigger"


def test_children_of_a_parent_that_was_filled_in_part_and_ended_are_gone(hand: Hand) -> None:
    entry = row(BTC, True, "99000", "0.2", tif="Ioc")
    status, child = hand.orders(BOB, entry, stop("96500"), grouping="normalTpsl")
    assert status["filled"]["totalSz"] == "0.1"
    assert child == {"error": "Order was never placed, already canceled, or filled. asset=0"}
    assert hand.engine.open_orders(BOB) == [] and hand.statuses(BOB)[-2:] == ["canceled", "canceled"]


def test_children_of_a_parent_that_ends_for_want_of_margin_are_placed_as_if_it_were_filled() -> None:
    hand = Hand()
    hand.sell(ANN, "97240", "1")
    hand.sell(CAT, "100000", "1")
    entry = row(BTC, True, "100000", "2")
    status, child = hand.orders(BOB, entry, stop("96500"), grouping="normalTpsl")
    assert status["filled"]["totalSz"] == "1.0" and child == "waitingForTrigger"
    assert "marginCanceled" in hand.statuses(BOB)
    assert [order["triggerPx"] for order in hand.engine.open_orders(BOB)] == ["96500.0"]


def test_a_child_that_was_modified_goes_with_its_parent(hand: Hand) -> None:
    entry = row(BTC, True, "97000", "0.02", cloid=cloid(1))
    orders = entry, stop("96500", cloid=cloid(2)), take("98500")
    hand.orders(BOB, *orders, grouping="normalTpsl")
    change = {"oid": cloid(2), "order": stop("96400", cloid=cloid(3))}
    assert hand.act(BOB, "batchModify", modifies=[change])["data"]["statuses"] == ["waitingForFill"]
    (parent,) = hand.engine.open_orders(BOB)
    assert [child["triggerPx"] for child in parent["children"]] == ["96400.0", "98500.0"]
    hand.act(BOB, "modify", oid=cloid(1), order=row(BTC, True, "97100", "0.02"))
    (parent,) = hand.engine.open_orders(BOB)
    assert [child["triggerPx"] for child in parent["children"]] == ["96400.0", "98500.0"]
    hand.sell(ANN, "97100", "0.02")
    assert {order["triggerPx"] for order in hand.engine.open_orders(BOB)} == {"96400.0", "98500.0"}
    hand.mark("BTC", "96400")
    assert hand.engine.open_orders(BOB) == [] and "siblingFilledCanceled" in hand.statuses(BOB)


def test_a_child_that_is_cancelled_or_refused_a_change_does_not_show_any_more(hand: Hand) -> None:
    orders = row(BTC, True, "97000", "0.02"), stop("96500", cloid=cloid(2)), take("98500")
    hand.orders(BOB, *orders, grouping="normalTpsl")
    hand.act(BOB, "cancelByCloid", cancels=[{"asset": BTC, "cloid": cloid(2)}])
    (parent,) = hand.engine.open_orders(BOB)
    (child,) = parent["children"]
    change = {"oid": child["oid"], "order": take("98500.55")}
    (status,) = hand.act(BOB, "batchModify", modifies=[change])["data"]["statuses"]
    assert status["error"].endswith("Price must be divisible by tick size. asset=0")
    (parent,) = hand.engine.open_orders(BOB)
    assert parent["children"] == []


def test_a_refused_modify_of_a_parent_ends_its_children(hand: Hand) -> None:
    entry = row(BTC, True, "97000", "0.02", cloid=cloid(1))
    hand.orders(BOB, entry, stop("96500"), grouping="normalTpsl")
    assert isinstance(hand.act(BOB, "modify", oid=cloid(1), order=row(BTC, True, "97000", "0.00001")), str)
    assert hand.engine.ground.state.accounts[BOB].orders == {}
    assert hand.statuses(BOB)[-2:] == ["minTradeNtlRejected", "canceled"]


def test_children_end_with_their_parent(hand: Hand) -> None:
    entry = row(BTC, True, "97000", "0.02")
    status, _ = hand.orders(BOB, entry, stop("96500"), grouping="normalTpsl")
    hand.cancel(BOB, BTC, hand.oid(status))
    assert hand.engine.open_orders(BOB) == [] and hand.engine.ground.state.accounts[BOB].orders == {}


def test_groupings_that_are_none(hand: Hand) -> None:
    entry = row(BTC, True, "97000", "0.02")
    assert hand.orders(BOB, entry, grouping="normalTpsl") == "Unexpected number of trigger orders"
    assert isinstance(hand.orders(BOB, entry, grouping="positionTpsl"), str)


def test_modify_is_a_cancel_and_a_new_order(hand: Hand) -> None:
    old = hand.oid(hand.buy(ANN, "95000", "0.01", cloid=cloid(1)))
    fresh = row(BTC, True, "95100", "0.02", cloid=cloid(2))
    assert hand.act(ANN, "modify", oid=old, order=fresh) == {"type": "default"}
    (order,) = hand.engine.open_orders(ANN)
    assert order["oid"] > old and (order["sz"], order["limitPx"]) == ("0.02", "95100.0")
    assert hand.engine.order_status(ANN, old)["order"]["status"] == "canceled"
    assert hand.act(ANN, "modify", oid=old, order=fresh) == "Cannot modify canceled or filled order"
    by_cloid = hand.act(ANN, "batchModify", modifies=[{"oid": cloid(2), "order": fresh}] * 2)
    assert by_cloid["type"] == "order" and [[*s] for s in by_cloid["data"]["statuses"]] == [["resting"]] * 2


def test_a_batch_of_modifies_is_refused_as_a_whole_for_what_its_text_alone_refuses(hand: Hand) -> None:
    hand.buy(ANN, "95000", "0.01", cloid=cloid(1))
    good = {"oid": cloid(1), "order": row(BTC, True, "95100", "0.02")}
    bad = {"oid": cloid(1), "order": row(BTC, True, "95100", "0")}
    assert hand.act(ANN, "batchModify", modifies=[good, bad]) == "Order has zero size. asset=0"
    assert [order["limitPx"] for order in hand.engine.open_orders(ANN)] == ["95000.0"]


def test_a_modify_whose_new_order_is_refused_leaves_nothing(hand: Hand) -> None:
    old = hand.oid(hand.buy(ANN, "95000", "0.01"))
    text = hand.act(ANN, "modify", oid=old, order=row(BTC, True, "95000", "0.00001"))
    assert text == ("Error placing new order during modify: Order must have minimum value of $10. asset=0")
    assert hand.engine.open_orders(ANN) == []


def test_ten_scheduled_cancels_may_trigger_in_a_day(hand: Hand) -> None:
    for _ in range(10):
        assert hand.act(ANN, "scheduleCancel", time=hand.now + 5_000) == {"type": "default"}
        hand.advance(5_000)
    text = "Too many scheduled cancels triggered for the day. Limit is 10."
    assert hand.act(ANN, "scheduleCancel", time=hand.now + 5_000) == text
    assert hand.act(ANN, "scheduleCancel") == {"type": "default"}
    hand.advance(86_400_000)
    assert hand.act(ANN, "scheduleCancel", time=hand.now + 5_000) == {"type": "default"}


def test_a_scheduled_cancel(hand: Hand) -> None:
    hand.buy(ANN, "95000", "0.01")
    assert isinstance(hand.act(ANN, "scheduleCancel", time=hand.now + 4_000), str)
    assert hand.act(ANN, "scheduleCancel", time=hand.now + 6_000) == {"type": "default"}
    hand.advance(5_999)
    assert len(hand.engine.open_orders(ANN)) == 1
    hand.advance(1)
    assert hand.engine.open_orders(ANN) == [] and hand.statuses(ANN)[-1] == "scheduledCancel"
