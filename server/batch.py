"""Batches: what memory can't answer is fetched first, with one deadline; then the whole batch is read.

Each part of each row comes from its type's own `Source`; the answer is read by `queries.batches`, from one
version of everything that is held.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Mapping
from typing import Any, NamedTuple

from replica import PerpDexs, Replica, ReplicaError
from server.coalesce import Coalescer
from server.freshness import MEMORY, UPSTREAM, Asked, NotHeld
from server.queries.batch_clearinghouse_states import from_memory
from server.queries.batches import (
    ALL_DEXES,
    KINDS,
    NOT_STRINGS,
    BatchLimits,
    BatchRequest,
    Held,
    Key,
    Kind,
    Look,
    Scope,
    all_strings,
    is_address,
    read_array,
    read_batch,
    read_official,
    read_one,
    read_portfolio,
    read_rows,
    wanted,
)
from server.reply import (
    HANDLER_FAILED,
    NOT_HELD,
    UPSTREAM_TIMEOUT,
    Reply,
    refusal,
    too_many_requests,
    upstream_failed,
)
from server.sources import Source

Read = Callable[[Look, bytes, float], Reply | Key]
"""(what may be served, the source to name, now) -> the answer, or the first read that it lacks."""

Obtained = dict[Key, Held | Reply]
"""What became of the reads that memory could not answer."""


class BatchSettings(NamedTuple):
    """Seconds. `concurrency`: upstream reads one batch may have under way.

    `official`: `batchClearinghouseStates` on `/info` answers as the exchange's own server does: an array.
    """

    limits: BatchLimits = BatchLimits()
    max_dexes: int = 32
    deadline_s: float = 5.0
    concurrency: int = 32
    perp_dexs_ttl_s: float = 60.0
    official: bool = False


class _Asked(NamedTuple):
    """One batch on its way: what it is of, which dexes it covers, and how its answer is read."""

    kind: Kind
    users: tuple[str, ...]  # canonical, each once, addresses alone
    asked: Asked
    read: Callable[[Scope], Read]


class Batch:
    """Answers batches. `begin` answers at once what memory can; otherwise it hands out the work to await.

    `sources` by type, one for every part of every kind. The mutable state is the one read of the dex list
    that may be under way.
    """

    def __init__(self, replica: Replica, sources: Mapping[str, Source], settings: BatchSettings) -> None:
        self._replica = replica
        self._sources = sources
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

    def begin(
        self, type_: str, request: Mapping[str, object], asked: Asked, *, official: bool = False
    ) -> Reply | Coroutine[Any, Any, Reply]:
        """Check and answer one request of a type of `KINDS`: a reply, or a coroutine that will have it.

        `official`: as the exchange itself answers `batchClearinghouseStates`, which is all it has of these.
        """
        if type_ == "portfolioState":
            one = read_portfolio(request)
            return one if isinstance(one, Reply) else self._begin_one(KINDS[type_], one, asked)
        if official and type_ == "batchClearinghouseStates":
            batch = read_official(request, self._settings.limits)
            return batch if isinstance(batch, Reply) else self._begin_official(KINDS[type_], batch, asked)
        kind = KINDS[type_]
        batch = read_batch(request, self._settings.limits, per_dex=kind.per_dex)
        if isinstance(batch, Reply):
            return batch
        if type_ == "batchClearinghouseStates" and batch.dex != ALL_DEXES:
            reply = self._at_once(batch, asked)
            if reply is not None:
                return reply
        if not all_strings(batch.users):
            return NOT_STRINGS
        return self._begin_rows(kind, batch, asked)

    def _at_once(self, batch: BatchRequest, asked: Asked) -> Reply | None:
        """The hot path: a batch of one dex whose states are all in memory, and fresh enough."""
        if asked.floors or asked.directives.no_cache:
            return None
        if batch.dex:
            dexs = self._held_dexs(asked.now)
            if dexs is None or batch.dex not in dexs.names:
                return None
        since = asked.now - asked.directives.max_age_s
        return from_memory(self._store.table(batch.dex), batch.users, asked.now, since=since)

    # -- the three forms of an answer ------------------------------------------------------------------

    def _begin_rows(
        self, kind: Kind, batch: BatchRequest, asked: Asked
    ) -> Reply | Coroutine[Any, Any, Reply]:
        users = tuple(dict.fromkeys(user.lower() for user in batch.users if is_address(user)))

        def read(scope: Scope) -> Read:
            return lambda look, source, now: read_rows(kind, batch.users, scope, look, source, now)

        return self._begin(_Asked(kind, users, asked, read), batch.dex)

    def _begin_official(
        self, kind: Kind, batch: BatchRequest, asked: Asked
    ) -> Reply | Coroutine[Any, Any, Reply]:
        if batch.dex == ALL_DEXES:
            return HANDLER_FAILED
        users = tuple(dict.fromkeys(user.lower() for user in batch.users))

        def read(scope: Scope) -> Read:
            return lambda look, source, now: read_array(kind, batch.users, scope, look, source, now)

        return self._begin(_Asked(kind, users, asked, read), batch.dex, unknown_dex=HANDLER_FAILED)

    def _begin_one(self, kind: Kind, batch: BatchRequest, asked: Asked) -> Reply | Coroutine[Any, Any, Reply]:
        user = batch.users[0].lower()

        def read(scope: Scope) -> Read:
            return lambda look, source, now: read_one(kind, user, scope, look, source, now)

        return self._begin(_Asked(kind, (user,), asked, read), batch.dex)

    # -- from the dexes to the answer ------------------------------------------------------------------

    def _begin(
        self, batch: _Asked, dex: str, *, unknown_dex: Reply | None = None
    ) -> Reply | Coroutine[Any, Any, Reply]:
        if not batch.kind.per_dex or not dex:
            return self._answer(batch, Scope(("",), by_name=False))
        dexs = self._held_dexs(batch.asked.now)
        if dexs is not None and dex == ALL_DEXES:
            return self._answer(batch, self._all(dexs), total=len(dexs.names))
        if dexs is not None and dex in dexs.names:
            return self._answer(batch, Scope((dex,), by_name=False))
        return self._with_dexs(batch, dex, unknown_dex or refusal(400, f"unknown dex: {dex[:64]}"))

    async def _with_dexs(self, batch: _Asked, dex: str, unknown_dex: Reply) -> Reply:
        """No dex list yet, or a dex that is not in the list as we know it: read it before refusing anything.

        For a name at most once a second, so that a misspelt one can't burn the budget.
        """
        began = self._monotonic()
        now = batch.asked.now
        try:
            dexs = await self._dexs(batch.asked, newer_than=now if dex == ALL_DEXES else now - 1.0)
        except NotHeld:
            return NOT_HELD
        except ReplicaError as error:
            return upstream_failed(error)
        took_s = self._monotonic() - began
        if dex == ALL_DEXES:
            reply = self._answer(batch, self._all(dexs), total=len(dexs.names), took_s=took_s)
        elif dex in dexs.names:
            reply = self._answer(batch, Scope((dex,), by_name=False), took_s=took_s)
        else:
            return unknown_dex
        return reply if isinstance(reply, Reply) else await reply

    def _all(self, dexs: PerpDexs) -> Scope:
        return Scope(dexs.names[: self._settings.max_dexes], by_name=True)

    def _answer(
        self, batch: _Asked, scope: Scope, *, total: int = 0, took_s: float = 0.0
    ) -> Reply | Coroutine[Any, Any, Reply]:
        """From memory if that has all of it, else what is missing is fetched. `total`: dexes there are."""
        got: Obtained = {}
        missing = []
        for key in wanted(batch.kind, batch.users, scope):
            at_once = self._sources[key.type].at_once(key.user, key.dex, batch.asked)
            if at_once is None:
                missing.append(key)
            else:
                got[key] = at_once
        if missing:
            return self._fetch_and_read(batch, scope, missing, total, took_s)
        # One cut: nothing was awaited since the first look.
        return self._read(batch, scope, got, MEMORY, total)

    async def _fetch_and_read(
        self, batch: _Asked, scope: Scope, missing: list[Key], total: int, took_s: float
    ) -> Reply:
        obtained = await self._fetch(missing, batch.asked, max(0.0, self._settings.deadline_s - took_s))
        # One cut: nothing is awaited from here on.
        got: Obtained = {}
        for key in wanted(batch.kind, batch.users, scope):
            last = self._last_look(key, batch.asked, obtained.get(key))
            if last is not None:
                got[key] = last
        fetched = any(isinstance(one, Held) and not one.stale for one in obtained.values())
        return self._read(batch, scope, got, UPSTREAM if fetched else MEMORY, total)

    def _read(self, batch: _Asked, scope: Scope, got: Obtained, source: bytes, total: int) -> Reply:
        def look(key: Key) -> Held | None:
            held = got.get(key)
            return held if isinstance(held, Held) else None

        reply = batch.read(scope)(look, source, self._monotonic())
        if isinstance(reply, Key):
            return _why(got.get(reply), batch.asked)
        if scope.by_name:
            # The contract lets a server cut the list silently; we say what was served of how many.
            reply.headers.append((b"x-replica-dexes-served", b"%d" % len(scope.dexes)))
            reply.headers.append((b"x-replica-dexes-total", b"%d" % total))
        return reply

    # -- parts -----------------------------------------------------------------------------------------

    def _last_look(self, key: Key, asked: Asked, obtained: Held | Reply | None) -> Held | Reply | None:
        """What is served for one read after everything was obtained that could be."""
        type_, user, dex = key
        source = self._sources[type_]
        at_once = source.at_once(user, dex, asked)
        if isinstance(at_once, Held):
            return at_once
        if isinstance(obtained, Held) and not obtained.stale:
            # It may be newer by now, or gone again from a small cache. Fresh when the request came, or
            # obtained for it since then: either honours the request.
            return Held(source.newest(user, dex) or obtained.document, stale=False)
        document = source.stand_in(user, dex, asked)
        return Held(document, stale=True) if document is not None else obtained or at_once

    async def _fetch(self, missing: list[Key], asked: Asked, left_s: float) -> Obtained:
        """Fetch what memory can't answer, for `left_s` seconds at most.

        The cost is known before it starts: what the budget can't pay for in time is not asked for at all.
        """
        if asked.directives.only_if_cached:
            return {}
        affordable = self._replica.affordable((key.type for key in missing), left_s)
        obtained: Obtained = dict.fromkeys(missing[affordable:], too_many_requests(1.0))
        queue = iter(missing[:affordable])
        workers = [
            asyncio.create_task(self._work(queue, asked, left_s, obtained), name="batch fetch")
            for _ in range(min(self._settings.concurrency, affordable))
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

    async def _work(self, queue: Iterator[Key], asked: Asked, left_s: float, obtained: Obtained) -> None:
        for key in queue:
            obtained[key] = await self._sources[key.type].obtain(key.user, key.dex, asked, left_s)

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


def _why(got: Held | Reply | None, asked: Asked) -> Reply:
    """Why a read could not be had: what its source said, or that nothing was said in time."""
    if isinstance(got, Reply):
        return got
    return NOT_HELD if asked.directives.only_if_cached else UPSTREAM_TIMEOUT
