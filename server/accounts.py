"""Account states for readers: from memory while that honours the read, else by one shared upstream call."""

import asyncio
from collections.abc import Callable
from typing import NamedTuple

import orjson

from replica import Answer, Fetched, HeldState, Replica, ReplicaError
from server.coalesce import Coalescer
from server.freshness import COALESCED, MEMORY, STALE, UPSTREAM, Asked, NotHeld, NotThereYet


class Found(NamedTuple):
    """A state that answers the request, and where it came from."""

    held: HeldState
    source: bytes


class AccountsSettings(NamedTuple):
    """Seconds."""

    stale_if_error_s: float = 60.0
    not_before_wait_s: float = 3.0


class Accounts:
    """One read path for single reads and batches alike."""

    def __init__(self, replica: Replica, settings: AccountsSettings) -> None:
        self._replica = replica
        self._settings = settings
        self._store = replica.store
        self._monotonic = replica.clock.monotonic
        self._flights: Coalescer[Fetched] = Coalescer(self._monotonic)

    async def close(self) -> None:
        await self._flights.close()

    async def obtain(
        self,
        user: str,
        dex: str,
        asked: Asked,
        *,
        wait_s: float | None = None,
        deadline_s: float | None = None,
    ) -> Found | Answer:
        """Get a state that memory can't answer as it is (`Asked.from_memory` said no).

        Asks with a request of our own making: what is remembered under a user and dex must be the answer to
        just that, whatever else a client's body says. Returns the upstream's own answer where that is no
        state (an unknown dex). Raises `NotHeld`, `NotThereYet`, and the replica's errors where no stale
        state may stand in.
        """
        held = self._store.get(user, dex)
        if asked.directives.only_if_cached:
            if held is not None and self.may_stand_in(held, asked):
                return Found(held, STALE)
            raise NotHeld
        if held is not None and self._feed_will_do(held, asked):
            return Found(await self._wait(user, dex, asked), MEMORY)
        try:
            fetched, joined = await self._flights.run(
                (user, dex),
                lambda: self._replica.fetch_account(
                    user, dex, request_body(user, dex), wait_s=wait_s, deadline_s=deadline_s
                ),
                started_after=asked.started_after,
            )
        except ReplicaError:
            held = self._store.get(user, dex)
            if held is not None and self.may_stand_in(held, asked):
                return Found(held, STALE)
            raise
        held = self._store.get(user, dex)
        if fetched.held is None:
            answer = fetched.answer
            if answer.status >= 500 and held is not None and self.may_stand_in(held, asked):
                return Found(held, STALE)
            return answer
        # A cache that is smaller than what is asked of it may have let go of the state again.
        held = held or fetched.held
        if not all(floor.met_by(held) for floor in asked.floors):
            # The upstream itself is not there yet: its next state may come by push.
            held = await self._wait(user, dex, asked)
        return Found(held, COALESCED if joined else UPSTREAM)

    def may_stand_in(self, held: HeldState, asked: Asked) -> bool:
        """Whether a state that is not fresh any more may answer, marked stale, when the upstream can't."""
        return asked.may_stand_in(held, self._monotonic(), self._settings.stale_if_error_s)

    def _feed_will_do(self, held: HeldState, asked: Asked) -> bool:
        """Whether all that is missing is a push that is due anyway: then the upstream is left alone."""
        unmet = [floor for floor in asked.floors if not floor.met_by(held)]
        return (
            bool(unmet)
            and all(floor.patient for floor in unmet)
            and held.live(asked.now)
            and not asked.directives.no_cache
        )

    async def _wait(self, user: str, dex: str, asked: Asked) -> HeldState:
        """Wait for a state that meets the floors. Raises `NotThereYet` after the bounded wait."""

        def met() -> HeldState | None:
            held = self._store.get(user, dex)
            return held if held is not None and all(floor.met_by(held) for floor in asked.floors) else None

        held = met()
        if held is None and await _wait_for(
            lambda: met() is not None, user, dex, self._store.watch, self._settings.not_before_wait_s
        ):
            held = met()
        if held is None:
            raise NotThereYet(max(floor.ms for floor in asked.floors))
        return held


async def _wait_for(
    met: Callable[[], bool],
    user: str,
    dex: str,
    watch: Callable[[str, str, Callable[[], None]], Callable[[], None]],
    wait_s: float,
) -> bool:
    arrived = asyncio.Event()
    # No await between the check by the caller and this registration: a push in between would be missed.
    unwatch = watch(user, dex, lambda: arrived.set() if met() else None)
    try:
        async with asyncio.timeout(wait_s):
            await arrived.wait()
        return True
    except TimeoutError:
        return False
    finally:
        unwatch()


def request_body(user: str, dex: str) -> bytes:
    """A clearinghouseState request of our own making; `dex` is left out for the main one."""
    request = {"type": "clearinghouseState", "user": user}
    if dex:
        request["dex"] = dex
    return orjson.dumps(request)
