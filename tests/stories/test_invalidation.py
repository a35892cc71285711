"""A write that passes ends what it changes, for everybody; and what is listed ends the lists."""

import asyncio
import json
from typing import Any

from hyperliquid.utils.signing import sign_agent, sign_l1_action

from replica import Subscription
from tests.server.signing.sdk import wallet
from tests.upstream import BANK, TRADER
from tests.virtual import ALICE, EPOCH, World, running, signed_order

BOT, STRANGER = "10.0.0.1", "10.9.9.9"
SLOW = ("openOrders=600", "userRole=600", "extraAgents=600", "spotClearinghouseState=600", "userFees=600")
ME = TRADER.address.lower()
NONCE = int(EPOCH * 1000) + 5


def ask(type_: str, user: str = ME) -> dict[str, Any]:
    return {"type": type_, "user": user}


async def sources(world: World, *requests: dict[str, Any]) -> list[str]:
    told = [(await world.info(request, client=STRANGER)).source for request in requests]
    await asyncio.sleep(0.01)  # nothing is written in the very moment in which a read is answered
    return told


async def test_an_order_ends_what_its_signer_trades_and_nothing_else() -> None:
    async with running(network="testnet", ttl_s=SLOW) as world:
        changed = [ask("openOrders"), ask("spotClearinghouseState"), ask("openOrders") | {"dex": "xyz"}]
        same = [ask("userRole"), ask("extraAgents"), ask("openOrders", ALICE)]
        await sources(world, *changed, *same)
        assert (await world.write(signed_order(NONCE), client=BOT)).json["status"] == "ok"
        assert await sources(world, *changed, *same) == ["upstream"] * 3 + ["memory"] * 3
        assert "BTC" in (await world.info(ask("openOrders"), client=STRANGER)).body.decode()


async def test_a_transfer_ends_what_both_sides_have() -> None:
    async with running(network="testnet", ttl_s=SLOW) as world:
        both = [ask("spotClearinghouseState", ALICE), ask("spotClearinghouseState", BANK.address)]
        await sources(world, *both, ask("openOrders", ALICE))
        await world.write(world.upstream.transfer(ALICE, 5), client=BOT)
        assert await sources(world, *both, ask("openOrders", ALICE)) == ["upstream", "upstream", "memory"]


async def test_an_agents_order_is_its_masters() -> None:
    agent = wallet(9)
    async with running(network="testnet", ttl_s=SLOW) as world:
        approval = {"type": "approveAgent", "agentAddress": agent.address, "agentName": "bot", "nonce": NONCE}
        signature = sign_agent(TRADER, approval, False)
        asked = [ask("openOrders"), ask("extraAgents"), ask("userRole", agent.address)]
        await sources(world, *asked)
        request = {"action": approval, "nonce": NONCE, "signature": signature}
        assert (await world.write(json.dumps(request).encode(), client=BOT)).json["status"] == "ok"
        assert await sources(world, *asked) == ["memory", "upstream", "upstream"]
        order = json.loads(signed_order(NONCE))["action"]
        signature = sign_l1_action(agent, order, None, NONCE + 1, None, False)
        request = {"action": order, "nonce": NONCE + 1, "signature": signature}
        assert (await world.write(json.dumps(request).encode(), client=BOT)).json["status"] == "ok"
        assert await sources(world, *asked) == ["upstream", "memory", "memory"]


async def test_a_write_of_unknown_outcome_ends_it_too_and_a_refused_one_does_not() -> None:
    async with running(network="testnet", ttl_s=SLOW) as world:
        await sources(world, ask("openOrders"))
        world.upstream.faults.answer(200, b'{"status":"err","response":"no"}', path="/exchange", times=1)
        await world.write(signed_order(NONCE), client=BOT)
        assert await sources(world, ask("openOrders")) == ["memory"]
        world.upstream.faults.hang(path="/exchange")
        assert (await world.write(signed_order(NONCE + 1), client=BOT)).status == 504
        assert await sources(world, ask("openOrders")) == ["upstream"]


