"""One upstream connection as a state machine: bytes and `now` in; events and frames to send out.

No socket, no task, no clock. The shell (`feed`) calls `receive` for each frame that came, and every `TICK_S`
`verdict` for whether to hang up and `due` for the frames to send now.
"""

from collections import Counter
from dataclasses import dataclass, field

from replica.events import (
    AccountStates,
    Acknowledged,
    ErrorText,
    FollowingEnded,
    Pong,
    Unknown,
    Unreadable,
)
from replica.subscription import Subscription, all_dexs_clearinghouse_state
from replica.upstream.health import Health
from replica.upstream.ledger import Ledger, Standing
from replica.upstream.window import SlidingWindow
from replica.upstream.wire import PING, embedded_object, read_frame, write_request

TICK_S = 1.0
"""How often the slow questions (overdue, silent) are asked; their bounds are many seconds."""


@dataclass(slots=True)
class Counts:
    """What came and went on the feed since the start, over all connections."""

    frames: int = 0
    states: int = 0
    unknown: int = 0
    unreadable: int = 0
    errors: int = 0
    pings: int = 0
    resubscribed: int = 0
    refused: int = 0
    sent: int = 0
    unknown_channels: Counter[str] = field(default_factory=Counter)
    last_error: str = ""


MAX_CHANNELS_COUNTED = 64
"""Names of unknown channels come from outside: only so many are kept."""

MAX_CHANNEL_CHARS = 64

ALREADY = {"Already subscribed": "subscribe", "Already unsubscribed": "unsubscribe"}
"""Errors that say of a request that it is done, and echo it: as good as its acknowledgement."""


class Session:
    """Keeps `ledger` true on one connection. Create one per connection, then call `opened`.

    `messages` is shared with the sessions before and after: the upstream counts per IP, not per socket.
    """

    def __init__(
        self,
        ledger: Ledger,
        health: Health,
        messages: SlidingWindow,
        counts: Counts,
        *,
        ping_interval_s: float,
    ) -> None:
        self._ledger = ledger
        self._health = health
        self._messages = messages
        self._counts = counts
        self._ping_interval = ping_interval_s
        self._next_ping = 0.0
        self._next_tick = 0.0
        self._ended: list[FollowingEnded] = []
        # Streams by account, so that a push costs no canonical form. Only of what was wanted at some time.
        self._streams: dict[str, Subscription] = {}

    def opened(self, now: float) -> None:
        """The handshake is done."""
        self._ledger.opened(now)
        self._health.opened(now)
        self._next_ping = now + self._ping_interval
        self._next_tick = now

    def wanted_changed(self, now: float) -> None:
        """The ledger's wanted set was changed from outside: look at it at the next `due`."""
        self._next_tick = now

    def receive(self, frame: bytes | str, now: float) -> AccountStates | None:
        """Take one frame. Returns the states to apply, None for everything that concerns only this room."""
        self._counts.frames += 1
        event = read_frame(frame)
        if type(event) is AccountStates:
            return self._states(event, now)
        self._health.received(now)
        if isinstance(event, Pong):
            self._health.ponged()
        elif isinstance(event, Acknowledged):
            self._acknowledged(event, now)
        elif isinstance(event, ErrorText):
            self._error(event, now)
        elif isinstance(event, Unknown):
            self._counts.unknown += 1
            channels, channel = self._counts.unknown_channels, event.channel[:MAX_CHANNEL_CHARS]
            if channel in channels or len(channels) < MAX_CHANNELS_COUNTED:
                channels[channel] += 1
        elif isinstance(event, Unreadable):
            self._counts.unreadable += 1
        return None

    def due(self, now: float) -> list[bytes]:
        """The frames to send now, within the message limit. Call every `TICK_S`; more often does no harm."""
        if now < self._next_tick:
            return []
        self._next_tick = now + TICK_S
        frames: list[bytes] = []
        room = self._messages.room(now)
        if now >= self._next_ping and room > 0:
            frames.append(PING)
            self._health.pinged(now)
            self._counts.pings += 1
            self._next_ping = now + self._ping_interval
        for subscription in self._ledger.overdue(now):
            self._end(subscription, "unanswered")
        for stream in self._health.silent(now):
            assert isinstance(stream, Subscription)
            self._ledger.resubscribe(stream, now)
            self._counts.resubscribed += 1
            self._end(stream, "silent")
        # One message is kept back for the ping: without it the upstream closes an idle socket.
        for method, subscription in self._ledger.to_send(now, room - len(frames) - 1):
            if method == "unsubscribe":
                self._end(subscription, "given up")
            frames.append(write_request(method, subscription.wire()))
        for _ in frames:
            self._messages.take(now)
        self._counts.sent += len(frames)
        return frames

    def take_ended(self) -> FollowingEnded | None:
        """Accounts whose feed ended since the last call, with the reason; None if there are none."""
        if not self._ended:
            return None
        users = tuple(user for ended in self._ended for user in ended.users)
        reason = self._ended[0].reason
        self._ended.clear()
        return FollowingEnded(tuple(dict.fromkeys(users)), reason)

    def wake(self) -> float:
        """Before this `due` has nothing to send, unless something arrives."""
        return self._next_tick

    def verdict(self, now: float) -> str | None:
        """Why to hang up, or None."""
        if self._ledger.unheard():
            return "unsubscribes go unanswered"
        return self._health.verdict(now)

    # -- inside ----------------------------------------------------------------------------------------

    def _states(self, event: AccountStates, now: float) -> AccountStates | None:
        stream = self._streams.get(event.user)
        if stream is None:
            stream = all_dexs_clearinghouse_state(event.user)
            if self._ledger.standing(stream) is not None:
                self._streams[event.user] = stream
        if not self._ledger.data(stream, now):
            # Nothing we follow (a push that crossed our unsubscribe): it would be nobody's to keep live.
            self._health.received(now)
            self._counts.unknown += 1
            return None
        self._health.received(now, stream)
        self._counts.states += len(event.states)
        return event

    def _acknowledged(self, event: Acknowledged, now: float) -> None:
        subscription = self._ledger.answered(event.method, event.subscription, now)
        if subscription is None:
            self._counts.unknown += 1
        elif self._ledger.standing(subscription) is Standing.CONFIRMED:
            self._health.expected(subscription, now)
        else:
            self._health.ended(subscription)
            self._next_tick = now

    def _error(self, event: ErrorText, now: float) -> None:
        self._counts.errors += 1
        self._counts.last_error = event.text[:200]
        method = ALREADY.get(event.text.partition(":")[0])
        if method is not None:
            self._acknowledged(Acknowledged(method, embedded_object(event.text) or {}), now)
            return
        subscription = self._ledger.refused(event.text, now)
        if subscription is not None:
            self._counts.refused += 1
            self._end(subscription, "refused")

    def _end(self, subscription: Subscription, reason: str) -> None:
        self._health.ended(subscription)
        if subscription.user:
            self._ended.append(FollowingEnded((subscription.user,), reason))
