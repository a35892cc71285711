"""Positions: the arithmetic of fills, margin and its refusals, isolated pockets, funding."""

import pytest

from server.devnode.engine.account import Holding
from server.devnode.engine.funding import HOUR_MS, rate
from server.devnode.engine.invariants import check
from server.devnode.engine.perp_trade import direction, traded
from tests.server.devnode.engine.exchange import ANN, BOB, BTC, SPACEX, USD, Hand


def test_reducing_truncates_the_entry_as_recorded() -> None:
    """Pair E of the recorded states: one partial close out of 139 positions."""
    before = Holding(10, None, lots=1_000_000, entry=60_699_952_534)
    after = traded(before, 0, -8_445, 60_000, 0)
    assert after.entry == 60_699_952_534 * 991_555 // 1_000_000
    short = traded(Holding(10, None, lots=-3, entry=-1_000), 0, 1, 300, 0)
    assert short.entry == -666 and short.closed_pnl == -300 + 334


@pytest.mark.parametrize(
    ("start", "signed", "told"),
    [
        (0, 5, "Open Long"), (0, -5, "Open Short"), (5, 5, "Open Long"), (5, -3, "Close Long"),
        (5, -5, "Close Long"), (5, -6, "Long > Short"), (-5, 6, "Short > Long"), (-5, 5, "Close Short"),
    ],
)  # fmt: skip
def test_directions(start: int, signed: int, told: str) -> None:
    assert direction(start, signed) == told


def test_a_flip_starts_anew() -> None:
    hand = Hand()
    hand.sell(ANN, "97240", "0.01")
    hand.buy(BOB, "97240", "0.01")
    hand.buy(ANN, "97340", "0.03")
    hand.sell(BOB, "97340", "0.03")
    (fill,) = hand.engine.fills(BOB)[:1]
    assert (fill["dir"], fill["closedPnl"], fill["startPosition"]) == ("Long > Short", "1.0", "0.01")
    (position,) = hand.engine.core(BOB).positions
    assert (position.lots, position.entry_ntl) == (-2_000, -2_000 * 973_400)


def test_isolated_margin_moves_in_and_out() -> None:
    hand = Hand()
    assert hand.act(BOB, "updateLeverage", asset=BTC, isCross=False, leverage=10) == {"type": "default"}
    hand.sell(ANN, "97240", "0.01")
    hand.buy(BOB, "97240", "0.01")
    (position,) = hand.engine.core(BOB).positions
    assert position.raw_usd == 97_240_000 - 437_580 - 972_400_000
    assert hand.engine.core(BOB).cross_raw == 10_000 * USD - 97_240_000
    assert hand.act(BOB, "updateIsolatedMargin", asset=BTC, isBuy=True, ntli=5 * USD) == {"type": "default"}
    assert hand.act(ANN, "updateIsolatedMargin", asset=BTC, isBuy=True, ntli=5) == (
        "Position does not use isolated margin."
    )
    data = hand.engine.active_asset_data(BOB, "BTC")
    assert data is not None and data["leverage"] == {"type": "isolated", "value": 10, "rawUsd": "-870.59758"}
    hand.buy(ANN, "97240", "0.01")
    hand.sell(BOB, "97240", "0.01")
    assert hand.engine.core(BOB).positions == ()
    assert hand.engine.core(BOB).cross_raw == 10_000 * USD - 437_580 * 2 + (437_580 - 437_580)
    check(hand.engine.ground)


def test_margin_of_an_isolated_position_is_added_taken_out_and_topped_up() -> None:
    hand = Hand()
    default = {"type": "default"}
    hand.act(BOB, "updateLeverage", asset=BTC, isCross=False, leverage=10)
    hand.sell(ANN, "97240", "0.01")
    hand.buy(BOB, "97240", "0.01")
    pocket, cash = hand.engine.core(BOB).positions[0].raw_usd or 0, hand.engine.core(BOB).cross_raw
    for added in (50 * USD, -20 * USD):
        assert hand.act(BOB, "updateIsolatedMargin", asset=BTC, isBuy=True, ntli=added) == default
    after = hand.engine.core(BOB)
    assert (after.positions[0].raw_usd, after.cross_raw) == (pocket + 30 * USD, cash - 30 * USD)
    refused = hand.act(BOB, "updateIsolatedMargin", asset=BTC, isBuy=True, ntli=-40 * USD)
    assert refused == "Cannot remove margin from this position."
    assert hand.act(BOB, "topUpIsolatedOnlyMargin", asset=BTC, leverage="2.5") == default
    (position,) = hand.engine.core(BOB).positions
    assert (position.raw_usd or 0) + 972_400_000 == 388_960_000  # a fraction of 2.5 of the notional
    assert hand.act(BOB, "topUpIsolatedOnlyMargin", asset=BTC, leverage="5") == default
    assert hand.engine.core(BOB).positions == (position,)


