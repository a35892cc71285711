"""The shell of the feed: connect, pump frames through the session, sleep, connect again.

Everything that could be decided without a socket is decided in `session`, `ledger`, `health` and `backoff`.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus, WebSocketException
from websockets.protocol import State

from replica.clock import Clock
from replica.events import AccountStates, FollowingEnded
from replica.subscription import Subscription
from replica.upstream.backoff import Backoff
from replica.upstream.health import Health
from replica.upstream.ledger import Ledger
from replica.upstream.session import TICK_S, Counts, Session
from replica.upstream.tap import Tap
from replica.upstream.window import SlidingWindow

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
    max_frame_bytes: int = 64 << 20


class Feed:
    """Keeps one websocket to the upstream and hands every account event to `apply`, in order.

    `run` until cancelled. `connected` and `down_reason` say how it stands right now.
    """

    def __init__(
        self,
        url: str,
        ledger: Ledger,
        apply: Callable[[AccountStates | FollowingEnded, float], None],
        *,
        settings: FeedSettings,
        backoff: Backoff,
        clock: Clock,
        tap: Tap | None = None,
    ) -> None:
        self._url = url
        self._ledger = ledger
        self._apply = apply
        self._settings = settings
        self._backoff = backoff
        self._clock = clock
        self._tap = tap
        self._health = Health(silent_after_s=settings.silent_after_s, pong_within_s=settings.pong_timeout_s)
        self._messages = SlidingWindow(settings.messages_per_minute, 60.0)
        self._dials = SlidingWindow(settings.connections_per_minute, 60.0)
        self._session: Session | None = None
        self._wanted: tuple[Subscription, ...] = ()
        self.counts = Counts()
        self.connections = 0
        self.connected = False
        self.down_reason = "not connected yet"

    def want(self, subscriptions: Iterable[Subscription]) -> None:
        """Follow exactly these from now on."""
        now = self._clock.monotonic()
        before, self._wanted = self._wanted, tuple(subscriptions)
        self._ledger.want(self._wanted, now)
        # Here and not with the unsubscribe: the connection may be lost before that goes.
        kept = set(self._wanted)
        given_up = tuple(stream.user for stream in before if stream.user and stream not in kept)
        if given_up:
            self._apply(FollowingEnded(given_up, "given up"), now)
        if self._session is not None:
            self._session.wanted_changed(now)

    async def run(self) -> None:
        """Dial, pump, and dial again for ever. Cancel to end it; it closes the socket on the way out."""
        while True:
            now = self._clock.monotonic()
            await asyncio.sleep(self._dials.earliest(now) - now)
            self._dials.take(self._clock.monotonic())
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
                    self._tap.refused(type(error).__name__, status)
            except Exception as error:
                # A fault of ours, not of the upstream: said loudly, and the feed comes back all the same.
                logger.exception("fault in the feed")
                self.down_reason = f"fault: {type(error).__name__}"
            now = self._clock.monotonic()
            delay = self._backoff.ended(0.0 if opened is None else now - opened)
            logger.warning("feed down (%s), dialling again in %.1f s", self.down_reason, delay)
            await asyncio.sleep(delay)

    async def _pump(self, socket: ClientConnection, now: float) -> str:
        """Serve one connection. Returns why it was given up."""
        session = Session(
            self._ledger,
            self._health,
            self._messages,
            self.counts,
            ping_interval_s=self._settings.ping_interval_s,
        )
        session.opened(now)
        self._session = session
        self.connected = True
        self.connections += 1
        if self._tap is not None:
            self._tap.opened()
        reader = asyncio.create_task(self._read(socket, session), name="feed reader")
        try:
            while not reader.done():
                now = self._clock.monotonic()
                reason = session.verdict(now)
                if reason is not None:
                    return reason
                frames = session.due(now)
                # Before sending, which may take a while: what arrives meanwhile is newer than this.
                self._report_ended(session)
                # A peer that stops reading must not keep this loop from its verdict.
                async with asyncio.timeout(self._settings.pong_timeout_s):
                    for frame in frames:
                        if self._tap is not None:
                            self._tap.sent(frame)
                        await socket.send(frame, text=True)
                await asyncio.wait([reader], timeout=TICK_S)
            return reader.result()
        finally:
            # Before the closing handshake, which may take seconds: what this feed brought is not live now.
            self._session = None
            self._down()
            if self._tap is not None:
                _tell_end(self._tap, socket, session.verdict(self._clock.monotonic()))
            reader.cancel()
            await asyncio.wait([reader])

    async def _read(self, socket: ClientConnection, session: Session) -> str:
        """Apply what arrives until the connection closes. Returns why it did."""
        monotonic, tap = self._clock.monotonic, self._tap
        try:
            while True:
                frame = await socket.recv(decode=False)
                now = monotonic()
                if tap is not None:
                    tap.received(frame)
                states = session.receive(frame, now)
                if states is not None:
                    self._apply(states, now)
                else:
                    self._report_ended(session)
        except WebSocketException as error:
            return f"{type(error).__name__}: {error}"

    def _report_ended(self, session: Session) -> None:
        ended = session.take_ended()
        if ended is not None:
            self._apply(ended, self._clock.monotonic())

    def _down(self) -> None:
        self.connected = False
        users = tuple(subscription.user for subscription in self._wanted if subscription.user)
        self._apply(FollowingEnded(users, self.down_reason), self._clock.monotonic())

    def __repr__(self) -> str:
        state = "up" if self.connected else f"down ({self.down_reason})"
        return f"<Feed {state}, connection {self.connections}, {self._ledger!r}>"


def _tell_end(tap: Tap, socket: ClientConnection, verdict: str | None) -> None:
    """Tell who ended the connection: the far end, or we, who then have not closed it yet."""
    if socket.state is State.OPEN:
        tap.closed(verdict or "given up", None, by_upstream=False)
    elif (close := socket.protocol.close_rcvd) is not None:
        tap.closed(close.reason, close.code, by_upstream=True)
    else:
        tap.closed("cut", None, by_upstream=True)
