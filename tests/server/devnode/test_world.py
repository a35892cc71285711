"""The synthetic exchange: deterministic, legal prices, states that follow the marks, usable answers."""

import json
from decimal import Decimal
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.devnode.accounts import address_of, make_account
from server.devnode.info import InfoRequest
from server.devnode.market_texts import mids_text, spot_state_text
from server.devnode.markets import MAIN_DEX, Market, Markets, ticks
from server.devnode.prices import MAX_DRIFT, Walk, legal, price_text, step_at
from server.devnode.world import World

NOW = 1_800_000_000_000


def ask(world: World, kind: str, now_ms: int = NOW, **fields: Any) -> Any:
    request = InfoRequest(kind, fields.get("user", ""), fields.get("dex", ""), {"type": kind} | fields)
    return json.loads(world.info(request, now_ms).body)


def everything(world: World) -> list[str]:
    return [world.state(user, dex, NOW) for user in world.addresses for dex in world.dexes]


# prices


@given(st.integers(1, 10**9), st.integers(0, 6))
def test_legal_prices_have_five_figures_unless_they_are_whole(price: int, decimals: int) -> None:
    rounded = legal(price, decimals)
    digits = str(rounded).rstrip("0")
    assert len(digits) <= 5 or rounded % 10**decimals == 0
    assert abs(rounded - price) <= max(1, step_at(price, decimals))
    assert legal(rounded, decimals) == rounded
    assert legal(rounded + step_at(rounded, decimals), decimals) == rounded + step_at(rounded, decimals)


@given(st.integers(0, 10**12), st.integers(0, 8))
def test_prices_print_exactly(price: int, decimals: int) -> None:
    text = price_text(price, decimals)
    assert Decimal(text) == Decimal(price).scaleb(-decimals)
    assert "." in text and (not text.endswith("0") or text.endswith(".0"))
    assert ticks(text, decimals) == price or decimals == 0


def test_a_walk_stays_near_its_start() -> None:
    market = Market("BTC", 1, 972_400, 0.01)  # thirty times as restless as a real one
    walk = Walk([market], Random(3))
    low, high = market.start * (1 - MAX_DRIFT), market.start * (1 + MAX_DRIFT * 1.1)
    moved = 0
    for _ in range(2000):
        before = walk.marks["BTC"]
        walk.step(0.5)
        moved += walk.marks["BTC"] != before
        assert low <= walk.marks["BTC"] <= high
    assert moved > 1000


# accounts


def test_accounts_do_not_depend_on_how_many_there_are() -> None:
    assert World(accounts=3, seed=7).addresses == World(accounts=9, seed=7).addresses[:3]
    assert make_account(7, 5, Markets()) == make_account(7, 5, Markets())
    assert len({address_of(seed, i) for seed in range(5) for i in range(50)}) == 250


def test_positions_range_from_none_to_forty_on_three_kinds_of_dex() -> None:
    world = World(accounts=200, seed=1)
    counts = [len(account.cores[MAIN_DEX].positions) for account in world.accounts.values()]
    assert min(counts) == 0 and max(counts) == 40
    assert counts[1] == 40 and counts[2] == 0  # the corner cases come first, for small worlds
    for dex in world.dexes:
        held = [p for a in world.accounts.values() if dex in a.cores for p in a.cores[dex].positions]
        assert any(not position.is_cross for position in held)
        order = [asset.name for asset in world.markets.dexes[dex].assets]
        for account in world.accounts.values():
            names = [p.asset.name for p in account.cores[dex].positions] if dex in account.cores else []
            assert names == sorted(names, key=order.index)
    assert len(world.dexes) >= 3


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_no_account_is_ever_below_its_maintenance_margin(seed: int) -> None:
    world = World(accounts=60, seed=seed)
    for _ in range(50):
        world.tick()
    for text in everything(world):
        state = json.loads(text)
        value = Decimal(state["crossMarginSummary"]["accountValue"])
        assert value >= Decimal(state["crossMaintenanceMarginUsed"])
        for row in state["assetPositions"]:
            assert Decimal(row["position"]["marginUsed"]) > 0


# the world


def test_the_same_seed_gives_the_same_bytes() -> None:
    one, other, third = World(accounts=12, seed=4), World(accounts=12, seed=4), World(accounts=12, seed=5)
    assert everything(one) == everything(other) != everything(third)
    for world in (one, other):
        for _ in range(25):
            world.tick()
    assert everything(one) == everything(other)
    assert one.mids(MAIN_DEX) == other.mids(MAIN_DEX)


