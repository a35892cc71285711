"""Batches of account reads: the request checked against the contract, the answer read from one cut.

The contract is that of hosted vendors' `batchClearinghouseStates`; its siblings have the same request,
limits, refusals and partial failure, and differ in what a user's row is made of (`KINDS`). Pure: everything
here runs in one stretch over one version of what is held. Source: spec/info.md, section 3.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

import orjson

from server.freshness import STALE, Dated, batch_provenance
from server.reply import (
    BATCH_NO_USERS,
    BATCH_TOO_MANY,
    BATCH_TOO_MANY_ALL_DEXES,
    JSON,
    NOT_DESERIALIZED,
    Reply,
    refusal,
)

ALL_DEXES = "ALL_DEXES"
NATIVE = "native"
is_address = re.compile(r"0x[0-9a-fA-F]{40}").fullmatch

OPENING = b'{"successful_states":['
NONE_FAILED = b'],"failed_wallets":[]}'

NOT_STRINGS = refusal(400, "users must be a list of addresses")
NOT_A_DEX = refusal(400, "dex must be a string")


class Part(NamedTuple):
    """One read of `/info` that a user's row is made of. `per_dex`: of each dex that was asked for."""

    type: str
    per_dex: bool


class Kind(NamedTuple):
    """What a user's row is made of: the one part as it is, or several as an object with a field for each.

    `per_dex`: the request's `dex` means something, because some part has it.
    """

    parts: tuple[Part, ...]
    per_dex: bool


PORTFOLIO = Kind(
    (Part("clearinghouseState", True), Part("spotClearinghouseState", False), Part("userAbstraction", False)),
    per_dex=True,
)
KINDS: Mapping[str, Kind] = {
    "batchClearinghouseStates": Kind((Part("clearinghouseState", True),), per_dex=True),
    "batchSpotClearinghouseStates": Kind((Part("spotClearinghouseState", False),), per_dex=False),
    "batchOpenOrders": Kind((Part("openOrders", True),), per_dex=True),
    "batchPortfolioStates": PORTFOLIO,
    "portfolioState": PORTFOLIO,
}
"""Every type that is answered here."""


class BatchLimits(NamedTuple):
    """Most users of one batch: of a single dex, and over all dexes."""

    max_users: int = 1000
    max_users_all_dexes: int = 100


class BatchRequest(NamedTuple):
    """A well-formed batch. `users` as the caller spelt them; `dex` the wire's name, or ALL_DEXES."""

    users: Sequence[str]
    dex: str


def read_batch(
    request: Mapping[str, object], limits: BatchLimits, *, per_dex: bool = True
) -> BatchRequest | Reply:
    """Check the request against the contract's error table, in its order.

    Where a type is not `per_dex`, its `dex` is a superfluous field. That each user is a string is not looked
    at here: the hot path needs no such pass. See `all_strings`.
    """
    users = request.get("users")
    dex = request.get("dex") if per_dex else None
    if users is None or users == []:
        return BATCH_NO_USERS
    if not isinstance(users, list):
        return NOT_STRINGS
    if dex is None:
        dex = ""
    elif not isinstance(dex, str):
        return NOT_A_DEX
    if dex == ALL_DEXES:
        if len(users) > limits.max_users_all_dexes:
            return BATCH_TOO_MANY_ALL_DEXES
    elif len(users) > limits.max_users:
        return BATCH_TOO_MANY
    return BatchRequest(users, dex)


def all_strings(users: Sequence[object]) -> bool:
    """Whether every user can be named in `failed_wallets`, which is a list of strings."""
    return all(isinstance(user, str) for user in users)


def read_official(request: Mapping[str, object], limits: BatchLimits) -> BatchRequest | Reply:
    """Check a batch as the exchange's own server does: what does not deserialize is a plain 422.

    Our bound on the users stays; none of the exchange's was ever published.
    """
    users = request.get("users")
    dex = request.get("dex")
    if not isinstance(users, list) or not (dex is None or isinstance(dex, str)):
        return NOT_DESERIALIZED
    if not all(isinstance(user, str) and is_address(user) for user in users):
        return NOT_DESERIALIZED
    return BATCH_TOO_MANY if len(users) > limits.max_users else BatchRequest(users, dex or "")


def read_portfolio(request: Mapping[str, object]) -> BatchRequest | Reply:
    """Check a `portfolioState`: a batch of one, refused as the native types of one account are."""
    user = request.get("user")
    dex = request.get("dex")
    if not isinstance(user, str) or not is_address(user) or not (dex is None or isinstance(dex, str)):
        return NOT_DESERIALIZED
    return BatchRequest((user,), dex or "")


# -- what is looked for --------------------------------------------------------------------------------


