"""Liquidation: sold into the book, taken over where that comes too late, and no micro-USD lost over it."""

import json

from server.devnode.clearinghouse import render
from server.devnode.engine import Makers
from server.devnode.engine.invariants import check
from server.devnode.engine.state import INSURANCE, LIQUIDATOR
from tests.server.devnode.engine.exchange import ANN, BOB, BTC, CAT, ETH, QUOTED, USD, Hand


def long(hand: Hand, sz: str = "1") -> None:
    hand.sell(ANN, "97240", sz)
    hand.buy(BOB, "97240", sz)
    assert hand.szi(BOB) > 0


def test_below_the_maintenance_margin_the_position_is_sold() -> None:
    hand = Hand()
    long(hand)
    hand.buy(CAT, "88300", "0.5")
    hand.buy(BOB, "80000", "0.0002")
    hand.mark("BTC", "88340")  # value just below 1/80 of the notional
    assert hand.szi(BOB) == 50_000 and hand.engine.open_orders(BOB) == []
    fill = hand.engine.fills(BOB)[0]
    assert fill["liquidation"] == {"liquidatedUser": BOB, "markPx": "88340.0", "method": "market"}
    assert hand.engine.ledger_updates(BOB)[-1]["delta"]["type"] == "liquidation"
    assert "liquidatedCanceled" in hand.statuses(BOB)
    check(hand.engine.ground)


def test_of_a_large_position_a_fifth_is_sold_first_and_wholes_in_the_30_seconds_after() -> None:
    hand = Hand(usd=30_000)
    long(hand, "3")
    hand.buy(CAT, "88300", "2")
    hand.mark("BTC", "88340")
    assert hand.szi(BOB) == 240_000
    hand.advance(20_000)
    assert hand.szi(BOB) == 240_000  # what was sold was enough
    hand.mark("BTC", "88000")
    assert hand.szi(BOB) == 100_000  # all that the bids take, not a fifth


