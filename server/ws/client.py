"""One client: what it holds, how much it may ask, and what is done with each of its messages. Pure."""

from dataclasses import dataclass
from enum import Enum

from replica import Subscription
from server.ws.allowance import Allowance
from server.ws.frames import text_frame
from server.ws.hub import Hub
from server.ws.messages import (
    PONG,
    Bad,
    Ping,
    Post,
    Subscribe,
    error,
    read,
    too_many_messages,
    too_many_new,
    too_many_posts,
)
from server.ws.subscribing import read as read_subscription
from server.ws.topic import Member, Sink

_PONG = text_frame(PONG)
_MINUTE_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientLimits:
    """0 for no limit. `new_subscriptions` of those that nobody has yet, at once, then `new_per_minute`."""

    messages_per_minute: int = 2000
    posts: int = 100
    new_subscriptions: int = 1000
    new_per_minute: int = 100


class Rate(Enum):
    """What is to be done with a message for the number of those before it."""

    OK = "ok"
    OVER = "over"  # refused unread
    FLOOD = "flood"  # the limit twice over: whoever sends on doesn't listen


class Client:
    """`posts` counts those in flight; whoever answers them keeps it."""

    __slots__ = ("_allowance", "_began", "_count", "_hub", "_limits", "_sink", "holds", "posts")

    def __init__(self, hub: Hub, sink: Sink, limits: ClientLimits) -> None:
        self._hub = hub
        self._sink = sink
        self._limits = limits
        self._allowance = Allowance(limits.new_subscriptions, limits.new_per_minute)
        self.holds: dict[Subscription, Member] = {}
        self.posts = 0
        self._began = float("-inf")
        self._count = 0

    def count(self, now: float) -> Rate:
        """Count one frame, of whatever kind. Minutes begin with the first one after the last minute."""
        if now - self._began >= _MINUTE_S:
            self._began, self._count = now, 0
        self._count += 1
        most = self._limits.messages_per_minute
        if not most or self._count <= most:
            return Rate.OK
        return Rate.OVER if self._count <= 2 * most else Rate.FLOOD

    def refuse_rate(self) -> None:
        self.say(error(too_many_messages(self._limits.messages_per_minute)))

    def receive(self, raw: bytes, now: float) -> Post | None:
        """Do what one text message says. Returns what is left to others: a post that may be answered."""
        message = read(raw)
        if isinstance(message, Ping):
            self._sink.send(_PONG, None)
            return None
        if isinstance(message, Post):
            if self._limits.posts and self.posts >= self._limits.posts:
                self.say(error(too_many_posts(message.id)))
                return None
            return message
        text: str | None
        if isinstance(message, Bad):
            text = message.text
        else:
            wanted = read_subscription(message.fields, message.raw)
            if isinstance(wanted, Bad):
                text = wanted.text
            elif isinstance(message, Subscribe):
                if self._hub.is_new(self.holds, wanted.subscription) and not self._allowance.take(now):
                    self.say(error(too_many_new(self._limits.new_per_minute)))
                    return None
                text = self._hub.subscribe(self._sink, self.holds, wanted, now)
            else:
                text = self._hub.unsubscribe(self._sink, self.holds, wanted, now)
        if text is not None:
            self.say(error(text))
        return None

    def say(self, text: bytes) -> None:
        """Send a text that is kept whatever comes after it."""
        self._sink.send(text_frame(text), None)

    def leave(self, now: float) -> None:
        self._hub.leave(self.holds, now)
