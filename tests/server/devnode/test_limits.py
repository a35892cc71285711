"""The ledgers of the limits, as properties: no stretch of 60 seconds ever holds more than was allowed."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from server.devnode.limits import WINDOW_S, Ledger, Limits, Window, exchange_weight, info_weight

IP = "127.0.0.1"


@given(
    st.integers(1, 50),
    st.lists(st.tuples(st.floats(0, 40), st.integers(0, 60)), max_size=60),
)
def test_no_window_exceeds_its_limit(limit: int, arrivals: list[tuple[float, int]]) -> None:
    window, now = Window(limit), 0.0
    taken: list[tuple[float, int]] = []
    for gap, cost in arrivals:
        now += gap
        fits = sum(c for at, c in taken if at > now - WINDOW_S) + cost <= limit
        assert window.take(cost, now) is fits
        if fits:
            taken.append((now, cost))
        assert window.used(now) == sum(c for at, c in taken if at > now - WINDOW_S) <= limit
    for end, _ in taken:
        assert sum(cost for at, cost in taken if end - WINDOW_S < at <= end) <= limit


def test_a_switched_off_window_takes_everything() -> None:
    window = Window(None)
    assert all(window.take(10**6, 0.0) for _ in range(1000))


@pytest.mark.parametrize(
    ("kind", "items", "weight"),
    [
        ("clearinghouseState", 0, 2),
        ("allMids", 1100, 2),
        ("userRole", 0, 60),
        ("meta", 0, 20),
        ("notAType", 0, 20),
        ("userFills", 0, 20),
        ("userFills", 2000, 120),
        ("candleSnapshot", 5000, 103),
    ],
)
def test_weights_are_the_published_ones(kind: str, items: int, weight: int) -> None:
    assert info_weight(kind, items) == weight


@pytest.mark.parametrize(("orders", "weight"), [(1, 1), (39, 1), (40, 2), (79, 2), (80, 3)])
def test_batches_weigh_by_their_length(orders: int, weight: int) -> None:
    assert exchange_weight({"type": "order", "orders": [{}] * orders}) == weight
    assert exchange_weight({"type": "cancel", "cancels": [{}] * orders}) == weight


def test_an_odd_action_weighs_one() -> None:
    assert exchange_weight({}) == exchange_weight({"orders": "x", "cancels": None}) == 1


def test_the_default_limits_are_the_documented_ones_and_off_is_off() -> None:
    assert (Limits().users, Limits().weight_per_minute) == (10, 1200)
    off = Ledger(Limits.off())
    for i in range(3000):
        assert off.subscribe(IP, f"user{i}") is None
        assert off.message(IP, 0.0) is None
        assert off.connect(IP, 0.0)
        assert off.request(IP, 60, 0.0)


def test_addresses_of_clients_have_books_of_their_own() -> None:
    ledger = Ledger(Limits(connections=1, weight_per_minute=2))
    assert ledger.connect(IP, 0.0) and not ledger.connect(IP, 0.0)
    assert ledger.connect("127.0.0.2", 0.0)
    assert ledger.request(IP, 2, 0.0) and not ledger.request(IP, 1, 59.9)
    assert ledger.request(IP, 2, 60.0)


def test_connections_are_limited_in_number_and_in_pace() -> None:
    ledger = Ledger(Limits(connections=2, connections_per_minute=3))
    assert ledger.connect(IP, 0.0) and ledger.connect(IP, 1.0) and not ledger.connect(IP, 2.0)
    ledger.disconnect(IP)
    assert ledger.connect(IP, 3.0)
    ledger.disconnect(IP)
    assert not ledger.connect(IP, 4.0)  # the fourth within a minute
    assert ledger.connect(IP, 60.0)


class Subscribing(RuleBasedStateMachine):
    """The ledger of subscriptions against a list of what is held."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger(Limits(users=3, subscriptions=6))
        self.held: list[str | None] = []

    @rule(user=st.sampled_from([None, "a", "b", "c", "d", "e"]))
    def subscribe(self, user: str | None) -> None:
        refusal = self.ledger.subscribe(IP, user)
        if len(self.held) >= 6:
            assert refusal == "Cannot subscribe to more than 6 channels."
        elif user is not None and user not in self.held and len({*self.held} - {None}) >= 3:
            assert refusal == "Cannot track more than 3 total users."
        else:
            assert refusal is None
            self.held.append(user)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def unsubscribe(self, data: st.DataObject) -> None:
        user = self.held.pop(data.draw(st.integers(0, len(self.held) - 1)))
        self.ledger.unsubscribe(IP, user)

    @invariant()
    def books_agree(self) -> None:
        usage = self.ledger.of(IP)
        assert usage.subscriptions == len(self.held) <= 6
        assert usage.users == Counter(user for user in self.held if user is not None)
        assert len(usage.users) <= 3


TestSubscribing = Subscribing.TestCase
