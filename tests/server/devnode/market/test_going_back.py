"""Snapshots, saves, faucets and impersonation of the exchange, as controls."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from server.devnode import Devnode
from server.devnode.engine.invariants import check
from server.devnode.market import Exchange
from tests.server.devnode.client import http
from tests.server.devnode.market.trader import BTC, Trader, row

Start = Callable[..., Awaitable[Devnode]]
T0 = 1_700_000_000_000
UNKNOWN = "0x" + "5c" * 20


def source_of(node: Devnode) -> Exchange:
    assert isinstance(node.source, Exchange)
    return node.source


async def everything(node: Devnode, bot: Trader) -> list[Any]:
    said: list[Any] = [
        await bot.ask(kind)
        for kind in ("openOrders", "userFills", "historicalOrders", "userRole", "spotClearinghouseState")
    ]
    said += [
        (await http(node.port, {"type": kind})).json for kind in ("metaAndAssetCtxs", "spotMetaAndAssetCtxs")
    ]
    candles = {"coin": "BTC", "interval": "1m", "startTime": 0}
    said.append((await http(node.port, {"type": "candleSnapshot", "req": candles})).json)
    said.append((await http(node.port, {"type": "recentTrades", "coin": "BTC"})).json)
    return said


async def test_a_revert_takes_back_orders_money_and_nonces(devnode: Start) -> None:
    node = await devnode(paused=True, time_ms=T0)
    bot = Trader(node)
    await bot.buy("90000", "0.01")
    number, before = node.snapshot(), await everything(node, bot)
    order = bot.signed(
        {"type": "order", "orders": [row(BTC, True, "98000", "0.02", "Ioc")], "grouping": "na"}
    )
    for _ in range(2):
        reply = await http(node.port, order, path="/exchange")  # the same bytes: its nonce is unused again
        assert "filled" in reply.json["response"]["data"]["statuses"][0]
        node.set_oracle("BTC", "91000")
        node.step(5)
        assert await everything(node, bot) != before
        node.revert(number)
        assert await everything(node, bot) == before
        check(source_of(node).engine.ground)


async def test_what_was_saved_is_loaded_by_another(devnode: Start) -> None:
    one = await devnode(paused=True, time_ms=T0, accounts=4, seed=9)
    bot = Trader(one)
    await bot.buy("98000", "0.01", tif="Ioc")
    await bot.buy("90000", "0.01")
    one.step(10)
    one.set_mark("ETH", "3000")
    number = one.snapshot()
    one.step(7)
    one.revert(number)  # the time that has gone by meanwhile is part of what is saved
    one.step(3)
    saved = (await http(one.port, {}, path="/dev/save")).json["result"]
    other = await devnode(paused=True, time_ms=T0 + 500_000, accounts=1)
    assert (await http(other.port, {"saved": saved}, path="/dev/load")).status == 200
    assert other.addresses == one.addresses
    assert await everything(other, Trader(other)) == await everything(one, bot)
    assert source_of(one).engine.digest() == source_of(other).engine.digest()
    for bad in ("AAAA", "e30="):
        assert (await http(other.port, {"saved": bad}, path="/dev/load")).status == 400


async def test_the_same_seed_and_requests_give_the_same_bytes(devnode: Start) -> None:
    said = []
    for wall in (1.0e9, 1.9e9):
        node = await devnode(paused=True, time_ms=T0, clock=lambda wall=wall: wall)
        bot = Trader(node)
        await bot.buy("98000", "0.01", tif="Ioc")
        await bot.sell("99000", "0.01")
        node.step(20)
        said.append([await everything(node, bot), await bot.ask("clearinghouseState"), node.now_ms()])
    assert said[0] == said[1]


async def test_money_comes_from_the_faucet_too(devnode: Start) -> None:
    node = await devnode(faucet_usd=0)
    for verb in ("fund", "faucet"):
        assert (await http(node.port, {"user": UNKNOWN, "usd": "12.5"}, path=f"/dev/{verb}")).status == 200
    state = (await http(node.port, {"type": "clearinghouseState", "user": UNKNOWN})).json
    assert state["withdrawable"] == "25.0"
    for wrong in ({"user": "0x1", "usd": 1}, {"user": UNKNOWN, "usd": "-1"}, {"user": UNKNOWN, "usd": 0}):
        assert (await http(node.port, wrong, path="/dev/faucet")).status == 400


async def test_nobody_is_impersonated_unless_it_is_allowed(devnode: Start) -> None:
    action = {"type": "order", "orders": [row(BTC, True, "90000", "0.01")], "grouping": "na"}
    shut, open_ = await devnode(), await devnode(impersonation=True)
    asked = {"user": open_.addresses[1], "action": action}
    reply = await http(shut.port, asked, path="/dev/impersonate")
    assert (reply.status, reply.body) == (400, b"impersonate: this devnode was made without impersonation")
    reply = await http(open_.port, asked, path="/dev/impersonate")
    assert "resting" in reply.json["result"]["response"]["data"]["statuses"][0]
    orders = await http(open_.port, {"type": "openOrders", "user": open_.addresses[1]})
    assert len(orders.json) == 1
    for wrong in ({"user": "0x1", "action": action}, {"user": UNKNOWN, "action": {"type": "order"}}):
        assert (await http(open_.port, wrong, path="/dev/impersonate")).status == 400


def test_chains_are_two() -> None:
    with pytest.raises(ValueError, match="chain is testnet or mainnet, not 'arbitrum'"):
        Devnode(accounts=1, chain="arbitrum")
