"""`/ws` on the engine: what each subscription begins with, what events send, and that /info agrees."""

import asyncio
import base64
import json
import zlib
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import websockets

from server.devnode import Devnode
from tests.server.devnode.client import Client, http
from tests.server.devnode.market.tap import Tap
from tests.server.devnode.market.trader import BTC, ETH, Trader, row

Start = Callable[..., Awaitable[Devnode]]
Connect = Callable[[Devnode], Awaitable[Client]]
ACCOUNT_KINDS = (
    "clearinghouseState", "allDexsClearinghouseState", "openOrders", "spotState", "twapStates", "webData3",
    "orderUpdates", "userEvents", "notification", "userFills", "userFundings", "userNonFundingLedgerUpdates",
    "userTwapSliceFills", "userTwapHistory", "userHistoricalOrders",
)  # fmt: skip
SILENT = ("orderUpdates", "userEvents", "notification")


async def info(node: Devnode, kind: str, **fields: Any) -> Any:
    return (await http(node.port, {"type": kind, **fields})).json


async def test_acknowledgements_are_normalised(devnode: Start, connect: Connect) -> None:
    node = await devnode()
    tap, user = Tap(await connect(node)), node.addresses[0]
    shouting = "0x" + user[2:].upper()
    for kind in ACCOUNT_KINDS:
        said = await tap.subscribe(kind, user=shouting, odd=1)
        more = {"aggregateByTime": False} if kind == "userFills" else {}
        more |= {"dex": ""} if kind in ("clearinghouseState", "openOrders", "twapStates") else {}
        assert said == {"method": "subscribe", "subscription": {"type": kind, "user": user, **more}}
    for form, filled in (
        ({"type": "l2Book", "coin": "BTC"}, {"nSigFigs": None, "mantissa": None, "fast": False}),
        ({"type": "l2Book", "coin": "BTC", "nSigFigs": 5, "mantissa": 2}, {"fast": False}),
        ({"type": "bbo", "coin": "xyz:TSLA"}, {}),
        ({"type": "trades", "coin": "@1"}, {}),
        ({"type": "candle", "coin": "BTC", "interval": "1m"}, {}),
        ({"type": "activeAssetCtx", "coin": "PURR/USDC"}, {}),
        ({"type": "activeAssetData", "user": user, "coin": "BTC"}, {}),
        ({"type": "allMids"}, {}),
        ({"type": "assetCtxs"}, {"dex": ""}),
        ({"type": "spotAssetCtxs"}, {}),
        ({"type": "allDexsAssetCtxs"}, {}),
        ({"type": "fastAssetCtxs"}, {}),
        ({"type": "outcomeMetaUpdates"}, {}),
        ({"type": "userFills", "user": user, "aggregateByTime": True}, {}),
        ({"type": "spotState", "user": node.addresses[1], "isPortfolioMargin": False}, {}),
    ):
        fields = {key: value for key, value in form.items() if key != "type"}
        assert (await tap.subscribe(str(form["type"]), **fields))["subscription"] == form | filled
        if form["type"] == "l2Book":
            wire = json.dumps(form | filled, separators=(",", ":"))
            assert await tap.subscribe("l2Book", **fields) == f"Already subscribed: {wire}"


async def test_first_frames_say_what_info_says(devnode: Start, connect: Connect) -> None:
    node = await devnode(tick_s=3600.0)
    bot, tap = Trader(node), Tap(await connect(node))
    await bot.buy("98000", "0.01", tif="Ioc")
    await bot.buy("90000", "0.01")
    user = bot.address
    for kind in ACCOUNT_KINDS:
        await tap.subscribe(kind, user=user)
    await tap.drain()
    assert {frame["channel"] for frame in tap.frames} == set(ACCOUNT_KINDS) - set(SILENT)
    snapshots = [frame for frame in tap.frames if "isSnapshot" in frame["data"]]
    assert {frame["channel"] for frame in snapshots} == {
        "userFills", "userFundings", "userNonFundingLedgerUpdates", "userTwapSliceFills", "userTwapHistory",
        "userHistoricalOrders",
    }  # fmt: skip
    assert all(
        list(one["data"])[:2] == ["isSnapshot", "user"] and one["data"]["isSnapshot"] for one in snapshots
    )
    assert tap.of("clearinghouseState")[0]["clearinghouseState"] == await bot.ask("clearinghouseState")
    assert tap.of("openOrders")[0]["orders"] == await bot.ask("frontendOpenOrders")
    assert tap.of("spotState")[0]["spotState"] == await bot.ask("spotClearinghouseState")
    assert tap.of("userFills")[0]["fills"][::-1] == await bot.ask("userFills")
    assert tap.of("userHistoricalOrders")[0]["orderHistory"][::-1] == await bot.ask("historicalOrders")
    ledger = await bot.ask("userNonFundingLedgerUpdates", startTime=0)
    assert tap.of("userNonFundingLedgerUpdates")[0]["nonFundingLedgerUpdates"] == ledger
    assert tap.of("webData3")[0]["userState"]["cumLedger"] == "10000.0"
    assert len(tap.of("webData3")[0]["perpDexStates"]) == len(node.source.dexes)


