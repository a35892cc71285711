"""Whatever is lost, repeated, delayed or reordered on the way: the store never goes back, never calls stale
live, and equals the truth once the feed is quiet."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from replica.events import AccountFetched, AccountStates, FollowingEnded, State
from replica.state.store import Bounds, Event, Store

USERS = ["0x" + letter * 40 for letter in "abc"]
DEXES = ["", "xyz", "2023"]
"""The states of the last one carry no time, as those of 2023 did not."""

LIVE, TTL, FROZEN = 6.0, 5.0, 15.0

Key = tuple[str, str]

users = st.sampled_from([*USERS[:1] * 2, *USERS])
dexes = st.sampled_from(["", *DEXES])
steps = st.sampled_from([0.0, 0.5, 1.0, 4.9, 5.0, 6.0, 10.0, 15.0])
back = st.integers(0, 3)


@dataclass
class Truth:
    """One document at the exchange: the moment at which each of its versions came to be."""

    user: str
    dex: str
    since: list[float] = field(default_factory=lambda: [0.0])

    def state(self, version: int) -> State:
        time = 0 if self.dex == "2023" else 1000 + version
        body = b'{"version":"%d","of":"%s"' % (version, self.user.encode())
        return State(self.dex, body + (b',"time":%d}' % time if time else b"}"), time)

    def latest(self, back: int = 0) -> int:
        return max(0, len(self.since) - 1 - back)

    def version_at(self, moment: float) -> int:
        return max(version for version, since in enumerate(self.since) if since <= moment)


@dataclass
class Memory:
    """What the model knows of one held document."""

    state: State
    advanced: float
    pushed: float = -math.inf
    vouched: float = -math.inf


@dataclass
class Question:
    """A fetch under way. `lagging`: it will be answered with what we already knew to be old."""

    truth: Truth
    started: float
    lagging: bool


class Feed(RuleBasedStateMachine):
    @initialize(cached=st.integers(0, 5), frozen=st.booleans())
    def begin(self, cached: int, frozen: bool) -> None:
        self.frozen = FROZEN if frozen else 0.0
        self.store = Store(Bounds(live_s=LIVE, ttl_s=TTL, frozen_after_s=self.frozen, cached_states=cached))
        self.cached_states = cached
        self.now = 0.0
        self.truth = {(dex, user): Truth(user, dex) for dex in DEXES for user in USERS}
        self.memory: dict[Key, Memory] = {}
        self.followed: set[str] = set()
        self.cached: list[Key] = []
        self.asked: list[Question] = []
        self.told: list[Key] = []
        self.watched: dict[Key, Callable[[], None]] = {}

    # -- what happens ------------------------------------------------------------------------------------

    @rule(seconds=steps)
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(user=users, dex=dexes)
    def move(self, user: str, dex: str) -> None:
        self.now += 0.001
        self.truth[dex, user].since.append(self.now)

    @rule(user=users, which=st.dictionaries(dexes, back), late=st.sampled_from([0.0, 0.0, 1.0, 7.0]))
    def push(self, user: str, which: dict[str, int], late: float = 0.0) -> None:
        """A push, new or old, of some dexes: what is not in it, or is never pushed, is lost."""
        states = tuple(
            self.truth[dex, user].state(self.truth[dex, user].latest(n)) for dex, n in which.items()
        )
        live_before = {state.dex: self.live(state.dex, user) for state in states}
        expected = [
            (state.dex, user)
            for state in states
            if (m := self.memory.get((state.dex, user))) is None or state.time >= m.state.time
        ]
        self.apply(AccountStates(user, states), expected, late)
        self.followed.add(user)
        self.cached = [key for key in self.cached if key[1] != user]
        for state in states:
            key = (state.dex, user)
            if key in expected:
                self.remember(key, state)
                memory = self.memory[key]
                memory.pushed = self.now - late
                moving = not self.frozen or self.now < memory.advanced + self.frozen
                assert self.live(*key) is (moving and late < LIVE), "a push just now, of a state that moves"
            else:
                assert self.live(*key) is live_before[state.dex], "a late push changes nothing"

    @rule(user=users, dex=dexes, lagging=st.booleans())
    def ask(self, user: str, dex: str, lagging: bool) -> None:
        self.asked.append(Question(self.truth[dex, user], self.now, lagging))

    @precondition(lambda self: self.asked)
    @rule(which=st.integers(0, 99), n=back)
    def answer(self, which: int, n: int) -> None:
        """The answer to a question: what was true at some moment since, unless the upstream lags."""
        question = self.asked.pop(which % len(self.asked))
        truth, started = question.truth, question.started
        key = (truth.dex, truth.user)
        version = max(truth.version_at(started), truth.latest(n))
        memory = self.memory.get(key)
        if question.lagging:
            if memory is None or memory.advanced >= started or memory.state.time <= 1000:
                return
            version = max(0, memory.state.time - 1000 - 1 - n)
        state = truth.state(version)
        live_before = self.live(*key)
        lags = memory is not None and state.time < memory.state.time and memory.advanced < started
        self.apply(AccountFetched(truth.user, state, started), [] if lags else [key])
        if lags:
            assert live_before is self.live(*key)
            return
        if memory is None or state.time >= memory.state.time:
            self.remember(key, state)
        memory = self.memory[key]
        memory.vouched = max(memory.vouched, started)
        if truth.user not in self.followed:
            self.cached = [other for other in self.cached if other != key] + [key]
            self.evict()
        if key in self.memory:
            assert self.live(*key) is live_before, "a fetch neither makes nor ends the feed's word"
            if started + TTL > self.now:
                held = self.store.get(truth.user, truth.dex)
                assert held is not None and held.fresh(self.now)

    @rule(user=users, dex=dexes, lagging=st.booleans(), moves=st.booleans(), took=steps, n=back)
    def fetch(self, user: str, dex: str, lagging: bool, moves: bool, took: float, n: int) -> None:
        if moves:
            self.move(user, dex)
        self.ask(user, dex, lagging)
        self.now += took
        self.answer(len(self.asked) - 1, n)

    @rule(ended=st.lists(users, unique=True, max_size=2))
    def end(self, ended: list[str]) -> None:
        order = [
            (dex, user)
            for user in ended
            if user in self.followed
            for dex in self.store.tables
            if (dex, user) in self.memory
        ]
        self.apply(FollowingEnded(tuple(ended), "lost"), [])
        self.followed -= set(ended)
        self.cached += order
        for key in order:
            self.memory[key].pushed = -math.inf
        self.evict()

    @rule(user=users, dex=dexes)
    def watch(self, user: str, dex: str) -> None:
        key = (dex, user)
        if key not in self.watched:
            self.watched[key] = self.store.watch(user, dex, lambda: self.told.append(key))
        else:
            self.watched.pop(key)()

    # -- what follows from it ------------------------------------------------------------------------------

    def apply(self, event: Event, expected: list[Key], late: float = 0.0) -> None:
        version, bodies = self.store.version, self.bodies()
        as_of = {key: self.store.tables[key[0]][key[1]].as_of for key in bodies}
        self.told.clear()
        self.store.apply(event, self.now, late_s=late)
        assert self.told == [key for key in expected if key in self.watched]
        after = self.bodies()
        for dex, user in as_of.keys() & after.keys():
            assert self.store.tables[dex][user].as_of >= as_of[dex, user], "back in time"
        if any(bodies.get(key) != body for key, body in after.items()):
            assert self.store.version > version
        elif bodies == after and not isinstance(event, AccountFetched):
            assert self.store.version == version

    def bodies(self) -> dict[Key, bytes]:
        return {
            (dex, user): held.body for dex, table in self.store.tables.items() for user, held in table.items()
        }

    def live(self, dex: str, user: str) -> bool:
        held = self.store.get(user, dex)
        return held is not None and held.live(self.now)

    def remember(self, key: Key, state: State) -> None:
        before = self.memory.get(key)
        if before is None:
            self.memory[key] = Memory(state, self.now)
        elif before.state != state:
            moved = state.time > before.state.time or not state.time
            before.state = state
            before.advanced = self.now if moved else before.advanced

    def evict(self) -> None:
        while len(self.cached) > self.cached_states:
            self.memory.pop(self.cached.pop(0))

    @invariant()
    def check(self) -> None:
        if not hasattr(self, "store"):
            return
        store, now = self.store, self.now
        store.check()
        assert self.bodies() == {key: memory.state.body for key, memory in self.memory.items()}
        assert len(store) == len(self.memory)
        assert store.followed_count == len(self.followed)
        assert len(self.memory) - self.cached_states <= sum(user in self.followed for _, user in self.memory)
        for (dex, user), memory in self.memory.items():
            held = store.get(user, dex)
            assert held is not None
            assert held is store.table(dex)[user]
            assert held.as_of == memory.state.time
            assert held.piece == b'["%s",%s]' % (user.encode(), held.body)
            if held.live(now):
                assert user in self.followed and store.followed(user)
                assert now < memory.pushed + LIVE
                assert not self.frozen or now < memory.advanced + self.frozen
            if held.fresh(now) and not held.live(now):
                assert now < memory.vouched + TTL
            assert held.reflects <= memory.vouched
            if memory.state.time and held.reflects > -math.inf:
                # An honest upstream: all it had answered before this moment is in the state.
                assert memory.state.time - 1000 >= self.truth[dex, user].version_at(held.reflects)

    def teardown(self) -> None:
        if not hasattr(self, "store"):
            return
        self.now += FROZEN
        for user in USERS:
            for dex in DEXES:
                self.truth[dex, user].since.append(self.now)
            self.push(user, dict.fromkeys(DEXES, 0))
        self.check()
        for (dex, user), truth in self.truth.items():
            held = self.store.get(user, dex)
            assert held is not None
            assert held.body == truth.state(truth.latest()).body
            assert held.live(self.now)
        for unwatch in self.watched.values():
            unwatch()
        assert not self.store._watchers


TestFeed = Feed.TestCase
