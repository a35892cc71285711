"""Writes: the client's bytes, once, whatever happens on the way, and what the client is told."""

import asyncio
from pathlib import Path

import pytest

from server.devnode.faults import Stage
from tests.callers import Reply
from tests.virtual import ALICE, CAROL, WRITE, World, deaf_connector, running

ODD = (
    b' { "action" : {"type":"cancel" ,"cancels":[{"a":0,"o":1e0}]}, "signature":{"v":27.0,"r":"0x\\u0031"},\n'
    b'"nonce": 17, "vaultAddress":null , "later": 1.50, "later": 2 }'
)
"""Legal, and no JSON library writes it back the way it is."""


CANCEL = (
    b'{"action":{"type":"cancel","cancels":[{"a":0,"o":1}]},"nonce":1,'
    b'"signature":{"r":"0x1","s":"0x2","v":27}}'
)
"""What nobody signed: the exchange says so with a 200."""


def is_not_sent(reply: Reply) -> bool:
    return (reply.status, reply.json["error"], reply.json["outcome"]) == (
        502,
        "upstream unavailable",
        "not sent",
    )


def is_unknown(reply: Reply) -> bool:
    assert "orderStatus" in reply.json["find_out"]
    assert "x-replica-not-before" in reply.headers
    return (reply.status, reply.json["error"], reply.json["outcome"]) == (504, "upstream timeout", "unknown")


async def hang_up(world: World) -> None:
    """Leave no pooled connection, so that the next request opens one."""
    world.upstream.hang_up_idle()
    await asyncio.sleep(0.01)


async def test_the_clients_bytes_go_up_and_the_upstreams_come_down() -> None:
    async with running() as world:
        answer = b'{"status":"ok" , "response":{"type":"cancel","data":{"statuses":["success"]}}}'
        world.upstream.faults.answer(
            200, answer, path="/exchange", content_type="application/json; charset=x"
        )
        reply = await world.write(ODD, content_type="application/json;charset=UTF-8")
        assert world.upstream.writes == [ODD]
        assert (reply.status, reply.body) == (200, answer)
        assert reply.headers["content-type"] == "application/json; charset=x"
        assert reply.source == "upstream"
        assert int(reply.headers["x-replica-not-before"]) >= world.upstream.now_ms()


@pytest.mark.parametrize(
    ("status", "body", "content_type"),
    [
        (200, b'{"status":"err","response":"Unable to recover signer."}', "application/json"),
        (422, b"Failed to deserialize the JSON body into the target type", "text/plain"),
        (429, b"null", "application/json"),
        (500, b"null", "application/json"),
        (502, b"<html>", "text/html"),
    ],
)
async def test_refusals_of_the_upstream_come_back_unchanged(
    status: int, body: bytes, content_type: str
) -> None:
    async with running() as world:
        world.upstream.faults.answer(status, body, content_type=content_type)
        reply = await world.write()
        assert (reply.status, reply.body, reply.headers["content-type"]) == (status, body, content_type)
        assert len(world.upstream.writes) == 1


@pytest.mark.parametrize("stage", Stage)
@pytest.mark.parametrize("connection", ["new", "pooled"])
async def test_a_write_cut_anywhere_is_seen_once_at_most_and_its_outcome_is_unknown(
    connection: str, stage: Stage
) -> None:
    async with running() as world:
        upstream = world.upstream
        if connection == "pooled":
            await world.write(ODD)
        if connection == "new" or stage is Stage.CONNECTED:
            await hang_up(world)
        write, value = upstream.transfer(ALICE, 1.0), upstream.value(ALICE)
        upstream.faults.cut(stage)
        arrived, read = len(upstream.seen.heads), len(upstream.writes)
        assert is_unknown(await world.write(write))
        await asyncio.sleep(60)
        # Nobody tried again behind the client's back, at any point.
        assert len(upstream.seen.heads) - arrived == (stage is not Stage.CONNECTED)
        assert len(upstream.writes) - read == (stage in (Stage.READ, Stage.DONE, Stage.ANSWER))
        assert upstream.value(ALICE) - value == (stage in (Stage.DONE, Stage.ANSWER))
        # And the next one goes through.
        assert (await world.write()).status == 200


@pytest.mark.parametrize("raw", [b"SSH-2.0\r\n\r\n", b"", b"HTTP/1.1 200 OK\r\n\r\n" * 2, b"\x00" * 100])
async def test_an_answer_that_is_none_is_an_unknown_outcome(raw: bytes) -> None:
    async with running() as world:
        world.upstream.faults.answer_raw(raw or b"\r\n", path="/exchange")
        reply = await world.write()
        assert reply.status == 200 if b"200" in raw else is_unknown(reply)
        assert len(world.upstream.writes) == 1


async def test_nobody_listening_is_not_sent() -> None:
    async with running() as world:
        await hang_up(world)
        world.upstream.refuse_connections()
        assert is_not_sent(await world.write())
        assert world.upstream.writes == []


async def test_no_connection_in_time_is_not_sent() -> None:
    async with running(connector=deaf_connector, warm=False, connect_timeout_s=3) as world:
        began = asyncio.get_running_loop().time()
        assert is_not_sent(await world.write())
        assert asyncio.get_running_loop().time() - began == pytest.approx(3.0)


async def test_no_free_connection_in_time_is_not_sent() -> None:
    async with running(write_connections=1, connect_timeout_s=3, write_timeout_s=20) as world:
        world.upstream.faults.hang(path="/exchange")
        first = asyncio.create_task(world.write())
        await asyncio.sleep(0.1)
        assert is_not_sent(await world.write(ODD))
        assert is_unknown(await first)
        assert world.upstream.writes == [WRITE]


