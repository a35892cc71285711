"""The mirror for more holders than one: `webData2`, made of other streams, and the replica, which reads them.

Stands between the mirror and whoever listens to it. A part of `webData2` or a stream that is kept for reading
may be held by a client, too: it is held once, and given up when nobody needs it.
"""

import asyncio
import logging
from collections.abc import Iterable

import msgspec

from replica.catalogue import COMPOSED
from replica.errors import ReplicaError
from replica.healer import Read
from replica.mirror import Listener, Mirror
from replica.streams.memory import Gap, Tally
from replica.streams.web_data2 import compose, parts_of
from replica.subscription import Subscription

logger = logging.getLogger(__name__)

EVERY_S = 1.0
"""At the most so often: its parts change one by one, and it is large."""

META_EVERY_S = 30.0
"""The universe is read again when contexts and `meta` differ in length, at the most so often."""

META_GOOD_S = 300.0
"""And after so long in any case: a changed leverage or a delisting leaves the length as it is."""


class _Envelope(msgspec.Struct):
    data: msgspec.Raw


_envelope = msgspec.json.Decoder(_Envelope).decode


class _Whole:
    """One composed subscription. `due`: a frame is to be made then."""

    __slots__ = ("confirmed", "due", "parts")

    def __init__(self, parts: tuple[Subscription, ...]) -> None:
        self.parts = parts
        self.confirmed = False
        self.due: asyncio.TimerHandle | None = None


