"""`/exchange` on the engine: who signed, for which network, how fresh, and what comes of it."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from server.devnode import Devnode
from server.devnode.engine.invariants import check
from server.devnode.market import Exchange
from tests.server.devnode.client import http
from tests.server.devnode.market.trader import BTC, SOL, Trader, row

Start = Callable[..., Awaitable[Devnode]]
DAY_MS = 86_400_000
NOOP = {"type": "noop"}
OK = {"status": "ok", "response": {"type": "default"}}


def engine_of(node: Devnode) -> Any:
    assert isinstance(node.source, Exchange)
    return node.source.engine


async def test_a_signer_is_born_with_the_faucets_money_and_trades(devnode: Start) -> None:
    node = await devnode()
    bot = Trader(node)
    assert await bot.ask("userRole") == {"role": "missing"}
    status = await bot.buy("90000", "0.01")
    oid = status["resting"]["oid"]
    assert await bot.ask("userRole") == {"role": "user"}
    state = await bot.ask("clearinghouseState")
    assert state["marginSummary"]["accountValue"] == "10000.0"
    assert state["withdrawable"] == "9955.0"  # 900 USD at the default 20x are held back
    assert [order["oid"] for order in await bot.ask("openOrders")] == [oid]
    assert (await bot.ask("orderStatus", oid=oid))["order"]["status"] == "open"
    filled = (await bot.buy("98000", "0.01", tif="Ioc"))["filled"]
    fills = await bot.ask("userFills")
    assert (fills[0]["oid"], fills[0]["px"]) == (filled["oid"], filled["avgPx"])
    held = (await bot.ask("clearinghouseState"))["assetPositions"][0]["position"]
    assert (held["coin"], held["szi"]) == ("BTC", "0.01")
    check(engine_of(node).ground)


async def test_without_a_faucet_a_stranger_is_named_as_recovered(devnode: Start) -> None:
    node = await devnode(faucet_usd=0)
    bot = Trader(node)
    text = f"User or API Wallet {bot.address} does not exist."
    assert await bot.send(NOOP) == {"status": "err", "response": text}
    text = f"Must deposit before performing actions. User: {bot.address}"
    assert await bot.usd_send("0x" + "5c" * 20, "1") == {"status": "err", "response": text}
    node.fund(bot.address, "500.5")
    assert await bot.send(NOOP) == OK
    assert (await bot.ask("clearinghouseState"))["withdrawable"] == "500.5"


async def test_nonces_are_used_once_and_within_the_window(devnode: Start) -> None:
    node = await devnode(tick_s=3600.0)
    bot, now = Trader(node), node.clock.now_ms()
    assert await bot.send(NOOP, nonce=now) == OK
    again = await bot.send(NOOP, nonce=now)
    assert again == {"status": "err", "response": f"Invalid nonce: duplicate nonce {now}"}
    for nonce in (now - 3 * DAY_MS, now + 2 * DAY_MS):
        refused = await bot.send(NOOP, nonce=nonce)
        assert refused["response"].startswith("Invalid nonce: nonce too ")
    # Whose clock does not know of /dev/advance is still let in, by the clock that both live by.
    node.advance(10 * 86_400)
    assert await bot.send(NOOP, nonce=now + 5) == OK


async def test_what_expired_is_refused_and_costs_the_nonce(devnode: Start) -> None:
    node = await devnode()
    bot, now = Trader(node), node.clock.now_ms()
    assert (await bot.send(NOOP, expires=now - 1))["response"] == "Action already expired"
    assert await bot.send(NOOP, expires=now + 60_000) == OK


async def test_either_network_signs_where_it_can_be_told(devnode: Start) -> None:
    node = await devnode(faucet_usd=0)
    bot, other = Trader(node, 1), Trader(node, 1, mainnet=True)
    node.fund(bot.address, 100)
    assert await bot.send(NOOP) == OK
    other._nonce = bot.nonce()
    assert await other.send(NOOP) == OK  # known: so it signed for the other network
    assert await other.usd_send("0x" + "5c" * 20, "1") == OK  # such an action names its network
    node = await devnode(chain="mainnet", faucet_usd=100)
    stranger = Trader(node, 3, mainnet=True)
    assert await stranger.send(NOOP) == OK
    assert await stranger.ask("userRole") == {"role": "user"}


async def test_a_master_acts_for_its_sub_account_and_nobody_else_does(devnode: Start) -> None:
    node = await devnode()
    bot, other = Trader(node, 1), Trader(node, 2)
    sub = (await bot.send({"type": "createSubAccount", "name": "one"}))["response"]["data"]
    transfer = {"type": "subAccountTransfer", "subAccountUser": sub, "isDeposit": True, "usd": 2_000_000_000}
    assert await bot.send(transfer) == OK
    assert "filled" in (await bot.order(row(SOL, True, "190", "1", "Ioc"), vault=sub))[0]
    subs = await bot.ask("subAccounts")
    assert [one["subAccountUser"] for one in subs] == [sub]
    assert subs[0]["clearinghouseState"]["assetPositions"][0]["position"]["szi"] == "1.0"
    assert await bot.ask("userFills") == []
    assert await other.order(row(SOL, True, "190", "1", "Ioc"), vault=sub) == f"Vault not registered: {sub}"
    role = (await http(node.port, {"type": "userRole", "user": sub})).json
    assert role == {"role": "subAccount", "data": {"master": bot.address}}
    check(engine_of(node).ground)


@pytest.mark.parametrize(
    "action",
    [
        {"type": "updateLeverage", "asset": 0, "isCross": True},
        {"type": "updateLeverage", "asset": 0, "isCross": True, "leverage": 2.5},
        {"type": "usdSend", "destination": 5, "amount": "1"},
        {"type": "createSubAccount"},
        {"type": "twapOrder", "twap": {"a": 0}},
        {"type": "scheduleCancel", "time": "soon"},
        {"type": "order", "orders": [], "grouping": "na", "builder": {"b": "x", "f": 1}},
    ],
)
async def test_actions_without_their_fields_do_not_deserialise(devnode: Start, action: object) -> None:
    node = await devnode()
    body = {"action": action, "nonce": 1, "signature": {"r": "0x1", "s": "0x2", "v": 27}}
    reply = await http(node.port, body, path="/exchange")
    assert reply.status == 422
    assert engine_of(node).journal == []


async def test_refusals_are_the_engines_and_signatures_must_be_numbers_of_the_curve(devnode: Start) -> None:
    node = await devnode()
    bot = Trader(node)
    assert await bot.buy("90000", "0.0001") == {"error": "Order must have minimum value of $10. asset=0"}
    assert await bot.order() == "Orders are empty"
    cancels = {"type": "cancel", "cancels": [{"a": BTC, "o": 1}]}
    said = (await bot.send(cancels))["response"]["data"]["statuses"]
    assert said == [{"error": "Order was never placed, already canceled, or filled. asset=0"}]
    body = bot.signed(NOOP)
    body["signature"] = {"r": "0x0", "s": "0x2", "v": 27}
    reply = await http(node.port, body, path="/exchange")
    assert reply.json == {"status": "err", "response": "Unable to recover signer."}


async def test_the_requests_of_an_address_are_counted(devnode: Start) -> None:
    bot = Trader(await devnode())
    await bot.order(*[row(BTC, True, f"{80000 + i}", "0.001") for i in range(5)])
    await bot.send(NOOP)
    limit = await bot.ask("userRateLimit")
    assert limit == {"cumVlm": "0.0", "nRequestsUsed": 6, "nRequestsCap": 10000, "nRequestsSurplus": 0}


async def test_orders_share_a_millisecond_until_somebody_is_told_of_it(devnode: Start) -> None:
    node = await devnode(paused=True, time_ms=1_700_000_000_000)
    bot = Trader(node)
    told = [(await bot.ask("clearinghouseState"))["time"]]
    for number in range(4):
        await bot.buy("90000", "0.01")
        await bot.buy("90001", "0.01")
        one, other = (order["timestamp"] for order in (await bot.ask("openOrders"))[:2])
        assert one == other > told[-1]
        kind = ("l2Book", "clearinghouseState")[number % 2]
        told.append((await bot.ask(kind, coin="BTC"))["time"])
    assert told == sorted(set(told))


async def test_time_does_not_go_back_with_a_revert(devnode: Start) -> None:
    node = await devnode(paused=True, time_ms=1_700_000_000_000)
    bot = Trader(node)
    number, told = node.snapshot(), list[int]()
    for _ in range(3):
        for kind in ("clearinghouseState", "l2Book", "exchangeStatus"):
            told.append((await bot.ask(kind, coin="BTC"))["time"])
        await bot.buy("98000", "0.01", tif="Ioc")
        node.step(3)
        told.append((await bot.ask("l2Book", coin="BTC"))["time"])
        node.revert(number)
    assert told == sorted(told)
