"""How fresh an answer must be, and how fresh it is: request directives in, provenance headers out. Pure.

The freshness contract (README, "How fresh is it?"): a read may say `Cache-Control: no-cache`, `max-age=N`
or `only-if-cached`, and `X-Replica-Not-Before: <ms>`; every answer says where it came from and how old it is.
"""

import math
from collections import OrderedDict, deque
from collections.abc import Iterable
from typing import NamedTuple, Protocol

from server.reply import Header


class Dated(Protocol):
    """What is remembered and may answer: an account state, or any other document.

    `as_of` ms of the upstream's clock, the others our monotonic clock: when it was last heard, up to when it
    may be served from memory, and from when on everything that was answered before is in it.
    """

    @property
    def as_of(self) -> int: ...
    @property
    def received(self) -> float: ...
    @property
    def fresh_until(self) -> float: ...
    @property
    def reflects(self) -> float: ...


class Floor(NamedTuple):
    """A state must be at least this new: its own time reaches `ms`, or it was asked for after `after`.

    `after` is our monotonic clock: whatever was answered before it is in a state asked for later. It is inf
    for a time the client made up, where only the state's own time can tell. `patient` then: the feed will
    get there by itself, so waiting is right and asking the upstream is not.
    """

    ms: int
    after: float
    patient: bool

    def met_by(self, held: Dated) -> bool:
        return held.as_of >= self.ms or held.reflects >= self.after


class Directives(NamedTuple):
    """What a request says about freshness. `max_age_s` inf where it sets none."""

    no_cache: bool = False
    max_age_s: float = math.inf
    only_if_cached: bool = False
    not_before_ms: int | None = None


NO_DIRECTIVES = Directives()


class BadDirective(ValueError):
    """A directive that can't be meant; the message is the client's one clear line."""


def read_directives(headers: Iterable[Header]) -> Directives:
    """Read the directives of a request (lower-case header names). Raises `BadDirective`."""
    cache_control = not_before = None
    for name, value in headers:
        if name == b"cache-control":
            cache_control = value if cache_control is None else cache_control + b"," + value
        elif name == b"x-replica-not-before":
            not_before = value
    if cache_control is None and not_before is None:
        return NO_DIRECTIVES
    no_cache = only_if_cached = False
    max_age_s = math.inf
    for directive in (cache_control or b"").decode("latin-1").lower().split(","):
        name_, _, argument = directive.strip().partition("=")
        if name_ in ("no-cache", "no-store"):
            no_cache = True
        elif name_ == "only-if-cached":
            only_if_cached = True
        elif name_ == "max-age":
            digits = argument.strip('" ')
            if not digits.isascii() or not digits.isdigit():
                raise BadDirective("Cache-Control: max-age wants whole seconds")
            max_age_s = min(max_age_s, float(int(digits[:12])))
    not_before_ms = None
    if not_before is not None:
        text = not_before.strip()
        if not text.isdigit() or len(text) > 16:
            raise BadDirective("X-Replica-Not-Before wants milliseconds since 1970")
        not_before_ms = int(text)
    return Directives(no_cache, max_age_s, only_if_cached, not_before_ms)


