"""A read after an acknowledged write is never older than it; and floors that clients set themselves."""

import asyncio
import json

import pytest

from server.devnode.faults import Stage
from tests.callers import Reply
from tests.upstream import Upstream
from tests.virtual import ALICE, BOB, CAROL, World, running

TRADER, STRANGER = "10.0.0.1", "10.9.9.9"


def trades(world: World, user: str, value: float) -> bytes:
    """A write that moves the truth of `user`, without a push."""
    return world.upstream.transfer(user, value - world.upstream.value(user))


async def timed(work: asyncio.Future[Reply] | asyncio.Task[Reply]) -> tuple[Reply, float]:
    loop = asyncio.get_running_loop()
    began = loop.time()
    return await work, loop.time() - began


async def test_a_trader_reads_their_write_and_a_stranger_does_not_pay_for_it() -> None:
    async with running(ALICE) as world:
        world.upstream.set_state(ALICE, 1.0)
        await asyncio.sleep(1)
        trade = trades(world, ALICE, 2.0)
        assert (await world.write(trade, client=TRADER)).status == 200
        stranger = await world.state(ALICE, client=STRANGER)
        assert (stranger.value, stranger.source) == (1.0, "memory")
        assert world.upstream.calls() == 0
        mine = await world.state(ALICE, client=TRADER)
        assert (mine.value, mine.source) == (2.0, "upstream")
        # What was read once after the write is good for all that come after.
        again = await world.state(ALICE, client=TRADER)
        assert (again.value, again.source) == (2.0, "memory")
        assert (await world.batch([ALICE], client=TRADER)).source == "memory"
        assert world.upstream.calls() == 1


async def test_a_batch_is_held_to_the_floor_too() -> None:
    async with running(ALICE, BOB) as world:
        trade = trades(world, ALICE, 2.0)
        await world.write(trade, client=TRADER)
        assert (await world.batch([ALICE, BOB], client=STRANGER)).source == "memory"
        mine = await world.batch([ALICE, BOB], client=TRADER)
        assert (mine.value, mine.source, mine.failed) == (2.0, "upstream", [])
        assert (await world.batch([ALICE], "ALL_DEXES", client=TRADER)).value == 2.0


async def test_a_push_after_the_write_serves_as_well() -> None:
    async with running(ALICE) as world:
        trade = trades(world, ALICE, 2.0)
        await world.write(trade, client=TRADER)
        await asyncio.sleep(6)
        mine = await world.state(ALICE, client=TRADER)
        assert (mine.value, mine.source) == (2.0, "memory")
        assert world.upstream.calls() == 0


@pytest.mark.parametrize("skew_s", [0.0, 0.2, -0.2, 7200.0])
@pytest.mark.parametrize("lag_s", [0.0, 2.0, 4.0])
@pytest.mark.parametrize("after_s", [0.0, 1.0, 1.9])
async def test_a_state_pushed_late_is_not_taken_for_newer_than_the_write(
    after_s: float, lag_s: float, skew_s: float
) -> None:
    def late(upstream: Upstream) -> None:
        upstream.faults.delay(lag_s)

    quick = {"push_s": 0.25, "tick_s": 0.1}
    async with running(ALICE, prepare=late, skew_s=skew_s, upstream=quick) as world:
        await asyncio.sleep(20)
        trade = trades(world, ALICE, 2.0)
        assert (await world.write(trade, client=TRADER)).status == 200
        # For a while the pushes that arrive were rendered before the write.
        await asyncio.sleep(after_s)
        for _ in range(60):
            reply = await world.state(ALICE, client=TRADER)
            assert reply.value == 2.0
            await asyncio.sleep(0.1)
        # Whatever our clock says, one read of the upstream was enough, or a few where the feed lags.
        assert world.upstream.calls() <= 1 + lag_s


async def test_a_clock_far_behind_does_not_lower_the_floor() -> None:
    async with running(ALICE, skew_s=-7200) as world:
        trade = trades(world, ALICE, 2.0)
        await asyncio.sleep(1)
        await world.write(trade, client=TRADER)
        assert (await world.state(ALICE, client=TRADER)).value == 2.0


