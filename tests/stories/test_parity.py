"""Every type that memory answers, held against the exchange's own answer: at rest, in motion, after mishaps.

The exchange is asked by a call, not by HTTP: so what we ask of it can be counted.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from random import Random
from typing import Any, NamedTuple

import pytest

from replica import Subscription
from server.capabilities import TABLE, Served
from server.devnode.info import InfoRequest, parse
from server.queries.batches import KINDS, NATIVE
from tests.callers import Reply
from tests.soak.bots import Bots
from tests.upstream import TRADER, Upstream
from tests.virtual import CAROL, EPOCH, World, running, signed_order

USER = TRADER.address.lower()
OTHER = Upstream(lambda: EPOCH, accounts=1, seed=1).addresses[0]
WRITER, READER = "10.0.0.1", "10.0.0.2"
SLACK_S = 0.05
"""A frame is made, sent and read within this."""
PUSHED_OFTEN = dict.fromkeys(("spotAssetCtxs", "allDexsAssetCtxs"), 2.0)

Truth = Any
"""An answer, decoded, without the times of account states: of them alone does each answer have its own."""


class Ask(NamedTuple):
    """A request, and the subscription that a client holds for it to be answered from memory.

    `sure`: memory answers it whatever happened before, where all is at rest and it was asked for once. Lists
    of what happened are answered so now and then.
    """

    type: str
    fields: Mapping[str, Any]
    held: Mapping[str, Any] | None = None
    sure: bool = True

    @property
    def body(self) -> dict[str, Any]:
        return {"type": self.type, **self.fields}

    def __str__(self) -> str:
        return json.dumps(self.body)


def states_of(user: str) -> Iterator[Ask]:
    for dex in ({}, {"dex": "xyz"}):
        for type_ in ("clearinghouseState", "openOrders", "frontendOpenOrders"):
            yield Ask(type_, {"user": user, **dex})
    yield Ask("spotClearinghouseState", {"user": user})
    data = {"user": user, "coin": "BTC"}
    yield Ask("activeAssetData", data, {"type": "activeAssetData", **data})
    yield Ask("userAbstraction", {"user": user}, {"type": "webData3", "user": user})


def logs_of(user: str) -> Iterator[Ask]:
    one = {"user": user}
    for type_ in ("userFills", "historicalOrders", "userTwapSliceFills", "twapHistory"):
        yield Ask(type_, one, sure=False)
    yield Ask("userFills", one | {"aggregateByTime": True}, sure=False)
    since = int(EPOCH * 1000)
    windows = (
        {"startTime": since},
        {"startTime": since + 15_000},
        {"startTime": since, "endTime": since + 30_000},
    )
    for type_ in ("userFillsByTime", "userTwapSliceFillsByTime", "userNonFundingLedgerUpdates"):
        for window in windows:
            yield Ask(type_, one | window, sure=False)
    yield Ask("userFillsByTime", one | windows[0] | {"reversed": True}, sure=False)


CANDLES = {"coin": "BTC", "interval": "1m"}
WINDOW = {"startTime": int(EPOCH * 1000) - 3_600_000, "endTime": int(EPOCH * 1000) + 3_600_000}
MARKET = (
    Ask("allMids", {}),
    Ask("metaAndAssetCtxs", {}),
    Ask("metaAndAssetCtxs", {"dex": "xyz"}),
    Ask("spotMetaAndAssetCtxs", {}),
    Ask("recentTrades", {"coin": "BTC"}, {"type": "trades", "coin": "BTC"}, sure=False),
    Ask("candleSnapshot", {"req": CANDLES | WINDOW}, {"type": "candle", **CANDLES}, sure=False),
    # Windows that others may answer: of another beginning, of the past, of an edge within a candle.
    Ask("candleSnapshot", {"req": CANDLES | {"startTime": WINDOW["startTime"] + 600_000}}, sure=False),
    Ask("candleSnapshot", {"req": CANDLES | {"startTime": int(EPOCH * 1000)}}, sure=False),
    Ask("candleSnapshot", {"req": CANDLES | {"startTime": int(EPOCH * 1000) + 7_777}}, sure=False),
    Ask("candleSnapshot", {"req": CANDLES | WINDOW | {"endTime": int(EPOCH * 1000) + 7_777}}, sure=False),
)
PLAIN = tuple(ask for user in (USER, OTHER) for ask in (*states_of(user), *logs_of(user))) + MARKET
BATCHES = tuple(
    Ask(type_, fields | dex)
    for type_, kind in KINDS.items()
    for fields in ({"user": USER} if type_ == "portfolioState" else {"users": [USER, OTHER, USER]},)
    for dex in (({}, {"dex": "xyz"}, {"dex": "ALL_DEXES"}) if kind.per_dex else ({},))
)


def from_memory(type_: str) -> bool:
    return type_ in KINDS or TABLE[type_].served is Served.MEMORY


def test_every_type_that_memory_answers_is_asked_for() -> None:
    asked = {ask.type for ask in (*PLAIN, *BATCHES)} | {"orderStatus"}
    assert {type_ for type_ in TABLE if from_memory(type_)} <= asked


# -- what the exchange says --------------------------------------------------------------------------------


def direct(world: World, ask: Ask) -> bytes:
    """The exchange's own answer; of a batch the documented join of its own answers."""
    if ask.type not in KINDS:
        return world.upstream.says(ask.type, **ask.fields)
    if ask.type == "portfolioState":
        return _row(world, ask, ask.fields["user"])
    rows = (b'["%s",%s]' % (user.encode(), _row(world, ask, user)) for user in ask.fields["users"])
    return b'{"successful_states":[%s],"failed_wallets":[]}' % b",".join(rows)


