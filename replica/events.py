"""What the exchange tells us, as small values: the only vocabulary `upstream/` and `state/` share.

Account states are the upstream's own bytes. Nothing here is decoded further than routing needs.
"""

from typing import NamedTuple

import msgspec

from replica.subscription import Subscription


class State(NamedTuple):
    """One clearinghouseState as it came.

    `dex` is the wire's name, `""` for the main dex. `body` is the JSON object exactly as the upstream sent
    it. `time` is the state's own `time` in ms of the upstream's clock, 0 where the state carries none
    (states of 2023 did not).
    """

    dex: str
    body: bytes
    time: int


class AccountStates(NamedTuple):
    """States of one account pushed by a feed: one per dex. `user` is lower-case."""

    user: str
    states: tuple[State, ...]


class AccountFetched(NamedTuple):
    """A state we asked for. `started` is our monotonic clock when the request went out.

    Everything the exchange had answered before `started` is reflected in the state: that is what makes a
    re-read after a write worth more than a push of the same age.
    """

    user: str
    state: State
    started: float


class FollowingEnded(NamedTuple):
    """These accounts are no longer fed: connection lost, gone silent, refused, or given up."""

    users: tuple[str, ...]
    reason: str


class Confirmed(NamedTuple):
    """The upstream feeds this subscription from here on: acknowledged, or its first data came.

    Told once per connection, before the first `Pushed` of it.
    """

    subscription: Subscription


class Pushed(NamedTuple):
    """One data frame of a subscription: the whole text as it came, and the slice of it under `data`."""

    subscription: Subscription
    frame: bytes
    data: bytes


class Refused(NamedTuple):
    """The upstream will not feed this subscription: its error text, as it came."""

    subscription: Subscription
    text: str


class Lost(NamedTuple):
    """Nothing feeds these until the next `Confirmed` of each: what happens meanwhile, we are not told."""

    subscriptions: tuple[Subscription, ...]
    reason: str


StreamEvent = Confirmed | Pushed | Refused | Lost
"""What becomes of a subscription that a client holds."""

FeedEvent = AccountStates | FollowingEnded | StreamEvent
"""Everything the upstream's connections tell."""


class Data(NamedTuple):
    """A frame of a subscription: its channel and what is under `data`, JSON, a view of what came.

    A frame that is a bare list is its own data; it has a channel that the upstream has not.
    """

    channel: str
    data: msgspec.Raw


class Acknowledged(NamedTuple):
    """The upstream answered a subscribe or unsubscribe. `subscription` is its normalised echo."""

    method: str
    subscription: dict[str, object]


class Pong(NamedTuple):
    """The answer to our ping."""


class ErrorText(NamedTuple):
    """An `error` frame: one string that never closes the socket by itself."""

    text: str


class Unknown(NamedTuple):
    """A frame of nothing we know: counted and passed over."""

    channel: str


class Unreadable(NamedTuple):
    """A frame that is not what its channel promises, or no JSON at all: counted and passed over."""

    why: str


Frame = Data | Acknowledged | Pong | ErrorText | Unknown | Unreadable
"""Everything one received frame can turn into."""
