"""Reads that are answered from streams: in the upstream's own bytes, as new as they say, or not at all."""

import asyncio
import json
from typing import Any

import pytest
from hyperliquid.utils.signing import sign_l1_action

from replica import Subscription
from tests.callers import encoded
from tests.upstream import TRADER
from tests.virtual import ALICE, EPOCH, World, running, signed_order

USER = TRADER.address.lower()
OF_ACCOUNT = ("spotClearinghouseState", "openOrders", "frontendOpenOrders")


async def ask(world: World, type_: str, **fields: Any) -> Any:
    more = {name: fields.pop(name) for name in ("client", "cache_control") if name in fields}
    return await world.info({"type": type_, **fields}, **more)


def kept(world: World, type_: str) -> bool:
    return any(one.type == type_ for one in world.program.replica.mirror._kept)


async def settled(world: World) -> None:
    """All that is kept has come."""
    await world.until(lambda: kept(world, "openOrders") and kept(world, "allMids"))
    await asyncio.sleep(2)


@pytest.mark.parametrize("type_", OF_ACCOUNT)
async def test_states_of_an_account_are_read_from_memory(type_: str) -> None:
    async with running(USER, keeps=True) as world:
        await settled(world)
        assert (await world.write(signed_order(int(EPOCH * 1000)), client="10.9.9.9")).status == 200
        # No word of a write comes before the next push.
        await asyncio.sleep(8)
        before = world.upstream.calls(type_)
        answer = await ask(world, type_, user=TRADER.address)
        assert answer.source == "memory"
        assert answer.body == world.upstream.says(type_, user=USER)
        assert world.upstream.calls(type_) == before
        assert json.loads(answer.body)
        assert 0 <= float(answer.headers["x-replica-age-ms"]) < 6000
        now_ms = world.upstream.now_ms()
        assert now_ms - 9000 <= int(answer.headers["x-replica-as-of"]) <= now_ms - 2000


@pytest.mark.parametrize("type_", OF_ACCOUNT)
async def test_a_read_after_a_write_is_not_answered_by_a_push_from_before_it(type_: str) -> None:
    async with running(USER, keeps=True) as world:
        await settled(world)
        nonce = int(EPOCH * 1000)
        for number in range(12):
            await asyncio.sleep(0.7)
            assert (await world.write(signed_order(nonce + number))).status == 200
            answer = await ask(world, type_, user=USER)
            assert answer.body == world.upstream.says(type_, user=USER)
        sources = set()
        for _ in range(16):
            await asyncio.sleep(0.5)
            answer = await ask(world, type_, user=USER)
            assert answer.body == world.upstream.says(type_, user=USER)
            sources.add(answer.source)
        assert sources == {"memory", "upstream"}
        assert answer.source == "memory"


async def test_nothing_is_read_from_a_stream_whose_connection_is_lost_until_it_speaks_again() -> None:
    async with running(USER, keeps=True) as world:
        await settled(world)
        assert (await ask(world, "openOrders", user=USER)).source == "memory"
        assert (await world.write(signed_order(int(EPOCH * 1000)), client="10.9.9.9")).status == 200
        world.upstream.drop_sockets()
        await asyncio.sleep(0.01)
        for type_ in OF_ACCOUNT:
            answer = await ask(world, type_, user=USER)
            assert (answer.source, answer.body) == ("upstream", world.upstream.says(type_, user=USER))
        await asyncio.sleep(60)
        for type_ in OF_ACCOUNT:
            answer = await ask(world, type_, user=USER)
            assert (answer.source, answer.body) == ("memory", world.upstream.says(type_, user=USER))


async def test_what_is_switched_off_costs_nothing() -> None:
    async with running(USER, keeps=True, keep_account_streams=(), keep_market_streams=()) as world:
        await asyncio.sleep(60)
        assert {m["subscription"]["type"] for m in world.upstream.messages if m["method"] == "subscribe"} == {
            "allDexsClearinghouseState"
        }
        assert world.program.replica.feed.sockets == 1
        assert (await ask(world, "allMids")).source == "upstream"


