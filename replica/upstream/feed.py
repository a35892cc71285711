"""The shell of one connection: connect, pump frames through the session, sleep, connect again.

Everything that could be decided without a socket is decided in `session`, `ledger`, `health` and `backoff`.
"""

import asyncio
import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from math import inf

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.protocol import State

from replica.clock import Clock
from replica.events import FeedEvent, FollowingEnded, Refused
from replica.subscription import Subscription
from replica.upstream.backoff import Backoff
from replica.upstream.health import Health
from replica.upstream.ledger import Ledger
from replica.upstream.session import TICK_S, Counts, Session
from replica.upstream.tap import Tap
from replica.upstream.window import SlidingWindow
from replica.upstream.wire import ACCOUNT_STATES

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedSettings:
    """Times in seconds; limits per minute, 0 for none."""

    ping_interval_s: float = 30.0
    pong_timeout_s: float = 10.0
    silent_after_s: float = 15.0
    healthy_after_s: float = 60.0
    connect_timeout_s: float = 10.0
    messages_per_minute: int = 2000
    connections_per_minute: int = 30
    connections: int = 10
    empty_for_s: float = 30.0
    max_frame_bytes: int = 64 << 20


DIALS_KEPT = 6
"""One in so many of a minute's dials is the plan's alone: what clients ask for can't use up all."""


