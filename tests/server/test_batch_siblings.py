"""The siblings of `batchClearinghouseStates`: the same contract, over the types their rows are made of."""

import asyncio
import json
from typing import Any

import pytest

from tests.callers import Reply
from tests.upstream import TRADER
from tests.virtual import ALICE, BOB, CAROL, DAVE, World, running, signed_order, wall

PARTS = {
    "batchSpotClearinghouseStates": ["spotClearinghouseState"],
    "batchOpenOrders": ["openOrders"],
    "batchPortfolioStates": ["clearinghouseState", "spotClearinghouseState", "userAbstraction"],
}
WEIGHTS = {"batchSpotClearinghouseStates": 2, "batchOpenOrders": 20, "batchPortfolioStates": 24}
BATCHES = list(PARTS)
MIXED = "0x" + "Ca" * 20
STRANGER = "10.9.9.9"


async def ask(world: World, type_: str, users: list[Any], dex: str | None = None, **more: Any) -> Reply:
    body = {"type": type_, "users": users}
    return await world.info(body if dex is None else {**body, "dex": dex}, **more)


async def portfolio(world: World, user: str, dex: str | None = None, **more: Any) -> Reply:
    body = {"type": "portfolioState", "user": user}
    return await world.info(body if dex is None else {**body, "dex": dex}, **more)


# The contract


@pytest.mark.parametrize("type_", BATCHES)
@pytest.mark.parametrize(
    ("more", "status", "says"),
    [
        ({}, 400, b'{"error":"users must not be empty"}'),
        ({"users": []}, 400, b'{"error":"users must not be empty"}'),
        ({"users": [ALICE] * 1001}, 413, b'{"error":"too many users"}'),
        ({"users": ALICE}, 400, None),
        ({"users": [ALICE, 7]}, 400, None),
    ],
    ids=lambda value: str(value)[:30],
)
async def test_a_bad_batch_is_refused_to_the_letter(
    type_: str, more: dict[str, Any], status: int, says: bytes | None
) -> None:
    async with running() as world:
        reply = await world.info({"type": type_, **more})
        assert reply.status == status
        assert says in (None, reply.body)
        assert world.upstream.requests == []


@pytest.mark.parametrize("type_", ["batchOpenOrders", "batchPortfolioStates"])
async def test_over_all_dexes_the_lower_limit_counts(type_: str) -> None:
    async with running() as world:
        reply = await ask(world, type_, [ALICE] * 101, "ALL_DEXES")
        assert (reply.status, reply.json) == (413, {"error": "too many users for ALL_DEXES"})
        reply = await ask(world, type_, [ALICE], "nope")
        assert (reply.status, reply.json["error"]) == (400, "unknown dex: nope")


@pytest.mark.parametrize("dex", [None, "xyz", "ALL_DEXES"])
@pytest.mark.parametrize("type_", BATCHES)
async def test_rows_are_the_upstreams_answers_in_the_callers_order(type_: str, dex: str | None) -> None:
    users = [BOB, MIXED, "x", ALICE, CAROL, BOB]
    async with running(ALICE, upstream_weight_per_minute=0) as world:
        world.upstream.fund(BOB, "7")
        dexes = list(world.upstream.source.dexes) if dex == "ALL_DEXES" else [dex or ""]
        reply = await ask(world, type_, users, dex)
        assert (reply.status, reply.failed) == (200, ["x"])
        assert [row[0] for row in reply.json["successful_states"]] == [user for user in users if user != "x"]
        for user, row in reply.json["successful_states"]:
            for part in PARTS[type_]:
                said = row[part] if len(PARTS[type_]) > 1 else row
                per_dex = part in ("clearinghouseState", "openOrders")
                if per_dex and dex == "ALL_DEXES":
                    assert list(said) == ["native", *dexes[1:]]
                    states = [said[one or "native"] for one in dexes]
                else:
                    states = [said]
                for one, state in zip(dexes if per_dex else [""], states, strict=True):
                    truth = json.loads(world.upstream.says(part, user=user, **({"dex": one} if one else {})))
                    for value in (state, truth):
                        if part == "clearinghouseState":
                            value.pop("time")
                    assert state == truth
        # Each read was made once, whoever's spelling it was.
        bodies = [request.body for request in world.upstream.requests]
        assert len(bodies) == len(set(bodies))


@pytest.mark.parametrize("type_", BATCHES)
async def test_a_user_whose_read_fails_is_a_failed_wallet(type_: str) -> None:
    part = PARTS[type_][-1]
    async with running() as world:
        world.upstream.faults.answer(500, user=CAROL, type=part)
        world.upstream.faults.answer(200, b"<html>", user=DAVE, type=part)
        reply = await ask(world, type_, [CAROL, BOB, DAVE])
        assert (reply.status, reply.failed, reply.source) == (200, [CAROL, DAVE], "upstream")
        assert [row[0] for row in reply.json["successful_states"]] == [BOB]


