"""The batch contract, row by row: statuses and bodies to the letter, and what else an answer promises."""

import asyncio
import json
from typing import Any

import pytest

from tests.callers import Reply
from tests.upstream import Upstream
from tests.virtual import ALICE, BOB, CAROL, DAVE, World, running

BATCH = {"type": "batchClearinghouseStates"}
SHOUTED = ALICE.upper().replace("0X", "0x")
MIXED = "0x" + "Ca" * 20
NOT_STRINGS = (
    b'{"error":"users must be a list of addresses","code":400,"msg":"users must be a list of addresses"}'
)


def address(number: int) -> str:
    return f"0x{number:040x}"


def followed(number: int) -> list[str]:
    return [address(n) for n in range(number)]


async def timed(world: World, *args: Any, **more: Any) -> tuple[Reply, float]:
    loop = asyncio.get_running_loop()
    began = loop.time()
    return await world.batch(*args, **more), loop.time() - began


# Refusals


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        # The contract's error table.
        (b"{", 400, b'{"error":"invalid JSON body"}'),
        (b"", 400, b'{"error":"invalid JSON body"}'),
        (b'{"type":"batchClearinghouseStates","users":["0x', 400, b'{"error":"invalid JSON body"}'),
        (BATCH, 400, b'{"error":"users must not be empty"}'),
        (BATCH | {"users": []}, 400, b'{"error":"users must not be empty"}'),
        (BATCH | {"users": None}, 400, b'{"error":"users must not be empty"}'),
        (BATCH | {"users": [], "dex": "ALL_DEXES"}, 400, b'{"error":"users must not be empty"}'),
        (BATCH | {"users": [ALICE] * 1001}, 413, b'{"error":"too many users"}'),
        (BATCH | {"users": [ALICE] * 1001, "dex": "xyz"}, 413, b'{"error":"too many users"}'),
        (
            BATCH | {"users": [ALICE] * 101, "dex": "ALL_DEXES"},
            413,
            b'{"error":"too many users for ALL_DEXES"}',
        ),
        # What it leaves open.
        (BATCH | {"users": ALICE}, 400, NOT_STRINGS),
        (BATCH | {"users": {ALICE: 1}}, 400, NOT_STRINGS),
        (BATCH | {"users": [ALICE, 1]}, 400, NOT_STRINGS),
        (BATCH | {"users": [ALICE, None]}, 400, NOT_STRINGS),
        (BATCH | {"users": [[ALICE]]}, 400, NOT_STRINGS),
        (BATCH | {"users": [ALICE, {}], "dex": "ALL_DEXES"}, 400, NOT_STRINGS),
        (BATCH | {"users": [ALICE, {}], "dex": "xyz"}, 400, NOT_STRINGS),
        (
            BATCH | {"users": [ALICE], "dex": 1},
            400,
            b'{"error":"dex must be a string","code":400,"msg":"dex must be a string"}',
        ),
    ],
    ids=lambda value: str(value)[:60],
)
async def test_a_bad_batch_is_refused_to_the_letter(
    body: bytes | dict[str, Any], status: int, says: bytes
) -> None:
    async with running(ALICE) as world:
        reply = await world.info(body)
        assert (reply.status, reply.body) == (status, says)
        assert reply.headers["content-type"] == "application/json"
        assert world.upstream.requests == []


async def test_the_limits_are_inclusive() -> None:
    async with running(ALICE) as world:
        assert (await world.batch([ALICE] * 1000)).status == 200
        assert (await world.batch([ALICE] * 1000, "xyz")).status == 200
        assert (await world.batch([ALICE] * 100, "ALL_DEXES")).status == 200


async def test_the_limits_are_settings() -> None:
    async with running(ALICE, batch_max_users=2, batch_max_users_all_dexes=1) as world:
        assert [(await world.batch([ALICE] * n)).status for n in (2, 3)] == [200, 413]
        assert [(await world.batch([ALICE] * n, "ALL_DEXES")).status for n in (1, 2)] == [200, 413]


# What the answer looks like


@pytest.mark.parametrize("dex", [None, "", "xyz", "ALL_DEXES"])
async def test_order_spelling_and_duplicates_are_the_callers(dex: str | None) -> None:
    users = [BOB, SHOUTED, ALICE, CAROL, MIXED, ALICE, DAVE]
    async with running(ALICE, BOB) as world:
        for _ in ("fetched", "from memory"):
            reply = await world.batch(users, dex)
            assert (reply.status, reply.failed) == (200, [])
            assert [row[0] for row in reply.json["successful_states"]] == users
            states = [row[1] for row in reply.json["successful_states"]]
            assert states[1] == states[2] == states[5]
            assert states[3] == states[4]
        asked = [request.body.lower() for request in world.upstream.requests]
        assert len(asked) == len(set(asked)) == (8 if dex == "ALL_DEXES" else 2)


