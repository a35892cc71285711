"""Reads when the upstream is slow, wrong, refusing or gone, and when the budget is spent."""

import asyncio

import pytest

from server.devnode.faults import Stage
from tests.callers import Reply
from tests.virtual import ALICE, BOB, CAROL, DAVE, World, deaf_connector, running

UNAVAILABLE = (502, b'{"error":"upstream unavailable"}')
TIMEOUT = (504, b'{"error":"upstream timeout"}')


def said(reply: Reply) -> tuple[int, bytes]:
    return reply.status, reply.body


def address(number: int) -> str:
    return f"0x{number:040x}"


# One call for all


async def test_a_hundred_identical_cold_reads_are_one_call() -> None:
    async with running() as world:
        world.upstream.faults.latency(0.1)
        replies = await asyncio.gather(*(world.state(CAROL) for _ in range(100)))
        assert world.upstream.calls() == 1
        assert {reply.body for reply in replies} == {replies[0].body}
        assert [reply.source for reply in replies].count("upstream") == 1
        assert [reply.source for reply in replies].count("coalesced") == 99


async def test_spellings_of_one_account_are_one_call() -> None:
    async with running() as world:
        shouted = CAROL.upper().replace("X", "x")
        replies = await asyncio.gather(world.state(CAROL), world.state(shouted), world.state(CAROL, ""))
        assert world.upstream.calls() == 1
        assert len({reply.body for reply in replies}) == 1


async def test_identical_reads_of_any_type_are_one_call() -> None:
    async with running() as world:
        world.upstream.faults.latency(0.1)
        await asyncio.gather(*(world.info({"type": "meta"}) for _ in range(100)))
        assert world.upstream.calls() == 1


async def test_different_reads_are_not_mixed_up() -> None:
    async with running() as world:
        world.upstream.faults.latency(0.1)
        world.upstream.change_quietly(CAROL, 1.0)
        world.upstream.change_quietly(DAVE, 2.0)
        world.upstream.change_quietly(DAVE, 3.0, "xyz")
        replies = await asyncio.gather(world.state(CAROL), world.state(DAVE), world.state(DAVE, "xyz"))
        assert [reply.value for reply in replies] == [1.0, 2.0, 3.0]
        assert world.upstream.calls() == 3


async def test_a_caller_that_gives_up_does_not_take_the_answer_from_the_others() -> None:
    async with running() as world:
        world.upstream.faults.latency(1.0)
        impatient = asyncio.create_task(world.state(CAROL))
        await asyncio.sleep(0.1)
        patient = asyncio.create_task(world.state(CAROL))
        await asyncio.sleep(0.1)
        impatient.cancel()
        assert (await patient).status == 200
        assert world.upstream.calls() == 1


async def test_a_failure_is_shared_and_not_remembered() -> None:
    async with running() as world:
        world.upstream.faults.latency(0.1)
        world.upstream.faults.cut(Stage.DONE, path="/info")
        replies = await asyncio.gather(*(world.state(CAROL) for _ in range(10)))
        assert {said(reply) for reply in replies} == {UNAVAILABLE}
        assert world.upstream.calls() == 1
        assert (await world.state(CAROL)).status == 200


async def test_a_batch_shares_the_calls_of_others() -> None:
    async with running() as world:
        world.upstream.faults.latency(0.1)
        single, batch = await asyncio.gather(world.state(CAROL), world.batch([CAROL, DAVE]))
        assert world.upstream.calls() == 2
        assert batch.failed == []
        assert single.body in batch.body


@pytest.mark.parametrize(("directive", "calls"), [("no-cache", 2), ("max-age=1", 2), ("max-age=0", 3)])
async def test_a_batch_joins_a_call_under_way_unless_that_is_too_old_for_it(
    directive: str, calls: int
) -> None:
    async with running(upstream={"tick_s": 0.1}) as world:
        world.upstream.faults.latency(0.5)
        single = asyncio.create_task(world.state(CAROL, cache_control=directive))
        await asyncio.sleep(0.2)
        batch = await world.batch([CAROL, DAVE], cache_control=directive)
        assert batch.failed == []
        assert ((await single).body in batch.body) == (calls == 2)
        assert world.upstream.calls() == calls


