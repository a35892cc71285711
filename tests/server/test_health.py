"""/health and /ready."""

import asyncio

from tests.virtual import ALICE, BOB, running


async def test_health_is_the_process_alone() -> None:
    async with running(ALICE, warm=False) as world:
        world.upstream.refuse_connections()
        reply = await world.request("GET", "/health")
        assert (reply.status, reply.json) == (200, {"status": "up"})


async def test_ready_says_why_not_and_then_that_it_is() -> None:
    async with running(ALICE, BOB, warm=False) as world:
        reply = await world.ready()
        assert reply.status == 503
        assert reply.json["status"] == "pending"
        assert reply.json["reasons"] == [
            "feed down: not connected yet",
            "2 of 2 followed accounts have no state yet",
        ]
        await world.until_live()
        reply = await world.ready()
        assert (reply.status, reply.json["status"], reply.json["reasons"]) == (200, "ready", [])
        assert reply.json["generation"] == 1
        assert reply.json["accounts"]["states"] == 8  # two of them on four dexes
        assert reply.json["feed"]["connected"] is True


async def test_ready_counts_what_the_feed_said() -> None:
    async with running(ALICE) as world:
        for text in ("?", '{"channel":"new","data":1}', '{"channel":"error","data":"no"}'):
            world.upstream.say(text)
        await asyncio.sleep(0.1)
        feed = (await world.ready()).json["feed"]
        assert (feed["unreadable"], feed["unknown_channels"], feed["last_error"]) == (1, {"new": 1}, "no")


async def test_ready_counts_accounts_without_room() -> None:
    async with running(ALICE, BOB, upstream_users=1) as world:
        reply = await world.ready()
        assert reply.status == 200
        assert reply.json["accounts"]["waiting_for_room"] == 1


async def test_ready_without_a_single_account_is_the_feed_alone() -> None:
    async with running() as world:
        assert (await world.ready()).status == 200
        world.upstream.abort()
        await asyncio.sleep(0.01)
        assert (await world.ready()).status == 503


async def test_ready_when_stopped() -> None:
    async with running(ALICE) as world:
        await world.program.stop()
        reply = await world.ready()
        assert (reply.status, reply.json["status"], reply.json["reasons"]) == (503, "stopped", ["stopping"])


async def test_other_pages_and_verbs() -> None:
    async with running() as world:
        assert (await world.request("GET", "/")).status == 404
        assert (await world.request("POST", "/health")).status == 405
        assert (await world.request("HEAD", "/ready")).status == 200
