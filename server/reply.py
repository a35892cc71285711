"""What we answer with, as a value, and the words of every refusal. Pure: `http` puts it on the wire.

Three families of errors, translated here once: the client's fault in the wire's own words, the upstream's
(502, 503, 504; 429 for its budget), and ours.
"""

import math
from typing import NamedTuple

import orjson

from replica import BudgetExhausted, ReplicaError, UpstreamTimeout

JSON = b"application/json"
TEXT = b"text/plain; charset=utf-8"

Header = tuple[bytes, bytes]


class Reply(NamedTuple):
    """One whole HTTP answer. `headers` has the content type in it; the length is added on the wire."""

    status: int
    headers: list[Header]
    body: bytes


def json_reply(status: int, value: object) -> Reply:
    return Reply(status, [(b"content-type", JSON)], orjson.dumps(value))


def refusal(status: int, message: str, **more: object) -> Reply:
    """A refusal of ours. `code` and `msg` are there because the official Python client indexes them."""
    return json_reply(status, {"error": message, "code": status, "msg": message, **more})


def _text(status: int, text: bytes) -> Reply:
    return Reply(status, [(b"content-type", TEXT)], text)


# The exchange's own refusals, to the letter (stock texts of its JSON extractor, without the detail suffix).
NOT_JSON = _text(400, b"Failed to parse the request body as JSON")
NOT_JSON_TYPE = _text(415, b"Expected request with `Content-Type: application/json`")
NOT_DESERIALIZED = _text(422, b"Failed to deserialize the JSON body into the target type")
HANDLER_FAILED = Reply(500, [(b"content-type", JSON)], b"null")
WRONG_METHOD = Reply(405, [(b"allow", b"POST")], b"")

# The batch contract's error table, to the letter: no field more.
BATCH_INVALID_JSON = json_reply(400, {"error": "invalid JSON body"})
BATCH_NO_USERS = json_reply(400, {"error": "users must not be empty"})
BATCH_TOO_MANY = json_reply(413, {"error": "too many users"})
BATCH_TOO_MANY_ALL_DEXES = json_reply(413, {"error": "too many users for ALL_DEXES"})
UPSTREAM_TIMEOUT = json_reply(504, {"error": "upstream timeout"})
UPSTREAM_UNAVAILABLE = json_reply(502, {"error": "upstream unavailable"})

BODY_TOO_LARGE = refusal(413, "request body too large")
NOT_HELD = refusal(504, "not held, and only-if-cached forbids asking the upstream")
OUR_FAULT = refusal(500, "internal error")


def too_many_requests(retry_after_s: float) -> Reply:
    """429 with the literal `null`, which every client survives, and how long to wait."""
    retry_after = b"%d" % max(1, math.ceil(retry_after_s))
    return Reply(429, [(b"content-type", JSON), (b"retry-after", retry_after)], b"null")


def not_there_yet(floor_ms: int) -> Reply:
    """503: no state as new as the read demands arrived in the bounded wait."""
    reply = refusal(503, f"no state as new as {floor_ms} yet", not_before=floor_ms)
    reply.headers.append((b"retry-after", b"1"))
    return reply


def upstream_failed(error: ReplicaError) -> Reply:
    """A read that the upstream failed: says which way."""
    if isinstance(error, BudgetExhausted):
        return too_many_requests(error.retry_after_s)
    return UPSTREAM_TIMEOUT if isinstance(error, UpstreamTimeout) else UPSTREAM_UNAVAILABLE
