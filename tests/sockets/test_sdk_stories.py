"""What the official client's own examples show, done with it: on the devnode, and through our server."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from hyperliquid.exchange import Exchange
from hyperliquid.utils.signing import get_timestamp_ms
from hyperliquid.utils.types import Cloid

from server.devnode.client import DevnodeClient
from server.devnode.engine.invariants import check
from tests.sockets.bots import FRIEND, Bot, ok, served

GTC: Any = {"limit": {"tif": "Gtc"}}


def client_order_ids(base_url: str, dev: DevnodeClient) -> None:
    bot = Bot(base_url, 11)
    exchange, info = bot.exchange, bot.info
    first, second = Cloid.from_int(1), Cloid.from_int(2)
    resting = bot.statuses(exchange.order("ETH", True, 0.2, 1500, GTC, cloid=first))[0]["resting"]
    assert resting["cloid"] == first.to_raw()
    found = info.query_order_by_cloid(bot.address, first)["order"]
    assert (found["status"], found["order"]["oid"]) == ("open", resting["oid"])
    moved = bot.statuses(exchange.modify_order(first, "ETH", True, 0.1, 1600, GTC, cloid=second))[0]
    assert moved["resting"]["cloid"] == second.to_raw()
    assert [row["cloid"] for row in info.open_orders(bot.address)] == [second.to_raw()]
    assert bot.statuses(exchange.cancel_by_cloid("ETH", second)) == ["success"]
    assert info.query_order_by_cloid(bot.address, second)["order"]["status"] == "canceled"
    assert "never placed" in bot.statuses(exchange.cancel_by_cloid("ETH", first))[0]["error"]


def a_dead_mans_switch(base_url: str, dev: DevnodeClient) -> None:
    bot = Bot(base_url, 12)
    exchange, info = bot.exchange, bot.info
    bot.statuses(exchange.order("ETH", True, 0.2, 1500, GTC))
    ok(exchange.schedule_cancel(get_timestamp_ms() + 10_000))
    ok(exchange.schedule_cancel(None))
    dev.advance(11)
    assert len(info.open_orders(bot.address)) == 1
    ok(exchange.schedule_cancel(dev.status()["time"] + 10_000))
    dev.advance(11)
    assert info.open_orders(bot.address) == []
    assert info.historical_orders(bot.address)[0]["status"] == "scheduledCancel"


def brackets(base_url: str, dev: DevnodeClient) -> None:
    bot = Bot(base_url, 13)
    exchange, info = bot.exchange, bot.info
    dev.pause()
    mark = float(info.all_mids()["ETH"])

    def leg(kind: str, px: float) -> dict[str, Any]:
        trigger = {"trigger": {"isMarket": True, "triggerPx": px, "tpsl": kind}}
        worst = px if kind == "tp" else round(px * 0.9)
        return side(False, worst, trigger, reduce_only=True)

    def side(is_buy: bool, px: float, order_type: Any, reduce_only: bool = False) -> dict[str, Any]:
        return {
            "coin": "ETH",
            "is_buy": is_buy,
            "sz": 0.02,
            "limit_px": px,
            "order_type": order_type,
            "reduce_only": reduce_only,
        }

    high, low = round(mark * 1.05), round(mark * 0.95)
    parent = side(True, round(mark * 1.01), GTC)
    group: Any = [parent, leg("tp", high), leg("sl", low)]
    statuses = bot.statuses(exchange.bulk_orders(group, grouping="normalTpsl"))
    assert "filled" in statuses[0] and statuses[1:] == ["waitingForTrigger"] * 2, statuses
    kinds = {row["orderType"] for row in info.frontend_open_orders(bot.address)}
    assert kinds == {"Take Profit Market", "Stop Market"}
    # The price gets there: the profit is taken, and the stop has nothing left to stop.
    dev.set_mark("ETH", high + 5)
    dev.step()
    assert bot.size("ETH") == "0.0"
    bot.until(lambda: info.frontend_open_orders(bot.address) == [])
    assert info.user_fills(bot.address)[0]["dir"] == "Close Long"
    dev.set_mark("ETH", mark)
    # The same about a position that is there already.
    bot.statuses(exchange.market_open("ETH", True, 0.02))
    pair: Any = [leg("tp", high), leg("sl", low)]
    statuses = bot.statuses(exchange.bulk_orders(pair, grouping="positionTpsl"))
    assert statuses == ["waitingForTrigger"] * 2, statuses
    dev.set_mark("ETH", low - 5)
    dev.step()
    assert bot.size("ETH") == "0.0" and info.frontend_open_orders(bot.address) == []


def two_traders(base_url: str, dev: DevnodeClient) -> None:
    """Nothing between them: each signs for itself, and one's offer is the other's price."""
    maker, taker = Bot(base_url, 14), Bot(base_url, 15)
    dev.pause()
    bid, ask = (float(side[0]["px"]) for side in maker.info.l2_snapshot("BTC")["levels"])
    assert ask > bid + 1
    offered = maker.statuses(maker.exchange.order("BTC", False, 0.01, ask - 1, {"limit": {"tif": "Alo"}}))
    oid = offered[0]["resting"]["oid"]
    taken = taker.statuses(taker.exchange.order("BTC", True, 0.01, ask, {"limit": {"tif": "Ioc"}}))
    assert maker.info.query_order_by_oid(maker.address, oid)["order"]["status"] == "filled"
    sold, bought = (bot.info.user_fills(bot.address)[0] for bot in (maker, taker))
    assert (sold["oid"], bought["oid"]) == (oid, taken[0]["filled"]["oid"])
    for key in ("tid", "px", "sz", "time", "hash"):
        assert sold[key] == bought[key]
    assert (sold["crossed"], bought["crossed"]) == (False, True)
    assert float(bought["fee"]) > float(sold["fee"]) > 0
    assert (maker.size("BTC"), taker.size("BTC")) == ("-0.01", "0.01")


def spot_and_other_dexes(base_url: str, dev: DevnodeClient) -> None:
    bot = Bot(base_url, 16, perp_dexs=["", "xyz"])
    exchange, info = bot.exchange, bot.info
    ok(exchange.usd_class_transfer(1000, False))
    rests = bot.statuses(exchange.order("PURR/USDC", True, 200, 0.1, GTC))[0]["resting"]
    held = next(row for row in info.spot_user_state(bot.address)["balances"] if row["coin"] == "USDC")
    assert float(held["hold"]) == pytest.approx(20, rel=0.01)
    assert bot.statuses(exchange.cancel("PURR/USDC", rests["oid"])) == ["success"]
    bot.statuses(exchange.market_open("@1", True, 2))
    assert info.user_fills(bot.address)[0]["coin"] == "@1"
    ok(exchange.send_asset(bot.address, "spot", "xyz", "USDC", 300))
    rests = bot.statuses(exchange.order("xyz:TSLA", True, 1, 200, GTC))[0]["resting"]
    assert info.query_order_by_oid(bot.address, rests["oid"])["order"]["order"]["coin"] == "xyz:TSLA"
    assert bot.statuses(exchange.cancel("xyz:TSLA", rests["oid"])) == ["success"]
    assert "filled" in bot.statuses(exchange.market_open("xyz:TSLA", True, 0.5))[0]
    position = info.user_state(bot.address, "xyz")["assetPositions"][0]["position"]
    assert (position["coin"], position["szi"]) == ("xyz:TSLA", "0.5")
    ok(exchange.send_asset(bot.address, "xyz", "spot", "USDC", 50))
    ok(exchange.usd_class_transfer(50, True))
    assert exchange.send_asset(bot.address, "xyz", "spot", "USDC", 5000)["status"] == "err"


def sub_accounts(base_url: str, dev: DevnodeClient) -> None:
    bot = Bot(base_url, 17)
    exchange, info = bot.exchange, bot.info
    sub = exchange.create_sub_account("one")["response"]["data"]
    ok(exchange.usd_class_transfer(200, False))
    usdc = next(row for row in info.spot_meta()["tokens"] if row["name"] == "USDC")
    ok(exchange.sub_account_spot_transfer(sub, True, f"USDC:{usdc['tokenId']}", 120))
    balances = info.spot_user_state(sub)["balances"]
    assert [(row["coin"], row["total"]) for row in balances] == [("USDC", "120.0")]
    ok(exchange.sub_account_transfer(sub, True, 500_000_000))
    ok(exchange.sub_account_transfer(sub, False, 100_000_000))
    assert info.user_state(sub)["withdrawable"] == "400.0"
    of_sub = Exchange(bot.key, base_url, vault_address=sub)
    ok(of_sub.update_leverage(4, "ETH"))
    oid = bot.statuses(of_sub.order("ETH", True, 0.1, 1500, GTC))[0]["resting"]["oid"]
    assert [row["oid"] for row in info.open_orders(sub)] == [oid] and info.open_orders(bot.address) == []
    assert bot.statuses(of_sub.cancel("ETH", oid)) == ["success"]
    # Nobody else's account, and no vault: there are none.
    for other in (FRIEND, bot.address.lower()):
        refused = Exchange(bot.key, base_url, vault_address=other).order("ETH", True, 0.1, 1500, GTC)
        assert refused == {"status": "err", "response": f"Vault not registered: {other}"}
    assert exchange.vault_usd_transfer(FRIEND, True, 5_000_000)["status"] == "err"


def the_account_itself(base_url: str, dev: DevnodeClient) -> None:
    bot = Bot(base_url, 18)
    exchange, info = bot.exchange, bot.info
    ok(exchange.approve_builder_fee(FRIEND, "0.01%"))
    fee: Any = {"b": FRIEND, "f": 5}
    assert "filled" in bot.statuses(exchange.market_open("BTC", True, 0.01, builder=fee))[0]
    assert float(info.user_fills(bot.address)[0]["builderFee"]) > 0
    too_much: Any = {"b": FRIEND, "f": 50}
    assert exchange.market_open("BTC", True, 0.01, builder=too_much)["status"] == "err"
    _, nameless = exchange.approve_agent()
    assert nameless
    ok(exchange.agent_enable_dex_abstraction())
    ok(exchange.agent_set_abstraction("u"))
    ok(exchange.user_set_abstraction(bot.address, "disabled"))
    ok(exchange.use_big_blocks(True))
    nonce = get_timestamp_ms() + 60_000
    ok(exchange.noop(nonce))
    assert exchange.noop(nonce) == {
        "status": "err",
        "response": f"Invalid nonce: duplicate nonce {nonce}",
    }
    exchange.set_expires_after(get_timestamp_ms() - 1)
    assert exchange.order("BTC", True, 0.01, 50_000, GTC)["status"] == "err"
    exchange.set_expires_after(get_timestamp_ms() + 60_000)
    assert "resting" in bot.statuses(exchange.order("BTC", True, 0.01, 50_000, GTC))[0]
    exchange.set_expires_after(None)
    # Everything that rests goes at once, as a bot does that stops.
    for row in info.open_orders(bot.address):
        assert bot.statuses(exchange.cancel(row["coin"], row["oid"])) == ["success"]
    assert info.open_orders(bot.address) == []
    assert exchange.set_referrer("CODE") == {"status": "err", "response": "Referral code does not exist"}


STORIES = (
    client_order_ids,
    a_dead_mans_switch,
    brackets,
    two_traders,
    spot_and_other_dexes,
    sub_accounts,
    the_account_itself,
)


@pytest.mark.parametrize("through_us", [False, True], ids=["devnode", "hl-replica"])
@pytest.mark.parametrize("story", STORIES)
async def test_it_does_what_the_examples_do(
    story: Callable[[str, DevnodeClient], None], through_us: bool
) -> None:
    async with served(through_us) as (base_url, node):
        with DevnodeClient(f"http://127.0.0.1:{node.port}") as dev:
            await asyncio.to_thread(story, base_url, dev)
        check(node.source.engine.ground)  # type: ignore[attr-defined]
