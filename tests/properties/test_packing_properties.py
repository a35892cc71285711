"""Whatever is placed and let go: frames can be told apart, no limit is exceeded, and nothing moves."""

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from replica.catalogue import ANONYMOUS, ANY, address_of
from replica.subscription import Subscription, all_dexs_clearinghouse_state
from replica.upstream.packing import PLAN_SOCKET, Packing, PackingLimits

USERS = ["0x" + letter * 40 for letter in "abcd"]


def subscription(type_: str, **fields: Any) -> Subscription:
    return Subscription({"type": type_, **fields})


POOL = [
    *(all_dexs_clearinghouse_state(user) for user in USERS),
    *(subscription(type_, user=user) for type_ in sorted(ANONYMOUS) for user in USERS[:3]),
    *(subscription("userFills", user=user, aggregateByTime=merged) for user in USERS for merged in (0, True)),
    *(subscription("l2Book", coin=coin, nSigFigs=n) for coin in ("BTC", "ETH") for n in (None, 2, 3)),
    subscription("trades", coin="BTC"),
    subscription("allMids"),
    subscription("allMids", dex="xyz"),
    subscription("fromTheFuture"),
    subscription("fromTheFuture", coin="BTC"),
    subscription("anotherOne"),
]


class Placing(RuleBasedStateMachine):
    @initialize(
        connections=st.sampled_from([0, 1, 2, 3, 5]), users=st.integers(0, 3), subscriptions=st.integers(0, 9)
    )
    def begin(self, connections: int, users: int, subscriptions: int) -> None:
        self.limits = PackingLimits(connections, users, subscriptions)
        self.packing = Packing(self.limits)
        self.wanted: set[Subscription] = set()
        self.leaving: set[Subscription] = set()
        self.planned: set[Subscription] = set()
        self.closing: set[int] = set()
        self.places: dict[Subscription, int] = {}

    @rule(one=st.sampled_from(POOL))
    def place(self, one: Subscription) -> None:
        users = {other.user for other in self.wanted if other.user}
        number = self.packing.place(one)
        if isinstance(number, int):
            if one not in self.wanted:
                assert not self.limits.subscriptions or len(self.wanted) < self.limits.subscriptions
                fits = not self.limits.users or len(users) < self.limits.users
                assert not one.user or one.user in users or fits
                # The plan's stays alone, but for what was the plan's as well.
                alone = self.limits.connections == 1
                assert number != PLAN_SOCKET or alone or one in self.places
            assert number not in self.closing
            self.wanted.add(one)
            self.leaving.discard(one)
            assert self.places.setdefault(one, number) == number
        elif number.startswith("Cannot track"):
            assert number == f"Cannot track more than {self.limits.users} total users."
            assert len(users) >= self.limits.users
            assert one.user not in users
        elif number.startswith("Cannot subscribe"):
            assert number == f"Cannot subscribe to more than {self.limits.subscriptions} channels."
            assert len(self.wanted) >= self.limits.subscriptions
        else:
            assert one not in self.places
            assert number == f"Cannot open more than {self.limits.connections} connections."

    @rule(one=st.sampled_from(POOL[: len(USERS)]))
    def plan(self, one: Subscription) -> None:
        number = self.packing.place(one, planned=True)
        assert number == self.places.get(one, PLAN_SOCKET)
        self.planned.add(one)
        self.wanted.add(one)
        self.leaving.discard(one)
        self.places[one] = PLAN_SOCKET if isinstance(number, str) else number

    @rule(one=st.sampled_from(POOL))
    def release(self, one: Subscription) -> None:
        self.packing.release(one)
        if one in self.wanted:
            self.wanted.discard(one)
            self.leaving.add(one)

    @rule(one=st.sampled_from(POOL))
    def remove(self, one: Subscription) -> None:
        self.packing.remove(one)
        self.wanted.discard(one)
        self.leaving.discard(one)
        self.places.pop(one, None)

    @rule()
    def close(self) -> None:
        for number in self.packing.sockets:
            if number != PLAN_SOCKET and not self.packing.on(number) and number not in self.closing:
                self.packing.close(number)
                self.closing.add(number)
                return

    @rule()
    def closed(self) -> None:
        if self.closing:
            self.packing.closed(self.closing.pop())

    @invariant()
    def all_is_well(self) -> None:
        if not hasattr(self, "packing"):
            return
        self.packing.check()
        repr(self.packing)
        assert set(self.packing.leaving) == self.leaving
        assert self.places.keys() == self.wanted | self.leaving
        for one, number in self.places.items():
            assert self.packing.where(one) == number, f"{one} was moved"
        assert not self.limits.connections or len(self.packing.sockets) <= self.limits.connections
        for number in self.packing.sockets:
            together = self.packing.on(number)
            addresses = [address_of(one) for one in together]
            assert len(set(addresses)) == len(addresses), f"{together} can't be told apart"
            assert ANY not in addresses or len(together) == 1, f"{together}: not alone"
            assert len({one.user for one in together if one.type in ANONYMOUS}) <= 1, f"{together}: whose?"


TestPlacing = Placing.TestCase
