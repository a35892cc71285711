"""What a read costs, from the charge before it leaves to what it turned out to cost."""

import asyncio
from typing import Any, cast

import pytest

from replica.clock import Clock
from replica.errors import BudgetExhausted, UpstreamTimeout, UpstreamUnavailable
from replica.upstream.budget import REFUSED_HOLD_S, Budget
from replica.upstream.reader import Reader
from replica.upstream.rest import Answer, Rest
from replica.upstream.weight import SLACK_S, WINDOW_S, Lane, WeightLedger

JSON = "application/json"
OK = Answer(200, b"{}", JSON)


def now() -> float:
    return asyncio.get_running_loop().time()


class StubRest:
    """Answers after a second, with what it is told to."""

    def __init__(self, outcome: Answer | Exception = OK, *, during: Any = None) -> None:
        self.outcome = outcome
        self.during = during
        self.posted: list[tuple[float, str, bytes, str, float]] = []

    async def post(self, path: str, body: bytes, content_type: str, *, deadline_s: float) -> Answer:
        self.posted.append((now(), path, body, content_type, deadline_s))
        await asyncio.sleep(1.0)
        if self.during is not None:
            self.during()
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


def make(rest: StubRest, per_minute: int = 1200, write_reserve: int = 0) -> tuple[Reader, WeightLedger]:
    ledger = WeightLedger(per_minute=per_minute, write_reserve=write_reserve)
    clock = Clock(now, now)
    return Reader(cast(Rest, rest), Budget(ledger, clock), clock), ledger


async def read(
    reader: Reader, type_: str = "clearinghouseState", wait_s: float = 1.0
) -> tuple[Answer, float]:
    return await reader.read(type_, b'{"a":1}', JSON, lane=Lane.READ, wait_s=wait_s, deadline_s=10.0)


def spent(ledger: WeightLedger) -> int:
    ledger.check()
    return 1200 - ledger.room(Lane.WRITE, now())


async def test_the_body_goes_as_it_is_and_the_answer_comes_with_the_moment_it_left() -> None:
    rest = StubRest(Answer(500, b"null", ""))
    reader, _ = make(rest)
    await asyncio.sleep(7.0)
    assert await read(reader) == (Answer(500, b"null", ""), 7.0)
    assert rest.posted == [(7.0, "/info", b'{"a":1}', JSON, 10.0)]


async def test_the_moment_it_left_is_after_the_wait_for_budget() -> None:
    rest = StubRest()
    reader, ledger = make(rest, per_minute=2)
    ledger.settle(ledger.take(2, 0.0), 0.0)
    _, started = await read(reader, wait_s=100.0)
    assert started == rest.posted[0][0] == pytest.approx(WINDOW_S + SLACK_S, abs=0.02)


@pytest.mark.parametrize(
    ("type_", "body", "during", "after"),
    [
        ("clearinghouseState", b"{}", 2, 2),
        ("userRole", b"{}", 60, 60),
        ("meta", b"[1,2,3]", 20, 20),
        ("userFills", b"[" + b"{}," * 40 + b"{}]", 120, 23),
        ("userFills", b"[]", 120, 20),
        ("userFills", b"null", 120, 20),
        ("recentTrades", b"[{}]", 45, 21),
        ("candleSnapshot", b"[{}]", 107, 21),
    ],
)
async def test_charged_for_the_most_and_settled_for_what_came(
    type_: str, body: bytes, during: int, after: int
) -> None:
    charged: list[int] = []
    rest = StubRest(Answer(200, body, JSON), during=lambda: charged.append(spent(ledger)))
    reader, ledger = make(rest)
    await read(reader, type_)
    assert charged == [during]
    assert spent(ledger) == after
    await asyncio.sleep(WINDOW_S + SLACK_S)
    assert spent(ledger) == 0


async def test_what_never_left_costs_nothing() -> None:
    reader, ledger = make(StubRest(UpstreamUnavailable("nobody there", sent=False)))
    with pytest.raises(UpstreamUnavailable):
        await read(reader)
    assert spent(ledger) == 0


@pytest.mark.parametrize(
    "error", [UpstreamTimeout("late"), UpstreamUnavailable("cut"), RuntimeError("a fault")]
)
async def test_what_may_have_left_costs_all_it_may(error: Exception) -> None:
    reader, ledger = make(StubRest(error))
    with pytest.raises(type(error)):
        await read(reader, "userFills")
    assert spent(ledger) == 120


async def test_a_429_raises_and_holds_reads_back() -> None:
    reader, ledger = make(StubRest(Answer(429, b"null", JSON)))
    with pytest.raises(BudgetExhausted) as refused:
        await read(reader, "userFills")
    assert refused.value.retry_after_s == REFUSED_HOLD_S
    assert spent(ledger) == 20
    assert ledger.room(Lane.READ, now() + REFUSED_HOLD_S - 0.1) == 0
    assert ledger.room(Lane.READ, now() + REFUSED_HOLD_S) > 0
    assert ledger.refusals == 1


async def test_what_the_budget_can_not_pay_is_not_sent() -> None:
    rest = StubRest()
    reader, _ = make(rest, per_minute=30)
    await read(reader, "meta")
    with pytest.raises(BudgetExhausted):
        await read(reader, "meta")
    assert len(rest.posted) == 1


async def test_many_reads_of_rows_wait_for_each_other_instead_of_being_refused() -> None:
    reader, ledger = make(StubRest(Answer(200, b"[]", JSON)), per_minute=300)
    await asyncio.gather(*(read(reader, "userFills", wait_s=6.0) for _ in range(8)))
    assert now() < 10.0
    assert 300 - ledger.room(Lane.WRITE, now()) == 160


@pytest.mark.parametrize("step", range(6))
async def test_cancelled_at_any_step_no_charge_stays_open(step: int) -> None:
    reader, ledger = make(StubRest())
    task = asyncio.create_task(read(reader))
    for _ in range(step):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled()
    assert not ledger._open
    assert spent(ledger) in (0, 2)


async def test_affordable_counts_the_most_each_may_cost() -> None:
    reader, _ = make(StubRest(), per_minute=120, write_reserve=20)
    assert reader.affordable(["clearinghouseState"] * 1000, Lane.READ, 0.0) == 50
    assert reader.affordable(["userFills"], Lane.READ, 0.0) == 0
    assert reader.affordable(["userFills"], Lane.WRITE, 0.0) == 1


async def test_affordable_takes_them_in_their_order() -> None:
    reader, _ = make(StubRest(), per_minute=120, write_reserve=20)
    portfolio = ["spotClearinghouseState", "userAbstraction", "clearinghouseState"]
    assert reader.affordable(portfolio, Lane.READ, 0.0) == 3
    # 4 x 24 = 96 leave 4: one more of 2, none of the 20 after it, nor of what comes behind.
    assert reader.affordable(portfolio * 10, Lane.READ, 0.0) == 13
    assert reader.affordable([], Lane.READ, 0.0) == 0
