"""A replay on the virtual clock: the same bytes, in the same order, at the recorded distances."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
import websockets
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.server.devnode.client import http
from tests.server.devnode.replay.playing import connected, replaying
from tests.server.devnode.replay.tapes import (
    ALICE,
    BOB,
    asked,
    came,
    closed,
    end,
    opened,
    over,
    push,
    refused,
    state,
    subscribe,
    went,
)


async def test_frames_come_at_their_offsets_to_whom_they_concern(tmp_path: Path) -> None:
    lines = [opened(0), came(1, push(ALICE, 1)), came(1, push(BOB, 1)), came(2.5, push(ALICE, 2)), end(3)]
    async with (
        replaying(tmp_path, *lines) as replay,
        connected(replay, subscribe(ALICE)) as one,
        connected(replay, subscribe(BOB)) as two,
        connected(replay) as neither,
    ):
        await one.until(4)
        assert one.pushes == [(1.0, push(ALICE, 1)), (2.5, push(ALICE, 2))]
        assert two.pushes == [(1.0, push(BOB, 1))]
        assert neither.came == []
        # The acknowledgement is the exchange's own.
        assert json.loads(one.came[0][1])["data"] == subscribe(ALICE)


def fills(*numbers: int, snapshot: bool = False) -> str:
    rows = ",".join(f'{{"tid":{number}}}' for number in numbers)
    head = '"isSnapshot":true,' if snapshot else ""
    return f'{{"channel":"userFills","data":{{{head}"user":"{ALICE}","fills":[{rows}]}}}}'


async def test_who_joins_rows_late_gets_the_snapshot_and_all_rows_since(tmp_path: Path) -> None:
    asks = subscribe(ALICE, "userFills")
    lines = [opened(0), *over(1, opened(0), went(0, asks), came(1, fills(1, snapshot=True)))]
    lines += [*over(1, came(2, fills(2)), came(3, fills(3)), came(9, fills(4))), end(10)]
    async with replaying(tmp_path, *lines) as replay, connected(replay, asks) as one:
        await one.until(5)
        async with connected(replay, asks) as late:
            await one.until(10)
            assert [frame for _, frame in late.pushes] == [frame for _, frame in one.pushes]
            assert len(one.pushes) == 4


async def test_the_end_of_a_socket_is_that_of_what_came_over_it(tmp_path: Path) -> None:
    asks = subscribe(ALICE, "userFills")
    lines = [opened(0), *over(1, opened(0), went(0, asks), came(1, fills(1, snapshot=True)))]
    lines += [came(2, push(ALICE, 1)), *over(1, closed(4, code=1001)), closed(6, code=1000), end(8)]
    async with (
        replaying(tmp_path, *lines) as replay,
        connected(replay, asks) as rows,
        connected(replay, subscribe(ALICE)) as states,
        connected(replay) as neither,
    ):
        await states.until(8)
        assert (rows.over, states.over, neither.over) == ((4.0, 1001), (6.0, 1000), (6.0, 1000))


waits = st.lists(st.tuples(st.floats(0, 30), st.sampled_from([ALICE, BOB]), st.integers(0, 9)), max_size=25)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(waits, st.sampled_from([0.25, 1.0, 3.0, 100.0]))
async def test_any_recording_is_replayed_exactly(
    tmp_path: Path, waits: list[tuple[float, str, int]], speed: float
) -> None:
    at, lines = 0.0, [opened(0)]
    expected = []
    for wait, user, value in waits:
        at = round(at + 0.001 + wait, 6)
        lines.append(came(at, push(user, value)))
        expected.append((at, push(user, value)))
    said: list[str] = []
    async with (
        replaying(tmp_path, *lines, end(at), speed=speed, say=said.append) as replay,
        connected(replay, subscribe(ALICE), subscribe(BOB)) as client,
    ):
        await client.until(at / speed + 1)
        assert [frame for _, frame in client.pushes] == [frame for _, frame in expected]
        for (came_at, _), (recorded_at, _) in zip(client.pushes, expected, strict=True):
            assert came_at == pytest.approx(recorded_at / speed, abs=1e-4)
        assert said == [f"the recording is over ({at:.1f} s): it stays at its end"]


async def test_who_joins_late_gets_the_last_frame_at_once_and_only_once(tmp_path: Path) -> None:
    lines = [opened(0), came(1, push(ALICE, 1)), came(2, push(ALICE, 2)), came(9, push(ALICE, 9)), end(9)]
    async with replaying(tmp_path, *lines) as replay, connected(replay) as client:
        await client.until(5)
        await client.say(subscribe(ALICE))
        await client.until(6)
        assert client.pushes == [(5.0, push(ALICE, 2))]
        await client.say({**subscribe(ALICE), "method": "unsubscribe"}, subscribe(ALICE))
        await client.until(20)
        assert client.pushes[1:] == [(9.0, push(ALICE, 9))]
        # At its end it stays: for who comes then, too.
        async with connected(replay, subscribe(ALICE)) as late:
            await late.until(60)
            assert late.pushes == [(0.0, push(ALICE, 9))]


async def test_time_begins_with_the_first_request(tmp_path: Path) -> None:
    lines = [opened(0), came(1, push(ALICE, 1)), asked(5, {"type": "meta"}, "[5]"), end(9)]
    lines = sorted([*lines[:3], asked(0, {"type": "meta"}, "[0]"), lines[3]], key=lambda line: line["at"])
    async with replaying(tmp_path, *lines) as replay:
        await asyncio.sleep(1000)
        assert (await http(replay.port, b"", path="/dev/accounts", method="GET")).json == [ALICE]
        await asyncio.sleep(1000)
        assert (await http(replay.port, {"type": "meta"})).body == b"[0]"
        async with connected(replay, subscribe(ALICE)) as client:
            await client.until(2)
            assert client.pushes == [(1.0, push(ALICE, 1))]


async def test_messages_of_no_stream_come_to_everyone(tmp_path: Path) -> None:
    odd = '{"channel":"news","data":{"a" : 1.50}}'
    raw = {"kind": "in", "at": 2, "wall": 0, "base64": "//4A"}
    async with (
        replaying(tmp_path, opened(0), came(1, odd), raw, end(3)) as replay,
        connected(replay) as client,
    ):
        await client.until(3)
        assert client.came == [(1.0, odd.encode()), (2.0, b"\xff\xfe\x00")]


async def test_a_cut_comes_after_the_last_frame_and_without_a_goodbye(tmp_path: Path) -> None:
    lines = [opened(0), came(1, push(ALICE, 1)), closed(1), opened(3), came(4, push(ALICE, 4)), end(5)]
    async with replaying(tmp_path, *lines) as replay, connected(replay, subscribe(ALICE)) as client:
        await client.until(2)
        assert client.pushes == [(1.0, push(ALICE, 1))]
        assert client.over == (1.0, 1006)
        # Not what an earlier connection brought: the next one has its own first frames.
        async with connected(replay, subscribe(ALICE)) as again:
            await again.until(3)
            assert again.pushes == [(2.0, push(ALICE, 4))]


@pytest.mark.parametrize(("code", "seen"), [(1001, 1001), (4321, 4321), (1000, 1000), (1005, 1000)])
async def test_a_goodbye_has_its_code(tmp_path: Path, code: int, seen: int) -> None:
    lines = [opened(0), closed(1, code=code, why="gone"), opened(2), end(3)]
    async with replaying(tmp_path, *lines) as replay, connected(replay) as client:
        await client.until(2)
        assert client.over == (1.0, seen)
        assert client.connection.close_reason == "gone"


async def test_a_dial_shares_the_fate_of_the_recordings_next_one(tmp_path: Path) -> None:
    lines = [
        refused(1, 429),
        refused(2),
        opened(3),
        closed(4),
        opened(5),
        closed(6, by="us"),
        opened(9),
        end(9),
    ]
    async with replaying(tmp_path, *lines) as replay:
        loop = asyncio.get_running_loop()

        async def dial() -> int:
            try:
                async with connected(replay):
                    return 101
            except websockets.InvalidStatus as error:
                return error.response.status_code

        began = loop.time()
        fates = []
        for moment in (0.0, 1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 9.5):
            await asyncio.sleep(began + moment - loop.time())
            fates.append(await dial())
        assert fates == [429, 503, 101, 101, 101, 101, 101, 101]


async def test_without_drops_nobody_is_cut_or_refused(tmp_path: Path) -> None:
    lines = [refused(1), opened(2), came(3, push(ALICE, 3)), closed(4, code=1001), refused(5), end(9)]
    async with (
        replaying(tmp_path, *lines, drops=False) as replay,
        connected(replay) as client,
    ):
        await client.until(10)
        assert client.over is None
        await client.say(subscribe(ALICE))
        await client.until(11)
        assert client.pushes == [(10.0, push(ALICE, 3))]


async def test_reads_take_the_time_they_took(tmp_path: Path) -> None:
    meta, mids = {"type": "meta"}, {"type": "allMids"}
    lines = [asked(1, meta, "[1]", took=2), asked(4, mids, None, took=6), end(20)]
    async with replaying(tmp_path, *lines, speed=2.0) as replay:
        loop = asyncio.get_running_loop()
        began = loop.time()
        reply = await http(replay.port, meta)
        assert (reply.status, reply.body, reply.headers["content-type"]) == (200, b"[1]", "application/json")
        assert loop.time() - began == pytest.approx(1.0, abs=0.01)
        began = loop.time()
        with pytest.raises((ConnectionError, ValueError, IndexError)):  # cut: not a byte of an answer
            await http(replay.port, mids)
        assert loop.time() - began == pytest.approx(3.0, abs=0.01)


async def test_what_is_no_request_is_refused_as_the_exchange_does(tmp_path: Path) -> None:
    async with replaying(tmp_path, opened(0), end(1)) as replay:
        replies = [
            await http(replay.port, b"{", headers={"Content-Type": "application/json"}),
            await http(replay.port, {"type": "x"}, headers={"Content-Type": "text/plain"}),
            await http(replay.port, b"[]"),
            await http(replay.port, b"", method="GET"),
            await http(replay.port, b"", path="/nope"),
            await http(replay.port, b" " * ((2 << 20) + 1)),
        ]
        assert [reply.status for reply in replies] == [400, 415, 422, 405, 404, 413]
        written = await http(replay.port, {"action": {}}, path="/exchange")
        assert written.json == {"status": "err", "response": "A replay takes no actions."}


async def test_requests_over_the_websocket_are_answered_too(tmp_path: Path) -> None:
    def post(kind: str, payload: object) -> dict[str, Any]:
        return {"method": "post", "id": 7, "request": {"type": kind, "payload": payload}}

    lines = [asked(0, {"type": "meta"}, '{"a" : 1.50}', took=9), asked(9, {"type": "allMids"}, None), end(10)]
    async with (
        replaying(tmp_path, *lines) as replay,
        connected(
            replay,
            {"method": "ping"},
            post("info", {"type": "meta"}),
            post("info", {"type": "allMids"}),
            post("info", {"type": "?"}),
            post("info", 1),
            post("action", {}),
            "{",
            subscribe(ALICE),
            subscribe(ALICE),
            {**subscribe(BOB), "method": "unsubscribe"},
        ) as client,
    ):
        await client.until(1)
        said = [json.loads(frame) for _, frame in client.came]
        assert said[0] == {"channel": "pong"}
        assert client.came[1][1].endswith(b'"payload":{"type":"meta","data":{"a" : 1.50}}}}}')
        kinds = [one["data"]["response"]["type"] for one in said[1:6]]
        assert kinds == ["info", "error", "error", "error", "action"]
        assert [one["channel"] for one in said[6:]] == ["error", "subscriptionResponse", "error", "error"]


async def test_what_it_says_of_itself(tmp_path: Path) -> None:
    gap = {"kind": "gap", "at": 2, "wall": 0, "since": 1, "records": 3, "bytes": 4}
    lines = [opened(0), came(1, push(ALICE, 1)), gap, asked(3, {"type": "meta"}, "[]")]
    async with replaying(tmp_path, *lines, speed=2) as replay:
        assert repr(replay) == (
            "<Replay of tape.jsonl: 3.0 s, 1 frames and 1 answers of 1 accounts, at speed 2>"
        )
        text = replay.describe("h", 1)
        assert "note      3 records are missing from it, in 1 places" in text
        assert "tape.jsonl was cut off or is still being written" in text


async def test_a_client_that_goes_away_leaves_nothing_behind(tmp_path: Path) -> None:
    async with replaying(
        tmp_path, opened(0), came(1, push(ALICE, 1)), came(5, push(ALICE, 5)), end(6)
    ) as replay:
        async with connected(replay, subscribe(ALICE)) as client:
            await client.until(2)
            client.connection.transport.abort()
            await client.until(3)
            assert replay.player._connected == {} and replay.player._channels == {}
        async with connected(replay, subscribe(ALICE)) as client:
            await client.until(4)
            assert [frame for _, frame in client.pushes] == [push(ALICE, 1), push(ALICE, 5)]
    assert state(1) in push(ALICE, 1)


async def test_a_request_whose_client_left_before_its_end_is_none(tmp_path: Path) -> None:
    async with replaying(tmp_path, opened(0), came(1, push(ALICE, 1)), end(2)) as replay:
        _, writer = await asyncio.open_connection("127.0.0.1", replay.port)
        writer.write(b"POST /dev/step HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\n{}")
        await asyncio.sleep(1)
        writer.transport.abort()
        await asyncio.sleep(1)
        assert replay.player.status()["happened"] == 0


async def test_what_came_with_a_200_and_is_no_json_is_no_answer_over_the_websocket(tmp_path: Path) -> None:
    post = {"method": "post", "id": 1, "request": {"type": "info", "payload": {"type": "meta"}}}
    page = "<html>busy</html>"
    async with (
        replaying(tmp_path, asked(0, {"type": "meta"}, page, content_type="text/html"), end(1)) as replay,
        connected(replay, post, {"method": "ping"}) as client,
    ):
        await client.until(1)
        answer, pong = (json.loads(frame) for _, frame in client.came)
        assert answer["data"]["response"] == {"type": "error", "payload": f"200: {page}"}
        assert pong == {"channel": "pong"}
