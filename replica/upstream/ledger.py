"""Which subscriptions we want on a connection, and what the upstream has said about each.

    WANTED --sent--> PENDING --ack or first data--> CONFIRMED
      ^                 |  \\--refused------------> REFUSED --retry_at--> WANTED
      |                 `--overdue----------------> PENDING (asked again, later)
      `---------------- every state, when a connection opens
    PENDING, CONFIRMED --given up--> LEAVING --unsubscribe answered--> (gone)
    WANTED, REFUSED    --given up--> (gone)

What was asked for and not answered keeps its place under the limits: the upstream may hold it. A REFUSED one
that is acknowledged or brings data all the same was not the one refused, and is CONFIRMED if there is room.

There are subscriptions at which the upstream cuts the connection without a word (spec/websocket.md 1.3). So
what was unanswered when that happened is a *suspect*: it goes last, on a connection that has shown to work,
the one unanswered longest alone, then two, then four. Unanswered alone at the next cut, it is condemned.

Pure: values and a clock reading in, values out. The mutable state is `_entries`, its indices, and `usage`.
Rules for editing: every change of `standing` goes through `_set`, which keeps the counts of what is held.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

from replica.catalogue import Address, address_of
from replica.subscription import Subscription
from replica.upstream.usage import LedgerLimits, Usage
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
    was first wanted: the smaller goes first. `trusted`: never a suspect. `proven`: it was confirmed at some
    time, so that the upstream has nothing against it as such. `refusal` is why it is REFUSED.
    """

    subscription: Subscription
    place: int
    trusted: bool
    standing: Standing = Standing.WANTED
    since: float = 0.0
    retry_at: float = 0.0
    asked: int = 0
    tries: int = 0
    again: bool = False
    proven: bool = False
    refusal: str = ""