async def test_market_frames_say_what_info_says(devnode: Start, connect: Connect) -> None:
    node = await devnode(tick_s=3600.0)
    tap = Tap(await connect(node))
    for kind, fields in (
        ("allMids", {}),
        ("allMids", {"dex": "xyz"}),
        ("l2Book", {"coin": "BTC"}),
        ("l2Book", {"coin": "ETH", "fast": True}),
        ("l2Book", {"coin": "SOL", "nSigFigs": 3}),
        ("bbo", {"coin": "BTC"}),
        ("candle", {"coin": "BTC", "interval": "1h"}),
        ("activeAssetCtx", {"coin": "BTC"}),
        ("activeAssetCtx", {"coin": "@1"}),
        ("assetCtxs", {"dex": "xyz"}),
        ("spotAssetCtxs", {}),
        ("allDexsAssetCtxs", {}),
        ("fastAssetCtxs", {}),
        ("activeAssetData", {"user": node.addresses[1], "coin": "BTC"}),
    ):
        await tap.subscribe(kind, **fields)
    await tap.drain()
    mids, xyz = tap.of("allMids")
    assert "dex" not in mids and xyz["dex"] == "xyz"
    books = {frame["coin"]: frame for frame in tap.of("l2Book")}
    btc, eth, sol = (books[coin] for coin in ("BTC", "ETH", "SOL"))
    assert btc == await info(node, "l2Book", coin="BTC")
    assert eth["fast"] is True and [len(side) for side in eth["levels"]] == [5, 5]
    assert sol == await info(node, "l2Book", coin="SOL", nSigFigs=3) and "spread" in sol
    assert tap.of("bbo")[0]["bbo"] == [side[0] for side in btc["levels"]]
    wanted = {"coin": "BTC", "interval": "1h", "startTime": 0}
    assert tap.of("candle")[0] == (await info(node, "candleSnapshot", req=wanted))[-1]
    meta, contexts = await info(node, "metaAndAssetCtxs")
    assert tap.of("activeAssetCtx")[0] == {"coin": "BTC", "ctx": contexts[0]}
    spot = (await info(node, "spotMetaAndAssetCtxs"))[1]
    assert tap.of("activeSpotAssetCtx")[0]["ctx"] in spot
    assert tap.of("spotAssetCtxs")[0] == spot
    assert tap.of("assetCtxs")[0] == {
        "dex": "xyz",
        "ctxs": (await info(node, "metaAndAssetCtxs", dex="xyz"))[1],
    }
    assert [dex for dex, _ in tap.of("allDexsAssetCtxs")[0]["ctxs"]] == list(node.source.dexes)
    fast = json.loads(zlib.decompress(base64.b64decode(tap.of("fastAssetCtxs")[0]), wbits=-15))
    assert fast["BTC"] == {"markPx": contexts[0]["markPx"], "midPx": contexts[0]["midPx"]}
    assert len(fast) > len(meta["universe"])
    data = await info(node, "activeAssetData", user=node.addresses[1], coin="BTC")
    assert tap.of("activeAssetData")[0] == data


async def test_the_explorers_feeds_are_elsewhere(devnode: Start, connect: Connect) -> None:
    node = await devnode()
    client = await connect(node)
    for kind in ("explorerBlock", "explorerTxs"):
        assert (await client.subscribe(type=kind))["channel"] == "subscriptionResponse"
        assert await client.receive() == []
    await client.subscribe(type="outcomeMetaUpdates")
    node.push()
    assert await client.ask({"method": "ping"}) == {"channel": "pong"}


