"""The feed breaks in every way it can: nothing stale is called live, and it comes back by itself."""

import asyncio
import json

import pytest

from tests.upstream import Upstream
from tests.virtual import ALICE, BOB, CAROL, World, running


async def reads(world: World, user: str = ALICE) -> str:
    """Where a read of this account comes from right now."""
    return (await world.state(user)).source


async def fed(world: World, user: str, value: float) -> None:
    """Wait until this truth has reached memory by itself."""
    await world.until(lambda: b'"%s"' % str(value).encode() in world.store.table("")[user].body)


def flap(upstream: Upstream) -> None:
    upstream.faults.accept_and_drop()


async def test_a_lost_connection_ends_live_at_once_and_comes_back() -> None:
    async with running(ALICE) as world:
        upstream = world.upstream
        upstream.refuse_connections()
        upstream.abort()
        await asyncio.sleep(0.01)
        assert not world.store.table("")[ALICE].fresh(asyncio.get_running_loop().time())
        ready = await world.ready()
        assert ready.status == 503
        assert any("feed down" in reason for reason in ready.json["reasons"])
        await upstream.accept_connections()
        upstream.change_quietly(ALICE, 2.0)
        # Fetched meanwhile, never served from what the feed left behind.
        reply = await world.state(ALICE)
        assert (reply.source, reply.value) == ("upstream", 2.0)
        await world.until_live()
        assert (await world.ready()).status == 200
        calls = upstream.calls("clearinghouseState")
        await asyncio.sleep(10)
        assert await reads(world) == "memory"
        assert upstream.calls("clearinghouseState") == calls
        assert len(upstream.seen.dials) == 2


async def test_all_dexes_of_all_accounts_end_with_the_connection() -> None:
    async with running(ALICE, BOB) as world:
        world.upstream.refuse_connections()
        world.upstream.abort()
        await asyncio.sleep(0.01)
        now = asyncio.get_running_loop().time()
        held = [state for table in world.store.tables.values() for state in table.values()]
        assert len(held) == 2 * len(world.upstream.source.dexes)
        assert [state for state in held if state.live(now) or state.fresh(now)] == []


async def test_a_reconnect_subscribes_again_and_readiness_has_a_new_generation() -> None:
    async with running(ALICE, BOB) as world:
        before = (await world.ready()).json["generation"]
        world.upstream.seen.messages.clear()
        world.upstream.abort()
        await asyncio.sleep(0.01)
        assert (await world.ready()).status == 503
        await world.until_live()
        users = [frame["subscription"]["user"] for frame in world.upstream.messages]
        assert users == [ALICE, BOB]
        assert (await world.ready()).json["generation"] == before + 1


async def test_one_silent_stream_is_not_live_and_is_asked_for_again() -> None:
    async with running(ALICE, BOB, CAROL) as world:
        upstream = world.upstream
        upstream.faults.go_silent(ALICE)
        await asyncio.sleep(6.5)
        assert await reads(world, ALICE) == "upstream"
        assert await reads(world, BOB) == "memory"
        upstream.seen.messages.clear()
        await world.until(lambda: len(upstream.messages) >= 2)
        said = [(frame["method"], frame["subscription"]["user"]) for frame in upstream.messages]
        assert said == [("unsubscribe", ALICE), ("subscribe", ALICE)]
        upstream.faults.speak_again()
        await world.until_live()
        assert await reads(world, ALICE) == "memory"
        assert len(upstream.seen.dials) == 1


async def test_a_feed_that_goes_silent_is_not_live_and_is_dialled_again() -> None:
    async with running(ALICE, BOB) as world:
        world.upstream.faults.go_silent()
        last = world.store.table("")[ALICE].received
        await asyncio.sleep(last + 6.01 - asyncio.get_running_loop().time())
        assert await reads(world) == "upstream"
        took = await world.until(lambda: len(world.upstream.seen.dials) == 2)
        assert 8 < took < 14
        world.upstream.faults.speak_again()
        await world.until_live()
        assert await reads(world) == "memory"


async def test_a_half_open_connection_is_given_up() -> None:
    async with running(ALICE, BOB) as world:
        world.upstream.faults.go_mute()
        await world.until(lambda: not world.program.replica.feed.connected)
        # Without waiting for a farewell that can't come.
        took = await world.until(lambda: len(world.upstream.seen.dials) == 2)
        assert took < 2


