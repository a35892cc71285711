"""JSON-RPC 2.0: its own examples, the vendors' methods, and whatever bytes come."""

import asyncio
import json
from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from server.jsonrpc import METHODS, MOST_CALLS, Call, answered, read, whole
from server.queries.batches import KINDS
from server.reply import (
    BATCH_TOO_MANY,
    HANDLER_FAILED,
    NOT_DESERIALIZED,
    OUR_FAULT,
    UPSTREAM_TIMEOUT,
    Reply,
    too_many_requests,
)
from tests.callers import Reply as Received
from tests.virtual import ALICE, BOB, CAROL, World, running, serving

V = {"jsonrpc": "2.0"}
ONE = V | {"id": 1, "method": "hl_portfolioState", "params": {"user": ALICE}}


def response(raw: bytes) -> Any:
    """The one response that is known without asking anybody."""
    calls, batch = read(raw)
    assert not batch and len(calls) == 1 and isinstance(calls[0], bytes)
    return json.loads(calls[0])


def error(raw: bytes) -> tuple[Any, int]:
    said = response(raw)
    assert set(said) == {"jsonrpc", "id", "error"} and said["jsonrpc"] == "2.0"
    return said["id"], said["error"]["code"]


# Reading


def test_every_method_is_a_type_that_is_answered_here() -> None:
    assert set(METHODS.values()) <= set(KINDS)


