"""The whole program on the devnode, which mistreats it in every way it can: what clients see meanwhile."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from random import Random
from typing import Any

import pytest

from server.devnode import Devnode
from server.devnode.faults import Stage
from tests.callers import Reply
from tests.virtual import WRITE, World, running

ADDRESSES = Devnode(accounts=6).addresses


class Stack:
    """The world with accounts that hold something, of which it follows two, and prices that move."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.node = world.upstream
        self.faults = self.node.faults
        self.alice, self.bob, self.carol, self.dave = self.node.addresses[:4]

    async def source(self, user: str) -> str:
        return (await self.world.state(user)).source

    def is_fresh(self, user: str) -> bool:
        return self.world.store.table("")[user].fresh(asyncio.get_running_loop().time())


@contextlib.asynccontextmanager
async def stack(paused: bool = False, **settings: Any) -> AsyncIterator[Stack]:
    options = {"accounts": len(ADDRESSES), "walk": True, "paused": paused}
    async with running(*ADDRESSES[:2], upstream=options, **settings) as world:
        yield Stack(world)


async def test_what_is_followed_follows_the_controls() -> None:
    async with stack(paused=True, frozen_after_s=0) as it:
        first = await it.world.state(it.alice)
        assert (first.source, first.body) == ("memory", it.node.state(it.alice))
        it.node.set_mark("BTC", "50000")
        it.node.step(5)
        await asyncio.sleep(0.01)
        second = await it.world.state(it.alice)
        assert (second.source, second.body) == ("memory", it.node.state(it.alice))
        assert second.as_of == first.as_of + 5001


async def test_refused_for_now_reads_of_one_kind_or_one_account_say_so() -> None:
    async with stack() as it:
        it.faults.answer(429, type="meta", times=1)
        it.faults.answer(500, user=it.carol)
        assert (await it.world.info({"type": "meta"})).status == 429
        await asyncio.sleep(10)  # the program leaves an exchange alone that refused it
        assert (await it.world.info({"type": "meta"})).status == 200
        assert (await it.world.state(it.carol)).status == 500
        assert (await it.world.state(it.dave)).source == "upstream"
        assert await it.source(it.alice) == "memory"
        it.faults.heal()
        assert await it.source(it.carol) == "upstream"


async def test_while_it_is_down_the_last_known_is_marked_stale() -> None:
    async with stack() as it:
        known = await it.world.state(it.carol)
        it.faults.answer(502)
        await asyncio.sleep(6)
        reply = await it.world.state(it.carol)
        assert (reply.source, reply.body) == ("stale", known.body)
        assert (await it.world.state(it.dave)).status == 502
        batch = await it.world.batch([it.alice, it.dave])
        assert [row[0] for row in batch.json["successful_states"]] == [it.alice]
        assert batch.failed == [it.dave]


async def test_slow_reads_are_shared_and_memory_is_as_quick_as_ever() -> None:
    async with stack() as it:
        it.faults.latency(2.0)
        loop = asyncio.get_running_loop()
        before, began = it.node.stats.info["clearinghouseState"], loop.time()
        slow = [asyncio.create_task(it.world.state(it.carol)) for _ in range(5)]
        await asyncio.sleep(0.1)
        assert await it.source(it.alice) == "memory"
        assert loop.time() - began == pytest.approx(0.1)
        replies = await asyncio.gather(*slow)
        assert loop.time() - began == pytest.approx(2.0, abs=0.1)
        assert sorted(reply.source for reply in replies) == ["coalesced"] * 4 + ["upstream"]
        assert it.node.stats.info["clearinghouseState"] == before + 1


async def test_reads_that_hang_time_out() -> None:
    async with stack(read_timeout_s=3) as it:
        it.faults.hang(type="clearinghouseState", times=1)
        assert (await it.world.state(it.carol)).status == 504
        assert await it.source(it.carol) == "upstream"