def _row(world: World, ask: Ask, user: str) -> bytes:
    dex = ask.fields.get("dex", "")
    dexes = world.upstream.source.dexes if dex == "ALL_DEXES" else (dex,)
    bodies = {}
    for type_, per_dex in KINDS[ask.type].parts:
        if per_dex and dex == "ALL_DEXES":
            states = (
                b'"%s":%s' % ((one or NATIVE).encode(), world.upstream.says(type_, user=user, dex=one))
                for one in dexes
            )
            bodies[type_] = b"{%s}" % b",".join(states)
        else:
            bodies[type_] = world.upstream.says(type_, user=user, **({"dex": dex} if per_dex else {}))
    if len(bodies) == 1:
        return next(iter(bodies.values()))
    return b"{%s}" % b",".join(b'"%s":%s' % (type_.encode(), body) for type_, body in bodies.items())


def timeless(value: Any) -> Truth:
    if isinstance(value, dict) and "assetPositions" in value:
        return {name: one for name, one in value.items() if name != "time"}
    return value


def pieces(ask: Ask, body: bytes) -> Iterator[tuple[str, Truth]]:
    """What an answer is made of, each piece by the request (of PLAIN) that it answers: a batch has many."""
    value = json.loads(body)
    if ask.type not in KINDS:
        yield _name(ask.type, ask.fields), timeless(value)
        return
    rows = [[ask.fields["user"], value]] if ask.type == "portfolioState" else value["successful_states"]
    assert [row[0] for row in rows] == ask.fields.get("users", [USER])
    parts = KINDS[ask.type].parts
    dex = ask.fields.get("dex", "")
    for user, row in rows:
        for type_, per_dex in parts:
            part = row if len(parts) == 1 else row[type_]
            if per_dex and dex == "ALL_DEXES":
                for one in ("", "xyz"):
                    yield _name(type_, {"user": user, "dex": one}), timeless(part[one or NATIVE])
            else:
                yield _name(type_, {"user": user, "dex": dex if per_dex else ""}), timeless(part)


def _name(type_: str, fields: Mapping[str, Any]) -> str:
    return " ".join((type_, *(f"{name}={fields[name]}" for name in sorted(fields) if fields[name] != "")))


class History:
    """All that the exchange would have answered, since when; written down whenever it may have changed."""

    def __init__(self, world: World, asks: Sequence[Ask]) -> None:
        self._world = world
        self._asks = asks
        self._told: dict[str, list[tuple[float, Truth]]] = {}
        source: Any = world.upstream.source
        tick = source.tick

        def ticked() -> None:
            tick()
            self.look()

        source.tick = ticked
        self.look()

    def look(self) -> None:
        now = asyncio.get_running_loop().time()
        for ask in self._asks:
            told = self._told.setdefault(_name(ask.type, ask.fields), [])
            truth = timeless(json.loads(direct(self._world, ask)))
            if not told or told[-1][1] != truth:
                told.append((now, truth))

    def place(self, name: str, truth: Truth, *, since: float, place: int) -> int | None:
        """The first number, from `place` on, of a truth that is this one and was still true at `since`."""
        told = self._told[name]
        for number in range(place, len(told)):
            until = told[number + 1][0] if number + 1 < len(told) else float("inf")
            if until >= since and told[number][1] == truth:
                return number
        return None


