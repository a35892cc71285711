"""`batchClearinghouseStates`: the request checked against the contract, the answer read from one cut.

Pure: everything here runs in one stretch over one version of the store.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import orjson

from replica import HeldState
from server.freshness import MEMORY, STALE, batch_provenance
from server.reply import (
    BATCH_NO_USERS,
    BATCH_TOO_MANY,
    BATCH_TOO_MANY_ALL_DEXES,
    JSON,
    Reply,
    refusal,
)

ALL_DEXES = "ALL_DEXES"
NATIVE = "native"
is_address = re.compile(r"0x[0-9a-fA-F]{40}").fullmatch

OPENING = b'{"successful_states":['
NONE_FAILED = b'],"failed_wallets":[]}'


class BatchLimits(NamedTuple):
    """Most users of one batch: of a single dex, and over all dexes."""

    max_users: int = 1000
    max_users_all_dexes: int = 100


class BatchRequest(NamedTuple):
    """A well-formed batch. `users` as the caller spelt them; `dex` the wire's name, or ALL_DEXES."""

    users: Sequence[str]
    dex: str


def read_batch(request: Mapping[str, object], limits: BatchLimits) -> BatchRequest | Reply:
    """Check the request against the contract's error table, in its order.

    That each user is a string is not looked at here: the hot path needs no such pass. See `all_strings`.
    """
    users = request.get("users")
    dex = request.get("dex")
    if users is None or users == []:
        return BATCH_NO_USERS
    if not isinstance(users, list):
        return refusal(400, "users must be a list of addresses")
    if dex is None:
        dex = ""
    elif not isinstance(dex, str):
        return refusal(400, "dex must be a string")
    if dex == ALL_DEXES:
        if len(users) > limits.max_users_all_dexes:
            return BATCH_TOO_MANY_ALL_DEXES
    elif len(users) > limits.max_users:
        return BATCH_TOO_MANY
    return BatchRequest(users, dex)


def all_strings(users: Sequence[object]) -> bool:
    """Whether every user can be named in `failed_wallets`, which is a list of strings."""
    return all(isinstance(user, str) for user in users)


def from_memory(
    table: Mapping[str, HeldState], users: Sequence[str], now: float, *, since: float
) -> Reply | None:
    """The whole batch of one dex, or None if some user of it needs more than a look.

    This is the hot path: one look-up per user and one join, and nothing else. `since`: a state received
    before that is too old for the request (our monotonic clock, like `now`).
    """
    rows: list[bytes] = []
    append = rows.append
    oldest = 1 << 62
    newest = 0
    first = 1e18
    try:
        for user in users:
            # A user in any spelling but the canonical one is no key: the long way finds it.
            held = table[user]
            if held.fresh_until <= now:
                return None
            as_of = held.as_of
            if as_of < oldest:
                oldest = as_of
            if as_of > newest:
                newest = as_of
            if held.received < first:
                first = held.received
            append(held.piece)
    except (KeyError, TypeError):
        return None
    if first < since:
        return None
    # The frame goes into the first and last row: the megabyte is joined once and not copied again.
    rows[0] = OPENING + rows[0]
    rows[-1] += NONE_FAILED
    headers = batch_provenance(MEMORY, oldest, newest, now - first)
    headers.append((b"content-type", JSON))
    return Reply(200, headers, b",".join(rows))


class Row(NamedTuple):
    """A state that goes into an answer; `stale` where it only stands in for one that can't be had."""

    held: HeldState
    stale: bool


Look = Callable[[str, str], Row | None]
"""(user, dex) -> what may be served for it."""


def read_single_dex(users: Sequence[str], dex: str, look: Look, source: bytes, now: float) -> Reply:
    """The batch of one dex from whatever `look` finds. Order, spelling and duplicates as the caller's."""
    cut = _Cut()
    for user in users:
        held = cut.take(look(user.lower(), dex)) if is_address(user) else None
        if held is None:
            cut.failed.append(user)
        elif user.islower():
            cut.rows.append(held.piece)
        else:
            cut.rows.append(b'["%s",%s]' % (user.encode(), held.body))
    return cut.reply(source, now)


def read_all_dexes(
    users: Sequence[str], dexes: Sequence[str], look: Look, source: bytes, now: float
) -> Reply:
    """The batch over `dexes`: each user an object by dex, the main one under "native".

    A user is in `failed_wallets` only if none of the dexes can be served.
    """
    cut = _Cut()
    names = [(dex, orjson.dumps(dex or NATIVE)) for dex in dexes]
    for user in users:
        states = []
        if is_address(user):
            for dex, name in names:
                held = cut.take(look(user.lower(), dex))
                if held is not None:
                    states.append(b"%s:%s" % (name, held.body))
        if states:
            cut.rows.append(b'["%s",{%s}]' % (user.encode(), b",".join(states)))
        else:
            cut.failed.append(user)
    return cut.reply(source, now)


class _Cut:
    """What one stretch over the store gave: the rows, and what their headers have to say."""

    __slots__ = ("failed", "first", "newest", "oldest", "rows", "stale")

    def __init__(self) -> None:
        self.rows: list[bytes] = []
        self.failed: list[str] = []
        self.oldest = 1 << 62
        self.newest = 0
        self.first = 1e18
        self.stale = False

    def take(self, row: Row | None) -> HeldState | None:
        if row is None:
            return None
        held = row.held
        self.stale = self.stale or row.stale
        self.oldest = min(self.oldest, held.as_of)
        self.newest = max(self.newest, held.as_of)
        self.first = min(self.first, held.received)
        return held

    def reply(self, source: bytes, now: float) -> Reply:
        failed = orjson.dumps(self.failed)
        body = b"".join((OPENING, b",".join(self.rows), b'],"failed_wallets":', failed, b"}"))
        if self.rows:
            source = STALE if self.stale else source
            headers = batch_provenance(source, self.oldest, self.newest, now - self.first)
        else:
            headers = batch_provenance(source, 0, 0, 0.0)
        headers.append((b"content-type", JSON))
        return Reply(200, headers, body)