async def test_a_write_that_is_not_answered_times_out_with_an_unknown_outcome() -> None:
    async with running(write_timeout_s=20) as world:
        world.upstream.faults.hang(path="/exchange")
        began = asyncio.get_running_loop().time()
        assert is_unknown(await world.write())
        assert asyncio.get_running_loop().time() - began == pytest.approx(20.0)
        assert world.upstream.writes == [WRITE]


async def test_a_write_over_a_connection_that_idled_out_goes_over_a_new_one() -> None:
    async with running() as world:
        await world.write()
        await hang_up(world)
        connections = world.upstream.seen.connections
        assert (await world.write()).status == 200
        assert world.upstream.seen.connections == connections + 1
        assert len(world.upstream.writes) == 2


async def test_identical_writes_are_two_writes() -> None:
    async with running() as world:
        world.upstream.faults.latency(0.1)
        replies = await asyncio.gather(world.write(), world.write())
        assert [reply.status for reply in replies] == [200, 200]
        assert world.upstream.writes == [WRITE, WRITE]


async def test_reads_cannot_starve_a_write() -> None:
    async with running(read_connections=2) as world:
        world.upstream.faults.hang(path="/info")
        reads = [asyncio.create_task(world.info({"type": "meta", "n": n})) for n in range(20)]
        await asyncio.sleep(0.1)
        began = asyncio.get_running_loop().time()
        assert (await world.write()).status == 200
        assert asyncio.get_running_loop().time() == began
        assert {(await read).status for read in reads} == {504}


async def test_a_write_the_budget_cannot_pay_is_not_sent() -> None:
    async with running(upstream_weight_per_minute=40, write_reserve_weight=20) as world:
        # 20 went into the dex list.
        statuses = [(await world.write()).status for _ in range(21)]
        assert statuses == [200] * 20 + [429]
        assert len(world.upstream.writes) == 20
        reply = await world.write()
        assert (reply.body, reply.headers["content-type"]) == (b"null", "application/json")
        await asyncio.sleep(int(reply.headers["retry-after"]))
        assert (await world.write()).status == 200


@pytest.mark.parametrize("parts", [2, 7, len(WRITE)])
async def test_a_client_that_leaves_in_mid_body_sent_nothing(parts: int) -> None:
    async with running() as world:
        headers = [("content-type", "application/json")]
        assert (await world.request("POST", "/exchange", WRITE, headers, parts=parts)).status == 200
        reply = await world.request("POST", "/exchange", WRITE, headers, parts=parts, leaves=True)
        assert reply.status == 0
        await asyncio.sleep(60)
        assert world.upstream.writes == [WRITE]


# Policy


@pytest.mark.parametrize(
    ("settings", "body", "says"),
    [
        ({"read_only": True}, WRITE, "this server is read-only"),
        ({"allowed_actions": ("cancel",)}, WRITE, "action type order is not allowed here"),
    ],
)
async def test_what_policy_refuses_never_leaves(settings: dict[str, object], body: bytes, says: str) -> None:
    async with running(ALICE, **settings) as world:
        reply = await world.write(body)
        assert reply.status == 403
        assert reply.json == {"error": says, "code": 403, "msg": says, "outcome": "not sent"}
        assert world.upstream.seen.heads.count("/exchange") == 0
        # Nothing was written: no read pays for it.
        assert (await world.state(ALICE)).source == "memory"


async def test_allowed_actions_pass() -> None:
    async with running(allowed_actions=("cancel", "order")) as world:
        writes = (WRITE, CANCEL)
        assert [(await world.write(body)).status for body in writes] == [200, 200]
        assert world.upstream.writes == list(writes)


async def test_the_kill_switch_works_while_its_file_is_there(tmp_path: Path) -> None:
    switch = tmp_path / "stop"
    async with running(kill_switch_file=str(switch)) as world:
        assert (await world.write()).status == 200
        switch.touch()
        reply = await world.write()
        assert (reply.status, reply.json["outcome"]) == (403, "not sent")
        assert (await world.state(CAROL)).status == 200
        switch.unlink()
        assert (await world.write()).status == 200
        assert len(world.upstream.writes) == 2


@pytest.mark.parametrize(
    ("body", "content_type", "status", "says"),
    [
        (WRITE, None, 415, b"Expected request with `Content-Type: application/json`"),
        (WRITE, "text/plain", 415, b"Expected request with `Content-Type: application/json`"),
        (b"{", "application/json", 400, b"Failed to parse the request body as JSON"),
        (b"", "application/json", 400, b"Failed to parse the request body as JSON"),
        *(
            (body, "application/json", 422, b"Failed to deserialize the JSON body into the target type")
            for body in (
                b"[]",
                b"{}",
                b'{"action":{},"nonce":1,"signature":{}}',
                b'{"action":{"type":1},"nonce":1,"signature":{}}',
                b'{"action":{"type":"order"},"nonce":"1","signature":{}}',
                b'{"action":{"type":"order"},"nonce":true,"signature":{}}',
                b'{"action":{"type":"order"},"nonce":1,"signature":"0x"}',
                b'{"action":{"type":"order"},"nonce":1}',
            )
        ),
    ],
)
async def test_a_body_that_is_no_write_is_refused_in_the_wires_words(
    body: bytes, content_type: str | None, status: int, says: bytes
) -> None:
    async with running() as world:
        reply = await world.write(body, content_type=content_type)
        assert (reply.status, reply.body) == (status, says)
        assert reply.headers["content-type"].startswith("text/plain")
        assert world.upstream.seen.heads.count("/exchange") == 0
