"""One held account state, with what routing and freshness need beside the upstream's bytes."""

import math

PIECE_HEAD = len('["0x') + 40 + len('",')
"""How many bytes of a piece lie before the state: `["0x<40 hex>",`."""


class HeldState:
    """A clearinghouseState of one (user, dex), immutable but for how long it may be trusted.

    `piece` is its row of a batch answer, `["<user>",<state>]`, rendered once: a batch is a join of pieces
    and the state alone is a slice of it, so the upstream's bytes are kept exactly once.

    `as_of`: the state's own `time`, ms of the upstream's clock; 0 where it has none.
    `received`: our monotonic clock when it was last heard (for a fetch: when the request went out).
    `live_until`: it is live up to then, by its feed; 0 once the feed is gone.
    `fresh_until`: it may be served from memory up to then: live, or fetched within its TTL.
    `ttl_until`: the part of `fresh_until` that a fetch gave; it outlives the feed.
    `advanced`: when `as_of` last moved forward (our clock): an upstream that repeats one state stands still.
    `reflects`: everything the exchange had answered before this moment (our clock) is in the state.
    `fetched`: whether these bytes came as an answer rather than a push.
    """

    __slots__ = (
        "advanced",
        "as_of",
        "fetched",
        "fresh_until",
        "live_until",
        "piece",
        "received",
        "reflects",
        "ttl_until",
    )

    def __init__(self, user: str, body: bytes, as_of: int) -> None:
        self.piece = b'["%s",%s]' % (user.encode(), body)
        self.as_of = as_of
        self.received = 0.0
        self.live_until = 0.0
        self.ttl_until = 0.0
        self.fresh_until = 0.0
        self.advanced = 0.0
        self.reflects = -math.inf
        self.fetched = False

    @property
    def body(self) -> bytes:
        """The state, byte for byte as the upstream sent it."""
        return self.piece[PIECE_HEAD:-1]

    def live(self, now: float) -> bool:
        """Whether its feed vouches for it right now."""
        return self.live_until > now

    def fresh(self, now: float) -> bool:
        """Whether it may be served from memory without asking anyone."""
        return self.fresh_until > now

    def __repr__(self) -> str:
        origin = "fetched" if self.fetched else "fed"
        return f"<HeldState {self.piece[2:12].decode()}.. as of {self.as_of} {origin}>"
