"""Writes: the client's bytes, once, and a name for every outcome."""

import asyncio
from typing import cast

import pytest

from replica.clock import Clock
from replica.errors import (
    BudgetExhausted,
    UpstreamTimeout,
    UpstreamUnavailable,
    WriteNotSent,
    WriteOutcomeUnknown,
)
from replica.upstream.budget import REFUSED_HOLD_S, Budget
from replica.upstream.forwarder import Forwarder
from replica.upstream.rest import Answer, Rest
from replica.upstream.weight import Lane, WeightLedger
from tests.replica.upstream.test_reader import OK, StubRest, now, spent

JSON = "application/json"
BODY = b'{"action":{"type":"order","orders":[' + b"{}," * 79 + b'{}]},\n "nonce":1.50e3, "x":1}'
"""80 orders, in a spelling that no JSON round trip would keep."""


def make(rest: StubRest, per_minute: int = 1200) -> tuple[Forwarder, WeightLedger]:
    ledger = WeightLedger(per_minute=per_minute, write_reserve=0)
    budget = Budget(ledger, Clock(now, now))
    return Forwarder(cast(Rest, rest), budget, deadline_s=20.0, budget_wait_s=1.0), ledger


@pytest.mark.parametrize("status", [200, 422, 500, 502])
async def test_the_clients_bytes_go_once_and_the_answer_comes_back_as_it_is(status: int) -> None:
    rest = StubRest(Answer(status, b'{"status":"ok"}', "text/plain"))
    forwarder, ledger = make(rest)
    assert await forwarder.forward("/exchange", BODY, "text/json") == rest.outcome
    assert rest.posted == [(0.0, "/exchange", BODY, "text/json", 20.0)]
    assert spent(ledger) == 3
    assert not ledger._open


async def test_what_can_not_be_read_costs_one() -> None:
    forwarder, ledger = make(StubRest())
    assert await forwarder.forward("/exchange", b"not JSON", JSON) == OK
    assert spent(ledger) == 1


@pytest.mark.parametrize("error", [UpstreamTimeout, UpstreamUnavailable])
async def test_not_sent(error: type[UpstreamTimeout] | type[UpstreamUnavailable]) -> None:
    rest = StubRest(error("no connection", sent=False))
    forwarder, ledger = make(rest)
    with pytest.raises(WriteNotSent, match="no connection"):
        await forwarder.forward("/exchange", BODY, JSON)
    assert len(rest.posted) == 1
    assert spent(ledger) == 0


@pytest.mark.parametrize(("error", "timed_out"), [(UpstreamTimeout, True), (UpstreamUnavailable, False)])
async def test_outcome_unknown(
    error: type[UpstreamTimeout] | type[UpstreamUnavailable], timed_out: bool
) -> None:
    rest = StubRest(error("in mid-flight"))
    forwarder, ledger = make(rest)
    with pytest.raises(WriteOutcomeUnknown, match="in mid-flight") as unknown:
        await forwarder.forward("/exchange", BODY, JSON)
    assert unknown.value.timed_out is timed_out
    assert len(rest.posted) == 1
    assert spent(ledger) == 3


async def test_a_429_is_the_clients_to_see_and_holds_reads_back_but_no_writes() -> None:
    rest = StubRest(Answer(429, b"null", JSON))
    forwarder, ledger = make(rest)
    assert await forwarder.forward("/exchange", BODY, JSON) == rest.outcome
    assert ledger.room(Lane.READ, now() + REFUSED_HOLD_S - 0.1) == 0
    assert await forwarder.forward("/exchange", BODY, JSON) == rest.outcome
    assert len(rest.posted) == 2


async def test_what_the_budget_can_not_pay_is_refused_and_not_sent() -> None:
    rest = StubRest()
    forwarder, _ = make(rest, per_minute=4)
    await forwarder.forward("/exchange", BODY, JSON)
    with pytest.raises(BudgetExhausted):
        await forwarder.forward("/exchange", BODY, JSON)
    assert len(rest.posted) == 1


@pytest.mark.parametrize("step", range(6))
async def test_cancelled_at_any_step_it_was_sent_once_at_most_and_no_charge_stays_open(step: int) -> None:
    rest = StubRest()
    forwarder, ledger = make(rest)
    task = asyncio.create_task(forwarder.forward("/exchange", BODY, JSON))
    for _ in range(step):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert len(rest.posted) <= 1
    assert not ledger._open
    assert spent(ledger) == 3 * len(rest.posted)