async def test_one_subscription_for_the_replica_and_for_its_clients() -> None:
    async with running(ALICE, keeps=True) as world:
        await settled(world)
        mirror = world.program.replica.mirror
        subscriptions = [m["subscription"] for m in world.upstream.messages if m["method"] == "subscribe"]
        assert len(subscriptions) == len({json.dumps(one, sort_keys=True) for one in subscriptions})
        for one in tuple(mirror._kept):
            assert mirror.hold(one) is None
            assert mirror.confirmed(one)
        await asyncio.sleep(5)
        for one in tuple(mirror._kept):
            mirror.release(one)
        await asyncio.sleep(100)
        again = [m for m in world.upstream.messages if m["method"] in ("subscribe", "unsubscribe")]
        assert len(again) == len(subscriptions)
        mirror.check()


async def test_mids_and_contexts() -> None:
    options = {"upstream_weight_per_minute": 0, "upstream": {"walk": True}}
    async with running(ALICE, keeps=True, **options) as world:
        await settled(world)
        # The lists of markets are no stream's: an answer of the upstream brings them.
        for type_ in ("metaAndAssetCtxs", "spotMetaAndAssetCtxs"):
            assert (await ask(world, type_)).source == "upstream"
        seen: dict[str, set[str]] = {}
        for _ in range(200):
            await asyncio.sleep(0.61)
            for type_ in ("allMids", "metaAndAssetCtxs", "spotMetaAndAssetCtxs"):
                answer = await ask(world, type_)
                seen.setdefault(type_, set()).add(answer.source)
                assert float(answer.headers["x-replica-age-ms"]) < 6000
                truth = world.upstream.says(type_)
                assert shape(json.loads(answer.body)) == shape(json.loads(truth))
        assert seen == {type_: {"memory", "upstream"} for type_ in seen} | {"allMids": {"memory"}}


def shape(value: Any) -> Any:
    """The names and the order of things, without the numbers that move."""
    if isinstance(value, dict):
        return {name: shape(one) for name, one in value.items()}
    if isinstance(value, list):
        return [shape(one) for one in value]
    return value if isinstance(value, str) and not value.replace(".", "").replace("-", "").isdigit() else None


# -- lists of what happened ----------------------------------------------------------------------------

LISTS = ("userFills", "historicalOrders", "userTwapSliceFills", "twapHistory", "userNonFundingLedgerUpdates")


def signed(action: dict[str, Any], nonce: int) -> bytes:
    signature = sign_l1_action(TRADER, action, None, nonce, None, False)
    return encoded({"action": action, "nonce": nonce, "signature": signature, "vaultAddress": None})


def taker(nonce: int) -> bytes:
    """The trader buys a little BTC at once."""
    row = {"a": 0, "b": True, "p": "100000", "s": "0.001", "r": False, "t": {"limit": {"tif": "Ioc"}}}
    return signed({"type": "order", "orders": [row], "grouping": "na"}, nonce)


async def trades(world: World, number: int, of: int = 3) -> None:
    """Some orders that are filled, some that rest, some money."""
    nonce = int(EPOCH * 1000) + 1000 * number
    for more in range(of):
        assert (await world.write(taker(nonce + more), client="10.9.9.9")).status == 200
        assert (await world.write(signed_order(nonce + 100 + more), client="10.9.9.9")).status == 200
        world.upstream.fund(USER, "5", quietly=True)
        await asyncio.sleep(0.3)


async def test_lists_go_on_from_the_last_answer() -> None:
    async with running(USER, keeps=True) as world:
        await settled(world)
        await trades(world, 1)
        await asyncio.sleep(15)
        for type_ in LISTS:
            assert (await ask(world, type_, user=USER)).source == "upstream"
        for number in range(2, 6):
            await asyncio.sleep(3)
            await trades(world, number)
            await asyncio.sleep(3)
            for type_ in LISTS:
                answer = await ask(world, type_, user=USER)
                assert (answer.source, answer.body) == ("memory", world.upstream.says(type_, user=USER))
        assert len(json.loads(world.upstream.says("userFills", user=USER))) >= 15