async def test_no_pong_ends_live_although_data_flows() -> None:
    async with running(ALICE) as world:
        upstream = world.upstream
        upstream.faults.no_pongs()
        upstream.faults.ignore_close()
        await world.until(lambda: {"method": "ping"} in upstream.messages)
        assert await reads(world) == "memory"
        took = await world.until(lambda: not world.program.replica.feed.connected)
        assert 9.9 < took < 11.5
        # Given up means not live, even while the farewell of the socket is still under way.
        assert await reads(world) == "upstream"


async def test_a_flapping_upstream_is_not_hammered() -> None:
    async with running(ALICE, prepare=flap, warm=False) as world:
        dials = world.upstream.seen.dials
        await asyncio.sleep(600)
        assert len(dials) >= 10
        worst = max(sum(start <= dial < start + 60 for dial in dials) for start in dials)
        assert worst <= 30
        # Once the delays have grown they stay grown: a handshake is no health.
        assert sum(dial > 300 for dial in dials) <= 15
        world.upstream.faults.stay_up()
        await world.until_live()


async def test_a_flapping_upstream_is_within_the_connection_limit_whatever_the_delays() -> None:
    settings = {"reconnect_min_s": 0.1, "reconnect_max_s": 0.1}
    async with running(prepare=flap, warm=False, **settings) as world:
        await asyncio.sleep(600)
        dials = world.upstream.seen.dials
        assert len(dials) > 200
        assert max(sum(start <= dial < start + 60 for dial in dials) for start in dials) == 30


async def test_the_delays_start_over_after_a_healthy_spell() -> None:
    async with running(ALICE, healthy_after_s=60) as world:
        upstream = world.upstream
        upstream.faults.accept_and_drop()
        upstream.abort()
        await asyncio.sleep(120)
        upstream.faults.stay_up()
        await world.until_live()
        await asyncio.sleep(61)
        dials = len(upstream.seen.dials)
        upstream.abort()
        assert await world.until(lambda: len(upstream.seen.dials) > dials) < 1.0
        await world.until_live()
        assert len(upstream.seen.dials) == dials + 1


async def test_frozen_time_is_not_live() -> None:
    async with running(ALICE, frozen_after_s=15) as world:
        upstream = world.upstream
        upstream.faults.freeze_time()
        frozen_ms = upstream.now_ms()
        await asyncio.sleep(6)
        assert await reads(world) == "memory"
        pushes = upstream.pushes
        await asyncio.sleep(6)
        assert upstream.pushes > pushes
        assert world.store.table("")[ALICE].as_of == frozen_ms
        assert await reads(world) == "upstream"
        upstream.faults.thaw_time()
        await asyncio.sleep(6)
        held = world.store.table("")[ALICE]
        assert held.live(asyncio.get_running_loop().time())


async def test_a_lag_that_creeps_in_is_seen() -> None:
    async with running(ALICE) as world:
        # Each push comes one second later than the one before, so that none of them is ever missing.
        for late in range(1, 9):
            world.upstream.faults.delay(float(late))
            await asyncio.sleep(5)
            held = world.store.table("")[ALICE]
            if held.live(asyncio.get_running_loop().time()):
                assert world.upstream.now_ms() - held.as_of < (6 + 2) * 1000 + 100, f"{late} s late"
        assert not held.live(asyncio.get_running_loop().time())
        # Nobody pays for it but with a read: the answer is current.
        assert await reads(world) == "upstream"


async def test_an_older_push_never_goes_back() -> None:
    async with running(ALICE) as world:
        world.upstream.set_state(ALICE, 1.0)
        await asyncio.sleep(1)
        world.upstream.set_state(ALICE, 2.0)
        await asyncio.sleep(0.1)
        before = await world.state(ALICE)
        world.upstream.stale_push(ALICE)
        await asyncio.sleep(0.1)
        after = await world.state(ALICE)
        assert (before.value, after.body) == (2.0, before.body)
        assert (await world.ready()).json["feed"]["passed_over"] == 4  # one a dex
        # It said nothing about now either: the state is as old as it was.
        assert after.age_ms > before.age_ms


async def test_an_older_fetch_never_goes_back() -> None:
    async with running(ALICE) as world:
        upstream = world.upstream
        old = upstream.state(ALICE)
        await asyncio.sleep(1)
        upstream.set_state(ALICE, 2.0)
        truth = upstream.state(ALICE)
        await asyncio.sleep(0.1)
        # A replica of the upstream that lags behind answers.
        upstream.faults.answer(200, old, type="clearinghouseState", times=1)
        reply = await world.state(ALICE, cache_control="no-cache")
        assert upstream.calls("clearinghouseState") == 1
        assert reply.body == truth
        assert (await world.state(ALICE)).body == truth


