"""Identical reads in flight share one upstream call."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

V = TypeVar("V")


class Coalescer(Generic[V]):
    """Single flight by key. A flight outlives the caller that started it: its answer is worth keeping.

    The mutable state is `_flights`, the newest flight of each key with the moment it started, and `_tasks`:
    all of them, those too that a newer one of their key has replaced.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._flights: dict[Hashable, tuple[asyncio.Task[V], float]] = {}
        self._tasks: set[asyncio.Task[V]] = set()

    async def run(
        self, key: Hashable, call: Callable[[], Awaitable[V]], *, started_after: float
    ) -> tuple[V, bool]:
        """The result of `call`, or of an identical one under way, and whether it was shared.

        A flight that started before `started_after` is not joined: a read after a write must not be
        answered by a question asked before it. Raises what the call raises, to everyone who waits for it.
        """
        flight = self._flights.get(key)
        joined = flight is not None and flight[1] >= started_after
        if flight is None or not joined:
            flight = asyncio.ensure_future(_run(call)), self._monotonic()
            self._flights[key] = flight
            self._tasks.add(flight[0])
            flight[0].add_done_callback(lambda task: self._landed(key, task))
        # Shielded: one impatient caller must not take the answer from the others.
        return await asyncio.shield(flight[0]), joined

    def _landed(self, key: Hashable, task: "asyncio.Task[V]") -> None:
        self._tasks.discard(task)
        flight = self._flights.get(key)
        if flight is not None and flight[0] is task:
            del self._flights[key]
        if not task.cancelled():
            # Look at it, so that a failure nobody waits for any more is not reported as forgotten.
            task.exception()

    async def close(self) -> None:
        """End what is still under way."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def __len__(self) -> int:
        return len(self._flights)


async def _run(call: "Callable[[], Awaitable[V]]") -> "V":
    return await call()
