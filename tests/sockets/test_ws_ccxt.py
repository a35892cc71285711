"""A second real client, ccxt.pro, with all that its hyperliquid class can watch: at the devnode and at us."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from ccxt.pro.hyperliquid import hyperliquid

from tests.server.signing.sdk import wallet
from tests.sockets.scene import (
    TARGETS,
    Actor,
    Scene,
    Truth,
    comes_true,
    outage,
    rows_of,
    staged,
    told,
)

KEY = wallet(12)
USER = KEY.address.lower()
PERP, SPOT, OF_DEX = "BTC/USDC:USDC", "PURR/USDC", "XYZ-XYZ100/USDC:USDC"


class Client(hyperliquid):  # type: ignore[misc]
    """The class as it comes, whose frames are kept on the way in."""

    def __init__(self, scene: Scene) -> None:
        self.heard: dict[str, list[Any]] = {}
        api = {"public": scene.url, "private": scene.url, "ws": {"public": scene.ws_url}}
        keys = {"walletAddress": KEY.address, "privateKey": KEY.key.hex()}
        super().__init__({"urls": {"api": api}, "enableRateLimit": False, **keys})

    def handle_message(self, client: Any, message: dict[str, Any]) -> None:
        self.heard.setdefault(message["channel"], []).append(message)
        super().handle_message(client, message)

    def told(self, kind: str) -> Any:
        return rows_of(kind, self.heard.get(kind, []))


@contextlib.asynccontextmanager
async def connected(scene: Scene) -> AsyncIterator[Client]:
    client = Client(scene)
    try:
        await client.load_markets()
        yield client
    finally:
        await client.close()


@contextlib.asynccontextmanager
async def watching(*watches: Callable[[], Awaitable[Any]]) -> AsyncIterator[list[Any]]:
    """Call each again and again, as bots do; their first results. An error of any ends the test."""
    first = [asyncio.get_running_loop().create_future() for _ in watches]

    async def watch(number: int) -> None:
        while True:
            found = await watches[number]()
            if not first[number].done():
                first[number].set_result(found)

    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(watch(number)) for number in range(len(watches))]
        yield first
        for task in running:
            task.cancel()


async def all_of_it(scene: Scene, client: Client, orders_before: list[Any]) -> None:
    """Wait until it was told every event, each once and in order, and made of them what it should."""
    truth = Truth(scene.node, USER)
    updates = truth.of("orderUpdates")[len(orders_before) :]
    expected = {"orderUpdates": updates, "userFills": truth.of("userFills"), "trades": truth.of("trades")}
    for kind, rows in expected.items():
        try:
            await comes_true(lambda kind=kind, rows=rows: client.told(kind) == rows, kind)  # type: ignore[misc]
        except AssertionError:
            raise AssertionError(told(kind, rows, client.told(kind))) from None
    assert [row["id"] for row in client.trades[PERP]] == [str(row["tid"]) for row in expected["trades"]]
    assert {row["id"] for row in client.myTrades} == {str(row["tid"]) for row in expected["userFills"]}
    statuses = {str(row["order"]["oid"]): row["status"] for row in updates}
    assert {row["id"]: row["info"]["status"] for row in client.orders} == statuses
    assert "error" not in client.heard


@pytest.mark.parametrize("target", TARGETS)
async def test_all_it_can_watch(target: str) -> None:
    async with staged(target, chain="mainnet") as scene, connected(scene) as client:
        node, actor = scene.node, Actor(scene.node, USER)
        actor.round()
        before = Truth(node, USER).of("orderUpdates")
        markets = (
            lambda: client.watch_order_book(PERP),
            lambda: client.watch_order_book(SPOT),
            lambda: client.watch_order_book(OF_DEX),
            lambda: client.watch_ticker(PERP),
            lambda: client.watch_ticker(SPOT),
            lambda: client.watch_tickers(),
            lambda: client.watch_tickers([OF_DEX]),
            lambda: client.watch_ohlcv(PERP),
            lambda: client.watch_trades(PERP),
        )
        async with asyncio.timeout(60), watching(*markets) as first:
            perp, spot, of_dex, ticker, spot_ticker, mids, dex_mids, bars, trades = await asyncio.gather(
                *first
            )
            for found, coin in ((perp, "BTC"), (spot, "PURR/USDC"), (of_dex, "xyz:XYZ100")):
                levels = node.info("l2Book", coin=coin)["levels"]
                best = [[float(row["px"]), float(row["sz"])] for row in (levels[0][0], levels[1][0])]
                assert [found["bids"][0][:2], found["asks"][0][:2]] == best
            assert ticker["info"] == node.info("metaAndAssetCtxs")[1][0]
            contexts = {row["coin"]: row for row in node.info("spotMetaAndAssetCtxs")[1]}
            assert spot_ticker["info"] == contexts["PURR/USDC"]
            assert mids[PERP]["last"] == float(node.info("allMids")["BTC"])
            assert dex_mids[OF_DEX]["last"] == float(node.info("allMids", dex="xyz")["xyz:XYZ100"])
            assert bars[-1][2] >= bars[-1][4] >= bars[-1][3] > 0
            assert [row["id"] for row in trades] == [
                str(row["tid"]) for row in Truth(node, USER).of("trades")
            ]

            mine = (
                lambda: client.watch_orders(),
                lambda: client.watch_my_trades(),
                lambda: client.watch_balance(),
                lambda: client.watch_balance({"type": "spot"}),
                lambda: client.watch_positions(),
            )
            async with watching(*mine) as first:
                orders, fills, swap, spot_balance, positions = first
                assert [row["id"] for row in await fills] == [
                    str(row["tid"]) for row in Truth(node, USER).of("userFills")
                ]
                state = node.info("clearinghouseState", user=USER)
                assert (await swap)["USDC"]["total"] == float(state["marginSummary"]["accountValue"])
                assert (await spot_balance)["info"] == []
                await comes_true(lambda: "orderUpdates" in kinds(client), "it listens to its orders")
                await over_the_socket(client)
                actor.look()
                actor.round()
                node.push()
                assert (await positions)[0]["contracts"] > 0
                assert await orders
                await all_of_it(scene, client, before)
                held = node.info("clearinghouseState", user=USER)["assetPositions"][0]["position"]["szi"]
                await comes_true(lambda: size(client) == float(held), "its position")
        await leaves(client)


def size(client: Client) -> float:
    return next((float(row["info"]["position"]["szi"]) for row in client.positions), 0.0)


def kinds(client: Client) -> list[str]:
    """What the server has acknowledged."""
    return [
        frame["data"]["subscription"]["type"]
        for frame in client.heard.get("subscriptionResponse", [])
        if frame["data"]["method"] == "subscribe"
    ]


async def over_the_socket(client: Client) -> None:
    """Trade by posts."""
    bought = await client.create_order_ws(PERP, "market", "buy", 0.02, 98_000)
    assert bought["info"]["filled"]["totalSz"] == "0.02"
    resting = await client.create_order_ws(PERP, "limit", "buy", 0.01, 81_000)
    changed = await client.edit_order_ws(resting["id"], PERP, "limit", "buy", 0.02, 81_500)
    assert (await client.cancel_order_ws(changed["id"], PERP))["status"] == "success"
    rows = [
        {"symbol": PERP, "type": "limit", "side": "buy", "amount": 0.01, "price": price}
        for price in (80_000, 80_001)
    ]
    placed = await client.create_orders_ws(rows)
    canceled = await client.cancel_orders_ws([row["id"] for row in placed], PERP)
    assert [row["status"] for row in canceled] == ["success", "success"]


async def leaves(client: Client) -> None:
    """Every subscription is given up, and acknowledged as it wants it."""
    async with asyncio.timeout(20):
        for done in (
            client.un_watch_order_book(PERP),
            client.un_watch_order_book(SPOT),
            client.un_watch_ticker(PERP),
            client.un_watch_ticker(SPOT),
            client.un_watch_tickers(),
            client.un_watch_ohlcv(PERP),
            client.un_watch_trades(PERP),
            client.un_watch_orders(),
            client.un_watch_my_trades(),
            client.un_watch_balance({"type": "spot"}),
            client.un_watch_positions(),
        ):
            assert await done is True


@pytest.mark.parametrize("target", TARGETS)
async def test_it_hears_of_a_liquidation(target: str) -> None:
    async with staged(target, chain="mainnet", faucet_usd=0) as scene, connected(scene) as client:
        node = scene.node
        actor = Actor(node, USER, usd=600)
        actor.buy("0.1")
        watch = lambda: client.watch_my_liquidations(PERP)  # noqa: E731
        async with asyncio.timeout(30), watching(watch) as (liquidations,):
            await comes_true(lambda: client.heard.get("userFills"), "a snapshot")
            node.set_mark("BTC", actor.bid * 0.95)
            node.step(2)
            rows = [row for row in Truth(node, USER).of("userFills") if "liquidation" in row]
            assert rows and [row["info"] for row in await liquidations] == rows


async def test_outages_of_the_exchange_cost_it_no_event() -> None:
    async with staged("hl-replica", chain="mainnet") as scene, connected(scene) as client:
        node, actor = scene.node, Actor(scene.node, USER)
        before = Truth(node, USER).of("orderUpdates")
        watches = (
            lambda: client.watch_trades(PERP),
            lambda: client.watch_my_trades(),
            lambda: client.watch_orders(),
            lambda: client.watch_positions(),
        )
        async with asyncio.timeout(60), watching(*watches):
            await comes_true(lambda: len(kinds(client)) == len(watches), "what it watches")
            actor.round()
            connection = client.clients[scene.ws_url].connection
            for how in ("cut", "down"):
                actor.look()
                with outage(scene, how):
                    actor.round()
                    node.advance(15)
                await all_of_it(scene, client, before)
            actor.rest()  # whatever comes twice has come before it
            await all_of_it(scene, client, before)
            assert client.clients[scene.ws_url].connection is connection
