"""Reads of `/info` at the upstream, inside the weight budget."""

from collections.abc import Iterable

from replica.clock import Clock
from replica.errors import BudgetExhausted, UpstreamError
from replica.upstream.budget import REFUSED_HOLD_S, Budget
from replica.upstream.rest import Answer, Rest
from replica.upstream.weight import ROWS_PER_WEIGHT, Lane, info_cost, most_rows_cost, rows_cost
from replica.upstream.wire import count_rows


class Reader:
    """Sends an `/info` body once its weight may be spent, and settles what it really cost."""

    def __init__(self, rest: Rest, budget: Budget, clock: Clock) -> None:
        self._rest = rest
        self._budget = budget
        self._clock = clock

    def affordable(self, types: Iterable[str], lane: Lane, within_s: float) -> int:
        """How many requests of these types, in order, the budget can surely pay for in `within_s` s."""
        room = self._budget.affordable(lane, within_s)
        count = 0
        for type_ in types:
            room -= info_cost(type_) + most_rows_cost(type_)
            if room < 0:
                break
            count += 1
        return count

    async def read(
        self,
        type_: str,
        body: bytes,
        content_type: str,
        *,
        lane: Lane,
        wait_s: float,
        deadline_s: float,
    ) -> tuple[Answer, float]:
        """Ask the upstream. `wait_s` bounds the wait for budget, `deadline_s` the request itself.

        Returns its answer, whatever the status, and when the request left (monotonic). Only a 429 raises:
        `BudgetExhausted`, as the budget's own refusal does. Raises `UpstreamTimeout`, `UpstreamUnavailable`.
        """
        cost = info_cost(type_)
        charge = await self._budget.take(cost + most_rows_cost(type_), lane, wait_s=wait_s, least=cost)
        spent: int | None = None
        started = self._clock.monotonic()
        try:
            answer = await self._rest.post("/info", body, content_type, deadline_s=deadline_s)
            if type_ in ROWS_PER_WEIGHT:
                spent = cost + rows_cost(type_, count_rows(answer.body))
        except UpstreamError as error:
            if not error.sent:
                self._budget.cancel(charge)
            raise
        finally:
            self._budget.settle(charge, spent)
        if answer.status == 429:
            self._budget.refused()
            raise BudgetExhausted(REFUSED_HOLD_S)
        return answer, started