def test_leverage_settings_and_their_refusals() -> None:
    hand = Hand()
    assert hand.act(BOB, "updateLeverage", asset=BTC, isCross=True, leverage=41) == "Invalid leverage value"
    assert hand.act(BOB, "updateLeverage", asset=SPACEX, isCross=True, leverage=2) == (
        "Cross margin is not allowed for this asset."
    )
    hand.sell(ANN, "97240", "1")
    hand.buy(BOB, "97240", "1")
    assert hand.act(BOB, "updateLeverage", asset=BTC, isCross=False, leverage=20) == (
        "Cannot switch leverage type with open position."
    )
    assert hand.act(BOB, "updateLeverage", asset=BTC, isCross=True, leverage=2) == (
        "Cross position does not have sufficient margin available to decrease leverage."
    )
    assert hand.engine.core(BOB).positions[0].leverage == 20
    assert hand.act(BOB, "updateLeverage", asset=BTC, isCross=True, leverage=40) == {"type": "default"}
    assert hand.engine.core(BOB).positions[0].leverage == 40


def test_a_resting_order_that_cannot_be_afforded_any_more_is_cancelled_when_it_is_met() -> None:
    hand = Hand()
    hand.buy(BOB, "97240", "1")
    hand.engine.set_mark("BTC", "97240", hand.now)
    hand.act(BOB, "usdSend", destination=ANN, amount="5000", time=1)
    pool = hand.engine.ground.state.accounts[BOB].pool("")
    pool.cash -= 4_000 * USD  # a loss elsewhere
    hand.tampered = True
    hand.engine.ground.pool(ANN, "").cash += 4_000 * USD
    hand.sell(ANN, "97240", "1", tif="Ioc")
    assert hand.statuses(BOB)[-1] == "marginCanceled" and hand.szi(BOB) == 0


def test_who_never_traded_has_the_leverage_that_the_market_allows() -> None:
    """Not cross where a market is isolated only."""
    hand = Hand()
    for user in (ANN, "0x" + "77" * 20):
        data = hand.engine.active_asset_data(user, "vntl:SPACEX")
        assert data is not None and data["leverage"]["type"] == "isolated"


def test_rates() -> None:
    assert rate(972_400, 972_400) == 125_000  # 0.0000125, the rate in most recorded rows
    assert rate(990_000, 972_400) > 125_000 > rate(950_000, 972_400)
    assert rate(2_000_000, 972_400) == 4 * 10**8  # the cap of 4% an hour


def test_funding_is_paid_by_the_hour_and_conserved() -> None:
    hand = Hand()
    hand.engine.advance(hand.now)
    hand.sell(ANN, "97240", "0.01")
    hand.buy(BOB, "97240", "0.01")
    before = hand.engine.core(BOB).cross_raw
    hand.advance(HOUR_MS)
    (paid,) = hand.engine.fundings(BOB)
    assert paid["delta"] == {
        "type": "funding", "coin": "BTC", "usdc": "-0.012155", "szi": "0.01", "fundingRate": "0.0000125",
        "nSamples": None,
    }  # fmt: skip
    assert hand.engine.core(BOB).cross_raw == before - 12_155
    assert hand.engine.core(BOB).positions[0].funding.since_open == 12_155
    assert hand.engine.fundings(ANN)[0]["delta"]["usdc"] == "0.012155"
    hand.advance(3 * HOUR_MS)
    assert len(hand.engine.fundings(BOB)) == 4
    check(hand.engine.ground)