@pytest.mark.parametrize("stage", Stage)
async def test_a_write_that_is_cut_is_sent_once_and_its_outcome_is_unknown(stage: Stage) -> None:
    async with stack() as it:
        it.faults.cut_writes(stage)
        reply = await it.world.write(WRITE)
        assert (reply.status, reply.json["outcome"]) == (504, "unknown")
        await asyncio.sleep(60)
        read = stage in (Stage.READ, Stage.DONE, Stage.ANSWER)
        assert it.node.stats.exchange["order"] == read
        assert (await it.world.write(WRITE)).status == 200
        assert it.node.stats.exchange["order"] == read + 1


@pytest.mark.parametrize(
    ("wrong", "within_s"),
    [
        (lambda it: it.node.drop_sockets(), 0.01),
        (lambda it: it.node.abort(), 0.01),
        (lambda it: it.faults.go_silent(), 6.01),
        (lambda it: it.faults.go_silent(it.alice), 6.01),
        (lambda it: it.faults.go_mute(), 6.01),
        (lambda it: it.faults.drop_next_push(times=20), 6.01),
        (lambda it: it.faults.freeze_time(), 20.01),
        (lambda it: it.faults.no_pongs(), 75.0),
    ],
    ids=["drop_sockets", "abort", "silent", "silent_alice", "mute", "lost", "frozen", "no_pongs"],
)
async def test_a_feed_that_is_wrong_is_not_live_and_comes_back(
    wrong: Callable[[Stack], object], within_s: float
) -> None:
    async with stack() as it:
        # The clock of a silence starts with the last push.
        pushed = it.node.stats.frames["allDexsClearinghouseState"]
        await it.world.until(lambda: it.node.stats.frames["allDexsClearinghouseState"] >= pushed + 2)
        wrong(it)
        await it.world.until(lambda: not it.is_fresh(it.alice), within_s)
        assert it.world.program.replica.assess().reasons
        assert await it.source(it.alice) == "upstream"
        it.faults.heal()
        await it.world.until_live()
        assert await it.source(it.alice) == "memory"


async def test_nobody_listening_for_a_while_is_survived() -> None:
    async with stack() as it:
        it.node.refuse_connections(20)
        it.node.abort()
        await asyncio.sleep(7)
        assert (await it.world.state(it.carol)).status == 502
        await it.world.until_live()
        assert await it.source(it.carol) == "upstream"


async def test_a_flapping_exchange_is_not_hammered() -> None:
    async with stack() as it:
        it.faults.accept_and_drop()
        it.node.drop_sockets()
        before = it.node.stats.connections
        await asyncio.sleep(120)
        assert 3 <= it.node.stats.connections - before <= 60
        it.faults.stay_up()
        await it.world.until_live()


async def test_handshakes_that_are_refused_are_tried_again() -> None:
    async with stack() as it:
        it.faults.answer(429, path="/ws", times=3)
        it.node.drop_sockets()
        await asyncio.sleep(0.01)
        await it.world.until_live()
        assert it.node.stats.refused_connections == 3
        assert await it.source(it.alice) == "memory"


async def test_accounts_that_are_refused_are_read_from_the_exchange() -> None:
    async with stack() as it:
        it.faults.refuse_subscriptions(user=it.bob)
        it.node.drop_sockets()
        await it.world.until(lambda: it.node.stats.connections == 2)
        await asyncio.sleep(1)
        assert await it.source(it.alice) == "memory"
        assert await it.source(it.bob) == "upstream"


@pytest.mark.parametrize("seed", range(5))
async def test_states_never_go_back_whatever_comes_in_which_order(seed: int) -> None:
    async with stack() as it:
        random, last, faults = Random(seed), 0, it.faults
        for _ in range(60):
            random.choice(
                [
                    faults.duplicate_next_push,
                    faults.reorder_next_push,
                    faults.stale_next_push,
                    faults.drop_next_push,
                    lambda: faults.delay_next_push(random.uniform(0, 12)),
                    it.node.stale_push,
                    it.node.push,
                    it.node.step,
                ]
            )()
            await asyncio.sleep(random.uniform(0, 4))
            reply: Reply = await it.world.state(it.alice)
            assert reply.as_of >= last
            last = reply.as_of
        faults.heal()
        await asyncio.sleep(20)
        await it.world.until_live()
        assert await it.source(it.alice) == "memory"
