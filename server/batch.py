"""`batchClearinghouseStates`, as the batch contract has it: many users, one answer, one cut.

A batch is read from one version of the store in one stretch without `await`. What memory can't answer is
fetched first, with bounded concurrency and one deadline; then the whole batch is read.
"""

import asyncio
import re
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from replica import HeldState, PerpDexs, Replica, ReplicaError
from server.accounts import Accounts, Asked, NotHeld, NotThereYet
from server.coalesce import Coalescer
from server.freshness import MEMORY, STALE, UPSTREAM, batch_provenance
from server.reply import (
    BATCH_NO_USERS,
    BATCH_TOO_MANY,
    BATCH_TOO_MANY_ALL_DEXES,
    JSON,
    NOT_HELD,
    Reply,
    refusal,
    upstream_failed,
)

ALL_DEXES = "ALL_DEXES"
NATIVE = "native"
is_address = re.compile(r"0x[0-9a-fA-F]{40}").fullmatch


class BatchSettings(NamedTuple):
    """Limits of the contract. Seconds."""

    max_users: int = 1000
    max_users_all_dexes: int = 100
    max_dexes: int = 32
    deadline_s: float = 5.0
    concurrency: int = 32
    perp_dexs_ttl_s: float = 60.0


class BatchRequest(NamedTuple):
    """A well-formed batch. `users` as the caller spelt them; `dex` the wire's name, or ALL_DEXES."""

    users: Sequence[str]
    dex: str


def read_batch(request: Mapping[str, object], settings: BatchSettings) -> BatchRequest | Reply:
    """Check the request against the contract's error table, in its order."""
    users = request.get("users")
    dex = request.get("dex")
    if users is None or users == []:
        return BATCH_NO_USERS
    if not isinstance(users, list):
        return refusal(400, "users must be a list of addresses")
    if dex is None:
        dex = ""
    elif not isinstance(dex, str):
        return refusal(400, "dex must be a string")
    if dex == ALL_DEXES:
        if len(users) > settings.max_users_all_dexes:
            return BATCH_TOO_MANY_ALL_DEXES
    elif len(users) > settings.max_users:
        return BATCH_TOO_MANY
    return BatchRequest(users, dex)


class _Cut:
    """What one stretch over the store gave: the rows, and what their headers have to say."""

    __slots__ = ("failed", "newest", "oldest", "received", "rows", "stale")

    def __init__(self) -> None:
        self.rows: list[bytes] = []
        self.failed: list[str] = []
        self.oldest = 1 << 62
        self.newest = 0
        self.received = 1e18
        self.stale = False

    def saw(self, held: HeldState) -> None:
        if held.as_of < self.oldest:
            self.oldest = held.as_of
        if held.as_of > self.newest:
            self.newest = held.as_of
        if held.received < self.received:
            self.received = held.received

    def reply(self, source: bytes, now: float) -> Reply:
        body = b"".join(
            (
                b'{"successful_states":[',
                b",".join(self.rows),
                b'],"failed_wallets":',
                orjson.dumps(self.failed) if self.failed else b"[]",
                b"}",
            )
        )
        if not self.rows:
            headers = batch_provenance(source, 0, 0, 0.0)
        else:
            headers = batch_provenance(
                STALE if self.stale else source, self.oldest, self.newest, now - self.received
            )
        headers.append((b"content-type", JSON))
        return Reply(200, headers, body)


