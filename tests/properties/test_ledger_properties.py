"""The ledger against an upstream that follows the real rules, in order, but answers whenever it likes."""

import json
from collections import deque
from random import Random
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from replica.subscription import Subscription
from replica.upstream.ledger import Ledger, Standing, check_usage
from replica.upstream.usage import LedgerLimits
from tests.feeding import want

USERS = ["0x" + letter * 40 for letter in "abcde"]
POOL = [
    *(Subscription({"type": "allDexsClearinghouseState", "user": user}) for user in USERS),
    *(Subscription({"type": "userFills", "user": user}) for user in USERS[:3]),
    Subscription({"type": "trades", "coin": "ETH"}),
    Subscription({"type": "l2Book", "coin": "ETH", "nSigFigs": 5}),
]
ANSWER, RETRY = 10.0, 600.0

some = st.sampled_from(POOL)
limits = st.tuples(st.integers(0, 4), st.integers(0, 6))
times = st.sampled_from([0.0, 0.1, 1.0, 5.0, 9.0, 10.0, 11.0, 61.0, 300.0, 601.0])


def below(limit: int, count: int) -> bool:
    return not limit or count < limit


class Upstream:
    """One connection, as the exchange keeps it: requests are carried out and answered one after the other."""

    def __init__(self, users: int, subscriptions: int) -> None:
        self.users_limit = users
        self.subscriptions_limit = subscriptions
        self.held: list[Subscription] = []
        self.inbox: deque[tuple[str, Subscription]] = deque()
        self.outbox: deque[tuple[str, Any]] = deque()

    @property
    def users(self) -> set[str]:
        return {held.user for held in self.held if held.user}

    def carry_out(self) -> None:
        method, asked = self.inbox.popleft()
        if method == "unsubscribe":
            if asked in self.held:
                self.held.remove(asked)
                self.outbox.append(("unsubscribe", asked))
            else:
                self.outbox.append(("unsubscribe", asked))  # Already unsubscribed: {...}
        elif asked in self.held:
            self.outbox.append(("subscribe", asked))  # Already subscribed: {...}
        elif not below(self.subscriptions_limit, len(self.held)):
            text = f"Cannot subscribe to more than {self.subscriptions_limit} channels."
            self.outbox.append(("error", text))
        elif asked.user and asked.user not in self.users and not below(self.users_limit, len(self.users)):
            self.outbox.append(("error", f"Cannot track more than {self.users_limit} total users."))
        else:
            self.held.append(asked)
            self.outbox.append(("subscribe", asked))
            self.outbox.append(("data", asked))


class LedgerAgainstUpstream(RuleBasedStateMachine):
    """Never above a limit as the upstream counts; and in the end it holds what it can of what is wanted."""

    @initialize(ours=limits, theirs=limits)
    def begin(self, ours: tuple[int, int], theirs: tuple[int, int]) -> None:
        self.limits = LedgerLimits(
            users=ours[0], subscriptions=ours[1], answer_within_s=ANSWER, refused_for_s=RETRY
        )
        self.ledger = Ledger(self.limits)
        self.theirs = theirs
        self.wanted: list[Subscription] = []
        self.now = 0.0
        self.reconnect()

    @rule()
    def reconnect(self) -> None:
        self.upstream = Upstream(*self.theirs)
        self.ledger.opened(self.now)

    @rule(wanted=st.lists(some, unique=True))
    def want(self, wanted: list[Subscription]) -> None:
        self.wanted = wanted
        want(self.ledger, wanted, self.now)

    @rule(room=st.integers(-1, 12))
    def send(self, room: int) -> None:
        requests = self.ledger.to_send(self.now, room)
        assert len(requests) <= max(room, 0)
        self.upstream.inbox.extend(requests)

    @rule(requests=st.integers(1, 12))
    def carry_out(self, requests: int) -> None:
        for _ in range(min(requests, len(self.upstream.inbox))):
            self.upstream.carry_out()
            held, users = len(self.upstream.held), len(self.upstream.users)
            assert not self.limits.subscriptions or held <= self.limits.subscriptions
            assert not self.limits.users or users <= self.limits.users

    @rule(frames=st.integers(1, 20))
    def deliver(self, frames: int) -> None:
        for _ in range(min(frames, len(self.upstream.outbox))):
            kind, what = self.upstream.outbox.popleft()
            if kind == "data":
                self.ledger.data(what, self.now)
            elif kind == "error":
                self.ledger.refused(what, self.now)
            else:
                self.ledger.answered(kind, {**what.wire(), "filledIn": None}, self.now)

    @rule(subscription=some)
    def push(self, subscription: Subscription) -> None:
        if subscription in self.upstream.held:
            self.upstream.outbox.append(("data", subscription))

    @rule(seconds=times)
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.ledger.overdue(self.now)

    @rule(subscription=some)
    def silent(self, subscription: Subscription) -> None:
        self.ledger.resubscribe(subscription, self.now)

    @invariant()
    def check(self) -> None:
        if hasattr(self, "ledger"):
            self.ledger.check()
            check_usage(self.ledger.usage, [self.ledger])

    def teardown(self) -> None:
        if not hasattr(self, "ledger"):
            return
        # The upstream lets everything in from now on, and answers at once.
        self.upstream.users_limit = self.upstream.subscriptions_limit = 0
        for _ in range(40):
            self.wait(20.0)
            for _ in range(3):
                self.send(12)
                self.carry_out(99)
                self.deliver(99)
        confirmed = self.ledger.confirmed()
        assert set(confirmed) == set(self.upstream.held)
        assert set(confirmed) <= set(self.wanted)
        for left_out in set(self.wanted) - set(confirmed):
            full = not below(self.limits.subscriptions, len(confirmed))
            no_user_more = not below(self.limits.users, len(self.upstream.users))
            assert full or (left_out.user and no_user_more), f"room for {left_out}"
        assert not self.upstream.inbox
        assert not self.upstream.outbox


