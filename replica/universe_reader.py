"""Reads which coins and dexes there are, when somebody asks for one that is not known."""

import asyncio
import logging
from collections.abc import Collection

from replica.clock import Clock
from replica.errors import ReplicaError
from replica.healer import Read
from replica.streams.backfill import ask
from replica.subscription import Subscription
from replica.universe import MAIN_DEX, Universe
from replica.upstream.wire import read_perp_dexs

logger = logging.getLogger(__name__)

RETRY_S = 5.0
"""What a reading left unknown is asked for again so soon, then after twice as long, and so on."""


class UniverseReader:
    """`universe` is what was read last. `refresh` reads again, at most once per `every_s` seconds.

    Four requests of 20 weight each: coins that do not exist can be asked for as often as clients like, and
    cost the upstream that much a minute. What can't be had costs a few more at first.
    """

    def __init__(self, read: Read, clock: Clock, *, every_s: float = 60.0) -> None:
        self.universe = Universe()
        self._read = read
        self._clock = clock
        self._every_s = every_s
        self._due = self._retry = clock.monotonic()
        self._retry_s = RETRY_S
        self._reading = asyncio.Lock()

    def knows(self, subscription: Subscription) -> bool | None:
        """Whether there are the coin and the dex that it names. None: not read yet."""
        return self.universe.knows(subscription)

    async def refresh(self) -> None:
        """Read the lists again if it is time, or wait for who does. What can't be had stays as it was."""
        async with self._reading:
            now = self._clock.monotonic()
            if now >= self._due:
                self.universe = await self._read_parts(self.universe, self.universe.PARTS)
                self._due = self._clock.monotonic() + self._every_s
                self._retry_s = RETRY_S
            elif self.universe.missing and now >= self._retry:
                self.universe = await self._read_parts(self.universe, self.universe.missing)
                self._retry_s = min(2 * self._retry_s, self._every_s)
            else:
                return
            self._retry = self._clock.monotonic() + self._retry_s

    async def _read_parts(self, universe: Universe, parts: Collection[str]) -> Universe:
        if "dexes" in parts:
            body, _ = await self._ask("perpDexs")
            if body is not None:
                universe = universe.with_dexes(read_perp_dexs(body))
        if "perps" in parts:
            body, known = await self._ask("allPerpMetas")
            if body is not None:
                universe = universe.with_all_perp_metas(body)
            elif not known:
                # Not every upstream has that type (spec/info.md 2.3).
                metas = [(await self._ask("meta", dex=dex))[0] for dex in universe.dexes or (MAIN_DEX,)]
                universe = universe.with_metas(metas)
        if "spots" in parts:
            body, _ = await self._ask("spotMeta")
            if body is not None:
                universe = universe.with_spot_meta(body)
        if "outcomes" in parts:
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