class Reader:
    """A client that reads all there is. Nothing that it is told may be older than it says, or than before."""

    def __init__(self, world: World, history: History, address: str) -> None:
        self._world = world
        self._history = history
        self._address = address
        self._places: dict[tuple[str, str], int] = {}
        self._sources: dict[str, set[str]] = {}

    async def read(self, ask: Ask, not_before: float = 0.0, **headers: str) -> Reply:
        """`not_before`: what was true until then is too old whatever the answer says of itself."""
        reply = await self._world.info(ask.body, client=self._address, **headers)
        self._history.look()
        assert reply.status == 200, (ask, reply)
        if ask.sure and from_memory(ask.type):
            self._sources.setdefault(ask.type, set()).add(reply.source)
        as_of = reply.as_of / 1000 - EPOCH
        assert asyncio.get_running_loop().time() - as_of < 12, (ask, reply.headers)
        for name, truth in pieces(ask, reply.body):
            since = max(as_of - SLACK_S, not_before)
            place = self._places.get((ask.type, name), 0)
            found = self._history.place(name, truth, since=since, place=place)
            assert found is not None, f"{ask}: {name} from {reply.source} as of {as_of:.3f}: {truth}"
            self._places[ask.type, name] = found
        return reply

    def check(self) -> None:
        """Of every type some answer at least was from memory."""
        assert [type_ for type_, found in self._sources.items() if "memory" not in found] == []


# -- the world -----------------------------------------------------------------------------------------------


class Quiet(Bots):
    """Those who trade without a push at every step of theirs: what they do is told when it is due."""

    def _act(self, user: str, action: dict[str, Any]) -> Any:
        answer = self._upstream.impersonate(user, action, quietly=True)
        self.done += answer["status"] == "ok"
        return answer


class Scene(NamedTuple):
    world: World
    bots: Quiet
    history: History
    asks: tuple[Ask, ...]


@asynccontextmanager
async def following(seed: int, **options: Any) -> AsyncIterator[Scene]:
    """The program follows both accounts, and a client holds what streams have to be held."""
    born = {"accounts": 1, "seed": 1, "walk": True}
    settings = {"keeps": True, "frozen_after_s": 0, "upstream_weight_per_minute": 0}
    async with running(USER, OTHER, upstream=born | options, **settings) as world:
        for ask in PLAIN:
            if ask.held is not None:
                assert world.program.replica.mirror.hold(Subscription(dict(ask.held))) is None
        bots = Quiet(world.upstream, (USER, OTHER), Random(seed), every_s=1.0)
        for user in (USER, OTHER):
            world.upstream.fund(user, 1_000_000, quietly=True)
        for _ in range(12):
            bots.act()
        ids = [row["order"]["oid"] for row in json.loads(world.upstream.says("historicalOrders", user=USER))]
        statuses = tuple(Ask("orderStatus", {"user": USER, "oid": oid}, sure=False) for oid in (*ids[:4], 1))
        history = History(world, (*PLAIN, *statuses))
        await asyncio.sleep(20)
        yield Scene(world, bots, history, (*PLAIN, *statuses, *BATCHES))


# -- the tests -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
async def test_at_rest_every_answer_is_the_exchanges_own_to_the_byte(seed: int) -> None:
    # A clock that stands still, but is ahead of ours: what happens there does not seem to be of long ago.
    still = {"paused": True, "time_ms": int(EPOCH * 1000) + 600_000}
    async with following(seed, **still, cadences=PUSHED_OFTEN) as (world, bots, _, asks):
        # What no stream brings is asked for once: the lists of markets, what happened before.
        for ask in asks:
            assert (await world.info(ask.body)).status == 200
        for _ in range(5):
            for _ in range(6):
                bots.act()
            world.upstream.step(2, quietly=True)
            await asyncio.sleep(6)
            for ask in asks:
                asked = len(world.upstream.requests)
                reply = await world.info(ask.body, client=READER)
                assert (reply.status, reply.body) == (200, direct(world, ask)), ask
                if from_memory(ask.type) and ask.sure:
                    assert (reply.source, len(world.upstream.requests)) == ("memory", asked), ask
        assert bots.done > 10


@pytest.mark.parametrize("seed", range(4))
async def test_in_motion_no_answer_is_older_than_it_says_or_than_the_one_before(seed: int) -> None:
    async with following(seed) as (world, bots, history, asks):
        random = Random(seed)
        reader = Reader(world, history, READER)
        for _ in range(60):
            await asyncio.sleep(random.uniform(0.1, 1.5))
            for _ in range(random.choice((0, 0, 1, 3))):
                bots.act()
                history.look()
            for ask in (*random.sample(asks, 6), *MARKET):
                await reader.read(ask)
        reader.check()


