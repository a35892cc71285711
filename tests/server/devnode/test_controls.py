"""What can be done to a devnode's world and time: as methods, and the same over `/dev/`."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from server.devnode import Devnode, Limits
from server.devnode.abilities import Unsupported
from server.devnode.market import Exchange
from tests.server.devnode.client import Client, http

Start = Callable[..., Awaitable[Devnode]]
Connect = Callable[[Devnode], Awaitable[Client]]
T0 = 1_700_000_000_000


class Controlled:
    """The controls of a devnode, over HTTP or as methods."""

    def __init__(self, node: Devnode, over_http: bool) -> None:
        self.node = node
        self.over_http = over_http

    async def do(self, verb: str, **fields: object) -> Any:
        if not self.over_http:
            target = self.node if hasattr(self.node, verb) else self.node.faults
            result = getattr(target, verb)(**fields)
            return await result if asyncio.iscoroutine(result) else result
        reply = await http(self.node.port, fields, path=f"/dev/{verb}")
        assert reply.status == 200, (reply.status, reply.body)
        return reply.json["result"]

    async def state(self, number: int = 1) -> Any:
        body = {"type": "clearinghouseState", "user": self.node.addresses[number]}
        return (await http(self.node.port, body)).json

    async def mids(self) -> Any:
        return (await http(self.node.port, {"type": "allMids"})).json


@pytest.fixture(params=["methods", "http"])
async def controlled(request: pytest.FixtureRequest, devnode: Start) -> Controlled:
    return Controlled(await devnode(paused=True, time_ms=T0), request.param == "http")


async def test_paused_nothing_moves_and_resumed_it_does(controlled: Controlled) -> None:
    first = await controlled.state()
    assert first["time"] == T0
    await asyncio.sleep(100)
    assert await controlled.state() == first
    await controlled.do("resume")
    await asyncio.sleep(10)
    later = await controlled.state()
    assert later["time"] == pytest.approx(T0 + 110_000, abs=1_100)
    assert later["marginSummary"] != first["marginSummary"]
    await controlled.do("pause")
    held = await controlled.state()
    await asyncio.sleep(100)
    assert await controlled.state() == held


async def test_a_step_is_a_block(controlled: Controlled) -> None:
    first = await controlled.state()
    await controlled.do("step")
    second = await controlled.state()
    assert second["time"] == T0 + 1000 and second["marginSummary"] != first["marginSummary"]
    await controlled.do("step", blocks=10)
    assert (await controlled.state())["time"] == T0 + 11_000
    world = controlled.node.source
    assert isinstance(world, Exchange) and world.ticks == 11


async def test_advancing_makes_the_blocks_that_fall_due(controlled: Controlled) -> None:
    world = controlled.node.source
    assert isinstance(world, Exchange)
    for seconds, ticks in ((0.4, 0), (0.4, 0), (0.4, 1), (3600, 3601), (0.8, 3602), (0, 3602)):
        await controlled.do("advance", seconds=seconds)
        assert world.ticks == ticks
    assert controlled.node.now_ms() == T0 + 3_602_000
    assert (await controlled.state())["time"] == T0 + 3_602_000


async def test_a_long_advance_makes_longer_blocks(devnode: Start) -> None:
    # As methods alone, and with one account: 150 days are 3600 blocks of an hour.
    node = await devnode(paused=True, time_ms=T0, accounts=1)
    controlled, world = Controlled(node, over_http=False), node.source
    assert isinstance(world, Exchange)
    await controlled.do("advance", seconds=0.4)
    await controlled.do("advance", seconds=86_400)
    assert world.ticks == 3600 and node.now_ms() == T0 + 86_400_400
    body = {"type": "fundingHistory", "coin": "BTC", "startTime": T0}
    times = [one["time"] for one in (await http(node.port, body)).json]
    assert len({time // 3_600_000 for time in times}) == len(times) == 24
    for seconds in (36_000.5, 151 * 86_400, 0.1):
        await controlled.do("advance", seconds=seconds)
    assert world.ticks == 3600 + 3600 + 3624 + 1  # of 24 s, of 10 s, of an hour, of what was left over
    assert node.now_ms() == T0 + 1000 * (86_400 + 36_000 + 151 * 86_400 + 1)


async def test_others_are_answered_while_time_is_advanced(devnode: Start) -> None:
    node = await devnode(paused=True, time_ms=T0)
    asked = http(node.port, {"seconds": 3600}, path="/dev/advance")
    advance, seen = asyncio.ensure_future(asked), [T0]
    while not advance.done():
        state = await http(node.port, {"type": "clearinghouseState", "user": node.addresses[0]})
        seen.append(state.json["time"])
    assert (await advance).status == 200 and node.now_ms() == T0 + 3_600_000
    assert seen == sorted(seen) and len({time for time in seen if T0 < time < node.now_ms()}) > 5


async def test_a_mark_is_set_and_walks_on_from_there(controlled: Controlled) -> None:
    before = await controlled.state()
    await controlled.do("set_mark", coin="BTC", px="61234.56")
    assert (await controlled.mids())["BTC"] == "61235.0"  # five figures
    state = await controlled.state()
    assert state["time"] == before["time"] + 1
    btc = next(row["position"] for row in state["assetPositions"] if row["position"]["coin"] == "BTC")
    assert float(btc["positionValue"]) == pytest.approx(abs(float(btc["szi"])) * 61235)
    await controlled.do("step", blocks=100)
    assert 58_000 < float((await controlled.mids())["BTC"]) < 64_000
    await controlled.do("set_mark", coin="xyz:TSLA", px=99.5)
    await controlled.do("set_mark", coin="PURR/USDC", px=2)
    marks = (await http(controlled.node.port, {"type": "allMids", "dex": "xyz"})).json
    assert float(marks["xyz:TSLA"]) == pytest.approx(99.5, rel=1e-3)
    assert float((await controlled.mids())["PURR/USDC"]) == pytest.approx(2, rel=1e-3)


async def test_a_change_is_pushed_at_once_unless_quietly(controlled: Controlled, connect: Connect) -> None:
    client = await connect(controlled.node)
    await client.subscribe(type="allMids")
    await client.receive()
    began = asyncio.get_running_loop().time()
    for verb, fields in (
        ("set_mark", {"coin": "BTC", "px": "50000"}),
        ("step", {}),
        ("advance", {"seconds": 5}),
        ("reset", {"seed": 9}),
        ("push", {}),
        ("stale_push", {}),
    ):
        await controlled.do(verb, **fields)
        assert (await client.receive())["channel"] == "allMids"
    assert asyncio.get_running_loop().time() == pytest.approx(began, abs=0.1)
    await controlled.do("set_mark", coin="BTC", px="40000", quietly=True)
    assert (await client.receive())["data"]["mids"]["BTC"] == "40000.0"
    assert asyncio.get_running_loop().time() > began + 0.1  # the push that was due


async def test_pushes_are_of_one_account_if_wanted_and_stale_ones_are_the_oldest(
    controlled: Controlled, connect: Connect
) -> None:
    node = controlled.node
    client, (alice, bob) = await connect(node), node.addresses[:2]
    seen = {}
    for user in (alice, bob):
        await client.subscribe(type="clearinghouseState", user=user)
        seen[user] = await client.receive()
    await controlled.do("step", quietly=True)
    await controlled.do("push", user=bob)
    pushed = await client.receive()
    assert pushed["data"]["user"] == bob and pushed != seen[bob]
    await controlled.do("stale_push", user=alice)
    assert await client.receive() == seen[alice]


async def test_a_reset_begins_anew_with_this_seed_and_time_goes_on(controlled: Controlled) -> None:
    node = controlled.node
    addresses, first = list(node.addresses), await controlled.state()
    await controlled.do("step", blocks=5)
    await controlled.do("reset")
    again = await controlled.state()
    assert node.addresses == tuple(addresses)
    assert again | {"time": 0} == first | {"time": 0} and again["time"] == T0 + 5001
    await controlled.do("reset", seed=7)
    assert not set(node.addresses) & set(addresses)
    reply = await http(node.port, b"", path="/dev/accounts", method="GET")
    assert reply.json == list(node.addresses)


async def test_a_revert_is_the_identity_but_for_time(controlled: Controlled) -> None:
    await controlled.do("step", blocks=3)
    before = await controlled.state(), await controlled.mids()
    number = await controlled.do("snapshot")
    for _ in range(2):
        await controlled.do("set_mark", coin="ETH", px="1234")
        await controlled.do("step", blocks=7)
        await controlled.do("reset", seed=3)
        await controlled.do("revert", snapshot=number)
        after = await controlled.state(), await controlled.mids()
        assert after[0] | {"time": 0} == before[0] | {"time": 0} and after[1] == before[1]
        assert after[0]["time"] > before[0]["time"]
    with pytest.raises((ValueError, AssertionError), match="no snapshot 2, 1 were taken"):
        await controlled.do("revert", snapshot=2)


async def test_of_many_snapshots_the_newest_hundred_are_kept(controlled: Controlled) -> None:
    for _ in range(101):
        controlled.node.snapshot()
    with pytest.raises((ValueError, AssertionError), match="snapshot 1 is gone, the newest 100 are kept"):
        await controlled.do("revert", snapshot=1)
    await controlled.do("revert", snapshot=2)
    assert controlled.node.status()["snapshots"] == 100


async def test_the_status_says_how_it_stands(controlled: Controlled) -> None:
    await controlled.do("answer", status=502, times=2)
    await controlled.do("snapshot")
    node = controlled.node
    reply = await http(node.port, b"", path="/dev/status", method="GET")
    assert reply.json | {"stats": None} == json.loads(json.dumps(node.status() | {"stats": None}))
    assert reply.json["time"] == T0 and reply.json["paused"] and reply.json["snapshots"] == 1
    assert reply.json["faults"] == ["answer 502, 2 more"]
    assert reply.json["stats"]["connections"] == 0
    await controlled.do("heal")
    assert node.status()["faults"] == []


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    """A folder with one answer in it."""
    (tmp_path / "info").mkdir()
    recorded = {"meta": {}, "request": {"type": "meta"}, "response": {"universe": []}}
    (tmp_path / "info" / "meta.json").write_text(json.dumps(recorded))
    return tmp_path


@pytest.mark.parametrize(
    ("verb", "fields", "what"),
    [
        ("set_mark", {"coin": "BTC", "px": "1"}, "set a mark"),
        ("set_oracle", {"coin": "BTC", "px": "1"}, "set an oracle price"),
        ("fund", {"user": "0x" + "5c" * 20, "usd": "10"}, "fund an account"),
        ("impersonate", {"user": "0x" + "5c" * 20, "action": {"type": "noop"}}, "act for anybody"),
        ("reset", {}, "be reset"),
        ("snapshot", {}, "take a snapshot"),
        ("revert", {"snapshot": 1}, "take a snapshot"),
        ("save", {}, "be saved"),
        ("load", {"saved": ""}, "be saved"),
    ],
)
async def test_what_the_source_cannot_do_is_said(
    devnode: Start, recordings: Path, verb: str, fields: dict[str, Any], what: str
) -> None:
    node = await devnode(recorded=recordings)
    with pytest.raises(Unsupported, match=what):
        getattr(node, verb)(**fields)
    reply = await http(node.port, fields, path=f"/dev/{verb}")
    assert reply.status == 501
    assert reply.body.decode() == f"this source can't {what}: {node.source!r}"


async def test_recordings_stand_still_while_time_goes_on(recordings: Path, devnode: Start) -> None:
    node = await devnode(recorded=recordings, paused=True, time_ms=T0)
    node.step(2)
    assert node.now_ms() == T0 + 2000


class Saving:
    """A source of another make, with some abilities."""

    def save(self) -> bytes:
        return b"\x00saved"

    def load(self, saved: bytes) -> None:
        assert saved == b"\x00saved"
        self.loaded = True

    def fund(self, user: str, usd: str) -> None:
        self.funded = user, usd

    def set_oracle(self, coin: str, px: str) -> None:
        self.oracle = coin, px


async def test_a_source_has_a_control_by_having_its_method(devnode: Start) -> None:
    node = await devnode(accounts=2)
    source = node.source = Saving()
    saved = (await http(node.port, {}, path="/dev/save")).json["result"]
    assert (await http(node.port, {"saved": saved}, path="/dev/load")).status == 200
    assert source.loaded
    assert (await http(node.port, {"saved": "?"}, path="/dev/load")).status == 400
    assert (await http(node.port, {"user": "0x1", "usd": 5}, path="/dev/fund")).status == 200
    node.set_oracle("BTC", "7")
    assert (source.funded, source.oracle) == (("0x1", "5"), ("BTC", "7"))


@pytest.mark.parametrize(
    ("verb", "fields", "text"),
    [
        ("step", {"blocks": 0}, "0 blocks at once, from 1 to 100000 can be made"),
        ("advance", {"seconds": -1}, "-1 is no number of seconds"),
        ("advance", {"seconds": 1e9}, "277778 blocks at once, from 0 to 100000 can be made"),
        ("set_mark", {"coin": "NOPE", "px": "1"}, "no market NOPE"),
        ("set_mark", {"coin": "BTC", "px": "0"}, "no price for BTC: 0"),
        ("set_mark", {"coin": "BTC", "px": "1e3"}, "no price for BTC: 1e3"),
        ("set_mark", {"coin": "BTC", "px": "-5"}, "no price for BTC: -5"),
        ("refuse_connections", {"seconds": -1}, "-1 is no number of seconds"),
    ],
)
async def test_bad_values_change_nothing(
    devnode: Start, verb: str, fields: dict[str, Any], text: str
) -> None:
    node = await devnode(accounts=2, paused=True, time_ms=T0)
    reply = await http(node.port, fields, path=f"/dev/{verb}")
    assert (reply.status, reply.body.decode()) == (400, f"{verb}: {text}")
    assert node.now_ms() == T0


ACTS = st.lists(
    st.one_of(
        st.tuples(st.just("step"), st.integers(1, 5)),
        st.tuples(st.just("advance"), st.integers(0, 9000).map(lambda ms: ms / 1000)),
        st.tuples(st.just("set_mark"), st.sampled_from(["BTC", "SOL", "xyz:GOLD", "PURR/USDC"])),
        st.tuples(st.just("reset"), st.integers(1, 3)),
        st.sampled_from([("snapshot", 0), ("revert", 0), ("pause", 0), ("push", 0)]),
    ),
    max_size=12,
)


def told(node: Devnode) -> list[object]:
    """Everything the source says, by the clock of the node."""
    source, now_ms = node.source, node.now_ms()
    assert isinstance(source, Exchange)
    states = [source.state(user, dex, now_ms) for user in source.addresses for dex in source.dexes]
    return [now_ms, *states, *(source.mids(dex) for dex in source.dexes)]


def act(node: Devnode, acts: list[tuple[str, Any]]) -> list[list[object]]:
    said, taken = [told(node)], 0
    for verb, value in acts:
        if verb == "set_mark":
            node.set_mark(value, "123.45")
        elif verb == "snapshot":
            taken = node.snapshot()
        elif verb == "revert":
            if taken:
                node.revert(taken)
        elif verb in ("pause", "push"):
            getattr(node, verb)()
        else:
            getattr(node, verb)(value)
        said.append(told(node))
    return said


@given(ACTS)
def test_the_same_seed_and_the_same_acts_say_the_same_bytes(acts: list[tuple[str, Any]]) -> None:
    one, other = (
        Devnode(accounts=3, seed=5, paused=True, time_ms=T0, clock=lambda wall=wall: wall)  # type: ignore[misc]
        for wall in (1.0e9, 1.9e9)
    )
    said = act(one, acts)
    assert said == act(other, acts)
    times = [row[0] for row in said]
    assert times == sorted(times)  # type: ignore[type-var]


@given(ACTS, ACTS)
@example([("advance", 8.999)], [])  # a millisecond before the prices move
@example([("advance", 0.3)], [("advance", 0.4)])
def test_a_snapshot_then_anything_then_a_revert_is_the_identity(
    before: list[tuple[str, Any]], between: list[tuple[str, Any]]
) -> None:
    node = Devnode(accounts=3, seed=5, paused=True, time_ms=T0)
    act(node, before)
    number = node.snapshot()
    straight = Devnode(accounts=3, seed=5, paused=True, time_ms=T0)
    act(straight, before)
    act(node, between)
    node.revert(number)
    # From now on both go the same way; only the clocks differ.
    for _ in range(3):
        for one in (node, straight):
            one.step()
            one.advance(0.5)
        assert timeless(node) == timeless(straight)


def timeless(node: Devnode) -> list[object]:
    return [_without_time(said) if isinstance(said, str) else None for said in told(node)]


def _without_time(text: str) -> str:
    return text.rpartition(',"time":')[0] if ',"time":' in text else text


async def test_the_same_requests_get_the_same_bytes_over_the_wire(devnode: Start, connect: Connect) -> None:
    said = []
    for wall in (1.0e9, 1.9e9):
        node = await devnode(paused=True, time_ms=T0, clock=lambda wall=wall: wall, limits=Limits())
        client, random = await connect(node), Random(4)
        said.append([])
        for _ in range(30):
            user = random.choice(node.addresses)
            dice = random.randrange(4)
            if dice == 0:
                reply = await http(node.port, {"type": "clearinghouseState", "user": user})
                said[-1].append((reply.status, reply.body))
            elif dice == 1:
                reply = await http(node.port, {"type": "metaAndAssetCtxs", "dex": "flx"})
                said[-1].append((reply.status, reply.body))
            elif dice == 2:
                reply = await http(node.port, {"blocks": random.randint(1, 3)}, path="/dev/step")
                said[-1].append((reply.status, reply.body))
            else:
                change = {"method": "subscribe", "subscription": {"type": "clearinghouseState", "user": user}}
                await client.send(change)
                said[-1].append(await client.connection.recv())
        # The connection is read to its end: what stepping pushed is on it.
        await client.send({"method": "ping"})
        while (frame := await client.connection.recv()) != '{"channel":"pong"}':
            said[-1].append(frame)
    assert said[0] == said[1] and len(said[0]) > 40
