"""`/info` on the engine: shapes, order of rows, unknown accounts, what is malformed."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from server.devnode import Devnode
from server.devnode.accounts import make_account
from server.devnode.clearinghouse import Core, render
from server.devnode.engine.account import Order
from server.devnode.engine.book import Book
from server.devnode.engine.events import Terms
from server.devnode.markets import Markets
from server.devnode.prices import legal
from tests.server.devnode.client import http
from tests.server.devnode.market.trader import ETH, PURR, Trader, row

Start = Callable[..., Awaitable[Devnode]]
UNKNOWN = "0x" + "5c" * 20
MALFORMED = b"Failed to deserialize the JSON body into the target type"


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        ({"type": "noSuchType"}, 422, MALFORMED),
        ({"type": "l2Book"}, 422, MALFORMED),
        ({"type": "l2Book", "coin": 5}, 422, MALFORMED),
        ({"type": "l2Book", "coin": "NOPE"}, 200, b"null"),
        ({"type": "l2Book", "coin": "BTC", "nSigFigs": "5"}, 422, MALFORMED),
        ({"type": "l2Book", "coin": "BTC", "nSigFigs": 5, "mantissa": 1}, 500, b"null"),
        ({"type": "l2Book", "coin": "BTC", "nSigFigs": 6}, 500, b"null"),
        ({"type": "recentTrades", "coin": "NOPE"}, 500, b"null"),
        ({"type": "recentTrades", "coin": "BTC"}, 200, b"[]"),
        ({"type": "candleSnapshot", "coin": "BTC"}, 422, MALFORMED),
        (
            {"type": "candleSnapshot", "req": {"coin": "BTC", "interval": "2m", "startTime": 0}},
            422,
            MALFORMED,
        ),
        ({"type": "candleSnapshot", "req": {"coin": "NO", "interval": "1m", "startTime": 0}}, 500, b"null"),
        ({"type": "fundingHistory", "coin": "BTC"}, 422, MALFORMED),
        ({"type": "fundingHistory", "coin": "BTC", "startTime": -1}, 422, MALFORMED),
        ({"type": "fundingHistory", "coin": "BTC", "startTime": 0}, 200, b"[]"),
        ({"type": "metaAndAssetCtxs", "dex": "nope"}, 500, b"null"),
        ({"type": "activeAssetData", "user": UNKNOWN, "coin": "PURR/USDC"}, 500, b"null"),
        ({"type": "userFees"}, 422, MALFORMED),
        ({"type": "userFills", "user": UNKNOWN, "aggregateByTime": 1}, 422, MALFORMED),
        ({"type": "userFillsByTime", "user": UNKNOWN}, 422, MALFORMED),
        ({"type": "userFunding", "user": UNKNOWN}, 200, b"[]"),
        ({"type": "maxBuilderFee", "user": UNKNOWN, "builder": UNKNOWN}, 200, b"0"),
        ({"type": "maxBuilderFee", "user": UNKNOWN}, 422, MALFORMED),
        ({"type": "subAccounts2", "user": UNKNOWN}, 200, b"null"),
        ({"type": "userAbstraction", "user": UNKNOWN}, 200, b'"default"'),
        ({"type": "twapHistory", "user": UNKNOWN}, 200, b"[]"),
        ({"type": "extraAgents", "user": UNKNOWN}, 200, b"[]"),
        ({"type": "delegations", "user": UNKNOWN}, 200, b"[]"),
        ({"type": "spotClearinghouseState", "user": UNKNOWN}, 200, b'{"balances":[]}'),
        ({"type": "marginTable", "id": 5000}, 500, b"null"),
        (
            {"type": "marginTable", "id": 5},
            200,
            b'{"description":"","marginTiers":[{"lowerBound":"0.0","maxLeverage":5}]}',
        ),
        ({"type": "batchClearinghouseStates", "users": [UNKNOWN]}, 500, b"null"),
        ({"type": "perpDexLimits", "dex": ""}, 200, b"null"),
        ({"type": "perpDexLimits"}, 422, MALFORMED),
        ({"type": "tokenDetails", "tokenId": "0x" + "0" * 32}, 500, b"null"),
        ({"type": "outcomeMeta"}, 200, b'{"outcomes":[],"questions":[]}'),
        ({"type": "settledOutcome", "outcome": 3}, 200, b"null"),
        ({"type": "settledOutcome", "outcome": "3"}, 422, MALFORMED),
        ({"type": "perpAnnotation", "coin": "BTC"}, 200, b"null"),
        ({"type": "perpAnnotation"}, 422, MALFORMED),
        ({"type": "vaultDetails", "vaultAddress": UNKNOWN}, 200, b"null"),
        ({"type": "vaultDetails"}, 422, MALFORMED),
        ({"type": "userBorrowLendInterest", "user": UNKNOWN, "startTime": 0}, 200, b"[]"),
    ],
)
async def test_the_error_matrix(devnode: Start, body: object, status: int, text: bytes) -> None:
    reply = await http((await devnode(accounts=1)).port, body)
    assert (reply.status, reply.body) == (status, text)


async def test_the_synthetic_accounts_hold_what_was_drawn_for_them(devnode: Start) -> None:
    node, markets = await devnode(accounts=20, seed=3), Markets()
    accounts = [make_account(3, number, markets) for number in range(20)]
    assert list(node.addresses) == [account.address for account in accounts]
    now = node.now_ms()
    for account in accounts:
        for name, dex in markets.dexes.items():
            marks = {market.coin: legal(market.start, market.decimals) for market in dex.markets}
            core = account.cores.get(name, Core(0))
            texts = node.source.state(account.address, name, now), render(core, marks, now)
            ours, drawn = map(orjson.loads, texts)
            for key in ("marginSummary", "crossMarginSummary", "crossMaintenanceMarginUsed", "withdrawable"):
                assert ours[key] == drawn[key]
            sizes = [[row["position"]["szi"] for row in one["assetPositions"]] for one in (ours, drawn)]
            assert sizes[0] == sizes[1]


async def test_every_type_has_an_answer_for_everybody(devnode: Start) -> None:
    node = await devnode()
    bot = Trader(node)
    await bot.buy("98000", "0.01", tif="Ioc")
    await bot.order(row(PURR, True, "0.2", "100"))
    for user in (bot.address, node.addresses[1], UNKNOWN):
        for kind in (
            "clearinghouseState", "spotClearinghouseState", "openOrders", "frontendOpenOrders",
            "historicalOrders", "userFills", "userFunding", "userNonFundingLedgerUpdates",
            "userTwapSliceFills", "twapHistory", "userFees", "userRateLimit", "userRole", "extraAgents",
            "subAccounts", "subAccounts2", "portfolio", "approvedBuilders", "referral", "userAbstraction",
            "userDexAbstraction", "userToMultiSigSigners", "userVaultEquities", "delegations",
            "delegatorSummary", "delegatorHistory", "delegatorRewards", "leadingVaults", "webData2", "isVip",
            "legalCheck", "perpsAtOpenInterestCap", "predictedFundings", "spotMetaAndAssetCtxs",
            "metaAndAssetCtxs", "allPerpMetas", "perpDexs", "exchangeStatus", "vaultSummaries",
        ):  # fmt: skip
            reply = await http(node.port, {"type": kind, "user": user})
            assert reply.status == 200, (kind, reply)
            orjson.loads(reply.body)


async def test_every_token_has_details(devnode: Start) -> None:
    node = await devnode()
    tokens = (await http(node.port, {"type": "spotMeta"})).json["tokens"]
    for token in tokens:
        said = (await http(node.port, {"type": "tokenDetails", "tokenId": token["tokenId"]})).json
        assert {name: said[name] for name in ("name", "szDecimals")} == {
            name: token[name] for name in ("name", "szDecimals")
        }
        assert float(said["midPx"]) > 0


@pytest.mark.recorded
def test_books_are_merged_as_recorded(recorded_dir: Path) -> None:
    """One book of one moment, as it is and merged in two ways: from the first follow the others."""
    found = {}
    for name in ("nsf5", "nsf5_m5", "nsf4"):
        text = (recorded_dir / "info" / f"l2Book__eugene_l2book_btc_{name}.json").read_bytes()
        found[name] = orjson.loads(text)["response"]
    book = Book()
    for is_bid, side in zip((True, False), found["nsf5"]["levels"], strict=True):
        for level in side:
            lots = [round(float(level["sz"]) * 100_000) - (level["n"] - 1)] + [1] * (level["n"] - 1)
            for number, size in enumerate(lots):
                px = round(float(level["px"]) * 10)
                terms = Terms(px * 1000 + number, "0x", 0, "BTC", is_bid, px, size, False, "Gtc", None, 0)
                book.side(is_bid).add(Order(terms, size))
    for name, sig_figs, mantissa, whole in (("nsf5_m5", 5, 5, 3), ("nsf4", 4, None, 1)):
        for ours, theirs in zip(book.levels(20, sig_figs, mantissa), found[name]["levels"], strict=True):
            told = [(level.px / 10, level.lots / 100_000, level.n) for level in ours]
            rows = [(float(level["px"]), float(level["sz"]), level["n"]) for level in theirs]
            assert told[:whole] == rows[:whole], name  # deeper ones lie beyond the twenty levels
        assert found[name]["spread"] == found["nsf5"]["spread"]


async def test_the_spread_is_that_of_the_best_prices(devnode: Start) -> None:
    node = await devnode(paused=True, time_ms=1_700_000_000_000)
    whole = (await http(node.port, {"type": "l2Book", "coin": "BTC"})).json["levels"]
    spread = float(whole[1][0]["px"]) - float(whole[0][0]["px"])
    for merged in ({"nSigFigs": 2}, {"nSigFigs": 5}, {"nSigFigs": 5, "mantissa": 5}):
        book = (await http(node.port, {"type": "l2Book", "coin": "BTC", **merged})).json
        assert float(book["spread"]) == spread
        assert sum(one["n"] for one in book["levels"][0]) == 20


async def test_web_data_has_the_recorded_keys_in_their_order(devnode: Start) -> None:
    node = await devnode()
    said = (await http(node.port, {"type": "webData2", "user": node.addresses[1]})).json
    assert list(said) == [
        "clearinghouseState", "leadingVaults", "totalVaultEquity", "openOrders", "agentAddress",
        "agentValidUntil", "cumLedger", "meta", "assetCtxs", "serverTime", "isVault", "user", "twapStates",
        "spotState", "spotAssetCtxs", "perpsAtOpenInterestCap",
    ]  # fmt: skip
    assert len(said["meta"]["universe"]) == len(said["assetCtxs"])


async def test_books_are_two_lists_of_twenty_and_can_be_merged(devnode: Start) -> None:
    node = await devnode()
    book = (await http(node.port, {"type": "l2Book", "coin": "BTC"})).json
    assert list(book) == ["coin", "time", "levels"]
    bids, asks = book["levels"]
    assert len(bids) == len(asks) == 20
    assert float(bids[0]["px"]) < float(asks[0]["px"])
    merged = (await http(node.port, {"type": "l2Book", "coin": "BTC", "nSigFigs": 3})).json
    assert list(merged) == ["coin", "time", "levels", "spread"]
    assert len(merged["levels"][0]) < 20


async def test_fills_of_one_order_can_be_taken_together(devnode: Start) -> None:
    node = await devnode()
    maker, taker = Trader(node, 1), Trader(node, 2)
    bbo = (await http(node.port, {"type": "l2Book", "coin": "ETH"})).json["levels"]
    best = float(bbo[1][0]["px"])
    for _ in range(2):
        await maker.sell(f"{best}", "0.1", asset=ETH)
    await taker.buy("3500", "20", asset=ETH, tif="Ioc")
    rows, together = await taker.ask("userFills"), await taker.ask("userFills", aggregateByTime=True)
    assert len(rows) >= 3 and len(together) == 1
    assert sum(float(one["sz"]) for one in rows) == pytest.approx(float(together[0]["sz"]))
    assert sum(float(one["fee"]) for one in rows) == pytest.approx(float(together[0]["fee"]))
    assert len(await maker.ask("userFills", aggregateByTime=True)) == 2
    since = await taker.ask("userFillsByTime", startTime=rows[-1]["time"])
    assert since == rows[::-1]
    assert await taker.ask("userFillsByTime", startTime=rows[0]["time"] + 1) == []
    trades = (await http(node.port, {"type": "recentTrades", "coin": "ETH"})).json
    assert {trade["tid"] for trade in trades} == {one["tid"] for one in rows}
    assert all(trade["users"][0] == taker.address for trade in trades)


async def test_hours_leave_fundings_candles_and_rates(devnode: Start) -> None:
    node = await devnode(accounts=3)
    bot = Trader(node)
    await bot.buy("98000", "0.01", tif="Ioc")
    before = node.now_ms()
    node.advance(2 * 3600)
    rows = await bot.ask("userFunding", startTime=before)
    assert [row["delta"]["coin"] for row in rows] == ["BTC", "BTC"]
    assert rows[0]["time"] < rows[1]["time"]
    rates = (await http(node.port, {"type": "fundingHistory", "coin": "BTC", "startTime": before})).json
    assert [row["time"] for row in rates] == [row["time"] for row in rows]
    assert [row["fundingRate"] for row in rates] == [row["delta"]["fundingRate"] for row in rows]
    for interval, least in (("1m", 120), ("15m", 8), ("1h", 2), ("1d", 1), ("1w", 1), ("1M", 1)):
        wanted = {"coin": "BTC", "interval": interval, "startTime": before, "endTime": node.now_ms()}
        candles = (await http(node.port, {"type": "candleSnapshot", "req": wanted})).json
        assert least <= len(candles) <= least + 2
        assert list(candles[0]) == ["t", "T", "s", "i", "o", "c", "h", "l", "v", "n"]
        for candle in candles:
            assert float(candle["l"]) <= min(float(candle["o"]), float(candle["c"]))
            assert float(candle["h"]) >= max(float(candle["o"]), float(candle["c"]))
        for left, right in itertools.pairwise(candles):
            assert left["T"] + 1 == right["t"]
        assert sum(candle["n"] for candle in candles) == 1


async def test_marks_move_every_second(devnode: Start) -> None:
    node = await devnode()
    said: list[Any] = []
    for _ in range(4):
        said.append((await http(node.port, {"type": "allMids"})).json)
        await asyncio.sleep(1)
    assert len({mids["BTC"] for mids in said}) == 4
    assert list(said[0]) == sorted(said[0])


async def test_what_came_into_the_perps_is_added_up_to_the_last_unit(devnode: Start) -> None:
    node = await devnode(faucet_usd=1_234_567.1)
    bot, other = Trader(node, 1), Trader(node, 2)
    await bot.usd_send(other.address, "0.3")
    await bot.usd_send(other.address, "0.000007")
    await other.usd_send(bot.address, "0.1")
    said = [(await one.ask("webData2"))["cumLedger"] for one in (bot, other)]
    assert [round(float(one) * 1e6) for one in said] == [1_234_566_899_993, 200_007]


async def test_fees_are_shown_as_they_are_charged(devnode: Start) -> None:
    node = await devnode(paused=True, time_ms=1_700_000_000_000, faucet_usd=50_000_000)
    maker, taker = Trader(node, 1), Trader(node, 2)
    await maker.sell("97240", "60")
    await taker.buy("97240", "60", tif="Ioc")
    rates = ("userCrossRate", "userAddRate", "userSpotCrossRate", "userSpotAddRate")
    said = await taker.ask("userFees")
    assert [said[name] for name in rates] == ["0.00045", "0.00015", "0.0007", "0.0004"]
    assert (said["dailyUserVlm"][-1]["userCross"], said["dailyUserVlm"][-1]["userAdd"]) == (
        "5834400.0",
        "0.0",
    )
    node.advance(86_400)
    said = await taker.ask("userFees")
    assert [said[name] for name in rates] == ["0.0004", "0.00012", "0.0006", "0.0003"]
    assert said["feeSchedule"]["tiers"]["vip"][1] == {
        "ntlCutoff": "25000000.0", "cross": "0.00035", "add": "0.00008", "spotCross": "0.0005",
        "spotAdd": "0.0002",
    }  # fmt: skip
    assert said["feeSchedule"]["cross"] == "0.00045"
