"""Clients on /ws of the whole program, with a devnode behind it."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

from hyperliquid.utils.signing import sign_l1_action
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.callers import Site
from tests.upstream import TRADER
from tests.virtual import ALICE, EPOCH, World, serving

USER = TRADER.address.lower()


class Client:
    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self.frames: list[dict[str, Any]] = []
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        with contextlib.suppress(ConnectionClosed):
            async for text in self.connection:
                self.frames.append(json.loads(text))

    async def say(self, method: str, **more: Any) -> None:
        await self.connection.send(json.dumps({"method": method, **more}))

    async def subscribe(self, type_: str, **fields: Any) -> None:
        await self.say("subscribe", subscription={"type": type_, **fields})

    async def first(self, channel: str, after: int = 0) -> Any:
        """The data of the first frame of a channel, of those from number `after` on, come or to come."""
        async with asyncio.timeout(60):
            while True:
                for frame in self.frames[after:]:
                    if frame["channel"] == channel:
                        return frame.get("data")
                await asyncio.sleep(0.01)

    def of(self, channel: str) -> list[Any]:
        return [frame["data"] for frame in self.frames if frame["channel"] == channel]


@contextlib.asynccontextmanager
async def client(site: Site, path: str = "/ws") -> AsyncIterator[Client]:
    async with connect(f"ws://127.0.0.1:{site.port}{path}", ping_interval=None) as connection:
        yield Client(connection)


def subscribes(world: World) -> list[dict[str, Any]]:
    return [m["subscription"] for m in world.upstream.messages if m["method"] == "subscribe"]


def order(world: World, price: str, tif: str) -> bytes:
    """The trader buys a little BTC, or bids for it."""
    row = {"a": 0, "b": True, "p": price, "s": "0.001", "r": False, "t": {"limit": {"tif": tif}}}
    action = {"type": "order", "orders": [row], "grouping": "na"}
    nonce = world.upstream.now_ms()
    signature = sign_l1_action(TRADER, action, None, nonce, None, False)
    body = {"action": action, "nonce": nonce, "signature": signature, "vaultAddress": None}
    return json.dumps(body).encode()


async def test_many_share_one_subscription_and_join_at_once() -> None:
    async with serving() as (world, site), client(site) as first:
        await first.subscribe("l2Book", coin="BTC", nSigFigs=None)
        book = await first.first("l2Book")
        for _ in range(5):
            async with client(site) as late:
                await late.subscribe("l2Book", coin="BTC")
                began = asyncio.get_running_loop().time()
                assert (await late.first("l2Book"))["coin"] == book["coin"] == "BTC"
                assert asyncio.get_running_loop().time() - began < 0.1
        assert [s["type"] for s in subscribes(world)] == ["l2Book"]


async def test_a_bad_coin_costs_its_client_an_error_and_nobody_a_connection() -> None:
    async with serving() as (world, site), client(site) as it, client(site) as other:
        await other.subscribe("allMids")
        await other.first("allMids")
        connections = world.upstream.stats.connections
        for coin in ("btc", "NOPE", "XYZ:TSLA", "@99999", "#1"):
            await it.subscribe("trades", coin=coin)
        await it.subscribe("trades", coin="BTC")
        await it.first("subscriptionResponse")
        await asyncio.sleep(1)
        assert len(it.of("error")) == 5
        assert all(
            text.startswith('Invalid subscription {"type":"trades","coin":') for text in it.of("error")
        )
        assert world.upstream.stats.connections == connections
        assert len(other.of("subscriptionResponse")) == 1


async def test_a_reconnect_upstream_is_nothing_but_data() -> None:
    async with serving(reconnect_min_s=0.1, reconnect_max_s=0.2) as (world, site), client(site) as it:
        await it.subscribe("userFills", user=USER, aggregateByTime=False)
        await it.subscribe("allMids")
        await it.first("userFills")
        await it.first("allMids")
        world.upstream.abort()
        seen = len(it.frames)
        await it.first("allMids", after=seen)
        assert len(it.of("subscriptionResponse")) == 2
        assert [data.get("isSnapshot") for data in it.of("userFills")] == [True]


async def test_while_the_upstream_is_down_a_subscription_is_taken_and_data_follow() -> None:
    async with serving(reconnect_min_s=0.1, reconnect_max_s=0.2) as (world, site), client(site) as it:
        await it.subscribe("trades", coin="BTC")  # so that the universe is read
        await it.first("subscriptionResponse")
        world.upstream.refuse_connections()
        world.upstream.abort()
        seen = len(it.frames)
        began = asyncio.get_running_loop().time()
        await it.subscribe("l2Book", coin="BTC")
        assert (await it.first("subscriptionResponse", after=seen))["subscription"]["type"] == "l2Book"
        assert 3 <= asyncio.get_running_loop().time() - began < 5
        assert not it.of("l2Book")
        await world.upstream.accept_connections()
        assert (await it.first("l2Book"))["coin"] == "BTC"
        assert len(it.of("subscriptionResponse")) == 2 and not it.of("error")


async def test_who_has_left_keeps_nobody_from_an_account() -> None:
    async with serving(upstream_users=1) as (world, site):
        async with client(site) as first:
            await first.subscribe("userFills", user=ALICE)
            await first.first("userFills")
            async with client(site) as refused:
                await refused.subscribe("userFills", user=USER)
                assert await refused.first("error") == "Cannot track more than 1 total users."
        async with client(site) as second:
            await second.subscribe("userFills", user=USER)
            assert (await second.first("userFills"))["user"] == USER
            assert not second.of("error")
        assert [s["user"] for s in subscribes(world)] == [ALICE, USER]


async def test_posts_are_answered_as_over_http_and_a_write_raises_the_floor_of_its_client() -> None:
    async with serving(ALICE) as (world, site), client(site, "/mine/ws") as it:
        request = {"type": "clearinghouseState", "user": ALICE}
        await it.say("post", id=1, request={"type": "info", "payload": request})
        answer = await it.first("post")
        assert answer["response"]["payload"]["data"]["marginSummary"]["accountValue"] == "0.0"
        assert not world.upstream.calls("clearinghouseState")  # out of memory
        row = {"a": 0, "b": True, "p": "50000", "s": "0.001", "r": False, "t": {"limit": {"tif": "Gtc"}}}
        action = {"type": "order", "orders": [row], "grouping": "na"}
        nonce = int((EPOCH + asyncio.get_running_loop().time()) * 1000)
        signed = {
            "action": action,
            "nonce": nonce,
            "signature": sign_l1_action(TRADER, action, None, nonce, None, False),
        }
        seen = len(it.frames)
        await it.say("post", id=2, request={"type": "action", "payload": signed})
        answer = await it.first("post", after=seen)
        assert answer["id"] == 2 and answer["response"]["payload"]["status"] == "ok"
        assert world.upstream.writes == [json.dumps(signed).encode()]
        caller = await site.call()
        reply = await caller.ask(request, "/mine/info")
        assert reply.source != "memory", "older than the write"


async def test_ready_counts_the_clients() -> None:
    async with serving() as (world, site), client(site) as it:
        await it.subscribe("allMids")
        await it.first("allMids")
        said = (await world.ready()).json
        counted = said["clients"]
        assert (counted["connected"], counted["subscriptions"], counted["shared"]) == (1, 1, 1)
        assert said["streams"]["frames"] >= 1
        assert said["streams"]["faults"] == said["feed"]["faults"] == 0


async def test_a_stop_of_the_program_is_told_to_its_clients() -> None:
    async with serving() as (_, site), client(site) as it:
        await it.subscribe("allMids")
        await it.first("allMids")
        site.stop()
        await it.connection.wait_closed()
        assert (it.connection.close_code, it.connection.close_reason) == (1012, "service restart")


async def test_frames_without_a_channel_reach_who_asked_for_them() -> None:
    async with (
        serving() as (world, site),
        connect(f"ws://127.0.0.1:{site.port}/ws", ping_interval=None) as it,
    ):
        await it.send('{"method":"subscribe","subscription":{"type":"explorerBlock"}}')
        assert json.loads(await it.recv())["channel"] == "subscriptionResponse"
        assert await it.recv() == "[]"
        world.upstream.say('[{"height":7}]')
        assert await it.recv() == '[{"height":7}]'


async def test_of_an_upstream_that_goes_silent_nothing_old_is_shown_and_no_row_is_lost() -> None:
    # The connection stands and its pongs come: only the books, whose cadence is known, tell.
    async with serving() as (world, site), client(site) as it:
        await it.subscribe("l2Book", coin="BTC")
        await it.subscribe("userFills", user=USER)
        await it.subscribe("orderUpdates", user=USER)
        await asyncio.sleep(20)
        world.upstream.faults.go_silent()
        assert (await world.write(order(world, "120000", "Ioc"))).status == 200
        await asyncio.sleep(60)
        async with client(site) as late:
            await late.subscribe("l2Book", coin="BTC")
            await late.first("subscriptionResponse")
            await asyncio.sleep(5)
            assert not late.of("l2Book")
        tids = [fill["tid"] for data in it.of("userFills") for fill in data["fills"]]
        assert len(tids) == 1, "asked for over HTTP"
        assert [row["status"] for rows in it.of("orderUpdates") for row in rows] == ["filled"]
        world.upstream.faults.speak_again()
        seen = len(it.frames)
        await it.first("l2Book", after=seen)
        assert (await world.write(order(world, "120000", "Ioc"))).status == 200
        await asyncio.sleep(30)
        fills = json.loads(world.upstream.says("userFills", user=USER))[::-1]
        told = [fill for data in it.of("userFills") for fill in data["fills"]]
        assert told == fills and len(fills) == 2
        assert len(it.of("subscriptionResponse")) == 3
