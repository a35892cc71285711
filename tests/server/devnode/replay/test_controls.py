"""`/dev/` of a replay: time stands, goes on, goes faster, jumps; and who may say so."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from server.devnode import Replay
from server.devnode.replay.player import VERBS
from tests.server.devnode.client import JSON, http
from tests.server.devnode.replay.playing import connected, replaying
from tests.server.devnode.replay.tapes import (
    ALICE,
    asked,
    came,
    closed,
    end,
    opened,
    push,
    refused,
    subscribe,
)

TEN = [opened(0), *(came(at, push(ALICE, at)) for at in range(1, 11)), end(10)]
META = {"type": "meta"}


async def do(replay: Replay, verb: str, **fields: Any) -> Any:
    reply = await http(replay.port, fields, path=f"/dev/{verb}")
    assert reply.status == 200, reply
    return reply.json["result"]


async def status(replay: Replay) -> Any:
    return (await http(replay.port, b"", path="/dev/status", method="GET")).json


def values(client: Any) -> list[int]:
    """Which pushes came, by their value."""
    states = (json.loads(frame)["data"]["clearinghouseStates"][0][1] for _, frame in client.pushes)
    return [round(float(state["marginSummary"]["accountValue"])) for state in states]


async def test_paused_it_stands_and_then_goes_on_from_there(tmp_path: Path) -> None:
    async with replaying(tmp_path, *TEN) as replay, connected(replay, subscribe(ALICE)) as client:
        await client.until(2.5)
        await do(replay, "pause")
        await client.until(100)
        assert values(client) == [1, 2]
        told = await status(replay)
        assert (told["moment"], told["paused"], told["running"], told["happened"]) == (2.5, True, False, 3)
        await do(replay, "resume")
        await client.until(101)
        assert client.pushes[2] == (100.5, push(ALICE, 3))
        assert (await status(replay))["running"]


async def test_controls_do_not_start_it_and_paused_it_does_not_start_by_itself(tmp_path: Path) -> None:
    async with replaying(tmp_path, *TEN) as replay:
        await do(replay, "pause")
        assert (await status(replay))["moment"] == 0
        async with connected(replay, subscribe(ALICE)) as client:
            await client.until(50)
            assert values(client) == []
            assert await do(replay, "step") == 1  # the connection
            assert await do(replay, "step", happenings=2) == 2
            await client.until(51)
            assert values(client) == [1, 2]
            assert (await status(replay))["moment"] == 2


async def test_a_step_is_one_happening_where_several_come_at_once(tmp_path: Path) -> None:
    lines = [opened(0), came(1, push(ALICE, 1)), came(1, push(ALICE, 2)), came(1, push(ALICE, 3)), end(2)]
    async with replaying(tmp_path, *lines) as replay, connected(replay, subscribe(ALICE)) as client:
        await do(replay, "pause")
        for expected in ([1], [1, 2], [1, 2, 3]):
            assert await do(replay, "step") == 1
            await asyncio.sleep(1)
            assert values(client) == expected
        assert await do(replay, "step", happenings=7) == 0
        told = await status(replay)
        assert (told["over"], told["moment"], told["happened"], told["happenings"]) == (True, 2, 4, 4)


async def test_speed_counts_from_now_on(tmp_path: Path) -> None:
    async with replaying(tmp_path, *TEN) as replay, connected(replay, subscribe(ALICE)) as client:
        await client.until(2)
        await do(replay, "speed", times=4)
        await client.until(3.1)
        assert [at for at, _ in client.pushes] == [1.0, 2.0, 2.25, 2.5, 2.75, 3.0]
        assert (await status(replay))["speed"] == 4


async def test_what_is_advanced_over_comes_at_once_and_in_order(tmp_path: Path) -> None:
    async with replaying(tmp_path, *TEN) as replay, connected(replay, subscribe(ALICE)) as client:
        await client.until(1.5)
        await do(replay, "advance", seconds=4)
        await client.until(1.75)
        assert values(client) == [1, 2, 3, 4, 5]
        await client.until(2.1)
        assert client.pushes[-1] == (2.0, push(ALICE, 6))
        await do(replay, "pause")
        await do(replay, "advance", seconds=2)
        await client.until(50)
        assert values(client) == [1, 2, 3, 4, 5, 6, 7, 8]


async def test_who_comes_back_after_a_jump_finds_the_upstream_as_it_was_then(tmp_path: Path) -> None:
    told: list[str] = []
    lines = [*TEN[:5], asked(4, META, "[4]"), *TEN[5:9], asked(8, META, "[8]"), *TEN[9:]]
    async with replaying(tmp_path, *lines, say=told.append) as replay:
        async with connected(replay, subscribe(ALICE)) as client:
            await client.until(2.5)
            await do(replay, "seek", seconds=8.25)
            await client.until(2.6)
            assert values(client) == [1, 2]  # nothing of what lies between
            assert client.over is not None and client.over[1] == 1006
        async with connected(replay, subscribe(ALICE)) as client:
            await client.until(3)
            assert values(client)[:2] == [8, 9]
            assert (await http(replay.port, META)).body == b"[8]"
            await client.until(20)
        assert len(told) == 1  # it is over
        await do(replay, "seek", seconds=3.5)
        async with connected(replay, subscribe(ALICE)) as client:
            assert not (await status(replay))["over"]
            assert (await http(replay.port, META)).body == b"[4]"
            await client.until(50)
            assert values(client) == [3, 4, 5, 6, 7, 8, 9, 10]
        assert len(told) == 2


async def test_a_jump_into_an_outage_finds_it(tmp_path: Path) -> None:
    lines = [opened(0), came(1, push(ALICE, 1)), closed(2), refused(5, 502), opened(8), end(9)]
    async with replaying(tmp_path, *lines) as replay:
        await do(replay, "seek", seconds=3)
        with pytest.raises(Exception, match="502"):
            async with connected(replay):
                raise AssertionError("let in")
        await do(replay, "seek", seconds=1)
        async with connected(replay, subscribe(ALICE)) as client:
            await client.until(0.5)
            assert values(client) == [1]


async def test_a_moment_can_be_named_by_the_clock_of_then(tmp_path: Path) -> None:
    lines = [dict(line, wall=1_700_000_000 + line["at"]) for line in TEN]
    async with replaying(tmp_path, *lines, began=1_700_000_000) as replay:
        await do(replay, "pause")
        await do(replay, "seek", time=1_700_000_004_500)
        told = await status(replay)
        assert (told["moment"], told["time"], told["happened"]) == (4.5, 1_700_000_004_500, 5)


async def test_a_recording_that_does_not_say_when_has_moments_all_the_same(tmp_path: Path) -> None:
    async with replaying(tmp_path, *TEN, began=None) as replay:
        assert (await status(replay))["time"] is None
        reply = await http(replay.port, {"time": 5}, path="/dev/seek")
        assert (reply.status, reply.body) == (400, b"seek: this recording does not say when it was made")


@pytest.mark.parametrize(
    ("verb", "fields", "text"),
    [
        ("speed", {"times": 0}, "0 is no speed: a number above 0 is needed"),
        ("speed", {}, "times missing"),
        ("step", {"happenings": 0}, "0 is no number of happenings from 1"),
        ("advance", {"seconds": -1}, "-1 is no number of seconds"),
        ("seek", {}, "it takes either seconds or a time"),
        ("seek", {"seconds": 1, "time": 1}, "it takes either seconds or a time"),
        ("seek", {"seconds": 10.5}, "10.5 s is not within the recording's 10 s"),
        ("seek", {"time": -1}, "-0.001 s is not within the recording's 10 s"),
        ("pause", {"now": True}, "no field 'now', it takes none"),
    ],
)
async def test_bad_values_change_nothing(
    tmp_path: Path, verb: str, fields: dict[str, Any], text: str
) -> None:
    async with replaying(tmp_path, *TEN) as replay, connected(replay) as client:
        before = await status(replay)
        reply = await http(replay.port, fields, path=f"/dev/{verb}")
        assert (reply.status, reply.body.decode()) == (400, f"{verb}: {text}")
        assert await status(replay) == before
        assert client.over is None


async def test_they_are_for_this_machine_alone(tmp_path: Path) -> None:
    async with replaying(tmp_path, *TEN) as replay:
        foreign = JSON | {"X-Forwarded-For": "10.0.0.1"}
        for headers, text in (
            (JSON | {"Origin": "http://localhost"}, b"/dev/ is not for web pages"),
            (foreign, b"/dev/ is for this machine alone, not for 10.0.0.1"),
        ):
            reply = await http(replay.port, {}, path="/dev/pause", headers=headers)
            assert (reply.status, reply.body) == (403, text)
        assert not (await status(replay))["paused"]
        reply = await http(replay.port, {}, path="/dev/nope")
        names = ", ".join(sorted([*VERBS, "accounts", "status"]))
        assert (reply.status, reply.body.decode()) == (404, f"no /dev/nope, there are {names}")