async def test_a_window_inside_of_what_is_held() -> None:
    async with running(USER, keeps=True, upstream_weight_per_minute=0) as world:
        await trades(world, 1)
        await settled(world)
        held_ms = world.upstream.now_ms()
        await asyncio.sleep(10)
        await trades(world, 2, of=10)
        await asyncio.sleep(3)
        now_ms = world.upstream.now_ms()
        seen = set()
        for start in range(held_ms - 10_000, now_ms + 2000, 333):
            for end in (None, start, start + 1000, now_ms):
                for type_ in ("userFillsByTime", "userNonFundingLedgerUpdates"):
                    asked = {"user": USER, "startTime": start} | ({} if end is None else {"endTime": end})
                    answer = await ask(world, type_, **asked)
                    assert answer.body == world.upstream.says(type_, **asked)
                    seen.add((answer.source, start > held_ms + 2000))
        assert {("memory", True), ("upstream", False)} <= seen
        assert ("upstream", True) not in seen


async def test_orders_that_are_over() -> None:
    async with running(USER, keeps=True) as world:
        await settled(world)
        await trades(world, 1)
        await asyncio.sleep(3)
        rows = json.loads(world.upstream.says("historicalOrders", user=USER))
        seen = {}
        for row in rows:
            oid = row["order"]["oid"]
            answer = await ask(world, "orderStatus", user=USER, oid=oid)
            assert answer.body == world.upstream.says("orderStatus", user=USER, oid=oid)
            seen[oid] = answer.source, json.loads(answer.body)["order"]["status"]
        assert set(seen.values()) == {("memory", "filled"), ("upstream", "open")}
        answer = await ask(world, "orderStatus", user=USER, oid=10**12)
        assert (answer.source, answer.body) == ("upstream", b'{"status":"unknownOid"}')


async def test_lists_after_a_reconnect_have_what_happened_meanwhile() -> None:
    async with running(USER, keeps=True) as world:
        await settled(world)
        await trades(world, 1)
        await asyncio.sleep(15)
        for type_ in LISTS:
            await ask(world, type_, user=USER)
        world.upstream.drop_sockets()
        await asyncio.sleep(0.01)
        await trades(world, 2)
        for type_ in LISTS:
            answer = await ask(world, type_, user=USER)
            assert answer.body == world.upstream.says(type_, user=USER)
        for _ in range(10):
            await asyncio.sleep(7)
            for type_ in LISTS:
                answer = await ask(world, type_, user=USER)
                assert answer.body == world.upstream.says(type_, user=USER)
        assert answer.source == "memory"


async def test_slices_of_a_twap_are_in_no_list_that_lacks_them() -> None:
    async with running(USER, keeps=True, upstream_weight_per_minute=0) as world:
        await settled(world)
        await trades(world, 1)
        await asyncio.sleep(15)
        for type_ in LISTS:
            await ask(world, type_, user=USER)
        start = world.upstream.now_ms()
        twap = {"a": 0, "b": True, "s": "0.05", "r": False, "m": 5, "t": False}
        answer = await world.write(signed({"type": "twapOrder", "twap": twap}, start), client="10.9.9.9")
        assert b"running" in answer.body
        windows = {"userFillsByTime": {"startTime": start}, "userTwapSliceFillsByTime": {"startTime": start}}
        seen = set()
        for _ in range(40):
            await asyncio.sleep(10)
            for type_ in (*LISTS, *windows):
                more = windows.get(type_, {})
                answer = await ask(world, type_, user=USER, **more)
                assert answer.body == world.upstream.says(type_, user=USER, **more)
                seen.add((type_, answer.source))
        assert len(json.loads(world.upstream.says("userTwapSliceFills", user=USER))) > 5
        assert ("userTwapSliceFills", "memory") in seen
        assert ("userFills", "upstream") in seen
        # Slices are in the answer that was asked for after the last of them: from there on it goes on.
        assert (await ask(world, "userFills", user=USER)).source == "memory"


