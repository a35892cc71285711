"""POST /info: from memory where that honours the read, else forwarded as the client's bytes.

`begin` answers without ever awaiting where it can; the shells (`http`, `fastpath`) call it first and only
then wait for what it could not do at once.
"""

from collections.abc import Coroutine, Iterable, Mapping
from typing import Any, NamedTuple

import orjson

from replica import Answer, HeldState, Replica, ReplicaError
from server.accounts import Accounts, AccountsSettings, Found
from server.batch import Batch, BatchSettings
from server.capabilities import TABLE, Row, Served
from server.documents import Documents, DocumentsSettings
from server.freshness import (
    MEMORY,
    UPSTREAM,
    Asked,
    BadDirective,
    Floors,
    NotHeld,
    NotThereYet,
    provenance,
    read_directives,
)
from server.queries.batches import KINDS, is_address
from server.reply import (
    BATCH_INVALID_JSON,
    JSON,
    NOT_DESERIALIZED,
    NOT_HELD,
    NOT_JSON_TYPE,
    Header,
    Reply,
    not_there_yet,
    refusal,
    upstream_failed,
)
from server.sources import sources


class InfoSettings(NamedTuple):
    """`denied_types` are refused with 403 and never reach the upstream, as those that `rows` denies."""

    accounts: AccountsSettings = AccountsSettings()
    batch: BatchSettings = BatchSettings()
    documents: DocumentsSettings = DocumentsSettings()
    rows: Mapping[str, Row] = TABLE
    denied_types: frozenset[str] = frozenset()


class Info:
    """One per server. The mutable state is in its parts: the flights under way."""

    def __init__(self, replica: Replica, floors: Floors, settings: InfoSettings) -> None:
        self._replica = replica
        self._floors = floors
        never = {type_ for type_, row in settings.rows.items() if row.served is Served.DENIED}
        denied = settings.denied_types | never
        # What is denied is not had by way of a batch either.
        self.denied = denied | {
            type_ for type_, kind in KINDS.items() if any(part.type in denied for part in kind.parts)
        }
        self._monotonic = replica.clock.monotonic
        self._store = replica.store
        self._accounts = Accounts(replica, settings.accounts)
        self.documents = Documents(replica, settings.rows, settings.documents)
        parts = sources(self._accounts, replica.store, self.documents)
        self.batch = Batch(replica, parts, settings.batch)
        self._official = settings.batch.official

    async def close(self) -> None:
        """End the upstream reads still under way."""
        await self.batch.close()
        await self._accounts.close()
        await self.documents.close()

    def begin(
        self, body: bytes, headers: Iterable[Header], client: str
    ) -> Reply | Coroutine[Any, Any, Reply]:
        """Answer one request: the reply, or a coroutine that will have it.

        `headers` with lower-case names; `client` is who is held to which floor (API key or address).
        """
        if not is_json(headers):
            return NOT_JSON_TYPE
        try:
            request = orjson.loads(body)
        except orjson.JSONDecodeError:
            return BATCH_INVALID_JSON
        if not isinstance(request, dict):
            return NOT_DESERIALIZED
        type_ = request.get("type")
        if not isinstance(type_, str):
            return NOT_DESERIALIZED
        asked = self._admit(type_, headers, client)
        if isinstance(asked, Reply):
            return asked
        if type_ == "clearinghouseState":
            return self._clearinghouse_state(request, asked)
        if type_ in KINDS:
            return self.batch.begin(type_, request, asked, official=self._official)
        return self.documents.begin(type_, request, body, asked)

    def begin_batch(
        self, type_: str, request: Mapping[str, object], headers: Iterable[Header], client: str
    ) -> Reply | Coroutine[Any, Any, Reply]:
        """Answer a decoded request of a type of `KINDS` as hosted vendors do, whatever `official` says."""
        asked = self._admit(type_, headers, client)
        return asked if isinstance(asked, Reply) else self.batch.begin(type_, request, asked)

    def _admit(self, type_: str, headers: Iterable[Header], client: str) -> Asked | Reply:
        """How fresh the answer must be; or a refusal."""
        try:
            directives = read_directives(headers)
        except BadDirective as error:
            return refusal(400, str(error))
        if type_ in self.denied:
            return refusal(403, f"type {type_[:64]} is denied here")
        now = self._monotonic()
        return Asked(now, directives, self._floors.of(client, directives.not_before_ms, now))

    # -- one account -----------------------------------------------------------------------------------

    def _clearinghouse_state(
        self, request: dict[str, object], asked: Asked
    ) -> Reply | Coroutine[Any, Any, Reply]:
        user = request.get("user")
        dex = request.get("dex")
        if not isinstance(user, str) or not is_address(user):
            return NOT_DESERIALIZED
        if dex is None:
            dex = ""
        elif not isinstance(dex, str):
            return NOT_DESERIALIZED
        user = user.lower()
        held = self._store.get(user, dex)
        if held is not None and asked.from_memory(held):
            return _state_reply(held, MEMORY, asked.now)
        return self._obtain(user, dex, asked)

    async def _obtain(self, user: str, dex: str, asked: Asked) -> Reply:
        try:
            found = await self._accounts.obtain(user, dex, asked)
        except NotHeld:
            return NOT_HELD
        except NotThereYet as error:
            return not_there_yet(error.floor_ms)
        except ReplicaError as error:
            return upstream_failed(error)
        if isinstance(found, Found):
            return _state_reply(found.held, found.source, self._monotonic())
        return self._passed_on(found)

    def _passed_on(self, answer: Answer) -> Reply:
        """The upstream's bytes, status and content type, as they came just now."""
        headers = provenance(UPSTREAM, int(self._replica.clock.wall() * 1000), 0.0)
        if answer.content_type:
            headers.append((b"content-type", answer.content_type.encode("latin-1", "replace")))
        return Reply(answer.status, headers, answer.body)


def _state_reply(held: HeldState, source: bytes, now: float) -> Reply:
    headers = provenance(source, held.as_of, now - held.received)
    headers.append((b"content-type", JSON))
    return Reply(200, headers, held.body)


def is_json(headers: Iterable[Header]) -> bool:
    """Whether the request says its body is JSON, as the exchange demands (415 otherwise)."""
    for name, value in headers:
        if name == b"content-type":
            return value == JSON or value.partition(b";")[0].strip().lower() == JSON
    return False
