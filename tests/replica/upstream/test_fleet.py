"""All connections together, against a devnode that enforces the exchange's limits and has its traps."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Iterable
from random import Random
from typing import Any

import pytest

from replica.catalogue import ANONYMOUS, address_in, address_of
from replica.clock import Clock
from replica.events import AccountStates, Confirmed, FeedEvent, FollowingEnded, Lost, Pushed, Refused
from replica.subscription import Subscription, all_dexs_clearinghouse_state
from replica.upstream.backoff import Backoff
from replica.upstream.feed import FeedSettings
from replica.upstream.fleet import Fleet
from replica.upstream.packing import PLAN_SOCKET
from replica.upstream.usage import LedgerLimits
from server.devnode import Devnode, Limits

A, B, C, D = ("0x" + letter * 40 for letter in "abcd")


def of(type_: str, **fields: Any) -> Subscription:
    return Subscription({"type": type_, **fields})


BOOK, COARSE, COARSER = (of("l2Book", coin="BTC", nSigFigs=digits) for digits in (None, 4, 2))
MIDS = of("allMids")
BBO = of("bbo", coin="ETH")
NO_COIN = of("bbo", coin="btc")


def now() -> float:
    return asyncio.get_running_loop().time()


class Rig:
    """A fleet, the devnode behind it, and everything it told."""

    def __init__(self, node: Devnode, limits: LedgerLimits, settings: FeedSettings) -> None:
        self.node = node
        self.told: list[tuple[float, FeedEvent]] = []
        self.on_event: Callable[[FeedEvent], None] = lambda event: None
        self.fleet = Fleet(
            f"ws://127.0.0.1:{node.port}/ws",
            self._apply,
            settings=settings,
            limits=limits,
            backoff=lambda: Backoff(first_s=0.5, longest_s=30.0, healthy_after_s=60.0, random=Random(1)),
            clock=Clock(now, now),
        )

    def _apply(self, event: FeedEvent, at: float) -> None:
        self.told.append((at, event))
        self.on_event(event)

    def of(self, kind: type, subscription: Subscription | None = None) -> list[Any]:
        """What was told of this kind, and of this subscription if one is given."""
        events = [event for _, event in self.told if isinstance(event, kind)]
        if subscription is None:
            return events
        if kind is Lost:
            return [event for event in events if subscription in event.subscriptions]
        return [event for event in events if event.subscription == subscription]

    def course(self, subscription: Subscription) -> str:
        """C, P, R, L in the order in which it was told, repeats of P left out."""
        said = ""
        for _, event in self.told:
            match event:
                case Confirmed(one) | Pushed(one, _, _) | Refused(one, _) if one == subscription:
                    said += type(event).__name__[0]
                case Lost(ones, _) if subscription in ones:
                    said += "L"
        while "PP" in said:
            said = said.replace("PP", "P")
        return said

    def socket(self, subscription: Subscription) -> int | None:
        return self.fleet._packing.where(subscription)

    def hold(self, *subscriptions: Subscription) -> None:
        for subscription in subscriptions:
            assert self.fleet.hold(subscription) is None, subscription

    async def until(self, condition: Callable[[], bool], within_s: float = 60.0) -> None:
        began = now()
        while not condition():
            assert now() - began < within_s, f"not within {within_s} s: {self.fleet!r}"
            await asyncio.sleep(0.01)

    async def confirmed(self, *subscriptions: Subscription, within_s: float = 60.0) -> None:
        await self.until(lambda: all(map(self.fleet.confirmed, subscriptions)), within_s)

    def subscribes(self) -> list[Subscription]:
        said = (json.loads(text) for text in self.node.seen.messages)
        return [Subscription(one["subscription"]) for one in said if one["method"] == "subscribe"]

    def check(self) -> None:
        self.fleet.check()
        for _, event in self.told:
            if isinstance(event, Pushed):
                channel, data = json.loads(event.frame)["channel"], event.data
                assert address_in(channel, data) == address_of(event.subscription)
                assert json.loads(data) == json.loads(event.frame)["data"]


@contextlib.asynccontextmanager
async def fleet(
    *plan: str,
    limits: Limits = Limits(),  # noqa: B008 - frozen
    ours: LedgerLimits = LedgerLimits(),  # noqa: B008 - frozen
    **settings: Any,
) -> AsyncIterator[Rig]:
    node = Devnode(accounts=0, impersonation=True, limits=limits, clock=lambda: 1.7e9 + now())
    await node.start()
    rig = Rig(node, ours, FeedSettings(**settings))
    rig.fleet.want(map(all_dexs_clearinghouse_state, plan))
    task = asyncio.create_task(rig.fleet.run())
    try:
        await rig.confirmed(*map(all_dexs_clearinghouse_state, plan))
        await rig.until(lambda: rig.fleet.connected)
        yield rig
        rig.check()
        assert not rig.fleet.counts.faults, "who was told failed"
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.wait([task])
        await node.stop()
    rest = {one.get_name() for one in asyncio.all_tasks() if one is not asyncio.current_task()}
    assert not rest, "tasks are left"


async def test_what_is_held_is_confirmed_and_then_pushed() -> None:
    async with fleet() as rig:
        rig.hold(BOOK, MIDS, BBO)
        await rig.confirmed(BOOK, MIDS, BBO, within_s=0.1)
        await asyncio.sleep(12)
        assert rig.course(BOOK) == rig.course(MIDS) == rig.course(BBO) == "CP"
        assert len(rig.of(Pushed, MIDS)) >= 3
        assert rig.socket(BOOK) == rig.socket(MIDS) == rig.socket(BBO) == 1
        rig.hold(MIDS)
        assert rig.subscribes().count(MIDS) == 1
        assert rig.fleet.sockets == len(rig.node.seen.dials) == 2
        assert rig.fleet.held == 3


async def test_what_is_released_is_pushed_no_more() -> None:
    async with fleet() as rig:
        rig.hold(BOOK, MIDS)
        await rig.confirmed(BOOK, MIDS)
        rig.fleet.release(MIDS)
        rig.fleet.release(BBO)
        rig.told.clear()
        await asyncio.sleep(12)
        assert rig.course(MIDS) == ""
        assert rig.course(BOOK) == "P"
        assert not rig.fleet.confirmed(MIDS)
        rig.hold(MIDS)
        await rig.confirmed(MIDS)
        assert rig.course(MIDS).startswith("C")


async def test_variants_of_one_coin_are_told_apart() -> None:
    async with fleet() as rig:
        rig.hold(BOOK, COARSE, COARSER)
        await rig.confirmed(BOOK, COARSE, COARSER)
        await asyncio.sleep(12)
        assert len({rig.socket(BOOK), rig.socket(COARSE), rig.socket(COARSER)}) == 3
        for variant, digits in ((COARSE, 4), (COARSER, 2)):
            books = [json.loads(event.data) for event in rig.of(Pushed, variant)]
            assert len(books) >= 2
            prices = [row["px"] for book in books for side in book["levels"] for row in side]
            assert max(len(px.split(".")[0].rstrip("0")) for px in prices) == digits


async def test_a_variant_that_takes_the_place_of_another_gets_none_of_its_frames() -> None:
    async with fleet() as rig:
        rig.hold(COARSE)
        await rig.confirmed(COARSE)
        rig.node.faults.delay(0.5)
        rig.fleet.release(COARSE)
        rig.hold(COARSER)
        await asyncio.sleep(12)
        books = [json.loads(event.data) for event in rig.of(Pushed, COARSER)]
        prices = [row["px"] for book in books for side in book["levels"] for row in side]
        assert max(len(px.split(".")[0].rstrip("0")) for px in prices) == 2


async def test_a_socket_has_the_anonymous_channels_of_one_user() -> None:
    async with fleet() as rig:
        streams = [of(type_, user=user) for user in (A, B, C) for type_ in sorted(ANONYMOUS)]
        rig.hold(*streams)
        await rig.confirmed(*streams)
        whose = {}
        for stream in streams:
            assert whose.setdefault(rig.socket(stream), stream.user) == stream.user
        assert len(whose) == 3
        await asyncio.sleep(1)
        rig.node.fund(B, "100000")
        order = {"a": 0, "b": True, "p": "20000", "s": "0.01", "r": False, "t": {"limit": {"tif": "Gtc"}}}
        rig.node.impersonate(B, {"type": "order", "orders": [order], "grouping": "na"})
        await asyncio.sleep(1)
        assert [event.subscription for event in rig.of(Pushed)] == [of("orderUpdates", user=B)]


# -- limits ------------------------------------------------------------------------------------------------


async def test_users_of_the_plan_and_of_clients_are_counted_together() -> None:
    ours = LedgerLimits(users=3)
    async with fleet(A, B, ours=ours, limits=Limits(users=3)) as rig:
        fills = [of("userFills", user=user) for user in (A, B, C, D)]
        rig.hold(*fills[:3])
        rig.hold(of("userFundings", user=C))
        assert rig.fleet.hold(fills[3]) == "Cannot track more than 3 total users."
        await rig.confirmed(*fills[:3])
        rig.fleet.release(fills[2])
        assert rig.fleet.hold(fills[3]) == "Cannot track more than 3 total users."
        rig.fleet.release(of("userFundings", user=C))
        rig.hold(fills[3])
        await rig.confirmed(fills[3])
        assert rig.of(Refused) == []
        assert rig.fleet.counts.errors == 0


async def test_the_upstream_takes_fewer_users_than_we_thought() -> None:
    async with fleet(A, limits=Limits(users=2)) as rig:
        text = "Cannot track more than 2 total users."
        fills = [of("userFills", user=user) for user in (B, C)]
        rig.hold(*fills)
        await rig.until(lambda: bool(rig.of(Refused)))
        assert rig.of(Refused) == [Refused(fills[1], text)]
        assert rig.fleet.held == 1
        # From now on we know.
        assert rig.fleet.hold(fills[1]) == text
        assert rig.fleet.hold(of("userFills", user=D)) == text
        rig.hold(of("userFundings", user=B))
        assert len(rig.of(Refused)) == 1


async def test_what_waits_behind_the_refusal_of_another_is_refused_as_well() -> None:
    async with fleet(A, limits=Limits(users=1), messages_per_minute=6) as rig:
        fills = [of("userFills", user="0x" + letter * 40) for letter in "bcdef"]
        rig.hold(*fills)
        await rig.until(lambda: len(rig.of(Refused)) == 5, within_s=5.0)
        assert {event.text for event in rig.of(Refused)} == {"Cannot track more than 1 total users."}
        assert rig.fleet.held == 0


async def test_subscriptions_and_connections_have_their_limits() -> None:
    async with fleet(A, ours=LedgerLimits(subscriptions=4), connections=3) as rig:
        rig.hold(BOOK, COARSE)
        assert rig.fleet.hold(COARSER) == "Cannot open more than 3 connections."
        rig.hold(MIDS)
        assert rig.fleet.hold(BBO) == "Cannot subscribe to more than 4 channels."
        await rig.confirmed(BOOK, COARSE, MIDS)
        assert len(rig.node.seen.dials) == 3


async def test_with_one_connection_the_plan_shares_it() -> None:
    async with fleet(A, connections=1) as rig:
        rig.hold(BOOK, MIDS)
        await rig.confirmed(BOOK, MIDS)
        assert len(rig.node.seen.dials) == 1


async def test_a_type_the_upstream_does_not_know_is_refused_in_its_words() -> None:
    async with fleet() as rig:
        future = of("fromTheFuture", coin="BTC")
        rig.hold(MIDS, future)
        await rig.until(lambda: bool(rig.of(Refused)))
        (refused,) = rig.of(Refused)
        assert refused.subscription == future
        assert refused.text.startswith("Error parsing JSON into valid websocket request: {")
        assert rig.fleet.hold(future) == refused.text
        await rig.confirmed(MIDS)


# -- one subscription for the plan and for clients ---------------------------------------------------------


async def test_what_the_plan_follows_is_held_without_another_subscription() -> None:
    stream = all_dexs_clearinghouse_state(A)
    async with fleet(A) as rig:
        assert rig.of(Pushed) == []
        rig.hold(stream)
        assert rig.fleet.confirmed(stream)
        rig.told.clear()
        await asyncio.sleep(6)
        kinds = [type(event) for _, event in rig.told]
        assert kinds[:2] == [AccountStates, Pushed]
        assert rig.subscribes() == [stream]
        rig.fleet.release(stream)
        rig.told.clear()
        await asyncio.sleep(6)
        assert {type(event) for _, event in rig.told} == {AccountStates}


async def test_what_the_plan_gives_up_goes_on_for_its_client_and_the_other_way_round() -> None:
    first, second = map(all_dexs_clearinghouse_state, (A, B))
    async with fleet(A) as rig:
        rig.hold(first, second)
        await rig.confirmed(first, second)
        rig.told.clear()
        rig.fleet.want([second])
        rig.check()
        rig.fleet.release(second)
        await asyncio.sleep(12)
        assert rig.of(FollowingEnded) == []
        assert rig.fleet.confirmed(first)
        assert rig.fleet.confirmed(second)
        assert sorted(map(repr, rig.subscribes())) == sorted(map(repr, (first, second)))
        assert {event.user for event in rig.of(AccountStates)} == {A, B}


async def test_accounts_that_only_clients_follow_are_fed_until_they_are_released() -> None:
    whole, main = all_dexs_clearinghouse_state(B), of("clearinghouseState", user=C)
    async with fleet(A) as rig:
        rig.hold(whole, main)
        await rig.until(lambda: {event.user for event in rig.of(AccountStates)} == {A, B, C})
        rig.fleet.release(whole)
        rig.fleet.release(main)
        ended = [user for event in rig.of(FollowingEnded) for user in event.users]
        assert ended == [B, C]


async def test_one_dex_that_a_client_gives_up_does_not_end_an_account_of_the_plan() -> None:
    main = of("clearinghouseState", user=A)
    async with fleet(A) as rig:
        rig.hold(main)
        await rig.confirmed(main)
        rig.fleet.release(main)
        await asyncio.sleep(2)
        assert rig.of(FollowingEnded) == []


# -- connections lost --------------------------------------------------------------------------------------


async def test_a_lost_connection_is_told_and_everything_comes_back() -> None:
    async with fleet(A) as rig:
        held = (BOOK, COARSE, MIDS, of("orderUpdates", user=B))
        rig.hold(*held)
        await rig.confirmed(*held)
        await asyncio.sleep(10)
        rig.node.drop_sockets()
        await rig.until(lambda: not rig.fleet.connected)
        await rig.confirmed(*held, all_dexs_clearinghouse_state(A))
        assert rig.course(BOOK).startswith("CPLCP")
        assert rig.course(of("orderUpdates", user=B)) == "CLC"
        (lost,) = rig.of(Lost, BOOK)
        assert set(lost.subscriptions) >= {BOOK, MIDS}
        assert "ConnectionClosedError" in lost.reason
        assert rig.of(FollowingEnded)[0].users == (A,)
        assert rig.of(Refused) == []


async def test_listeners_may_call_back_whatever_they_are_told() -> None:
    async with fleet(A) as rig:

        def call_back(event: FeedEvent) -> None:
            match event:
                case Confirmed(one):
                    rig.fleet.release(one)
                case Lost((one, *_), _):
                    rig.fleet.release(one)
                    rig.fleet.hold(COARSER)
            rig.fleet.check()

        rig.hold(MIDS)
        await rig.confirmed(MIDS)
        rig.on_event = call_back
        rig.hold(BBO)
        await asyncio.sleep(2)
        assert not rig.fleet.confirmed(BBO)
        rig.node.drop_sockets()
        await asyncio.sleep(5)
        assert not rig.fleet.confirmed(MIDS)
        assert rig.course(COARSER) == "C"


async def test_who_fails_at_one_event_is_told_the_next_over_the_same_connection(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(event: FeedEvent) -> None:
        raise RuntimeError("no")

    async with fleet() as rig:
        rig.on_event = fail
        rig.hold(MIDS, BOOK, NO_COIN)
        await asyncio.sleep(60)
        await rig.confirmed(MIDS, BOOK)
        rig.on_event = lambda event: None
        assert rig.fleet.counts.faults > 10
        assert "could not take Pushed" in caplog.text and "could not take Refused" in caplog.text
        rig.fleet.counts.faults = 0
        rig.told.clear()
        connections = rig.fleet.counts.connections
        await asyncio.sleep(30)
        assert rig.course(MIDS) == rig.course(BOOK) == "P"
        assert rig.fleet.counts.connections == connections


async def test_an_empty_socket_is_closed_after_a_while_and_opened_again_when_needed() -> None:
    async with fleet(A, empty_for_s=20.0) as rig:
        rig.hold(BOOK, COARSE)
        await rig.confirmed(BOOK, COARSE)
        rig.fleet.release(COARSE)
        await asyncio.sleep(15)
        rig.hold(COARSER)  # in time: the socket is there
        await rig.confirmed(COARSER)
        assert len(rig.node.seen.dials) == 3
        rig.fleet.release(COARSER)
        await asyncio.sleep(25)
        assert rig.fleet.sockets == 2
        rig.hold(COARSE)
        await rig.confirmed(COARSE)
        assert rig.fleet.sockets == 3
        assert len(rig.node.seen.dials) == 4


async def test_an_upstream_that_drops_everybody_is_dialled_within_its_limit_the_plan_first() -> None:
    async with fleet(A) as rig:
        held = [of("l2Book", coin="BTC", nSigFigs=digits) for digits in (None, 2, 3, 4, 5)]
        rig.hold(*held)
        await rig.confirmed(*held)
        rig.node.faults.accept_and_drop(0)
        rig.node.drop_sockets()
        began = now()
        await asyncio.sleep(300)
        dials = [at for at in rig.node.seen.dials if at >= began]
        assert max(sum(start <= dial < start + 60 for dial in dials) for start in dials) <= 30
        # A handshake is no proof of anything: what was there before is not suspected for good.
        assert rig.of(Refused) == []
        rig.node.faults.stay_up()
        await rig.confirmed(*held, all_dexs_clearinghouse_state(A))


# -- what the upstream cuts a connection for ---------------------------------------------------------------


def coins(*names: str) -> Iterable[Subscription]:
    return (of(type_, coin=name) for name in names for type_ in ("bbo", "trades", "activeAssetCtx"))


async def test_a_subscription_the_connection_is_cut_for_is_refused_and_the_others_go_on() -> None:
    async with fleet(A) as rig:
        before = list(coins("BTC", "ETH"))
        rig.hold(*before)
        await rig.confirmed(*before)
        after = list(coins("SOL"))
        rig.hold(after[0], NO_COIN, *after[1:])
        await rig.until(lambda: bool(rig.of(Refused)), within_s=10)
        await rig.confirmed(*before, *after, within_s=10)
        text = 'Invalid subscription {"type":"bbo","coin":"btc"}'
        assert rig.of(Refused) == [Refused(NO_COIN, text)]
        assert rig.fleet.hold(NO_COIN) == text
        # Among others, perhaps among two when the answers of those before it were lost, and alone.
        assert rig.subscribes().count(NO_COIN) <= 3
        # Never any of it on the plan's own.
        assert rig.of(FollowingEnded) == []
        assert rig.course(before[0]).count("L") <= 3


async def test_several_of_them_among_many() -> None:
    async with fleet(A) as rig:
        names = ("BTC", "ETH", "SOL", "HYPE", "DOGE", "XRP", "LINK", "AVAX")
        good = list(coins(*(name for name in names if name in rig.node.source.offer.coins)))  # type: ignore[attr-defined]
        assert len(good) >= 12
        bad = [of("bbo", coin="btc"), of("trades", coin="nope"), of("l2Book", coin="BTC", nSigFigs=6)]
        mixed = good + bad
        Random(3).shuffle(mixed)
        rig.hold(*mixed)
        await rig.until(lambda: len(rig.of(Refused)) == 3, within_s=120)
        assert {event.subscription for event in rig.of(Refused)} == set(bad)
        await rig.confirmed(*good)
        assert rig.fleet.connected
        assert rig.of(FollowingEnded) == []


# -- any schedule ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
async def test_any_schedule(seed: int) -> None:
    random = Random(seed)
    users = [A, B, C, D]
    pool = [
        *(of("l2Book", coin=coin, nSigFigs=digits) for coin in ("BTC", "ETH") for digits in (None, 2, 3)),
        *coins("BTC", "ETH"),
        *(of(type_, user=user) for type_ in ("userFills", *sorted(ANONYMOUS)) for user in users),
        *(of("clearinghouseState", user=user) for user in users),
        *map(all_dexs_clearinghouse_state, users),
        MIDS,
        NO_COIN,
    ]
    limits = Limits(users=3)
    ours = LedgerLimits(users=3, refused_for_s=60.0)
    async with fleet(A, limits=limits, ours=ours, empty_for_s=5.0) as rig:
        held: set[Subscription] = set()

        def note(event: FeedEvent) -> None:
            if isinstance(event, Refused):
                held.discard(event.subscription)
            elif isinstance(event, Pushed | Confirmed):
                assert event.subscription in held, f"{event} is not held"

        rig.on_event = note
        for _ in range(60):
            for one in random.sample(pool, random.randint(0, 6)):
                if one in held:
                    held.discard(one)
                    rig.fleet.release(one)
                else:
                    held.add(one)
                    if rig.fleet.hold(one) is not None:
                        held.discard(one)
            if random.random() < 0.1:
                rig.node.drop_sockets()
            rig.fleet.check()
            await asyncio.sleep(random.choice([0.0, 0.01, 0.3, 2.0, 9.0]))
        await rig.until(lambda: all(map(rig.fleet.confirmed, held)), within_s=180)
        assert rig.fleet.held == len(held)
        assert {event.subscription for event in rig.of(Refused)} <= {NO_COIN}
        assert rig.fleet.confirmed(all_dexs_clearinghouse_state(A))
        for one in set(pool) - {all_dexs_clearinghouse_state(A)}:
            said = rig.course(one)
            assert not said.startswith(("P", "L")), f"{one}: {said}"
            assert "LP" not in said, f"{one}: {said}"
        assert rig.socket(all_dexs_clearinghouse_state(A)) == PLAN_SOCKET
