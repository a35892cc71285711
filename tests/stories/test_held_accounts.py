"""What clients subscribe to feeds the reads of everybody too, for as long as it is held."""

import asyncio

from replica import Subscription
from tests.virtual import ALICE, BOB, CAROL, World, running

WHOLE = Subscription({"type": "allDexsClearinghouseState", "user": BOB})
MAIN = Subscription({"type": "clearinghouseState", "user": BOB})


async def source(world: World, user: str, dex: str | None = None) -> str:
    return (await world.state(user, dex)).source


async def test_an_account_that_a_client_holds_is_read_from_memory() -> None:
    async with running(ALICE) as world:
        assert await source(world, BOB) == "upstream"
        assert world.program.replica.mirror.hold(WHOLE) is None
        await asyncio.sleep(20)
        assert await source(world, BOB) == "memory"
        assert await source(world, BOB, "xyz") == "memory"
        world.program.replica.feed.release(WHOLE)
        assert await source(world, BOB) == "upstream"


async def test_a_dex_that_a_client_holds_is_read_from_memory_and_the_others_are_not() -> None:
    async with running(ALICE) as world:
        assert world.program.replica.mirror.hold(MAIN) is None
        await asyncio.sleep(4)
        assert await source(world, BOB) == "memory"
        assert await source(world, BOB, "xyz") == "upstream"


async def test_what_clients_hold_is_not_live_once_its_connection_is_lost() -> None:
    async with running(ALICE) as world:
        assert world.program.replica.mirror.hold(WHOLE) is None
        await asyncio.sleep(10)
        world.upstream.refuse_connections()
        world.upstream.drop_sockets()
        await asyncio.sleep(0.01)
        now = asyncio.get_running_loop().time()
        assert not world.store.table("")[BOB].live(now)
        assert not world.store.table("")[ALICE].live(now)


async def test_readiness_is_a_matter_of_the_tracked_accounts() -> None:
    async with running(ALICE, upstream_users=2) as world:
        replica = world.program.replica
        assert replica.mirror.hold(WHOLE) is None
        await world.until(lambda: replica.feed.confirmed(WHOLE))
        assert replica.mirror.hold(Subscription({"type": "allMids"})) is None
        text = "Cannot track more than 2 total users."
        assert replica.mirror.hold(Subscription({"type": "userFills", "user": CAROL})) == text
        world.upstream.faults.go_silent(BOB)
        await asyncio.sleep(120)
        ready = await world.ready()
        assert ready.status == 200
        assert ready.json["accounts"]["waiting_for_room"] == 0
        assert (ready.json["feed"]["sockets"], ready.json["feed"]["held"]) == (2, 2)