async def test_a_refused_account_is_fetched_and_the_others_are_fed() -> None:
    async with running(ALICE, BOB, upstream={"users_limit": 1}, warm=False) as world:
        await asyncio.sleep(30)
        ready = await world.ready()
        assert (ready.status, ready.json["accounts"]["waiting_for_room"]) == (200, 1)
        assert await reads(world, ALICE) == "memory"
        assert await reads(world, BOB) == "upstream"
        assert len(world.upstream.seen.dials) == 1
        subscribes = [frame for frame in world.upstream.messages if frame["method"] == "subscribe"]
        assert len(subscribes) == 2


async def test_refused_subscriptions_are_not_asked_for_again_and_again() -> None:
    text = "Cannot track more than 10 total users."
    async with running(
        ALICE, BOB, prepare=lambda upstream: upstream.faults.refuse_subscriptions(text), warm=False
    ) as world:
        await asyncio.sleep(60)
        subscribes = [frame for frame in world.upstream.messages if frame["method"] == "subscribe"]
        assert len(subscribes) <= 4
        ready = await world.ready()
        assert ready.status == 503
        assert ready.json["reasons"] == ["the upstream lets us follow none of the tracked accounts"]
        assert await reads(world) == "upstream"


@pytest.mark.parametrize("fault", ["lost", "duplicated", "reordered"])
async def test_after_quiescence_memory_is_the_truth(fault: str) -> None:
    async with running(ALICE) as world:
        upstream = world.upstream
        upstream.set_state(ALICE, 1.0)
        await asyncio.sleep(0.5)
        if fault == "lost":
            upstream.faults.drop_next_push()
        elif fault == "duplicated":
            upstream.faults.duplicate_next_push()
        else:
            upstream.faults.delay_next_push(1.0)
        upstream.set_state(ALICE, 2.0)
        await asyncio.sleep(0.5)
        if fault == "reordered":
            upstream.set_state(ALICE, 3.0)
        await asyncio.sleep(6)
        reply = await world.state(ALICE)
        assert reply.source == "memory"
        assert reply.value == upstream.value(ALICE)


@pytest.mark.parametrize(
    "frame",
    [
        b"Websocket connection established.",
        b"not json",
        b"null",
        b"[]",
        b'{"channel":"tomorrow","data":{}}',
        b'{"channel":"error","data":{"not":"a text"}}',
        b'{"channel":"allDexsClearinghouseState","data":null}',
        b'{"channel":"allDexsClearinghouseState"}',
        b'{"channel":"allDexsClearinghouseState","data":{"user":"nobody","clearinghouseStates":[["",{}]]}}',
        b'{"channel":"allDexsClearinghouseState","data":{"user":"%s","clearinghouseStates":[["",null]]}}'
        % ALICE.encode(),
        b'{"channel":"subscriptionResponse","data":{"method":"subscribe","subscription":{"type":[1]}}}',
        b'{"channel":"deep","data":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
    ids=lambda frame: frame[:40].decode(),
)
async def test_a_frame_nobody_can_read_is_passed_over(frame: bytes) -> None:
    async with running(ALICE) as world:
        world.upstream.say(frame.decode())
        world.upstream.set_state(ALICE, 2.0)
        await asyncio.sleep(0.1)
        reply = await world.state(ALICE)
        assert (reply.value, reply.source) == (2.0, "memory")
        assert len(world.upstream.seen.dials) == 1


async def test_a_push_for_an_account_nobody_follows_is_not_remembered() -> None:
    async with running(ALICE) as world:
        (frame,) = world.upstream.frames(ALICE)
        world.upstream.say(frame.decode().replace(ALICE, CAROL))
        await asyncio.sleep(0.1)
        assert world.store.get(CAROL, "") is None
        assert await reads(world, CAROL) == "upstream"


async def test_one_state_from_the_future_holds_nothing() -> None:
    async with running(ALICE) as world:
        world.upstream.set_state(ALICE, 1.0)
        now_ms = json.loads(world.upstream.state(ALICE))["time"]
        frame = world.upstream.frames(ALICE)[-1].decode()
        world.upstream.say(frame.replace(str(now_ms), str(now_ms + 400 * 86_400_000)))
        await asyncio.sleep(0.1)
        world.upstream.set_state(ALICE, 2.0)
        await asyncio.sleep(0.1)
        reply = await world.state(ALICE)
        assert (reply.source, reply.value) == ("memory", 2.0)
        assert (await world.state(ALICE, cache_control="no-cache")).value == 2.0
