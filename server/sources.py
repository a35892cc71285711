"""Where the parts of batches come from: memory, cache, calls and budget as of a single read of the type.

Two ways lie behind one face: account states (`Accounts`) and everything else (`Documents`).
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Protocol

import msgspec
import orjson

from replica import Document, HeldState, ReplicaError, Store
from server.accounts import Accounts, Found
from server.capabilities import Question, question
from server.documents import Answered, Documents
from server.freshness import STALE, Asked, NotHeld, NotThereYet
from server.queries.batches import Held, Readable
from server.reply import NOT_HELD, UPSTREAM_UNAVAILABLE, Reply, not_there_yet, upstream_failed


class Source(Protocol):
    """One type of read, of one account at a time (canonical user and dex)."""

    def at_once(self, user: str, dex: str, asked: Asked) -> Held | Reply | None:
        """What answers `asked` without asking anyone: a document, or a refusal known by now."""

    def newest(self, user: str, dex: str) -> Readable | None:
        """What is held and may be newer than what was just obtained, however old."""

    def stand_in(self, user: str, dex: str, asked: Asked) -> Readable | None:
        """What may answer, marked stale, where nothing better can be had."""

    async def obtain(self, user: str, dex: str, asked: Asked, left_s: float) -> Held | Reply:
        """Get what is not there at once, within `left_s` seconds; a refusal where it can't be had."""


class AccountStates:
    """`clearinghouseState`."""

    def __init__(self, accounts: Accounts, store: Store) -> None:
        self._accounts = accounts
        self._store = store

    def at_once(self, user: str, dex: str, asked: Asked) -> Held | None:
        held = self._store.get(user, dex)
        return Held(held, stale=False) if held is not None and asked.from_memory(held) else None

    def newest(self, user: str, dex: str) -> HeldState | None:
        return self._store.get(user, dex)

    def stand_in(self, user: str, dex: str, asked: Asked) -> HeldState | None:
        held = self._store.get(user, dex)
        return held if held is not None and self._accounts.may_stand_in(held, asked) else None

    async def obtain(self, user: str, dex: str, asked: Asked, left_s: float) -> Held | Reply:
        try:
            found = await self._accounts.obtain(user, dex, asked, wait_s=left_s, deadline_s=left_s)
        except (NotHeld, NotThereYet, ReplicaError) as error:
            return _refusal(error)
        if isinstance(found, Found):
            return Held(found.held, stale=found.source == STALE)
        return _passed_on(found.status, found.content_type, found.body)


class DocumentsOf:
    """Any type that is answered by `Documents` and asks for a user, and perhaps for a dex."""

    def __init__(self, type_: str, documents: Documents) -> None:
        self._type = type_
        self._documents = documents
        # The same users are asked for again and again, a thousand at a time: 3 MB at most.
        self._question = lru_cache(maxsize=4096)(self._ask)

    def at_once(self, user: str, dex: str, asked: Asked) -> Held | Reply | None:
        answered = self._documents.look(self._question(user, dex), asked)
        return None if answered is None else _usable(answered)

    def newest(self, user: str, dex: str) -> None:
        # What `obtain` gives is the newest, and what came after it is there `at_once`.
        return None

    def stand_in(self, user: str, dex: str, asked: Asked) -> Document | None:
        document = self._documents.stand_in(self._question(user, dex), asked)
        return document if document is not None and is_json(document.body) else None

    async def obtain(self, user: str, dex: str, asked: Asked, left_s: float) -> Held | Reply:
        asks = self._question(user, dex)
        try:
            answered = await self._documents.obtain(asks, asked, wait_s=left_s, deadline_s=left_s)
        except (NotHeld, NotThereYet, ReplicaError) as error:
            return _refusal(error)
        return _usable(answered)

    def _ask(self, user: str, dex: str) -> Question:
        # A request of our own making, spelt as a client's would be: both share calls and answers.
        request: dict[str, object] = {"type": self._type, "user": user}
        if dex:
            request["dex"] = dex
        asks = question(self._documents.rows, self._type, request, orjson.dumps(request))
        assert asks is not None, "the user is an address and the dex a string"
        return asks


def sources(accounts: Accounts, store: Store, documents: Documents) -> Mapping[str, Source]:
    """A source for every type that rows of batches are made of."""
    types = ("openOrders", "spotClearinghouseState", "userAbstraction")
    return {
        "clearinghouseState": AccountStates(accounts, store),
        **{type_: DocumentsOf(type_, documents) for type_ in types},
    }


def is_json(body: bytes) -> bool:
    """Whether it may be put into an answer: what is no JSON would break the rows of all other users too."""
    try:
        body.decode()
        msgspec.json.decode(body, type=msgspec.Raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True


def _usable(answered: Answered) -> Held | Reply:
    document = answered.document
    if document.status == 200 and is_json(document.body):
        return Held(document, stale=answered.source == STALE)
    return _passed_on(document.status, document.content_type, document.body)


def _passed_on(status: int, content_type: str | None, body: bytes) -> Reply:
    """The upstream's own answer where it is none that a row can be made of."""
    if status == 200:
        return UPSTREAM_UNAVAILABLE
    kind = [(b"content-type", content_type.encode("latin-1", "replace"))] if content_type else []
    return Reply(status, kind, body)


def _refusal(error: NotHeld | NotThereYet | ReplicaError) -> Reply:
    if isinstance(error, NotHeld):
        return NOT_HELD
    if isinstance(error, NotThereYet):
        return not_there_yet(error.floor_ms)
    return upstream_failed(error)