class Ledger:
    """Wanted, pending, confirmed. Survives reconnects; `closed` and `opened` say that nothing is held.

    No two of its subscriptions may have one address (see `packing`). `usage` is shared with the ledgers of
    other connections.
    """

    def __init__(self, limits: LedgerLimits, usage: Usage | None = None) -> None:
        self._limits = limits
        self.usage = usage or Usage(limits)
        self._entries: dict[Subscription, Entry] = {}
        self._at: dict[Address, Subscription] = {}
        # All but the confirmed ones: what there is to do is found without passing over 100,000 that are well.
        self._unsettled: dict[Subscription, Entry] = {}
        self._suspects: dict[Subscription, Entry] = {}
        self._standings: Counter[Standing] = Counter()
        self._asked = 0
        self._places = 0
        self._trial = 1

    # -- what the replica wants ------------------------------------------------------------------------

    def add(self, subscriptions: Iterable[Subscription], now: float, *, trusted: bool = True) -> None:
        """Want these too. Order is kept: the first ones are sent first. `trusted`: none can be a suspect."""
        for subscription in subscriptions:
            entry = self._entries.get(subscription)
            if entry is None:
                self._places += 1
                entry = self._entries[subscription] = Entry(subscription, self._places, trusted, since=now)
                self._at[address_of(subscription)] = subscription
                self._unsettled[subscription] = entry
                self._standings[Standing.WANTED] += 1
                continue
            if entry.standing is Standing.LEAVING:
                entry.again = True
            if trusted:
                entry.trusted = True
                self._suspects.pop(subscription, None)

    def drop(self, subscriptions: Iterable[Subscription], now: float) -> None:
        """Want these no more."""
        for subscription in subscriptions:
            entry = self._entries.get(subscription)
            if entry is None:
                continue
            if entry.standing is Standing.LEAVING:
                entry.again = False
            elif entry.standing in ON_THE_WIRE:
                self._leave(entry, now, again=False)
            else:
                self._remove(entry)

    # -- what to send ----------------------------------------------------------------------------------

    def opened(self, now: float) -> None:
        """A new connection: nothing is held on it."""
        self._start_all_over(now)

    def closed(self, now: float, *, cut: bool) -> list[Subscription]:
        """The connection is gone; `cut`: by the upstream, without a word.

        Returns those that it was cut for, by all we know: they are wanted no more.
        """
        condemned: list[Subscription] = []
        if cut:
            unanswered = sorted(
                (e for e in self._unsettled.values() if e.standing is Standing.PENDING and e.asked),
                key=lambda entry: entry.asked,
            )
            if len(unanswered) == 1 and unanswered[0].subscription in self._suspects:
                # Whatever else was suspected with it, it was this one.
                condemned.append(unanswered[0].subscription)
                self._suspects.clear()
                self._remove(unanswered[0])
            else:
                suspects = {e.subscription: e for e in unanswered if not e.trusted}
                # In front of what was not even tried again: they are the nearer ones.
                self._suspects = suspects | self._suspects
        self._start_all_over(now)
        return condemned

    def to_send(self, now: float, room: int, *, works: bool = True) -> list[tuple[str, Subscription]]:
        """The requests to send now, at most `room`, marking them sent. Never above a limit.

        Unsubscribes first: they free what a subscribe may need. `works`: the connection has been heard on.
        """
        self.usage.forget_in_time(now)
        requests: list[tuple[str, Subscription]] = []
        for entry in self._unsettled.values():
            if len(requests) >= room:
                return requests
            if entry.standing is Standing.LEAVING and entry.retry_at <= now:
                entry.tries += 1
                requests.append(("unsubscribe", entry.subscription))
                self._ask(entry, now)
        if any(self._awaited(suspect) for suspect in self._suspects.values()):
            # Should the connection be cut now, it is to be plain for which of all.
            return requests
        for entry in sorted(self._unsettled.values(), key=lambda entry: entry.place):
            if len(requests) >= room:
                return requests
            if entry.subscription not in self._suspects and self._subscribe(entry, now):
                requests.append(("subscribe", entry.subscription))
        if self._suspects and works and not any(self._awaited(e) for e in self._unsettled.values()):
            on_trial = list(self._suspects.values())[: min(self._trial, max(0, room - len(requests)))]
            asked = [e.subscription for e in on_trial if self._subscribe(e, now)]
            if asked:
                self._trial *= 2
                requests += (("subscribe", subscription) for subscription in asked)
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
        ceiling it reveals is kept for a while. One that was held on a connection before shows no ceiling:
        the upstream still counts that one, and is asked again soon.
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
                self._refuse(entry, text, now, soon=entry.proven)
                if not entry.proven:
                    self.usage.users_refused(text, now)
        elif text.startswith("Cannot subscribe to more than"):
            entry = self._oldest(Standing.PENDING)
            if entry is not None:
                self._refuse(entry, text, now, soon=entry.proven)
                if not entry.proven:
                    self.usage.subscriptions_refused(now)
        else:
            echo = embedded_object(text)
            if echo is None:
                return None
            inner = echo.get("subscription", echo)
            entry = self._find(Subscription(inner)) if isinstance(inner, dict) else None
            if entry is None or entry.standing is not Standing.PENDING:
                return None
            entry.proven = False
            self._refuse(entry, text, now, soon=False)
        return entry.subscription if entry is not None else None

    # -- reading ---------------------------------------------------------------------------------------

    def standing(self, subscription: Subscription) -> Standing | None:
        entry = self._entries.get(subscription)
        return entry.standing if entry is not None else None

    def at(self, address: Address) -> Subscription | None:
        """The one subscription whose frames say this of themselves."""
        return self._at.get(address)

    def refusal(self, subscription: Subscription) -> str | None:
        """The upstream's words against this one, where it will get no answer for a while because of them."""
        entry = self._entries.get(subscription)
        if entry is None or entry.proven:
            return None
        if entry.standing is Standing.REFUSED:
            return entry.refusal
        waits = entry.standing is Standing.WANTED and self.usage.no_user_more(subscription.user)
        return self.usage.users_text if waits else None

    def wanted(self) -> list[Subscription]:
        """All but those that the upstream is to let go."""
        return [
            e.subscription for e in self._entries.values() if e.again or e.standing is not Standing.LEAVING
        ]

    def confirmed(self) -> list[Subscription]:
        return [e.subscription for e in self._entries.values() if e.standing is Standing.CONFIRMED]

    def without_room(self) -> set[Subscription]:
        """What is wanted but refused, or kept back because it would exceed a limit."""
        return {
            entry.subscription
            for entry in self._unsettled.values()
            if entry.standing is Standing.REFUSED
            or (entry.standing is Standing.WANTED and self.usage.no_user_more(entry.subscription.user))
        }

    def count(self, *standings: Standing) -> int:
        return sum(self._standings[standing] for standing in standings)

    @property
    def suspects(self) -> int:
        """How many may be what the upstream cut the connection for."""
        return len(self._suspects)

    def __len__(self) -> int:
        return len(self._entries)

    def check(self) -> None:
        """Every structural invariant of this ledger; tests call it after each step. See `check_usage`."""
        for subscription, entry in self._entries.items():
            assert entry.subscription == subscription, f"{self!r}: key and entry differ for {subscription}"
            assert not (entry.trusted and subscription in self._suspects), (
                f"{self!r}: {subscription} suspected"
            )
        standings = Counter(entry.standing for entry in self._entries.values())
        assert +self._standings == standings, f"{self!r}: {self._standings}, counted {standings}"
        unsettled = {s for s, entry in self._entries.items() if entry.standing is not Standing.CONFIRMED}
        assert self._unsettled.keys() == unsettled, f"{self!r}: unsettled are {unsettled}"
        assert self._suspects.keys() <= unsettled, f"{self!r}: suspects are {self._suspects}"
        assert set(self._at.values()) == self._entries.keys(), f"{self!r}: two with one address"

    def __repr__(self) -> str:
        parts = [f"{self.count(standing)} {standing.value}" for standing in Standing if self.count(standing)]
        return f"<Ledger {', '.join(parts) or 'empty'}>"

    # -- inside ----------------------------------------------------------------------------------------

    def _set(self, entry: Entry, standing: Standing, now: float) -> None:
        before, after = entry.standing in ON_THE_WIRE, standing in ON_THE_WIRE
        if after and not before:
            self.usage.take(entry.subscription.user)
        elif before and not after:
            self.usage.give_back(entry.subscription.user)
        self.usage.leaving += (standing is Standing.LEAVING) - (entry.standing is Standing.LEAVING)
        self._standings[entry.standing] -= 1
        self._standings[standing] += 1
        if standing is Standing.CONFIRMED:
            self._unsettled.pop(entry.subscription, None)
        else:
            self._unsettled[entry.subscription] = entry
        if standing not in (Standing.WANTED, Standing.PENDING):
            self._suspects.pop(entry.subscription, None)
        entry.standing = standing
        entry.since = now
        entry.asked = 0

    def _remove(self, entry: Entry) -> None:
        self._set(entry, Standing.WANTED, entry.since)
        self._standings[Standing.WANTED] -= 1
        self._suspects.pop(entry.subscription, None)
        del self._unsettled[entry.subscription]
        del self._entries[entry.subscription]
        address = address_of(entry.subscription)
        if self._at.get(address) == entry.subscription:
            del self._at[address]

    def _start_all_over(self, now: float) -> None:
        self._trial = 1
        for entry in list(self._entries.values()):
            if entry.standing is Standing.LEAVING and not entry.again:
                self._remove(entry)
            else:
                self._start_over(entry, now)
        if not self.usage.on_wire:
            self.usage.forget()

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

    def _refuse(self, entry: Entry, text: str, now: float, *, soon: bool) -> None:
        self._set(entry, Standing.REFUSED, now)
        entry.refusal = text
        longest = self._limits.refused_for_s
        soonest = self._limits.answer_within_s * entry.tries**2
        entry.retry_at = now + (min(soonest, longest) if soon else longest)

    def _subscribe(self, entry: Entry, now: float) -> bool:
        """Ask for it if it is due and there is room for it."""
        if entry.standing not in TO_ASK or entry.retry_at > now:
            return False
        if entry.standing is not Standing.PENDING:
            if not self.usage.fits_by_now(entry.subscription.user):
                return False
            self._set(entry, Standing.PENDING, now)
        entry.tries += 1
        self._ask(entry, now)
        return True

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
            entry.standing is Standing.REFUSED and self.usage.fits(entry.subscription.user)
        ):
            self._set(entry, Standing.CONFIRMED, now)
            entry.tries = 0
            entry.proven = True

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


def check_usage(usage: Usage, ledgers: Iterable[Ledger]) -> None:
    """The shared counts against the ledgers that share them."""
    entries = [e for ledger in ledgers for e in ledger._entries.values() if e.standing in ON_THE_WIRE]
    held = Counter(entry.subscription.user for entry in entries if entry.subscription.user)
    usage.check(held, len(entries), sum(entry.standing is Standing.LEAVING for entry in entries))
