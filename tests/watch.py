"""A replica at work, watched: when it came into which phase, and what it holds in the end."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from random import Random
from typing import Any

from replica import Clock, Phase, Tap
from server.app import Program
from server.settings import Settings
from tests.virtual import connector, wall

Phases = list[tuple[float, Phase]]
States = dict[str, dict[str, bytes]]


class Watch:
    """When a replica came into which phase, in seconds since it was started."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.began = asyncio.get_running_loop().time()
        self.phases: Phases = []
        self.reasons: list[str] = []

    async def run(self) -> None:
        while True:
            readiness = self.program.replica.assess()
            if not self.phases or self.phases[-1][1] is not readiness.phase:
                self.phases.append((asyncio.get_running_loop().time() - self.began, readiness.phase))
                self.reasons.append(readiness.reasons[0] if readiness.reasons else "")
            await asyncio.sleep(0.01)

    async def until(self, seconds: float) -> None:
        await asyncio.sleep(self.began + seconds - asyncio.get_running_loop().time())

    def told(self) -> tuple[Phases, list[str], States]:
        """All of it, once it has stopped: what memory holds is then what the last frame made of it."""
        return self.phases, self.reasons, self.states()

    def states(self) -> States:
        store = self.program.replica.store
        return {dex: {user: held.body for user, held in table.items()} for dex, table in store.tables.items()}


@contextlib.asynccontextmanager
async def watched(
    base_url: str, *follow: str, tap: Tap | None = None, **settings: Any
) -> AsyncIterator[Watch]:
    program = Program(
        Settings(**settings),
        base_url=base_url,
        follow=follow,
        clock=Clock(monotonic=asyncio.get_running_loop().time, wall=wall),
        random=Random(7 if tap is None else 1),
        connector=connector,
        tap=tap,
    )
    watch = Watch(program)
    watching = asyncio.create_task(watch.run())
    try:
        await program.start()
        yield watch
    finally:
        watching.cancel()
        await asyncio.wait([watching])
        await program.stop()
