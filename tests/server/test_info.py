"""POST /info: what is refused, in whose words, and what is answered at once."""

import asyncio
import inspect
from typing import Any

import pytest

from server.info import is_json
from server.reply import Reply
from tests.virtual import ALICE, CAROL, running

MALFORMED = b"Failed to deserialize the JSON body into the target type"
STATE = {"type": "clearinghouseState"}


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        (b"[]", 422, MALFORMED),
        (b"null", 422, MALFORMED),
        (b'"meta"', 422, MALFORMED),
        ({}, 422, MALFORMED),
        ({"type": None}, 422, MALFORMED),
        ({"type": 1}, 422, MALFORMED),
        ({"type": ["meta"]}, 422, MALFORMED),
        (STATE, 422, MALFORMED),
        (STATE | {"user": None}, 422, MALFORMED),
        (STATE | {"user": 1}, 422, MALFORMED),
        (STATE | {"user": "nobody"}, 422, MALFORMED),
        (STATE | {"user": ALICE + "00"}, 422, MALFORMED),
        (STATE | {"user": ALICE + "\n"}, 422, MALFORMED),
        (STATE | {"user": ALICE, "dex": 1}, 422, MALFORMED),
        (b"{", 400, b'{"error":"invalid JSON body"}'),
        (b"\xff", 400, b'{"error":"invalid JSON body"}'),
        (b"[" * 100_000, 400, b'{"error":"invalid JSON body"}'),
        (b'{"type":"\\ud800"}', 400, b'{"error":"invalid JSON body"}'),
    ],
    ids=lambda value: str(value)[:50],
)
async def test_what_can_not_be_meant_never_reaches_the_upstream(
    body: bytes | dict[str, Any], status: int, says: bytes
) -> None:
    async with running() as world:
        reply = await world.info(body)
        assert (reply.status, reply.body) == (status, says)
        assert world.upstream.requests == []


@pytest.mark.parametrize(
    ("content_type", "accepted"),
    [
        ("application/json", True),
        ("Application/JSON; charset=utf-8", True),
        ("application/json;charset=utf-8", True),
        ("application/json ; charset=utf-8", True),
        ("application/jsonp", False),
        ("application/json-seq; charset=utf-8", False),
        ("text/plain", False),
        ("application/x-www-form-urlencoded", False),
        (None, False),
        ("", False),
    ],
)
async def test_the_body_must_say_that_it_is_json(content_type: str | None, accepted: bool) -> None:
    async with running(ALICE) as world:
        reply = await world.info(STATE | {"user": ALICE}, content_type=content_type)
        assert reply.status == (200 if accepted else 415)
        if not accepted:
            assert reply.body == b"Expected request with `Content-Type: application/json`"
            assert reply.headers["content-type"].startswith("text/plain")
        headers = [] if content_type is None else [(b"content-type", content_type.encode())]
        assert is_json(headers) is accepted


async def test_denied_types_are_refused() -> None:
    async with running(denied_types=("fileSnapshot", "userRole")) as world:
        for type_ in ("fileSnapshot", "userRole"):
            reply = await world.info({"type": type_})
            assert (reply.status, set(reply.json)) == (403, {"error", "code", "msg"})
        assert world.upstream.requests == []


async def test_types_answered_from_memory_can_be_denied_too() -> None:
    async with running(ALICE, denied_types=("batchClearinghouseStates", "clearinghouseState")) as world:
        assert (await world.batch([ALICE])).status == 403
        assert (await world.state(ALICE)).status == 403


@pytest.mark.parametrize("value", ["max-age=x", "max-age"])
async def test_directives_that_can_not_be_meant(value: str) -> None:
    async with running(ALICE) as world:
        assert (await world.state(ALICE, cache_control=value)).status == 400
        assert (await world.info({"type": "meta"}, cache_control=value)).status == 400
        assert world.upstream.requests == []


