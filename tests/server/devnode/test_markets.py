"""The lists of markets, and that what is positional to them is aligned with them."""

from collections.abc import Awaitable, Callable
from typing import Any

from server.devnode import Devnode
from server.devnode.markets import Markets
from tests.server.devnode.client import http


async def test_market_data_is_aligned_the_way_clients_need_it(
    devnode: Callable[..., Awaitable[Devnode]],
) -> None:
    node = await devnode(accounts=1)

    async def ask(kind: str, **fields: object) -> Any:
        return (await http(node.port, {"type": kind, **fields})).json

    dexes = await ask("perpDexs")
    assert dexes[0] is None
    assert ["", *(dex["name"] for dex in dexes[1:])] == list(Markets().dexes)
    assert len(await ask("allPerpMetas")) == len(dexes)
    for dex in Markets().dexes:
        meta, contexts = await ask("metaAndAssetCtxs", dex=dex)
        mids = await ask("allMids", dex=dex)
        assert meta == await ask("meta", dex=dex)
        assert len(meta["universe"]) == len(contexts)
        assert all((coin["name"].split(":")[0] == dex) == bool(dex) for coin in meta["universe"])
        for coin, context in zip(meta["universe"], contexts, strict=True):
            assert context["midPx"] == mids[coin["name"]]
            assert abs(float(context["markPx"]) / float(context["oraclePx"]) - 1) < 0.001
    spot, contexts = await ask("spotMetaAndAssetCtxs")
    assert [token["index"] for token in spot["tokens"]] == list(range(len(spot["tokens"])))
    listed = {pair["name"] for pair in spot["universe"]}
    assert listed < {context["coin"] for context in contexts}  # join by coin: more contexts than pairs
    mids = await ask("allMids")
    assert listed < set(mids) and list(mids) == sorted(mids)
    assert not listed & set(await ask("allMids", dex="xyz"))


def test_margin_tables_of_the_meta_are_those_of_the_arithmetic() -> None:
    for dex in Markets().dexes.values():
        tables = dict(dex.meta["marginTables"])
        for coin, asset in zip(dex.meta["universe"], dex.assets, strict=True):
            single = {"marginTiers": [{"maxLeverage": coin["marginTableId"]}]}
            tiers = tables.get(coin["marginTableId"], single)["marginTiers"]
            assert [tier["maxLeverage"] for tier in tiers] == [tier.max_leverage for tier in asset.tiers]
            assert coin["maxLeverage"] == asset.max_leverage