async def test_keys_are_clients_wherever_they_come_from() -> None:
    async with running(ALICE) as world:
        body = {"type": "clearinghouseState", "user": ALICE}
        trade = trades(world, ALICE, 2.0)
        assert (await world.post("/key1/exchange", trade, client=TRADER)).status == 200
        assert (await world.post("/key2/info", body, client=TRADER)).source == "memory"
        assert (await world.post("/info", body, client=TRADER)).source == "memory"
        assert (await world.post("/key1/info", body, client=STRANGER)).value == 2.0


async def test_the_floor_of_a_write_can_be_handed_to_another_process() -> None:
    async with running(ALICE) as world:
        trade = trades(world, ALICE, 2.0)
        floor = (await world.write(trade, client=TRADER)).headers["x-replica-not-before"]
        reply = await world.state(ALICE, client=STRANGER, x_replica_not_before=floor)
        assert (reply.value, reply.source) == (2.0, "upstream")
        assert (await world.state(ALICE, client=STRANGER, x_replica_not_before=floor)).source == "memory"
        assert world.upstream.calls() == 1


async def test_a_write_of_unknown_outcome_raises_the_floor() -> None:
    async with running(ALICE) as world:
        trade = trades(world, ALICE, 2.0)
        world.upstream.faults.cut(Stage.DONE)
        reply = await world.write(trade, client=TRADER)
        assert (reply.status, "x-replica-not-before" in reply.headers) == (504, True)
        assert (await world.state(ALICE, client=TRADER)).value == 2.0


@pytest.mark.parametrize(
    ("status", "body"), [(200, b'{"status":"err","response":"Must deposit"}'), (429, b"null"), (422, b"no")]
)
async def test_a_refused_write_raises_no_floor(status: int, body: bytes) -> None:
    async with running(ALICE) as world:
        world.upstream.faults.answer(status, body, path="/exchange")
        assert (await world.write()).body == body
        assert (await world.state(ALICE)).source == "memory"


async def test_a_read_after_a_write_does_not_join_one_from_before() -> None:
    async with running() as world:
        upstream = world.upstream
        upstream.faults.latency(1.0)
        before = asyncio.create_task(world.state(CAROL, client=TRADER))
        others = asyncio.create_task(world.info({"type": "openOrders", "user": CAROL}, client=TRADER))
        await asyncio.sleep(0.1)
        assert upstream.calls() == 2
        upstream.faults.latency(0)
        trade = trades(world, CAROL, 2.0)
        await world.write(trade, client=TRADER)
        # A stranger may share the old flight; the trader may not.
        stranger = asyncio.create_task(world.state(CAROL, client=STRANGER))
        after = await world.state(CAROL, client=TRADER)
        await world.info({"type": "openOrders", "user": CAROL}, client=TRADER)
        assert after.value == 2.0
        assert upstream.calls() == 4
        assert (await before).value == 2.0  # newer than what it asked for: never back
        assert (await stranger).value == 2.0
        await others


async def test_a_lagging_answer_after_a_write_is_not_taken_for_newer_than_it() -> None:
    async with running(ALICE) as world:
        upstream = world.upstream
        old = upstream.state(ALICE)
        upstream.set_state(ALICE, 1.0)
        await asyncio.sleep(1)
        trade = trades(world, ALICE, 2.0)
        await world.write(trade, client=TRADER)
        # A replica of the upstream that lags: what it says is older than what we hold.
        upstream.faults.answer(200, old, type="clearinghouseState", times=1)
        reply, took_s = await timed(asyncio.create_task(world.state(ALICE, client=TRADER)))
        if reply.status == 200:
            assert reply.value == 2.0
        else:
            assert (reply.status, took_s) == (503, 3.0)
        await asyncio.sleep(5)
        assert (await world.state(ALICE, client=TRADER)).value == 2.0