@pytest.mark.parametrize("dex", [None, "xyz", "ALL_DEXES"])
async def test_malformed_addresses_are_failed_wallets(dex: str | None) -> None:
    bad = [
        "",
        "0x",
        "nobody",
        ALICE[:-1],
        ALICE + "0",
        ALICE[2:],
        "0X" + ALICE[2:],
        ALICE[:-1] + "g",
        " " + ALICE,
    ]
    bad += [ALICE + "\n", '","', "é" * 42, "0x" + "١" * 40]
    async with running(ALICE) as world:
        reply = await world.batch([*bad[:5], ALICE, *bad[5:], bad[0]], dex)
        assert reply.status == 200
        assert [row[0] for row in reply.json["successful_states"]] == [ALICE]
        assert reply.failed == [*bad, bad[0]]
        only = await world.batch(bad, dex)
        assert only.json == {"successful_states": [], "failed_wallets": bad}
        assert world.upstream.requests == []


async def test_a_batch_of_one_dex_is_to_the_byte_what_the_contract_shows() -> None:
    async with running(ALICE) as world:
        native, xyz = [(await world.state(ALICE, dex)).body for dex in ("", "xyz")]
        row = b'["%s",%%s]' % ALICE.encode()
        whole = b'{"successful_states":[%s],"failed_wallets":%s}'
        assert (await world.batch([ALICE])).body == whole % (row % native, b"[]")
        assert (await world.batch([ALICE], "")).body == whole % (row % native, b"[]")
        assert (await world.batch([ALICE], "xyz")).body == whole % (row % xyz, b"[]")
        assert (await world.batch([ALICE, "x"])).body == whole % (row % native, b'["x"]')
        flx, vntl = [(await world.state(ALICE, dex)).body for dex in ("flx", "vntl")]
        everywhere = row % (b'{"native":%s,"xyz":%s,"flx":%s,"vntl":%s}' % (native, xyz, flx, vntl))
        assert (await world.batch([ALICE], "ALL_DEXES")).body == whole % (everywhere, b"[]")


async def test_the_headers_say_how_old_it_is() -> None:
    async with running(ALICE, BOB) as world:
        world.upstream.set_state(ALICE, 1.0)
        await asyncio.sleep(1)
        world.upstream.set_state(BOB, 2.0)
        await asyncio.sleep(0.5)
        times = [(await world.state(user)).as_of for user in (ALICE, BOB)]
        for spelling in (BOB, BOB.upper().replace("X", "x")):
            reply = await world.batch([spelling, ALICE])
            headers = reply.headers
            assert reply.source == "memory"
            assert [int(headers[f"x-replica-as-of-{end}"]) for end in ("min", "max")] == times
            assert reply.as_of == times[0]
            assert (reply.age_ms, headers["age"]) == (pytest.approx(1500, abs=1), "1")


async def test_a_batch_without_a_state_says_no_time() -> None:
    async with running() as world:
        reply = await world.batch(["x"])
        assert not [name for name in reply.headers if "as-of" in name]


# Dexes


async def test_a_dex_nobody_has_is_refused_and_does_not_burn_the_budget() -> None:
    async with running(ALICE) as world:
        await asyncio.sleep(2)
        for _ in range(10):
            reply = await world.batch([ALICE], "nope")
            assert (reply.status, reply.json["error"]) == (400, "unknown dex: nope")
            await asyncio.sleep(0.05)
        assert [request.type for request in world.upstream.requests] == ["perpDexs"]


def before_vntl(upstream: Upstream) -> None:
    """Let the upstream's list of dexes be as it was before one of them was added."""
    dexes = json.loads(upstream.says("perpDexs"))
    assert dexes.pop()["name"] == "vntl"
    upstream.faults.answer(200, json.dumps(dexes), type="perpDexs")


async def test_a_new_dex_is_found_out() -> None:
    async with running(ALICE, prepare=before_vntl) as world:
        await asyncio.sleep(2)
        assert (await world.batch([ALICE, CAROL], "vntl")).status == 400
        world.upstream.faults.heal()
        await asyncio.sleep(2)
        reply = await world.batch([ALICE, CAROL], "vntl")
        assert (reply.status, reply.failed) == (200, [])


async def test_native_is_a_key_and_no_dex() -> None:
    async with running(ALICE) as world:
        assert (await world.batch([ALICE], "native")).status == 400


async def test_dexes_are_in_the_upstreams_order_and_the_cut_is_said() -> None:
    async with running(ALICE, max_dexes=3) as world:
        reply = await world.batch([ALICE], "ALL_DEXES")
        assert list(reply.json["successful_states"][0][1]) == ["native", "xyz", "flx"]
        assert reply.headers["x-replica-dexes-served"] == "3"
        assert reply.headers["x-replica-dexes-total"] == "4"


