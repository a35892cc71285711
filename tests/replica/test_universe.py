"""Which coins there are, as the lists say."""

import json
from pathlib import Path
from typing import Any

import pytest

from replica.subscription import Subscription
from replica.universe import Universe


def text(value: Any) -> bytes:
    return json.dumps(value).encode()


METAS = text(
    [
        {"universe": [{"name": "BTC", "szDecimals": 5}, {"name": "OLD", "isDelisted": True}]},
        {"universe": [{"name": "xyz:XYZ100"}]},
    ]
)
SPOTS = text({"universe": [{"name": "PURR/USDC", "index": 0}, {"name": "@107", "index": 107}], "tokens": []})
OUTCOMES = text({"outcomes": [{"outcome": 9115, "sideSpecs": [{"name": "Yes"}, {"name": "No"}]}]})


def whole() -> Universe:
    universe = Universe().with_dexes(("", "xyz")).with_all_perp_metas(METAS)
    return universe.with_spot_meta(SPOTS).with_outcome_meta(OUTCOMES)


@pytest.mark.parametrize("coin", ["BTC", "OLD", "xyz:XYZ100", "PURR/USDC", "@107", "#91150", "#91151"])
def test_a_listed_coin_is_known(coin: str) -> None:
    assert whole().knows_coin(coin) is True


@pytest.mark.parametrize(
    "coin",
    ["btc", "XYZ100", "XYZ:XYZ100", "PURR", "@0", "@1070", "#91152", "#9115", "", "purr/USDC", "+91150"],
)
def test_a_name_that_is_not_listed_is_no_coin(coin: str) -> None:
    assert whole().knows_coin(coin) is False


@pytest.mark.parametrize("coin", ["BTC", "@107", "PURR/USDC", "#91150"])
def test_before_its_list_was_read_nobody_knows(coin: str) -> None:
    assert Universe().knows_coin(coin) is None


def test_dexes() -> None:
    assert Universe().knows_dex("") is True
    assert Universe().knows_dex("xyz") is None
    assert whole().knows_dex("xyz") is True
    assert whole().knows_dex("zyx") is False


@pytest.mark.parametrize(
    ("fields", "read", "unread"),
    [
        ({"type": "trades", "coin": "@107"}, True, None),
        ({"type": "trades", "coin": "NOPE"}, False, None),
        ({"type": "activeAssetData", "user": "0xa1", "coin": "BTC"}, True, None),
        ({"type": "activeAssetData", "user": "0xa1", "coin": "@107"}, False, False),
        ({"type": "activeAssetData", "user": "0xa1", "coin": "#91150"}, False, False),
        ({"type": "openOrders", "user": "0xa1"}, True, True),
        ({"type": "openOrders", "user": "0xa1", "dex": "xyz"}, True, None),
        ({"type": "allMids", "dex": "zyx"}, False, None),
        ({"type": "userFills", "user": "0xa1"}, True, True),
        ({"type": "nextYears", "coin": "NOPE", "dex": "zyx"}, True, True),
    ],
)
def test_a_subscription_is_known_by_the_names_in_it(
    fields: dict[str, Any], read: bool, unread: bool | None
) -> None:
    assert whole().knows(Subscription(fields)) is read
    assert Universe().knows(Subscription(fields)) is unread


def test_what_is_missing_is_every_list_that_was_not_read() -> None:
    assert whole().missing == ()
    assert Universe().missing == ("dexes", "perps", "spots", "outcomes")
    assert Universe().with_spot_meta(SPOTS).with_dexes(("",)).without_outcomes().missing == ("perps",)


@pytest.mark.parametrize("body", [b"", b"null", b"[]x", b'{"universe":5}', b'[{"universe":null}]', b"\xff"])
def test_an_answer_that_is_something_else_changes_nothing(body: bytes) -> None:
    universe = whole()
    assert universe.with_all_perp_metas(body) is universe
    assert universe.with_spot_meta(body) is universe
    assert universe.with_outcome_meta(body) is universe
    assert universe.with_dexes(None) is universe


def test_one_meta_a_dex_makes_the_same_universe_but_only_with_all_of_them() -> None:
    parts: list[bytes | None] = [text(meta) for meta in json.loads(METAS)]
    assert Universe().with_metas(parts) == Universe().with_all_perp_metas(METAS)
    assert Universe().with_metas([parts[0], None]).perps is None


def test_outcomes_that_were_read_stay_when_the_type_is_gone() -> None:
    assert whole().without_outcomes() == whole()


@pytest.mark.recorded
@pytest.mark.parametrize(
    ("name", "known", "unknown"),
    [
        ("meta__gohl_meta.json", "BTC", "btc"),
        ("meta__gohl_meta_with_dex.json", "BTC", "nothing"),
        ("spotMeta__gohl_meta_and_asset_ctxs.json", "@107", "@99999999"),
    ],
)
def test_recorded_lists_are_read(recorded_dir: Path, name: str, known: str, unknown: str) -> None:
    body = text(json.loads((recorded_dir / "info" / name).read_text())["response"])
    spot = name.startswith("spot")
    universe = Universe().with_spot_meta(body) if spot else Universe().with_metas([body])
    assert universe.knows_coin(known) is True
    assert universe.knows_coin(unknown) is False
