"""Whatever happens in whatever order: reads never go back, stale is never called live, quiet means true.

Random schedules of changes, faults, reads and writes against the whole program. Each truth of an account is
larger than the one before, so a value tells its own age.
"""

import asyncio
from bisect import bisect_right
from collections import defaultdict

from hypothesis import given, settings
from hypothesis import strategies as st

from server.devnode.faults import Stage
from tests.callers import values
from tests.virtual import ALICE, BOB, CAROL, World, running

FOLLOWED = (ALICE, BOB)
USERS = (*FOLLOWED, CAROL)
CLIENTS = ("10.0.0.1", "10.0.0.2")
LIVE_S = 6.0
TTL_S = 5.0
LATEST_S = 2.0
"""The longest way of a push or an answer."""

DIRECTIVES = (
    {},
    {"cache_control": "no-cache"},
    {"cache_control": "max-age=2"},
    {"cache_control": "only-if-cached"},
)

step = st.one_of(
    st.tuples(st.just("change"), st.sampled_from(USERS), st.booleans()),
    st.tuples(st.just("read"), st.sampled_from(USERS), st.sampled_from(CLIENTS), st.sampled_from(DIRECTIVES)),
    st.tuples(st.just("batch"), st.sampled_from(CLIENTS), st.sampled_from(DIRECTIVES)),
    st.tuples(st.just("write"), st.sampled_from(USERS), st.sampled_from(CLIENTS)),
    st.tuples(st.just("cut write"), st.sampled_from(CLIENTS), st.sampled_from(Stage)),
    st.tuples(
        st.sampled_from(
            ["push", "drop", "duplicate", "stale", "silent"],
        ),
        st.sampled_from(FOLLOWED),
    ),
    st.tuples(st.sampled_from(["late", "slow"]), st.floats(0.1, LATEST_S)),
    st.tuples(st.sampled_from(["abort", "gone", "back", "speak", "fail", "heal"])),
)
schedule = st.lists(st.tuples(step, st.sampled_from([0.0, 0.01, 0.3, 1.0, 3.0, 7.0])), max_size=40)


