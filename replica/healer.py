"""Has the questions of a back-fill answered by `/info`: after a while, a few at a time, and again."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from replica.errors import BudgetExhausted, ReplicaError
from replica.streams.backfill import Backfill, Question
from replica.upstream.rest import Answer

logger = logging.getLogger(__name__)

Read = Callable[[str, bytes], Awaitable[Answer]]
"""(type, body) -> the answer of `/info`, within the weight budget and a deadline. Raises `ReplicaError`."""


class Healer:
    """Times in seconds: `after_s` before the first question, `within_s` for all of one back-fill.

    `attempts` at a question that fails, `retry_s` and its doubles apart. `at_a_time` back-fills.
    """

    def __init__(
        self,
        read: Read,
        *,
        after_s: float,
        within_s: float,
        attempts: int,
        retry_s: float,
        at_a_time: int,
    ) -> None:
        self._read = read
        self._after_s = after_s
        self._within_s = within_s
        self._attempts = attempts
        self._retry_s = retry_s
        self._turns = asyncio.Semaphore(at_a_time)

    async def heal(self, backfill: Backfill) -> None:
        """Until it has no more questions: answered, or failed with a reason. Raises nothing."""
        try:
            async with asyncio.timeout(self._within_s):
                await asyncio.sleep(self._after_s)
                async with self._turns:
                    while (question := backfill.question()) is not None:
                        await self._ask(question, backfill)
        except TimeoutError:
            backfill.fail(f"it could not be had within {self._within_s:g} s")
        except Exception:
            # A fault of ours must not keep live rows waiting.
            logger.exception("healing failed: %r", backfill)
            backfill.fail("it could not be had")

    async def _ask(self, question: Question, backfill: Backfill) -> None:
        """One question, until it is answered or has failed too often."""
        reason = ""
        failures = 0
        while failures < self._attempts:
            wait_s = self._retry_s * 2**failures
            try:
                answer = await self._read(question.type, question.body)
            except BudgetExhausted as error:
                # No failure of the question: it is bounded by the time for all of them.
                wait_s = error.retry_after_s
            except ReplicaError as error:
                reason = str(error)
                failures += 1
            else:
                if backfill.answer(answer.status, answer.body):
                    return
                reason = f"{question.type} answered {answer.status}"
                failures += 1
            if failures < self._attempts:
                await asyncio.sleep(wait_s)
        backfill.fail(reason)
