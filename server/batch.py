"""Batches: what memory can't answer is fetched first, with one deadline; then the whole batch is read.

The answer itself is read by `queries.batch_clearinghouse_states`, from one version of the store.
"""

import asyncio
from collections.abc import Coroutine, Iterable, Mapping
from typing import Any, NamedTuple

from replica import HeldState, PerpDexs, Replica, ReplicaError
from server.accounts import Accounts, Found
from server.coalesce import Coalescer
from server.freshness import MEMORY, STALE, UPSTREAM, Asked, NotHeld, NotThereYet
from server.queries.batch_clearinghouse_states import (
    ALL_DEXES,
    BatchLimits,
    BatchRequest,
    Look,
    Row,
    all_strings,
    from_memory,
    is_address,
    read_all_dexes,
    read_batch,
    read_single_dex,
)
from server.reply import NOT_HELD, Reply, refusal, upstream_failed

NOT_STRINGS = refusal(400, "users must be a list of addresses")

Obtained = dict[tuple[str, str], HeldState]
"""(user, dex) -> the state that was obtained for one batch."""


class BatchSettings(NamedTuple):
    """Seconds. `concurrency`: upstream reads one batch may have under way."""

    limits: BatchLimits = BatchLimits()
    max_dexes: int = 32
    deadline_s: float = 5.0
    concurrency: int = 32
    perp_dexs_ttl_s: float = 60.0


