"""Signed actions: the client's bytes, one attempt, and an ambiguous outcome named as such.

Nothing here decodes and encodes: a JSON round trip can change legal bytes, and the signature covers them.
"""

import asyncio

from replica.errors import UpstreamError, UpstreamTimeout, WriteNotSent, WriteOutcomeUnknown
from replica.upstream.budget import Budget
from replica.upstream.rest import Answer, Rest
from replica.upstream.weight import Lane, exchange_cost
from replica.upstream.wire import count_items


class Forwarder:
    """Sends writes over a pool of their own, in the first lane of the budget."""

    def __init__(self, rest: Rest, budget: Budget, *, deadline_s: float, budget_wait_s: float) -> None:
        self._rest = rest
        self._budget = budget
        self._deadline = deadline_s
        self._budget_wait = budget_wait_s

    async def forward(self, path: str, body: bytes, content_type: str) -> Answer:
        """Send the body once and return what the upstream answered, whatever its status.

        Raises `BudgetExhausted` and `WriteNotSent` when no byte has left, and `WriteOutcomeUnknown` when one
        may have: a cut or a time-out after that says nothing about what the exchange did with it. Nor does
        our own stop: whoever cancels this ends the wait, and the client is told what it has to know.
        """
        cost = exchange_cost(count_items(body))
        try:
            charge = await self._budget.take(cost, Lane.WRITE, wait_s=self._budget_wait)
        except asyncio.CancelledError as stopped:
            raise WriteNotSent("stopped while waiting for weight") from stopped
        try:
            answer = await self._rest.post(path, body, content_type, deadline_s=self._deadline)
        except UpstreamError as error:
            if not error.sent:
                self._budget.cancel(charge)
                raise WriteNotSent(str(error)) from error
            raise WriteOutcomeUnknown(str(error), timed_out=isinstance(error, UpstreamTimeout)) from error
        except asyncio.CancelledError as stopped:
            raise WriteOutcomeUnknown("stopped while waiting for the answer", timed_out=True) from stopped
        finally:
            self._budget.settle(charge)
        if answer.status == 429:
            self._budget.refused()
        return answer
