"""The program behind its real HTTP server: the short way and the ordinary one, and the end of both."""

import asyncio

import pytest

from tests.callers import Reply, post
from tests.virtual import ALICE, BOB, CAROL, META, WRITE, serving

STATE = {"type": "clearinghouseState", "user": ALICE}
COLD = {"type": "clearinghouseState", "user": CAROL}
BATCH = {"type": "batchClearinghouseStates", "users": [ALICE, BOB]}


def plain(reply: Reply) -> tuple[int, bytes, set[str]]:
    return reply.status, reply.body, set(reply.headers)


@pytest.mark.parametrize(
    "body",
    [
        STATE,
        BATCH,
        COLD,
        {**BATCH, "dex": "xyz"},
        {**BATCH, "dex": "ALL_DEXES"},
        {**BATCH, "users": []},
        {**BATCH, "users": [ALICE] * 1001},
        {"type": "meta"},
        {"type": "fileSnapshot"},
        b"{",
        b"",
        b"[]",
    ],
    ids=str,
)
async def test_it_says_what_the_application_says(body: bytes | dict[str, object]) -> None:
    async with serving(ALICE, BOB) as (world, site):
        world.upstream.faults.answer(200, META, type="meta")
        # Once, so that both find a state nobody follows in memory.
        await world.info(COLD)
        inside = await world.info(body)
        caller = await site.call()
        outside = await caller.ask(body)
        assert outside._replace(headers={}) == inside._replace(headers={})
        assert set(outside.headers) - {"date"} == set(inside.headers)
        assert "date" in outside.headers
        # On the same connection, in small pieces, and both ways round.
        for byte in post(body):
            caller.writer.write(bytes([byte]))
            await asyncio.sleep(0)
        assert plain(await caller.reply()) == plain(outside)
        assert (await caller.ask({"type": "meta"})).body == META
        assert plain(await caller.ask(body)) == plain(outside)


async def test_requests_sent_without_waiting_are_answered_in_order() -> None:
    async with serving(ALICE) as (world, site):
        world.upstream.faults.latency(0.2)
        world.upstream.faults.answer(200, META, type="meta")
        caller = await site.call()
        wanted = [STATE, COLD, STATE, {"type": "meta"}, STATE, b"[]"]
        caller.writer.write(b"".join(post(body) for body in wanted))
        replies = [await caller.reply() for _ in wanted]
        assert [reply.body == META for reply in replies] == [False, False, False, True, False, False]
        assert [reply.headers.get("x-replica-source") for reply in replies] == [
            "memory",
            "upstream",
            "memory",
            "upstream",
            "memory",
            None,
        ]


@pytest.mark.parametrize("size", [1001, 3000, 300_000, 2_000_000])
async def test_a_body_over_the_limit_is_refused_on_either_way(size: int) -> None:
    async with serving(ALICE, max_body_bytes=1000) as (world, site):
        caller = await site.call()
        body = b'{"type":"clearinghouseState","user":"%s"%s}' % (ALICE.encode(), b" " * size)
        reply = await caller.ask(body[:size])
        assert (reply.status, reply.json["error"]) == (413, "request body too large")
        assert (await caller.ask(STATE)).status == 200
        assert world.upstream.requests == []


async def test_a_key_and_an_address_are_clients_on_the_short_way_too() -> None:
    async with serving(ALICE) as (world, site):
        caller = await site.call()
        await caller.ask(world.upstream.transfer(ALICE, 2.0), "/key1/exchange")
        assert (await caller.ask(STATE, "/key2/info")).source == "memory"
        assert (await caller.ask(STATE)).source == "memory"
        assert (await caller.ask(STATE, "/key1/info")).value == 2.0
        await asyncio.sleep(0.01)
        await caller.ask(WRITE, "/exchange")
        assert (await caller.ask(STATE)).source == "upstream"


async def test_directives_are_kept_on_the_short_way() -> None:
    async with serving(ALICE) as (_, site):
        caller = await site.call()
        assert (await caller.ask(STATE, Cache_Control="No-Cache")).source == "upstream"
        await asyncio.sleep(1)
        assert (await caller.ask(STATE, Cache_Control="max-age=0")).source == "upstream"
        assert (await caller.ask(BATCH | {"users": [CAROL]}, Cache_Control="only-if-cached")).json == {
            "successful_states": [],
            "failed_wallets": [CAROL],
        }
        assert (await caller.ask(STATE, X_Replica_Not_Before="x")).status == 400
        assert (await caller.ask(STATE, content_type="text/plain")).status == 415