async def test_bbos_come_before_the_trades_of_a_block(devnode: Start, connect: Connect) -> None:
    node = await devnode(paused=True, time_ms=1_700_000_000_000)
    bot, tap = Trader(node), Tap(await connect(node))
    for kind in ("trades", "bbo"):
        await tap.subscribe(kind, coin="BTC")
    await tap.drain()
    tap.frames.clear()
    levels = (await info(node, "l2Book", coin="BTC"))["levels"][1]
    await bot.buy("98000", str(float(levels[0]["sz"]) + 0.01), tif="Ioc")
    await tap.drain()
    assert [frame["channel"] for frame in tap.frames] == ["bbo", "trades"]
    assert tap.of("bbo")[0]["bbo"][1]["px"] == levels[1]["px"]
    assert tap.of("bbo")[0]["time"] == tap.of("trades")[0][0]["time"]


async def test_a_trade_is_told_to_both_sides_and_to_the_market(devnode: Start, connect: Connect) -> None:
    node = await devnode(tick_s=3600.0)
    maker, taker = Trader(node, 1), Trader(node, 2)
    await maker.send({"type": "noop"})
    tap, other = Tap(await connect(node)), Tap(await connect(node))
    for one, user in ((tap, maker.address), (other, taker.address)):
        for kind in ("orderUpdates", "userEvents", "notification", "userFills", "userHistoricalOrders"):
            await one.subscribe(kind, user=user)
    await tap.subscribe("trades", coin="BTC")
    await tap.subscribe("bbo", coin="BTC")
    await tap.drain()
    tap.frames.clear()
    other.frames.clear()
    await maker.sell("97240", "0.01")
    await asyncio.sleep(0.01)  # another block
    await taker.buy("97240", "0.01", tif="Ioc")
    await tap.drain()
    await other.drain()
    updates = [one for frame in tap.of("orderUpdates") for one in frame]
    assert [one["status"] for one in updates] == ["open", "filled"]
    assert "user" not in updates[0] and "tif" not in updates[0]["order"]
    assert [one["status"] for frame in other.of("orderUpdates") for one in frame] == ["filled"]
    trade = tap.of("trades")[0][0]
    assert trade["users"] == [taker.address, maker.address] and trade["side"] == "B"
    for one, bot, crossed in ((tap, maker, False), (other, taker, True)):
        fill = one.of("user")[0]["fills"][0]
        assert fill == one.of("userFills")[-1]["fills"][0] == (await bot.ask("userFills"))[0]
        assert "isSnapshot" not in one.of("userFills")[-1]
        assert (fill["crossed"], fill["tid"]) == (crossed, trade["tid"])
    assert tap.of("notification") == [{"notification": "Resting order filled: Sold 0.01 BTC at $97240"}]
    assert other.of("notification") == []
    asks = [frame["bbo"][1]["px"] for frame in tap.of("bbo")]
    assert asks[0] == "97240.0" and len(asks) == 2
    # Who joins now is told of the trades of the last seconds, and nobody who joins later.
    late = Tap(await connect(node))
    await late.subscribe("trades", coin="BTC")
    await late.drain()
    assert late.of("trades") == [[trade]]
    await asyncio.sleep(30)
    later = Tap(await connect(node))
    await later.subscribe("trades", coin="BTC")
    await later.drain()
    assert later.of("trades") == []


async def test_what_an_hour_and_a_crash_bring_is_told(devnode: Start, connect: Connect) -> None:
    node = await devnode(tick_s=600.0, paused=True, time_ms=1_700_000_000_000)
    bot, tap = Trader(node), Tap(await connect(node))
    await bot.buy("98000", "1", tif="Ioc")
    for kind in ("userEvents", "userFundings", "userNonFundingLedgerUpdates", "userHistoricalOrders"):
        await tap.subscribe(kind, user=bot.address)
    await bot.buy("90000", "0.01")
    await tap.drain()
    tap.frames.clear()
    node.advance(3600)
    await tap.drain()
    live = tap.of("userFundings")[0]
    assert list(live) == ["user", "fundings"] and live["fundings"][0]["coin"] == "BTC"
    assert "hash" not in live["fundings"][0] and "type" not in live["fundings"][0]
    assert tap.of("user")[0] == {"funding": live["fundings"][0]}
    assert tap.of("userNonFundingLedgerUpdates")[0]["nonFundingLedgerUpdates"] == []
    tap.frames.clear()
    node.set_mark("BTC", "80000")
    await tap.drain()
    kinds = [next(iter(frame)) for frame in tap.of("user")]
    assert "liquidation" in kinds and "fills" in kinds and "nonUserCancel" in kinds
    assert (
        tap.of("userNonFundingLedgerUpdates")[0]["nonFundingLedgerUpdates"][0]["delta"]["type"]
        == "liquidation"
    )