@dataclass(slots=True)
class Shared:
    """What all connections have in common: the upstream counts per address. `held`: see `Session`."""

    messages: SlidingWindow
    dials: SlidingWindow
    counts: Counts = field(default_factory=Counts)
    held: Collection[Subscription] = ()

    @classmethod
    def under(cls, settings: FeedSettings, held: Collection[Subscription] = ()) -> "Shared":
        dials = settings.connections_per_minute
        return cls(
            SlidingWindow(settings.messages_per_minute, 60.0, reserve=1),
            SlidingWindow(dials, 60.0, reserve=dials // DIALS_KEPT),
            held=held,
        )


class Feed:
    """Keeps one websocket to the upstream and hands every event to `apply`, in order.

    `run` until cancelled. `connected` and `down_reason` say how it stands right now. `first`: its dials go
    before those of other feeds. `number`: by which the tap tells them apart.
    """

    def __init__(
        self,
        url: str,
        ledger: Ledger,
        apply: Callable[[FeedEvent, float], None],
        *,
        settings: FeedSettings,
        shared: Shared,
        backoff: Backoff,
        clock: Clock,
        number: int = 0,
        first: bool = True,
        tap: Tap | None = None,
    ) -> None:
        self._url = url
        self._number = number
        self.ledger = ledger
        self._apply = apply
        self._settings = settings
        self._shared = shared
        self._backoff = backoff
        self._clock = clock
        self._first = first
        self._tap = tap
        self._health = Health(silent_after_s=settings.silent_after_s, pong_within_s=settings.pong_timeout_s)
        self._session: Session | None = None
        self._stirred = asyncio.Event()
        self._excused = False
        self.connections = 0
        self.connected = False
        self.down_reason = "not connected yet"

    @property
    def heard(self) -> float:
        """When anything last came over the connection (monotonic); -inf while there is none."""
        return self._health.received_at if self.connected else -inf

    def add(self, subscriptions: Collection[Subscription], *, trusted: bool = True) -> None:
        """Subscribe to these too. `trusted`: none of them can be what the upstream cuts a connection for."""
        now = self._clock.monotonic()
        self.ledger.add(subscriptions, now, trusted=trusted)
        self._changed(now)

    def drop(self, subscriptions: Collection[Subscription]) -> None:
        """Subscribe to these no more."""
        now = self._clock.monotonic()
        self.ledger.drop(subscriptions, now)
        # Here and not with the unsubscribe: the connection may be lost before that goes.
        given_up = _accounts(subscriptions)
        if given_up:
            self._apply(FollowingEnded(given_up, "given up"), now)
        self._changed(now)

    def _changed(self, now: float) -> None:
        if self._session is not None:
            self._session.wanted_changed(now)
            self._stirred.set()

    async def run(self) -> None:
        """Dial, pump, and dial again for ever. Cancel to end it; it closes the socket on the way out."""
        while True:
            await self._may_dial()
            opened: float | None = None
            try:
                async with connect(
                    self._url,
                    open_timeout=self._settings.connect_timeout_s,
                    # Our own pings are JSON, as the wire has them, and so are the pongs we judge by.
                    ping_interval=None,
                    # The exchange never negotiates it, and it costs CPU per frame.
                    compression=None,
                    close_timeout=2.0,
                    max_size=self._settings.max_frame_bytes,
                    # By default the environment decides; a replica dials what its settings say.
                    proxy=None,
                    user_agent_header="hl-replica",
                ) as socket:
                    opened = self._clock.monotonic()
                    self.down_reason = await self._pump(socket, opened)
            except (WebSocketException, OSError, TimeoutError, EOFError) as error:
                self.down_reason = f"{type(error).__name__}: {error}"
                if opened is None and self._tap is not None:
                    status = error.response.status_code if isinstance(error, InvalidStatus) else None
                    self._tap.refused(type(error).__name__, status, socket=self._number)
            except Exception as error:
                # A fault of ours, not of the upstream: said loudly, and the feed comes back all the same.
                logger.exception("fault in the feed")
                self.down_reason = f"fault: {type(error).__name__}"
            now = self._clock.monotonic()
            lived_s = 0.0 if opened is None else now - opened
            # Cut for one bad subscription, which is gone now: nothing is wrong with the upstream.
            delay = self._backoff.ended(inf if self._excused else lived_s)
            self._excused = False
            logger.warning("feed down (%s), dialling again in %.1f s", self.down_reason, delay)
            await asyncio.sleep(delay)

    async def _may_dial(self) -> None:
        """Wait for one of the dials of this minute, and take it."""
        dials = self._shared.dials
        keep = 0 if self._first else dials.reserve
        # Another may have taken it while we slept; between the last look and the take nothing is awaited.
        while (wait_s := dials.earliest(now := self._clock.monotonic(), keep=keep) - now) > 0:  # noqa: ASYNC110
            await asyncio.sleep(max(wait_s, 0.001))
        dials.take(now)

    async def _pump(self, socket: ClientConnection, now: float) -> str:
        """Serve one connection. Returns why it was given up."""
        shared = self._shared
        session = Session(
            self.ledger,
            self._health,
            shared.messages,
            shared.counts,
            ping_interval_s=self._settings.ping_interval_s,
            held=shared.held,
        )
        session.opened(now)
        self._session = session
        self.connected = True
        self.connections += 1
        shared.counts.connections += 1
        if self._tap is not None:
            self._tap.opened(socket=self._number)
        reader = asyncio.create_task(self._read(socket, session), name="feed reader")
        reader.add_done_callback(lambda _: self._stirred.set())
        reason, cut = "given up", False
        try:
            while not reader.done():
                now = self._clock.monotonic()
                verdict = session.verdict(now)
                if verdict is not None:
                    reason = verdict
                    # Who doesn't answer won't answer a close either: waiting would put off the next dial.
                    socket.close_timeout = 0.1
                    return reason
                frames = session.due(now)
                # Before sending, which may take a while: what arrives meanwhile is newer than this.
                for event in session.take_events():
                    self._apply(event, now)
                # A peer that stops reading must not keep this loop from its verdict.
                async with asyncio.timeout(self._settings.pong_timeout_s):
                    await self._send(socket, frames, reader)
                await self._stirred_within(TICK_S)
            end = reader.result()
            reason, cut = f"{type(end).__name__}: {end}", _cut(end)
            return reason
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            raise
        finally:
            # Before the closing handshake, which may take seconds: what this feed brought is not live now.
            self._session = None
            self._down(session, reason, cut)
            if self._tap is not None:
                self._tell_end(self._tap, socket, session.verdict(self._clock.monotonic()))
            reader.cancel()
            await asyncio.wait([reader])

    async def _send(
        self, socket: ClientConnection, frames: list[bytes], reader: "asyncio.Task[WebSocketException]"
    ) -> None:
        try:
            for frame in frames:
                if self._tap is not None:
                    self._tap.sent(frame, socket=self._number)
                await socket.send(frame, text=True)
        except WebSocketException:
            # What came before the end is still to be read: it says what was answered.
            await asyncio.wait([reader])

    async def _stirred_within(self, seconds: float) -> None:
        """Until there is something to do, or this long."""
        try:
            async with asyncio.timeout(seconds):
                await self._stirred.wait()
        except TimeoutError:
            pass
        self._stirred.clear()

    async def _read(self, socket: ClientConnection, session: Session) -> WebSocketException:
        """Apply what arrives until the connection closes. Returns what closed it."""
        monotonic, tap, apply = self._clock.monotonic, self._tap, self._apply
        number = self._number
        try:
            while True:
                frame = await socket.recv(decode=False)
                now = monotonic()
                if tap is not None:
                    tap.received(frame, socket=number)
                for event in session.receive(frame, now):
                    apply(event, now)
                if session.hurries(now):
                    self._stirred.set()
        except WebSocketException as error:
            return error

    def _down(self, session: Session, reason: str, cut: bool) -> None:
        self.connected = False
        now = self._clock.monotonic()
        for event in session.closed(now, reason, cut=cut):
            self._excused |= isinstance(event, Refused)
            self._apply(event, now)
        self._apply(FollowingEnded(_accounts(self.ledger.wanted()), reason), now)

    def _tell_end(self, tap: Tap, socket: ClientConnection, verdict: str | None) -> None:
        """Tell who ended the connection: the far end, or we, who then have not closed it yet."""
        number = self._number
        if socket.state is State.OPEN:
            tap.closed(verdict or "given up", None, by_upstream=False, socket=number)
        elif (close := socket.protocol.close_rcvd) is not None:
            tap.closed(close.reason, close.code, by_upstream=True, socket=number)
        else:
            tap.closed("cut", None, by_upstream=True, socket=number)

    def __repr__(self) -> str:
        state = "up" if self.connected else f"down ({self.down_reason})"
        return f"<Feed {state}, connection {self.connections}, {self.ledger!r}>"


def _accounts(subscriptions: Collection[Subscription]) -> tuple[str, ...]:
    """The accounts whose states these bring."""
    return tuple(one.user for one in subscriptions if one.user and one.type in ACCOUNT_STATES)


def _cut(error: Exception) -> bool:
    """Whether the far end was gone without a word, neither of us having closed."""
    return isinstance(error, ConnectionClosed) and error.rcvd is None and error.sent is None