async def test_all_dexes_uncut_says_so() -> None:
    async with running(ALICE) as world:
        reply = await world.batch([ALICE], "ALL_DEXES")
        assert [reply.headers[f"x-replica-dexes-{which}"] for which in ("served", "total")] == ["4", "4"]


async def test_a_dex_that_fails_is_left_out_and_only_all_of_them_make_a_failed_wallet() -> None:
    async with running(ALICE) as world:
        world.upstream.faults.answer(500, user=CAROL, dex="xyz")
        for dex in world.upstream.source.dexes:
            world.upstream.faults.answer(500, user=DAVE, dex=dex)
        reply = await world.batch([CAROL, ALICE, DAVE], "ALL_DEXES")
        rows = dict(reply.json["successful_states"])
        assert [list(dexes) for dexes in rows.values()] == [
            ["native", "flx", "vntl"],
            ["native", "xyz", "flx", "vntl"],
        ]
        assert reply.failed == [DAVE]


@pytest.mark.parametrize("dex", ["ALL_DEXES", "xyz"])
@pytest.mark.parametrize(
    ("fault", "status", "says"),
    [
        ("hangs", 504, b'{"error":"upstream timeout"}'),
        ("500", 502, b'{"error":"upstream unavailable"}'),
        ("no list", 502, b'{"error":"upstream unavailable"}'),
        ("gone", 502, b'{"error":"upstream unavailable"}'),
        ("429", 429, b"null"),
    ],
)
async def test_without_a_dex_list_the_reason_is_said(fault: str, status: int, says: bytes, dex: str) -> None:
    async with running(warm=False) as world:
        upstream = world.upstream
        if fault == "hangs":
            upstream.faults.hang(type="perpDexs")
        elif fault == "gone":
            upstream.refuse_connections()
        else:
            answers = {"500": (500, b"null"), "no list": (200, b'{"a":1}'), "429": (429, b"null")}
            upstream.faults.answer(*answers[fault], type="perpDexs")
        reply, took_s = await timed(world, [ALICE], dex)
        assert (reply.status, reply.body) == (status, says)
        assert took_s <= 5.1
        assert (reply.status == 429) == ("retry-after" in reply.headers)


async def test_a_dex_list_once_read_serves_on_and_is_renewed_in_the_background() -> None:
    async with running(ALICE, perp_dexs_ttl_s=60, prepare=before_vntl) as world:
        world.upstream.faults.heal()
        await asyncio.sleep(50)
        await world.batch([ALICE], "ALL_DEXES")
        assert world.upstream.requests == []
        world.upstream.faults.answer(500, b"null", type="perpDexs")
        await asyncio.sleep(20)
        for _ in range(3):
            reply, took_s = await timed(world, [ALICE], "ALL_DEXES")
            assert (reply.status, took_s) == (200, 0.0)
        await asyncio.sleep(1)
        assert world.upstream.calls("perpDexs") == 1
        assert reply.headers["x-replica-dexes-total"] == "3"
        world.upstream.faults.heal()
        await world.batch([ALICE], "ALL_DEXES")
        await asyncio.sleep(1)
        reply = await world.batch([ALICE], "ALL_DEXES")
        assert reply.headers["x-replica-dexes-total"] == "4"


# Misses, deadline, budget


async def test_misses_are_fetched_side_by_side_within_the_bound() -> None:
    async with running(batch_concurrency=10) as world:
        world.upstream.faults.latency(0.5)
        reply, took_s = await timed(world, followed(40))
        assert reply.failed == []
        assert took_s == pytest.approx(2.0)
        arrived = [request.at for request in world.upstream.requests]
        under_way = [sum(at <= other < at + 0.49 for other in arrived) for at in arrived]
        assert (len(arrived), max(under_way)) == (40, 10)


async def test_the_deadline_is_kept_and_what_came_in_time_is_there() -> None:
    async with running(ALICE, batch_deadline_s=5) as world:
        world.upstream.faults.hang(user=CAROL)
        reply, took_s = await timed(world, [CAROL, ALICE, DAVE])
        assert took_s == pytest.approx(5.0)
        assert [row[0] for row in reply.json["successful_states"]] == [ALICE, DAVE]
        assert reply.failed == [CAROL]


async def test_one_deadline_for_all_of_a_batch() -> None:
    async with running(batch_deadline_s=5, batch_concurrency=4) as world:
        world.upstream.faults.hang(type="clearinghouseState")
        reply, took_s = await timed(world, followed(100))
        assert took_s == pytest.approx(5.0)
        assert len(reply.failed) == 100
        assert world.upstream.calls() == 4


