"""Reads that are answered from streams: in the upstream's own bytes, as new as they say, or not at all."""

import asyncio
import json
from typing import Any

import pytest

from tests.upstream import TRADER
from tests.virtual import ALICE, EPOCH, World, running, signed_order

USER = TRADER.address.lower()
OF_ACCOUNT = ("spotClearinghouseState", "openOrders", "frontendOpenOrders")


async def ask(world: World, type_: str, **fields: Any) -> Any:
    more = {name: fields.pop(name) for name in ("client", "cache_control") if name in fields}
    return await world.info({"type": type_, **fields}, **more)


def kept(world: World, type_: str) -> bool:
    return any(one.type == type_ for one in world.program.replica.mirror._kept)


async def settled(world: World) -> None:
    """All that is kept has come."""
    await world.until(lambda: kept(world, "openOrders") and kept(world, "allMids"))
    await asyncio.sleep(2)


@pytest.mark.parametrize("type_", OF_ACCOUNT)
async def test_states_of_an_account_are_read_from_memory(type_: str) -> None:
    async with running(USER, keeps=True) as world:
        await settled(world)
        assert (await world.write(signed_order(int(EPOCH * 1000)), client="10.9.9.9")).status == 200
        # No word of a write comes before the next push.
        await asyncio.sleep(8)
        before = world.upstream.calls(type_)
        answer = await ask(world, type_, user=TRADER.address)
        assert answer.source == "memory"
        assert answer.body == world.upstream.says(type_, user=USER)
        assert world.upstream.calls(type_) == before
        assert json.loads(answer.body)
        assert 0 <= float(answer.headers["x-replica-age-ms"]) < 6000
        now_ms = world.upstream.now_ms()
        assert now_ms - 9000 <= int(answer.headers["x-replica-as-of"]) <= now_ms - 2000


@pytest.mark.parametrize("type_", OF_ACCOUNT)
async def test_a_read_after_a_write_is_not_answered_by_a_push_from_before_it(type_: str) -> None:
    async with running(USER, keeps=True) as world:
        await settled(world)
        nonce = int(EPOCH * 1000)
        for number in range(12):
            await asyncio.sleep(0.7)
            assert (await world.write(signed_order(nonce + number))).status == 200
            answer = await ask(world, type_, user=USER)
            assert answer.body == world.upstream.says(type_, user=USER)
        sources = set()
        for _ in range(16):
            await asyncio.sleep(0.5)
            answer = await ask(world, type_, user=USER)
            assert answer.body == world.upstream.says(type_, user=USER)
            sources.add(answer.source)
        assert sources == {"memory", "upstream"}
        assert answer.source == "memory"


async def test_nothing_is_read_from_a_stream_whose_connection_is_lost_until_it_speaks_again() -> None:
    async with running(USER, keeps=True) as world:
        await settled(world)
        assert (await ask(world, "openOrders", user=USER)).source == "memory"
        assert (await world.write(signed_order(int(EPOCH * 1000)), client="10.9.9.9")).status == 200
        world.upstream.drop_sockets()
        await asyncio.sleep(0.01)
        for type_ in OF_ACCOUNT:
            answer = await ask(world, type_, user=USER)
            assert (answer.source, answer.body) == ("upstream", world.upstream.says(type_, user=USER))
        await asyncio.sleep(60)
        for type_ in OF_ACCOUNT:
            answer = await ask(world, type_, user=USER)
            assert (answer.source, answer.body) == ("memory", world.upstream.says(type_, user=USER))


async def test_what_is_switched_off_costs_nothing() -> None:
    async with running(USER, keeps=True, keep_account_streams=(), keep_market_streams=()) as world:
        await asyncio.sleep(60)
        assert {m["subscription"]["type"] for m in world.upstream.messages if m["method"] == "subscribe"} == {
            "allDexsClearinghouseState"
        }
        assert world.program.replica.feed.sockets == 1
        assert (await ask(world, "allMids")).source == "upstream"


async def test_one_subscription_for_the_replica_and_for_its_clients() -> None:
    async with running(ALICE, keeps=True) as world:
        await settled(world)
        mirror = world.program.replica.mirror
        subscriptions = [m["subscription"] for m in world.upstream.messages if m["method"] == "subscribe"]
        assert len(subscriptions) == len({json.dumps(one, sort_keys=True) for one in subscriptions})
        for one in tuple(mirror._kept):
            assert mirror.hold(one) is None
            assert mirror.confirmed(one)
        await asyncio.sleep(5)
        for one in tuple(mirror._kept):
            mirror.release(one)
        await asyncio.sleep(100)
        again = [m for m in world.upstream.messages if m["method"] in ("subscribe", "unsubscribe")]
        assert len(again) == len(subscriptions)
        mirror.check()


async def test_mids_and_contexts() -> None:
    options = {"upstream_weight_per_minute": 0, "upstream": {"walk": True}}
    async with running(ALICE, keeps=True, **options) as world:
        await settled(world)
        # The lists of markets are no stream's: an answer of the upstream brings them.
        for type_ in ("metaAndAssetCtxs", "spotMetaAndAssetCtxs"):
            assert (await ask(world, type_)).source == "upstream"
        seen: dict[str, set[str]] = {}
        for _ in range(200):
            await asyncio.sleep(0.61)
            for type_ in ("allMids", "metaAndAssetCtxs", "spotMetaAndAssetCtxs"):
                answer = await ask(world, type_)
                seen.setdefault(type_, set()).add(answer.source)
                assert float(answer.headers["x-replica-age-ms"]) < 6000
                truth = world.upstream.says(type_)
                assert shape(json.loads(answer.body)) == shape(json.loads(truth))
        assert seen == {type_: {"memory", "upstream"} for type_ in seen} | {"allMids": {"memory"}}


def shape(value: Any) -> Any:
    """The names and the order of things, without the numbers that move."""
    if isinstance(value, dict):
        return {name: shape(one) for name, one in value.items()}
    if isinstance(value, list):
        return [shape(one) for one in value]
    return value if isinstance(value, str) and not value.replace(".", "").replace("-", "").isdigit() else None