async def test_an_answer_from_before_the_write_is_not_kept() -> None:
    async with running(network="testnet", ttl_s=SLOW) as world:
        world.upstream.faults.latency(1.0, type="openOrders", times=1)
        before = asyncio.create_task(world.info(ask("openOrders"), client=STRANGER))
        await asyncio.sleep(0.5)
        await world.write(signed_order(NONCE), client=BOT)
        assert (await before).status == 200
        assert await sources(world, ask("openOrders"), ask("openOrders")) == ["upstream", "memory"]


async def test_what_was_ended_may_still_stand_in() -> None:
    async with running(network="testnet", ttl_s=SLOW) as world:
        await sources(world, ask("openOrders"))
        await world.write(signed_order(NONCE), client=BOT)
        world.upstream.faults.answer(502, b"", path="/info")
        assert await sources(world, ask("openOrders")) == ["stale"]
        assert (await world.info(ask("openOrders"), client=BOT)).status == 502


async def test_a_deployment_ends_the_lists() -> None:
    async with running(network="testnet") as world:
        lists = [{"type": "meta"}, {"type": "spotMeta"}, {"type": "perpDexs"}]
        await sources(world, *lists)
        action = {"type": "spotDeploy", "genesis": {"token": 1, "maxSupply": "1"}}
        signature = sign_l1_action(TRADER, action, None, NONCE, None, False)
        request = {"action": action, "nonce": NONCE, "signature": signature}
        world.upstream.faults.answer(200, b'{"status":"ok","response":{"type":"default"}}', path="/exchange")
        await world.write(json.dumps(request).encode())
        assert await sources(world, *lists) == ["upstream"] * 3


async def test_a_coin_that_was_listed_ends_the_lists_and_what_was_said_of_it() -> None:
    async with running(error_ttl_s=600) as world:
        replica = world.program.replica
        await replica.refresh_universe()
        candles = {"type": "candleSnapshot", "req": {"coin": "NEW", "interval": "1m", "startTime": 0}}
        world.upstream.faults.answer(500, b"null", type="candleSnapshot", times=1)
        await world.info(candles)
        assert await sources(world, {"type": "meta"}, {"type": "meta"}) == ["upstream", "memory"]
        await asyncio.sleep(61)
        await sources(world, {"type": "meta"})
        await replica.refresh_universe()
        assert await sources(world, {"type": "meta"}) == ["memory"]  # nothing was listed
        await asyncio.sleep(61)
        await sources(world, {"type": "meta"})
        metas = json.loads(world.upstream.says("allPerpMetas"))
        metas[0]["universe"].append({"name": "NEW", "szDecimals": 2, "maxLeverage": 3})
        world.upstream.faults.answer(200, json.dumps(metas).encode(), type="allPerpMetas")
        await replica.refresh_universe()
        assert replica.knows(Subscription({"type": "trades", "coin": "NEW"}))
        assert await sources(world, {"type": "meta"}) == ["upstream"]
        assert (await world.info(candles)).source == "upstream"


async def test_a_push_with_another_number_of_contexts_ends_the_lists() -> None:
    async with running(keeps=True) as world:
        replica = world.program.replica
        subscription = Subscription({"type": "spotAssetCtxs"})
        await world.until(lambda: replica.reading.latest(subscription) is not None)
        lists = [{"type": "meta"}, {"type": "spotMeta"}]
        assert await sources(world, *lists, *lists) == ["upstream", "upstream", "memory", "memory"]
        latest = replica.reading.latest(subscription)
        assert latest is not None
        rows = json.loads(latest[0])
        world.upstream.say(json.dumps({"channel": "spotAssetCtxs", "data": [*rows, rows[-1]]}))
        await asyncio.sleep(0.1)
        assert await sources(world, *lists) == ["upstream", "upstream"]
