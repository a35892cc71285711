"""`POST /info` up to the answer: the error matrix, and which parameters a type insists on.

Sans I/O: bytes in, an `Answer` out. What a well-formed request is answered with is the source's affair
(market/, recorded.py). Statuses and texts: wire, as third parties recorded them in 2025-2026.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from server.devnode.markets import MAIN_DEX

JSON = "application/json"
TEXT = "text/plain"


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes
    content_type: str = JSON
    items: int = 0  # rows of a list that is charged by its length (limits.py)


def ok(body: str | bytes, items: int = 0) -> Answer:
    return Answer(200, body.encode() if isinstance(body, str) else body, items=items)


NOT_JSON = Answer(400, b"Failed to parse the request body as JSON", TEXT)
WRONG_TYPE = Answer(415, b"Expected request with `Content-Type: application/json`", TEXT)
MALFORMED = Answer(422, b"Failed to deserialize the JSON body into the target type", TEXT)
FAILED = Answer(500, b"null")  # parsed, but the handler could not: an unknown dex or coin
RATE_LIMITED = Answer(429, b"null")  # no Retry-After was ever seen

# What an account nobody has heard of is answered with, for the types this devnode has no rows of.
# Unknown is never an error: it is empty.
EMPTY: Mapping[str, str] = {
    "openOrders": "[]",
    "frontendOpenOrders": "[]",
    "historicalOrders": "[]",
    "orderStatus": '{"status":"unknownOid"}',
    "userFills": "[]",
    "userFillsByTime": "[]",
    "userFunding": "[]",
    "userNonFundingLedgerUpdates": "[]",
    "userTwapSliceFills": "[]",
    "userTwapSliceFillsByTime": "[]",
    "twapHistory": "[]",
    "userVaultEquities": "[]",
    "extraAgents": "[]",
    "approvedBuilders": "[]",
    "delegations": "[]",
    "delegatorHistory": "[]",
    "delegatorRewards": "[]",
    "spotClearinghouseState": '{"balances":[]}',
    "userRole": '{"role":"missing"}',
    "userAbstraction": '"default"',
    "userDexAbstraction": "null",
    "subAccounts": "null",
    "subAccounts2": "null",
    "userToMultiSigSigners": "null",
}
# Types that name an account in `user`. The rest of the accounts' types answers only what was recorded.
USER_TYPES = frozenset(EMPTY) | {"clearinghouseState"}
# Types whose `dex` is looked up; for all others an unknown dex is a superfluous field, and ignored.
DEX_TYPES = frozenset(
    {"clearinghouseState", "openOrders", "frontendOpenOrders", "meta", "metaAndAssetCtxs", "allMids"}
)
_START_TIME_TYPES = frozenset({"userFillsByTime", "userTwapSliceFillsByTime"})
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")
_CLOID = re.compile(r"0x[0-9a-fA-F]{32}")
MOST_NESTED = 127  # objects and lists within each other: the stock limit of the parser whose texts it sends


@dataclass(frozen=True, slots=True)
class InfoRequest:
    """A request that deserialises. `user` is lower-cased, `dex` is "" for the main one."""

    kind: str
    user: str
    dex: str
    fields: Mapping[str, Any]


def address(value: object) -> str | None:
    """An address in the case the wire answers in, or None for what is no address."""
    return value.lower() if isinstance(value, str) and _ADDRESS.fullmatch(value) else None


def is_json(content_type: str | None) -> bool:
    """Would the exchange's extractor look at the body? It wants application/json, parameters allowed."""
    essence = (content_type or "").split(";", 1)[0].strip().lower()
    return essence == JSON or (essence.startswith("application/") and essence.endswith("+json"))


def load(raw: bytes | str) -> Any:
    """Read JSON as the exchange's own parser does, which gives up on what is nested too deep.

    Raises `ValueError`.
    """
    raw = raw.encode() if isinstance(raw, str) else raw
    value = orjson.loads(raw)
    if raw.count(b"[") + raw.count(b"{") > MOST_NESTED and _is_nested(value):
        raise ValueError("nested too deep")
    return value


def _is_nested(value: object) -> bool:
    level: list[Any] = [value]
    for _ in range(MOST_NESTED + 1):
        level = [one for one in level if isinstance(one, dict | list)]
        if not level:
            return False
        level = [child for one in level for child in (one.values() if isinstance(one, dict) else one)]
    return True


def decode(content_type: str | None, body: bytes) -> Mapping[str, Any] | Answer:
    """The first three refusals, in the exchange's order: header, syntax, not an object."""
    if not is_json(content_type):
        return WRONG_TYPE
    try:
        value = load(body)
    except ValueError:
        return NOT_JSON
    return value if isinstance(value, dict) else MALFORMED


def parse(fields: Mapping[str, Any]) -> InfoRequest | Answer:
    """Check the parameters that the type insists on. An unknown type is left to the source."""
    kind = fields.get("type")
    if not isinstance(kind, str):
        return MALFORMED
    user = ""
    if kind in USER_TYPES:
        named = address(fields.get("user"))
        if named is None:
            return MALFORMED
        user = named
    elif isinstance(given := fields.get("user"), str):
        user = given.lower()
    dex = fields.get("dex")
    if dex is not None and not isinstance(dex, str):
        return MALFORMED
    if kind in _START_TIME_TYPES and not is_natural(fields.get("startTime")):
        return MALFORMED
    if kind == "orderStatus" and not (is_natural(oid := fields.get("oid")) or is_cloid(oid)):
        return MALFORMED
    if kind == "batchClearinghouseStates":
        users = fields.get("users")
        if not isinstance(users, list) or any(address(one) is None for one in users):
            return MALFORMED
    return InfoRequest(kind, user, dex or MAIN_DEX, fields)


def is_natural(value: object) -> bool:
    """A time, an id, a count: JSON's true is none of them, though Python's is an int."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def is_cloid(value: object) -> bool:
    return isinstance(value, str) and _CLOID.fullmatch(value) is not None
