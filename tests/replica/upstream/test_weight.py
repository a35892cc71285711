"""What requests cost, and when the budget lets them go."""

import math

import pytest

from replica.upstream.weight import (
    SLACK_S,
    WINDOW_S,
    Charge,
    Lane,
    WeightLedger,
    exchange_cost,
    info_cost,
    most_rows_cost,
    rows_cost,
)

SPAN = WINDOW_S + SLACK_S


# -- costs: official docs, rate limits and user limits -----------------------------------------------------


@pytest.mark.parametrize(
    ("type_", "cost"),
    [
        ("l2Book", 2),
        ("allMids", 2),
        ("clearinghouseState", 2),
        ("orderStatus", 2),
        ("spotClearinghouseState", 2),
        ("exchangeStatus", 2),
        ("userRole", 60),
        ("meta", 20),
        ("frontendOpenOrders", 20),
        ("batchClearinghouseStates", 20),
        ("aTypeNobodyKnows", 20),
        ("", 20),
    ],
)
def test_an_info_request_costs(type_: str, cost: int) -> None:
    assert info_cost(type_) == cost


@pytest.mark.parametrize(
    ("type_", "rows", "cost"),
    [
        ("userFills", 0, 0),
        ("userFills", 1, 1),
        ("userFills", 20, 1),
        ("userFills", 21, 2),
        ("userFills", 2000, 100),
        ("candleSnapshot", 60, 1),
        ("candleSnapshot", 61, 2),
        ("candleSnapshot", 5000, 84),
        ("meta", 5000, 0),
        ("clearinghouseState", 500, 0),
    ],
)
def test_rows_cost(type_: str, rows: int, cost: int) -> None:
    assert rows_cost(type_, rows) == cost
    assert most_rows_cost(type_) >= cost


@pytest.mark.parametrize(("items", "cost"), [(0, 1), (1, 1), (39, 1), (40, 2), (79, 2), (80, 3), (200, 6)])
def test_a_write_costs(items: int, cost: int) -> None:
    assert exchange_cost(items) == cost


# -- the window --------------------------------------------------------------------------------------------


def test_a_charge_counts_until_the_window_has_passed_over_its_end() -> None:
    ledger = WeightLedger(per_minute=100, write_reserve=0)
    charge = ledger.take(100, 0.0)
    assert ledger.room(Lane.READ, 500.0) == 0  # it is still under way
    ledger.settle(charge, 500.0)
    assert ledger.room(Lane.READ, 500.0 + SPAN - 0.001) == 0
    assert ledger.room(Lane.READ, 500.0 + SPAN) == 100
    ledger.check()


def test_reads_leave_the_reserve_to_writes() -> None:
    ledger = WeightLedger(per_minute=100, write_reserve=30)
    ledger.take(70, 0.0)
    for lane in (Lane.READ, Lane.REFRESH, Lane.AUDIT):
        assert ledger.room(lane, 0.0) == 0
    assert ledger.room(Lane.WRITE, 0.0) == 30
    ledger.take(30, 0.0)
    assert ledger.room(Lane.WRITE, 0.0) == 0
    assert ledger.room(Lane.READ, 0.0) == -30


def test_a_reserve_larger_than_the_budget_leaves_reads_nothing() -> None:
    ledger = WeightLedger(per_minute=100, write_reserve=500)
    assert ledger.room(Lane.WRITE, 0.0) == 100
    assert ledger.room(Lane.READ, 0.0) == 0
    assert ledger.earliest(1, Lane.READ, 0.0) == math.inf


def test_settled_for_less_and_for_more() -> None:
    ledger = WeightLedger(per_minute=100, write_reserve=0)
    first, second = ledger.take(50, 0.0), ledger.take(50, 0.0)
    ledger.settle(first, 1.0, 20)
    assert ledger.room(Lane.READ, 1.0) == 30
    ledger.settle(second, 2.0, 60)
    assert ledger.room(Lane.READ, 2.0) == 20
    assert ledger.room(Lane.READ, 1.0 + SPAN) == 40
    assert ledger.room(Lane.READ, 2.0 + SPAN) == 100
    ledger.check()


def test_what_never_left_costs_nothing_and_nothing_is_given_back_twice() -> None:
    ledger = WeightLedger(per_minute=100, write_reserve=0)
    charge = ledger.take(60, 0.0)
    ledger.cancel(charge)
    ledger.cancel(charge)
    ledger.settle(charge, 0.0, 10)
    assert ledger.room(Lane.READ, 0.0) == 100
    ended = ledger.take(60, 0.0)
    ledger.settle(ended, 0.0)
    ledger.settle(ended, 9.0, 1)
    ledger.cancel(ended)
    ledger.cancel(Charge(5, 5))
    assert ledger.room(Lane.READ, 0.0) == 40
    ledger.check()