async def test_a_batch_gets_what_it_asked_for_without_a_ttl() -> None:
    async with running(account_ttl_s=0) as world:
        world.upstream.faults.latency(0.5)
        single = asyncio.create_task(world.state(CAROL))
        await asyncio.sleep(0.2)
        assert (await world.batch([CAROL, DAVE])).failed == []
        await single
        assert (await world.state(CAROL)).source == "upstream"


async def test_a_batch_larger_than_the_cache_is_answered_whole() -> None:
    async with running(cache_max_states=1) as world:
        assert (await world.batch([CAROL, DAVE, ALICE, BOB])).failed == []


# The budget


async def test_a_spent_budget_refuses_and_sends_nothing() -> None:
    async with running(upstream_weight_per_minute=1200, write_reserve_weight=120) as world:
        upstream = world.upstream
        # perpDexs of the start-up and 20 a piece: 1080 is what reads may spend.
        for number in range(53):
            assert (await world.info({"type": "meta", "n": number})).status == 200
        assert upstream.calls() == 53
        reply = await world.info({"type": "meta", "n": "one too many"})
        assert said(reply) == (429, b"null")
        assert reply.headers["content-type"] == "application/json"
        assert 1 <= int(reply.headers["retry-after"]) <= 61
        began = asyncio.get_running_loop().time()
        single = await world.state(CAROL)
        assert said(single) == (429, b"null")
        # Nobody waits for what is known not to come.
        assert asyncio.get_running_loop().time() == began
        assert upstream.calls() == 53
        # The reserve is there for this.
        assert (await world.write()).status == 200
        assert len(upstream.writes) == 1


async def test_retry_after_is_kept() -> None:
    async with running(upstream_weight_per_minute=140, write_reserve_weight=120) as world:
        reply = await world.info({"type": "meta"})
        assert said(reply) == (429, b"null")
        await asyncio.sleep(int(reply.headers["retry-after"]))
        assert (await world.info({"type": "meta"})).status == 200


async def test_memory_serves_on_without_a_budget() -> None:
    async with running(ALICE, upstream_weight_per_minute=140, write_reserve_weight=120) as world:
        assert (await world.state(CAROL)).status == 429
        assert (await world.state(ALICE)).source == "memory"
        batch = await world.batch([ALICE, CAROL])
        assert (batch.status, batch.failed) == (200, [CAROL])
        assert world.upstream.requests == []


async def test_no_minute_is_over_the_budget_whatever_is_asked() -> None:
    async with running(upstream_weight_per_minute=200, write_reserve_weight=100) as world:
        spent: list[tuple[float, int]] = []
        loop = asyncio.get_running_loop()
        for second in range(300):
            asked = len(world.upstream.requests)
            users = [address(second * 10 + n) for n in range(10)]
            await asyncio.gather(world.batch(users), world.info({"type": "meta", "n": second}), world.write())
            for request in world.upstream.requests[asked:]:
                cost = {"clearinghouseState": 2, "order": 1}.get(request.type, 20)
                spent.append((loop.time(), cost))
            await asyncio.sleep(1)
        for start, _ in spent:
            window = sum(cost for at, cost in spent if start <= at < start + 60)
            assert window <= 200
        assert sum(cost for _, cost in spent) > 600


async def test_a_429_holds_reads_back_for_a_while() -> None:
    async with running() as world:
        upstream = world.upstream
        upstream.faults.answer_429(times=1)
        reply = await world.state(CAROL)
        assert said(reply) == (429, b"null")
        wait_s = int(reply.headers["retry-after"])
        again = await world.state(CAROL)
        assert again.status == 429
        assert upstream.calls() == 1
        # A write is not held back: it may be what cannot wait.
        assert (await world.write()).status == 200
        await asyncio.sleep(wait_s)
        assert (await world.state(CAROL)).status == 200
        assert upstream.calls() == 2


# What the upstream says is passed on


