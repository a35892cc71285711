"""Everything that is no account state: one answer for all who ask the same, for as long as it may be."""

import asyncio
from typing import Any

import pytest

from tests.virtual import ALICE, BOB, META, World, connector, running

TRADER, STRANGER = "10.0.0.1", "10.9.9.9"
ORDERS = {"type": "openOrders", "user": ALICE}
BOOK = {"type": "l2Book", "coin": "BTC"}
LIST = {"type": "meta"}


async def sources(world: World, *requests: dict[str, Any], **more: Any) -> list[str]:
    return [(await world.info(request, **more)).source for request in requests]


# -- one answer ----------------------------------------------------------------------------------------


async def test_a_burst_of_identical_cold_reads_is_one_call() -> None:
    async with running() as world:
        truth = world.upstream.says("openOrders", user=ALICE)
        world.upstream.faults.latency(0.2)
        replies = await asyncio.gather(*(world.info(ORDERS, client=f"10.0.{n}.1") for n in range(1000)))
        assert {(reply.status, reply.body) for reply in replies} == {(200, truth)}
        assert sorted({reply.source for reply in replies}) == ["coalesced", "upstream"]
        assert world.upstream.calls() == 1


@pytest.mark.parametrize(
    ("request_", "ttl_s"), [(ORDERS, 0.25), (BOOK, 0.5), (LIST, 60.0), ({"type": "vaultSummaries"}, 30.0)]
)
async def test_it_is_kept_for_its_time_from_the_question_on(request_: dict[str, Any], ttl_s: float) -> None:
    async with running() as world:
        world.upstream.faults.answer(200, META, type=request_["type"])
        world.upstream.faults.latency(0.2)
        first = await world.info(request_)
        assert (first.body, first.source, first.age_ms) == (META, "upstream", pytest.approx(200, abs=1))
        await asyncio.sleep(ttl_s - 0.21)
        again = await world.info(request_)
        assert (again.body, again.source, again.as_of) == (META, "memory", first.as_of)
        assert again.age_ms == pytest.approx(ttl_s * 1000 - 10, abs=1)
        await asyncio.sleep(0.02)
        assert (await world.info(request_)).source == "upstream"
        assert world.upstream.calls() == 2


async def test_a_clock_of_ours_that_is_ahead_dates_no_answer_into_the_future() -> None:
    async with running(ALICE, skew_s=40.0) as world:
        await asyncio.sleep(10)
        reply = await world.info(BOOK)
        assert reply.source == "upstream"
        assert reply.as_of == pytest.approx(world.upstream.now_ms(), abs=2000)


async def test_it_is_the_same_question_however_it_is_put() -> None:
    async with running() as world:
        for body in (
            {"type": "openOrders", "user": ALICE.upper().replace("X", "x")},
            b'{ "dex":"", "user":"%s","type":"openOrders"}' % ALICE.encode(),
            ORDERS,
        ):
            assert (await world.info(body)).status == 200
        assert world.upstream.calls() == 1
        others: tuple[dict[str, Any], ...] = ({"user": BOB}, {"dex": "xyz"}, {"new": 1}, {"dex": None})
        for other in others:
            await world.info(ORDERS | other)
        assert world.upstream.calls() == 1 + len(others)


async def test_it_goes_up_as_it_came_and_comes_back_as_it_went() -> None:
    body = b'{ "type" : "userRole",  "user":"%s", "odd":1.50 }' % ALICE.encode()
    async with running() as world:
        world.upstream.faults.answer(200, META, type="userRole")
        for source in ("upstream", "memory"):
            reply = await world.info(body)
            assert (reply.body, reply.source) == (META, source)
            assert reply.headers["content-type"].startswith("application/json")
        assert [request.body for request in world.upstream.requests] == [body]


@pytest.mark.parametrize(
    "body",
    [
        b'{"type":"openOrders","user":"%s","user":"%s"}' % (ALICE.encode(), BOB.encode()),
        b'{"type":"openOrders","user":"%s"}' % ALICE[2:].encode(),
        b'{"type":"openOrders","user":"%s","\\u0061":1}' % ALICE.encode(),
        b'{"type":"fundingHistory","coin":"BTC","startTime":1.0}',
    ],
)
async def test_what_we_can_not_read_for_sure_is_the_upstreams_to_judge(body: bytes) -> None:
    async with running() as world:
        world.upstream.faults.answer(200, META, path="/info")
        for _ in range(2):
            assert (await world.info(body)).source == "upstream"
        assert [request.body for request in world.upstream.requests] == [body, body]


async def test_what_the_exchange_would_not_read_never_reaches_it() -> None:
    async with running() as world:
        for wrong in ({"type": "openOrders"}, {"type": "l2Book", "coin": 1}, {"type": "candleSnapshot"}):
            reply = await world.info(wrong)
            assert reply.status == 422
            assert reply.body == b"Failed to deserialize the JSON body into the target type"
            assert reply.headers["content-type"].startswith("text/plain")
        assert world.upstream.requests == []


