"""POST /exchange: policy first, then the client's bytes to the upstream, once.

A refusal of ours happens before a byte has left. After that only the upstream knows: its answer comes back
unchanged, and where there is none the outcome is said to be unknown and how to find out.
"""

import logging
import os
from collections.abc import Iterable
from typing import Any, NamedTuple

import orjson

from replica import BudgetExhausted, Replica, WriteNotSent, WriteOutcomeUnknown
from server.documents import Documents
from server.freshness import Floors
from server.info import is_json
from server.reply import (
    NOT_DESERIALIZED,
    NOT_JSON,
    NOT_JSON_TYPE,
    Header,
    Reply,
    refusal,
    too_many_requests,
)

logger = logging.getLogger(__name__)

FIND_OUT = (
    "the action may or may not have been executed: ask orderStatus by cloid (or openOrders and userFills) "
    "before sending anything again"
)


class ExchangePolicy(NamedTuple):
    """What may be forwarded. `allowed_actions` empty: every type. Refusals are 403."""

    read_only: bool = False
    allowed_actions: frozenset[str] = frozenset()
    kill_switch_file: str | None = None
    write_floor_margin_ms: int = 250


class Exchange:
    """One per server; keeps nothing but counts."""

    def __init__(
        self, replica: Replica, floors: Floors, documents: Documents, policy: ExchangePolicy
    ) -> None:
        self._replica = replica
        self._floors = floors
        self._documents = documents
        self._policy = policy
        self.forwarded = 0
        self.refused = 0
        self.unknown = 0

    async def answer(self, body: bytes, headers: Iterable[Header], client: str) -> Reply:
        """Forward one action for `client`."""
        request = self._accepted(body, headers)
        if isinstance(request, Reply):
            self.refused += 1
            return request
        self.forwarded += 1
        content_type = next(value for name, value in headers if name == b"content-type")
        try:
            answer = await self._replica.forward_exchange(body, content_type.decode("latin-1"))
        except BudgetExhausted as error:
            return too_many_requests(error.retry_after_s)
        except WriteNotSent as error:
            logger.warning("write not sent: %s", error)
            return refusal(502, "upstream unavailable", outcome="not sent")
        except WriteOutcomeUnknown as error:
            self.unknown += 1
            logger.error("write outcome unknown: %s", error)
            # It may have happened by now: reads of this client must not be older than that.
            floor_ms = self._raise_floor(client)
            self._documents.wrote(request)
            reply = refusal(504, "upstream timeout", outcome="unknown", find_out=FIND_OUT)
            reply.headers.append((b"x-replica-not-before", b"%d" % floor_ms))
            return reply
        out = [(b"x-replica-source", b"upstream")]
        if answer.content_type:
            out.append((b"content-type", answer.content_type.encode("latin-1", "replace")))
        if answer.status == 200 and not _is_refused(answer.body):
            out.append((b"x-replica-not-before", b"%d" % self._raise_floor(client)))
            self._documents.wrote(request)
        elif answer.status == 200:
            out.append((b"x-replica-not-before", b"%d" % self._replica.upstream_now_ms()))
        return Reply(answer.status, out, answer.body)

    def _raise_floor(self, client: str) -> int:
        # The upstream answers after the block with the action was committed, so its clock now is past the
        # action; the margin makes up for what our clocks lack.
        ms = self._replica.upstream_now_ms() + self._policy.write_floor_margin_ms
        return self._floors.wrote(client, ms, self._replica.clock.monotonic()).ms

    def _accepted(self, body: bytes, headers: Iterable[Header]) -> dict[str, Any] | Reply:
        """The decoded request if it may leave, or what is wrong with it."""
        if not is_json(headers):
            return NOT_JSON_TYPE
        try:
            request = orjson.loads(body)
        except orjson.JSONDecodeError:
            return NOT_JSON
        if not isinstance(request, dict):
            return NOT_DESERIALIZED
        action, nonce, signature = request.get("action"), request.get("nonce"), request.get("signature")
        if not isinstance(action, dict) or not isinstance(action.get("type"), str):
            return NOT_DESERIALIZED
        if not isinstance(nonce, int) or isinstance(nonce, bool) or not isinstance(signature, dict):
            return NOT_DESERIALIZED
        policy = self._policy
        if policy.kill_switch_file is not None and os.path.exists(policy.kill_switch_file):
            return refusal(403, "writes are switched off here (kill switch)", outcome="not sent")
        if policy.read_only:
            return refusal(403, "this server is read-only", outcome="not sent")
        if policy.allowed_actions and action["type"] not in policy.allowed_actions:
            return refusal(403, f"action type {action['type'][:64]} is not allowed here", outcome="not sent")
        return request


def _is_refused(body: bytes) -> bool:
    """Whether the exchange said that nothing was done. In doubt it is not."""
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        return False
    return isinstance(answer, dict) and answer.get("status") == "err"
