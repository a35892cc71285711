"""Reads which coins there are, when somebody asks for one that is not known."""

import asyncio
import logging

from replica.clock import Clock
from replica.errors import ReplicaError
from replica.mirror import Read
from replica.streams.backfill import ask
from replica.universe import MAIN_DEX, Universe
from replica.upstream.wire import read_perp_dexs

logger = logging.getLogger(__name__)

RETRY_S = 5.0
"""After a reading that left something unknown, the next may begin so soon."""


class UniverseReader:
    """`universe` is what was read last. `refresh` reads again, at most once per `every_s` seconds.

    Four requests of 20 weight each: coins that do not exist can be asked for as often as clients like, and
    cost the upstream that much a minute at the most.
    """

    def __init__(self, read: Read, clock: Clock, *, every_s: float = 60.0) -> None:
        self.universe = Universe()
        self._read = read
        self._clock = clock
        self._every_s = every_s
        self._due = clock.monotonic()
        self._reading = asyncio.Lock()

    def knows_coin(self, coin: str) -> bool | None:
        """None: not read yet."""
        return self.universe.knows_coin(coin)

    async def refresh(self) -> None:
        """Read the lists again if it is time, or wait for who does. What can't be had stays as it was."""
        async with self._reading:
            if self._clock.monotonic() < self._due:
                return
            universe = await self._read_all(self.universe)
            self.universe = universe
            self._due = self._clock.monotonic() + (self._every_s if universe.complete else RETRY_S)

    async def _read_all(self, universe: Universe) -> Universe:
        body, _ = await self._ask("perpDexs")
        if body is not None:
            universe = universe.with_dexes(read_perp_dexs(body))
        body, known = await self._ask("allPerpMetas")
        if body is not None:
            universe = universe.with_all_perp_metas(body)
        elif not known:
            # Not every upstream has that type (spec/info.md 2.3).
            metas = [(await self._ask("meta", dex=dex))[0] for dex in universe.dexes or (MAIN_DEX,)]
            universe = universe.with_metas(metas)
        body, _ = await self._ask("spotMeta")
        if body is not None:
            universe = universe.with_spot_meta(body)
        body, known = await self._ask("outcomeMeta")
        if body is not None:
            universe = universe.with_outcome_meta(body)
        elif not known:
            universe = universe.without_outcomes()
        return universe

    async def _ask(self, type_: str, **fields: str) -> tuple[bytes | None, bool]:
        """The body of a good answer, and whether the upstream knows the type (422: it does not)."""
        try:
            answer = await self._read(*ask(type_, fields))
        except ReplicaError as error:
            logger.info("no %s: %s", type_, error)
            return None, True
        return (answer.body if answer.status == 200 else None), answer.status != 422

    def __repr__(self) -> str:
        return f"<UniverseReader {self.universe!r}>"
