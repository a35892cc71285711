"""The main job: accounts mirrored from the feed, reads and batches answered from memory."""

import asyncio

import pytest

from tests.virtual import ALICE, BOB, CAROL, DAVE, META, running


async def test_followed_accounts_are_answered_from_memory_byte_for_byte() -> None:
    async with running(ALICE, BOB) as world:
        world.upstream.set_state(ALICE, 12.5)
        truth = world.upstream.state(ALICE)
        await asyncio.sleep(0.25)
        reply = await world.state(ALICE)
        assert (reply.status, reply.body) == (200, truth)
        assert reply.headers["content-type"] == "application/json"
        assert reply.source == "memory"
        assert reply.age_ms == pytest.approx(250, abs=1)
        assert reply.headers["age"] == "0"
        assert str(reply.as_of) in truth.decode()
        assert world.upstream.requests == []


@pytest.mark.parametrize("spelling", [ALICE, ALICE.upper().replace("0X", "0x")])
@pytest.mark.parametrize("dex", [None, "", "xyz"])
async def test_every_dex_of_a_followed_account_is_held(spelling: str, dex: str | None) -> None:
    async with running(ALICE) as world:
        world.upstream.set_state(ALICE, 1.0, dex or "")
        truth = world.upstream.state(ALICE, dex or "")
        await asyncio.sleep(1)
        reply = await world.state(spelling, dex)
        assert (reply.body, reply.source) == (truth, "memory")
        assert world.upstream.requests == []


async def test_a_batch_is_made_of_the_very_states() -> None:
    async with running(ALICE, BOB) as world:
        singles = {user: (await world.state(user)).body for user in (ALICE, BOB)}
        reply = await world.batch([BOB, ALICE])
        assert reply.body == (
            b'{"successful_states":[["%s",%s],["%s",%s]],"failed_wallets":[]}'
            % (BOB.encode(), singles[BOB], ALICE.encode(), singles[ALICE])
        )
        assert reply.source == "memory"
        assert world.upstream.requests == []


async def test_a_batch_over_all_dexes_is_made_of_the_very_states() -> None:
    async with running(ALICE) as world:
        states = [(await world.state(ALICE, dex)).body for dex in ("", "xyz", "flx", "vntl")]
        reply = await world.batch([ALICE], "ALL_DEXES")
        assert reply.body == (
            b'{"successful_states":[["%s",{"native":%s,"xyz":%s,"flx":%s,"vntl":%s}]],"failed_wallets":[]}'
            % (ALICE.encode(), *states)
        )
        assert reply.source == "memory"
        assert world.upstream.requests == []


async def test_an_hour_of_polling_never_asks_the_upstream() -> None:
    async with running(ALICE, BOB) as world:
        for second in range(3600):
            if second % 7 == 0:
                world.upstream.change_quietly(ALICE, float(second))
            reply = await world.batch([ALICE, BOB])
            assert (reply.source, reply.failed) == ("memory", [])
            assert reply.age_ms <= 6000
            await asyncio.sleep(1)
        assert world.upstream.calls("clearinghouseState") == 0
        assert len(world.upstream.seen.dials) == 1


async def test_others_join_by_a_fetch_and_stay_for_their_ttl() -> None:
    async with running(ALICE, account_ttl_s=5) as world:
        upstream = world.upstream
        upstream.change_quietly(CAROL, 3.0)
        truth = upstream.state(CAROL)
        first = await world.state(CAROL)
        assert (first.body, first.source) == (truth, "upstream")
        await asyncio.sleep(4.9)
        second = await world.state(CAROL)
        assert (second.body, second.source) == (truth, "memory")
        assert second.headers["age"] == "4"
        assert upstream.calls() == 1
        await asyncio.sleep(0.2)
        third = await world.state(CAROL)
        assert third.source == "upstream"
        assert third.as_of > first.as_of
        assert upstream.calls() == 2


async def test_a_fetched_state_is_as_old_as_its_question() -> None:
    async with running(account_ttl_s=5) as world:
        world.upstream.faults.latency(2.0)
        first = await world.state(CAROL)
        assert first.age_ms == pytest.approx(2000, abs=1)
        await asyncio.sleep(2.9)
        assert (await world.state(CAROL)).age_ms == pytest.approx(4900, abs=1)
        await asyncio.sleep(0.2)
        assert (await world.state(CAROL)).source == "upstream"


async def test_a_batch_fetches_only_what_is_missing() -> None:
    async with running(ALICE) as world:
        reply = await world.batch([CAROL, ALICE, DAVE, CAROL])
        assert [row[0] for row in reply.json["successful_states"]] == [CAROL, ALICE, DAVE, CAROL]
        assert (reply.source, reply.failed) == ("upstream", [])
        asked = sorted(request.body for request in world.upstream.requests)
        assert asked == [
            b'{"type":"clearinghouseState","user":"%s"}' % user.encode() for user in (CAROL, DAVE)
        ]
        again = await world.batch([CAROL, ALICE, DAVE, CAROL])
        assert (again.body, again.source) == (reply.body, "memory")


async def test_accounts_over_the_user_limit_are_fetched() -> None:
    async with running(ALICE, BOB, CAROL, upstream_users=2) as world:
        assert [(await world.state(user)).source for user in (ALICE, BOB, CAROL)] == [
            "memory",
            "memory",
            "upstream",
        ]
        followed = [frame["subscription"] for frame in world.upstream.messages]
        assert followed == [{"type": "allDexsClearinghouseState", "user": user} for user in (ALICE, BOB)]


async def test_any_other_type_is_the_upstreams_bytes() -> None:
    body = b'{ "type" : "meta", "dex":"" , "later": 1e2 }'
    async with running() as world:
        world.upstream.faults.answer(200, META, type="meta")
        reply = await world.info(body)
        assert (reply.status, reply.body, reply.source) == (200, META, "upstream")
        assert [request.body for request in world.upstream.requests] == [body]


async def test_an_unknown_type_passes_through_unharmed() -> None:
    async with running() as world:
        reply = await world.info({"type": "tomorrow"})
        assert reply.status == 422
        assert reply.body == b"Failed to deserialize the JSON body into the target type"
        assert reply.headers["content-type"] == "text/plain"
        assert world.upstream.calls("tomorrow") == 1