@pytest.mark.parametrize(
    ("status", "body", "content_type"),
    [
        (500, b"null", "application/json"),
        (422, b"Failed to deserialize the JSON body into the target type", "text/plain; charset=utf-8"),
        (502, b"<html>bad gateway</html>", "text/html"),
        (200, b"null", "application/json"),
        (200, b'{"odd" :1.0}', "application/json"),
    ],
)
@pytest.mark.parametrize("type_", ["clearinghouseState", "meta"])
async def test_other_answers_come_back_unchanged(
    type_: str, status: int, body: bytes, content_type: str
) -> None:
    async with running() as world:
        world.upstream.faults.answer(status, body, content_type=content_type)
        reply = await world.info({"type": type_, "user": CAROL})
        assert said(reply) == (status, body)
        assert reply.headers["content-type"] == content_type
        assert reply.source == "upstream"
        assert world.store.get(CAROL, "") is None


@pytest.mark.parametrize("body", [b"null", b"{}", b'{"later":"shape"}', b"[1", b"[" * 100_000])
async def test_an_answer_that_is_no_state_is_not_covered_by_an_old_one(body: bytes) -> None:
    async with running() as world:
        await world.state(CAROL)
        await asyncio.sleep(10)
        world.upstream.faults.answer(200, body)
        reply = await world.state(CAROL)
        assert said(reply) == (200, body)
        assert reply.source == "upstream"


async def test_an_unknown_dex_is_the_upstreams_500() -> None:
    async with running() as world:
        assert said(await world.state(CAROL, "nope")) == (500, b"null")


# Failing