async def test_nothing_below_the_floor_stands_in() -> None:
    async with running(ALICE) as world:
        trade = trades(world, ALICE, 2.0)
        await world.write(trade, client=TRADER)
        world.upstream.faults.answer(502, b"", type="clearinghouseState")
        assert (await world.state(ALICE, client=TRADER)).status == 502
        assert (await world.batch([ALICE], client=TRADER)).failed == [ALICE]
        assert (await world.state(ALICE, client=TRADER, cache_control="only-if-cached")).status == 504
        assert (await world.state(ALICE, client=STRANGER)).source == "memory"


# X-Replica-Not-Before


async def test_a_demand_is_met_by_the_feed_alone() -> None:
    async with running(ALICE) as world:
        upstream = world.upstream
        upstream.push(ALICE)
        await asyncio.sleep(0.1)
        floor = str(upstream.now_ms() + 1000)
        asyncio.get_running_loop().call_later(2, upstream.set_state, ALICE, 2.0)
        reads = [
            asyncio.create_task(world.state(ALICE, x_replica_not_before=floor, client=f"10.0.1.{n}"))
            for n in range(100)
        ]
        batch = asyncio.create_task(world.batch([ALICE], x_replica_not_before=floor))
        first, took_s = await timed(reads[0])
        assert took_s == pytest.approx(2.0)
        assert (first.status, first.value, first.source) == (200, 2.0, "memory")
        assert {(await read).body for read in reads} == {first.body}
        assert (await batch).value == 2.0
        assert upstream.requests == []
        assert await world.state(ALICE, x_replica_not_before=floor) == await world.state(ALICE)


async def test_a_demand_the_feed_does_not_meet_in_time_is_503() -> None:
    async with running(ALICE, not_before_wait_s=3) as world:
        upstream = world.upstream
        await world.until(lambda: upstream.pushes >= 2)
        floor = upstream.now_ms() + 4500
        read = asyncio.create_task(world.state(ALICE, x_replica_not_before=str(floor)))
        reply, took_s = await timed(read)
        assert took_s == pytest.approx(3.0)
        assert (reply.status, reply.headers["retry-after"]) == (503, "1")
        error = json.loads(reply.body)
        assert (error["not_before"], error["code"], error["msg"]) == (floor, 503, error["error"])
        assert upstream.requests == []
        await asyncio.sleep(2)
        assert (await world.state(ALICE, x_replica_not_before=str(floor))).status == 200
        assert upstream.requests == []


async def test_a_batch_names_whoever_is_not_there_yet() -> None:
    async with running(ALICE, BOB) as world:
        upstream = world.upstream
        upstream.push(ALICE)
        upstream.push(BOB)
        await asyncio.sleep(0.1)
        floor = str(upstream.now_ms() + 1)
        upstream.faults.go_silent(BOB)
        upstream.set_state(ALICE, 2.0)
        reply, took_s = await timed(
            asyncio.create_task(world.batch([ALICE, BOB], x_replica_not_before=floor))
        )
        assert (reply.value, reply.failed) == (2.0, [BOB])
        assert took_s == pytest.approx(3.0)
        assert upstream.requests == []


async def test_a_demand_on_an_account_nobody_follows_is_one_read() -> None:
    async with running() as world:
        now = world.upstream.now_ms()
        assert (await world.state(CAROL, x_replica_not_before=str(now))).source == "upstream"
        assert world.upstream.calls() == 1
        reply = await world.state(CAROL, x_replica_not_before=str(now + 60_000))
        assert reply.status == 503
        assert world.upstream.calls() == 2


async def test_a_waiter_leaves_nothing_behind() -> None:
    async with running(ALICE) as world:
        floor = str(world.upstream.now_ms() + 60_000)
        reads = [asyncio.create_task(world.state(ALICE, x_replica_not_before=floor)) for _ in range(3)]
        await asyncio.sleep(1)
        reads[0].cancel()
        assert [(await read).status for read in reads[1:]] == [503, 503]
        assert world.store._watchers == {}


@pytest.mark.parametrize("floor", ["soon", "-1", "1.5", "", "1" * 17, "\u0661"])
async def test_a_demand_that_cannot_be_meant_is_refused(floor: str) -> None:
    async with running(ALICE) as world:
        reply = await world.state(ALICE, x_replica_not_before=floor)
        assert reply.status == 400
        assert set(reply.json) == {"error", "code", "msg"}