async def test_times_can_be_set() -> None:
    async with running(ttl_s=("openOrders=0", "meta=5")) as world:
        assert await sources(world, ORDERS, ORDERS, LIST, LIST) == ["upstream"] * 3 + ["memory"]
        await asyncio.sleep(5)
        assert await sources(world, LIST) == ["upstream"]


async def test_no_answer_is_older_than_one_before_it() -> None:
    async with running() as world:
        faults = world.upstream.faults
        faults.answer(200, b'"old"', type="meta", times=1)
        faults.latency(3.0, times=1)
        slow = asyncio.create_task(world.info(LIST))
        await asyncio.sleep(1)
        faults.answer(200, b'"new"', type="meta", times=1)
        new = await world.info(LIST, cache_control="max-age=0")
        assert (new.body, (await world.info(LIST)).body) == (b'"new"', b'"new"')
        late = await slow
        assert (late.body, late.as_of) == (b'"new"', new.as_of)
        assert (await world.info(LIST)).body == b'"new"'


# -- what a request may say ----------------------------------------------------------------------------


async def test_directives() -> None:
    async with running() as world:
        assert (await world.info(LIST, cache_control="only-if-cached")).status == 504
        assert world.upstream.calls() == 0
        first = await world.info(LIST)
        await asyncio.sleep(10)
        assert await sources(world, LIST, cache_control="max-age=10") == ["memory"]
        assert await sources(world, LIST, cache_control="only-if-cached") == ["memory"]
        assert await sources(world, LIST, cache_control="max-age=9") == ["upstream"]
        assert await sources(world, LIST, cache_control="no-cache") == ["upstream"]
        assert world.upstream.calls() == 3
        floor = str(first.as_of + 10_000)
        assert await sources(world, LIST, x_replica_not_before=floor) == ["memory"]
        await asyncio.sleep(1)
        floor = str(first.as_of + 10_500)
        assert await sources(world, LIST, x_replica_not_before=floor) == ["upstream"]
        assert (await world.info(LIST, x_replica_not_before=str(first.as_of + 20_000))).status == 503


async def test_only_if_cached_takes_what_is_not_fresh_any_more_for_stale() -> None:
    async with running() as world:
        await world.info(ORDERS)
        await asyncio.sleep(1)
        assert await sources(world, ORDERS, cache_control="only-if-cached") == ["stale"]
        assert (await world.info(ORDERS, cache_control="only-if-cached, max-age=0")).status == 504


# -- writes --------------------------------------------------------------------------------------------


async def test_a_trader_reads_their_write_and_lists_do_not_care() -> None:
    async with running(ttl_s=("openOrders=60",)) as world:
        await sources(world, ORDERS, LIST, client=STRANGER)
        await asyncio.sleep(0.1)
        write = world.upstream.transfer(BOB, 1)
        floor = (await world.write(write, client=TRADER)).headers["x-replica-not-before"]
        assert await sources(world, ORDERS, LIST, client=STRANGER) == ["memory", "memory"]
        assert await sources(world, ORDERS, LIST, client=TRADER) == ["upstream", "memory"]
        # Once read since then it is good for all that come after; said aloud it holds for lists too.
        assert await sources(world, ORDERS, client=TRADER) == ["memory"]
        assert await sources(world, ORDERS, LIST, client=STRANGER, x_replica_not_before=floor) == [
            "memory",
            "upstream",
        ]


async def test_what_was_asked_before_a_write_is_never_told_its_trader() -> None:
    async with running(ttl_s=("openOrders=60",)) as world:
        world.upstream.faults.latency(1.0, type="openOrders")
        before = asyncio.create_task(world.info(ORDERS, client=STRANGER))
        await asyncio.sleep(0.5)
        await world.write(world.upstream.transfer(ALICE, 1), client=TRADER)
        mine = asyncio.create_task(world.info(ORDERS, client=TRADER))
        assert (await before).source == "upstream"
        assert (await mine).source == "upstream"
        assert world.upstream.calls("openOrders") == 2


# -- failures ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [500, 502, 503])
async def test_the_last_known_stands_in_for_a_failed_upstream(status: int) -> None:
    async with running() as world:
        truth = (await world.info(ORDERS)).body
        await asyncio.sleep(59)
        world.upstream.faults.answer(status, b"null" if status == 500 else b"<html>")
        for _ in range(2):
            reply = await world.info(ORDERS)
            assert (reply.status, reply.body, reply.source) == (200, truth, "stale")
        assert reply.age_ms >= 59_000
        assert (await world.info(ORDERS, cache_control="no-cache")).status == status
        await asyncio.sleep(2)
        assert (await world.info(ORDERS)).status == status


