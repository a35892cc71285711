"""Any crowd before the budget: lanes and queues in order, nobody waits too long, nothing is left behind."""

import asyncio
import math
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from replica.clock import Clock
from replica.errors import BudgetExhausted
from replica.upstream.budget import Budget
from replica.upstream.weight import SLACK_S, WINDOW_S, Charge, Lane, WeightLedger

PER_MINUTE, RESERVE = 10, 3

seconds = st.one_of(st.integers(0, 4), st.sampled_from([1, 30, 60])).map(float)


@dataclass(frozen=True)
class Visit:
    """Somebody comes `after` the one before, asks, and holds what it gets for a while."""

    after: float
    lane: Lane
    cost: int
    refund: int
    patience: float
    holds: float
    cancelled_after: float | None
    """Halfway between two seconds or together with what happens on one."""
    sent: bool


visits = st.builds(
    Visit,
    after=st.one_of(st.just(0.0), seconds),
    lane=st.sampled_from(Lane),
    cost=st.integers(1, PER_MINUTE + 1),
    refund=st.integers(0, 6),
    patience=st.sampled_from([0.0, 1.0, 8.0, 65.0, 130.0]),
    holds=seconds,
    cancelled_after=st.one_of(st.none(), st.none(), seconds, seconds.map(lambda s: s + 0.5)),
    sent=st.sampled_from([True, True, False]),
)


@dataclass
class Told:
    """What became of a visit, and when."""

    visit: Visit
    came: float
    left_queue: float = math.inf
    went: bool = False
    ended: float = math.inf
    cost: int = 0


async def attend(budget: Budget, visit: Visit, told: Told) -> None:
    clock = asyncio.get_running_loop().time
    charge: Charge | None = None
    least = max(1, visit.cost - visit.refund)
    try:
        try:
            charge = await budget.take(visit.cost, visit.lane, wait_s=visit.patience, least=least)
        except BudgetExhausted as refused:
            assert 0 < refused.retry_after_s <= 60.5
            return
        finally:
            told.left_queue = clock()
        told.went, told.cost = True, visit.cost
        await asyncio.sleep(visit.holds)
    finally:
        if charge is not None:
            if visit.sent:
                told.cost = least
                budget.settle(charge, least)
            else:
                told.cost = 0
                budget.cancel(charge)
            told.ended = clock()


@settings(max_examples=200)
@given(st.lists(visits, min_size=4, max_size=24))
async def test_any_crowd(crowd: list[Visit]) -> None:
    loop = asyncio.get_running_loop()
    budget = Budget(WeightLedger(per_minute=PER_MINUTE, write_reserve=RESERVE), Clock(loop.time, loop.time))
    tolds, tasks = [], []
    for visit in crowd:
        await asyncio.sleep(visit.after)
        told = Told(visit, loop.time())
        tolds.append(told)
        tasks.append(task := asyncio.create_task(attend(budget, visit, told)))
        if visit.cancelled_after is not None:
            loop.call_later(visit.cancelled_after, task.cancel)
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        assert outcome is None or isinstance(outcome, asyncio.CancelledError), outcome
    end = loop.time()

    budget.ledger.check()
    assert not any(budget._waiting.values())
    assert not budget.ledger._open

    for told in tolds:
        if told.left_queue < math.inf:  # else it was cancelled before its first step
            assert told.left_queue <= told.came + told.visit.patience
    went = [told for told in tolds if told.went]
    for told in went:
        for other in tolds:
            before_it = other.visit.lane < told.visit.lane or (
                other.visit.lane == told.visit.lane and other.came < told.came
            )
            still_there = other.came < told.left_queue < other.left_queue < math.inf
            assert not (before_it and still_there), f"{told} went before {other}"
        # The upstream may count each anywhere between leaving and end: at this moment all of these.
        window = [
            other
            for other in went
            if other.left_queue <= told.left_queue and other.ended >= told.left_queue - WINDOW_S
        ]
        limit = PER_MINUTE if told.visit.lane is Lane.WRITE else PER_MINUTE - RESERVE
        assert sum(other.cost for other in window) <= PER_MINUTE
        assert told.visit.cost <= limit

    await asyncio.sleep(WINDOW_S + 2 * SLACK_S)
    assert budget.ledger.room(Lane.WRITE, loop.time()) == PER_MINUTE, f"not all came back by {end}"