def test_states_move_with_the_marks_and_only_at_a_tick() -> None:
    world = World(accounts=4, seed=1)
    user = world.addresses[1]
    before = world.state(user, MAIN_DEX, NOW)
    assert world.state(user, MAIN_DEX, NOW + 900) is before  # rendered once for all readers
    world.tick()
    after = json.loads(world.state(user, MAIN_DEX, NOW + 1000))
    assert after["time"] == NOW + 1000
    changed = [
        left["position"]["positionValue"] != right["position"]["positionValue"]
        for left, right in zip(json.loads(before)["assetPositions"], after["assetPositions"], strict=True)
    ]
    assert sum(changed) > len(changed) / 2
    for row in after["assetPositions"]:
        position = row["position"]
        mark = Decimal(position["positionValue"]) / abs(Decimal(position["szi"]))
        decimals = next(m.decimals for m in world.markets.dexes[""].markets if m.coin == position["coin"])
        shown = Decimal(world.marks("")[position["coin"]]).scaleb(-decimals)
        assert abs(mark - shown) < Decimal("1e-6") * shown


def test_time_never_goes_back() -> None:
    world = World(accounts=2, seed=1)
    first = ask(world, "clearinghouseState", user=world.addresses[0])["time"]
    world.tick()
    earlier = NOW - 60_000  # the clock was set back
    assert ask(world, "clearinghouseState", earlier, user=world.addresses[0])["time"] == first
    assert ask(world, "exchangeStatus", earlier)["time"] == first
    assert ask(world, "clearinghouseState", earlier, user="0x" + "5c" * 20)["time"] == first


def test_market_data_is_aligned_the_way_clients_need_it() -> None:
    world = World(accounts=1, seed=1)
    dexes = ask(world, "perpDexs")
    assert dexes[0] is None
    assert ("", *(dex["name"] for dex in dexes[1:])) == tuple(world.dexes)
    assert len(ask(world, "allPerpMetas")) == len(dexes)
    for dex in world.dexes:
        meta, contexts = ask(world, "metaAndAssetCtxs", dex=dex)
        assert meta == ask(world, "meta", dex=dex)
        assert len(meta["universe"]) == len(contexts)
        assert all((coin["name"].split(":")[0] == dex) == bool(dex) for coin in meta["universe"])
        tables = dict(meta["marginTables"])
        for coin, context in zip(meta["universe"], contexts, strict=True):
            table = tables.get(coin["marginTableId"])
            assert coin["maxLeverage"] == (
                table["marginTiers"][0]["maxLeverage"] if table else coin["marginTableId"]
            )
            mids = ask(world, "allMids", dex=dex)
            assert context["midPx"] == mids[coin["name"]]
            assert abs(float(context["markPx"]) / float(context["oraclePx"]) - 1) < 0.001
    spot, contexts = ask(world, "spotMetaAndAssetCtxs")
    assert [token["index"] for token in spot["tokens"]] == list(range(len(spot["tokens"])))
    listed = {pair["name"] for pair in spot["universe"]}
    assert listed < {context["coin"] for context in contexts}  # join by coin: more contexts than pairs
    assert listed < set(ask(world, "allMids"))
    assert list(ask(world, "allMids")) == sorted(ask(world, "allMids"))
    assert not listed & set(ask(world, "allMids", dex="xyz"))


def test_margin_tables_of_the_meta_are_those_of_the_arithmetic() -> None:
    for dex in Markets().dexes.values():
        tables = dict(dex.meta["marginTables"])
        for coin, asset in zip(dex.meta["universe"], dex.assets, strict=True):
            listed = tables.get(
                coin["marginTableId"], {"marginTiers": [{"maxLeverage": coin["marginTableId"]}]}
            )
            assert [tier["maxLeverage"] for tier in listed["marginTiers"]] == [
                t.max_leverage for t in asset.tiers
            ]


def test_spot_balances_print_as_the_wire_does() -> None:
    text = spot_state_text([(0, "4.5", "0.0"), (2, "0.00112123", "0.04955")], ["USDC", "PURR", "HYPE"])
    assert json.loads(text)["balances"][1] == {
        "coin": "HYPE", "token": 2, "total": "0.00112123", "hold": "0.0", "entryNtl": "0.04955",
    }  # fmt: skip
    world = World(accounts=30, seed=1)
    states = [ask(world, "spotClearinghouseState", user=user) for user in world.addresses]
    assert any(state["balances"] for state in states)
    assert ask(world, "spotClearinghouseState", user="0x" + "5c" * 20) == {"balances": []}
    assert ask(world, "userRole", user=world.addresses[0]) == {"role": "user"}


def test_mids_lie_between_mark_and_the_next_tick() -> None:
    walk = Walk([Market("BTC", 1, 972_400, 0.0), Market("kPEPE", 6, 11_384, 0.0)], Random(1))
    assert json.loads(mids_text([walk])) == {"BTC": "97240.5", "kPEPE": "0.0113845"}
