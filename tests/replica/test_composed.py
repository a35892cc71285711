"""`webData2` between the mirror and its listener, on virtual time."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

from replica.clock import Clock
from replica.composed import EVERY_S, META_EVERY_S, META_GOOD_S, Composed
from replica.errors import UpstreamUnavailable
from replica.events import Confirmed, Lost, Pushed, Refused
from replica.mirror import Mirror, MirrorSettings
from replica.streams.memory import Gap
from replica.streams.web_data2 import parts_of
from replica.subscription import Subscription
from replica.upstream.rest import Answer

USER = "0x" + "a1" * 20
WHOLE = Subscription({"type": "webData2", "user": USER})
PARTS = {part.type: part for part in parts_of(USER)}
SPOT = PARTS["spotState"]
DATA: dict[str, Any] = {
    "clearinghouseState": {"dex": "", "user": USER, "clearinghouseState": {"time": 1}},
    "openOrders": {"dex": "", "user": USER, "orders": []},
    "spotState": {"user": USER, "spotState": {"balances": []}},
    "twapStates": {"dex": "", "user": USER, "states": []},
    "webData3": {
        "userState": {
            "agentAddress": None,
            "agentValidUntil": None,
            "cumLedger": "1.0",
            "serverTime": 1,
            "isVault": False,
            "user": USER,
        },
        "perpDexStates": [{"totalVaultEquity": "0.0"}],
    },
    "allDexsAssetCtxs": {"ctxs": [["", [{"markPx": "1"}]]]},
    "spotAssetCtxs": [],
}


class Upstream:
    """Holds what it is asked to, refuses what `refuses` names, and knows one coin."""

    def __init__(self) -> None:
        self.held: list[Subscription] = []
        self.refuses: str | None = None
        self.coins = 1
        self.delisted = False
        self.fails = False
        self.asked = 0

    def hold(self, subscription: Subscription) -> str | None:
        if subscription.type == self.refuses:
            return "Cannot track more than 10 total users."
        assert subscription not in self.held, "held twice"
        self.held.append(subscription)
        return None

    def release(self, subscription: Subscription) -> None:
        self.held.remove(subscription)

    def confirmed(self, subscription: Subscription) -> bool:
        return False

    async def read(self, type_: str, body: bytes) -> Answer:
        assert (type_, body) == ("meta", b'{"type":"meta"}')
        self.asked += 1
        await asyncio.sleep(0.1)
        if self.fails:
            raise UpstreamUnavailable("down")
        coin = {"isDelisted": True} if self.delisted else {}
        return Answer(200, json.dumps({"universe": [coin] * self.coins}).encode(), "application/json")


class Ear:
    def __init__(self) -> None:
        self.told: list[tuple[str, Any]] = []
        self.on_told: Callable[[], None] = lambda: None

    def confirmed(self, subscription: Subscription) -> None:
        self.told.append((subscription.type, "confirmed"))
        self.on_told()

    def refused(self, subscription: Subscription, text: str) -> None:
        self.told.append((subscription.type, text))
        self.on_told()

    def frame(self, subscription: Subscription, frame: bytes) -> None:
        self.told.append((subscription.type, json.loads(frame)["data"]))

    def gap(self, subscription: Subscription, gap: Gap) -> None:
        self.told.append((subscription.type, gap.reason))

    def take(self) -> list[tuple[str, Any]]:
        told, self.told = self.told, []
        return told


class Site:
    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.upstream = Upstream()
        clock = Clock(monotonic=loop.time, wall=lambda: 1_771_587_392.0 + loop.time())
        self.mirror = Mirror(self.upstream, self.upstream.read, clock, MirrorSettings(linger_s=0.0))
        self.composed = Composed(self.mirror, self.upstream.read)
        self.ear = Ear()
        self.composed.listener = self.ear
        self._now = clock.monotonic

    def confirm(self, *parts: Subscription) -> None:
        for part in parts:
            self.mirror.apply(Confirmed(part), self._now())
            self.composed.check()

    def push(self, *parts: Subscription, **changed: Any) -> None:
        for part in parts:
            data = json.dumps(changed.get(part.type, DATA[part.type])).encode()
            frame = b'{"channel":"%s","data":%s}' % (part.type.encode(), data)
            self.mirror.apply(Pushed(part, frame, data), self._now())
            self.composed.check()

    def apply(self, event: Lost | Refused) -> None:
        self.mirror.apply(event, self._now())
        self.composed.check()


@contextlib.asynccontextmanager
async def site() -> AsyncIterator[Site]:
    one = Site()
    try:
        yield one
    finally:
        await one.composed.close()
        await one.mirror.close()
        assert one.upstream.held == []


async def whole(one: Site) -> None:
    """Held, confirmed, with every part and the universe there, and its first frame told."""
    assert one.composed.hold(WHOLE) is None
    one.confirm(*PARTS.values())
    one.push(*PARTS.values())
    await asyncio.sleep(2 * EVERY_S + 0.2)


async def test_it_is_confirmed_with_its_last_part_and_told_once_all_is_there() -> None:
    async with site() as one:
        assert one.composed.hold(WHOLE) is None
        assert set(one.upstream.held) == set(PARTS.values())
        *most, last = PARTS.values()
        one.confirm(*most)
        assert not one.composed.confirmed(WHOLE) and one.ear.take() == []
        one.confirm(last)
        assert one.composed.confirmed(WHOLE)
        assert one.ear.take() == [("webData2", "confirmed")]
        one.push(*most)
        await asyncio.sleep(5 * EVERY_S)
        assert one.ear.take() == [] and one.composed.snapshot(WHOLE) == ()
        one.push(last)
        await asyncio.sleep(2 * EVERY_S + 0.2)
        told = one.ear.take()
        assert [name for name, _ in told] == ["webData2"]
        assert told[0][1]["user"] == USER and told[0][1]["meta"] == {"universe": [{}]}
        (frame,) = one.composed.snapshot(WHOLE)
        assert json.loads(frame)["data"] == told[0][1]
        assert one.upstream.asked == 1


async def test_changes_come_together_once_a_while_and_the_last_of_each_counts() -> None:
    async with site() as one:
        await whole(one)
        one.ear.take()
        for equity in ("1.0", "2.0"):
            state = {**DATA["webData3"], "perpDexStates": [{"totalVaultEquity": equity}]}
            one.push(PARTS["webData3"], webData3=state)
            one.push(SPOT)
        await asyncio.sleep(5 * EVERY_S)
        told = one.ear.take()
        assert [name for name, _ in told] == ["webData2"]
        assert told[0][1]["totalVaultEquity"] == "2.0"


async def test_a_part_that_a_client_holds_too_is_held_once_and_goes_its_own_way() -> None:
    async with site() as one:
        assert one.composed.hold(SPOT) is None
        await whole(one)
        assert [name for name, _ in one.ear.take()].count("spotState") == 2  # confirmed, and its frame
        one.composed.release(WHOLE)
        assert one.upstream.held == [SPOT]
        one.push(SPOT)
        assert [name for name, _ in one.ear.take()] == ["spotState"]
        assert one.composed.hold(WHOLE) is None
        one.composed.release(SPOT)
        assert SPOT in one.upstream.held
        one.push(SPOT)
        assert one.ear.take() == []
        one.composed.release(WHOLE)


async def test_what_the_upstream_refuses_of_it_refuses_all_of_it() -> None:
    async with site() as one:
        one.upstream.refuses = "webData3"
        assert one.composed.hold(WHOLE) == "Cannot track more than 10 total users."
        assert one.upstream.held == [] and not one.composed.confirmed(WHOLE)
        one.upstream.refuses = None
        assert one.composed.hold(SPOT) is None
        assert one.composed.hold(WHOLE) is None
        one.upstream.held.remove(SPOT)
        one.apply(Refused(SPOT, "no"))
        assert one.ear.take() == [("spotState", "no"), ("webData2", "no")]
        assert one.upstream.held == []


async def test_a_listener_may_give_up_one_while_it_is_told_of_another() -> None:
    async with site() as one:
        others = [Subscription({"type": "webData2", "user": "0x" + digits * 20}) for digits in ("b0", "ca")]
        for subscription in (WHOLE, *others):
            assert one.composed.hold(subscription) is None

        def release(*subscriptions: Subscription) -> None:
            one.ear.on_told = lambda: None
            for subscription in subscriptions:
                one.composed.release(subscription)

        for subscription in (WHOLE, *others):
            one.confirm(*(p for p in parts_of(subscription.user or "") if p.user))
        one.confirm(PARTS["allDexsAssetCtxs"])
        one.ear.on_told = lambda: release(others[0])
        one.confirm(PARTS["spotAssetCtxs"])
        assert one.ear.take() == [("webData2", "confirmed")] * 2
        one.ear.on_told = lambda: release(others[1])
        one.upstream.held.remove(PARTS["spotAssetCtxs"])
        one.apply(Refused(PARTS["spotAssetCtxs"], "no"))
        assert one.ear.take() == [("webData2", "no")]
        assert one.upstream.held == []


async def test_nothing_is_made_of_a_part_that_is_not_fed() -> None:
    async with site() as one:
        await whole(one)
        one.ear.take()
        one.apply(Lost((SPOT,), "cut"))
        assert one.composed.snapshot(WHOLE) == ()
        one.push(PARTS["openOrders"])
        await asyncio.sleep(2 * EVERY_S)
        assert one.ear.take() == []
        one.confirm(SPOT)
        one.push(SPOT)
        await asyncio.sleep(2 * EVERY_S)
        assert [name for name, _ in one.ear.take()] == ["webData2"]


async def test_a_listing_has_the_universe_read_again_but_not_all_the_time() -> None:
    async with site() as one:
        await whole(one)
        one.ear.take()
        two = {"ctxs": [["", [{"markPx": "1"}, {"markPx": "2"}]]]}
        for _ in range(10):
            one.push(PARTS["allDexsAssetCtxs"], allDexsAssetCtxs=two)
            await asyncio.sleep(2 * EVERY_S)
        assert one.ear.take() == [] and one.upstream.asked == 1
        one.upstream.coins = 2
        await asyncio.sleep(META_EVERY_S)
        one.push(PARTS["allDexsAssetCtxs"], allDexsAssetCtxs=two)
        await asyncio.sleep(3 * EVERY_S)
        assert one.upstream.asked == 2
        assert [name for name, _ in one.ear.take()] == ["webData2"]


async def test_the_universe_does_not_grow_old() -> None:
    async with site() as one:
        await whole(one)
        one.upstream.delisted = True
        await asyncio.sleep(META_GOOD_S)
        one.push(SPOT)
        await asyncio.sleep(3 * EVERY_S)
        assert one.ear.take()[-1][1]["meta"] == {"universe": [{"isDelisted": True}]}
        assert one.upstream.asked == 2
        one.composed.release(WHOLE)
        one.upstream.delisted = False
        await asyncio.sleep(META_GOOD_S)
        await whole(one)
        assert [data["meta"] for _, data in one.ear.take() if data != "confirmed"] == [{"universe": [{}]}]


async def test_without_a_universe_it_is_asked_for_again_when_something_comes() -> None:
    async with site() as one:
        one.upstream.fails = True
        await whole(one)
        assert one.ear.take() == [("webData2", "confirmed")]
        one.upstream.fails = False
        await asyncio.sleep(META_EVERY_S)
        one.push(SPOT)
        await asyncio.sleep(3 * EVERY_S)
        assert [name for name, _ in one.ear.take()] == ["webData2"]


# -- what the replica keeps for itself -----------------------------------------------------------------


async def test_a_stream_is_given_up_by_the_last_who_wants_it() -> None:
    async with site() as one:
        composed, held = one.composed, one.upstream.held
        assert composed.keep([SPOT, PARTS["webData3"]]) == 0
        assert held == [SPOT, PARTS["webData3"]]
        assert composed.hold(WHOLE) is None
        assert composed.hold(SPOT) is None
        one.confirm(SPOT)
        assert composed.keep([SPOT]) == 0
        assert PARTS["webData3"] in held, "a part of what a client holds"
        composed.release(WHOLE)
        assert held == [SPOT]
        composed.release(SPOT)
        assert held == [SPOT]
        assert composed.keep([]) == 0
        await asyncio.sleep(120)
        assert held == []


async def test_what_there_is_no_room_for_is_asked_for_again() -> None:
    async with site() as one:
        one.upstream.refuses = "spotState"
        assert one.composed.keep([SPOT, PARTS["webData3"]]) == 1
        one.apply(Refused(PARTS["webData3"], "no"))
        one.upstream.held.remove(PARTS["webData3"])
        assert one.ear.take() == []
        one.upstream.refuses = None
        assert one.composed.keep([SPOT, PARTS["webData3"]]) == 0
        assert sorted(map(repr, one.upstream.held)) == sorted(map(repr, [SPOT, PARTS["webData3"]]))