async def test_nothing_from_before_a_write_stands_in_for_what_its_trader_asks() -> None:
    async with running() as world:
        await world.info(ORDERS)
        await asyncio.sleep(0.1)
        await world.write(world.upstream.transfer(ALICE, 1), client=TRADER)
        world.upstream.faults.answer(502, b"", path="/info")
        assert (await world.info(ORDERS, client=TRADER)).status == 502
        await asyncio.sleep(0.2)
        assert (await world.info(ORDERS, client=STRANGER)).source == "stale"


async def test_an_upstream_that_can_not_be_reached() -> None:
    async with running(budget_wait_s=0) as world:
        await world.info(ORDERS)
        await asyncio.sleep(1)
        world.upstream.faults.hang(path="/info")
        assert await sources(world, ORDERS) == ["stale"]
        assert (await world.info(BOOK)).status == 504
        world.upstream.faults.heal()
        world.upstream.faults.answer(429, b"null")
        reply = await world.info(BOOK)
        assert (reply.status, reply.body, "retry-after" in reply.headers) == (429, b"null", True)
        assert await sources(world, ORDERS) == ["stale"]
        # Of a refusal that says nothing of the question nothing is remembered.
        world.upstream.faults.heal()
        await asyncio.sleep(10)
        assert await sources(world, BOOK) == ["upstream"]


@pytest.mark.parametrize(
    ("status", "body", "kept"),
    [
        (500, b"null", True),
        (422, b"no", True),
        (500, b"<html>", False),
        (502, b"null", False),
        (404, b"", False),
    ],
)
@pytest.mark.parametrize("type_", ["candleSnapshot", "tomorrow"])
async def test_a_refusal_that_would_come_again_is_remembered_briefly(
    type_: str, status: int, body: bytes, kept: bool
) -> None:
    req = {"coin": "NONE", "interval": "1m", "startTime": 0}
    async with running(error_ttl_s=3) as world:
        world.upstream.faults.answer(status, body, type=type_)
        for _ in range(10):
            reply = await world.info({"type": type_, "req": req})
            assert (reply.status, reply.body) == (status, body)
        assert world.upstream.calls() == (1 if kept else 10)
        assert (await world.info({"type": type_, "req": req | {"coin": "BTC"}})).status == status
        assert world.upstream.calls() == (2 if kept else 11)
        await asyncio.sleep(3)
        world.upstream.faults.heal()
        world.upstream.faults.answer(200, b"[]", type=type_)
        assert (await world.info({"type": type_, "req": req})).status == 200


async def test_a_refusal_is_over_when_it_is_answered() -> None:
    async with running(error_ttl_s=60) as world:
        world.upstream.faults.answer(500, b"null", times=1)
        assert [(await world.info(ORDERS)).status for _ in range(2)] == [500, 500]
        assert (await world.info(ORDERS, cache_control="no-cache")).status == 200
        await asyncio.sleep(1)
        assert (await world.info(ORDERS)).source == "upstream"


async def test_a_page_that_is_no_answer_is_not_remembered() -> None:
    async with running() as world:
        world.upstream.faults.answer(200, b"<html>", type="meta", content_type="text/html", times=1)
        assert (await world.info(LIST)).body == b"<html>"
        assert (await world.info(LIST)).json["universe"]


# -- bounds --------------------------------------------------------------------------------------------


async def test_memory_is_bounded() -> None:
    async with running(documents_max=10, documents_max_bytes=100_000) as world:
        world.upstream.faults.answer(200, b"x" * 20_000, path="/info")
        for n in range(20):
            await world.info({"type": "meta", "dex": str(n)})
        held = world.program.replica.documents
        held.check()
        assert len(held) == 4
        world.upstream.faults.heal()
        world.upstream.faults.answer(500, b"null", path="/info")
        for n in range(20):
            await world.info({"type": "tomorrow", "n": n, "much": "x" * 1000})
        world.program.replica.refusals.check()


async def test_what_is_under_way_at_the_end_is_ended() -> None:
    async with running(connector=connector) as world:
        world.upstream.faults.hang(path="/info")
        waiting = asyncio.create_task(world.info(LIST))
        await asyncio.sleep(1)
        await world.program.stop()
        assert (await asyncio.wait([waiting]))[0] == {waiting}
        assert waiting.cancelled() or waiting.result().status >= 500


async def test_requests_are_read_once_and_only_so_many_of_them_are_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("server.documents.QUESTIONS", 3)
    async with running() as world:
        known = world.program.info.documents._questions
        for _ in range(2):
            for number in range(1, 9):
                request = {"type": "marginTable", "id": number}
                for _ in range(2):
                    assert (await world.info(request)).body == world.upstream.says(**_typed(request))
                assert 0 < len(known) <= 3
            assert (await world.info({"type": "marginTable", "id": -1})).status == 422
            assert (await world.info({"type": "marginTable", "id": 1, "odd": "x" * 600})).status == 200
        assert all(len(body) <= 512 for body in known)


def _typed(request: dict[str, Any]) -> dict[str, Any]:
    return {"type_" if name == "type" else name: value for name, value in request.items()}