class Composed:
    """`hold`, `release`, `confirmed`, `snapshot`, `listener`: as of `Mirror`, whose own it passes on.

    The mutable state is `_direct` (what the listener holds of the mirror's own), `_kept` (what the replica
    does), `_wholes`, and `_users`: by part, the wholes that need it.
    """

    def __init__(self, mirror: Mirror, read: Read) -> None:
        self.listener: Listener | None = None
        self._mirror = mirror
        self._read = read
        self._direct: set[Subscription] = set()
        self._kept: dict[Subscription, None] = {}
        self._wholes: dict[Subscription, _Whole] = {}
        self._users: dict[Subscription, dict[Subscription, None]] = {}
        self._meta: bytes | None = None
        self._meta_asked = float("-inf")
        self._meta_of = float("-inf")  # when it was asked for
        self._reading: asyncio.Task[None] | None = None
        mirror.listener = _Ear(self)

    @property
    def counts(self) -> Tally:
        return self._mirror.counts

    # -- for the server --------------------------------------------------------------------------------

    def hold(self, subscription: Subscription) -> str | None:
        """None: held; a text: why not. As `Mirror.hold`."""
        if subscription.type in COMPOSED:
            return self._hold_whole(subscription)
        self._direct.add(subscription)
        refusal = self._mirror.hold(subscription)
        if refusal is not None:
            self._direct.discard(subscription)
        return refusal

    def release(self, subscription: Subscription) -> None:
        """The last client has left."""
        whole = self._wholes.pop(subscription, None)
        if whole is not None:
            self._let_go(subscription, whole.parts)
            _stop(whole.due)
        elif subscription in self._direct:
            self._direct.discard(subscription)
            self._release(subscription)

    def confirmed(self, subscription: Subscription) -> bool:
        """Whether the upstream has accepted it, all of its parts."""
        whole = self._wholes.get(subscription)
        return self._mirror.confirmed(subscription) if whole is None else whole.confirmed

    def promised(self, subscription: Subscription) -> None:
        """As `Mirror.promised`. A whole is a state: nothing of it is owed."""
        if subscription not in self._wholes:
            self._mirror.promised(subscription)

    def snapshot(self, subscription: Subscription) -> tuple[bytes, ...]:
        """Whole frames for a client that joins now."""
        whole = self._wholes.get(subscription)
        if whole is None:
            return self._mirror.snapshot(subscription)
        frame = self._compose(whole)
        return () if frame is None else (frame,)

    # -- for the replica -------------------------------------------------------------------------------

    def keep(self, wanted: Iterable[Subscription]) -> int:
        """Hold exactly these beside whatever the listener holds. Returns for how many there is no room.

        Those, and what the upstream refused since, are asked for again with the next call.
        """
        wanted = dict.fromkeys(wanted)
        for subscription in [one for one in self._kept if one not in wanted]:
            del self._kept[subscription]
            self._release(subscription)
        for subscription in wanted:
            if subscription not in self._kept:
                # Before it is held: what holds it may have something to tell at once.
                self._kept[subscription] = None
                if self._mirror.hold(subscription) is not None:
                    self._kept.pop(subscription, None)
        return len(wanted) - len(self._kept)

    async def close(self) -> None:
        """Before the mirror's own: ends what is under way."""
        self.keep(())
        for subscription in tuple(self._wholes):
            self.release(subscription)
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait([self._reading])

    # -- the wholes ------------------------------------------------------------------------------------

    def _hold_whole(self, subscription: Subscription) -> str | None:
        if subscription.user is None:
            return "Invalid subscription"
        if not self._wholes and self._meta_is_old():
            self._meta = None  # nobody had it read again
        whole = self._wholes[subscription] = _Whole(parts_of(subscription.user))
        for part in whole.parts:
            self._users.setdefault(part, {})[subscription] = None
            refusal = self._mirror.hold(part)
            if refusal is not None:
                del self._wholes[subscription]
                self._let_go(subscription, whole.parts)
                return refusal
        self._look(subscription, whole)
        return None

    def _let_go(self, subscription: Subscription, parts: Iterable[Subscription]) -> None:
        for part in parts:
            users = self._users.get(part)
            if users is None or subscription not in users:
                continue
            del users[subscription]
            if not users:
                del self._users[part]
                self._release(part)

    def _release(self, subscription: Subscription) -> None:
        """One who held it does so no more: the last one gives it up."""
        if not (subscription in self._direct or subscription in self._kept or subscription in self._users):
            self._mirror.release(subscription)

    def _look(self, subscription: Subscription, whole: _Whole) -> None:
        """Something of it may have changed: have it told, now or when it is due."""
        if not whole.confirmed:
            if not all(self._mirror.confirmed(part) for part in whole.parts):
                return
            whole.confirmed = True
            if self.listener is not None:
                self.listener.confirmed(subscription)
        if whole.due is None and self._wholes.get(subscription) is whole:
            whole.due = asyncio.get_running_loop().call_later(EVERY_S, self._tell, subscription, whole)

    def _tell(self, subscription: Subscription, whole: _Whole) -> None:
        whole.due = None
        frame = self._compose(whole)
        if frame is not None and self.listener is not None:
            self.listener.frame(subscription, frame)

    def _compose(self, whole: _Whole) -> bytes | None:
        parts: dict[str, bytes] = {}
        for part in whole.parts:
            frames = self._mirror.snapshot(part)
            if not frames:
                return None
            parts[part.type] = bytes(_envelope(frames[-1]).data)
        frame = None if self._meta is None else compose(parts, self._meta)
        if frame is None or self._meta_is_old():
            self._read_meta()
        return frame

    def _meta_is_old(self) -> bool:
        return asyncio.get_running_loop().time() - self._meta_of >= META_GOOD_S

    def _read_meta(self) -> None:
        now = asyncio.get_running_loop().time()
        if self._reading is None and now - self._meta_asked >= META_EVERY_S:
            self._meta_asked = now
            self._reading = asyncio.create_task(self._have_meta_read(), name="meta for webData2")

    async def _have_meta_read(self) -> None:
        try:
            answer = await self._read("meta", b'{"type":"meta"}')
        except ReplicaError as error:
            logger.info("no meta for webData2: %s", error)
        else:
            if answer.status == 200:
                self._meta, self._meta_of = answer.body, self._meta_asked
        finally:
            self._reading = None
        for subscription, whole in tuple(self._wholes.items()):
            if self._wholes.get(subscription) is whole:
                self._look(subscription, whole)

    # -- what the mirror says --------------------------------------------------------------------------

    def part_confirmed(self, part: Subscription) -> None:
        if part in self._direct and self.listener is not None:
            self.listener.confirmed(part)
        self._part_changed(part)

    def part_frame(self, part: Subscription, frame: bytes) -> None:
        if part in self._direct and self.listener is not None:
            self.listener.frame(part, frame)
        self._part_changed(part)

    def part_gap(self, part: Subscription, gap: Gap) -> None:
        # A whole is a state: what it missed on the way is in it.
        if part in self._direct and self.listener is not None:
            self.listener.gap(part, gap)

    def part_refused(self, part: Subscription, text: str) -> None:
        """The mirror holds it no more, and so nobody does."""
        was_direct = part in self._direct
        self._direct.discard(part)
        self._kept.pop(part, None)
        wholes = self._users.pop(part, {})
        if was_direct and self.listener is not None:
            self.listener.refused(part, text)
        for subscription in wholes:
            whole = self._wholes.pop(subscription, None)
            if whole is None:
                continue  # given up by whoever was just told of another
            self._let_go(subscription, whole.parts)
            _stop(whole.due)
            if self.listener is not None:
                self.listener.refused(subscription, text)

    def _part_changed(self, part: Subscription) -> None:
        for subscription in tuple(self._users.get(part, ())):
            whole = self._wholes.get(subscription)
            if whole is not None:  # else given up by whoever was just told of another
                self._look(subscription, whole)

    def check(self) -> None:
        """Tests call it after each step."""
        needed = {part for whole in self._wholes.values() for part in whole.parts}
        assert self._users.keys() == needed, f"{self!r}: {self._users.keys() ^ needed}"
        for part, users in self._users.items():
            assert users and all(part in self._wholes[user].parts for user in users), f"{self!r}: {part!r}"

    def __repr__(self) -> str:
        return (
            f"<Composed {len(self._wholes)} of {len(self._users)} parts, {len(self._kept)} kept,"
            f" on {self._mirror!r}>"
        )


class _Ear:
    """The mirror's listener. (`Composed.confirmed` is a question of the server's.)"""

    def __init__(self, composed: Composed) -> None:
        self.confirmed = composed.part_confirmed
        self.refused = composed.part_refused
        self.frame = composed.part_frame
        self.gap = composed.part_gap


def _stop(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
