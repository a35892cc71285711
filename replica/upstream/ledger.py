"""Which subscriptions we want on a connection, and what the upstream has said about each.

    WANTED --sent--> PENDING --ack or first data--> CONFIRMED
      ^                 |  \\--refused------------> REFUSED --retry_at--> WANTED
      |                 `--overdue----------------> PENDING (asked again, later)
      `---------------- every state, when a connection opens
    PENDING, CONFIRMED --given up--> LEAVING --unsubscribe answered--> (gone)
    WANTED, REFUSED    --given up--> (gone)

What was asked for and not answered keeps its place under the limits: the upstream may hold it. A REFUSED one
that is acknowledged or brings data all the same was not the one refused, and is CONFIRMED if there is room.

Pure: values and a clock reading in, values out. The mutable state is `_entries` and two learned ceilings.
Rules for editing: every change of `state` goes through `_set`, which keeps the count of held users; nothing
else may touch `_held`.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

from replica.subscription import Subscription
from replica.upstream.wire import embedded_object


class Standing(Enum):
    """Where one subscription stands on the present connection."""

    WANTED = "wanted"
    PENDING = "pending"
    CONFIRMED = "confirmed"
    REFUSED = "refused"
    LEAVING = "leaving"


ON_THE_WIRE = frozenset({Standing.PENDING, Standing.CONFIRMED, Standing.LEAVING})
"""Standings in which the upstream may count the subscription, and its user, against our limits."""


UNHEARD_AFTER = 3
"""Unsubscribes of one subscription left unanswered, each for `answer_within_s`."""

TO_ASK = frozenset({Standing.WANTED, Standing.PENDING, Standing.REFUSED})
"""Standings in which a subscribe goes out, once its `retry_at` has come."""


@dataclass(slots=True)
class Entry:
    """One subscription: its standing, since when, and the moment before which nothing is sent for it.

    `retry_at` is inf while an answer is awaited. `asked` numbers the request that is owed an answer, or is 0.
    `again` on a LEAVING one: it is wanted once more as soon as the upstream has let it go. `place` is when it
    was first wanted: the smaller goes first.
    """

    subscription: Subscription
    place: int
    standing: Standing = Standing.WANTED
    since: float = 0.0
    retry_at: float = 0.0
    asked: int = 0
    tries: int = 0
    again: bool = False


@dataclass(frozen=True, slots=True)
class LedgerLimits:
    """0 means no limit. Times in seconds."""

    users: int = 10
    subscriptions: int = 1000
    answer_within_s: float = 10.0
    refused_for_s: float = 600.0


class Ledger:
    """Wanted, pending, confirmed. Survives reconnects; `opened` says a new connection holds nothing yet."""

    def __init__(self, limits: LedgerLimits) -> None:
        self._limits = limits
        self._entries: dict[Subscription, Entry] = {}
        # All but the confirmed ones: what there is to do is found without passing over 100,000 that are well.
        self._unsettled: dict[Subscription, Entry] = {}
        self._standings: Counter[Standing] = Counter()
        self._held: Counter[str] = Counter()
        self._asked = 0
        self._places = 0
        self._users_ceiling = limits.users
        self._subscriptions_ceiling = limits.subscriptions
        self._ceilings_until = 0.0

    # -- what the replica wants ------------------------------------------------------------------------

    def want(self, wanted: Iterable[Subscription], now: float) -> None:
        """Make exactly `wanted` the wanted set. Order is kept: the first ones are sent first."""
        keep = dict.fromkeys(wanted)
        for subscription, entry in list(self._entries.items()):
            if entry.standing is Standing.LEAVING:
                entry.again = subscription in keep
            elif subscription in keep:
                continue
            elif entry.standing in ON_THE_WIRE:
                self._leave(entry, now, again=False)
            else:
                self._remove(entry)
        for subscription in keep:
            if subscription not in self._entries:
                self._places += 1
                entry = self._entries[subscription] = Entry(subscription, self._places, since=now)
                self._unsettled[subscription] = entry
                self._standings[Standing.WANTED] += 1

    # -- what to send ----------------------------------------------------------------------------------

    def opened(self, now: float) -> None:
        """A new connection: nothing is held on it, and what we learned of the old one is forgotten."""
        self._users_ceiling = self._limits.users
        self._subscriptions_ceiling = self._limits.subscriptions
        for entry in list(self._entries.values()):
            if entry.standing is Standing.LEAVING and not entry.again:
                self._remove(entry)
            else:
                self._start_over(entry, now)

    def to_send(self, now: float, room: int) -> list[tuple[str, Subscription]]:
        """The requests to send now, at most `room`, marking them sent. Never above a limit.

        Unsubscribes first: they free what a subscribe may need.
        """
        if now >= self._ceilings_until:
            self._users_ceiling = self._limits.users
            self._subscriptions_ceiling = self._limits.subscriptions
        requests: list[tuple[str, Subscription]] = []
        for entry in self._unsettled.values():
            if len(requests) >= room:
                return requests
            if entry.standing is Standing.LEAVING and entry.retry_at <= now:
                entry.tries += 1
                requests.append(("unsubscribe", entry.subscription))
                self._ask(entry, now)
        on_wire = self.count(*ON_THE_WIRE)
        for entry in sorted(self._unsettled.values(), key=lambda entry: entry.place):
            if len(requests) >= room:
                break
            if entry.standing not in TO_ASK or entry.retry_at > now:
                continue
            if entry.standing is not Standing.PENDING:
                if not self._fits(entry, self._users_ceiling, self._subscriptions_ceiling, on_wire):
                    continue
                on_wire += 1
                self._set(entry, Standing.PENDING, now)
            entry.tries += 1
            requests.append(("subscribe", entry.subscription))
            self._ask(entry, now)
        return requests

    def resubscribe(self, subscription: Subscription, now: float) -> None:
        """Take a confirmed stream down and up again: it is confirmed but has gone silent."""
        entry = self._entries.get(subscription)
        if entry is not None and entry.standing is Standing.CONFIRMED:
            self._leave(entry, now, again=True)

    def overdue(self, now: float) -> list[Subscription]:
        """Requests unanswered for too long. Each goes again, after a longer wait than the time before."""
        late = []
        for entry in list(self._unsettled.values()):
            if not self._awaited(entry) or now - entry.since < self._limits.answer_within_s:
                continue
            if entry.standing is Standing.PENDING:
                entry.retry_at = now + self._limits.answer_within_s * min(entry.tries, 6)
            else:
                entry.retry_at = now
            late.append(entry.subscription)
        return late

    def unheard(self) -> bool:
        """Whether the upstream leaves an unsubscribe unanswered again and again: nothing we say arrives.

        The place can't be given to another while the upstream may hold it, so only a new connection helps.
        (A subscribe may go unanswered for reasons of its own.)
        """
        return any(
            entry.standing is Standing.LEAVING and entry.tries > UNHEARD_AFTER
            for entry in self._unsettled.values()
        )

    # -- what the upstream said ------------------------------------------------------------------------

    def answered(self, method: str, echo: Mapping[str, object], now: float) -> Subscription | None:
        """An acknowledgement. Returns the subscription it answers, None when it is none of ours."""
        entry = self._find(Subscription(echo))
        if entry is None:
            return None
        if method == "subscribe":
            self._confirm(entry, now)
        elif entry.standing is Standing.LEAVING:
            self._left(entry, now)
        return entry.subscription

    def data(self, subscription: Subscription, now: float) -> bool:
        """Data of a stream arrived: it confirms like an acknowledgement. False if we want no such stream."""
        entry = self._entries.get(subscription)
        if entry is None:
            return False
        if entry.standing is not Standing.CONFIRMED:
            self._confirm(entry, now)
        return entry.standing is Standing.CONFIRMED

    def refused(self, text: str, now: float) -> Subscription | None:
        """An error text. Returns the subscription it refuses, None where it refuses none of ours.

        Texts with an echo name their request. `Cannot track more than 15 total users.` and its kin do not;
        requests of one connection are answered in order, so the oldest pending one is meant, and the
        ceiling it reveals is kept for a while.
        """
        entry: Entry | None
        if text.startswith("Cannot send more than"):
            # Nothing is wrong with the request: it goes again once the minute is over.
            entry = self._oldest(Standing.PENDING, Standing.LEAVING)
            if entry is not None:
                entry.asked = 0
                entry.retry_at = now + 60.0
            return None
        if text.startswith("Cannot track more than"):
            entry = self._oldest(Standing.PENDING, with_user=True)
            if entry is not None:
                self._refuse(entry, now)
                self._users_ceiling = max(1, len(self._held))
                self._ceilings_until = now + self._limits.refused_for_s
        elif text.startswith("Cannot subscribe to more than"):
            entry = self._oldest(Standing.PENDING)
            if entry is not None:
                self._refuse(entry, now)
                self._subscriptions_ceiling = max(1, self.count(Standing.PENDING, Standing.CONFIRMED))
                self._ceilings_until = now + self._limits.refused_for_s
        else:
            echo = embedded_object(text)
            if echo is None:
                return None
            inner = echo.get("subscription", echo)
            entry = self._find(Subscription(inner)) if isinstance(inner, dict) else None
            if entry is None or entry.standing is not Standing.PENDING:
                return None
            self._refuse(entry, now)
        return entry.subscription if entry is not None else None

    # -- reading ---------------------------------------------------------------------------------------

    def standing(self, subscription: Subscription) -> Standing | None:
        entry = self._entries.get(subscription)
        return entry.standing if entry is not None else None

    def confirmed(self) -> list[Subscription]:
        return [e.subscription for e in self._entries.values() if e.standing is Standing.CONFIRMED]

    def without_room(self) -> set[Subscription]:
        """What is wanted but refused, or kept back because it would exceed a limit."""
        full = 0 < self._users_ceiling <= len(self._held)
        return {
            entry.subscription
            for entry in self._unsettled.values()
            if entry.standing is Standing.REFUSED
            or (
                entry.standing is Standing.WANTED
                and full
                and entry.subscription.user is not None
                and entry.subscription.user not in self._held
            )
        }

    def count(self, *standings: Standing) -> int:
        return sum(self._standings[standing] for standing in standings)

    def check(self) -> None:
        """Every structural invariant; tests call it after each step."""
        held: Counter[str] = Counter()
        for subscription, entry in self._entries.items():
            assert entry.subscription == subscription, f"{self!r}: key and entry differ for {subscription}"
            if entry.standing in ON_THE_WIRE and subscription.user:
                held[subscription.user] += 1
        standings = Counter(entry.standing for entry in self._entries.values())
        assert +self._standings == standings, f"{self!r}: {self._standings}, counted {standings}"
        unsettled = {s for s, entry in self._entries.items() if entry.standing is not Standing.CONFIRMED}
        assert self._unsettled.keys() == unsettled, f"{self!r}: unsettled are {unsettled}"
        assert held == self._held, f"{self!r}: users held {self._held}, counted {held}"
        assert all(count > 0 for count in self._held.values()), f"{self!r}: empty slot"
        if self._limits.users:
            assert len(self._held) <= self._limits.users, f"{self!r}: too many users"
        if self._limits.subscriptions:
            assert self.count(*ON_THE_WIRE) <= self._limits.subscriptions, f"{self!r}: too many subscriptions"

    def __repr__(self) -> str:
        parts = [f"{self.count(standing)} {standing.value}" for standing in Standing if self.count(standing)]
        return f"<Ledger {', '.join(parts) or 'empty'}>"

    # -- inside ----------------------------------------------------------------------------------------

    def _set(self, entry: Entry, standing: Standing, now: float) -> None:
        user = entry.subscription.user
        if user:
            before, after = entry.standing in ON_THE_WIRE, standing in ON_THE_WIRE
            if after and not before:
                self._held[user] += 1
            elif before and not after:
                self._held[user] -= 1
                if not self._held[user]:
                    del self._held[user]
        self._standings[entry.standing] -= 1
        self._standings[standing] += 1
        if standing is Standing.CONFIRMED:
            self._unsettled.pop(entry.subscription, None)
        else:
            self._unsettled[entry.subscription] = entry
        entry.standing = standing
        entry.since = now
        entry.asked = 0

    def _remove(self, entry: Entry) -> None:
        self._set(entry, Standing.WANTED, entry.since)
        self._standings[Standing.WANTED] -= 1
        del self._unsettled[entry.subscription]
        del self._entries[entry.subscription]

    def _start_over(self, entry: Entry, now: float) -> None:
        self._set(entry, Standing.WANTED, now)
        entry.retry_at = 0.0
        entry.tries = 0
        entry.again = False

    def _leave(self, entry: Entry, now: float, *, again: bool) -> None:
        self._set(entry, Standing.LEAVING, now)
        entry.retry_at = 0.0
        entry.tries = 0
        entry.again = again

    def _left(self, entry: Entry, now: float) -> None:
        if entry.again:
            self._start_over(entry, now)
        else:
            self._remove(entry)

    def _refuse(self, entry: Entry, now: float) -> None:
        self._set(entry, Standing.REFUSED, now)
        entry.retry_at = now + self._limits.refused_for_s

    def _ask(self, entry: Entry, now: float) -> None:
        if not entry.asked:
            self._asked += 1
            entry.asked = self._asked
        entry.since = now
        entry.retry_at = math.inf

    def _awaited(self, entry: Entry) -> bool:
        """Whether the upstream owes an answer for it."""
        return entry.standing in (Standing.PENDING, Standing.LEAVING) and entry.retry_at == math.inf

    def _confirm(self, entry: Entry, now: float) -> None:
        if entry.standing is Standing.PENDING or (
            entry.standing is Standing.REFUSED
            and self._fits(entry, self._limits.users, self._limits.subscriptions, self.count(*ON_THE_WIRE))
        ):
            self._set(entry, Standing.CONFIRMED, now)
            entry.tries = 0

    def _fits(self, entry: Entry, users: int, subscriptions: int, on_wire: int) -> bool:
        """Whether one more, for its user, stays within these limits."""
        if 0 < subscriptions <= on_wire:
            return False
        user = entry.subscription.user
        return not user or user in self._held or not 0 < users <= len(self._held)

    def _oldest(self, *standings: Standing, with_user: bool = False) -> Entry | None:
        """The request of these standings that has waited longest for its answer."""
        waiting = [
            entry
            for entry in self._unsettled.values()
            if entry.standing in standings and entry.asked and (entry.subscription.user or not with_user)
        ]
        return min(waiting, key=lambda entry: entry.asked, default=None)

    def _find(self, echo: Subscription) -> Entry | None:
        exact = self._entries.get(echo)
        if exact is not None:
            return exact
        fitting = [
            entry
            for entry in self._entries.values()
            if entry.subscription.type == echo.type and entry.subscription.answered_by(echo)
        ]
        return max(fitting, key=lambda entry: len(entry.subscription.fields), default=None)
