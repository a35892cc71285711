"""Everything we remember of account states. `apply` is the only mutation, and it never awaits.

The mutable state is `tables`, `version`, the order of `_cached` and the set `_followed`.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from replica.events import AccountFetched, AccountStates, FollowingEnded, State
from replica.state.clearinghouse import HeldState

Event = AccountStates | AccountFetched | FollowingEnded


@dataclass(frozen=True, slots=True)
class Bounds:
    """How long account states are trusted. Seconds; `frozen_after_s` 0 switches that check off.

    `live_s`: a fed state is live for this long after its push (just above the feed's own cadence of 5 s).
    `ttl_s`: a fetched state is served from memory for this long.
    `frozen_after_s`: pushes that repeat one `time` for longer no longer keep a state live; 0 also for an
    upstream whose times mean nothing (a recording), so that they are not judged late either.
    `cached_states`: how many states nobody feeds are kept; the longest unrefreshed go first.
    """

    live_s: float = 6.0
    ttl_s: float = 5.0
    frozen_after_s: float = 15.0
    cached_states: int = 100_000


class Store:
    """The newest known state per (dex, user), newest by the upstream's own clock.

    A state never goes back in time, whatever order pushes and fetches arrive in: one that is older than
    what is held is passed over. `version` grows with every change of bytes.
    """

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._tables: dict[str, dict[str, HeldState]] = {}
        self._cached: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._followed: set[str] = set()
        self._watchers: dict[tuple[str, str], list[Callable[[], None]]] = {}
        self.version = 0
        self.passed_over = 0

    # -- reading ---------------------------------------------------------------------------------------

    @property
    def tables(self) -> Mapping[str, Mapping[str, HeldState]]:
        """dex -> user -> state. Read within one stretch without `await`: that is one version."""
        return self._tables

    def table(self, dex: str) -> Mapping[str, HeldState]:
        """user -> state of one dex; empty if nothing of it is held."""
        return self._tables.get(dex, {})

    def get(self, user: str, dex: str) -> HeldState | None:
        table = self._tables.get(dex)
        return table.get(user) if table is not None else None

    def followed(self, user: str) -> bool:
        """Whether a feed keeps this account: it was pushed and its feed has not ended since."""
        return user in self._followed

    @property
    def followed_count(self) -> int:
        """How many accounts a feed keeps right now."""
        return len(self._followed)

    def __len__(self) -> int:
        return sum(len(table) for table in self._tables.values())

    def watch(self, user: str, dex: str, changed: Callable[[], None]) -> Callable[[], None]:
        """Call `changed` (inside `apply`) whenever this document is heard of. Returns the undo."""
        key = (dex, user)
        self._watchers.setdefault(key, []).append(changed)

        def unwatch() -> None:
            callbacks = self._watchers.get(key, [])
            if changed in callbacks:
                callbacks.remove(changed)
            if not callbacks:
                self._watchers.pop(key, None)

        return unwatch

    # -- the only mutation -----------------------------------------------------------------------------

    def apply(self, event: Event, now: float, *, late_s: float = 0.0) -> None:
        """Take in one event. `now` is our monotonic clock.

        `late_s`: how much longer than usual a push was on its way. Its states are that much older.
        """
        if isinstance(event, AccountStates):
            self._pushed(event, now, now - late_s)
        elif isinstance(event, AccountFetched):
            self._fetched(event, now)
        else:
            self._ended(event)

    def _pushed(self, event: AccountStates, now: float, heard: float) -> None:
        user = event.user
        if user not in self._followed:
            self._followed.add(user)
            for dex in self._tables:
                self._cached.pop((dex, user), None)
        live_s = self._bounds.live_s
        frozen_s = self._bounds.frozen_after_s
        for state in event.states:
            held = self._newest(user, state, now)
            if held is None:
                continue
            held.received = heard
            live_until = heard + live_s
            if frozen_s and held.advanced + frozen_s < live_until:
                live_until = held.advanced + frozen_s
            held.live_until = live_until
            held.fresh_until = live_until if live_until > held.ttl_until else held.ttl_until
            self._tell(user, state.dex)

    def _fetched(self, event: AccountFetched, now: float) -> None:
        user, state, started = event
        held = self._newest(user, state, now)
        if held is None:
            held = self._tables[state.dex][user]
            if held.advanced < started:
                # Older than what we held before we asked: whoever answered lags, and tells nothing of now.
                return
            # What came while we were asking is newer than the answer, so it is at least as good.
        else:
            held.fetched = True
            held.received = max(held.received, started)
        held.reflects = max(held.reflects, started)
        held.ttl_until = max(held.ttl_until, started + self._bounds.ttl_s)
        held.fresh_until = max(held.live_until, held.ttl_until)
        if user not in self._followed:
            key = (state.dex, user)
            self._cached[key] = None
            self._cached.move_to_end(key)
            self._evict()
        self._tell(user, state.dex)

    def _ended(self, event: FollowingEnded) -> None:
        for user in event.users:
            if user not in self._followed:
                continue
            self._followed.discard(user)
            for dex, table in self._tables.items():
                held = table.get(user)
                if held is not None:
                    held.live_until = 0.0
                    held.fresh_until = held.ttl_until
                    self._cached[(dex, user)] = None
        self._evict()

    def _newest(self, user: str, state: State, now: float) -> HeldState | None:
        """Hold this state unless a newer one is held; None if it was passed over."""
        table = self._tables.get(state.dex)
        if table is None:
            table = self._tables[state.dex] = {}
        old = table.get(user)
        if old is None:
            held = table[user] = HeldState(user, state.body, state.time)
            held.advanced = now
            self.version += 1
            return held
        if state.time < old.as_of:
            self.passed_over += 1
            return None
        if state.time == old.as_of and old.body == state.body:
            return old
        held = table[user] = HeldState(user, state.body, state.time)
        # What an older state already reflected, a newer one reflects too; and a feed that vouched for the
        # older one vouches for it no less: a fetch in between does not take an account out of live.
        held.reflects = old.reflects
        held.live_until = old.live_until
        # A state without a time moves forward when its bytes do: that is all there is to see of it.
        held.advanced = now if state.time > old.as_of or not state.time else old.advanced
        self.version += 1
        return held

    def _evict(self) -> None:
        while len(self._cached) > self._bounds.cached_states:
            (dex, user), _ = self._cached.popitem(last=False)
            table = self._tables[dex]
            del table[user]
            if not table:
                del self._tables[dex]

    def _tell(self, user: str, dex: str) -> None:
        if self._watchers:
            for changed in list(self._watchers.get((dex, user), ())):
                changed()

    # -- proof -----------------------------------------------------------------------------------------

    def check(self) -> None:
        """Every structural invariant; tests call it after each step."""
        for dex, user in self._cached:
            assert user in self._tables[dex], f"cached but not held: {dex} {user}"
            assert user not in self._followed, f"cached though followed: {dex} {user}"
        for dex, user, held in self._all():
            assert user in self._followed or (dex, user) in self._cached, f"held by nobody: {dex} {user}"
            assert held.piece.startswith(b'["%s",{' % user.encode()), f"piece of another: {dex} {user}"
            assert held.fresh_until == max(held.live_until, held.ttl_until), f"{held!r}: fresh for no reason"
            if user not in self._followed:
                assert held.live_until == 0.0, f"{held!r}: live without a feed"
        assert len(self._cached) <= self._bounds.cached_states

    def _all(self) -> Iterator[tuple[str, str, HeldState]]:
        for dex, table in self._tables.items():
            for user, held in table.items():
                yield dex, user, held

    def __repr__(self) -> str:
        return f"<Store v{self.version}: {len(self)} states, {len(self._followed)} accounts followed>"