def test_all_large_positions_of_a_block_are_sold_in_part() -> None:
    hand = Hand(usd=100_000)
    for asset, coin, sz in ((BTC, "BTC", "3"), (ETH, "ETH", "100")):
        px = hand.engine.marks()[coin] // 10 ** (1 if coin == "BTC" else 2)
        hand.act(BOB, "updateLeverage", asset=asset, isCross=False, leverage=20)
        hand.sell(ANN, str(px), sz, asset)
        hand.buy(BOB, str(px), sz, asset)
        fallen = px * (961 if coin == "BTC" else 967) // 1000
        hand.buy(CAT, str(fallen), sz, asset)
        hand.engine.set_mark(coin, str(fallen), hand.now)
    hand.advance(1)
    assert (hand.szi(BOB), hand.szi(BOB, "ETH")) == (300_000 * 4 // 5, 1_000_000 * 4 // 5)


def test_after_the_30_seconds_it_is_a_fifth_again() -> None:
    hand = Hand(usd=30_000)
    long(hand, "3")
    hand.buy(CAT, "88300", "2")
    hand.mark("BTC", "88340")
    hand.advance(30_000)
    hand.mark("BTC", "88000")
    assert hand.szi(BOB) == 240_000 - 48_000


def test_as_long_as_nobody_bids_nothing_is_told_again_and_again() -> None:
    hand = Hand()
    long(hand)
    hand.buy(BOB, "80000", "0.0002")
    hand.mark("BTC", "88340")
    assert hand.engine.open_orders(BOB) == []
    told = hand.engine.seq
    for _ in range(5):
        hand.advance(1_000)
    assert hand.engine.seq == told and hand.szi(BOB) == 100_000
    hand.buy(CAT, "88300", "0.5")
    hand.advance(1_000)
    assert hand.szi(BOB) == 50_000
    deltas = [row["delta"] for row in hand.engine.ledger_updates(BOB)]
    (liquidation,) = (delta for delta in deltas if delta["type"] == "liquidation")
    assert liquidation["liquidatedPositions"] == [{"coin": "BTC", "szi": "1.0"}]


def test_twaps_end_where_positions_are_liquidated() -> None:
    hand = Hand()
    hand.act(BOB, "updateLeverage", asset=BTC, isCross=False, leverage=20)
    hand.sell(ANN, "97240", "1")
    for asset in (BTC, ETH):
        twap = {"a": asset, "b": True, "s": "1", "r": False, "m": 5, "t": False}
        hand.act(BOB, "twapOrder", twap=twap)
    hand.buy(BOB, "97240", "0.1")
    hand.mark("BTC", "92000")
    assert [state["coin"] for _, state in hand.engine.twap_states(BOB)] == ["ETH"]
    assert hand.engine.twap_history(BOB)[0]["status"] == {"status": "terminated"}


def test_far_below_it_the_liquidator_takes_over() -> None:
    hand = Hand()
    long(hand)
    hand.mark("BTC", "87900")
    assert hand.szi(BOB) == 0 and hand.szi(LIQUIDATOR) == 100_000
    assert hand.engine.core(BOB).cross_raw == 0
    fill = hand.engine.fills(BOB)[0]
    assert (fill["dir"], fill["fee"]) == ("Liquidated Cross Long", "0.0")
    assert fill["liquidation"]["method"] == "backstop"
    check(hand.engine.ground)


def test_what_a_bankrupt_account_owes_insurance_pays() -> None:
    hand = Hand()
    long(hand)
    hand.mark("BTC", "80000")
    assert hand.engine.core(BOB).cross_raw == 0
    check(hand.engine.ground)


def test_an_isolated_position_falls_alone() -> None:
    hand = Hand()
    hand.act(BOB, "updateLeverage", asset=BTC, isCross=False, leverage=20)
    long(hand, "0.1")
    cross = hand.engine.core(BOB).cross_raw
    hand.mark("BTC", "92000")
    assert hand.szi(BOB) == 0 and hand.engine.core(BOB).cross_raw == cross
    assert hand.engine.fills(BOB)[0]["dir"] == "Liquidated Isolated Long"
    assert hand.engine.ledger_updates(BOB)[-1]["delta"]["leverageType"] == "Isolated"
    check(hand.engine.ground)


def test_the_printed_liquidation_price_is_where_it_happens() -> None:
    hand = Hand()
    long(hand)
    hand.buy(CAT, "88000", "1")
    state = json.loads(render(hand.engine.core(BOB), hand.engine.marks(), hand.now))
    px = float(state["assetPositions"][0]["position"]["liquidationPx"])
    hand.mark("BTC", str(int(px) + 1))
    assert "liquidation" not in [row["delta"]["type"] for row in hand.engine.ledger_updates(BOB)]
    hand.mark("BTC", str(int(px)))
    assert "liquidation" in [row["delta"]["type"] for row in hand.engine.ledger_updates(BOB)]


def test_a_whole_history_of_a_leveraged_account() -> None:
    """The oracle falls half a percent a step: what the house bids for is sold, all that is told adds up."""
    hand = Hand(QUOTED)
    hand.act(BOB, "updateLeverage", asset=BTC, isCross=True, leverage=40)
    assert "filled" in hand.buy(BOB, "98000", "2")
    oracle, sizes = 97_240, [hand.szi(BOB)]
    while hand.szi(BOB):
        oracle -= 486
        hand.engine.set_oracle("BTC", str(oracle), hand.now)
        hand.advance(1_000)
        sizes.append(hand.szi(BOB))
        check(hand.engine.ground)
    sold = [fill for fill in hand.engine.fills(BOB) if "liquidation" in fill]
    assert {fill["liquidation"]["method"] for fill in sold} == {"market"}
    assert sum(round(float(fill["sz"]) * 10**5) for fill in sold) == 200_000
    assert 0 < hand.engine.core(BOB).cross_raw < 10_000 * USD  # what is left is his
    assert hand.szi(LIQUIDATOR) == 0 and sizes == sorted(sizes, reverse=True)


def test_with_nobody_in_the_book_the_liquidator_takes_over() -> None:
    hand = Hand(Makers(walk=False, quote=False))
    hand.sell(ANN, "97240", "1")
    hand.buy(BOB, "97240", "1")
    oracle, seen = 97_240, []
    while hand.szi(BOB):
        oracle -= 100
        hand.engine.set_oracle("BTC", str(oracle), hand.now)
        hand.advance(1_000)
        seen.append(hand.engine.core(BOB).cross_raw)
        check(hand.engine.ground)
    value = 10_000 * USD - 437_580 * 100 - (97_240 - oracle) * USD
    needed = oracle * USD // 80
    assert 0 < value * 3 < needed * 2 < (value + 100 * USD) * 3  # the first step at which it had to
    assert hand.engine.core(BOB).cross_raw == 0 and hand.szi(LIQUIDATOR) == 100_000
    assert hand.engine.core(LIQUIDATOR).cross_raw + oracle * USD == value
    assert hand.engine.core(INSURANCE).cross_raw == 0 and hand.szi(ANN) == -100_000
