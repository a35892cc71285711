"""The fee schedule: which volume counts, when it does, and what a fill then costs."""

import json
from pathlib import Path

import pytest

from server.devnode.engine.fees import DAY_MS, RATE_UNIT, TIERS
from tests.server.devnode.engine.exchange import ANN, BOB, BTC, HYPE, NOW, Hand, row

RICH = 100_000_000
BIG = "40"  # bitcoins: four million USD at 100,000


@pytest.fixture
def hand() -> Hand:
    return Hand(usd=RICH)


def trade(hand: Hand, sz: str, user: str = ANN) -> tuple[float, float]:
    """Let somebody buy of Bob. Returns what both paid, as shares of the notional."""
    hand.sell(BOB, "100000", sz)
    assert "filled" in hand.buy(user, "100000", sz)
    fills = [hand.engine.fills(one)[0] for one in (user, BOB)]
    taker, maker = (float(one["fee"]) / (float(one["px"]) * float(one["sz"])) for one in fills)
    return taker, maker


def test_volume_counts_when_the_day_is_over_and_for_two_weeks(hand: Hand) -> None:
    base, first = pytest.approx((0.00045, 0.00015)), pytest.approx((0.0004, 0.00012))
    hand.advance(1)
    for _ in range(2):
        assert trade(hand, BIG) == base  # eight million in the end, but not yet
    hand.advance(DAY_MS - NOW % DAY_MS)
    assert trade(hand, "0.001") == first
    hand.advance(13 * DAY_MS)
    assert trade(hand, "0.001") == first
    hand.advance(DAY_MS)
    assert trade(hand, "0.001") == base


def test_sub_accounts_share_the_tier(hand: Hand) -> None:
    sub = hand.act(ANN, "createSubAccount", name="one")["data"]
    hand.act(ANN, "subAccountTransfer", subAccountUser=sub, isDeposit=True, usd=RICH * 10**6 // 2)
    hand.advance(1)
    hand.sell(BOB, "100000", BIG)
    assert "filled" in hand.orders(ANN, row(BTC, True, "100000", BIG), vault=sub)[0]
    trade(hand, "11")
    hand.advance(DAY_MS)
    assert trade(hand, "0.001")[0] == pytest.approx(0.0004)  # 4.0 and 1.1 million together
    other = hand.act(ANN, "createSubAccount", name="two")["data"]
    assert [hand.engine.ground.state.accounts[one].tier for one in (sub, other)] == [1, 1]


def test_spot_counts_twice(hand: Hand) -> None:
    hand.engine.credit_spot(BOB, "HYPE", 200_000 * 10**8)
    hand.engine.credit_spot(ANN, "USDC", RICH * 10**8)
    hand.advance(1)
    hand.sell(BOB, "30", "90000", asset=HYPE)  # 2.7 million
    assert "filled" in hand.buy(ANN, "30", "90000", asset=HYPE)
    hand.advance(DAY_MS)
    assert hand.engine.ground.state.accounts[ANN].tier == 1
    hand.sell(BOB, "30", "100", asset=HYPE)
    assert "filled" in hand.buy(ANN, "30", "100", asset=HYPE)
    assert hand.engine.fills(ANN)[0]["fee"] == "0.06"
    assert hand.engine.fills(BOB)[0]["fee"] == "0.9"


def test_a_tier_goes_and_comes_back_with_the_world(hand: Hand) -> None:
    hand.advance(1)
    trade(hand, "60")
    before, digest = hand.engine.snapshot(), hand.engine.digest()
    hand.advance(DAY_MS)
    assert hand.engine.ground.state.accounts[ANN].tier == 1
    hand.engine.revert(before)
    assert hand.engine.digest() == digest and hand.engine.ground.state.accounts[ANN].tier == 0


@pytest.mark.recorded
def test_the_tiers_are_those_that_were_recorded(recorded_dir: Path) -> None:
    text = (recorded_dir / "info" / "userFees__gareth_20250716.json").read_bytes()
    schedule = json.loads(text)["response"]["feeSchedule"]
    rows = [{"ntlCutoff": "0.0", **schedule}, *schedule["tiers"]["vip"]]
    recorded = [
        tuple(round(float(row[name]) * RATE_UNIT) for name in ("add", "cross", "spotAdd", "spotCross"))
        for row in rows
    ]
    assert [tier.perp + tier.spot for tier in TIERS] == recorded
    assert [tier.volume / 1e6 for tier in TIERS] == [float(row["ntlCutoff"]) for row in rows]