async def test_cadences_are_the_exchanges_and_can_be_set(devnode: Start, connect: Connect) -> None:
    node = await devnode(cadences={"l2Book": 2.0})
    tap = Tap(await connect(node))
    for kind, fields in (
        ("l2Book", {"coin": "BTC"}),
        ("l2Book", {"coin": "BTC", "fast": True}),
        ("activeAssetCtx", {"coin": "BTC"}),
        ("candle", {"coin": "BTC", "interval": "1m"}),
        ("bbo", {"coin": "BTC"}),
        ("fastAssetCtxs", {}),
        ("allMids", {}),
    ):
        await tap.subscribe(kind, **fields)
    await tap.drain()
    tap.frames.clear()
    began = asyncio.get_running_loop().time()
    while asyncio.get_running_loop().time() < began + 60:
        tap.frames.append(await tap.client.receive())
    slow = [frame for frame in tap.of("l2Book") if "fast" not in frame]
    fast = [frame for frame in tap.of("l2Book") if "fast" in frame]
    assert len(slow) == pytest.approx(30, abs=1)
    assert len(fast) == pytest.approx(60 / 0.54, abs=2)
    assert len(tap.of("allMids")) == pytest.approx(12, abs=1)
    for channel in ("activeAssetCtx", "candle", "bbo", "fastAssetCtxs"):
        assert len(tap.of(channel)) == pytest.approx(59, abs=4), channel
    with pytest.raises(ValueError, match="no cadence 'books'"):
        Devnode(accounts=1, cadences={"books": 1})


@pytest.mark.parametrize(
    "form",
    [
        {"type": "l2Book", "coin": "NOPE"},
        {"type": "trades", "coin": "btc"},
        {"type": "bbo", "coin": "TSLA"},
        {"type": "bbo", "coin": "XYZ:TSLA"},
        {"type": "l2Book", "coin": "BTC", "nSigFigs": 6},
        {"type": "l2Book", "coin": "BTC", "nSigFigs": 4, "mantissa": 2},
        {"type": "activeAssetData", "user": "0x" + "5c" * 20, "coin": "PURR/USDC"},
    ],
)
async def test_an_unknown_coin_drops_the_socket(devnode: Start, connect: Connect, form: object) -> None:
    node = await devnode()
    client = await connect(node)
    await client.subscribe(type="allMids")
    await client.receive()
    await client.send({"method": "subscribe", "subscription": form})
    with pytest.raises(websockets.ConnectionClosedError) as end:
        await client.receive()
    assert end.value.rcvd is None and node.stats.dropped == {"fatal": 1}


@pytest.mark.parametrize(
    "form",
    [
        {"type": "webData2", "user": "0x" + "5c" * 20},
        {"type": "trades", "coin": ["BTC"]},
        {"type": "candle", "coin": "BTC", "interval": "2m"},
        {"type": "l2Book", "coin": "BTC", "nSigFigs": "5"},
        {"type": "l2Book", "coin": "BTC", "fast": 1},
        {"type": "userFills", "user": "0x1"},
        {"type": "userFills", "user": "0x" + "5c" * 20, "aggregateByTime": "yes"},
    ],
)
async def test_what_cannot_be_read_is_repeated(devnode: Start, connect: Connect, form: object) -> None:
    client = await connect(await devnode())
    raw = json.dumps({"method": "subscribe", "subscription": form})
    text = f"Error parsing JSON into valid websocket request: {raw}"
    assert await client.ask(raw) == {"channel": "error", "data": text}


