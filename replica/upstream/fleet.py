"""The shell of all connections to the upstream: opens and closes them, and shares its limits between them.

What goes where is decided in `packing`; what may be asked for when, in the ledgers, which share one `Usage`.
"""

import asyncio
import logging
import math
from collections import OrderedDict
from collections.abc import Callable, Iterable
from functools import partial

from replica.clock import Clock
from replica.events import FeedEvent, FollowingEnded, Refused
from replica.subscription import Subscription, all_dexs_clearinghouse_state
from replica.upstream.backoff import Backoff
from replica.upstream.feed import Feed, FeedSettings, Shared
from replica.upstream.ledger import Ledger, Standing, check_usage
from replica.upstream.packing import PLAN_SOCKET, Packing, PackingLimits
from replica.upstream.session import TICK_S, Counts
from replica.upstream.tap import Tap
from replica.upstream.usage import LedgerLimits, Usage

logger = logging.getLogger(__name__)

MAX_REFUSALS_KEPT = 1000
"""Refused subscriptions come from clients: only so many are remembered."""


class Fleet:
    """Subscriptions in, events out. `run` until cancelled.

    `apply` is called with every event, in order: `Confirmed`, `Pushed`, `Refused` and `Lost` only of what a
    client holds. It may call back `hold` and `release`.
    """

    def __init__(
        self,
        url: str,
        apply: Callable[[FeedEvent, float], None],
        *,
        settings: FeedSettings,
        limits: LedgerLimits,
        backoff: Callable[[], Backoff],
        clock: Clock,
        tap: Tap | None = None,
    ) -> None:
        self._url = url
        self._apply = apply
        self._settings = settings
        self._limits = limits
        self._backoff = backoff
        self._clock = clock
        self._tap = tap
        self._planned: dict[Subscription, None] = {}
        self._held: dict[Subscription, None] = {}
        self._refusals: OrderedDict[Subscription, tuple[float, str]] = OrderedDict()
        self._packing = Packing(PackingLimits(settings.connections, limits.users, limits.subscriptions))
        self._usage = Usage(limits)
        self._shared = Shared.under(settings, self._held)
        self._feeds: dict[int, Feed] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._empty_since: dict[int, float] = {}
        self._running = False
        self._open(PLAN_SOCKET)

    # -- what is asked of it ---------------------------------------------------------------------------

    def want(self, subscriptions: Iterable[Subscription]) -> None:
        """Follow exactly these for the plan from now on."""
        before, self._planned = self._planned, dict.fromkeys(subscriptions)
        self._let_go(one for one in before if one not in self._planned and one not in self._held)
        added: dict[int, list[Subscription]] = {}
        for subscription in self._planned:
            if subscription not in before:
                number = self._packing.place(subscription, planned=True)
                # The limits are not for the plan, and its streams have an address each.
                assert isinstance(number, int), number
                added.setdefault(number, []).append(subscription)
        for number, many in added.items():
            self._open(number).add(many)

    def hold(self, subscription: Subscription) -> str | None:
        """Feed this to clients until `release`. Returns why not, in the upstream's words where it has any.

        None: `Confirmed` follows, unless `confirmed` already, and `Pushed` with every frame. `Refused` may
        follow too: then it is held no more.
        """
        if subscription in self._held:
            return None
        now = self._clock.monotonic()
        until, text = self._refusals.get(subscription, (now, ""))
        if now < until:
            return text
        self._tidy()
        if subscription not in self._planned:
            number = self._packing.place(subscription)
            if isinstance(number, str):
                return number
            feed = self._open(number)
            feed.add((subscription,), trusted=False)
        else:
            feed = self._feed_of(subscription)
        refusal = feed.ledger.refusal(subscription)
        if refusal is not None:
            if subscription not in self._planned:
                self._let_go((subscription,))
            return refusal
        self._held[subscription] = None
        return None

    def release(self, subscription: Subscription) -> None:
        """No client wants it any more."""
        if subscription in self._held:
            del self._held[subscription]
            if subscription not in self._planned:
                self._let_go((subscription,))

    # -- how it stands ---------------------------------------------------------------------------------

    def confirmed(self, subscription: Subscription) -> bool:
        """Whether the upstream feeds it right now."""
        number = self._packing.where(subscription)
        feed = self._feeds.get(number) if number is not None else None
        return (
            feed is not None and feed.connected and feed.ledger.standing(subscription) is Standing.CONFIRMED
        )

    def heard(self, subscription: Subscription) -> float:
        """When its connection last brought anything (monotonic); -inf where it has none.

        What happened before that was told before that: frames overtake each other little, if at all.
        """
        number = self._packing.where(subscription)
        feed = self._feeds.get(number) if number is not None else None
        return -math.inf if feed is None else feed.heard

    @property
    def connected(self) -> bool:
        """Whether the connection that the tracked accounts are fed by is up."""
        return self._feeds[PLAN_SOCKET].connected

    @property
    def down_reason(self) -> str:
        return self._feeds[PLAN_SOCKET].down_reason

    @property
    def counts(self) -> Counts:
        return self._shared.counts

    @property
    def sockets(self) -> int:
        """How many connections are up."""
        return sum(feed.connected for feed in self._feeds.values())

    @property
    def held(self) -> int:
        """How many subscriptions clients hold."""
        return len(self._held)

    def without_room(self) -> set[Subscription]:
        """What the plan wants and does not get: refused, or over a limit."""
        return {
            subscription
            for feed in self._feeds.values()
            for subscription in feed.ledger.without_room()
            if subscription in self._planned
        }

    def check(self) -> None:
        """Every structural invariant; tests call it."""
        self._packing.check()
        for number, feed in self._feeds.items():
            feed.ledger.check()
            placed = {one for one in self._packing.on(number) if one not in self._packing.leaving}
            assert placed == set(feed.ledger.wanted()), f"{self!r}: socket {number}"
        check_usage(self._usage, (feed.ledger for feed in self._feeds.values()))
        wanted = self._planned.keys() | self._held.keys()
        assert wanted == {one for feed in self._feeds.values() for one in feed.ledger.wanted()}, repr(self)

    def __repr__(self) -> str:
        return f"<Fleet {len(self._held)} held, {' '.join(map(repr, self._feeds.values()))}>"

    # -- life ------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Keep the connections for ever. Cancel to end it; it closes them all on the way out."""
        self._running = True
        try:
            for number in self._feeds:
                self._start(number)
            while True:
                await asyncio.sleep(TICK_S)
                self._tidy()
                self._refuse_the_hopeless()
        finally:
            self._running = False
            tasks = list(self._tasks.values())
            for task in tasks:
                task.cancel()
            if tasks:
                await asyncio.wait(tasks)

    def _open(self, number: int) -> Feed:
        """The feed with this number, opened if there is none."""
        feed = self._feeds.get(number)
        if feed is None:
            feed = self._feeds[number] = Feed(
                self._url,
                Ledger(self._limits, self._usage),
                partial(self._tell, number),
                settings=self._settings,
                shared=self._shared,
                backoff=self._backoff(),
                clock=self._clock,
                number=number,
                first=number == PLAN_SOCKET,
                tap=self._tap,
            )
            self._shared.messages.reserve = len(self._feeds)
            if self._running:
                self._start(number)
        return feed

    def _start(self, number: int) -> None:
        task = asyncio.create_task(self._feeds[number].run(), name=f"feed {number}")
        self._tasks[number] = task
        task.add_done_callback(partial(self._ended, number))

    def _ended(self, number: int, task: asyncio.Task[None]) -> None:
        del self._tasks[number]
        if not task.cancelled() and task.exception() is not None:
            logger.critical("feed %d died", number, exc_info=task.exception())
        if self._running and not self._packing.on(number) and number != PLAN_SOCKET:
            self._empty_since.pop(number, None)
            del self._feeds[number]
            self._packing.closed(number)
            self._shared.messages.reserve = len(self._feeds)

    def _tidy(self) -> None:
        """Give free what the upstream has let go, and close connections that have been empty for a while."""
        for subscription in self._packing.leaving:
            if self._feed_of(subscription).ledger.standing(subscription) is None:
                self._packing.remove(subscription)
        now = self._clock.monotonic()
        for number in self._packing.sockets:
            if number == PLAN_SOCKET or self._packing.on(number):
                self._empty_since.pop(number, None)
            elif now - self._empty_since.setdefault(number, now) >= self._settings.empty_for_s:
                task = self._tasks.get(number)
                if task is not None and not task.cancelling():
                    self._packing.close(number)
                    task.cancel()

    # -- inside ----------------------------------------------------------------------------------------

    def _feed_of(self, subscription: Subscription) -> Feed:
        number = self._packing.where(subscription)
        assert number is not None, f"{self!r}: {subscription} is nowhere"
        return self._feeds[number]

    def _let_go(self, subscriptions: Iterable[Subscription]) -> None:
        dropped: dict[int, list[Subscription]] = {}
        for subscription in subscriptions:
            number = self._packing.where(subscription)
            assert number is not None, f"{self!r}: {subscription} is nowhere"
            self._packing.release(subscription)
            dropped.setdefault(number, []).append(subscription)
        for number, many in dropped.items():
            self._feeds[number].drop(many)

    def _refuse_the_hopeless(self) -> None:
        """Tell of what waits behind a refusal of another: the clients are owed an answer now."""
        if not self._held:
            return
        now = self._clock.monotonic()
        for number, feed in list(self._feeds.items()):
            for subscription in feed.ledger.without_room():
                if subscription in self._held and subscription not in self._planned:
                    text = feed.ledger.refusal(subscription)
                    if text is not None:
                        self._tell(number, Refused(subscription, text), now)

    def _tell(self, number: int, event: FeedEvent, now: float) -> None:
        if isinstance(event, FollowingEnded):
            if number != PLAN_SOCKET:
                # An account whose one dex a client followed may be fed whole by the plan all the same.
                users = tuple(u for u in event.users if not self.confirmed(all_dexs_clearinghouse_state(u)))
                event = event._replace(users=users)
            if not event.users:
                return
        elif isinstance(event, Refused):
            self._forget(event, now)
        try:
            self._apply(event, now)
        except Exception:
            # A fault of ours, and of one event: a new connection would bring it again, and the others with
            # it would have to come back, too.
            self._shared.counts.faults += 1
            logger.exception("could not take %s", type(event).__name__)

    def _forget(self, refused: Refused, now: float) -> None:
        """What is refused is held no more, and asked for again only after a while."""
        subscription = refused.subscription
        if "{" in refused.text:
            # A word on this very one, not on how many there are.
            self._refusals[subscription] = (now + self._limits.refused_for_s, refused.text)
            if len(self._refusals) > MAX_REFUSALS_KEPT:
                self._refusals.popitem(last=False)
        self.release(subscription)
