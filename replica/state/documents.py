"""Answers of `/info` that are no account states, as they came, and how long each is fresh.

Pure. `remember`, `forget` and `expire` are the only mutations; the mutable state is the documents in the
order of their last use, their size in all, which of them bear a tag, and when tags were last expired.
"""

import math
from collections import OrderedDict
from collections.abc import Hashable, Iterable
from dataclasses import dataclass

LISTINGS = "listings"
"""The tag of what lists coins and dexes: it expires when one is listed or goes."""

OUTCOMES = "outcomes"
"""The tag of what lists outcomes and how they were settled."""

OVERHEAD = 1024
"""What a document takes beside its bytes, with its key and its tags; about, and rather too much."""


@dataclass(frozen=True, slots=True)
class DocumentLimits:
    """How much is kept. What was not used for the longest time goes first."""

    count: int = 20_000
    size: int = 256 << 20
    tags: int = 20_000


class Document:
    """One answer, immutable but for how long it may be served.

    `as_of`: when it was asked for, ms of the upstream's clock: its state is that new at least.
    `received`: the same moment by our monotonic clock; an answer is as old as its question.
    `reflects`: everything the exchange had answered before this moment (our clock) is in it.
    `fresh_until`: it may be served from memory up to then.
    `tags`: what it depends on. An event that changes that expires the tag, and with it the document.
    """

    __slots__ = ("as_of", "body", "content_type", "fresh_until", "received", "reflects", "status", "tags")

    def __init__(
        self,
        body: bytes,
        *,
        as_of: int,
        received: float,
        fresh_until: float,
        reflects: float | None = None,
        status: int = 200,
        content_type: str = "application/json",
        tags: Iterable[str] = (),
    ) -> None:
        self.body = body
        self.as_of = as_of
        self.received = received
        self.fresh_until = fresh_until
        self.reflects = received if reflects is None else reflects
        self.status = status
        self.content_type = content_type
        self.tags = tuple(tags)

    def __repr__(self) -> str:
        return f"<Document {self.status}, {len(self.body)} B as of {self.as_of}>"


class DocumentStore:
    """The newest answer to each question, newest by when it was asked.

    `keep_s`: so long it is known when a tag expired, because an answer to a question from before comes too
    late to be fresh. Of a question that was under way for longer none is.
    """

    def __init__(self, limits: DocumentLimits, *, keep_s: float) -> None:
        self._limits = limits
        self._keep_s = keep_s
        self._documents: OrderedDict[Hashable, tuple[Document, int]] = OrderedDict()
        self._size = 0
        self._tagged: dict[str, set[Hashable]] = {}
        self._expired: OrderedDict[str, float] = OrderedDict()
        self._all_expired = -math.inf

    def __len__(self) -> int:
        return len(self._documents)

    @property
    def size(self) -> int:
        """Bytes of all of it, about."""
        return self._size

    def get(self, key: Hashable) -> Document | None:
        """What is remembered under `key`, fresh or not."""
        entry = self._documents.get(key)
        if entry is None:
            return None
        self._documents.move_to_end(key)
        return entry[0]

    def remember(self, key: Hashable, document: Document, *, key_size: int = 0) -> None:
        """Hold this answer unless one that was asked for later is held. `key_size`: bytes, about."""
        old = self._documents.get(key)
        if old is not None and old[0].received > document.received:
            return
        if document.received < max(self._expired_at(document.tags), self._all_expired):
            document.fresh_until = -math.inf
        self.forget(key)
        size = len(document.body) + key_size + OVERHEAD
        if size > self._limits.size:
            return
        self._documents[key] = document, size
        self._size += size
        for tag in document.tags:
            self._tagged.setdefault(tag, set()).add(key)
        while self._size > self._limits.size or len(self._documents) > self._limits.count:
            self.forget(next(iter(self._documents)))

    def forget(self, key: Hashable) -> None:
        """Let go of what is remembered under `key`, if anything is."""
        entry = self._documents.pop(key, None)
        if entry is None:
            return
        document, size = entry
        self._size -= size
        for tag in document.tags:
            tagged = self._tagged[tag]
            tagged.discard(key)
            if not tagged:
                del self._tagged[tag]

    def expire(self, tags: Iterable[str], now: float) -> None:
        """What bears one of these tags is not fresh any more, nor is what was asked for before `now`.

        It is kept: should the upstream fail, it may stand in for its successor, marked stale.
        """
        for tag in tags:
            for key in self._tagged.get(tag, ()):
                self._documents[key][0].fresh_until = -math.inf
            self._expired[tag] = now
            self._expired.move_to_end(tag)
        while self._expired:
            tag, moment = next(iter(self._expired.items()))
            if moment > now - self._keep_s and len(self._expired) <= self._limits.tags:
                break
            # Something may be asked for twice for nothing, but nothing may be served that is too old.
            self._all_expired = moment
            del self._expired[tag]

    def _expired_at(self, tags: Iterable[str]) -> float:
        return max((self._expired.get(tag, -math.inf) for tag in tags), default=-math.inf)

    # -- proof -----------------------------------------------------------------------------------------

    def check(self) -> None:
        """Every structural invariant; tests call it after each step."""
        assert self._size == sum(size for _, size in self._documents.values())
        assert self._size <= self._limits.size
        assert len(self._documents) <= self._limits.count
        assert len(self._expired) <= self._limits.tags
        tagged: dict[str, set[Hashable]] = {}
        for key, (document, _) in self._documents.items():
            for tag in document.tags:
                tagged.setdefault(tag, set()).add(key)
        assert self._tagged == tagged

    def __repr__(self) -> str:
        return f"<DocumentStore {len(self)} documents, {self._size} B>"