def test_earliest() -> None:
    ledger = WeightLedger(per_minute=100, write_reserve=20)
    assert ledger.earliest(80, Lane.READ, 5.0) == 5.0
    assert ledger.earliest(81, Lane.READ, 5.0) == math.inf
    assert ledger.earliest(100, Lane.WRITE, 5.0) == 5.0
    assert ledger.earliest(101, Lane.WRITE, 5.0) == math.inf
    ledger.settle(ledger.take(30, 0.0), 1.0)
    ledger.settle(ledger.take(30, 0.0), 2.0)
    assert ledger.earliest(20, Lane.READ, 5.0) == 5.0
    assert ledger.earliest(21, Lane.READ, 5.0) == 1.0 + SPAN
    assert ledger.earliest(50, Lane.READ, 5.0) == 1.0 + SPAN
    assert ledger.earliest(51, Lane.READ, 5.0) == 2.0 + SPAN
    assert ledger.earliest(40, Lane.WRITE, 5.0) == 5.0
    ledger.take(20, 5.0)
    # Behind one still under way: not before a whole window after now.
    assert ledger.earliest(80, Lane.READ, 6.0) == 6.0 + SPAN


def test_one_under_way_that_may_turn_out_cheaper_may_make_room_any_moment() -> None:
    ledger = WeightLedger(per_minute=100, write_reserve=0)
    charge = ledger.take(100, 0.0, least=20)
    assert ledger.room(Lane.READ, 1.0) == 0
    assert ledger.earliest(80, Lane.READ, 1.0) == 1.0
    assert ledger.earliest(81, Lane.READ, 1.0) == 1.0 + SPAN
    ledger.settle(charge, 2.0, 25)
    assert ledger.earliest(75, Lane.READ, 2.0) == 2.0
    assert ledger.earliest(76, Lane.READ, 2.0) == 2.0 + SPAN


def test_a_429_holds_everything_but_writes() -> None:
    ledger = WeightLedger(per_minute=100, write_reserve=20)
    ledger.refused(10.0, 5.0)
    ledger.refused(10.0, 1.0)
    for lane in (Lane.READ, Lane.REFRESH, Lane.AUDIT):
        assert ledger.room(lane, 14.9) == 0
        assert ledger.room(lane, 15.0) == 80
        assert ledger.earliest(1, lane, 11.0) == 15.0
        assert ledger.room_by(lane, 11.0, 14.9) == 0
        assert ledger.room_by(lane, 11.0, 15.0) == 80
    assert ledger.room(Lane.WRITE, 11.0) == 100
    assert ledger.earliest(1, Lane.WRITE, 11.0) == 11.0
    ledger.settle(ledger.take(80, 0.0), 1.0)
    ledger.refused(11.0, 60.0)
    assert ledger.earliest(1, Lane.READ, 11.0) == 71.0  # the budget alone would say 61.5
    assert ledger.refusals == 3


def test_room_by_a_later_moment_counts_what_leaves_the_window_till_then() -> None:
    ledger = WeightLedger(per_minute=100, write_reserve=20)
    ledger.settle(ledger.take(30, 0.0), 1.0)
    ledger.settle(ledger.take(40, 0.0), 2.0)
    ledger.take(5, 2.0)
    assert ledger.room_by(Lane.READ, 3.0, 3.0) == 5
    assert ledger.room_by(Lane.READ, 3.0, 1.0 + SPAN) == 35
    assert ledger.room_by(Lane.READ, 3.0, 2.0 + SPAN) == 75
    assert ledger.room(Lane.READ, 3.0) == 5  # looking ahead has spent and freed nothing
    ledger.check()


def test_no_limit() -> None:
    ledger = WeightLedger(per_minute=0, write_reserve=120)
    for _ in range(100):
        ledger.settle(ledger.take(10_000, 0.0), 0.0)
    assert ledger.room(Lane.AUDIT, 0.0) > 1_000_000
    assert ledger.room_by(Lane.AUDIT, 0.0, 1.0) > 1_000_000
    assert ledger.earliest(10_000, Lane.AUDIT, 0.0) == 0.0
    ledger.refused(0.0, 5.0)
    assert ledger.room(Lane.READ, 1.0) == 0
    assert ledger.earliest(1, Lane.READ, 1.0) == 5.0
    assert ledger.room(Lane.WRITE, 1.0) > 0


def test_repr() -> None:
    ledger = WeightLedger(per_minute=1200, write_reserve=0)
    charge = ledger.take(20, 0.0)
    assert repr(ledger) == "<WeightLedger 20/1200, 1 under way>"
    assert repr(charge) == "<Charge 20>"
    ledger.settle(charge, 1.5)
    assert repr(charge) == "<Charge 20 until 1.500>"
    assert repr(WeightLedger(per_minute=0, write_reserve=0)) == "<WeightLedger 0/no limit, 0 under way>"
