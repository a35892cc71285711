"""Answers and frames beside those that were recorded: the same keys, in the same order, of the same kinds."""

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from server.devnode import Devnode
from tests.server.devnode.client import Client, http
from tests.server.devnode.market.shapes import Shape, differences
from tests.server.devnode.market.tap import Tap
from tests.server.devnode.market.trader import BTC, ETH, Trader, row

pytestmark = pytest.mark.recorded
Start = Callable[..., Awaitable[Devnode]]
Connect = Callable[[Devnode], Awaitable[Client]]
T0 = 1_700_000_000_000

# Of a transfer between sub-accounts, which nobody recorded; the catalogue has them.
TRANSFER = (".delta.user", ".delta.destination")
# A recording of each type, the newest that is whole; and what has been added to the wire since.
ANSWERS = (
    ("activeAssetData__gohl_user_active_asset_data", {"coin": "BTC"}, ()),
    ("allMids__gohl_all_mids_with_dex", {"dex": "xyz"}, ()),
    ("candleSnapshot__pysdk_get_candles_snapshot_2", {}, ()),
    ("clearinghouseState__gareth_20250716", {}, ()),
    ("frontendOpenOrders__jkorf_one", {}, (".cloid",)),
    ("fundingHistory__pysdk_get_funding_history_None", {"coin": "BTC", "startTime": 0}, ()),
    ("historicalOrders__axon_stop", {}, (".cloid", ".tif")),
    ("l2Book__eugene_l2book_btc_nsf4", {"coin": "BTC", "nSigFigs": 4}, ()),
    ("meta__gohl_meta_with_dex", {"dex": "xyz"}, (".growthMode", ".lastGrowthModeChangeTime")),
    ("metaAndAssetCtxs__gohl_meta_and_asset_ctxs_2", {}, (".collateralToken",)),
    ("openOrders__hftbt_one_order", {}, (".cloid", ".reduceOnly")),
    ("perpDexLimits__gohl_perp_dex_limits", {"dex": "xyz"}, ()),
    ("perpDexs__gohl_perp_dexs", {}, (".assetToFundingInterestRate",)),
    ("portfolio__pysdk_portfolio", {}, ()),
    ("spotClearinghouseState__gareth_a", {}, ()),
    ("spotMetaAndAssetCtxs__gohl_spot_meta_and_asset_ctxs", {}, ()),
    ("subAccounts__jkorf_one", {}, ()),
    ("userFees__gareth_20250716", {}, (".feeTrialEscrow", ".feeTrialReward")),  # renamed
    ("userFunding__jkorf_one", {}, ()),
    ("userNonFundingLedgerUpdates__jkorf_ledger", {}, TRANSFER),
    ("userRateLimit__pysdk_user_rate_limit", {}, (".nRequestsSurplus",)),
    ("webData2__gareth_20250716", {}, (".spotAssetCtxs", ".collateralToken")),
)
# The cassettes that sorted the keys, or a candle of 2023.
UNORDERED = ("candleSnapshot", "openOrders", "fundingHistory")
# Subscriptions whose frames were recorded, whole.
FRAMES: tuple[dict[str, Any], ...] = (
    {"type": "activeAssetCtx", "coin": "BTC"},
    {"type": "activeAssetCtx", "coin": "@1"},
    {"type": "allDexsAssetCtxs"},
    {"type": "allMids"},
    {"type": "bbo", "coin": "BTC"},
    {"type": "candle", "coin": "BTC", "interval": "1m"},
    {"type": "l2Book", "coin": "BTC", "nSigFigs": 3},
    {"type": "trades", "coin": "BTC"},
)
# In no recording of orderUpdates, but of the same object elsewhere; only of unified accounts; only in what
# comes first, and of some channels nothing else was recorded.
RARE = (".reduceOnly", ".tokenToAvailableAfterMaintenance", ".isSnapshot", ".delta.toPerp", *TRANSFER)
ACCOUNT_FRAMES = (
    "allDexsClearinghouseState", "clearinghouseState", "openOrders", "orderUpdates", "spotState",
    "userEvents", "userFills", "userFundings", "userNonFundingLedgerUpdates", "notification", "webData3",
)  # fmt: skip