async def fail(world: World, how: str) -> None:
    upstream = world.upstream
    if how == "gone":
        upstream.refuse_connections()
        upstream.abort()
        await asyncio.sleep(0.01)
    elif how == "hanging":
        upstream.faults.hang()
    elif how == "no HTTP":
        for _ in range(4):
            upstream.faults.answer_raw(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
    elif how == "short":
        for _ in range(4):
            upstream.faults.answer_raw(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}")
    else:
        upstream.faults.cut(Stage[how], path="/info", times=4)


FAILURES = {
    "gone": UNAVAILABLE,
    "hanging": TIMEOUT,
    "no HTTP": UNAVAILABLE,
    "short": UNAVAILABLE,
    **{stage.name: UNAVAILABLE for stage in Stage},
}


@pytest.mark.parametrize("how", FAILURES)
@pytest.mark.parametrize("type_", ["clearinghouseState", "meta"])
async def test_a_failing_upstream_is_said(how: str, type_: str) -> None:
    async with running() as world:
        world.upstream.hang_up_idle()
        await asyncio.sleep(0.01)
        await fail(world, how)
        began = asyncio.get_running_loop().time()
        reply = await world.info({"type": type_, "user": CAROL})
        assert said(reply) == FAILURES[how]
        assert asyncio.get_running_loop().time() - began < 10.1
        assert world.upstream.calls() <= 1


async def test_a_connection_that_never_comes_about_is_a_timeout() -> None:
    async with running(connector=deaf_connector, warm=False) as world:
        began = asyncio.get_running_loop().time()
        assert said(await world.state(CAROL)) == TIMEOUT
        assert asyncio.get_running_loop().time() - began < 3.5


@pytest.mark.parametrize("how", ["gone", "hanging", "READ", "ANSWER"])
async def test_a_held_state_stands_in_and_is_marked_stale(how: str) -> None:
    async with running(stale_if_error_s=60) as world:
        first = await world.state(CAROL)
        await asyncio.sleep(30.01)
        await fail(world, how)
        reply = await world.state(CAROL)
        assert said(reply) == said(first)
        assert reply.source == "stale"
        assert int(reply.headers["age"]) >= 30
        assert reply.as_of == first.as_of
        world.upstream.faults.hang()
        await asyncio.sleep(31)
        assert (await world.state(CAROL)).status in (502, 504)


@pytest.mark.parametrize(("status", "body"), [(500, b"null"), (503, b"<html>")])
async def test_a_held_state_stands_in_for_an_upstream_in_trouble(status: int, body: bytes) -> None:
    async with running() as world:
        first = await world.state(CAROL)
        await asyncio.sleep(10)
        world.upstream.faults.answer(status, body, content_type="text/html")
        reply = await world.state(CAROL)
        assert (reply.source, reply.body) == ("stale", first.body)


async def test_a_held_state_stands_in_for_a_spent_budget() -> None:
    async with running() as world:
        first = await world.state(CAROL)
        await asyncio.sleep(10)
        world.upstream.faults.answer_429()
        reply = await world.state(CAROL)
        assert (reply.source, reply.body) == ("stale", first.body)


@pytest.mark.parametrize(
    ("directive", "stands_in"),
    [
        ({}, True),
        ({"cache_control": "max-age=60"}, True),
        ({"cache_control": "max-age=9"}, False),
        ({"cache_control": "max-age=0"}, False),
        ({"cache_control": "no-cache"}, False),
        ({"x_replica_not_before": "9999999999999"}, False),
    ],
    ids=str,
)
async def test_nothing_stale_against_the_clients_will(directive: dict[str, str], stands_in: bool) -> None:
    async with running() as world:
        await world.state(CAROL)
        await asyncio.sleep(10)
        world.upstream.faults.answer(502, b"")
        reply = await world.state(CAROL, **directive)
        batch = await world.batch([CAROL], **directive)
        if stands_in:
            assert (reply.source, batch.source, batch.failed) == ("stale", "stale", [])
        else:
            assert (reply.status, batch.failed) == (502, [CAROL])


async def test_a_batch_names_what_could_not_be_had() -> None:
    async with running(ALICE) as world:
        world.upstream.faults.answer(500, b"null", user=CAROL)
        reply = await world.batch([CAROL, ALICE, DAVE])
        assert reply.failed == [CAROL]
        assert [row[0] for row in reply.json["successful_states"]] == [ALICE, DAVE]


# Never asking


async def test_only_if_cached_never_asks() -> None:
    async with running(ALICE) as world:
        asked = {"cache_control": "only-if-cached"}
        assert (await world.state(ALICE, **asked)).source == "memory"
        assert (await world.state(CAROL, **asked)).status == 504
        assert (await world.info({"type": "meta"}, **asked)).status == 504
        batch = await world.batch([ALICE, CAROL], **asked)
        assert (batch.status, batch.failed) == (200, [CAROL])
        assert world.upstream.requests == []


async def test_only_if_cached_serves_what_is_held_and_says_so() -> None:
    async with running() as world:
        first = await world.state(CAROL)
        await asyncio.sleep(30)
        reply = await world.state(CAROL, cache_control="only-if-cached")
        assert (reply.source, reply.body) == ("stale", first.body)
        assert (await world.state(CAROL, cache_control="only-if-cached, max-age=20")).status == 504
        assert world.upstream.calls() == 1


async def test_no_cache_always_asks() -> None:
    async with running(ALICE, BOB) as world:
        world.upstream.change_quietly(ALICE, 2.0)
        reply = await world.state(ALICE, cache_control="no-cache")
        assert (reply.source, reply.value) == ("upstream", 2.0)
        batch = await world.batch([ALICE, BOB], cache_control="no-cache")
        assert (batch.source, batch.failed) == ("upstream", [])
        assert world.upstream.calls() == 3


async def test_max_age_is_the_age_a_client_will_bear() -> None:
    async with running(ALICE, BOB, account_live_s=60) as world:
        world.upstream.faults.go_silent()
        await asyncio.sleep(3)
        assert (await world.state(ALICE, cache_control="max-age=4")).source == "memory"
        assert (await world.batch([ALICE], cache_control="max-age=4")).source == "memory"
        assert (await world.batch([ALICE, BOB], cache_control="max-age=2")).source == "upstream"
        assert world.upstream.calls() == 2
        await asyncio.sleep(2.5)
        assert (await world.state(ALICE, cache_control="max-age=2")).source == "upstream"
        assert world.upstream.calls() == 3
        assert (await world.state(ALICE, cache_control="max-age=2")).source == "memory"


async def test_a_live_account_that_was_fetched_stays_live() -> None:
    async with running(ALICE) as world:
        await asyncio.sleep(1)
        await world.state(ALICE, cache_control="no-cache")
        assert (await world.ready()).status == 200
        assert world.store.table("")[ALICE].live(asyncio.get_running_loop().time())
