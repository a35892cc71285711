"""Every `/info` answer that is no account state and no batch: from memory, else by one shared call."""

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Any, NamedTuple

from replica import Document, Replica, ReplicaError
from server.capabilities import Question, Row, question, report
from server.coalesce import Coalescer
from server.freshness import COALESCED, MEMORY, STALE, UPSTREAM, Asked, NotHeld, NotThereYet, provenance
from server.reply import NOT_DESERIALIZED, NOT_HELD, Reply, not_there_yet, upstream_failed
from server.writes import Agents, changed_by

REFUSED_KEEP_S = 3600.0
"""For so long it is told that the upstream did not know a type: it may be another one by then."""


QUESTIONS = 4096
"""So many requests are read once and not again: pollers send the same bytes all day."""

QUESTION_BYTES = 512
"""Longer ones are read every time."""


class DocumentsSettings(NamedTuple):
    """Seconds. `mainnet`: for which network writes are signed."""

    stale_if_error_s: float = 60.0
    mainnet: bool = True


class Answered(NamedTuple):
    """What answers a question, whatever its status, and where it came from."""

    document: Document
    source: bytes


class Documents:
    """One read path for all of them.

    The mutable state is the flights under way, `_refused`, `_agents`, and `_written`: writes whose effect was
    not looked into yet.
    """

    def __init__(self, replica: Replica, rows: Mapping[str, Row], settings: DocumentsSettings) -> None:
        self.rows = rows
        self._replica = replica
        self._settings = settings
        self._held = replica.documents
        self._refusals = replica.refusals
        self._monotonic = replica.clock.monotonic
        self._flights: Coalescer[Document] = Coalescer(self._monotonic)
        self._refused: dict[str, tuple[float, int]] = {}
        self._agents = Agents()
        self._questions: dict[bytes, Question] = {}
        self._written: list[Mapping[str, Any]] = []

    async def close(self) -> None:
        await self._flights.close()

    def begin(
        self, type_: str, request: Mapping[str, object], body: bytes, asked: Asked
    ) -> Reply | Coroutine[Any, Any, Reply]:
        """Answer a decoded request of a type that is not denied: the reply, or a coroutine for it."""
        asks = self._questions.get(body) or self._read(type_, request, body)
        if asks is None:
            return NOT_DESERIALIZED
        answered = self.look(asks, asked)
        if answered is not None:
            return _reply(answered, asked.now)
        return self._answer(asks, asked)

    def look(self, asks: Question, asked: Asked) -> Answered | None:
        """The answer that memory has, if it honours the request."""
        self._expire_written()
        held = self._held.get(asks.key)
        if asks.row is not None:
            if asks.row.query is not None:
                read = asks.row.query(self._replica, asks.params, asked, held)
                if read is not None:
                    return Answered(read, MEMORY)
            if not asks.row.of_accounts:
                asked = asked.without_writes()
        if held is not None and asked.from_memory(held):
            return Answered(held, MEMORY)
        refusal = self._refusals.get(asks.key)
        if refusal is not None and asked.from_memory(refusal):
            return self._instead_of(refusal, held, asked) or Answered(refusal, MEMORY)
        return None

    async def obtain(
        self,
        asks: Question,
        asked: Asked,
        *,
        wait_s: float | None = None,
        deadline_s: float | None = None,
    ) -> Answered:
        """Get an answer that memory can't give as it is (`look` said no).

        Raises `NotHeld`, `NotThereYet`, and the replica's errors where nothing held may stand in.
        """
        if asks.row is not None and not asks.row.of_accounts:
            asked = asked.without_writes()
        if asked.directives.only_if_cached:
            held = self._held.get(asks.key)
            if held is not None and self._may_stand_in(held, asked):
                return Answered(held, STALE)
            raise NotHeld
        # A time of the client's own making: what is asked for now is as new as now, and no newer.
        demanded_ms = max((floor.ms for floor in asked.floors if floor.patient), default=0)
        ahead_s = (demanded_ms - self._replica.upstream_now_ms()) / 1000.0
        if ahead_s > 0.0:
            raise NotThereYet(demanded_ms)
        try:
            document, joined = await self._flights.run(
                asks.key,
                lambda: self._replica.fetch_document(
                    asks.key,
                    asks.type,
                    asks.body,
                    ttl_s=asks.ttl_s,
                    tags=tuple(asks.tags()),
                    wait_s=wait_s,
                    deadline_s=deadline_s,
                ),
                started_after=max(asked.started_after, asked.now + ahead_s),
            )
        except ReplicaError:
            held = self._held.get(asks.key)
            if held is not None and self._may_stand_in(held, asked):
                return Answered(held, STALE)
            raise
        self._learn(asks, document)
        if document.status == 200 and not joined and asks.row is not None and asks.row.learn is not None:
            asks.row.learn(self._replica, asks.params, document)
        held = self._held.get(asks.key)
        if document.status == 200:
            if held is not None and held.received > document.received:
                # A later question was answered meanwhile: nobody is told anything older from now on.
                document = held
        else:
            answered = self._instead_of(document, held, asked)
            if answered is not None:
                return answered
        return Answered(document, COALESCED if joined else UPSTREAM)

    def stand_in(self, asks: Question, asked: Asked) -> Document | None:
        """What may answer, marked stale, where the upstream is not asked or has not answered in time."""
        held = self._held.get(asks.key)
        return held if held is not None and self._may_stand_in(held, asked) else None

    def wrote(self, request: Mapping[str, object]) -> None:
        """A write was answered, or may have happened: what it changed is not fresh any more.

        `request` is the decoded body of `/exchange`.
        """
        # Recovering who signed takes half as long as all else that we do to a write. The answer goes out
        # first; whoever reads before that was done, does it.
        self._written.append(request)
        asyncio.get_running_loop().call_soon(self._expire_written)

    def report(self, denied: frozenset[str]) -> dict[str, object]:
        """What `GET /capabilities` says."""
        now = self._monotonic()
        refused = {
            type_: ms for type_, (moment, ms) in self._refused.items() if now - moment < REFUSED_KEEP_S
        }
        return report(self.rows, denied, refused)

    # -- inside ----------------------------------------------------------------------------------------

    def _read(self, type_: str, request: Mapping[str, object], body: bytes) -> Question | None:
        asks = question(self.rows, type_, request, body)
        if asks is not None and len(body) <= QUESTION_BYTES:
            if len(self._questions) >= QUESTIONS:
                self._questions.clear()
            self._questions[body] = asks
        return asks

    async def _answer(self, asks: Question, asked: Asked) -> Reply:
        try:
            answered = await self.obtain(asks, asked)
        except NotHeld:
            return NOT_HELD
        except NotThereYet as error:
            return not_there_yet(error.floor_ms)
        except ReplicaError as error:
            return upstream_failed(error)
        return _reply(answered, self._monotonic())

    def _may_stand_in(self, held: Document, asked: Asked) -> bool:
        return asked.may_stand_in(held, self._monotonic(), self._settings.stale_if_error_s)

    def _instead_of(self, refusal: Document, held: Document | None, asked: Asked) -> Answered | None:
        """What may stand in for an upstream that failed (5xx)."""
        if refusal.status >= 500 and held is not None and self._may_stand_in(held, asked):
            return Answered(held, STALE)
        return None

    def _learn(self, asks: Question, document: Document) -> None:
        if asks.row is None:
            return
        if document.status == 422:
            # A well-formed request that is answered so is of a type that the upstream does not have.
            self._refused[asks.type] = self._monotonic(), document.as_of
        elif document.status == 200:
            self._refused.pop(asks.type, None)
            self._agents.learn_from(asks.type, asks.accounts, document.body)

    def _expire_written(self) -> None:
        if not self._written:
            return
        written, self._written = self._written, []
        if not (len(self._held) or len(self._refusals) or len(self._flights)):
            return  # nobody reads here: there is nothing to make old
        for request in written:
            self._replica.expire(changed_by(request, self._agents, mainnet=self._settings.mainnet))


def _reply(answered: Answered, now: float) -> Reply:
    """The upstream's bytes, status and content type, as they came."""
    document = answered.document
    headers = provenance(answered.source, document.as_of, now - document.received)
    if document.content_type:
        headers.append((b"content-type", document.content_type.encode("latin-1", "replace")))
    return Reply(document.status, headers, document.body)
