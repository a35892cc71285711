"""Who is subscribed to what, and what each of them is told. Pure: sinks take bytes, the mirror tells events.

From a frame of the mirror to the last client's socket is one synchronous stretch. What a client may rely on:
the acknowledgement comes first, then the snapshot, then every frame that the snapshot does not have.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from replica import Subscription, makes_room
from server.ws.messages import (
    acknowledged,
    already_subscribed,
    already_unsubscribed,
    error,
    invalid_subscription,
    refused_upstream,
    too_many_subscriptions,
)
from server.ws.subscribing import Wanted, meant
from server.ws.topic import Gap, Kept, Member, Sink, Topic


class Source(Protocol):
    """The replica's mirror, as far as the hub knows it."""

    def hold(self, subscription: Subscription) -> str | None:
        """For the first who wants it. A text: why not, in the upstream's words."""

    def release(self, subscription: Subscription) -> None:
        """The last one has left."""

    def confirmed(self, subscription: Subscription) -> bool:
        """Whether the upstream has accepted it, at some time since it is held."""

    def promised(self, subscription: Subscription) -> None:
        """A client was acknowledged although the upstream has not accepted it yet."""

    def snapshot(self, subscription: Subscription) -> tuple[bytes, ...]:
        """Whole frames for a late joiner."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HubLimits:
    """`subscriptions` of one client, 0: no limit. `resume_messages` of one topic, `resume_bytes` of all."""

    subscriptions: int = 1000
    ack_wait_s: float = 3.0
    resume_s: float = 60.0
    resume_messages: int = 1000
    resume_bytes: int = 64 << 20


@dataclass(slots=True)
class HubCounts:
    """Since the start."""

    published: int = 0
    sent: int = 0
    gaps: int = 0
    refused: int = 0
    resumed: int = 0


class Hub:
    """The mirror's listener. `epoch` names this run.

    `knows` says whether there are the coin and the dex that a subscription names: True, False, or None, can't
    tell yet. `unchecked` has the topics of which that is not known: they go up after `judge`.
    """

    def __init__(
        self,
        source: Source,
        knows: Callable[[Subscription], bool | None],
        limits: HubLimits,
        *,
        epoch: str,
    ) -> None:
        self._source = source
        self._knows = knows
        self._limits = limits
        self._epoch = epoch
        self._epochs = 0
        self._topics: dict[Subscription, Topic] = {}
        self._left: dict[Topic, None] = {}  # empty, but kept for those who come back
        self._kept = Kept()
        self.unchecked: dict[Topic, None] = {}
        self.counts = HubCounts()

    # -- clients ---------------------------------------------------------------------------------------

    def subscribe(
        self, sink: Sink, holds: dict[Subscription, Member], wanted: Wanted, now: float
    ) -> str | None:
        """Returns the text of the error, or None: the acknowledgement was sent or will be."""
        subscription = wanted.subscription
        if subscription in holds:
            return already_subscribed(wanted.echo)
        most = self._limits.subscriptions
        if most and len(holds) >= most:
            return too_many_subscriptions(most)
        topic = self._topics.get(subscription)
        is_first = topic is None
        if topic is None:
            topic = self._topics[subscription] = self._topic(wanted)
        topic.keep_until = None
        self._left.pop(topic, None)
        if wanted.options.numbered:
            topic.keep_frames()
        member = Member(sink, holds, topic, wanted, now + self._limits.ack_wait_s)
        # By the topic's own value of it: one for all members.
        holds[topic.subscription] = member
        topic.waiting[member] = None
        if is_first:
            # Last, for the mirror may have something to tell at once.
            refusal = self._go_up(topic)
            if refusal is not None:
                self.counts.refused += 1
                topic.drop(member)
                del holds[subscription]
                self._drop(topic)
                return refused_upstream(refusal, wanted.said)
        if member in topic.waiting and topic.held and self._source.confirmed(subscription):
            self._join(member)
        return None

    def is_new(self, holds: Mapping[Subscription, Member], subscription: Subscription) -> bool:
        """Whether the source would be asked for it; not for who holds as many as it may."""
        most = self._limits.subscriptions
        return subscription not in self._topics and not 0 < most <= len(holds)

    def unsubscribe(
        self, sink: Sink, holds: dict[Subscription, Member], wanted: Wanted, now: float
    ) -> str | None:
        """Returns the text of the error, or None: the acknowledgement was sent."""
        subscription = wanted.subscription
        if subscription not in holds:
            subscription = meant(subscription, holds)
        member = holds.pop(subscription, None)
        if member is None:
            return already_unsubscribed(wanted.echo)
        if not member.acknowledged:
            # Both are answered, in order, as they would be upstream.
            member.tell(acknowledged("subscribe", member.echo))
        self._leave(member, now)
        member.tell(acknowledged("unsubscribe", wanted.echo))
        return None

    def leave(self, holds: dict[Subscription, Member], now: float) -> None:
        """A client has gone with all it holds."""
        members = tuple(holds.values())
        holds.clear()
        for member in members:
            self._leave(member, now)

    # -- the mirror (in the order in which it happened) ------------------------------------------------

    def confirmed(self, subscription: Subscription) -> None:
        topic = self._topics.get(subscription)
        if topic is not None:
            for member in tuple(topic.waiting):
                self._join(member)

    def refused(self, subscription: Subscription, text: str) -> None:
        """Ends the subscription for all who hold it, acknowledged or not. The source has let go of it."""
        topic = self._topics.get(subscription)
        if topic is None:
            return
        self.counts.refused += 1
        self._drop(topic)
        for member in (*topic.waiting, *topic.plain, *topic.numbered):
            topic.drop(member)
            del member.holds[subscription]
            member.tell(error(refused_upstream(text, member.said)))

    def frame(self, subscription: Subscription, frame: bytes) -> None:
        topic = self._topics.get(subscription)
        if topic is None:
            return
        # Not to those who wait: they have it in their snapshot, when it is confirmed.
        self.counts.published += 1
        self.counts.sent += topic.publish(frame)
        self._trim(topic)

    def gap(self, subscription: Subscription, gap: Gap) -> None:
        topic = self._topics.get(subscription)
        if topic is not None:
            self.counts.gaps += 1
            topic.say_gap(gap)
            self._trim(topic)

    # -- time ------------------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Acknowledge what the upstream leaves open for too long; forget what nobody came back to."""
        for topic in tuple(self._topics.values()):
            for member in tuple(topic.waiting):
                if member.due > now:
                    continue
                if topic.known:
                    # All that is missing is the upstream, which comes back: some clients give up after 10 s.
                    if topic.held:
                        self._source.promised(topic.subscription)
                    self._join(member)
                else:
                    del member.holds[topic.subscription]
                    self._leave(member, now)
                    member.tell(error(invalid_subscription(member.said, "no answer from the upstream")))
        for topic in tuple(self._left):
            if topic.keep_until is not None and topic.keep_until <= now:
                self._give_up(topic)

    def judge(self) -> None:
        """The universe was read again, or could not be: let the unchecked go up, or refuse them."""
        for topic in tuple(self.unchecked):
            known = self._knows(topic.subscription)
            if known is None:
                continue
            del self.unchecked[topic]
            refusal = "Invalid subscription" if not known else self._hold(topic)
            if refusal is not None:
                self.refused(topic.subscription, refusal)
            elif topic.held and self._source.confirmed(topic.subscription):
                self.confirmed(topic.subscription)
            elif topic.plain or topic.numbered:
                self._source.promised(topic.subscription)

    # -- inside ----------------------------------------------------------------------------------------

    def _topic(self, wanted: Wanted) -> Topic:
        self._epochs += 1
        epoch = f"{self._epoch}-{self._epochs}"
        return Topic(wanted.subscription, epoch, self._kept, known=wanted.known)

    def _go_up(self, topic: Topic) -> str | None:
        if not self._knows(topic.subscription):
            # Not refused yet: it may be newer than what was read.
            self.unchecked[topic] = None
            return None
        return self._hold(topic)

    def _hold(self, topic: Topic) -> str | None:
        refusal: str | None = "fault"
        topic.held = True
        try:
            refusal = self._source.hold(topic.subscription)
            for left in tuple(self._left):
                if refusal is None or not makes_room(left.subscription, refusal):
                    continue
                # Kept for who may come back; here is somebody.
                self._give_up(left)
                refusal = self._source.hold(topic.subscription)
        finally:
            topic.held = refusal is None
        return refusal

    def _join(self, member: Member) -> None:
        # Never an await between here and the last line: a frame that came after the snapshot was read and
        # before the member is registered would be missed.
        topic = member.topic
        resumes = self._acknowledge(member)
        if topic.subscription not in member.holds:
            return  # its socket took no more than that: it was let go
        if resumes is not None:
            self.counts.resumed += 1
            topic.send_missed(member, resumes)
        elif topic.held:
            topic.send_snapshot(member, self._source.snapshot(topic.subscription))

    def _acknowledge(self, member: Member) -> int | None:
        """Returns the number after which it goes on, None where it begins anew."""
        topic, options = member.topic, member.options
        more = b""
        resumes = None
        if options.numbered:
            if options.resume is not None and topic.can_resume(options.resume):
                resumes = options.resume[1]
            more = b',"replica":{"epoch":"%s","seq":%d,"resumed":%s}' % (
                topic.epoch.encode(),
                topic.number,
                b"false" if resumes is None else b"true",
            )
        # First, for the client may be let go by what it is told: admitted after that, nobody would drop it.
        topic.admit(member)
        member.tell(acknowledged("subscribe", member.echo, more))
        return resumes

    def _leave(self, member: Member, now: float) -> None:
        topic = member.topic
        topic.drop(member)
        if len(topic) or self._topics.get(topic.subscription) is not topic:
            return
        if topic.ring is not None and topic.held and self._limits.resume_s:
            topic.keep_until = now + self._limits.resume_s
            self._left[topic] = None
        else:
            self._give_up(topic)

    def _give_up(self, topic: Topic) -> None:
        self._drop(topic)
        if topic.held:
            self._source.release(topic.subscription)

    def _drop(self, topic: Topic) -> None:
        del self._topics[topic.subscription]
        self.unchecked.pop(topic, None)
        self._left.pop(topic, None)
        topic.close()

    def _trim(self, topic: Topic) -> None:
        limits = self._limits
        while topic.ring and (
            len(topic.ring) > limits.resume_messages or self._kept.size > limits.resume_bytes
        ):
            topic.forget_oldest()

    def __len__(self) -> int:
        return len(self._topics)

    def __repr__(self) -> str:
        waiting = sum(len(topic.waiting) for topic in self._topics.values())
        return f"<Hub {len(self)} subscriptions, {waiting} waiting, {len(self.unchecked)} unchecked>"

    def check(self) -> None:
        """Every structural invariant; raises AssertionError."""
        for subscription, topic in self._topics.items():
            assert topic.subscription == subscription
            members = [*topic.plain, *topic.numbered, *topic.waiting]
            assert len(set(members)) == len(members)
            assert all(member.holds.get(subscription) is member for member in members), self
            assert all(member.acknowledged for member in (*topic.plain, *topic.numbered)), self
            assert not any(member.acknowledged for member in topic.waiting), self
            assert members or topic in self._left, f"{topic.subscription} is nobody's"
            assert topic.held or topic in self.unchecked, f"{topic.subscription} is not upstream"
        assert self._kept.size == sum(topic.ring_size for topic in self._topics.values())
        assert all(topic.subscription in self._topics for topic in (*self._left, *self.unchecked))