class Batch:
    """Answers batches. `begin` answers at once what memory can; otherwise it hands out the work to await.

    The mutable state is the one read of the dex list that may be under way.
    """

    def __init__(self, replica: Replica, accounts: Accounts, settings: BatchSettings) -> None:
        self._replica = replica
        self._accounts = accounts
        self._settings = settings
        self._store = replica.store
        self._monotonic = replica.clock.monotonic
        self._dex_flights: Coalescer[PerpDexs] = Coalescer(self._monotonic)
        self._renewing: asyncio.Task[None] | None = None

    async def close(self) -> None:
        """End the reads of the dex list still under way."""
        if self._renewing is not None:
            self._renewing.cancel()
            await asyncio.wait([self._renewing])
        await self._dex_flights.close()

    def begin(self, request: Mapping[str, object], asked: Asked) -> Reply | Coroutine[Any, Any, Reply]:
        """Check and answer one batch: a reply, or a coroutine that will have one within the deadline."""
        batch = read_batch(request, self._settings.limits)
        if isinstance(batch, Reply):
            return batch
        if batch.dex == ALL_DEXES:
            return self._all_dexes(batch, asked) if all_strings(batch.users) else NOT_STRINGS
        if batch.dex:
            dexs = self._held_dexs(asked.now)
            if dexs is None or batch.dex not in dexs.names:
                return self._named_dex(batch, asked)
        if not asked.floors and not asked.directives.no_cache:
            since = asked.now - asked.directives.max_age_s
            reply = from_memory(self._store.table(batch.dex), batch.users, asked.now, since=since)
            if reply is not None:
                return reply
        return self._single_dex(batch, asked) if all_strings(batch.users) else NOT_STRINGS

    async def _single_dex(self, batch: BatchRequest, asked: Asked) -> Reply:
        keys = [(user.lower(), batch.dex) for user in batch.users if is_address(user)]
        obtained = await self._fetch_missing(keys, asked, left_s=self._settings.deadline_s)
        # One cut: no await from here on.
        source = UPSTREAM if obtained else MEMORY
        look = self._look(asked, obtained)
        return read_single_dex(batch.users, batch.dex, look, source, self._monotonic())

    async def _named_dex(self, batch: BatchRequest, asked: Asked) -> Reply:
        """A dex that is not in the list as we know it: read the list again before refusing it.

        At most once a second, so that a misspelt name can't burn the budget.
        """
        if not all_strings(batch.users):
            return NOT_STRINGS
        try:
            dexs = await self._dexs(asked, newer_than=asked.now - 1.0)
        except NotHeld:
            return NOT_HELD
        except ReplicaError as error:
            return upstream_failed(error)
        if batch.dex not in dexs.names:
            return refusal(400, f"unknown dex: {batch.dex[:64]}")
        return await self._single_dex(batch, asked)

    async def _all_dexes(self, batch: BatchRequest, asked: Asked) -> Reply:
        began = self._monotonic()
        try:
            dexs = self._held_dexs(asked.now) or await self._dexs(asked, newer_than=asked.now)
        except NotHeld:
            return NOT_HELD
        except ReplicaError as error:
            return upstream_failed(error)
        served = dexs.names[: self._settings.max_dexes]
        users = [user.lower() for user in dict.fromkeys(batch.users) if is_address(user)]
        keys = [(user, dex) for user in users for dex in served]
        left_s = self._settings.deadline_s - (self._monotonic() - began)
        obtained = await self._fetch_missing(keys, asked, left_s=max(0.0, left_s))
        # One cut: no await from here on.
        source = UPSTREAM if obtained else MEMORY
        look = self._look(asked, obtained)
        reply = read_all_dexes(batch.users, served, look, source, self._monotonic())
        # The contract lets a server cut the list silently; we say what was served of how many.
        reply.headers.append((b"x-replica-dexes-served", b"%d" % len(served)))
        reply.headers.append((b"x-replica-dexes-total", b"%d" % len(dexs.names)))
        return reply

    # -- states ----------------------------------------------------------------------------------------

    def _look(self, asked: Asked, obtained: Obtained) -> Look:
        def look(user: str, dex: str) -> Row | None:
            # What was obtained for this batch may be newer by now, or gone again from a small cache.
            held = self._store.get(user, dex) or obtained.get((user, dex))
            if held is None:
                return None
            # Fresh when the request came, or obtained for it since then: either honours the request.
            if (user, dex) in obtained or asked.from_memory(held):
                return Row(held, stale=False)
            return Row(held, stale=True) if self._accounts.may_stand_in(held, asked) else None

        return look

    async def _fetch_missing(
        self, keys: Iterable[tuple[str, str]], asked: Asked, *, left_s: float
    ) -> Obtained:
        """Fetch what memory can't answer, for `left_s` seconds at most. Returns what could be had.

        The cost is known before it starts: what the budget can't pay for in time is not asked for at all.
        """
        store = self._store
        missing = [key for key in dict.fromkeys(keys) if not asked.from_memory(store.get(*key))]
        if not missing or asked.directives.only_if_cached:
            return {}
        obtained: Obtained = {}
        affordable = self._replica.affordable_fetches(left_s)
        queue = iter(missing[:affordable])
        workers = [
            asyncio.create_task(self._work(queue, asked, left_s, obtained), name="batch fetch")
            for _ in range(min(self._settings.concurrency, affordable, len(missing)))
        ]
        if workers:
            try:
                _, late = await asyncio.wait(workers, timeout=left_s)
            finally:
                for worker in workers:
                    worker.cancel()
            if late:
                await asyncio.wait(late)
        return obtained

    async def _work(
        self, queue: Iterable[tuple[str, str]], asked: Asked, left_s: float, obtained: Obtained
    ) -> None:
        for user, dex in queue:
            try:
                found = await self._accounts.obtain(user, dex, asked, wait_s=left_s, deadline_s=left_s)
            except (ReplicaError, NotThereYet):
                # This user is reported as failed when the batch is read: nothing held would do.
                continue
            if isinstance(found, Found) and found.source != STALE:
                obtained[user, dex] = found.held

    # -- the dex list ----------------------------------------------------------------------------------

    def _held_dexs(self, now: float) -> PerpDexs | None:
        """The dex list from memory, whatever its age: dexes come and go over weeks.

        One past its TTL is renewed behind the answer's back.
        """
        dexs = self._replica.perp_dexs
        if dexs is not None and dexs.asked < now - self._settings.perp_dexs_ttl_s and not self._renewing:
            self._renewing = asyncio.create_task(self._renew(now), name="renew the dex list")
            self._renewing.add_done_callback(lambda _: self._renewed())
        return dexs

    async def _renew(self, now: float) -> None:
        try:
            await self._ask_for_dexs(now)
        except ReplicaError:
            # The list we have goes on serving; the next reader tries again.
            return

    def _renewed(self) -> None:
        self._renewing = None

    async def _dexs(self, asked: Asked, *, newer_than: float) -> PerpDexs:
        """The dex list, asked of the upstream unless it was since `newer_than` (monotonic).

        Raises `NotHeld` or the replica's errors where none can be had.
        """
        dexs = self._replica.perp_dexs
        if dexs is not None and (dexs.asked >= newer_than or asked.directives.only_if_cached):
            return dexs
        if asked.directives.only_if_cached:
            raise NotHeld
        try:
            return await self._ask_for_dexs(newer_than)
        except ReplicaError:
            if dexs is None:
                raise
            return dexs

    async def _ask_for_dexs(self, newer_than: float) -> PerpDexs:
        dexs, _ = await self._dex_flights.run(
            "perpDexs",
            lambda: self._replica.fetch_perp_dexs(deadline_s=self._settings.deadline_s),
            started_after=newer_than,
        )
        return dexs
