"""The synthetic accounts: who they are and what they hold."""

import json
import math
from decimal import Decimal

import pytest

from server.devnode.accounts import address_of, make_account
from server.devnode.clearinghouse import render
from server.devnode.markets import MAIN_DEX, Markets
from server.devnode.prices import MAX_DRIFT, legal

MARKETS = Markets()
ACCOUNTS = [make_account(1, number, MARKETS) for number in range(200)]


def test_an_account_is_a_function_of_seed_and_number() -> None:
    assert make_account(7, 5, Markets()) == make_account(7, 5, MARKETS) != make_account(8, 5, MARKETS)
    assert len({address_of(seed, i) for seed in range(5) for i in range(50)}) == 250


def test_positions_range_from_none_to_forty_on_three_kinds_of_dex() -> None:
    counts = [len(account.cores[MAIN_DEX].positions) for account in ACCOUNTS]
    assert min(counts) == 0 and max(counts) == 40
    assert counts[1] == 40 and counts[2] == 0  # the corner cases come first, for small worlds
    for name, dex in MARKETS.dexes.items():
        cores = [account.cores[name] for account in ACCOUNTS if name in account.cores]
        assert any(not position.is_cross for core in cores for position in core.positions)
        order = [asset.name for asset in dex.assets]
        for core in cores:
            names = [position.asset.name for position in core.positions]
            assert names == sorted(names, key=order.index)
    assert len(MARKETS.dexes) >= 3
    assert any(account.balances for account in ACCOUNTS)


@pytest.mark.parametrize("drift", [-MAX_DRIFT, 0.0, MAX_DRIFT])
def test_no_drift_of_the_prices_brings_an_account_below_its_maintenance_margin(drift: float) -> None:
    positions = 0
    for account in ACCOUNTS:
        for dex, core in account.cores.items():
            marks = {
                market.coin: legal(round(market.start * math.exp(drift)), market.decimals)
                for market in MARKETS.dexes[dex].markets
            }
            state = json.loads(render(core, marks, 1))
            value = Decimal(state["crossMarginSummary"]["accountValue"])
            assert value >= Decimal(state["crossMaintenanceMarginUsed"])
            for row in state["assetPositions"]:
                assert Decimal(row["position"]["marginUsed"]) > 0
                positions += 1
    assert positions > 500