async def test_actions_can_be_posted_over_the_socket(devnode: Start, connect: Connect) -> None:
    node = await devnode()
    bot, client = Trader(node), await connect(node)
    action = {"type": "order", "orders": [row(BTC, True, "90000", "0.01")], "grouping": "na"}
    request = {"type": "action", "payload": bot.signed(action)}
    reply = await client.ask({"method": "post", "id": 7, "request": request})
    payload = reply["data"]["response"]["payload"]
    oid = payload["response"]["data"]["statuses"][0]["resting"]["oid"]
    asked = {"type": "info", "payload": {"type": "orderStatus", "user": bot.address, "oid": oid}}
    reply = await client.ask({"method": "post", "id": 8, "request": asked})
    assert reply["data"]["response"]["payload"]["data"]["order"]["status"] == "open"


async def test_a_twap_is_told_slice_by_slice(devnode: Start, connect: Connect) -> None:
    node = await devnode(paused=True, time_ms=1_700_000_000_000, tick_s=10.0)
    bot, tap = Trader(node), Tap(await connect(node))
    await bot.send({"type": "noop"})
    for kind in ("twapStates", "userTwapSliceFills", "userTwapHistory", "userFills", "userEvents"):
        await tap.subscribe(kind, user=bot.address)
    twap = {"a": ETH, "b": True, "s": "1", "r": False, "m": 5, "t": False}
    answer = await bot.send({"type": "twapOrder", "twap": twap})
    number = answer["response"]["data"]["status"]["running"]["twapId"]
    node.advance(400)
    await tap.drain()
    slices = [one for frame in tap.of("userTwapSliceFills")[1:] for one in frame["twapSliceFills"]]
    assert len(slices) == 10 and {one["twapId"] for one in slices} == {number}
    assert slices[::-1] == await bot.ask("userTwapSliceFills")
    assert [frame["fills"] for frame in tap.of("userFills")] == [[]]
    history = [one for frame in tap.of("userTwapHistory") for one in frame["history"]]
    assert [one["status"]["status"] for one in history] == ["activated", "finished"]
    assert history[::-1] == await bot.ask("twapHistory")


async def test_what_happens_at_one_time_comes_in_one_frame(devnode: Start, connect: Connect) -> None:
    node = await devnode(paused=True, time_ms=1_700_000_000_000)
    maker, taker, tap = Trader(node, 1), Trader(node, 2), Tap(await connect(node))
    await tap.subscribe("trades", coin="BTC")
    for kind in ("userFills", "orderUpdates"):
        await tap.subscribe(kind, user=maker.address)
    for _ in range(3):
        await maker.sell("97240", "0.01")
        await taker.buy("97240", "0.01", tif="Ioc")
    await tap.drain()
    assert [len(frame) for frame in tap.of("trades")] == [3]
    assert [len(frame["fills"]) for frame in tap.of("userFills")] == [0, 3]
    assert [one["status"] for one in tap.of("orderUpdates")[0]] == ["open", "filled"] * 3
    assert len({one["time"] for one in tap.of("trades")[0]}) == 1


async def test_no_two_frames_tell_of_one_time(devnode: Start, connect: Connect) -> None:
    """Whatever comes in between: reads, somebody who joins, blocks, marks that are set, time that passes."""
    for paused in (True, False):
        node = await devnode(paused=paused, tick_s=0.05)
        maker, taker, tap = Trader(node, 1), Trader(node, 2), Tap(await connect(node))
        await tap.subscribe("trades", coin="ETH")
        await tap.subscribe("userFills", user=taker.address)
        for number in range(40):
            for _ in range(1 + number % 3):
                await maker.sell("3300", "0.01", asset=ETH)
                await taker.buy("3600", "0.01", asset=ETH, tif="Ioc")
            if number % 7 == 0:
                await taker.ask("clearinghouseState")
            elif number % 7 == 1:
                await tap.subscribe("userHistoricalOrders", user=f"0x{number:040x}")
            elif number % 7 == 2:
                node.step()
            elif number % 7 == 3:
                node.set_mark("ETH", 3400 + number, quietly=number % 2 == 0)
            elif number % 7 == 4:
                await asyncio.sleep(0.0004)
            elif number % 7 == 5:
                await asyncio.sleep(0.02)
        await tap.drain()
        trades = [{one["time"] for one in frame} for frame in tap.of("trades")]
        fills = [{one["time"] for one in frame["fills"]} for frame in tap.of("userFills")[1:]]
        for told in (trades, fills):
            assert len(told) > 20 and all(len(times) == 1 for times in told)
            times = [time for one in told for time in one]
            assert times == sorted(set(times))