async def test_a_known_refusal_is_not_asked_for_again() -> None:
    async with running() as world:
        world.upstream.faults.answer(500, b"null", user=CAROL, type="openOrders")
        for _ in range(3):
            assert (await ask(world, "batchOpenOrders", [CAROL])).failed == [CAROL]
        assert world.upstream.calls("openOrders") == 1


async def test_all_dexes_says_what_was_served_of_how_many() -> None:
    async with running(max_dexes=3) as world:
        reply = await ask(world, "batchOpenOrders", [ALICE], "ALL_DEXES")
        assert list(reply.json["successful_states"][0][1]) == ["native", "xyz", "flx"]
        assert [reply.headers[f"x-replica-dexes-{which}"] for which in ("served", "total")] == ["3", "4"]


# The same path as a single read


@pytest.mark.parametrize("type_", BATCHES)
async def test_what_a_single_read_remembered_answers_a_batch_and_the_other_way_round(type_: str) -> None:
    async with running() as world:
        for part in PARTS[type_]:
            await world.info({"type": part, "user": CAROL})
        asked = len(world.upstream.requests)
        reply = await ask(world, type_, [CAROL])
        assert (reply.source, len(world.upstream.requests)) == ("memory", asked)
        await ask(world, type_, [DAVE])
        asked = len(world.upstream.requests)
        for part in PARTS[type_]:
            assert (await world.info({"type": part, "user": DAVE})).source == "memory"
        assert len(world.upstream.requests) == asked


@pytest.mark.parametrize("type_", BATCHES)
async def test_reads_under_way_are_shared(type_: str) -> None:
    async with running() as world:
        world.upstream.faults.latency(0.5)
        single = [world.info({"type": part, "user": CAROL}) for part in PARTS[type_]]
        batches = [ask(world, type_, [CAROL, DAVE]) for _ in range(3)]
        replies = await asyncio.gather(*single, *batches)
        assert {reply.status for reply in replies} == {200}
        assert len(world.upstream.requests) == 2 * len(PARTS[type_])


@pytest.mark.parametrize("type_", BATCHES)
async def test_the_budget_is_spent_on_whole_rows_first_come_first_served(type_: str) -> None:
    async with running(upstream_weight_per_minute=260, write_reserve_weight=120) as world:
        # 20 went into the dex list: 120 are left.
        users = [f"0x{number:040x}" for number in range(100)]
        reply = await ask(world, type_, users)
        whole = 120 // WEIGHTS[type_]
        assert [row[0] for row in reply.json["successful_states"]] == users[:whole]
        assert reply.failed == users[whole:]
        assert world.upstream.calls("openOrders") <= 6


@pytest.mark.parametrize("type_", BATCHES)
async def test_one_deadline_and_what_came_in_time_is_there(type_: str) -> None:
    async with running(batch_deadline_s=5) as world:
        world.upstream.faults.hang(user=CAROL)
        began = asyncio.get_running_loop().time()
        reply = await ask(world, type_, [CAROL, BOB])
        assert asyncio.get_running_loop().time() - began == pytest.approx(5.0)
        assert ([row[0] for row in reply.json["successful_states"]], reply.failed) == ([BOB], [CAROL])


@pytest.mark.parametrize("type_", BATCHES)
async def test_what_is_held_stands_in_and_is_called_stale(type_: str) -> None:
    async with running() as world:
        before = await ask(world, type_, [CAROL])
        await asyncio.sleep(20)
        world.upstream.faults.answer(502, b"")
        reply = await ask(world, type_, [CAROL, DAVE])
        assert (reply.source, reply.failed) == ("stale", [DAVE])
        assert reply.json["successful_states"] == before.json["successful_states"]
        assert reply.as_of == before.as_of
        held = await ask(world, type_, [CAROL], cache_control="only-if-cached")
        assert (held.source, held.failed) == ("stale", [])
        assert (await ask(world, type_, [CAROL], cache_control="no-cache")).failed == [CAROL]
        await asyncio.sleep(60)
        assert (await ask(world, type_, [CAROL])).failed == [CAROL]


async def test_open_orders_of_a_batch_are_no_older_than_the_clients_own_write() -> None:
    trader = TRADER.address.lower()
    async with running() as world:
        assert (await ask(world, "batchOpenOrders", [trader])).json["successful_states"] == [[trader, []]]
        await asyncio.sleep(0.1)
        assert (await world.write(signed_order(int(wall() * 1000)))).status == 200
        reply = await ask(world, "batchOpenOrders", [trader])
        assert [order["coin"] for order in reply.json["successful_states"][0][1]] == ["BTC"]
        reply = await ask(world, "batchOpenOrders", [trader], client=STRANGER)
        assert [order["coin"] for order in reply.json["successful_states"][0][1]] == ["BTC"]


