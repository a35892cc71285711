"""The waiting room, on virtual time: who goes first, who is turned away, what a cancelled waiter leaves."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from replica.clock import Clock
from replica.errors import BudgetExhausted
from replica.upstream.budget import REFUSED_HOLD_S, Budget
from replica.upstream.weight import SLACK_S, WINDOW_S, Charge, Lane, WeightLedger

SPAN = WINDOW_S + SLACK_S


def now() -> float:
    return asyncio.get_running_loop().time()


def make(per_minute: int = 100, write_reserve: int = 0) -> Budget:
    ledger = WeightLedger(per_minute=per_minute, write_reserve=write_reserve)
    return Budget(ledger, Clock(now, now))


def nobody_waits(budget: Budget) -> bool:
    return not any(budget._waiting.values())


class Log:
    """Takes of several waiters, in the order in which they got through."""

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.went: list[str] = []

    def start(
        self, name: str, cost: int, lane: Lane = Lane.READ, wait_s: float = 500.0
    ) -> "asyncio.Task[Charge]":
        async def take() -> Charge:
            charge = await self.budget.take(cost, lane, wait_s=wait_s)
            self.went.append(name)
            return charge

        return asyncio.create_task(take())


async def settled(budget: Budget, cost: int) -> None:
    """Spend `cost`, over and done with at this moment."""
    budget.settle(await budget.take(cost, Lane.WRITE, wait_s=0.0))


async def test_with_room_it_goes_at_once() -> None:
    budget = make()
    charge = await budget.take(60, Lane.READ, wait_s=0.0)
    assert now() == 0.0
    assert budget.ledger.room(Lane.READ, 0.0) == 40
    budget.cancel(charge)
    assert budget.ledger.room(Lane.READ, 0.0) == 100


async def test_what_can_not_fit_in_time_is_refused_at_once_with_the_seconds_to_wait() -> None:
    budget = make()
    await settled(budget, 100)
    await asyncio.sleep(10.0)
    with pytest.raises(BudgetExhausted) as refused:
        await budget.take(1, Lane.READ, wait_s=SPAN - 10.1)
    assert now() == 10.0
    assert refused.value.retry_after_s == SPAN - 10.0
    with pytest.raises(BudgetExhausted) as refused:
        await budget.take(101, Lane.WRITE, wait_s=1e9)  # it never fits
    assert refused.value.retry_after_s == 60.0
    assert now() == 10.0
    assert nobody_waits(budget)


async def test_what_fits_in_time_waits_for_it() -> None:
    budget = make()
    await settled(budget, 100)
    await asyncio.sleep(10.0)
    await budget.take(1, Lane.READ, wait_s=SPAN - 10.0)
    assert now() == pytest.approx(SPAN, abs=0.02)
    assert nobody_waits(budget)


async def test_one_that_turns_out_cheaper_lets_the_next_one_go() -> None:
    budget = make()
    costly = await budget.take(100, Lane.READ, wait_s=0.0, least=20)
    log = Log(budget)
    log.start("next", 60, wait_s=1.0)
    await asyncio.sleep(0.5)
    assert log.went == []
    budget.settle(costly, 25)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert log.went == ["next"]
    assert now() == 0.5


async def test_one_that_turns_out_as_dear_as_feared_leaves_the_next_one_to_time_out() -> None:
    budget = make()
    costly = await budget.take(100, Lane.READ, wait_s=0.0, least=20)
    waiting = Log(budget).start("next", 60, wait_s=1.0)
    await asyncio.sleep(0.5)
    budget.settle(costly, 100)
    with pytest.raises(BudgetExhausted) as refused:
        await waiting
    assert now() == 1.0
    assert refused.value.retry_after_s == SPAN - 0.5
    assert nobody_waits(budget)


async def test_lanes_in_their_order_and_first_come_first_served_within_one() -> None:
    budget = make(per_minute=10)
    await settled(budget, 10)
    log = Log(budget)
    tasks = []
    for name, lane in (
        ("audit", Lane.AUDIT),
        ("read 1", Lane.READ),
        ("refresh", Lane.REFRESH),
        ("read 2", Lane.READ),
        ("write 1", Lane.WRITE),
        ("read 3", Lane.READ),
        ("write 2", Lane.WRITE),
    ):
        tasks.append(log.start(name, 1, lane))
        await asyncio.sleep(0.1)
    await asyncio.gather(*tasks)
    assert log.went == ["write 1", "write 2", "read 1", "read 2", "read 3", "refresh", "audit"]
    assert now() == pytest.approx(SPAN, abs=0.02)


async def test_a_small_one_does_not_pass_a_big_one_that_waits() -> None:
    budget = make(per_minute=10)
    await settled(budget, 5)
    await asyncio.sleep(1.0)
    log = Log(budget)
    tasks = [log.start("big", 8)]
    await asyncio.sleep(1.0)
    tasks.append(log.start("small", 1))
    tasks.append(log.start("later lane", 1, Lane.AUDIT))
    await asyncio.sleep(1.0)
    assert log.went == []
    await settled(budget, 1)  # a write passes them all
    await asyncio.gather(*tasks)
    assert log.went == ["big", "small", "later lane"]


async def test_the_reserve_is_for_writes() -> None:
    budget = make(per_minute=10, write_reserve=4)
    await budget.take(6, Lane.READ, wait_s=0.0)
    with pytest.raises(BudgetExhausted):
        await budget.take(1, Lane.READ, wait_s=0.0)
    await budget.take(4, Lane.WRITE, wait_s=0.0)
    with pytest.raises(BudgetExhausted):
        await budget.take(1, Lane.WRITE, wait_s=0.0)


async def test_a_429_holds_reads_back_and_lets_writes_through() -> None:
    budget = make()
    budget.refused()
    log = Log(budget)
    read = log.start("read", 1)
    write = log.start("write", 1, Lane.WRITE)
    with pytest.raises(BudgetExhausted) as refused:
        await budget.take(1, Lane.READ, wait_s=1.0)
    assert refused.value.retry_after_s == REFUSED_HOLD_S
    await write
    assert now() == 0.0
    await read
    assert now() == pytest.approx(REFUSED_HOLD_S, abs=0.02)


async def test_who_times_out_makes_way_for_the_one_behind() -> None:
    budget = make(per_minute=10)
    held = await budget.take(10, Lane.READ, wait_s=0.0, least=1)
    log = Log(budget)
    big = log.start("big", 9, wait_s=2.0)
    await asyncio.sleep(1.0)
    small = log.start("small", 5, wait_s=5.0)
    budget.settle(held, 5)  # room for the small one, not for the big one before it
    await asyncio.sleep(0.5)
    assert log.went == []
    with pytest.raises(BudgetExhausted):
        await big
    assert now() == 2.0
    await small
    assert now() == 2.0


async def test_affordable_is_what_is_left_after_those_who_wait() -> None:
    budget = make(per_minute=100, write_reserve=20)
    assert budget.affordable(Lane.READ, 0.0) == 80
    await settled(budget, 50)
    await asyncio.sleep(10.0)
    held = await budget.take(30, Lane.READ, wait_s=0.0)
    assert budget.affordable(Lane.READ, 1.0) == 0
    assert budget.affordable(Lane.READ, SPAN - 10.0) == 50
    assert budget.affordable(Lane.WRITE, 1.0) == 20
    waiting = Log(budget).start("waits", 35)
    await asyncio.sleep(0)
    assert budget.affordable(Lane.READ, SPAN - 10.0) == 15
    assert budget.affordable(Lane.WRITE, 1.0) == 20  # a read that waits is not ahead of a write
    waiting.cancel()
    budget.cancel(held)


# -- cancelled, at every moment there is -------------------------------------------------------------------

MOMENTS = 12


async def by_settle(budget: Budget, held: Charge) -> None:
    budget.settle(held, 1)


async def by_cancel(budget: Budget, held: Charge) -> None:
    budget.cancel(held)


async def by_time(budget: Budget, held: Charge) -> None:
    budget.settle(held)
    await asyncio.sleep(SPAN)


async def by_timeout(budget: Budget, held: Charge) -> None:
    """The turn comes in the very step in which the wait is over."""
    loop = asyncio.get_running_loop()
    loop.call_at(100.0, budget.settle, held, 1)
    await asyncio.sleep(100.0)


@pytest.mark.parametrize("moment", range(-1, MOMENTS))
@pytest.mark.parametrize("turn_comes", [by_settle, by_cancel, by_time, by_timeout])
async def test_a_waiter_cancelled_at_any_step_leaves_nothing_behind(
    turn_comes: Callable[[Budget, Charge], Awaitable[None]], moment: int
) -> None:
    budget = make(per_minute=10)
    held = await budget.take(10, Lane.READ, wait_s=0.0, least=1)
    log = Log(budget)
    victim = log.start("victim", 6, wait_s=100.0)
    behind = log.start("behind", 6, wait_s=400.0)
    await asyncio.sleep(0)
    if moment < 0:
        victim.cancel()  # before its turn
    turn = asyncio.create_task(turn_comes(budget, held))  # type: ignore[arg-type]
    if turn_comes in (by_time, by_timeout):
        await asyncio.sleep(SPAN if turn_comes is by_time else 100.0)
    for _ in range(max(moment, 0)):
        await asyncio.sleep(0)
    victim.cancel()
    outcome: Any = (await asyncio.gather(victim, return_exceptions=True))[0]
    await turn
    if isinstance(outcome, Charge):
        budget.cancel(outcome)
    else:
        assert isinstance(outcome, asyncio.CancelledError | BudgetExhausted)
    budget.ledger.check()
    # Whatever became of the victim, its share is free again and the one behind gets through with it.
    second = await behind
    assert log.went[-1] == "behind"
    assert nobody_waits(budget)
    assert len(budget.ledger._open) == 1
    budget.cancel(second)
    await asyncio.sleep(2 * SPAN)
    assert budget.ledger.room(Lane.READ, now()) == 10


async def test_the_moments_above_cover_before_at_and_after_the_turn() -> None:
    seen = set()
    for moment in range(MOMENTS):
        budget = make(per_minute=10)
        held = await budget.take(10, Lane.READ, wait_s=0.0)
        victim = Log(budget).start("victim", 6)
        await asyncio.sleep(0)
        budget.cancel(held)
        granted = bool(budget.ledger._open)
        for _ in range(moment):
            await asyncio.sleep(0)
        done = victim.done()
        victim.cancel()
        await asyncio.gather(victim, return_exceptions=True)
        seen.add((granted, done, victim.cancelled()))
        assert bool(budget.ledger._open) is done
    assert seen == {(True, False, True), (True, True, False)}


async def test_the_turn_and_the_time_out_in_one_step() -> None:
    """Either it goes, and is charged, or it does not, and is not."""
    for order in ("turn first", "time-out first"):
        budget = make(per_minute=10)
        held = await budget.take(10, Lane.READ, wait_s=0.0, least=1)
        start, loop = now(), asyncio.get_running_loop()
        if order == "turn first":
            loop.call_at(start + 1.0, budget.settle, held, 1)
        waiting = Log(budget).start("waiting", 6, wait_s=1.0)
        await asyncio.sleep(0)
        if order == "time-out first":
            loop.call_at(start + 1.0, budget.settle, held, 1)
        try:
            charge = await waiting
        except BudgetExhausted:
            assert not budget.ledger._open, order
        else:
            assert list(budget.ledger._open.values()) == [charge], order
        budget.ledger.check()
        assert nobody_waits(budget)