async def test_the_dex_list_is_inside_the_deadline() -> None:
    async with running(warm=False, batch_deadline_s=5) as world:
        world.upstream.faults.latency(3.0)
        reply, took_s = await timed(world, [CAROL], "ALL_DEXES")
        assert took_s <= 5.1
        assert (reply.status, reply.failed) == (200, [CAROL])


async def test_a_held_state_stands_in_at_the_deadline() -> None:
    async with running() as world:
        await world.batch([CAROL, DAVE])
        await asyncio.sleep(10)
        world.upstream.faults.hang(user=CAROL)
        reply, _ = await timed(world, [CAROL, DAVE])
        assert (reply.source, reply.failed) == ("stale", [])
        times = [int(reply.headers[f"x-replica-as-of-{end}"]) for end in ("min", "max")]
        assert times[1] - times[0] == pytest.approx(10_000, abs=50)


async def test_what_the_budget_cannot_pay_is_said_at_once() -> None:
    async with running(ALICE, upstream_weight_per_minute=240, write_reserve_weight=120) as world:
        # 20 went into the dex list: 100 are left, 2 a piece.
        users = followed(1000)
        reply, took_s = await timed(world, [ALICE, *users[:999]])
        assert took_s < 1.0
        assert len(reply.json["successful_states"]) == 51
        assert reply.failed == users[50:999]
        assert world.upstream.calls() == 50


async def test_a_budget_that_frees_up_before_the_deadline_is_used() -> None:
    async with running(upstream_weight_per_minute=240, write_reserve_weight=120) as world:
        assert len((await world.batch(followed(50))).failed) == 0
        # The dex list and the fifty leave the window 60.5 s after they were answered.
        await asyncio.sleep(58)
        reply, took_s = await timed(world, [address(1000 + n) for n in range(20)])
        assert (reply.failed, took_s < 5.1) == ([], True)
        assert world.upstream.calls() == 70


async def test_batches_of_many_clients_share_one_budget() -> None:
    async with running(upstream_weight_per_minute=240, write_reserve_weight=120) as world:
        world.upstream.faults.latency(0.1)
        batches = [[address(1000 * b + n) for n in range(30)] for b in range(4)]
        began = asyncio.get_running_loop().time()
        replies = await asyncio.gather(*(world.batch(users) for users in batches))
        assert asyncio.get_running_loop().time() - began <= 5.1
        assert sum(len(reply.json["successful_states"]) for reply in replies) == 50
        assert world.upstream.calls() == 50


# One cut


async def test_a_batch_is_one_cut_of_memory() -> None:
    async with running(ALICE, BOB) as world:
        world.upstream.faults.latency(1.0)

        async def churn() -> None:
            value = 0.0
            while True:
                value += 1.0
                # Both in one moment: no cut has one without the other.
                world.upstream.set_state(ALICE, value)
                world.upstream.set_state(BOB, value)
                await asyncio.sleep(0.05)

        churning = asyncio.create_task(churn())
        await asyncio.sleep(0.5)
        for number in range(20):
            reply = await world.batch([ALICE, address(number), BOB])
            first, _, last = [
                row[1]["marginSummary"]["accountValue"] for row in reply.json["successful_states"]
            ]
            assert first == last
        churning.cancel()


async def test_answers_kept_by_clients_do_not_change_when_memory_does() -> None:
    async with running(ALICE) as world:
        before = await world.batch([ALICE])
        copy = bytes(bytearray(before.body))
        world.upstream.set_state(ALICE, 9.0)
        await asyncio.sleep(0.1)
        assert (await world.batch([ALICE])).value == 9.0
        assert before.body == copy


@pytest.mark.parametrize("path", ["/info", "//info", "/some-key/info"])
async def test_every_path_to_info_serves_batches(path: str) -> None:
    async with running(ALICE) as world:
        reply = await world.post(path, BATCH | {"users": [ALICE]})
        assert (reply.status, reply.source) == (200, "memory")


@pytest.mark.parametrize("dex", [None, "ALL_DEXES"])
@pytest.mark.parametrize("spent", [False, True], ids=["upstream fails", "budget is spent"])
async def test_what_comes_from_memory_alone_says_so(dex: str | None, spent: bool) -> None:
    async with running(ALICE) as world:
        await world.batch([ALICE], "ALL_DEXES")  # the dex list is known
        if spent:
            world.upstream.faults.answer_429(times=1)
            assert (await world.state(CAROL)).status == 429
        else:
            world.upstream.faults.answer(502, b"", type="clearinghouseState")
        reply = await world.batch([ALICE, CAROL], dex)
        assert (reply.status, reply.failed, reply.source) == (200, [CAROL], "memory")
        world.upstream.faults.heal()
        await asyncio.sleep(10)
        assert (await world.batch([ALICE, CAROL], dex)).source == "upstream"
