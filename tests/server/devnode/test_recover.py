"""The arithmetic against the exchange: recorded states are taken apart and must come out the same again."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from server.devnode.clearinghouse import MICRO, Asset, Core, Position, render, tiers_of
from server.devnode.recordings import read_states
from tests.server.devnode.recover import NotRecoverable, infer_extra, recover, scaled

BTC = Asset("BTC", 5, tiers_of([(0, 40)]))

# Recorded states that today's arithmetic does not explain, and why. Everything else must match in every
# field, to the last digit.
NOT_TODAYS = {
    "clearinghouseState__pysdk_get_user_state.json": "2023: other fields and another denominator of ROE",
    "clearinghouseState__pysdk_get_user_state_5cd901.json": "2023",
    "pysdk_cassette_2023_063bf44.json": "2023",
    "pysdk_cassette_2023_5cd9019.json": "2023",
    "dzmbs_perpetuals_1708622398623.json": "2024: printed with 8 decimals, older liquidation formula",
    "may2024_mixed_1714834365581.json": "2024",
    "allDexsClearinghouseState__gct_two_dexes.jsonl": "edited by the author of the test it comes from",
    "clearinghouseState__gct_default_and_xyz.jsonl": "edited by the author of the test it comes from",
}
# Unified accounts: collateral outside of the dex, one constant per account, makes their liquidation
# prices. With the constant that one row implies, all rows must match.
UNIFIED = {"bytex_btc_long_1790360864964.json"}


@pytest.mark.recorded
def test_every_recorded_state_of_today_is_reproduced_to_the_last_digit(
    recorded_dir: Path, recorded_assets: Mapping[str, Asset]
) -> None:
    checked = rows = 0
    wrong = []
    for recorded in read_states(recorded_dir):
        name = recorded.name.partition("#")[0]
        state = json.loads(recorded.body)
        if name in NOT_TODAYS and state["assetPositions"]:
            continue
        recovered = recover(state, dict(recorded_assets) | _unlisted(state, recorded_assets))
        core = recovered.core
        if name in UNIFIED:
            core = replace(core, extra=infer_extra(state, recovered))
            assert core.extra > 0
        again = json.loads(render(core, recovered.marks, state["time"]))
        wrong += [f"{name}: {difference}" for difference in _differences(state, again)]
        checked += 1
        rows += len(state["assetPositions"])
    assert not wrong, "\n".join(wrong)
    assert checked >= 15, f"only {checked} states: the folder is not the one this proof was made on"
    assert rows >= 200, f"only {rows} positions: the 139-position account is missing"


@pytest.mark.recorded
def test_a_recorded_body_comes_out_byte_for_byte(
    recorded_dir: Path, recorded_assets: Mapping[str, Asset]
) -> None:
    name = "info/clearinghouseState__gareth_139_positions_a.json"
    state = json.loads((recorded_dir / name).read_bytes())["response"]
    recovered = recover(state, recorded_assets)
    assert render(recovered.core, recovered.marks, state["time"]) == json.dumps(state, separators=(",", ":"))


@pytest.mark.recorded
def test_every_implied_mark_is_a_legal_price(
    recorded_dir: Path, recorded_assets: Mapping[str, Asset]
) -> None:
    # `recover` refuses a value that is no whole number of ticks times the size.
    name = "info/clearinghouseState__gareth_139_positions_a.json"
    state = json.loads((recorded_dir / name).read_bytes())["response"]
    assert len(recover(state, recorded_assets).marks) == 139


def test_an_edited_payload_is_refused() -> None:
    state = json.loads(render(Core(MICRO, (Position(BTC, 7, 7_000_000, 5),)), {"BTC": 1_000_000}, 1))
    state["assetPositions"][0]["position"]["positionValue"] = "7.000001"
    with pytest.raises(NotRecoverable, match="BTC"):
        recover(state, {"BTC": BTC})


def test_the_margin_of_resting_orders_shows_as_withheld() -> None:
    # ccxt issue 23997, recorded: one resting buy of 0.0005 BTC at 65000 on a flat account, at 2x.
    state = json.loads(render(Core(51_643_870, (), order_margin=16_250_000), {}, 1))
    assert state["withdrawable"] == "35.39387"
    assert recover(state, {}).core.order_margin == 16_250_000


def test_outside_collateral_is_inferred_from_a_liquidation_price() -> None:
    core = Core(10_000 * MICRO, (Position(BTC, -45_000, -45_000 * 950_000, 10),), extra=8_346_913_850)
    state = json.loads(render(core, {"BTC": 839_260}, 1))
    recovered = recover(state, {"BTC": BTC})
    assert abs(infer_extra(state, recovered) - core.extra) <= 1
    flat = json.loads(render(Core(5), {}, 1))
    assert infer_extra(flat, recover(flat, {})) == 0


def test_a_maximum_of_the_account_replaces_the_table_of_the_coin() -> None:
    core = Core(MICRO, (Position(BTC, 7, 7_000_000, 5, tiers=tiers_of([(0, 50)])),))
    state = json.loads(render(core, {"BTC": 1_000_000}, 1))
    assert state["assetPositions"][0]["position"]["maxLeverage"] == 50
    assert recover(state, {"BTC": BTC}).core == core


def _unlisted(state: Mapping[str, Any], listed: Mapping[str, Asset]) -> dict[str, Asset]:
    """Coins of builder dexes, whose `meta` was not recorded. Their szDecimals are those that explain the
    printed entry price; the margin table is the single tier that the position prints."""
    found = {}
    for row in state["assetPositions"]:
        position = row["position"]
        if position["coin"] not in listed:
            candidates = (
                Asset(position["coin"], decimals, tiers_of([(0, position["maxLeverage"])]))
                for decimals in range(6)
            )
            found[position["coin"]] = next(one for one in candidates if _explains(one, position))
    return found


def _explains(asset: Asset, position: Mapping[str, Any]) -> bool:
    state = {
        "assetPositions": [{"position": position}],
        "crossMarginSummary": {"accountValue": "0.0", "totalRawUsd": "0.0"},
        "withdrawable": "0.0",
    }
    if scaled(position["szi"], asset.sz_decimals) * 10 ** (6 - asset.sz_decimals) != scaled(
        position["szi"], 6
    ):
        return False
    try:
        recovered = recover(state, {asset.name: asset})
    except NotRecoverable:
        return False
    again = json.loads(render(recovered.core, recovered.marks, 1))
    return bool(again["assetPositions"][0]["position"]["entryPx"] == position["entryPx"])


def _differences(recorded: Any, rendered: Any, path: str = "") -> list[str]:
    if isinstance(recorded, dict) and isinstance(rendered, dict):
        keys = sorted(recorded.keys() | rendered.keys())
        return [
            line
            for key in keys
            for line in _differences(
                recorded.get(key, "absent"), rendered.get(key, "absent"), f"{path}.{key}"
            )
        ]
    if isinstance(recorded, list) and isinstance(rendered, list) and len(recorded) == len(rendered):
        return [
            line
            for i, (left, right) in enumerate(zip(recorded, rendered, strict=True))
            for line in _differences(left, right, f"{path}[{i}]")
        ]
    return [] if recorded == rendered else [f"{path}: recorded {recorded!r}, rendered {rendered!r}"]