class Batch:
    """Answers batches. `begin` answers at once what memory can; otherwise it hands out the work to await."""

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
        batch = read_batch(request, self._settings)
        if isinstance(batch, Reply):
            return batch
        if batch.dex == ALL_DEXES:
            return self._all_dexes(batch, asked)
        if not batch.dex:
            reply = self._at_once(batch, asked)
            return reply if reply is not None else self._single_dex(batch, asked)
        dexs = self._held_dexs(asked.now)
        if dexs is None or batch.dex not in dexs.names:
            return self._named_dex(batch, asked)
        reply = self._at_once(batch, asked)
        return reply if reply is not None else self._single_dex(batch, asked)

    # -- one dex ---------------------------------------------------------------------------------------

    def _at_once(self, batch: BatchRequest, asked: Asked) -> Reply | None:
        """The whole batch from memory, or None if some user of it can't be answered so.

        This is the hot path: one look-up per user and one join, and nothing else.
        """
        directives = asked.directives
        if asked.floors or directives.no_cache:
            return None
        now = asked.now
        # Received before this is too old for the request, whatever we think of it.
        since = now - directives.max_age_s
        table = self._store.table(batch.dex)
        rows: list[bytes] = []
        append = rows.append
        oldest = 1 << 62
        newest = 0
        first = 1e18
        try:
            for user in batch.users:
                # A user in any spelling but the canonical one is not a key: the long way finds it.
                held = table[user]
                if held.fresh_until <= now:
                    return None
                as_of = held.as_of
                if as_of < oldest:
                    oldest = as_of
                if as_of > newest:
                    newest = as_of
                if held.received < first:
                    first = held.received
                append(held.piece)
        except (KeyError, TypeError):
            return None
        if first < since:
            return None
        body = b"".join((b'{"successful_states":[', b",".join(rows), b'],"failed_wallets":[]}'))
        headers = batch_provenance(MEMORY, oldest, newest, now - first)
        headers.append((b"content-type", JSON))
        return Reply(200, headers, body)

    async def _named_dex(self, batch: BatchRequest, asked: Asked) -> Reply:
        """A dex that is not in the list as we know it: read the list again before refusing it.

        At most once a second, so that a misspelt name can't burn the budget.
        """
        try:
            dexs = await self._dexs(asked, newer_than=asked.now - 1.0)
        except NotHeld:
            return NOT_HELD
        except ReplicaError as error:
            return upstream_failed(error)
        if batch.dex not in dexs.names:
            return refusal(400, f"unknown dex: {batch.dex[:64]}")
        return await self._single_dex(batch, asked)

    async def _single_dex(self, batch: BatchRequest, asked: Asked) -> Reply:
        for user in batch.users:
            if not isinstance(user, str):
                return refusal(400, "users must be a list of addresses")
        keys = [(user.lower(), batch.dex) for user in batch.users if is_address(user)]
        fetched = await self._fetch_missing(keys, asked)
        return self._read_single_dex(batch, asked, fetched)

    def _read_single_dex(self, batch: BatchRequest, asked: Asked, fetched: bool) -> Reply:
        # One cut: no await in here.
        cut = _Cut()
        for user in batch.users:
            held = self._row(user.lower(), batch.dex, asked, cut) if is_address(user) else None
            if held is None:
                cut.failed.append(user)
            elif user.islower():
                cut.rows.append(held.piece)
            else:
                cut.rows.append(b'["%s",%s]' % (user.encode(), held.body))
        return cut.reply(UPSTREAM if fetched else MEMORY, self._monotonic())

    # -- all dexes -------------------------------------------------------------------------------------

    async def _all_dexes(self, batch: BatchRequest, asked: Asked) -> Reply:
        for user in batch.users:
            if not isinstance(user, str):
                return refusal(400, "users must be a list of addresses")
        began = self._monotonic()
        try:
            dexs = self._held_dexs(asked.now) or await self._dexs(asked, newer_than=asked.now)
        except NotHeld:
            return NOT_HELD
        except ReplicaError as error:
            return upstream_failed(error)
        served = dexs.names[: self._settings.max_dexes]
        keys = [
            (user.lower(), dex) for user in dict.fromkeys(batch.users) if is_address(user) for dex in served
        ]
        fetched = await self._fetch_missing(keys, asked, spent_s=self._monotonic() - began)
        reply = self._read_all_dexes(batch, asked, served, fetched)
        # The contract lets a server cut the list silently; we say what was served of how many.
        reply.headers.append((b"x-replica-dexes-served", b"%d" % len(served)))
        reply.headers.append((b"x-replica-dexes-total", b"%d" % len(dexs.names)))
        return reply

    def _read_all_dexes(self, batch: BatchRequest, asked: Asked, dexs: Sequence[str], fetched: bool) -> Reply:
        # One cut: no await in here.
        cut = _Cut()
        names = [(dex, orjson.dumps(dex or NATIVE)) for dex in dexs]
        for user in batch.users:
            states = []
            if is_address(user):
                for dex, name in names:
                    held = self._row(user.lower(), dex, asked, cut)
                    if held is not None:
                        states.append(b"%s:%s" % (name, held.body))
            if states:
                cut.rows.append(b'["%s",{%s}]' % (user.encode(), b",".join(states)))
            else:
                cut.failed.append(user)
        return cut.reply(UPSTREAM if fetched else MEMORY, self._monotonic())

    # -- both ------------------------------------------------------------------------------------------

    def _row(self, user: str, dex: str, asked: Asked, cut: _Cut) -> HeldState | None:
        """The state that goes into the answer for one user and dex, or None."""
        held = self._store.get(user, dex)
        if held is None:
            return None
        # Fresh when the request came, or asked for on its behalf since then: either honours the request.
        honoured = asked.from_memory(held) or (held.reflects >= asked.now and asked.accepts(held))
        if not honoured:
            if not self._accounts.may_stand_in(held, asked):
                return None
            cut.stale = True
        cut.saw(held)
        return held

    async def _fetch_missing(
        self, keys: Iterable[tuple[str, str]], asked: Asked, *, spent_s: float = 0.0
    ) -> bool:
        """Fetch what memory can't answer, until the deadline. True if anything had to be fetched.

        Its cost is known before it starts: what the budget can't pay for in time is not asked for at all.
        """
        store = self._store
        missing = [key for key in dict.fromkeys(keys) if not asked.from_memory(store.get(key[0], key[1]))]
        if not missing or asked.directives.only_if_cached:
            return False
        left_s = max(0.0, self._settings.deadline_s - spent_s)
        affordable = self._replica.affordable_fetches(left_s)
        queue = iter(missing[:affordable])
        workers = [
            asyncio.create_task(self._work(queue, asked, left_s), name="batch fetch")
            for _ in range(min(self._settings.concurrency, affordable, len(missing)))
        ]
        if workers:
            _, late = await asyncio.wait(workers, timeout=left_s)
            for worker in late:
                worker.cancel()
            if late:
                await asyncio.wait(late)
        return True

    async def _work(self, queue: Iterable[tuple[str, str]], asked: Asked, left_s: float) -> None:
        for user, dex in queue:
            try:
                await self._accounts.obtain(user, dex, asked, wait_s=left_s, deadline_s=left_s)
            except (ReplicaError, NotThereYet):
                # This user is reported as failed when the batch is read: it holds nothing that would do.
                continue

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
