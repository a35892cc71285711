"""JSON-RPC 2.0 as hosted vendors speak it: methods that are batches of `/info` under another name. Pure.

Source: spec/info.md, section 3 (QuickNode); jsonrpc.org/specification for everything about calls. An id goes
back as the bytes it came in. The codes beyond the standard's are those of EIP-1474, which clients of such
vendors know; what the vendor itself answers to a bad call is not known for certain.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import msgspec
import orjson

from server.reply import JSON, Reply

METHODS: Mapping[str, str] = {
    "hl_batchClearinghouseStates": "batchClearinghouseStates",
    "hl_batchOpenOrders": "batchOpenOrders",
    "hl_batchPortfolioStates": "batchPortfolioStates",
    "hl_portfolioState": "portfolioState",
}
"""Method -> the type of `/info` that answers it."""

MOST_CALLS = 20
"""In one batch: each may ask for a thousand accounts."""

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603
UNAVAILABLE = -32002
NOT_SUPPORTED = -32004
LIMIT_EXCEEDED = -32005

CODES: Mapping[int, int] = {
    400: INVALID_PARAMS,
    403: NOT_SUPPORTED,
    413: INVALID_PARAMS,
    422: INVALID_PARAMS,
    429: LIMIT_EXCEEDED,
    502: UNAVAILABLE,
    503: UNAVAILABLE,
    504: UNAVAILABLE,
}
"""HTTP status of an `/info` answer -> code. Any other failure is INTERNAL_ERROR."""

MEANINGS: Mapping[int, str] = {
    429: "too many requests",
    502: "upstream unavailable",
    503: "not there yet",
    504: "upstream timeout",
}
"""What is said of a refusal whose body says nothing."""


class Call(NamedTuple):
    """One call that is to be answered. `id` as it came; `type` and `params` as `/info` has them."""

    id: bytes
    type: str
    params: dict[str, object]


class Calls(NamedTuple):
    """One HTTP request: calls to make and, in their places, responses that are known at once.

    `batch`: the answer is a list. Notifications are not in it: a read that nobody is to hear of is not made.
    """

    calls: tuple[Call | bytes, ...]
    batch: bool


def read(raw: bytes) -> Calls:
    """Read the body of a request. Never raises: whatever is wrong is a response."""
    try:
        raw.decode()
        members = _members(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _refused(PARSE_ERROR, "parse error")
    if members is None:
        call = _call(raw)
        return Calls(() if call is None else (call,), batch=False)
    if not members:
        return _refused(INVALID_REQUEST, "an empty batch")
    if len(members) > MOST_CALLS:
        return _refused(INVALID_REQUEST, f"more than {MOST_CALLS} calls in a batch")
    calls = (_call(bytes(member)) for member in members)
    return Calls(tuple(call for call in calls if call is not None), batch=True)


def answered(id_: bytes, reply: Reply) -> bytes:
    """The response to a call, of the answer that `/info` gives; its body is not written anew."""
    if reply.status == 200:
        return b'{"jsonrpc":"2.0","id":%s,"result":%s}' % (id_, reply.body)
    data: dict[str, object] = {"status": reply.status}
    for name, value in reply.headers:
        if name == b"retry-after":
            data["retryAfter"] = int(value)
    return _error(id_, CODES.get(reply.status, INTERNAL_ERROR), _said(reply), data)


def whole(responses: list[bytes], *, batch: bool, headers: Iterable[tuple[bytes, bytes]] = ()) -> Reply:
    """All responses as one HTTP answer, 204 where there are none. `headers`: of a single call's answer."""
    if not responses:
        return Reply(204, [], b"")
    body = b"[%s]" % b",".join(responses) if batch else responses[0]
    kept = [header for header in headers if header[0] != b"content-type"]
    return Reply(200, [*kept, (b"content-type", JSON)], body)


# -- inside --------------------------------------------------------------------------------------------

_list = msgspec.json.Decoder(list[msgspec.Raw]).decode
_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_any = msgspec.json.Decoder(msgspec.Raw).decode
_text = msgspec.json.Decoder(str).decode


def _members(raw: bytes) -> list[msgspec.Raw] | None:
    """The members of a batch; None for a single call. Raises what msgspec raises where it is no JSON."""
    if raw.lstrip(b" \t\r\n").startswith(b"["):
        return _list(raw)
    _any(raw)
    return None


def _call(raw: bytes) -> Call | bytes | None:
    """One call, or its response where that is known; None for a notification. `raw` is valid JSON."""
    try:
        fields = _object(raw)
    except msgspec.DecodeError:
        return _error(b"null", INVALID_REQUEST, "a call is an object")
    raw_id = fields.get("id")
    id_ = b"null" if raw_id is None else bytes(raw_id).strip()
    if id_[:1] not in b'"-0123456789n':
        return _error(b"null", INVALID_REQUEST, "id must be a string, a number or null")
    if _string(fields.get("jsonrpc")) != "2.0":
        return _error(id_, INVALID_REQUEST, 'jsonrpc must be "2.0"')
    method = _string(fields.get("method"))
    if method is None:
        return _error(id_, INVALID_REQUEST, "method must be a string")
    raw_params = fields.get("params")
    params = b"{}" if raw_params is None else bytes(raw_params).strip()
    if params[:1] not in b"{[":
        return _error(id_, INVALID_REQUEST, "params must be an object")
    if raw_id is None:
        return None
    type_ = METHODS.get(method)
    if type_ is None:
        return _error(id_, METHOD_NOT_FOUND, f"no such method: {method[:64]}")
    try:
        named = orjson.loads(params)
    except orjson.JSONDecodeError:
        # Deeper than any parameter is, or half of a surrogate pair.
        return _error(id_, INVALID_PARAMS, "params can't be read")
    if not isinstance(named, dict):
        return _error(id_, INVALID_PARAMS, "params must be an object: by name, not by position")
    return Call(id_, type_, named)


def _string(raw: msgspec.Raw | None) -> str | None:
    try:
        return None if raw is None else _text(raw)
    except msgspec.DecodeError:
        return None


def _said(reply: Reply) -> str:
    """What a refusal says, in a line."""
    try:
        value = orjson.loads(reply.body)
    except orjson.JSONDecodeError:
        value = reply.body.decode("utf-8", "replace")
    if isinstance(value, dict):
        value = value.get("error")
    meaning = MEANINGS.get(reply.status, "internal error")
    return value.strip()[:200] or meaning if isinstance(value, str) else meaning


def _refused(code: int, message: str) -> Calls:
    return Calls((_error(b"null", code, message),), batch=False)


def _error(id_: bytes, code: int, message: str, data: Mapping[str, object] | None = None) -> bytes:
    error: dict[str, object] = {"code": code, "message": message}
    if data is not None:
        error["data"] = data
    return b'{"jsonrpc":"2.0","id":%s,"error":%s}' % (id_, orjson.dumps(error))
