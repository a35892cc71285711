"""The arithmetic by itself: printing, margin tables, and the invariants that every recorded state obeys."""

import json
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.devnode.clearinghouse import (
    MICRO,
    Asset,
    Core,
    Funding,
    Position,
    fmt,
    fmt_double,
    liquidation_px,
    maintenance,
    render,
    render_zero,
    tiers_of,
)
from tests.server.devnode.recover import recover, scaled

BTC = Asset("BTC", 5, tiers_of([(0, 40), (150_000_000 * MICRO, 20)]))
ETH = Asset("ETH", 4, tiers_of([(0, 25), (100_000_000 * MICRO, 15)]))
OP = Asset("OP", 1, tiers_of([(0, 10), (3_000_000 * MICRO, 5)]))
DOGE = Asset("DOGE", 0, tiers_of([(0, 3)]))
ASSETS = {asset.name: asset for asset in (BTC, ETH, OP, DOGE)}


@pytest.mark.parametrize(
    ("micro", "text"),
    [
        (0, "0.0"),
        (1, "0.000001"),
        (-1, "-0.000001"),
        (10_000_000, "10.0"),
        (12_100_480_000, "12100.48"),
        (3_155_203_766_062, "3155203.7660619998"),  # recorded: the artefact of binary64 is part of the wire
        (-6_831_699_300_000, "-6831699.2999999998"),
    ],
)
def test_amounts_print_as_recorded(micro: int, text: str) -> None:
    assert fmt(micro) == text


def test_a_negative_zero_is_never_printed() -> None:
    assert fmt_double(-0.0) == fmt_double(-1e-12) == "0.0"


@given(st.integers(-(2**52), 2**52))
def test_printed_amounts_read_back_exactly(micro: int) -> None:
    assert scaled(fmt(micro), 6) == micro


def test_maintenance_is_continuous_over_the_tiers() -> None:
    # Official docs: maintenance = notional * rate - deduction, and the deduction makes the steps meet.
    for asset in (BTC, ETH, OP):
        bound = asset.tiers[1].lower_bound
        below, at = maintenance(bound - MICRO, asset.tiers), maintenance(bound, asset.tiers)
        assert 0 <= at - below <= MICRO
    assert maintenance(200_000_000 * MICRO, BTC.tiers) == 200_000_000 * MICRO // 40 - 1_875_000 * MICRO
    assert ETH.tiers[1].deduction == Fraction(100_000_000 * MICRO, 75)  # no whole number: the 25x table


@given(st.integers(1, 10**15), st.sampled_from([BTC, ETH, OP, DOGE]))
def test_maintenance_never_falls_with_the_notional(notional: int, asset: Asset) -> None:
    assert maintenance(notional, asset.tiers) <= maintenance(notional + MICRO, asset.tiers)
    assert maintenance(notional, asset.tiers) >= 0


def test_an_unknown_account_gets_the_recorded_zeros() -> None:
    zeros = '{"accountValue":"0.0","totalNtlPos":"0.0","totalRawUsd":"0.0","totalMarginUsed":"0.0"}'
    assert render_zero(1765661071083) == (
        f'{{"marginSummary":{zeros},"crossMarginSummary":{zeros},"crossMaintenanceMarginUsed":"0.0"'
        ',"withdrawable":"0.0","assetPositions":[],"time":1765661071083}'
    )


def test_one_recorded_short() -> None:
    # gareth0712/hyperliquid-client, webData2 of 2025-06-26: 0.0001 BTC short at 1x, opened at 107851.
    core = Core(40_780_247, (Position(BTC, -10, -10_785_100, 1),))
    state = json.loads(render(core, {"BTC": 1_078_400}, 1750912503968))
    row = state["assetPositions"][0]["position"]
    assert state["marginSummary"]["accountValue"] == "29.996247"
    assert state["withdrawable"] == "19.212247"
    assert (row["unrealizedPnl"], row["returnOnEquity"]) == ("0.0011", "0.0001019926")


def test_a_state_without_time_is_rendered_without_the_key() -> None:
    assert "time" not in json.loads(render(Core(5), {}, None))


@st.composite
def portfolios(draw: st.DrawFn) -> tuple[Core, Mapping[str, int]]:
    """An account of any shape, sums small enough for doubles to hold micro-USD exactly."""
    chosen = draw(st.lists(st.sampled_from(list(ASSETS.values())), unique=True))
    marks = {asset.name: draw(st.integers(1, 10**6)) for asset in chosen}
    positions = []
    for asset in sorted(chosen, key=lambda one: list(ASSETS).index(one.name)):
        lots = draw(st.integers(1, 10**8)) * draw(st.sampled_from([1, -1]))
        # An entry with a remainder, so that the printed entry price has to be cut.
        entry = lots * draw(st.integers(1, 10**6)) + (1 if lots > 0 else -1) * draw(
            st.integers(0, abs(lots) - 1)
        )
        raw = draw(st.none() | st.integers(-(10**13), 10**13))
        funding = Funding(*draw(st.tuples(*[st.integers(-(10**10), 10**10)] * 3)))
        positions.append(Position(asset, lots, entry, draw(st.integers(1, 40)), raw, funding))
    return Core(draw(st.integers(-(10**14), 10**14)), tuple(positions)), marks


