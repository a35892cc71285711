"""When questions are asked, asked again, and given up, on virtual time."""

import asyncio
from typing import Any

from replica.errors import BudgetExhausted, UpstreamTimeout
from replica.healer import Healer
from replica.streams.backfill import Backfill
from replica.streams.healing import backfill
from replica.subscription import Subscription
from replica.upstream.rest import Answer

USER = "0x" + "a1" * 20
ORDERS = Subscription({"type": "orderUpdates", "user": USER})


class Upstream:
    """Answers with these, one after the other, then with an empty list. `asked`: when."""

    def __init__(self, *answers: Exception | Answer) -> None:
        self._answers = list(answers)
        self.asked: list[float] = []

    async def read(self, type_: str, body: bytes) -> Answer:
        assert type_ == "historicalOrders"
        self.asked.append(asyncio.get_running_loop().time())
        answer = self._answers.pop(0) if self._answers else Answer(200, b"[]", "application/json")
        if isinstance(answer, Exception):
            raise answer
        return answer


async def healed(upstream: Upstream, **changed: Any) -> Backfill:
    settings: dict[str, Any] = {"after_s": 1.0, "within_s": 60.0, "attempts": 3, "retry_s": 2.0}
    healer = Healer(upstream.read, **settings | {"at_a_time": 1} | changed)
    wants = backfill(ORDERS, 0, pages=1)
    assert wants is not None
    await healer.heal(wants)
    assert wants.question() is None
    return wants


async def test_a_question_waits_a_little_and_longer_after_each_failure() -> None:
    upstream = Upstream(UpstreamTimeout("late"), Answer(500, b"null", "application/json"))
    assert (await healed(upstream)).missing is None
    assert upstream.asked == [1.0, 3.0, 7.0]


async def test_it_is_given_up_after_so_many_with_the_last_reason() -> None:
    upstream = Upstream(*(UpstreamTimeout(f"late {number}") for number in range(9)))
    missing = (await healed(upstream)).missing
    assert missing is not None and missing.reason == "late 2"
    assert len(upstream.asked) == 3


async def test_a_spent_budget_is_waited_for_as_long_as_there_is_time() -> None:
    upstream = Upstream(*(BudgetExhausted(7.0) for _ in range(6)))
    assert (await healed(upstream)).missing is None
    assert upstream.asked == [1.0 + 7.0 * number for number in range(7)]
    upstream = Upstream(*(BudgetExhausted(7.0) for _ in range(6)))
    missing = (await healed(upstream, within_s=20.0)).missing
    assert missing is not None and missing.reason == "it could not be had within 20 s"