async def test_what_memory_holds_is_answered_without_a_coroutine() -> None:
    async with running(ALICE) as world:
        headers = [(b"content-type", b"application/json")]
        held = world.program.info.begin(
            b'{"type":"clearinghouseState","user":"%s"}' % ALICE.encode(), headers, ""
        )
        assert isinstance(held, Reply)
        batch = b'{"type":"batchClearinghouseStates","users":["%s"]}' % ALICE.encode()
        assert isinstance(world.program.info.begin(batch, headers, ""), Reply)
        miss = world.program.info.begin(
            b'{"type":"clearinghouseState","user":"%s"}' % CAROL.encode(), headers, ""
        )
        assert inspect.iscoroutine(miss)
        assert (await miss).status == 200


async def test_a_null_dex_is_the_main_one() -> None:
    async with running(ALICE) as world:
        reply = await world.info(STATE | {"user": ALICE, "dex": None})
        assert (reply.status, reply.source) == (200, "memory")
        assert reply.body == (await world.state(ALICE)).body


async def test_a_miss_asks_just_what_is_remembered() -> None:
    # A second "user" is nothing a lenient upstream may answer into our memory of the first.
    other = ALICE.upper().replace("X", "x")
    body = b'{ "user":"%s","type" : "clearinghouseState","user":"%s" }' % (other.encode(), CAROL.encode())
    async with running() as world:
        assert (await world.info(body)).status == 200
        asked = b'{"type":"clearinghouseState","user":"%s"}' % CAROL.encode()
        assert [request.body for request in world.upstream.requests] == [asked]


async def test_a_forwarded_read_shares_no_answer_older_than_it_may_be() -> None:
    async with running() as world:
        world.upstream.faults.latency(4.0)
        first = asyncio.create_task(world.info({"type": "meta"}))
        await asyncio.sleep(2)
        now_ms = world.program.replica.upstream_now_ms()
        asked = (
            {"cache_control": "max-age=60"},  # by the first
            {"x_replica_not_before": str(now_ms - 2500)},
            {"cache_control": "max-age=1"},  # which is too old for this one
            {"x_replica_not_before": str(now_ms - 1000)},  # by the call of just now
        )
        replies = await asyncio.gather(*(world.info({"type": "meta"}, **more) for more in asked))
        assert [reply.source for reply in replies] == ["coalesced", "coalesced", "upstream", "coalesced"]
        assert (await first).source == "upstream"
        assert world.upstream.calls("meta") == 2


async def test_a_forwarded_read_from_a_given_time_on_shares_none_from_before() -> None:
    async with running() as world:
        world.upstream.faults.latency(4.0)
        first = asyncio.create_task(world.info({"type": "meta"}))
        await asyncio.sleep(2)
        floor = str(world.program.replica.upstream_now_ms() - 1000)
        assert (await world.info({"type": "meta"}, x_replica_not_before=floor)).source == "upstream"
        await first


async def test_nothing_forwarded_is_from_the_future() -> None:
    async with running(ALICE) as world:
        now_ms = world.program.replica.upstream_now_ms()
        reply = await world.info({"type": "meta"}, x_replica_not_before=str(now_ms + 1500))
        assert (reply.status, reply.headers["retry-after"]) == (503, "1")
        assert world.upstream.requests == []
        await asyncio.sleep(1.5)
        reply = await world.info({"type": "meta"}, x_replica_not_before=str(now_ms + 1500))
        assert (reply.status, reply.as_of >= now_ms + 1500) == (200, True)


async def test_a_type_that_is_denied_by_the_table_stays_so() -> None:
    async with running(denied_types=()) as world:
        assert (await world.info({"type": "fileSnapshot"})).status == 403
        assert world.upstream.requests == []


async def test_a_type_that_nobody_knows_is_passed_on_and_not_remembered() -> None:
    async with running() as world:
        world.upstream.faults.answer(200, b'{"odd" : 1.50}', type="tomorrow")
        for _ in range(2):
            reply = await world.info({"type": "tomorrow", "user": "as you like"})
            assert (reply.status, reply.body, reply.source) == (200, b'{"odd" : 1.50}', "upstream")
        assert world.upstream.calls("tomorrow") == 2
