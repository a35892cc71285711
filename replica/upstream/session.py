"""One upstream connection as a state machine: bytes and `now` in; events and frames to send out.

No socket, no task, no clock. The shell (`feed`) calls `receive` for each frame that came, and every `TICK_S`
`verdict` for whether to hang up and `due` for the frames to send now.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from replica.catalogue import ANY, TYPES, Address, address_in
from replica.events import (
    AccountStates,
    Acknowledged,
    Confirmed,
    Data,
    ErrorText,
    FeedEvent,
    FollowingEnded,
    Lost,
    Pong,
    Pushed,
    Refused,
    Unknown,
    Unreadable,
)
from replica.subscription import Subscription
from replica.upstream.health import Health
from replica.upstream.ledger import Ledger, Standing
from replica.upstream.window import SlidingWindow
from replica.upstream.wire import (
    ACCOUNT_STATES,
    ALL_DEXS,
    PING,
    embedded_object,
    invalid_subscription,
    read_frame,
    read_states,
    write_request,
)

TICK_S = 1.0
"""How often the slow questions (overdue, silent) are asked; their bounds are many seconds."""


@dataclass(slots=True)
class Counts:
    """What came and went on all connections since the start. `faults` are ours: who was told raised."""

    connections: int = 0
    frames: int = 0
    states: int = 0
    pushed: int = 0
    unknown: int = 0
    unreadable: int = 0
    errors: int = 0
    pings: int = 0
    resubscribed: int = 0
    refused: int = 0
    sent: int = 0
    faults: int = 0
    unknown_channels: Counter[str] = field(default_factory=Counter)
    last_error: str = ""


MAX_CHANNELS_COUNTED = 64
"""Names of unknown channels come from outside: only so many are kept."""

MAX_CHANNEL_CHARS = 64

ALREADY = {"Already subscribed": "subscribe", "Already unsubscribed": "unsubscribe"}
"""Errors that say of a request that it is done, and echo it: as good as its acknowledgement."""


class Session:
    """Keeps `ledger` true on one connection. Create one per connection, then `opened`; `closed` at its end.

    `messages` and `counts` are shared with all sessions: the upstream counts per IP, not per socket. `held`
    are the subscriptions of clients, now: of those alone more is told than account states.
    """

    def __init__(
        self,
        ledger: Ledger,
        health: Health,
        messages: SlidingWindow,
        counts: Counts,
        *,
        ping_interval_s: float,
        held: Collection[Subscription] = (),
    ) -> None:
        self._ledger = ledger
        self._health = health
        self._messages = messages
        self._counts = counts
        self._ping_interval = ping_interval_s
        self._held = held
        self._next_ping = 0.0
        self._next_tick = 0.0
        self._works = False
        self._events: list[FeedEvent] = []
        self._ended: dict[str, str] = {}
        # Confirmed on this connection, in that order; and of these, who has spoken since.
        self._confirmed: dict[Subscription, None] = {}
        self._spoken: set[Subscription] = set()

    def opened(self, now: float) -> None:
        """The handshake is done."""
        self._ledger.opened(now)
        self._health.opened(now)
        # Suspects are asked for on a connection that works: a pong says that this one does.
        self._next_ping = now if self._ledger.suspects else now + self._ping_interval
        self._next_tick = now

    def wanted_changed(self, now: float) -> None:
        """The ledger was told of something: look at it at the next `due`."""
        self._next_tick = now

    def receive(self, frame: bytes, now: float) -> Sequence[FeedEvent]:
        """Take one frame. Returns all that follows from it, in the order in which it is to be applied."""
        self._counts.frames += 1
        if not self._works:
            self._works = True
            if self._ledger.suspects:
                self._next_tick = now
        event = read_frame(frame)
        if type(event) is Data:
            return self._data(event, frame, now)
        self._health.received(now)
        if isinstance(event, Pong):
            self._health.ponged()
        elif isinstance(event, Acknowledged):
            self._acknowledged(event, now)
        elif isinstance(event, ErrorText):
            self._error(event, now)
        elif isinstance(event, Unknown):
            self._unknown(event.channel)
        elif isinstance(event, Unreadable):
            self._counts.unreadable += 1
        return self.take_events()

    def due(self, now: float) -> list[bytes]:
        """The frames to send now, within the message limit. Call every `TICK_S`; more often does no harm.

        What ends by this is in `take_events`.
        """
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
        # A message per connection is kept back for pings: without them the upstream closes an idle socket.
        requests = self._ledger.to_send(now, room - len(frames) - self._messages.reserve, works=self._works)
        for method, subscription in requests:
            if method == "unsubscribe":
                self._end(subscription, "given up")
            frames.append(write_request(method, subscription.wire()))
        for _ in frames:
            self._messages.take(now)
        self._counts.sent += len(frames)
        return frames

    def take_events(self) -> Sequence[FeedEvent]:
        """What came about since the last call; accounts that are no longer fed last, in one."""
        if self._ended:
            reason = next(iter(self._ended.values()))
            self._events.append(FollowingEnded(tuple(self._ended), reason))
            self._ended.clear()
        if not self._events:
            return ()
        events, self._events = self._events, []
        return events

    def wake(self) -> float:
        """Before this `due` has nothing to send, unless something arrives."""
        return self._next_tick

    def hurries(self, now: float) -> bool:
        """Whether `due` is not to wait for the next tick: suspects are let in one after the other."""
        return self._next_tick <= now and self._ledger.suspects > 0

    def verdict(self, now: float) -> str | None:
        """Why to hang up, or None."""
        if self._ledger.unheard():
            return "unsubscribes go unanswered"
        return self._health.verdict(now)

    def closed(self, now: float, reason: str, *, cut: bool) -> Sequence[FeedEvent]:
        """The connection is gone; `cut`: the upstream ended it without a word.

        Accounts are the caller's to end: all of them, whatever this session has heard of them.
        """
        lost = tuple(subscription for subscription in self._confirmed if subscription in self._held)
        self._confirmed.clear()
        if lost:
            self._events.append(Lost(lost, reason))
        for condemned in self._ledger.closed(now, cut=cut):
            self._counts.refused += 1
            self._events.append(Refused(condemned, invalid_subscription(condemned.wire())))
        return self.take_events()

    # -- inside ----------------------------------------------------------------------------------------

    def _data(self, event: Data, frame: bytes, now: float) -> Sequence[FeedEvent]:
        channel, data = event
        address: Address | None
        states: AccountStates | None = None
        if channel in ACCOUNT_STATES:
            read = read_states(channel, data)
            if type(read) is Unreadable:
                self._health.received(now)
                self._counts.unreadable += 1
                return ()
            assert type(read) is AccountStates
            states = read
            address = (channel, read.user) if channel == ALL_DEXS else address_in(channel, data)
        else:
            address = address_in(channel, data)
        ledger = self._ledger
        stream = None if address is None else ledger.at(address)
        if stream is None:
            stream, states = ledger.at(ANY), None
        if stream is None or not ledger.data(stream, now):
            # Nothing we follow (a push that crossed our unsubscribe): it would be nobody's to keep live.
            self._health.received(now)
            if channel in ACCOUNT_STATES:
                self._counts.unknown += 1
            else:
                self._unknown(channel)
            return ()
        if stream not in self._confirmed:
            self._confirm(stream, now)
        if channel == ALL_DEXS:
            self._health.received(now, stream)
        else:
            self._heard(stream, now)
        if states is not None:
            self._counts.states += len(states.states)
            if not self._held or stream not in self._held:
                return (states,)
            self._events.append(states)
        if stream in self._held:
            self._counts.pushed += 1
            self._events.append(Pushed(stream, frame, bytes(data)))
        return self.take_events()

    def _heard(self, stream: Subscription, now: float) -> None:
        """Who speaks a second time keeps a cadence: only then its silence means something.

        A delisted coin's book comes once, and that is all there is of it.
        """
        row = TYPES.get(stream.type)
        if row is None or row.silent_after_s is None:
            self._health.lively(now)
        elif self._health.expects(stream):
            self._health.received(now, stream)
        else:
            self._health.received(now)
            if stream in self._spoken:
                self._health.expected(stream, now, row.silent_after_s)
            self._spoken.add(stream)

    def _acknowledged(self, event: Acknowledged, now: float) -> None:
        subscription = self._ledger.answered(event.method, event.subscription, now)
        if subscription is None:
            self._counts.unknown += 1
        elif self._ledger.standing(subscription) is Standing.CONFIRMED:
            if subscription not in self._confirmed:
                self._confirm(subscription, now)
            if subscription.type == ALL_DEXS:
                self._health.expected(subscription, now)
        else:
            self._health.ended(subscription)
            self._next_tick = now

    def _confirm(self, subscription: Subscription, now: float) -> None:
        self._confirmed[subscription] = None
        if self._ledger.suspects:
            self._next_tick = now
        if subscription in self._held:
            self._events.append(Confirmed(subscription))

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
            if subscription in self._held and self._ledger.refusal(subscription) is not None:
                self._events.append(Refused(subscription, event.text))
            self._end(subscription, "refused")
            if self._ledger.suspects:
                self._next_tick = now

    def _unknown(self, channel: str) -> None:
        self._counts.unknown += 1
        channels, channel = self._counts.unknown_channels, channel[:MAX_CHANNEL_CHARS]
        if channel in channels or len(channels) < MAX_CHANNELS_COUNTED:
            channels[channel] += 1

    def _end(self, subscription: Subscription, reason: str) -> None:
        self._health.ended(subscription)
        self._spoken.discard(subscription)
        if subscription in self._confirmed:
            del self._confirmed[subscription]
            if subscription in self._held:
                self._events.append(Lost((subscription,), reason))
        if subscription.user and subscription.type in ACCOUNT_STATES:
            self._ended.setdefault(subscription.user, reason)
