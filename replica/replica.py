"""The reflector: runs the feed, applies what it brings to the store, fetches what it does not bring.

This is the one object the server holds. Everything it hands out is read-only or goes through a method here.
"""

import asyncio
import logging
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import NamedTuple

import aiohttp

from replica.clock import Clock
from replica.composed import Composed
from replica.errors import ReplicaError, UpstreamUnavailable
from replica.events import AccountFetched, AccountStates, FeedEvent, FollowingEnded, Pushed, State
from replica.keeping import KeepSettings, streams_to_keep
from replica.listings import Listings
from replica.mirror import Mirror, MirrorSettings
from replica.reading import LATE_AFTER_S, LiveBounds, Reading
from replica.state.candles import CandleStore
from replica.state.clearinghouse import HeldState
from replica.state.documents import LISTINGS, OUTCOMES, Document, DocumentLimits, DocumentStore
from replica.state.readiness import Readiness
from replica.state.store import Bounds, Store
from replica.state.upstream_clock import UpstreamClock
from replica.subscription import Subscription, all_dexs_clearinghouse_state
from replica.tracking import Plan, plan
from replica.universe_reader import UniverseReader
from replica.upstream.backoff import Backoff
from replica.upstream.budget import Budget
from replica.upstream.feed import FeedSettings
from replica.upstream.fleet import Fleet
from replica.upstream.forwarder import Forwarder
from replica.upstream.reader import Reader
from replica.upstream.rest import Answer, Rest
from replica.upstream.tap import Tap
from replica.upstream.usage import LedgerLimits
from replica.upstream.weight import Lane, WeightLedger
from replica.upstream.wire import read_answer, read_perp_dexs

logger = logging.getLogger(__name__)

JSON = "application/json"

FUTURE_S = 60.0
"""No state is from so far ahead. Should it be our own clock that is behind, states count by their arrival."""

KEEP_AGAIN_S = 30.0
"""Streams that there was no room for are asked for again after this; and there may be new dexes."""

REFUSALS = DocumentLimits(count=2_000, size=8 << 20)
"""How many refused questions are remembered, whatever becomes of the answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaSettings:
    """What the replica needs to know. Times in seconds, limits 0 for none."""

    base_url: str
    follow: tuple[str, ...] = ()
    bounds: Bounds = field(default_factory=Bounds)
    feed: FeedSettings = field(default_factory=FeedSettings)
    ledger: LedgerLimits = field(default_factory=LedgerLimits)
    mirror: MirrorSettings = field(default_factory=MirrorSettings)
    keep: KeepSettings = field(default_factory=lambda: KeepSettings(account=(), market=()))
    live: LiveBounds = field(default_factory=LiveBounds)
    reconnect_min_s: float = 0.5
    reconnect_max_s: float = 30.0
    weight_per_minute: int = 1200
    write_reserve_weight: int = 120
    connect_timeout_s: float = 3.0
    read_timeout_s: float = 10.0
    write_timeout_s: float = 20.0
    budget_wait_s: float = 1.0
    read_connections: int = 64
    write_connections: int = 32
    perp_dexs_ttl_s: float = 60.0
    universe_refresh_s: float = 60.0
    documents: DocumentLimits = field(default_factory=DocumentLimits)
    error_ttl_s: float = 3.0


@dataclass(frozen=True, slots=True)
class PerpDexs:
    """The dex list in the upstream's order, `""` (the main dex) first, and when we asked (monotonic)."""

    names: tuple[str, ...]
    asked: float


class Fetched(NamedTuple):
    """An answer to a read of an account state; `held` what memory has since, None if it is no state."""

    answer: Answer
    held: HeldState | None


