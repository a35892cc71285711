"""What honours a read: memory, a push that is due, a call, or a state that stands in."""

import asyncio
import math

import pytest

from replica.state.clearinghouse import HeldState
from server.accounts import Found, request_body
from server.freshness import Asked, Directives, Floor, NotHeld, NotThereYet
from tests.virtual import ALICE, CAROL, World, running


def asked(now: float = 100.0, *floors: Floor, **directives: float | bool) -> Asked:
    return Asked(now, Directives(**directives), floors)  # type: ignore[arg-type]


def held(received: float = 98.0, fresh_until: float = 103.0, as_of: int = 1000) -> HeldState:
    state = HeldState(ALICE, b"{}", as_of)
    state.received, state.fresh_until = received, fresh_until
    return state


@pytest.mark.parametrize(
    ("request_", "state", "answers"),
    [
        (asked(), held(), True),
        (asked(), None, False),
        (asked(), held(fresh_until=100.0), False),
        (asked(no_cache=True), held(), False),
        (asked(max_age_s=2.0), held(), True),
        (asked(max_age_s=1.9), held(), False),
        (asked(only_if_cached=True), held(), True),
        (asked(100.0, Floor(1000, math.inf, True)), held(), True),
        (asked(100.0, Floor(1001, math.inf, True)), held(), False),
        (asked(100.0, Floor(0, 0.0, False), Floor(1001, math.inf, True)), held(), False),
    ],
    ids=str,
)
def test_what_memory_answers(request_: Asked, state: HeldState | None, answers: bool) -> None:
    assert request_.from_memory(state) is answers


def test_a_call_must_start_after_the_last_write_and_no_later() -> None:
    assert asked().started_after == -math.inf
    assert asked(100.0, Floor(5, 7.0, False), Floor(5, 9.0, False)).started_after == 9.0
    assert asked(100.0, Floor(5, math.inf, True)).started_after == -math.inf
    assert asked(100.0, Floor(5, 7.0, False), max_age_s=2.0).started_after == 98.0


def test_our_own_request_body() -> None:
    assert request_body(ALICE, "") == b'{"type":"clearinghouseState","user":"%s"}' % ALICE.encode()
    assert request_body(ALICE, "xyz").endswith(b',"dex":"xyz"}')


def now() -> float:
    return asyncio.get_running_loop().time()


async def obtain(world: World, user: str, *floors: Floor, **directives: float | bool) -> Found:
    accounts = world.program.info._accounts
    found = await accounts.obtain(user, "", asked(now(), *floors, **directives))
    assert isinstance(found, Found)
    return found


async def test_a_call_a_shared_call_and_a_stale_state() -> None:
    async with running() as world:
        both = await asyncio.gather(obtain(world, CAROL), obtain(world, CAROL))
        assert [found.source for found in both] == [b"upstream", b"coalesced"]
        assert both[0].held is both[1].held
        world.upstream.faults.answer(502, b"")
        assert (await obtain(world, CAROL)).source == b"stale"
        assert (await obtain(world, CAROL, only_if_cached=True)).source == b"stale"


async def test_only_if_cached_without_a_state() -> None:
    async with running() as world:
        with pytest.raises(NotHeld):
            await obtain(world, CAROL, only_if_cached=True)


async def test_a_made_up_floor_waits_for_the_feed_and_only_for_the_feed() -> None:
    async with running(ALICE) as world:
        await asyncio.sleep(1)
        floor = Floor(world.upstream.now_ms() + 60_000, math.inf, True)
        with pytest.raises(NotThereYet) as caught:
            await obtain(world, ALICE, floor)
        assert caught.value.floor_ms == floor.ms
        assert world.upstream.requests == []
        # With no-cache the client wants the upstream's own word first.
        with pytest.raises(NotThereYet):
            await obtain(world, ALICE, floor, no_cache=True)
        assert world.upstream.calls() == 1


async def test_a_cancelled_wait_watches_no_longer() -> None:
    async with running(ALICE) as world:
        floor = Floor(world.upstream.now_ms() + 60_000, math.inf, True)
        waiting = asyncio.create_task(obtain(world, ALICE, floor))
        await asyncio.sleep(1)
        assert world.store._watchers
        waiting.cancel()
        await asyncio.wait([waiting])
        assert not world.store._watchers