class Judge:
    """What was true when, what was returned to whom, and what each client may expect."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.changes: dict[str, list[float]] = defaultdict(list)  # user -> when each value became true
        self.seen: dict[str, float] = defaultdict(float)  # user -> newest value anyone was given
        self.floor: dict[tuple[str, str], float] = defaultdict(float)  # (client, user) -> acknowledged write
        self.written: list[bytes] = []

    @staticmethod
    def now() -> float:
        return asyncio.get_running_loop().time()

    def change(self, user: str, pushed: bool = False) -> float:
        self.changes[user].append(self.now())
        value = float(len(self.changes[user]))
        (self.world.upstream.set_state if pushed else self.world.upstream.change_quietly)(user, value)
        return value

    def true_at(self, user: str, moment: float) -> float:
        """The value that was true just before this moment."""
        return float(bisect_right(self.changes[user], moment - 1e-6))

    def returned(self, user: str, client: str, value: float, source: str, floor: float) -> None:
        assert value >= self.seen[user], f"{user} went back to {value} after {self.seen[user]} ({source})"
        assert value >= floor, f"{client} wrote {floor} and read {value} ({source})"
        self.seen[user] = value
        if source != "stale":
            # A push may have been on its way and live since then; an answer likewise, and for its TTL.
            oldest = self.now() - LATEST_S - max(LIVE_S, TTL_S + LATEST_S)
            assert value >= self.true_at(user, oldest), f"{user}: {value} is no fresh state ({source})"

    def look(self) -> None:
        """Nothing that memory calls live is older than it may be."""
        now = self.now()
        for user in FOLLOWED:
            held = self.world.store.get(user, "")
            if held is not None and held.live(now):
                assert self.world.program.replica.feed.connected
                (value,) = values(held.piece)
                assert value >= self.true_at(user, now - LATEST_S - LIVE_S)
        self.world.store.check()

    async def read(self, user: str, client: str, directives: dict[str, str]) -> None:
        floor = self.floor[client, user]
        reply = await self.world.state(user, client=client, **directives)
        if reply.status == 200:
            self.returned(user, client, reply.value, reply.source, floor)
        else:
            assert reply.status in (429, 502, 503, 504)

    async def batch(self, client: str, directives: dict[str, str]) -> None:
        floors = {user: self.floor[client, user] for user in USERS}
        reply = await self.world.batch(list(USERS), client=client, **directives)
        assert reply.status == 200
        for user, state in reply.json["successful_states"]:
            value = float(state["marginSummary"]["accountValue"])
            self.returned(user, client, value, reply.source, floors[user])

    async def write(self, user: str, client: str) -> None:
        # In the world a write takes time: no read that went before it is as late as its answer.
        await asyncio.sleep(0.001)
        upstream, known = self.world.upstream, len(self.changes[user])
        body = upstream.transfer(user, 1.0)
        self.written.append(body)
        reply = await self.world.write(body, client=client)
        value = upstream.value(user)
        if value > known:
            self.changes[user].append(next(one.at for one in upstream.requests[::-1] if one.body == body))
            assert value == len(self.changes[user])
        if reply.status == 200:
            assert value > known
            self.floor[client, user] = max(self.floor[client, user], value)


async def act(judge: Judge, what: str, *how: object) -> None:
    upstream = judge.world.upstream
    match what, *how:
        case "change", str(user), bool(pushed):
            judge.change(user, pushed)
        case "push", str(user):
            upstream.push(user)
        case "drop", _:
            upstream.faults.drop_next_push()
        case "duplicate", _:
            upstream.faults.duplicate_next_push()
        case "stale", str(user):
            upstream.stale_push(user)
        case "silent", str(user):
            upstream.faults.go_silent(user)
        case "speak", *_:
            upstream.faults.speak_again()
        case "late", float(seconds):
            upstream.faults.delay_next_push(seconds)
        case "slow", float(seconds):
            upstream.faults.latency(seconds)
        case "abort", *_:
            upstream.abort()
        case "gone", *_:
            upstream.refuse_connections()
            upstream.abort()
        case "back", *_:
            await back(judge)
        case "fail", *_:
            upstream.faults.answer(502, b"", path="/info", times=2)
        case "heal", *_:
            upstream.faults.answer_again()


async def back(judge: Judge) -> None:
    judge.world.upstream.refuse_connections()
    await judge.world.upstream.accept_connections()


@settings(max_examples=120)
@given(schedule)
async def test_any_schedule(steps: list[tuple[tuple[object, ...], float]]) -> None:
    async with running(*FOLLOWED, account_live_s=LIVE_S, account_ttl_s=TTL_S, reconnect_max_s=4.0) as world:
        judge = Judge(world)
        under_way: list[asyncio.Task[None]] = []
        for (what, *how), pause in steps:
            match what, *how:
                case "read", str(user), str(client), dict(directives):
                    under_way.append(asyncio.create_task(judge.read(user, client, directives)))
                case "batch", str(client), dict(directives):
                    under_way.append(asyncio.create_task(judge.batch(client, directives)))
                case "write", str(user), str(client):
                    await judge.write(user, client)
                case "cut write", str(client), Stage() as stage:
                    world.upstream.faults.cut(stage)
                    await judge.write(ALICE, client)
                case _:
                    await act(judge, str(what), *how)
            await asyncio.sleep(pause)
            judge.look()
        await asyncio.gather(*under_way)
        # The upstream never sees one write twice.
        assert all(world.upstream.writes.count(body) <= 1 for body in judge.written)
        # Quiet: nothing is wrong any more, nothing changes, and the feed has had its time.
        world.upstream.faults.heal()
        await back(judge)
        await asyncio.sleep(40)
        for user in USERS:
            reply = await world.state(user)
            assert reply.value == world.upstream.value(user)
            assert reply.source == ("memory" if user in FOLLOWED else "upstream")