@given(portfolios())
def test_every_state_obeys_the_recorded_invariants(portfolio: tuple[Core, Mapping[str, int]]) -> None:
    core, marks = portfolio
    state = json.loads(render(core, marks, 1))
    rows = [row["position"] for row in state["assetPositions"]]
    cross = [row for row in rows if row["leverage"]["type"] == "cross"]
    for name, scope in (("marginSummary", rows), ("crossMarginSummary", cross)):
        summary = {key: scaled(text, 6) for key, text in state[name].items()}
        assert summary["totalNtlPos"] == sum(_usd(row, "positionValue") for row in scope)
        assert summary["totalMarginUsed"] == sum(_usd(row, "marginUsed") for row in scope)
        assert summary["accountValue"] == summary["totalRawUsd"] + sum(map(_signed, scope))
    for row in rows:
        leverage = row["leverage"]
        if leverage["type"] == "cross":
            assert _usd(row, "marginUsed") == _usd(row, "positionValue") // leverage["value"]
        else:
            assert _usd(row, "marginUsed") == scaled(leverage["rawUsd"], 6) + _signed(row)
    needed = sum(maintenance(_usd(row, "positionValue"), ASSETS[row["coin"]].tiers) for row in cross)
    assert scaled(state["crossMaintenanceMarginUsed"], 6) == needed
    free = scaled(state["withdrawable"], 6)
    assert free >= 0
    assert free <= max(0, scaled(state["crossMarginSummary"]["accountValue"], 6))
    assert [row["coin"] for row in rows] == [position.asset.name for position in core.positions]


@given(portfolios())
def test_what_was_rendered_can_be_recovered(portfolio: tuple[Core, Mapping[str, int]]) -> None:
    core, marks = portfolio
    text = render(core, marks, 7)
    again = recover(json.loads(text), ASSETS)
    assert again.core.cross_raw == core.cross_raw
    assert again.core.positions == core.positions
    assert again.marks == marks
    assert render(again.core, again.marks, 7) == text


@given(portfolios())
def test_marks_move_nothing_that_the_exchange_stores(portfolio: tuple[Core, Mapping[str, int]]) -> None:
    core, marks = portfolio
    before = json.loads(render(core, marks, 1))
    after = json.loads(render(core, {coin: mark + 1 for coin, mark in marks.items()}, 1))
    for state in (before, after):
        for row in state["assetPositions"]:
            for moving in ("positionValue", "unrealizedPnl", "returnOnEquity", "liquidationPx", "marginUsed"):
                del row["position"][moving]
    assert before["assetPositions"] == after["assetPositions"]
    for name in ("marginSummary", "crossMarginSummary"):
        assert before[name]["totalRawUsd"] == after[name]["totalRawUsd"]


@given(st.sampled_from([BTC, OP, DOGE]), st.integers(1, 10**7), st.integers(1, 10**6), st.integers(0, 10**13))
def test_at_the_liquidation_price_the_margin_is_just_used_up(
    asset: Asset, lots: int, mark: int, free: int
) -> None:
    for signed_lots in (lots, -lots):
        signed = signed_lots * mark
        value = maintenance(abs(signed), asset.tiers) + free
        px = liquidation_px(-(value - signed), signed_lots, asset.sz_decimals, asset.tiers)
        if px is None:
            continue
        at_px = px * signed_lots / 10**asset.sz_decimals * MICRO
        left = value - signed + at_px - float(maintenance(int(abs(at_px)), asset.tiers))
        assert abs(left) <= 3 + 1e-9 * (abs(at_px) + value)


def test_the_tier_is_the_one_at_the_liquidation_price() -> None:
    # A recorded whale held some 60 k USD of OP at 10x, in an account so large that the second tier
    # (5x above 3 M USD) applies by the time the price has run that far.
    n = -(12_000_000 * MICRO)
    single = liquidation_px(n, -1_000_000, 1, OP.tiers[:1])
    tiered = liquidation_px(n, -1_000_000, 1, OP.tiers)
    assert single is not None and tiered is not None
    assert single > tiered > 30  # 3 M USD over 100 000 coins


def _usd(row: Mapping[str, Any], key: str) -> int:
    return scaled(row[key], 6)


def _signed(row: Mapping[str, Any]) -> int:
    value = _usd(row, "positionValue")
    return -value if row["szi"].startswith("-") else value
