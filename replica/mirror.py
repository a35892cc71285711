"""The reflector of streams: one memory a subscription, kept whole, told to one listener.

Everything from an upstream frame to the listener happens in one stretch without `await`. Only healing waits:
its questions go to `/info`, and what they bring is told in one such stretch again.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from replica.clock import Clock
from replica.events import Confirmed, Lost, Pushed, StreamEvent
from replica.healer import Healer, Read
from replica.streams.backfill import Backfill
from replica.streams.candle import CandleMemory
from replica.streams.log import LogMemory
from replica.streams.make import memory_of
from replica.streams.memory import Gap, Latest, Memory, Now, Out, Tally, Whole
from replica.streams.state import StateMemory
from replica.subscription import Subscription

logger = logging.getLogger(__name__)


class Upstream(Protocol):
    """What holds subscriptions at the upstream (`replica/upstream`)."""

    def hold(self, subscription: Subscription) -> str | None:
        """None: held, `Confirmed` follows unless it is `confirmed` already. A text: why not."""
        ...

    def release(self, subscription: Subscription) -> None: ...

    def confirmed(self, subscription: Subscription) -> bool:
        """Whether a connection feeds it now."""
        ...


class Listener(Protocol):
    """Whom the mirror tells. Plain calls, in order; they may call `hold` and `release`.

    One that raises is logged and counted, and what it was told stays told.
    """

    def confirmed(self, subscription: Subscription) -> None:
        """The upstream has accepted it: once from `hold` to the end, reconnects are not told."""
        ...

    def refused(self, subscription: Subscription, text: str) -> None:
        """It is held no more: the upstream's error text. No `release` is due."""
        ...

    def frame(self, subscription: Subscription, frame: bytes) -> None: ...

    def gap(self, subscription: Subscription, gap: Gap) -> None:
        """Something is missing before the next frame."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class MirrorSettings:
    """Times in seconds.

    `linger_s`: a subscription that nobody holds any more is given up so much later, or when there is need of
    its place.
    `keep_rows`: rows of one stream that are kept for who joins; `waiting_rows`: live rows that may wait while
    it is healed; `heal_pages`: questions to one list.
    `snapshot_wait_s`: a connection's first frame is overdue after that.
    `heal_after_s`: before the first question, so that answers which lag behind the stream have caught up.
    `heal_within_s`: then a gap is said, and live rows wait no longer.
    `heal_attempts` at a question that fails, `heal_retry_s` and its doubles apart. `healings` at a time.
    """

    linger_s: float = 60.0
    keep_rows: int = 2000
    waiting_rows: int = 5000
    snapshot_wait_s: float = 10.0
    heal_after_s: float = 1.0
    heal_within_s: float = 60.0
    heal_attempts: int = 4
    heal_retry_s: float = 1.0
    heal_pages: int = 10
    healings: int = 4


class _Stream:
    """One subscription: its memory, and what is under way for it."""

    __slots__ = (
        "backfill",
        "confirmed",
        "fed",
        "healing",
        "held",
        "lingering",
        "memory",
        "overdue",
        "promised",
    )

    def __init__(self, memory: Memory) -> None:
        self.memory = memory
        self.held = True
        self.confirmed = False
        self.promised = False
        self.fed = False
        self.backfill: Backfill | None = None
        self.healing: asyncio.Task[None] | None = None
        self.lingering: asyncio.TimerHandle | None = None
        self.overdue: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        standing = "fed" if self.fed else "not fed" if self.confirmed else "not confirmed"
        return f"<{standing}{'' if self.held else ', lingers'} {self.memory!r}>"


class Mirror:
    """`hold` and `release` subscriptions, `apply` what the upstream says of them; `listener` hears the rest.

    `upstream_ms` says what the upstream's clock shows at the least at a moment of ours, None: not known.
    The mutable state is `_streams`, and `counts`.
    """

    def __init__(
        self,
        upstream: Upstream,
        read: Read,
        clock: Clock,
        settings: MirrorSettings,
        *,
        upstream_ms: Callable[[float], int | None] = lambda monotonic: None,
    ) -> None:
        self.listener: Listener | None = None
        self.counts = Tally()
        self._upstream = upstream
        self._clock = clock
        self._settings = settings
        self._upstream_ms = upstream_ms
        self._streams: dict[Subscription, _Stream] = {}
        self._healer = Healer(
            read,
            after_s=settings.heal_after_s,
            within_s=settings.heal_within_s,
            attempts=settings.heal_attempts,
            retry_s=settings.heal_retry_s,
            at_a_time=settings.healings,
        )
        self._tasks: set[asyncio.Task[None]] = set()

    # -- for the server --------------------------------------------------------------------------------

    def hold(self, subscription: Subscription) -> str | None:
        """The first client wants it. None: held; a text: why not, in the upstream's words where it has any.

        Ask `confirmed` and `snapshot` then, without an await between: one that lingers, or that the replica
        itself follows, is confirmed at once and not told again.
        """
        stream = self._streams.get(subscription)
        if stream is not None:
            stream.held = True
            _stop(stream.lingering)
            stream.lingering = None
            return None
        settings = self._settings
        memory = memory_of(
            subscription,
            self.counts,
            keep=settings.keep_rows,
            most_waiting=settings.waiting_rows,
            pages=settings.heal_pages,
        )
        # Before it is held: what holds it may have something to tell at once.
        self._streams[subscription] = stream = _Stream(memory)
        refusal = self._upstream.hold(subscription)
        if refusal is not None:
            refusal = self._hold_instead_of_another(subscription, refusal)
        if refusal is not None:
            self._drop(subscription)
        elif not stream.fed and self._upstream.confirmed(subscription):
            stream.confirmed = True
            self._confirm(subscription, stream)
        return refusal

    def release(self, subscription: Subscription) -> None:
        """The last client has left. It is given up `linger_s` later; at once where nothing feeds it."""
        stream = self._streams.get(subscription)
        if stream is None or not stream.held:
            return
        stream.held = False
        if not stream.fed or not self._settings.linger_s:
            self._give_up(subscription)
            return
        loop = asyncio.get_running_loop()
        stream.lingering = loop.call_later(self._settings.linger_s, self._give_up, subscription)

    def confirmed(self, subscription: Subscription) -> bool:
        """Whether the upstream has accepted it at some time since it is held."""
        stream = self._streams.get(subscription)
        return stream is not None and stream.confirmed

    def promised(self, subscription: Subscription) -> None:
        """A client was told that it is subscribed before the upstream agreed: it is owed all from now on."""
        stream = self._streams.get(subscription)
        if stream is None or stream.confirmed or stream.promised:
            return
        stream.promised = True
        # As if a connection had fed it up to now: what is missed until there is one will be healed, or said.
        stream.memory.confirmed(self._now(self._clock.monotonic()))
        stream.memory.lost()

    def snapshot(self, subscription: Subscription) -> tuple[bytes, ...]:
        """Whole frames for a client that joins now; () while there is nothing that may be shown.

        With the frames told from now on they are everything: no await between this and joining.
        """
        stream = self._streams.get(subscription)
        return () if stream is None else stream.memory.snapshot()

    def latest(self, subscription: Subscription) -> Latest | None:
        """The last frame of a state that is fed now, for readers."""
        stream = self._streams.get(subscription)
        if stream is None or not stream.fed or not isinstance(stream.memory, StateMemory | CandleMemory):
            return None
        return stream.memory.latest()

    def whole(self, subscription: Subscription) -> Whole | None:
        """The rows of a log that is fed now and lacks nothing, for readers."""
        stream = self._streams.get(subscription)
        if stream is None or not stream.fed or not isinstance(stream.memory, LogMemory):
            return None
        return stream.memory.whole()

    # -- for the replica -------------------------------------------------------------------------------

    def apply(self, event: StreamEvent, now: float) -> None:
        """What the upstream says, in its order. `now` is monotonic. What nobody holds is passed over."""
        if isinstance(event, Pushed):
            stream = self._streams.get(event.subscription)
            if stream is not None:
                self._publish(event.subscription, stream, self._received(event, stream, self._now(now)))
                self._attend(event.subscription, stream)
        elif isinstance(event, Confirmed):
            stream = self._streams.get(event.subscription)
            if stream is not None:
                first, stream.confirmed = not stream.confirmed, True
                if first and stream.held and self.listener is not None:
                    self._tell(self.listener.confirmed, event.subscription)
                self._confirm(event.subscription, stream)
        elif isinstance(event, Lost):
            for subscription in event.subscriptions:
                self._lose(subscription)
        else:
            stream = self._streams.get(event.subscription)
            if stream is not None:
                self._drop(event.subscription)
                if stream.held and self.listener is not None:
                    self._tell(self.listener.refused, event.subscription, event.text)

    async def close(self) -> None:
        """Give everything up and wait for what is under way."""
        for subscription in tuple(self._streams):
            self._drop(subscription)
        if self._tasks:
            await asyncio.wait(self._tasks)

    # -- inside ----------------------------------------------------------------------------------------

    def _hold_instead_of_another(self, subscription: Subscription, refusal: str) -> str | None:
        """Those that linger are nobody's: give them up, the longest left first, until there is room."""
        left = [
            (stream.lingering.when(), other)
            for other, stream in self._streams.items()
            if stream.lingering is not None and makes_room(other, refusal)
        ]
        for _, other in sorted(left, key=lambda one: one[0]):
            self._give_up(other)
            if self._upstream.hold(subscription) is None:
                return None
        return refusal

    def _now(self, monotonic: float) -> Now:
        return Now(monotonic, int(self._clock.wall() * 1000), self._upstream_ms(monotonic))

    def _confirm(self, subscription: Subscription, stream: _Stream) -> None:
        stream.fed = True
        outs = stream.memory.confirmed(self._now(self._clock.monotonic()))
        self._publish(subscription, stream, outs)
        self._attend(subscription, stream)

    def _lose(self, subscription: Subscription) -> None:
        stream = self._streams.get(subscription)
        if stream is None:
            return
        stream.fed = False
        stream.memory.lost()
        if stream.held:
            self._attend(subscription, stream)
        else:
            # Nobody would hear what it missed: it is not worth the questions.
            self._give_up(subscription)

    def _publish(self, subscription: Subscription, stream: _Stream, outs: Iterable[Out]) -> None:
        for out in outs:
            listener = self.listener
            if listener is None or not stream.held:
                return
            if isinstance(out, Gap):
                self._tell(listener.gap, subscription, out)
            else:
                self.counts.frames += 1
                self._tell(listener.frame, subscription, out)

    def _tell(self, say: Callable[..., None], subscription: Subscription, *what: object) -> None:
        try:
            say(subscription, *what)
        except Exception:
            # Its fault and its loss: the connection, and all others that it feeds, must not pay for it.
            self.counts.faults += 1
            logger.exception("the listener failed at %r", subscription)

    def _received(self, event: Pushed, stream: _Stream, now: Now) -> Sequence[Out]:
        try:
            return stream.memory.receive(event.frame, event.data, now)
        except Exception:
            # A fault of ours. As with what a memory can't read, whoever listens may know better.
            self.counts.faults += 1
            logger.exception("the memory of %r failed", event.subscription)
            return (event.frame,)

    def _attend(self, subscription: Subscription, stream: _Stream) -> None:
        """Begin and end what the memory waits for."""
        if self._streams.get(subscription) is not stream:
            return  # given up by a listener that was just told something
        memory = stream.memory
        wants = memory.wants
        if wants is not stream.backfill:
            stream.backfill = wants
            _stop(stream.healing)
            stream.healing = None
            if wants is not None:
                task = asyncio.create_task(
                    self._heal(subscription, stream, wants), name=f"heal {subscription!r}"
                )
                stream.healing = task
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
        if memory.waits != (stream.overdue is not None):
            _stop(stream.overdue)
            stream.overdue = None
            if memory.waits:
                loop = asyncio.get_running_loop()
                wait_s = self._settings.snapshot_wait_s
                stream.overdue = loop.call_later(wait_s, self._is_overdue, subscription, stream)

    def _is_overdue(self, subscription: Subscription, stream: _Stream) -> None:
        stream.overdue = None
        outs = stream.memory.overdue(self._now(self._clock.monotonic()))
        self._publish(subscription, stream, outs)
        self._attend(subscription, stream)

    async def _heal(self, subscription: Subscription, stream: _Stream, backfill: Backfill) -> None:
        await self._healer.heal(backfill)
        # No await from here on: what was found, what waited, and the next live frame come in this order.
        if stream.backfill is not backfill:
            return  # moot since
        stream.healing = None
        outs = stream.memory.healed(backfill, self._now(self._clock.monotonic()))
        self._publish(subscription, stream, outs)
        self._attend(subscription, stream)

    def _give_up(self, subscription: Subscription) -> None:
        self._drop(subscription)
        self._upstream.release(subscription)

    def _drop(self, subscription: Subscription) -> None:
        stream = self._streams.pop(subscription, None)
        if stream is None:
            return  # refused in words and by an event, too
        for under_way in (stream.healing, stream.lingering, stream.overdue):
            _stop(under_way)

    def check(self) -> None:
        """Tests call it after each step."""
        for subscription, stream in self._streams.items():
            stream.memory.check()
            assert stream.backfill is stream.memory.wants, f"{subscription!r}: {stream!r}"
            assert (stream.lingering is not None) is not stream.held, f"{subscription!r}: {stream!r}"

    def __repr__(self) -> str:
        streams = self._streams.values()
        lingering = sum(not stream.held for stream in streams)
        unfed = sum(not stream.fed for stream in streams)
        healing = sum(stream.healing is not None for stream in streams)
        return f"<Mirror {len(streams)} streams, {lingering} linger, {unfed} not fed, {healing} healing>"


def makes_room(held: Subscription, refusal: str) -> bool:
    """Whether giving this one up may turn a refusal for a limit of the upstream (spec/websocket.md 1.2)."""
    if refusal.startswith("Cannot track more than"):
        return held.user is not None
    return refusal.startswith("Cannot subscribe to more than")


def _stop(under_way: "asyncio.Task[None] | asyncio.TimerHandle | None") -> None:
    if under_way is not None:
        under_way.cancel()