async def test_a_client_that_hangs_up_in_mid_body_leaves_nothing_behind() -> None:
    async with serving(ALICE) as (world, site):
        for path, body in (("/exchange", WRITE), ("/info", b'{"type":"meta"}')):
            caller = await site.call()
            request = post(body, path)
            caller.writer.write(request[:-3])
            await asyncio.sleep(0.1)
            caller.writer.close()
        await asyncio.sleep(30)
        assert world.upstream.requests == []
        assert (await (await site.call()).ask(STATE)).status == 200


# The end


async def test_requests_in_flight_are_answered_before_the_end() -> None:
    async with serving(ALICE) as (world, site):
        world.upstream.faults.latency(2.0)
        idle, warm, cold, writer, half = [await site.call() for _ in range(5)]
        await warm.ask(STATE)
        await idle.ask(STATE)
        cold.send(COLD)
        writer.send(WRITE, "/exchange")
        request = post(STATE)
        half.writer.write(request[:-5])
        await asyncio.sleep(0.5)
        site.stop()
        await asyncio.sleep(0.5)
        # Nobody new is let in, nobody idle is kept.
        with pytest.raises(ConnectionRefusedError):
            await site.call()
        assert await idle.closed()
        assert await warm.closed()
        half.writer.write(request[-5:])
        last = await half.reply()
        assert (last.source, last.headers["connection"]) == ("memory", "close")
        assert await half.closed()
        assert (await cold.reply()).source == "upstream"
        assert (await writer.reply()).body.startswith(b'{"status":"ok"')
        assert await cold.closed()
        await site.finish()
        assert len(world.upstream.writes) == 1


async def test_the_feed_outlives_the_last_answer_and_then_is_closed() -> None:
    async with serving(ALICE) as (world, site):
        world.upstream.faults.latency(2.0)
        caller = await site.call()
        caller.send(COLD)
        await asyncio.sleep(0.5)
        site.stop()
        await asyncio.sleep(0.5)
        assert world.program.replica.feed.connected
        assert (await caller.reply()).status == 200
        await site.finish()
        await world.program.stop()
        await asyncio.sleep(0.01)
        assert world.upstream.sockets == 0
        assert (await world.ready()).json["status"] == "stopped"


async def test_the_end_comes_although_a_client_hangs_on() -> None:
    async with serving(ALICE, shutdown_grace_s=3) as (world, site):
        world.upstream.faults.hang()
        caller = await site.call()
        caller.send(COLD)
        await asyncio.sleep(0.1)
        began = asyncio.get_running_loop().time()
        await site.finish()
        assert asyncio.get_running_loop().time() - began < 4
        await world.program.stop()
        assert asyncio.get_running_loop().time() - began < 5


async def test_a_write_still_unanswered_at_the_end_is_named_unknown(caplog: pytest.LogCaptureFixture) -> None:
    async with serving(ALICE, shutdown_grace_s=3) as (world, site):
        world.upstream.faults.hang(path="/exchange")
        short, ordinary = await site.call(), await site.call()
        short.send(WRITE, "/exchange")
        ordinary.send(WRITE, "/exchange", Connection="close")
        await asyncio.sleep(0.1)
        site.stop()
        for caller in (short, ordinary):
            reply = await caller.reply()
            assert (reply.status, reply.json["outcome"]) == (504, "unknown")
        assert len(world.upstream.writes) == 2
        assert sum("outcome unknown" in record.message for record in caplog.records) == 2


async def test_a_write_still_waiting_for_weight_at_the_end_is_named_not_sent() -> None:
    # 20 went for the dex list, 2 are left.
    settings = {"upstream_weight_per_minute": 22, "write_reserve_weight": 1, "budget_wait_s": 90}
    async with serving(shutdown_grace_s=3, **settings) as (world, site):
        world.upstream.faults.hang(path="/exchange")
        for _ in range(3):
            caller = await site.call()
            caller.send(WRITE, "/exchange")
            await asyncio.sleep(0.1)
        site.stop()
        reply = await caller.reply()
        assert (reply.status, reply.json["outcome"]) == (502, "not sent")
        assert len(world.upstream.writes) == 2