async def test_what_streams_tell_of_a_followed_account_answers_batches() -> None:
    async with running(ALICE, keeps=True) as world:
        await asyncio.sleep(10)
        await world.info({"type": "userAbstraction", "user": ALICE})
        asked = len(world.upstream.requests)
        for type_ in BATCHES:
            reply = await ask(world, type_, [ALICE])
            assert (reply.source, reply.failed) == ("memory", [])
        assert len(world.upstream.requests) == asked


async def test_what_is_denied_is_not_had_by_way_of_a_batch() -> None:
    async with running(ALICE, denied_types=("spotClearinghouseState",)) as world:
        for type_ in ("batchSpotClearinghouseStates", "batchPortfolioStates"):
            assert (await ask(world, type_, [ALICE])).status == 403
        assert (await portfolio(world, ALICE)).status == 403
        assert (await ask(world, "batchOpenOrders", [ALICE])).status == 200


async def test_capabilities_say_what_rows_are_made_of() -> None:
    async with running() as world:
        rows = {row["type"]: row for row in (await world.request("GET", "/capabilities")).json["types"]}
        for type_, parts in PARTS.items():
            assert (rows[type_]["made_of"], rows[type_]["weight"]) == (parts, None)
        assert rows["batchClearinghouseStates"]["made_of"] == ["clearinghouseState"]
        assert (rows["openOrders"]["made_of"], rows["openOrders"]["weight"]) == (None, 20)
        assert "no vendor documents" in rows["batchOpenOrders"]["note"]


# One portfolio


@pytest.mark.parametrize("dex", [None, "", "xyz", "ALL_DEXES"])
async def test_a_portfolio_is_the_row_of_a_batch_of_one(dex: str | None) -> None:
    async with running(ALICE) as world:
        batch = await ask(world, "batchPortfolioStates", [ALICE], dex)
        reply = await portfolio(world, ALICE.upper().replace("0X", "0x"), dex)
        assert reply.json == batch.json["successful_states"][0][1]
        assert list(reply.json) == PARTS["batchPortfolioStates"]
        assert ("x-replica-dexes-total" in reply.headers) == (dex == "ALL_DEXES")


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ({}, 422),
        ({"user": "x"}, 422),
        ({"user": [ALICE]}, 422),
        ({"user": ALICE, "dex": 1}, 422),
        ({"user": ALICE, "dex": "nope"}, 400),
    ],
)
async def test_a_bad_portfolio_is_refused(more: dict[str, Any], status: int) -> None:
    async with running() as world:
        assert (await world.info({"type": "portfolioState", **more})).status == status


@pytest.mark.parametrize(
    ("fault", "status"),
    [((502, b""), 502), ((429, b"null"), 429), ((500, b"null"), 500), ((200, b"<html>"), 502)],
)
@pytest.mark.parametrize("part", PARTS["batchPortfolioStates"])
async def test_a_portfolio_that_lacks_a_part_says_why(
    part: str, fault: tuple[int, bytes], status: int
) -> None:
    async with running() as world:
        world.upstream.faults.answer(*fault, type=part)
        reply = await portfolio(world, CAROL)
        assert reply.status == status
        assert (reply.status == 429) == ("retry-after" in reply.headers)


async def test_a_portfolio_that_is_not_had_in_time_is_a_timeout() -> None:
    async with running(batch_deadline_s=5) as world:
        world.upstream.faults.hang(type="userAbstraction")
        assert (await portfolio(world, CAROL)).status == 504
        assert (await portfolio(world, CAROL, cache_control="only-if-cached")).status == 504


# The exchange's own flavour


async def test_the_official_array_is_the_states_in_order() -> None:
    async with running(ALICE, batch_official=True) as world:
        users = [BOB, ALICE, MIXED, BOB]
        for dex in (None, "xyz"):
            reply = await world.batch(users, dex)
            states = [(await world.state(user, dex)).body for user in users]
            assert reply.body == b"[%s]" % b",".join(states)
        assert (await world.batch([])).json == []


async def test_the_official_array_is_whole_or_an_error() -> None:
    async with running(ALICE, batch_official=True) as world:
        world.upstream.faults.answer(502, b"", user=CAROL)
        assert (await world.batch([ALICE, CAROL])).status == 502
        world.upstream.faults.heal()
        world.upstream.faults.answer_429(times=1)
        reply = await world.batch([ALICE, DAVE])
        assert (reply.status, reply.body) == (429, b"null")


async def test_the_official_array_knows_nothing_of_the_vendors() -> None:
    async with running(ALICE, batch_official=True) as world:
        for dex in ("ALL_DEXES", "nope"):
            reply = await world.batch([ALICE], dex)
            assert (reply.status, reply.body) == (500, b"null")
        assert (await world.batch([ALICE, "x"])).status == 422
        assert (await ask(world, "batchOpenOrders", [ALICE])).failed == []
