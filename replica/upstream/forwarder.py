"""Signed actions: the client's bytes, one attempt, and an ambiguous outcome named as such.

Nothing here decodes and encodes: a JSON round trip can change legal bytes, and the signature covers them.
"""

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
        may have: a cut or a time-out after that says nothing about what the exchange did with it.
        """
        charge = await self._budget.take(
            exchange_cost(count_items(body)), Lane.WRITE, wait_s=self._budget_wait
        )
        try:
            answer = await self._rest.post(path, body, content_type, deadline_s=self._deadline)
        except UpstreamError as error:
            if not error.sent:
                self._budget.cancel(charge)
                raise WriteNotSent(str(error)) from error
            raise WriteOutcomeUnknown(str(error), timed_out=isinstance(error, UpstreamTimeout)) from error
        finally:
            self._budget.settle(charge)
        if answer.status == 429:
            self._budget.refused()
        return answer
