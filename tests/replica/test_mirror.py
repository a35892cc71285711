"""The mirror between an upstream and its one listener, on virtual time."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from replica.clock import Clock
from replica.errors import BudgetExhausted, UpstreamTimeout, UpstreamUnavailable
from replica.events import Confirmed, Lost, Pushed, Refused
from replica.mirror import Mirror, MirrorSettings
from replica.streams.log import LogMemory
from replica.streams.memory import Gap
from replica.subscription import Subscription
from replica.upstream.rest import Answer

USER = "0x" + "a1" * 20
T0 = 1_771_587_392_000
FILLS = Subscription({"type": "userFills", "user": USER})
MIDS = Subscription({"type": "allMids"})


def text(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def fill(number: int) -> dict[str, Any]:
    return {"coin": "BTC", "time": T0 + number, "oid": number, "tid": number}


def fills(*numbers: int, snapshot: bool = False) -> dict[str, Any]:
    head = {"isSnapshot": True} if snapshot else {}
    return {**head, "user": USER, "fills": [fill(number) for number in numbers]}


class Upstream:
    """Holds what it is asked to, and answers `/info` after a fifth of a second."""

    def __init__(self) -> None:
        self.held: list[Subscription] = []
        self.refusal: str | None = None
        self.most = 1000
        self.fed: set[Subscription] = set()
        self.asked: list[dict[str, Any]] = []
        self.answer: Callable[[dict[str, Any]], Answer] = lambda body: said([])
        self.on_hold: Callable[[], None] = lambda: None

    def hold(self, subscription: Subscription) -> str | None:
        self.on_hold()
        if self.refusal is not None:
            return self.refusal
        if len(self.held) >= self.most:
            return f"Cannot subscribe to more than {self.most} channels."
        self.held.append(subscription)
        return None

    def release(self, subscription: Subscription) -> None:
        self.held.remove(subscription)

    def confirmed(self, subscription: Subscription) -> bool:
        return subscription in self.fed

    async def read(self, type_: str, body: bytes) -> Answer:
        fields = json.loads(body)
        assert fields["type"] == type_
        self.asked.append(fields)
        await asyncio.sleep(0.2)
        return self.answer(fields)


class Ear:
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.on_frame: Callable[[], None] = lambda: None

    def confirmed(self, subscription: Subscription) -> None:
        self.told.append("confirmed")

    def refused(self, subscription: Subscription, text: str) -> None:
        self.told.append(text)

    def frame(self, subscription: Subscription, frame: bytes) -> None:
        self.told.append(json.loads(frame)["data"])
        self.on_frame()

    def gap(self, subscription: Subscription, gap: Gap) -> None:
        self.told.append(gap)

    def since(self) -> list[Any]:
        """What was told since it was last asked."""
        told, self.told = self.told, []
        return told


class Site:
    """A mirror between an upstream and an ear."""

    def __init__(self, **settings: Any) -> None:
        loop = asyncio.get_running_loop()
        clock = Clock(monotonic=loop.time, wall=lambda: T0 / 1000 + loop.time())
        self.upstream = Upstream()
        self.ear = Ear()
        self.mirror = Mirror(self.upstream, self.upstream.read, clock, MirrorSettings(**settings))
        self.mirror.listener = self.ear

    def apply(self, event: Any) -> None:
        self.mirror.apply(event, asyncio.get_running_loop().time())
        self.mirror.check()

    def push(self, subscription: Subscription, data: Any) -> None:
        frame = b'{"channel":"%s","data":%s}' % (subscription.type.encode(), text(data))
        self.apply(Pushed(subscription, frame, text(data)))

    def reconnect(self, *subscriptions: Subscription) -> None:
        self.apply(Lost(subscriptions, "cut"))
        for one in subscriptions:
            self.apply(Confirmed(one))

    def opened(self, *numbers: int) -> None:
        """Fills are held, and their snapshot has come."""
        assert self.mirror.hold(FILLS) is None
        self.apply(Confirmed(FILLS))
        self.push(FILLS, fills(*numbers, snapshot=True))
        assert self.ear.since() == ["confirmed", fills(*numbers, snapshot=True)]


def said(value: Any, status: int = 200) -> Answer:
    return Answer(status, text(value), "application/json")


@contextlib.asynccontextmanager
async def site(**settings: Any) -> AsyncIterator[Site]:
    one = Site(**settings)
    try:
        yield one
        one.mirror.check()
    finally:
        await one.mirror.close()
        assert len(asyncio.all_tasks()) == 1, "something of the mirror is left"


# -- holding --------------------------------------------------------------------------------------------


async def test_a_subscription_is_held_until_it_has_lingered() -> None:
    async with site(linger_s=60.0) as one:
        assert one.mirror.hold(MIDS) is None
        assert one.upstream.held == [MIDS]
        assert not one.mirror.confirmed(MIDS)
        one.apply(Confirmed(MIDS))
        assert one.mirror.confirmed(MIDS)
        one.push(MIDS, {"mids": {}})
        assert one.ear.since() == ["confirmed", {"mids": {}}]

        one.mirror.release(MIDS)
        await asyncio.sleep(59.0)
        one.push(MIDS, {"mids": {"BTC": "1.0"}})
        assert one.ear.since() == []
        assert one.mirror.hold(MIDS) is None
        assert one.mirror.confirmed(MIDS)
        assert [json.loads(frame)["data"] for frame in one.mirror.snapshot(MIDS)] == [
            {"mids": {"BTC": "1.0"}}
        ]
        await asyncio.sleep(100.0)
        assert one.upstream.held == [MIDS]

        one.mirror.release(MIDS)
        await asyncio.sleep(61.0)
        assert one.upstream.held == []
        assert not one.mirror.confirmed(MIDS)
        assert one.mirror.snapshot(MIDS) == ()
        one.push(MIDS, {"mids": {}})
        assert one.ear.since() == []


async def test_what_was_promised_before_the_upstream_agreed_is_healed_or_said() -> None:
    orders = Subscription({"type": "orderUpdates", "user": USER})
    notes = Subscription({"type": "notification", "user": USER})
    order = {"coin": "BTC", "side": "B", "limitPx": "1.0", "sz": "1.0", "oid": 1, "timestamp": T0 + 9000}
    update = {"order": order, "status": "open", "statusTimestamp": T0 + 9000}
    async with site() as one:
        one.upstream.answer = lambda body: said([update])
        for subscription in (orders, notes):
            assert one.mirror.hold(subscription) is None
        await asyncio.sleep(3.0)
        for subscription in (orders, orders, notes, notes):
            one.mirror.promised(subscription)
            one.mirror.check()
        await asyncio.sleep(27.0)
        for subscription in (orders, notes):
            one.apply(Confirmed(subscription))
        await asyncio.sleep(5.0)
        assert one.upstream.asked == [{"type": "historicalOrders", "user": USER}]
        gap, *told = [what for what in one.ear.since() if what != "confirmed"]
        assert told == [[update]]
        assert (gap.from_ms, gap.to_ms) == (T0 + 3000, T0 + 30_000)


async def test_the_words_of_a_refusal_come_back_and_nothing_is_held() -> None:
    async with site() as one:
        one.upstream.refusal = "Cannot track more than 10 total users."
        assert one.mirror.hold(FILLS) == "Cannot track more than 10 total users."
        one.apply(Confirmed(FILLS))
        assert one.ear.since() == []
        one.upstream.refusal = None
        assert one.mirror.hold(FILLS) is None


async def test_a_refusal_that_is_said_twice_is_one() -> None:
    async with site() as one:
        one.upstream.refusal = "Invalid subscription {}"
        one.upstream.on_hold = lambda: one.mirror.apply(Refused(FILLS, "Invalid subscription {}"), 0.0)
        assert one.mirror.hold(FILLS) == "Invalid subscription {}"
        assert not one.mirror.confirmed(FILLS)
        one.mirror.release(FILLS)


async def test_a_later_refusal_is_told_and_ends_it() -> None:
    async with site() as one:
        one.mirror.hold(FILLS)
        one.apply(Refused(FILLS, "Invalid subscription {}"))
        one.apply(Confirmed(FILLS))
        assert one.ear.since() == ["Invalid subscription {}"]
        one.mirror.release(FILLS)
        assert one.upstream.held == [FILLS], "who refused it does not hold it: it is not given up again"


async def test_what_the_replica_itself_follows_is_confirmed_at_once() -> None:
    async with site() as one:
        one.upstream.fed.add(MIDS)
        assert one.mirror.hold(MIDS) is None
        assert one.mirror.confirmed(MIDS)
        assert one.ear.since() == []


async def test_who_lingers_is_given_up_at_once_when_the_connection_is_lost() -> None:
    async with site(linger_s=60.0) as one:
        one.opened(1)
        one.mirror.release(FILLS)
        assert one.upstream.held == [FILLS]
        one.apply(Lost((FILLS, MIDS), "cut"))
        assert one.upstream.held == []


async def test_who_lingers_makes_room_the_longest_left_first() -> None:
    coins = [Subscription({"type": "l2Book", "coin": coin}) for coin in ("A", "B", "C", "D", "E")]
    async with site(linger_s=60.0) as one:
        one.upstream.most = 3
        for coin in coins[:3]:
            assert one.mirror.hold(coin) is None
            one.apply(Confirmed(coin))
        for coin in (coins[1], coins[0]):
            one.mirror.release(coin)
            await asyncio.sleep(1.0)
        assert one.mirror.hold(coins[3]) is None
        assert one.upstream.held == [coins[0], coins[2], coins[3]]
        one.upstream.refusal = "Invalid subscription {}"
        assert one.mirror.hold(coins[4]) == "Invalid subscription {}"
        one.upstream.refusal = "Cannot track more than 10 total users."
        assert one.mirror.hold(FILLS) == "Cannot track more than 10 total users."
        assert one.upstream.held == [coins[0], coins[2], coins[3]], "their room is of no use"
        one.upstream.refusal = None
        assert one.mirror.hold(coins[4]) is None
        assert one.mirror.hold(coins[1]) == "Cannot subscribe to more than 3 channels."
        assert one.upstream.held == coins[2:]


async def test_who_was_never_fed_is_given_up_at_once() -> None:
    async with site(linger_s=60.0) as one:
        one.mirror.hold(MIDS)
        one.mirror.release(MIDS)
        assert one.upstream.held == []


async def test_a_reconnect_is_not_told() -> None:
    async with site() as one:
        one.opened(1)
        one.reconnect(FILLS)
        one.push(FILLS, fills(1, 2, snapshot=True))
        one.push(FILLS, fills(3))
        assert one.ear.since() == [fills(2), fills(3)]


async def test_a_listener_that_leaves_while_it_is_told_is_told_no_more() -> None:
    async with site(linger_s=0.0) as one:
        one.mirror.hold(FILLS)
        one.apply(Confirmed(FILLS))
        one.push(FILLS, fills(3))
        one.ear.on_frame = lambda: one.mirror.release(FILLS)
        one.push(FILLS, fills(1, snapshot=True))
        assert one.ear.since() == ["confirmed", fills(1, snapshot=True)]
        assert one.upstream.held == []


async def test_a_listener_that_fails_costs_nobody_else_anything(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise RuntimeError("no")

    async with site() as one:
        one.opened(1)
        one.upstream.answer = lambda body: said([fill(1), fill(2)])
        one.reconnect(FILLS)
        one.push(FILLS, fills(3, snapshot=True))
        one.ear.on_frame = fail
        await asyncio.sleep(5.0)
        one.push(FILLS, fills(4))
        one.ear.on_frame = lambda: None
        one.push(FILLS, fills(4))
        one.push(FILLS, fills(5))
        assert one.ear.since() == [fills(2, 3), fills(4), fills(5)]
        assert one.mirror.counts.faults == 2
        assert caplog.text.count("the listener failed at <userFills") == 2


async def test_a_frame_at_which_we_fail_goes_out_as_it_came(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*args: object) -> Any:
        raise ZeroDivisionError

    async with site() as one:
        one.opened(1)
        monkeypatch.setattr(LogMemory, "_live", fail)
        one.push(FILLS, fills(2))
        monkeypatch.undo()
        one.push(FILLS, fills(3))
        assert one.ear.since() == [fills(2), fills(3)]
        assert one.mirror.counts.faults == 1
        assert "the memory of <userFills" in caplog.text


# -- healing --------------------------------------------------------------------------------------------


async def test_what_an_outage_took_is_asked_for_and_told_before_what_came_after() -> None:
    async with site() as one:
        one.opened(1)
        one.upstream.answer = lambda body: said([fill(1), fill(2), fill(3), fill(4)])
        one.reconnect(FILLS)
        one.push(FILLS, fills(3, 4, snapshot=True))
        one.push(FILLS, fills(5))
        assert one.ear.since() == []
        await asyncio.sleep(5.0)
        assert one.ear.since() == [fills(2, 3, 4, 5)]
        assert one.upstream.asked == [{"type": "userFillsByTime", "user": USER, "startTime": T0 + 1}]
        one.push(FILLS, fills(6))
        assert one.ear.since() == [fills(6)]
        assert one.mirror.counts.rows_healed == 1
        assert [json.loads(f)["data"] for f in one.mirror.snapshot(FILLS)] == [
            fills(1, 2, 3, 4, 5, 6, snapshot=True)
        ]


async def test_pages_are_followed_to_the_end() -> None:
    rows = [fill(number) for number in range(1, 1201)]

    def page(body: dict[str, Any]) -> Answer:
        return said([row for row in rows if row["time"] >= body["startTime"]][:500])

    async with site() as one:
        one.opened(1)
        one.upstream.answer = page
        one.reconnect(FILLS)
        one.push(FILLS, fills(1300, snapshot=True))
        await asyncio.sleep(5.0)
        (told,) = one.ear.since()
        assert [row["tid"] for row in told["fills"]] == [*range(2, 1201), 1300]
        assert len(one.upstream.asked) == 3


async def test_more_pages_than_allowed_are_a_gap() -> None:
    async with site(heal_pages=2) as one:
        one.opened(1)
        one.upstream.answer = lambda body: said(
            [fill(body["startTime"] - T0 + number) for number in range(500)]
        )
        one.reconnect(FILLS)
        one.push(FILLS, fills(9000, snapshot=True))
        await asyncio.sleep(5.0)
        gap, told = one.ear.since()
        assert isinstance(gap, Gap) and (gap.from_ms, gap.to_ms) == (T0 + 999, T0 + 9000)
        assert [row["tid"] for row in told["fills"]] == [*range(2, 1000), 9000]


async def test_a_question_that_fails_is_asked_again() -> None:
    failures: list[Any] = [
        UpstreamTimeout("no answer"),
        said(None, 500),
        said({"odd": 1}),
        BudgetExhausted(7.0),
    ]

    def answer(body: dict[str, Any]) -> Answer:
        if not failures:
            return said([fill(2)])
        failure = failures.pop(0)
        if isinstance(failure, Exception):
            raise failure
        assert isinstance(failure, Answer)
        return failure

    async with site(heal_attempts=4) as one:
        one.opened(1)
        one.upstream.answer = answer
        one.reconnect(FILLS)
        one.push(FILLS, fills(3, snapshot=True))
        await asyncio.sleep(30.0)
        assert one.ear.since() == [fills(2, 3)]
        assert len(one.upstream.asked) == 5


async def test_a_question_that_fails_too_often_is_a_gap() -> None:
    def answer(body: dict[str, Any]) -> Answer:
        raise UpstreamUnavailable("no connection")

    async with site(heal_attempts=3) as one:
        one.opened(1)
        one.upstream.answer = answer
        one.reconnect(FILLS)
        one.push(FILLS, fills(3, snapshot=True))
        await asyncio.sleep(30.0)
        assert one.ear.since() == [Gap(T0 + 1, T0 + 3, "no connection"), fills(3)]
        assert len(one.upstream.asked) == 3
        assert one.mirror.counts.gaps == 1


async def test_healing_takes_no_longer_than_it_may() -> None:
    def answer(body: dict[str, Any]) -> Answer:
        raise BudgetExhausted(5.0)

    async with site(heal_within_s=20.0) as one:
        one.opened(1)
        one.upstream.answer = answer
        one.reconnect(FILLS)
        one.push(FILLS, fills(3, snapshot=True))
        await asyncio.sleep(19.9)
        assert one.ear.since() == []
        await asyncio.sleep(0.2)
        gap, told = one.ear.since()
        assert isinstance(gap, Gap)
        assert told == fills(3)


async def test_another_loss_ends_the_questions_and_the_next_connection_asks_again() -> None:
    async with site() as one:
        one.opened(1)
        one.reconnect(FILLS)
        one.push(FILLS, fills(3, snapshot=True))
        await asyncio.sleep(1.1)
        one.apply(Lost((FILLS,), "cut"))
        await asyncio.sleep(5.0)
        assert one.ear.since() == []
        one.apply(Confirmed(FILLS))
        one.upstream.answer = lambda body: said([fill(2), fill(3), fill(4)])
        one.push(FILLS, fills(5, snapshot=True))
        await asyncio.sleep(5.0)
        assert one.ear.since() == [fills(2, 3, 4, 5)]


async def test_a_snapshot_that_does_not_come_is_done_without() -> None:
    async with site(snapshot_wait_s=10.0) as one:
        one.opened(1)
        one.upstream.answer = lambda body: said([fill(1), fill(2)])
        one.reconnect(FILLS)
        one.push(FILLS, fills(3))
        await asyncio.sleep(9.9)
        assert one.upstream.asked == []
        await asyncio.sleep(2.0)
        assert one.ear.since() == [fills(2, 3)]


async def test_only_so_many_are_healed_at_a_time() -> None:
    users = ["0x" + f"{number:040x}" for number in range(6)]
    subscriptions = [Subscription({"type": "orderUpdates", "user": user}) for user in users]
    async with site(healings=2) as one:
        for subscription in subscriptions:
            one.mirror.hold(subscription)
            one.apply(Confirmed(subscription))
        one.reconnect(*subscriptions)
        await asyncio.sleep(1.1)
        assert len(one.upstream.asked) == 2
        await asyncio.sleep(2.0)
        assert len(one.upstream.asked) == 6


async def test_a_fault_of_ours_does_not_keep_rows_waiting(caplog: pytest.LogCaptureFixture) -> None:
    def answer(body: dict[str, Any]) -> Answer:
        raise ZeroDivisionError

    async with site() as one:
        one.opened(1)
        one.upstream.answer = answer
        one.reconnect(FILLS)
        one.push(FILLS, fills(3, snapshot=True))
        await asyncio.sleep(5.0)
        gap, told = one.ear.since()
        assert isinstance(gap, Gap)
        assert told == fills(3)
        assert "healing" in caplog.text


async def test_the_end_ends_what_is_under_way() -> None:
    async with site() as one:
        one.opened(1)
        one.mirror.hold(MIDS)
        one.reconnect(FILLS)
        one.push(FILLS, fills(3, snapshot=True))
        assert repr(one.mirror) == "<Mirror 2 streams, 0 linger, 1 not fed, 1 healing>"