@pytest.mark.parametrize(
    ("raw", "id_", "code"),
    [
        # The specification's own.
        (b'{"jsonrpc": "2.0", "method": "foobar, "params": "bar", "baz]', None, -32700),
        (b'[{"jsonrpc": "2.0", "method": "sum", "params": [1,2,4], "id": "1"},{"jsonrpc"', None, -32700),
        (b'{"jsonrpc": "2.0", "method": "foobar", "id": "1"}', "1", -32601),
        (b'{"jsonrpc": "2.0", "method": 1, "params": "bar"}', None, -32600),
        (b"[]", None, -32600),
        # Beyond it.
        (b"", None, -32700),
        (b"\xff", None, -32700),
        (b'{"id":"\xff"}', None, -32700),
        (b"[" * 100_000, None, -32700),
        (b'{"a":' * 100_000, None, -32700),
        (b"null", None, -32600),
        (b"7", None, -32600),
        (b'{"jsonrpc":"2.0","id":{},"method":"hl_portfolioState"}', None, -32600),
        (b'{"jsonrpc":"2.0","id":true,"method":"hl_portfolioState"}', None, -32600),
        (b'{"jsonrpc":"1.0","id":4,"method":"hl_portfolioState"}', 4, -32600),
        (b'{"id":4,"method":"hl_portfolioState"}', 4, -32600),
        (b'{"jsonrpc":"2.0","id":4}', 4, -32600),
        (b'{"jsonrpc":"2.0","id":4,"method":null}', 4, -32600),
        (b'{"jsonrpc":"2.0","id":4,"method":"hl_portfolioState","params":"x"}', 4, -32600),
        (b'{"jsonrpc":"2.0","id":4,"method":"hl_portfolioState","params":null}', 4, -32600),
        (b'{"jsonrpc":"2.0","id":4,"method":"hl_portfolioState","params":["0x"]}', 4, -32602),
        (b'{"jsonrpc":"2.0","id":4,"method":"eth_blockNumber","params":[]}', 4, -32601),
        (b'{"jsonrpc":"2.0","id":4,"method":"openOrders","params":{}}', 4, -32601),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_is_wrong_is_said_in_the_standards_codes(raw: bytes, id_: Any, code: int) -> None:
    assert error(raw) == (id_, code)


def test_a_batch_is_answered_call_by_call_and_notifications_not_at_all() -> None:
    calls, batch = read(
        orjson.dumps(
            [ONE, 1, V | {"method": "hl_portfolioState"}, {"foo": "boo"}, V | {"method": "x", "id": 5}]
        )
    )
    assert batch
    assert calls[0] == Call(b"1", "portfolioState", {"user": ALICE})
    said = [json.loads(call) for call in calls[1:] if isinstance(call, bytes)]
    assert [(one["id"], one["error"]["code"]) for one in said] == [
        (None, -32600),
        (None, -32600),
        (5, -32601),
    ]


def test_notifications_alone_get_no_content() -> None:
    for raw in (
        V | {"method": "hl_portfolioState"},
        [V | {"method": "x"}, V | {"method": "hl_portfolioState"}],
    ):
        calls, batch = read(orjson.dumps(raw))
        assert calls == ()
        assert whole([], batch=batch) == Reply(204, [], b"")


def test_a_batch_has_a_bound() -> None:
    assert len(read(orjson.dumps([ONE] * MOST_CALLS)).calls) == MOST_CALLS
    assert error(orjson.dumps([ONE] * (MOST_CALLS + 1))) == (None, -32600)


@pytest.mark.parametrize(
    "id_", [b"12345678901234567890123456789", b"1.50", b'"\\u0041 "', b"null", b"-0", b"1E3"]
)
def test_an_id_comes_back_as_the_bytes_it_was(id_: bytes) -> None:
    calls, _ = read(b'{"jsonrpc":"2.0", "id" : %s ,"method":"hl_portfolioState"}' % id_)
    assert calls == (Call(id_, "portfolioState", {}),)
    assert answered(id_, Reply(200, [], b" [1.50]")) == b'{"jsonrpc":"2.0","id":%s,"result": [1.50]}' % id_


@pytest.mark.parametrize(
    ("reply", "code", "message", "data"),
    [
        (BATCH_TOO_MANY, -32602, "too many users", {"status": 413}),
        (
            NOT_DESERIALIZED,
            -32602,
            "Failed to deserialize the JSON body into the target type",
            {"status": 422},
        ),
        (too_many_requests(6.2), -32005, "too many requests", {"status": 429, "retryAfter": 7}),
        (UPSTREAM_TIMEOUT, -32002, "upstream timeout", {"status": 504}),
        (Reply(502, [], b""), -32002, "upstream unavailable", {"status": 502}),
        (HANDLER_FAILED, -32603, "internal error", {"status": 500}),
        (OUR_FAULT, -32603, "internal error", {"status": 500}),
    ],
)
def test_a_refusal_keeps_its_words_and_its_status(
    reply: Reply, code: int, message: str, data: dict[str, int]
) -> None:
    said = json.loads(answered(b"1", reply))
    assert said == {"jsonrpc": "2.0", "id": 1, "error": {"code": code, "message": message, "data": data}}


# Whatever comes

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
params = st.one_of(
    values,
    st.fixed_dictionaries(
        {},
        optional={
            "user": st.sampled_from([ALICE, BOB, "x"]) | values,
            "users": st.lists(st.sampled_from([ALICE, BOB, "x"]) | values, max_size=3) | values,
            "dex": st.sampled_from(["", "xyz", "nope", "ALL_DEXES"]) | values,
            "type": values,
        },
    ),
)
calls = st.one_of(
    values,
    st.fixed_dictionaries(
        {},
        optional={
            "jsonrpc": st.just("2.0") | values,
            "id": values,
            "method": st.sampled_from([*METHODS, "x"]) | values,
            "params": params,
        },
    ),
    st.fixed_dictionaries(
        {"jsonrpc": st.just("2.0"), "id": st.integers() | st.text(max_size=3), "params": params}
        | {"method": st.sampled_from([*METHODS])}
    ),
)
bodies = st.one_of(
    st.binary(max_size=60),
    (calls | st.lists(calls, max_size=5)).map(lambda value: json.dumps(value).encode()),
    st.tuples(calls, st.integers(0, 200)).map(lambda cut: json.dumps(cut[0]).encode()[: cut[1]]),
)


def check(raw: bytes, status: int, body: bytes) -> None:
    """What every answer has: one response for each call that is no notification, in its shape."""
    if status == 204:
        assert body == b""
        return
    assert status == 200
    answer = json.loads(body)
    responses = answer if isinstance(answer, list) else [answer]
    assert responses
    for one in responses:
        assert one["jsonrpc"] == "2.0"
        assert set(one) in ({"jsonrpc", "id", "result"}, {"jsonrpc", "id", "error"})
        if "error" in one:
            assert isinstance(one["error"]["code"], int)
            assert isinstance(one["error"]["message"], str) and one["error"]["message"]
    try:
        asked = json.loads(raw)
    except ValueError:
        return
    if isinstance(answer, list):
        ids = {json.dumps(one["id"]) for one in responses}
        assert len(responses) <= len(asked)
        assert ids <= {json.dumps(one.get("id") if isinstance(one, dict) else None) for one in asked} | {
            "null"
        }


@given(bodies)
@example(
    b'{"jsonrpc":"2.0","id":1,"method":"hl_portfolioState","params":{"user":'
    + b"[" * 1000
    + b"]" * 1000
    + b"}}"
)
@example(b'{"jsonrpc":"2.0","id":"\\ud800","method":"x"}')
@example(b'{"jsonrpc":"2.0","id":1e999,"method":"x"}')
def test_reading_never_raises_and_every_response_is_one(raw: bytes) -> None:
    calls, batch = read(raw)
    responses = [
        call if isinstance(call, bytes) else answered(call.id, Reply(200, [], b"1")) for call in calls
    ]
    reply = whole(responses, batch=batch)
    check(raw, reply.status, reply.body)


@settings(max_examples=15)
@given(st.lists(bodies, min_size=20, max_size=40))
async def test_the_server_answers_whatever_comes(raws: list[bytes]) -> None:
    async with running(ALICE) as world:
        for raw in raws:
            reply = await world.post("/", raw)
            check(raw, reply.status, reply.body)


# Over the whole program


async def call(world: World, method: str, path: str = "/", **params: Any) -> Received:
    return await world.post(path, V | {"id": "x", "method": method, "params": params})


@pytest.mark.parametrize("dex", [{}, {"dex": "xyz"}, {"dex": "ALL_DEXES"}], ids=str)
@pytest.mark.parametrize("method", METHODS)
async def test_a_result_is_what_info_answers(method: str, dex: dict[str, str]) -> None:
    who: dict[str, Any] = {"users": [BOB, ALICE, "x"]} if "batch" in method else {"user": ALICE}
    async with running(ALICE) as world:
        result = (await call(world, method, **who, **dex)).json
        plain = await world.info({"type": METHODS[method], **who, **dex})
        assert result == {"jsonrpc": "2.0", "id": "x", "result": plain.json}


@pytest.mark.parametrize("path", ["/", "/hypercore", "/some-key/hypercore"])
async def test_every_path_of_the_vendors_is_served(path: str) -> None:
    async with running(ALICE) as world:
        reply = await call(world, "hl_batchClearinghouseStates", path, users=[ALICE])
        assert (reply.status, reply.source, reply.headers["content-type"]) == (
            200,
            "memory",
            "application/json",
        )
        assert reply.json["result"]["successful_states"][0][0] == ALICE


async def test_only_posts_are_calls() -> None:
    async with running() as world:
        assert (await world.request("GET", "/")).status == 404
        assert (await world.request("OPTIONS", "/")).status == 200
        assert (await world.post("/", orjson.dumps(ONE), content_type="text/plain")).status == 415
        assert (await world.post("/health/hypercore/x", orjson.dumps(ONE))).status == 404


async def test_a_notification_asks_nobody_anything() -> None:
    async with running() as world:
        reply = await world.post("/", V | {"method": "hl_portfolioState", "params": {"user": CAROL}})
        assert (reply.status, reply.body) == (204, b"")
        assert "content-length" not in reply.headers
        assert world.upstream.requests == []


async def test_a_notification_leaves_the_connection_good_for_the_next_call() -> None:
    async with serving(ALICE) as (_, site):
        caller = await site.call()
        caller.send(V | {"method": "hl_portfolioState"}, "/")
        head = (await caller.reader.readuntil(b"\r\n\r\n")).lower()
        assert head.startswith(b"http/1.1 204 ")
        assert b"content-length" not in head and b"transfer-encoding" not in head
        reply = await caller.ask(ONE, "/")
        assert (reply.status, reply.json["id"]) == (200, 1)


async def test_calls_of_a_batch_are_made_side_by_side() -> None:
    async with running(batch_deadline_s=5) as world:
        world.upstream.faults.latency(1.0)
        world.upstream.faults.hang(user=BOB)
        users = [ALICE, BOB, CAROL]
        began = asyncio.get_running_loop().time()
        batch = [
            V | {"id": n, "method": "hl_portfolioState", "params": {"user": user}}
            for n, user in enumerate(users)
        ]
        reply = await world.post("/", orjson.dumps(batch))
        assert asyncio.get_running_loop().time() - began <= 5.1
        assert [one["id"] for one in reply.json] == [0, 1, 2]
        assert ["result" in one for one in reply.json] == [True, False, True]
        assert reply.json[1]["error"] == {
            "code": -32002,
            "message": "upstream timeout",
            "data": {"status": 504},
        }


async def test_freshness_is_asked_for_in_headers_as_on_info() -> None:
    async with running() as world:
        reply = await world.post("/", ONE, cache_control="only-if-cached")
        assert reply.json["error"]["data"] == {"status": 504}
        assert world.upstream.requests == []
        assert "result" in (await world.post("/", ONE, cache_control="no-cache")).json
        reply = await world.post("/", ONE, cache_control="max-age=x")
        assert reply.json["error"]["code"] == -32602


async def test_a_denied_type_is_denied_here_too() -> None:
    async with running(denied_types=("portfolioState",)) as world:
        reply = await world.post("/", ONE)
        assert reply.json["error"]["code"] == -32004
        assert world.upstream.requests == []


async def test_the_official_array_is_for_info_alone() -> None:
    async with running(ALICE, batch_official=True) as world:
        assert isinstance((await world.batch([ALICE])).json, list)
        reply = await call(world, "hl_batchClearinghouseStates", users=[ALICE])
        assert set(reply.json["result"]) == {"successful_states", "failed_wallets"}