TestLedgerAgainstUpstream = LedgerAgainstUpstream.TestCase


class AnySequence(RuleBasedStateMachine):
    """Whatever an upstream says, in whatever order, about things asked and not: every invariant holds."""

    @initialize(ours=limits)
    def begin(self, ours: tuple[int, int]) -> None:
        self.ledger = Ledger(LedgerLimits(users=ours[0], subscriptions=ours[1]))
        self.now = 0.0

    @rule()
    def opened(self) -> None:
        self.ledger.opened(self.now)

    @rule(cut=st.booleans())
    def closed(self, cut: bool) -> None:
        wanted = set(self.ledger.wanted())
        condemned = self.ledger.closed(self.now, cut=cut)
        assert len(condemned) <= cut
        assert set(self.ledger.wanted()) == wanted - set(condemned)
        assert self.ledger.count(Standing.WANTED) == len(self.ledger)

    @rule(wanted=st.lists(some))
    def want(self, wanted: list[Subscription]) -> None:
        want(self.ledger, wanted, self.now)
        for subscription in wanted:
            assert self.ledger.standing(subscription) is not None

    @rule(wanted=st.lists(some))
    def clients_want(self, wanted: list[Subscription]) -> None:
        self.ledger.add(wanted, self.now, trusted=False)
        assert set(wanted) <= set(self.ledger.wanted())

    @rule(room=st.integers(-1, 12), works=st.booleans())
    def send(self, room: int, works: bool) -> None:
        for method, subscription in self.ledger.to_send(self.now, room, works=works):
            expected = Standing.PENDING if method == "subscribe" else Standing.LEAVING
            assert self.ledger.standing(subscription) is expected

    @rule(method=st.sampled_from(["subscribe", "unsubscribe"]), subscription=some)
    def answered(self, method: str, subscription: Subscription) -> None:
        self.ledger.answered(method, subscription.wire(), self.now)

    @rule(
        text=st.sampled_from(
            [
                "Cannot track more than 15 total users.",
                "Cannot subscribe to more than 1000 channels.",
                "Cannot send more than 2000 messages per minute.",
                "Invalid subscription %s",
                'Error parsing JSON into valid websocket request: {"method":"subscribe","subscription":%s}',
            ]
        ),
        subscription=some,
    )
    def refused(self, text: str, subscription: Subscription) -> None:
        self.ledger.refused(text.replace("%s", json.dumps(subscription.wire())), self.now)

    @rule(subscription=some)
    def data(self, subscription: Subscription) -> None:
        ours = self.ledger.data(subscription, self.now)
        assert ours == (self.ledger.standing(subscription) is Standing.CONFIRMED)

    @rule(subscription=some)
    def silent(self, subscription: Subscription) -> None:
        self.ledger.resubscribe(subscription, self.now)

    @rule(seconds=times)
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.ledger.overdue(self.now)

    @invariant()
    def check(self) -> None:
        if hasattr(self, "ledger"):
            self.ledger.check()
            check_usage(self.ledger.usage, [self.ledger])
            repr(self.ledger)


TestAnySequence = AnySequence.TestCase


class AgainstTraps(RuleBasedStateMachine):
    """An upstream that cuts the connection for some: these alone are refused, the others are all let in."""

    @initialize(
        good=st.sets(st.integers(0, 30), min_size=1), bad=st.sets(st.integers(31, 34)), order=st.randoms()
    )
    def begin(self, good: set[int], bad: set[int], order: Random) -> None:
        def of(number: int) -> Subscription:
            return Subscription({"type": "bbo", "coin": str(number)})

        self.good, self.bad = {of(number) for number in good}, {of(number) for number in bad}
        self.refused: list[Subscription] = []
        self.now = 0.0
        self.heard = False
        self.ledger = Ledger(LedgerLimits())
        mixed = sorted(self.good | self.bad, key=repr)
        order.shuffle(mixed)
        self.ledger.add(mixed, 0.0, trusted=False)

    @rule(room=st.integers(1, 40), lost=st.booleans())
    def serve(self, room: int, lost: bool) -> None:
        """Requests are carried out in order up to a trap; the answers may be lost with the connection."""
        requests = self.ledger.to_send(self.now, room, works=self.heard)
        answered: list[Subscription] = []
        for _, asked in requests:
            if asked in self.bad:
                for one in () if lost else answered:
                    self.ledger.answered("subscribe", one.wire(), self.now)
                self.cut()
                return
            answered.append(asked)
        for one in answered:
            self.ledger.answered("subscribe", one.wire(), self.now)
        self.heard = True

    @rule()
    def cut(self) -> None:
        self.refused += self.ledger.closed(self.now, cut=True)
        self.heard = False
        self.now += 1.0

    @invariant()
    def no_innocent_is_refused(self) -> None:
        if hasattr(self, "ledger"):
            assert set(self.refused) <= self.bad
            self.ledger.check()

    def teardown(self) -> None:
        if hasattr(self, "ledger"):
            for _ in range(200):
                self.serve(40, lost=True)
            assert set(self.ledger.confirmed()) == self.good
            assert sorted(map(repr, self.refused)) == sorted(map(repr, self.bad))


TestAgainstTraps = AgainstTraps.TestCase