class Key(NamedTuple):
    """One read of `/info`. `user` in lower case; `dex` "" for the main one and where there is none."""

    type: str
    user: str
    dex: str


class Scope(NamedTuple):
    """The dexes of a batch. `by_name`: as an object by their names, else as the one state."""

    dexes: tuple[str, ...]
    by_name: bool


def wanted(kind: Kind, users: Sequence[str], scope: Scope) -> Iterator[Key]:
    """Every read that the rows of these users (canonical addresses) are made of, user by user.

    What a row can't do without comes first: where not all can be had, as many users as may be are whole.
    """
    parts = sorted(kind.parts, key=lambda part: part.per_dex)
    for user in users:
        for type_, per_dex in parts:
            for dex in scope.dexes if per_dex else ("",):
                yield Key(type_, user, dex)


class Readable(Dated, Protocol):
    """What answers one read, to the byte as the exchange did."""

    @property
    def body(self) -> bytes: ...


class Held(NamedTuple):
    """What may be served for one read; `stale` where it only stands in for what can't be had."""

    document: Readable
    stale: bool


Look = Callable[[Key], Held | None]


# -- what is answered ----------------------------------------------------------------------------------


class Row(NamedTuple):
    """What a user is answered, and what it was made of."""

    body: bytes
    made_of: tuple[Held, ...]


def read_row(kind: Kind, user: str, scope: Scope, look: Look) -> Row | Key:
    """One user's row, or the first read that it lacks.

    Of a part over all dexes those count that can be served; it is lacking only if none can. `user` canonical.
    """
    made_of: list[Held] = []
    bodies = []
    for type_, per_dex in kind.parts:
        if per_dex and scope.by_name:
            states = []
            for dex in scope.dexes:
                held = look(Key(type_, user, dex))
                if held is not None:
                    made_of.append(held)
                    states.append(b"%s:%s" % (orjson.dumps(dex or NATIVE), held.document.body))
            if not states:
                return Key(type_, user, scope.dexes[0])
            bodies.append(b"{%s}" % b",".join(states))
        else:
            key = Key(type_, user, scope.dexes[0] if per_dex else "")
            held = look(key)
            if held is None:
                return key
            made_of.append(held)
            bodies.append(held.document.body)
    if len(bodies) == 1:
        return Row(bodies[0], tuple(made_of))
    fields = (b'"%s":%s' % (part.type.encode(), body) for part, body in zip(kind.parts, bodies, strict=True))
    return Row(b"{%s}" % b",".join(fields), tuple(made_of))


def read_rows(kind: Kind, users: Sequence[str], scope: Scope, look: Look, source: bytes, now: float) -> Reply:
    """The batch from whatever `look` finds. Order, spelling and duplicates as the caller's."""
    rows: list[bytes] = []
    failed: list[str] = []
    made_of: list[Held] = []
    for user in users:
        row = read_row(kind, user.lower(), scope, look) if is_address(user) else None
        if isinstance(row, Row):
            rows.append(b'["%s",%s]' % (user.encode(), row.body))
            made_of += row.made_of
        else:
            failed.append(user)
    body = b"".join((OPENING, b",".join(rows), b'],"failed_wallets":', orjson.dumps(failed), b"}"))
    return _reply(body, made_of, source, now)


def read_array(
    kind: Kind, users: Sequence[str], scope: Scope, look: Look, source: bytes, now: float
) -> Reply | Key:
    """The states alone, in the order of the users, who are addresses; or the first read that is lacking.

    All or nothing: who zips them with the users must not be given less.
    """
    rows: list[bytes] = []
    made_of: list[Held] = []
    for user in users:
        row = read_row(kind, user.lower(), scope, look)
        if not isinstance(row, Row):
            return row
        rows.append(row.body)
        made_of += row.made_of
    return _reply(b"[%s]" % b",".join(rows), made_of, source, now)


def read_one(kind: Kind, user: str, scope: Scope, look: Look, source: bytes, now: float) -> Reply | Key:
    """The row of one user (an address) alone; or the first read that it lacks."""
    row = read_row(kind, user.lower(), scope, look)
    return _reply(row.body, row.made_of, source, now) if isinstance(row, Row) else row


def _reply(body: bytes, made_of: Sequence[Held], source: bytes, now: float) -> Reply:
    if made_of:
        times = [held.document.as_of for held in made_of]
        source = STALE if any(held.stale for held in made_of) else source
        first = min(held.document.received for held in made_of)
        headers = batch_provenance(source, min(times), max(times), now - first)
    else:
        headers = batch_provenance(source, 0, 0, 0.0)
    headers.append((b"content-type", JSON))
    return Reply(200, headers, body)