class Replica:
    """`start`, use, `stop`. The clock and the randomness come from the composition root.

    `store` is for reading; it changes only between two awaits of the caller.
    """

    def __init__(
        self,
        settings: ReplicaSettings,
        *,
        clock: Clock,
        random: Random,
        connector: Callable[[int, float], aiohttp.BaseConnector] | None = None,
        tap: Tap | None = None,
    ) -> None:
        self.settings = settings
        self.clock = clock
        self.store = Store(settings.bounds)
        # No question is under way for longer than it waits for the budget, the connection and the answer.
        keep_s = settings.budget_wait_s + settings.connect_timeout_s + settings.read_timeout_s + 1.0
        self.documents = DocumentStore(settings.documents, keep_s=keep_s)
        self.refusals = DocumentStore(REFUSALS, keep_s=keep_s)
        self.candles = CandleStore()
        self._listings = Listings()
        self.upstream_clock = UpstreamClock()
        self.readiness = Readiness()
        self.plan: Plan = plan(settings.follow, users_limit=settings.ledger.users)
        self.feed = Fleet(
            _websocket_url(settings.base_url),
            self._apply,
            settings=settings.feed,
            limits=settings.ledger,
            backoff=lambda: Backoff(
                first_s=settings.reconnect_min_s,
                longest_s=settings.reconnect_max_s,
                healthy_after_s=settings.feed.healthy_after_s,
                random=random,
            ),
            clock=clock,
            tap=tap,
        )
        self.weight = WeightLedger(
            per_minute=settings.weight_per_minute, write_reserve=settings.write_reserve_weight
        )
        budget = Budget(self.weight, clock)
        self._reads = Rest(
            settings.base_url,
            connections=settings.read_connections,
            connect_timeout_s=settings.connect_timeout_s,
            idle_s=15.0,
            connector=connector,
            tap=tap,
        )
        self._writes = Rest(
            settings.base_url,
            connections=settings.write_connections,
            connect_timeout_s=settings.connect_timeout_s,
            # Short: a write that meets a connection the far end is just closing has an unknown outcome.
            idle_s=5.0,
            connector=connector,
            tap=tap,
        )
        self._reader = Reader(self._reads, budget, clock)
        self._forwarder = Forwarder(
            self._writes, budget, deadline_s=settings.write_timeout_s, budget_wait_s=settings.budget_wait_s
        )
        self._streams = Mirror(
            self.feed,
            partial(self._ask, Lane.HEAL),
            clock,
            settings.mirror,
            upstream_ms=self.upstream_clock.now_ms,
        )
        self.mirror = Composed(self._streams, partial(self._ask, Lane.HEAL))
        self.reading = Reading(self._streams, self.feed.heard, clock, self.upstream_clock, settings.live)
        self._universe = UniverseReader(
            partial(self._ask, Lane.READ), clock, every_s=settings.universe_refresh_s
        )
        self._perp_dexs: PerpDexs | None = None
        self._feeding: asyncio.Task[None] | None = None
        self._warming: asyncio.Task[None] | None = None
        self._keeping: asyncio.Task[None] | None = None

    # -- life ------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Open the pools and dial the feed. Returns at once; `assess` tells when the replica is ready."""
        await self._reads.open()
        await self._writes.open()
        self.feed.want(all_dexs_clearinghouse_state(user) for user in self.plan.live)
        self._feeding = asyncio.create_task(self.feed.run(), name="feed")
        self._feeding.add_done_callback(_report_death)
        self._warming = asyncio.create_task(self._warm(), name="warm up")
        self._keeping = asyncio.create_task(self._keep(), name="keep streams")

    async def stop(self) -> None:
        """Give up the streams, close the feed, then the pools. Waits for all."""
        self.readiness.stop()
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.wait([self._keeping])
        await self.mirror.close()
        await self._streams.close()
        for task in (self._warming, self._feeding):
            if task is not None:
                task.cancel()
                await asyncio.wait([task])
        await self._reads.close()
        await self._writes.close()

    def assess(self) -> Readiness:
        """Look at everything readiness depends on, now."""
        self.readiness.assess(tuple(self._reasons_against()))
        return self.readiness

    def _reasons_against(self) -> Iterable[str]:
        if not self.feed.connected:
            yield f"feed down: {self.feed.down_reason}"
        now = self.clock.monotonic()
        store = self.store
        absent = stale = 0
        without_room = {subscription.user for subscription in self.feed.without_room()}
        followed = [user for user in self.plan.live if user not in without_room]
        if self.plan.live and not followed:
            yield "the upstream lets us follow none of the tracked accounts"
        for user in followed:
            held = store.get(user, "")
            if held is None:
                absent += 1
            elif not held.live(now):
                stale += 1
        if absent:
            yield f"{absent} of {len(followed)} followed accounts have no state yet"
        if stale:
            yield f"{stale} of {len(followed)} followed accounts are not live"

    @property
    def waiting_for_room(self) -> int:
        """How many tracked accounts are not followed: over the limit we know, or refused by the upstream."""
        return len(self.plan.waiting) + len(self.feed.without_room())

    def upstream_now_ms(self) -> int:
        """The upstream's clock, rather too late than too early."""
        # The estimate is a lower bound: it lags as much as every state did that it was made of. Our own
        # clock does not; should that be ahead, a floor set by it costs one read of the upstream.
        told = self.upstream_clock.now_ms(self.clock.monotonic())
        return max(int(self.clock.wall() * 1000), told or 0)

    # -- reading from the upstream ---------------------------------------------------------------------

    async def fetch_account(
        self,
        user: str,
        dex: str,
        body: bytes,
        *,
        wait_s: float | None = None,
        deadline_s: float | None = None,
    ) -> Fetched:
        """Ask the upstream for one clearinghouseState and remember it. `body` is the request to send.

        Returns the upstream's answer whatever it is; only a state is remembered.
        Raises `BudgetExhausted`, `UpstreamTimeout`, `UpstreamUnavailable`.
        """
        answer, started = await self._read("clearinghouseState", body, JSON, wait_s, deadline_s)
        state = read_answer(dex, answer.body) if answer.status == 200 else None
        if state is None:
            return Fetched(answer, None)
        (state,) = self._credible((state,))
        now = self.clock.monotonic()
        self.upstream_clock.observe(state.time, now)
        self.store.apply(AccountFetched(user, state, started), now)
        return Fetched(answer, self.store.get(user, dex))

    async def forward_info(self, type_: str, body: bytes, content_type: str) -> Answer:
        """Ask the upstream for any other type: bytes there, bytes back. Raises as `fetch_account`."""
        answer, _ = await self._read(type_, body, content_type, None, None)
        return answer

    async def fetch_document(
        self,
        key: Hashable,
        type_: str,
        body: bytes,
        *,
        ttl_s: float,
        tags: Iterable[str] = (),
        wait_s: float | None = None,
        deadline_s: float | None = None,
    ) -> Document:
        """Ask the upstream with `body` and remember the answer under `key` for `ttl_s` seconds.

        Returns the upstream's answer whatever it is, fresh until it expires if it is remembered. Besides JSON
        (in `documents`), refusals that would be the same again are remembered, for `error_ttl_s`, in
        `refusals`; nothing else is. Raises as `fetch_account`.
        """
        answer, started = await self._read(type_, body, JSON, wait_s, deadline_s)
        # A page that says 200 and is no answer, as proxies have them, must not be what everybody gets.
        good = answer.status == 200 and answer.content_type.lower().startswith(JSON)
        if not good:
            ttl_s = self.settings.error_ttl_s if _would_refuse_again(answer) else 0.0
            # What it does not know it may know once it is listed.
            tags = (*tags, LISTINGS, OUTCOMES)
        document = Document(
            answer.body,
            # Rather too early than too late: somebody may want nothing older than a time.
            as_of=self.reading.dated_ms(started),
            received=started,
            fresh_until=started + ttl_s,
            status=answer.status,
            content_type=answer.content_type,
            tags=tags,
        )
        if good:
            self.refusals.forget(key)
        if ttl_s:
            store = self.documents if good else self.refusals
            store.remember(key, document, key_size=len(body))
        return document

    def expire(self, tags: Iterable[str]) -> None:
        """Something happened: documents that bear one of these tags are not fresh any more."""
        tags = tuple(tags)
        now = self.clock.monotonic()
        self.documents.expire(tags, now)
        self.refusals.expire(tags, now)

    def affordable(self, types: Iterable[str], within_s: float) -> int:
        """How many reads of these types, in order, the budget can surely pay for in `within_s` seconds."""
        return self._reader.affordable(types, Lane.READ, within_s)

    @property
    def perp_dexs(self) -> PerpDexs | None:
        """The dex list as last read; None before the first time. See `fetch_perp_dexs`."""
        return self._perp_dexs

    async def fetch_perp_dexs(self, *, deadline_s: float) -> PerpDexs:
        """Read the dex list from the upstream and remember it.

        Raises as `fetch_account`, and `UpstreamUnavailable` where the answer is no dex list.
        """
        answer, started = await self._read("perpDexs", b'{"type":"perpDexs"}', JSON, None, deadline_s)
        names = read_perp_dexs(answer.body) if answer.status == 200 else None
        if names is None:
            raise UpstreamUnavailable(f"perpDexs answered {answer.status}")
        self._perp_dexs = PerpDexs(names, started)
        return self._perp_dexs

    def knows(self, subscription: Subscription) -> bool | None:
        """Whether the exchange has the coin and the dex that it names; None: ask after `refresh_universe`."""
        return self._universe.knows(subscription)

    async def refresh_universe(self) -> None:
        """Read again which coins there are, if that was not just done. What can't be had stays as it was."""
        before = self._universe.universe
        await self._universe.refresh()
        if self._universe.universe != before:
            self.expire((LISTINGS, OUTCOMES))

    # -- writing ---------------------------------------------------------------------------------------

    async def forward_exchange(self, body: bytes, content_type: str) -> Answer:
        """Forward a signed action: the client's bytes, once. Raises as `Forwarder.forward`."""
        return await self._forwarder.forward("/exchange", body, content_type)

    # -- inside ----------------------------------------------------------------------------------------

    async def _warm(self) -> None:
        """Read the dex list ahead of the first batch over all dexes; without it that batch reads it."""
        try:
            await self.fetch_perp_dexs(deadline_s=self.settings.read_timeout_s)
        except ReplicaError as error:
            logger.info("no dex list yet: %s", error)

    async def _keep(self) -> None:
        """Hold what reads are to be answered from, whatever clients hold."""
        assert self._warming is not None, "started together"
        # Without the list of dexes it would be done twice; whether it came or not, once is done then.
        await asyncio.wait([self._warming])
        while True:
            dexes = () if self._perp_dexs is None else self._perp_dexs.names
            without_room = self.mirror.keep(streams_to_keep(self.plan.live, dexes, self.settings.keep))
            if without_room:
                logger.info("no room for %d of the streams to keep", without_room)
            await asyncio.sleep(KEEP_AGAIN_S)

    async def _read(
        self, type_: str, body: bytes, content_type: str, wait_s: float | None, deadline_s: float | None
    ) -> tuple[Answer, float]:
        settings = self.settings
        wait_s = settings.budget_wait_s if wait_s is None else wait_s
        deadline_s = settings.read_timeout_s if deadline_s is None else deadline_s
        return await self._reader.read(
            type_, body, content_type, lane=Lane.READ, wait_s=wait_s, deadline_s=deadline_s
        )

    async def _ask(self, lane: Lane, type_: str, body: bytes) -> Answer:
        """A question of our own to `/info`."""
        wait_s, deadline_s = self.settings.budget_wait_s, self.settings.read_timeout_s
        answer, _ = await self._reader.read(
            type_, body, JSON, lane=lane, wait_s=wait_s, deadline_s=deadline_s
        )
        return answer

    def _apply(self, event: FeedEvent, now: float) -> None:
        late_s = 0.0
        if not isinstance(event, AccountStates | FollowingEnded):
            self._streams.apply(event, now)
            if isinstance(event, Pushed) and (changed := self._listings.changed_by(event)):
                self.expire(changed)
            return
        if isinstance(event, AccountStates) and event.states:
            event = event._replace(states=self._credible(event.states))
            time_ms = max(state.time for state in event.states)
            self.upstream_clock.observe(time_ms, now)
            if self.settings.bounds.frozen_after_s:
                late_s = max(0.0, self.upstream_clock.lag_s(time_ms, now) - LATE_AFTER_S)
        self.store.apply(event, now, late_s=late_s)

    def _credible(self, states: tuple[State, ...]) -> tuple[State, ...]:
        """The states, without the `time` of one from the future.

        Such a time would hold its document for as long as it lies ahead: every later state would be older.
        """
        latest = (self.clock.wall() + FUTURE_S) * 1000.0
        if all(state.time <= latest for state in states):
            return states
        return tuple(state if state.time <= latest else state._replace(time=0) for state in states)

    def __repr__(self) -> str:
        return f"<Replica of {self.feed!r} {self.store!r} {self.weight!r} {self.readiness!r}>"


def _websocket_url(base_url: str) -> str:
    """http(s)://host/path -> ws(s)://host/path/ws."""
    return "ws" + base_url.rstrip("/").removeprefix("http") + "/ws"


def _would_refuse_again(answer: Answer) -> bool:
    """Whether the same question would be answered so again: no such type, coin or dex (spec/info.md 1.1)."""
    return answer.status == 422 or (answer.status == 500 and answer.body.strip() == b"null")


def _report_death(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        logger.critical("the feed task died", exc_info=task.exception())