# -- what only clients hold ----------------------------------------------------------------------------


async def test_trades_and_candles_while_a_client_holds_them() -> None:
    async with running(ALICE, keeps=True, upstream_weight_per_minute=0) as world:
        await settled(world)
        mirror = world.program.replica.mirror
        assert mirror.hold(Subscription({"type": "trades", "coin": "BTC"})) is None
        assert mirror.hold(Subscription({"type": "candle", "coin": "BTC", "interval": "1m"})) is None
        await trades(world, 1, of=12)
        await asyncio.sleep(12)
        start = world.upstream.now_ms() - 3_600_000
        req = {"coin": "BTC", "interval": "1m", "startTime": start}
        sources: dict[str, list[str]] = {"recentTrades": [], "candleSnapshot": []}
        for number in range(2, 32):
            await trades(world, number, of=1)
            # Frames of a candle come every second.
            await asyncio.sleep(1.2)
            for type_, more in (("recentTrades", {"coin": "BTC"}), ("candleSnapshot", {"req": req})):
                answer = await ask(world, type_, **more)
                assert answer.body == world.upstream.says(type_, **more)
                sources[type_].append(answer.source)
        assert sources["recentTrades"] == ["upstream"] + ["memory"] * 29
        assert sources["candleSnapshot"].count("upstream") <= 3


async def test_a_window_of_candles_that_moves_asks_the_upstream_once_a_candle() -> None:
    async with running(ALICE, keeps=True, upstream_weight_per_minute=0) as world:
        held = {"type": "candle", "coin": "BTC", "interval": "1m"}
        assert world.program.replica.mirror.hold(Subscription(held)) is None
        sources = []
        for number in range(200):
            await trades(world, number, of=1)
            await asyncio.sleep(1.3)
            now_ms = world.upstream.now_ms()
            req = {"coin": "BTC", "interval": "1m", "startTime": now_ms - 90_000, "endTime": now_ms}
            answer = await ask(world, "candleSnapshot", req=req)
            assert answer.body == world.upstream.says("candleSnapshot", req=req), number
            sources.append(answer.source)
        # The first minutes are too short for the window; then, in 160 s, a candle closes three times at most,
        # and is settled two seconds later.
        assert 1 <= sources[100:].count("upstream") <= 3 * 3
        assert set(sources[100:]) == {"memory", "upstream"}
        # Another window is answered as well, and one of the past; one of more than is held is not.
        for start, end, source in (
            (70_000, 0, "memory"),
            (200_000, 80_000, "memory"),
            (900_000, 0, "upstream"),
        ):
            req = {**req, "startTime": now_ms - start, "endTime": now_ms - end}
            answer = await ask(world, "candleSnapshot", req=req)
            assert (answer.body, answer.source) == (world.upstream.says("candleSnapshot", req=req), source)


async def test_without_a_stream_another_window_is_answered_as_long_as_an_answer_is_fresh() -> None:
    async with running(ALICE, upstream_weight_per_minute=0) as world:
        for number in range(50):
            await trades(world, number, of=1)
            await asyncio.sleep(2.5)
        minute_ms = world.upstream.now_ms() // 60_000 * 60_000
        for minutes, wait_s, source in ((2, 0.1, "upstream"), (1, 0.5, "memory"), (1, 0.0, "upstream")):
            req = {"coin": "BTC", "interval": "1m", "startTime": minute_ms - minutes * 60_000}
            answer = await ask(world, "candleSnapshot", req=req)
            assert (answer.body, answer.source) == (world.upstream.says("candleSnapshot", req=req), source)
            assert len(json.loads(answer.body)) == minutes + 1
            await asyncio.sleep(wait_s)