class Floors:
    """Which writes whose reads must not be older than. Fed by `/exchange`, asked by `/info`.

    Remembers the last write of each client, at most `clients` of them; when one must be forgotten, its floor
    becomes everybody's, because a floor may be raised for a stranger but never lost. Writes older than
    `keep_s` need no floor: nothing that old is ever served.
    """

    def __init__(self, *, keep_s: float, clients: int = 10_000) -> None:
        self._keep = keep_s
        self._clients = clients
        self._of: OrderedDict[str, Floor] = OrderedDict()
        self._everybody: Floor | None = None
        self._written: deque[Floor] = deque(maxlen=4096)

    def wrote(self, client: str, ms: int, now: float) -> Floor:
        """A write of `client` was answered at `now` (or may have happened by then): raise its floor."""
        floor = Floor(ms, now, False)
        self._of[client] = floor
        self._of.move_to_end(client)
        self._written.append(floor)
        if len(self._of) > self._clients:
            self._everybody = self._of.popitem(last=False)[1]
        return floor

    def of(self, client: str, not_before_ms: int | None, now: float) -> tuple[Floor, ...]:
        """The floors a read of `client` that demands `not_before_ms` is held to; the demanded one is last."""
        floors = []
        for floor in (self._of.get(client) if self._of else None, self._everybody):
            if floor is not None and floor.after > now - self._keep:
                floors.append(floor)
        if not_before_ms is not None:
            floors.append(self._demanded(not_before_ms, now))
        return tuple(floors)

    def _demanded(self, ms: int, now: float) -> Floor:
        # A time we handed out with a write is known by more than its number: a re-read since then will do.
        while self._written and self._written[0].after <= now - self._keep:
            self._written.popleft()
        for floor in self._written:
            if floor.ms >= ms:
                return Floor(ms, floor.after, False)
        return Floor(ms, math.inf, True)


# -- one request ---------------------------------------------------------------------------------------


class Asked(NamedTuple):
    """How fresh one request wants its answer. `now` is our monotonic clock when it came."""

    now: float
    directives: Directives
    floors: tuple[Floor, ...]

    def accepts(self, held: Dated) -> bool:
        """Whether its age and its floors allow this, fresh or not."""
        if self.now - held.received > self.directives.max_age_s:
            return False
        return all(floor.met_by(held) for floor in self.floors)

    def from_memory(self, held: Dated | None) -> bool:
        """Whether this answers the request as it is, without asking anyone."""
        return (
            held is not None
            and held.fresh_until > self.now
            and not self.directives.no_cache
            and self.accepts(held)
        )

    def may_stand_in(self, held: Dated, now: float, stale_if_error_s: float) -> bool:
        """Whether what is not fresh any more may answer, marked stale, when the upstream can't.

        Never what is below the request's floors, and nothing when the request insists on the upstream.
        """
        return not self.directives.no_cache and now - held.received <= stale_if_error_s and self.accepts(held)

    @property
    def started_after(self) -> float:
        """The moment after which an upstream call must have started to answer this one too.

        An answer is as old as its question: a shared one must be neither older than asked for nor from
        before a write.
        """
        after = max((floor.after for floor in self.floors if not floor.patient), default=-math.inf)
        return max(after, self.now - self.directives.max_age_s)

    def without_writes(self) -> "Asked":
        """The same for what no account's write changes: held to the time it demands, if any, alone."""
        if not self.floors:
            return self
        return self._replace(floors=() if self.directives.not_before_ms is None else self.floors[-1:])


class NotHeld(Exception):
    """The request forbids asking the upstream, and memory has nothing for it."""


class NotThereYet(Exception):
    """Nothing as new as demanded arrived within the bounded wait."""

    def __init__(self, floor_ms: int) -> None:
        super().__init__(f"nothing as new as {floor_ms}")
        self.floor_ms = floor_ms


# -- provenance ----------------------------------------------------------------------------------------

MEMORY = b"memory"
COALESCED = b"coalesced"
UPSTREAM = b"upstream"
STALE = b"stale"


def provenance(source: bytes, as_of: int, age_s: float) -> list[Header]:
    """The headers of one document. `as_of` 0: its time is not known, so none is said."""
    age_s = age_s if age_s > 0.0 else 0.0
    headers = [
        (b"x-replica-source", source),
        (b"x-replica-age-ms", b"%d" % (age_s * 1000)),
        (b"age", b"%d" % age_s),
    ]
    if as_of:
        headers.append((b"x-replica-as-of", b"%d" % as_of))
    return headers


def batch_provenance(source: bytes, oldest: int, newest: int, age_s: float) -> list[Header]:
    """The headers of a batch: `oldest` and `newest` upstream time of its states, and the largest age."""
    headers = provenance(source, oldest, age_s)
    if newest:
        headers.append((b"x-replica-as-of-min", b"%d" % oldest))
        headers.append((b"x-replica-as-of-max", b"%d" % newest))
    return headers