@pytest.mark.parametrize("seed", range(3))
async def test_right_after_a_write_its_sender_reads_what_it_did(seed: int) -> None:
    async with following(seed) as (world, bots, history, asks):
        random = Random(seed)
        writer, reader = Reader(world, history, WRITER), Reader(world, history, READER)
        nonce = int(EPOCH * 1000) + 20_000
        written = 0.0
        for number in range(25):
            await asyncio.sleep(random.choice((0.0, 0.3, 2.0, 6.0)))
            if number % 3 == 0:
                bots.act()
                history.look()
            else:
                assert (await world.write(signed_order(nonce + number), client=WRITER)).status == 200
                history.look()
                written = asyncio.get_running_loop().time()
            for ask in random.sample(asks, 6):
                of_market = ask in MARKET
                await writer.read(ask, not_before=0.0 if of_market else written)
                await reader.read(ask)
        assert world.upstream.writes


@pytest.mark.parametrize("seed", range(3))
async def test_after_a_reconnect_nothing_of_before_is_told(seed: int) -> None:
    async with following(seed) as (world, bots, history, asks):
        random = Random(seed)
        reader = Reader(world, history, READER)
        for _ in range(4):
            world.upstream.drop_sockets()
            await asyncio.sleep(random.choice((0.01, 0.3)))
            lost = asyncio.get_running_loop().time()
            for _ in range(5):
                bots.act()
                history.look()
            for number in range(8):
                for ask in random.sample(asks, 5):
                    # What came over the lost connection is told no more; what was asked for before may be.
                    await reader.read(ask, not_before=lost - 3.0)
                await asyncio.sleep(random.uniform(0.1, 4.0))
                if number == 3:
                    bots.act()
                    history.look()
        await asyncio.sleep(20)
        for ask in states_of(USER):
            assert (await reader.read(ask)).source == "memory", ask


async def test_after_fills_the_pushed_orders_and_balances_are_those_of_the_exchange() -> None:
    async with following(5) as (world, bots, _, _):
        before = [direct(world, ask) for ask in states_of(USER)]
        for _ in range(12):
            bots.act()
        assert before != [direct(world, ask) for ask in states_of(USER)]
        world.upstream.pause()
        await asyncio.sleep(12)
        for ask in (*states_of(USER), *states_of(OTHER)):
            reply = await world.info(ask.body, client=READER)
            assert (reply.source, reply.body) == ("memory", direct(world, ask)), ask


@pytest.mark.parametrize(
    "ask",
    [
        *(Ask(ask.type, {**ask.fields, "user": CAROL}) for ask in states_of(USER)),
        Ask("activeAssetData", {"user": USER, "coin": "ETH"}),
        Ask("activeAssetData", {"user": USER, "coin": "NONE"}),
        Ask("openOrders", {"user": USER, "dex": "none"}),
        Ask("clearinghouseState", {"user": USER, "dex": "none"}),
        Ask("allMids", {"dex": "xyz"}),
        Ask("allMids", {"dex": "none"}),
        Ask("metaAndAssetCtxs", {"dex": "none"}),
    ],
    ids=str,
)
async def test_what_memory_lacks_is_the_exchanges_answer(ask: Ask) -> None:
    async with following(1, paused=True, cadences=PUSHED_OFTEN) as (world, _, _, _):
        upstream, asked = world.upstream, len(world.upstream.requests)
        reply = await world.info(ask.body, client=READER)
        request = parse({"type": ask.type, **ask.fields})
        assert isinstance(request, InfoRequest)
        own = upstream.source.info(request, upstream.now_ms())
        assert (reply.status, reply.body) == (own.status, own.body)
        assert reply.headers["content-type"] == own.content_type
        assert reply.source == "upstream"
        assert len(upstream.requests) == asked + 1


@pytest.mark.parametrize("ask", PLAIN, ids=str)
async def test_who_will_not_have_it_from_memory_gets_the_exchanges_answer(ask: Ask) -> None:
    async with following(2, cadences=PUSHED_OFTEN) as (world, bots, _, _):
        for number in range(4):
            bots.act()
            await asyncio.sleep(0.37 * number)
            reply = await world.info(ask.body, client=READER, cache_control="no-cache")
            assert reply.source == "upstream"
            own = timeless(json.loads(direct(world, ask)))
            assert timeless(reply.json) == own
            reply = await world.info(ask.body, client=READER, cache_control="max-age=0")
            assert timeless(reply.json) == own
