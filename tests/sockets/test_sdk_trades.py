"""The official Python client trades on the devnode: directly, and through our own server."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest
from eth_account import Account
from hyperliquid.exchange import Exchange
from hyperliquid.info import Info

from server.devnode.engine.invariants import check
from tests.sockets.bots import FRIEND, Bot, ok, served


def orders(base_url: str) -> None:
    bot = Bot(base_url, 1)
    exchange, info = bot.exchange, bot.info
    resting = bot.statuses(exchange.order("ETH", True, 0.2, 3000, {"limit": {"tif": "Gtc"}}))[0]["resting"]
    assert info.query_order_by_oid(bot.address, resting["oid"])["order"]["status"] == "open"
    modified = exchange.modify_order(resting["oid"], "ETH", True, 0.1, 3005.5, {"limit": {"tif": "Gtc"}})
    oid = bot.statuses(modified)[0]["resting"]["oid"]
    assert [row["limitPx"] for row in info.open_orders(bot.address)] == ["3005.5"]
    assert bot.statuses(exchange.cancel("ETH", oid)) == ["success"]
    assert "error" in bot.statuses(exchange.cancel("ETH", oid))[0]
    assert info.open_orders(bot.address) == []
    opened = bot.statuses(exchange.market_open("ETH", True, 0.5))[0]["filled"]
    assert (opened["totalSz"], bot.size("ETH")) == ("0.5", "0.5")
    assert info.user_fills(bot.address)[0]["oid"] == opened["oid"]
    # A take profit and a stop, and then they go with the position.
    for trigger, kind in ((3800.0, "tp"), (3000.0, "sl")):
        order = {"trigger": {"triggerPx": trigger, "isMarket": True, "tpsl": kind}}
        assert (
            "resting" in bot.statuses(exchange.order("ETH", False, 0.5, trigger, order, reduce_only=True))[0]
        )
    kinds = {row["orderType"] for row in info.frontend_open_orders(bot.address)}
    assert kinds == {"Take Profit Market", "Stop Market"}
    closed = bot.statuses(exchange.market_close("ETH"))[0]["filled"]
    assert (closed["totalSz"], bot.size("ETH")) == ("0.5", "0.0")
    limit = {"limit": {"tif": "Alo"}}
    batch = [
        {
            "coin": "BTC",
            "is_buy": True,
            "sz": 0.001,
            "limit_px": 80000 + i,
            "order_type": limit,
            "reduce_only": False,
        }
        for i in range(10)
    ]
    found = bot.statuses(exchange.bulk_orders(batch))
    assert len({row["resting"]["oid"] for row in found}) == 10
    cancels = [{"coin": "BTC", "oid": row["resting"]["oid"]} for row in found]
    assert bot.statuses(exchange.bulk_cancel(cancels)) == ["success"] * 10
    statuses = [row["status"] for row in info.historical_orders(bot.address)][:20]
    assert statuses == ["canceled"] * 10 + ["open"] * 10


def accounts(base_url: str) -> None:
    bot = Bot(base_url, 2)
    exchange, info = bot.exchange, bot.info
    ok(exchange.update_leverage(7, "BTC"))
    bot.statuses(exchange.market_open("BTC", True, 0.01))
    leverage = info.user_state(bot.address)["assetPositions"][0]["position"]["leverage"]
    assert leverage == {"type": "cross", "value": 7}
    ok(exchange.update_leverage(3, "SOL", is_cross=False))
    bot.statuses(exchange.market_open("SOL", False, 2))
    ok(exchange.update_isolated_margin(50, "SOL"))
    ok(exchange.usd_transfer(100, FRIEND))
    assert info.user_state(FRIEND)["withdrawable"] == "100.0"
    ok(exchange.usd_class_transfer(500, False))
    bot.statuses(exchange.market_open("PURR/USDC", True, 100))
    purr = next(row for row in info.spot_user_state(bot.address)["balances"] if row["coin"] == "PURR")
    token = next(row for row in info.spot_meta()["tokens"] if row["name"] == "PURR")
    ok(exchange.spot_transfer(10, FRIEND, f"PURR:{token['tokenId']}"))
    assert info.spot_user_state(FRIEND)["balances"][0]["total"] == "10.0"
    assert float(purr["total"]) == pytest.approx(100, rel=0.01)
    ok(exchange.withdraw_from_bridge(20, bot.address))
    kinds = [row["delta"]["type"] for row in info.user_non_funding_ledger_updates(bot.address, 0)]
    assert kinds == ["deposit", "internalTransfer", "accountClassTransfer", "spotTransfer", "withdraw"]


def helpers(base_url: str) -> None:
    bot = Bot(base_url, 3)
    exchange, info = bot.exchange, bot.info
    answer, key = exchange.approve_agent("helper")
    ok(answer)
    agent = Account.from_key(key)
    assert info.user_role(agent.address) == {"role": "agent", "data": {"user": bot.address.lower()}}
    theirs = Exchange(agent, base_url, account_address=bot.address)
    bot.statuses(theirs.market_open("BTC", True, 0.01))
    assert bot.size("BTC") == "0.01"
    # Money is not an agent's affair: as a signer of its own it is a stranger.
    assert theirs.usd_transfer(1, FRIEND)["status"] == "err"
    sub = exchange.create_sub_account("second")["response"]["data"]
    ok(exchange.sub_account_transfer(sub, True, 1_000_000_000))
    of_sub = Exchange(bot.key, base_url, vault_address=sub)
    assert "filled" in bot.statuses(of_sub.market_open("SOL", True, 1))[0]
    assert info.query_sub_accounts(bot.address)[0]["subAccountUser"] == sub
    assert bot.size("SOL") == "0.0" and len(info.user_fills(sub)) == 1


@pytest.mark.parametrize("through_us", [False, True], ids=["devnode", "hl-replica"])
@pytest.mark.parametrize("story", [orders, accounts, helpers])
async def test_it_trades(story: Callable[[str], None], through_us: bool) -> None:
    async with served(through_us) as (base_url, node):
        await asyncio.to_thread(story, base_url)
        check(node.source.engine.ground)  # type: ignore[attr-defined]


async def test_its_websocket_is_told() -> None:
    async with served(False) as (base_url, _):

        def story() -> None:
            bot = Bot(base_url, 4)
            info = Info(base_url)
            heard: dict[str, list[Any]] = {}
            try:
                for kind in ("userFills", "orderUpdates", "userEvents"):
                    info.subscribe({"type": kind, "user": bot.address}, heard.setdefault(kind, []).append)  # type: ignore
                for kind in ("l2Book", "trades", "bbo"):
                    info.subscribe({"type": kind, "coin": "BTC"}, heard.setdefault(kind, []).append)  # type: ignore
                for kind, wanted in (("userFills", 1), ("l2Book", 1), ("bbo", 1)):
                    _until(lambda kind=kind, wanted=wanted: len(heard[kind]) >= wanted)  # type: ignore[misc]
                filled = bot.statuses(bot.exchange.market_open("BTC", True, 0.01))[0]["filled"]
                for kind in ("orderUpdates", "userEvents", "trades"):
                    _until(lambda kind=kind: bool(heard[kind]))  # type: ignore[misc]
                _until(lambda: len(heard["userFills"]) >= 2)
                assert heard["userFills"][1]["data"]["fills"][0]["oid"] == filled["oid"]
                assert heard["orderUpdates"][0]["data"][-1]["status"] == "filled"
                assert heard["trades"][0]["data"][0]["users"][0] == bot.address.lower()
            finally:
                info.disconnect_websocket()
                assert info.ws_manager is not None
                info.ws_manager.join(10)

        await asyncio.to_thread(story)


def _until(done: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not done():
        assert time.monotonic() < end
        time.sleep(0.01)