async def history(node: Devnode) -> Trader:
    """An account to which everything has happened that was recorded of any."""
    bot = Trader(node)
    await bot.buy("98000", "0.01", tif="Ioc")
    await bot.buy("90000", "0.01", c="0x" + "0" * 31 + "1")
    trigger = {"trigger": {"isMarket": True, "triggerPx": "80000", "tpsl": "sl"}}
    await bot.order(row(BTC, False, "79000", "0.01") | {"t": trigger, "r": True})
    sub = (await bot.send({"type": "createSubAccount", "name": "one"}))["response"]["data"]
    transfer = {"type": "subAccountTransfer", "subAccountUser": sub, "isDeposit": True, "usd": 20_000_000}
    await bot.send(transfer)
    node.impersonate(bot.address, {"type": "usdClassTransfer", "amount": "50", "toPerp": False, "nonce": 1})
    node.advance(3600)
    return bot


def lines(folder: Path) -> list[Any]:
    """Every frame that was recorded; the frames of user channels were anonymised by who published them."""
    found = []
    for path in sorted((folder / "ws").glob("*.jsonl")):
        for line in path.read_text().splitlines():
            message = json.loads(line)
            found.append(message.get("msg", message))
    found.append(json.loads((folder / "ws" / "allDexsAssetCtxs__nautilus.json").read_bytes()))
    return [one for one in found if isinstance(one, dict) and "channel" in one]


def plain(value: Any, kind: str) -> Any:
    """Coins are keys of mids: what is compared is their values."""
    if kind == "allMids":
        return list(value.get("mids", value).values())
    return value


async def test_answers_are_shaped_as_recorded(devnode: Start, recorded_dir: Path) -> None:
    node = await devnode(paused=True, time_ms=T0, impersonation=True)
    bot = await history(node)
    for name, fields, since in ANSWERS:
        kind = name.partition("__")[0]
        wanted = {"type": kind, "user": bot.address, **fields}
        if kind == "candleSnapshot":
            wanted["req"] = {"coin": "BTC", "interval": "1m", "startTime": 0}
        reply = await http(node.port, wanted)
        assert reply.status == 200 and reply.json not in ([], None), kind
        ours = Shape().see(plain(reply.json, kind))
        recorded = json.loads((recorded_dir / "info" / f"{name}.json").read_bytes())["response"]
        found = differences(ours, Shape().see(plain(recorded, kind)), ordered=kind not in UNORDERED)
        assert [one for one in found if not one.partition(":")[0].endswith(since)] == [], kind


async def test_frames_are_shaped_as_recorded(devnode: Start, connect: Connect, recorded_dir: Path) -> None:
    node = await devnode(paused=True, time_ms=T0, impersonation=True)
    tap, mine = Tap(await connect(node)), Trader(node).address
    for form in FRAMES + tuple({"type": kind, "user": mine} for kind in ACCOUNT_FRAMES):
        await tap.subscribe(**form)
    bot = await history(node)
    maker = Trader(node, 2)
    await maker.buy("97300", "0.01")
    await bot.sell("97300", "0.01", tif="Ioc")
    await bot.sell("97300", "0.01", asset=ETH)
    node.push()
    await tap.drain()
    recorded: dict[str, Shape] = {}
    for frame in lines(recorded_dir):
        if "data" in frame:
            recorded.setdefault(frame["channel"], Shape()).see(plain(frame["data"], frame["channel"]))
    told = {frame["channel"] for frame in tap.frames}
    assert told >= {
        "user",
        "orderUpdates",
        "userFills",
        "userFundings",
        "bbo",
        "trades",
        "activeSpotAssetCtx",
    }
    for channel in sorted(told & recorded.keys()):
        for frame in tap.of(channel):
            found = differences(Shape().see(plain(frame, channel)), recorded[channel])
            assert [one for one in found if not one.partition(":")[0].endswith(RARE)] == [], channel
