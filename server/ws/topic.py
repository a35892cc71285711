"""One subscription and those who hold it: the frame that each of them gets, numbers, coming back. Pure."""

from collections import deque
from collections.abc import Hashable
from typing import Protocol

import msgspec
import orjson

from replica import Kind, Subscription, kind_of
from server.ws.frames import text_frame
from server.ws.subscribing import Wanted


class Sink(Protocol):
    """One client's socket. Takes a frame without ever waiting or raising.

    It may end its client for being slow, there and then: that one leaves the hub (`Hub.leave`), nothing else.
    """

    def send(self, frame: bytes, key: Hashable | None) -> None:
        """`key`: while it waits, a later frame with the same one takes its place; None to be kept."""


class Gap(Protocol):
    """What the mirror could not heal: between these times (ms; from the beginning if None) rows may lack."""

    @property
    def from_ms(self) -> int | None: ...

    @property
    def to_ms(self) -> int: ...

    @property
    def reason(self) -> str: ...


class Member:
    """One client's holding of one subscription. `holds` are all of that client's, by subscription.

    A new object for every subscribe: as a key it never lets a frame of now take the place of one from before
    an unsubscribe.
    """

    __slots__ = ("acknowledged", "due", "echo", "holds", "options", "said", "sink", "topic")

    def __init__(
        self,
        sink: Sink,
        holds: "dict[Subscription, Member]",
        topic: "Topic",
        wanted: Wanted,
        due: float,
    ) -> None:
        self.sink = sink
        self.holds = holds
        self.topic = topic
        self.echo = wanted.echo
        self.said = wanted.said
        self.options = wanted.options
        self.due = due  # when it is acknowledged or refused, should the upstream say nothing
        self.acknowledged = False

    def tell(self, text: bytes) -> None:
        """Send a text that is this member's own and is kept whatever comes after it."""
        self.sink.send(text_frame(text), None)


class Kept:
    """How many bytes all topics together keep for those who come back."""

    __slots__ = ("size",)

    def __init__(self) -> None:
        self.size = 0


class Topic:
    """`plain` and `numbered` are its acknowledged members, `waiting` the others; all in order of arrival.

    `ring` has the newest numbered frames (and gaps, which have the number that they follow), oldest first; it
    is kept from the first member on that asked for numbers.
    """

    __slots__ = (
        "epoch",
        "held",
        "keep_until",
        "kept",
        "kind",
        "known",
        "number",
        "numbered",
        "plain",
        "ring",
        "ring_from",
        "subscription",
        "waiting",
    )

    def __init__(self, subscription: Subscription, epoch: str, kept: Kept, *, known: bool) -> None:
        self.subscription = subscription
        self.kind = kind_of(subscription)
        self.known = known
        self.held = False  # upstream
        self.epoch = epoch
        self.number = 0  # of the last frame
        self.plain: dict[Member, None] = {}
        self.numbered: dict[Member, None] = {}
        self.waiting: dict[Member, None] = {}
        self.ring: deque[tuple[int, bytes | Gap]] | None = None
        self.kept = kept
        self.ring_from = 0  # all later than this number is in the ring
        self.keep_until: float | None = None

    def __len__(self) -> int:
        return len(self.plain) + len(self.numbered) + len(self.waiting)

    def admit(self, member: Member) -> None:
        member.acknowledged = True
        self.waiting.pop(member, None)
        (self.numbered if member.options.numbered else self.plain)[member] = None

    def drop(self, member: Member) -> None:
        for members in (self.plain, self.numbered, self.waiting):
            members.pop(member, None)

    def publish(self, text: bytes) -> int:
        """Give the next frame to every member. Returns to how many."""
        self.number += 1
        part = _candle_of(text) if self.kind is Kind.CANDLE else None
        if self.plain:
            self._spread(tuple(self.plain), text_frame(text), part)
        if self.ring is not None:
            frame = text_frame(self.marked(text))
            if self.kind is Kind.STATE:
                # The last one is all that counts, also to somebody who comes back.
                self._clear()
            self._keep(frame)
            self._spread(tuple(self.numbered), frame, part)
        return len(self.plain) + len(self.numbered)

    def _spread(self, members: tuple[Member, ...], frame: bytes, part: int | None) -> None:
        # A tuple: a client that is let go in the middle of it leaves the topic.
        if self.kind is Kind.STATE:
            for member in members:
                member.sink.send(frame, member)
        elif part is not None:
            for member in members:
                member.sink.send(frame, (member, part))
        else:
            for member in members:
                member.sink.send(frame, None)

    def send_snapshot(self, member: Member, texts: tuple[bytes, ...]) -> None:
        """What the mirror remembers, to a member that joins. It stands for all up to the topic's number."""
        for text in texts:
            member.tell(self.marked(text) if member.options.numbered else text)

    def marked(self, text: bytes) -> bytes:
        """The text with the topic's number at its top level. What is no object stays as it is."""
        if text[-1:] != b"}":
            return text
        return b'%s,"replica":{"seq":%d}}' % (text[:-1], self.number)

    # -- coming back -----------------------------------------------------------------------------------

    def keep_frames(self) -> None:
        if self.ring is None:
            self.ring = deque()
            self.ring_from = self.number

    def _keep(self, entry: bytes | Gap) -> None:
        if self.ring is not None:
            self.ring.append((self.number, entry))
            self.kept.size += _size(entry)

    def forget_oldest(self) -> None:
        assert self.ring is not None
        number, entry = self.ring.popleft()
        self.ring_from = max(self.ring_from, number)
        self.kept.size -= _size(entry)

    def _clear(self) -> None:
        while self.ring:
            self.kept.size -= _size(self.ring.popleft()[1])

    @property
    def ring_size(self) -> int:
        return sum(_size(entry) for _, entry in self.ring or ())

    def close(self) -> None:
        """Nobody can come back to it."""
        self._clear()
        self.ring = None

    def can_resume(self, resume: tuple[str, int]) -> bool:
        """Whether all that somebody lacks who has everything up to that number of that epoch is here."""
        epoch, number = resume
        if self.ring is None or epoch != self.epoch or not 0 <= number <= self.number:
            return False
        return number >= self.ring_from or (self.kind is Kind.STATE and bool(self.ring))

    def send_missed(self, member: Member, last: int) -> None:
        for number, entry in self.ring or ():
            if not isinstance(entry, bytes):
                if number >= last and member.options.gaps:
                    member.tell(gap_notice(member.echo, entry))
            elif number > last:
                member.sink.send(entry, None)

    # -- gaps ------------------------------------------------------------------------------------------

    def say_gap(self, gap: Gap) -> None:
        if self.kind is not Kind.STATE:
            self._keep(gap)
        for member in (*self.plain, *self.numbered):
            if member.options.gaps:
                member.tell(gap_notice(member.echo, gap))


def gap_notice(echo: bytes, gap: Gap) -> bytes:
    span = orjson.dumps({"from": gap.from_ms, "to": gap.to_ms, "reason": gap.reason})
    return b'{"channel":"replica","data":{"type":"gap","subscription":%s,%s}' % (echo, span[1:])


def _size(entry: bytes | Gap) -> int:
    return len(entry) if isinstance(entry, bytes) else 64


class _Open(msgspec.Struct):
    t: int


class _Candle(msgspec.Struct):
    data: _Open


_candle = msgspec.json.Decoder(_Candle).decode


def _candle_of(text: bytes) -> int | None:
    """The time by which candles of one subscription are told apart; None where there is none to be read."""
    try:
        return _candle(text).data.t
    except (msgspec.DecodeError, RecursionError):
        return None
