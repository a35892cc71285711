"""`/openapi.json`: the HTTP surface, made of the table of types. Pure.

OpenAPI 3.1 (spec.openapis.org/oas/v3.1). A request of `/info` has a schema of its own for each type, chosen
by its `type`; answers are the exchange's own, of which nothing is promised here.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from replica import INTERVALS
from server.capabilities import Row
from server.jsonrpc import METHODS, MOST_CALLS
from server.params import Kind, Param
from server.queries.batches import KINDS, BatchLimits

Schema = dict[str, Any]

ADDRESS: Schema = {"type": "string", "pattern": "^0x[0-9a-fA-F]{40}$"}
KIND_SCHEMAS: Mapping[Kind, Schema] = {
    Kind.ADDRESS: ADDRESS,
    Kind.COIN: {"type": "string"},
    Kind.DEX: {"type": "string", "description": '"" or left out: the main one'},
    Kind.TEXT: {"type": "string"},
    Kind.NATURAL: {"type": "integer", "minimum": 0},
    Kind.FLAG: {"type": "boolean"},
    Kind.INTERVAL: {"type": "string", "enum": list(INTERVALS)},
    Kind.OID: {
        "anyOf": [
            {"type": "integer", "minimum": 0},
            {"type": "string", "pattern": "^0x[0-9a-fA-F]{32}$"},
        ]
    },
}

REFUSALS: Mapping[int, str] = {
    400: "The body is no JSON, a directive can't be meant, or a batch is malformed.",
    403: "Denied here: the type or the action.",
    413: "The body, or the batch, is too large.",
    415: "The body does not say that it is application/json.",
    422: "The body does not have the fields of its type.",
    429: "The budget of the upstream is spent; `Retry-After` says for how long.",
    500: "The exchange's own answer to what it does not know (`null`), or a fault of ours.",
    502: "The upstream failed.",
    503: "Nothing as new as demanded has come yet.",
    504: "The upstream did not answer in time; of a write it is unknown whether it happened.",
}
INFO_HEADERS: Mapping[str, str] = {
    "X-Replica-Source": "memory, coalesced, upstream or stale",
    "X-Replica-As-Of": "ms since 1970 by the upstream's clock: the answer is that new at least",
    "X-Replica-Age-Ms": "how long ago that was asked for or pushed",
}
DIRECTIVES: tuple[tuple[str, Schema, str], ...] = (
    ("Cache-Control", {"type": "string"}, "no-cache, max-age=N, only-if-cached"),
    (
        "X-Replica-Not-Before",
        {"type": "string", "pattern": "^[0-9]{1,16}$"},
        "the answer must be as new as this, ms since 1970",
    ),
)
KEY: Schema = {
    "name": "key",
    "in": "path",
    "required": True,
    "description": "Whoever comes with the same key reads what it wrote, whatever its address.",
    "schema": {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$"},
}


def describe(
    rows: Mapping[str, Row], denied: frozenset[str], limits: BatchLimits, *, version: str
) -> dict[str, object]:
    """The document. `rows` and `denied` as `/capabilities` tells them; `version` of the program."""
    requests = {row.type: _native(row) for row in rows.values() if row.type not in KINDS}
    requests |= {type_: _batch(type_, limits) for type_ in KINDS}
    requests = {type_: schema for type_, schema in requests.items() if type_ not in denied}
    schemas = {_named(type_): schema for type_, schema in requests.items()}
    schemas["Other"] = _other(sorted({*requests, *rows, *denied}))
    schemas["InfoRequest"] = {
        "oneOf": [_ref(name) for name in (*map(_named, requests), "Other")],
        "discriminator": {
            "propertyName": "type",
            "mapping": {type_: _ref(_named(type_))["$ref"] for type_ in requests},
        },
    }
    schemas["Action"] = ACTION
    schemas["Call"] = _call()
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "hl-replica",
            "version": version,
            "description": "The exchange's own HTTP interface, and what hosted vendors add to it. "
            "The websocket at /ws speaks the exchange's wire.",
        },
        "paths": dict(_paths()),
        "components": {"schemas": schemas},
    }


def _paths() -> Iterator[tuple[str, dict[str, object]]]:
    for prefix, keys in (("", []), ("/{key}", [KEY])):
        directives = [
            {"name": name, "in": "header", "required": False, "schema": schema, "description": what}
            for name, schema, what in DIRECTIVES
        ]
        yield (
            f"{prefix}/info",
            _post("info", prefix, "InfoRequest", [*keys, *directives], _told(INFO_HEADERS)),
        )
        written = {"X-Replica-Not-Before": "reads that say this are not from before the write"}
        yield f"{prefix}/exchange", _post("exchange", prefix, "Action", keys, _told(written))
    for path, keys in (("/", []), ("/hypercore", []), ("/{key}/hypercore", [KEY])):
        answers = {"200": _json("The response; of a batch a list of them."), "204": {"description": "None."}}
        yield path, _post("rpc", path, "Call", keys, answers)
    for name, what, statuses in (
        ("health", "The process is up.", (200,)),
        ("ready", "Whether answers are worth having, and the reasons against.", (200, 503)),
        (
            "capabilities",
            "Every type: where it is answered from, how long an answer is kept, its cost.",
            (200,),
        ),
        ("openapi.json", "This document.", (200,)),
    ):
        answers = {str(status): _json(what) for status in statuses}
        yield f"/{name}", {"get": {"operationId": name, "summary": what, "responses": answers}}


def _post(
    name: str, prefix: str, schema: str, parameters: list[Schema], answers: dict[str, Schema]
) -> dict[str, object]:
    by_key = "_by_key" if "{key}" in prefix else ""
    refused = {str(status): {"description": what} for status, what in REFUSALS.items()}
    content = {"application/json": {"schema": _ref(schema)}}
    operation_id = f"{name}{by_key}" if name != "rpc" else f"rpc{prefix.rpartition('/')[2]}{by_key}"
    return {
        "post": {
            "operationId": operation_id,
            "parameters": parameters,
            "requestBody": {"required": True, "content": content},
            "responses": answers | refused,
        }
    }


def _told(headers: Mapping[str, str]) -> dict[str, Schema]:
    told = {name: {"description": what, "schema": {"type": "string"}} for name, what in headers.items()}
    return {"200": _json("As the exchange has it.") | {"headers": told}}


def _json(what: str) -> Schema:
    return {"description": what, "content": {"application/json": {"schema": {}}}}


# -- requests ------------------------------------------------------------------------------------------

ACTION: Schema = {
    "type": "object",
    "required": ["action", "nonce", "signature"],
    "properties": {
        "action": {"type": "object", "required": ["type"], "properties": {"type": {"type": "string"}}},
        "nonce": {"type": "integer"},
        "signature": {"type": "object"},
        "vaultAddress": {"anyOf": [ADDRESS, {"type": "null"}]},
        "expiresAfter": {"type": ["integer", "null"]},
    },
}


def _native(row: Row) -> Schema:
    schema = _object(row.params, {"type": {"const": row.type}})
    return schema | {"description": f"{row.served.value}: {row.kept.why}"}


def _batch(type_: str, limits: BatchLimits) -> Schema:
    what: dict[str, Schema] = {"type": {"const": type_}}
    if type_ == "portfolioState":
        what["user"] = ADDRESS
    else:
        users = {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": limits.max_users}
        what["users"] = users
    required = list(what)
    if KINDS[type_].per_dex:
        what["dex"] = {
            "type": ["string", "null"],
            "description": f"ALL_DEXES: of each, for at most {limits.max_users_all_dexes} users",
        }
    return {"type": "object", "required": required, "properties": what}


def _other(known: list[str]) -> Schema:
    return {
        "type": "object",
        "required": ["type"],
        "properties": {"type": {"type": "string", "not": {"enum": known}}},
        "description": "A type that is not known here: passed on as it came, and so is its answer.",
    }


def _call() -> Schema:
    one: Schema = {
        "type": "object",
        "required": ["jsonrpc", "method"],
        "properties": {
            "jsonrpc": {"const": "2.0"},
            "method": {"enum": list(METHODS)},
            "params": {"type": "object", "description": "As those of the type of /info, without its type."},
            "id": {"type": ["string", "integer", "null"]},
        },
    }
    return {"anyOf": [one, {"type": "array", "items": one, "minItems": 1, "maxItems": MOST_CALLS}]}


def _object(params: tuple[Param, ...], fields: dict[str, Schema]) -> Schema:
    required = [*fields, *(param.name for param in params if param.required)]
    return {
        "type": "object",
        "required": required,
        "properties": fields | {param.name: _value(param) for param in params},
    }


def _value(param: Param) -> Schema:
    schema = _object(param.inside, {}) if param.kind is Kind.OBJECT else KIND_SCHEMAS[param.kind]
    return schema if param.required else {"anyOf": [schema, {"type": "null"}]}


def _named(type_: str) -> str:
    return f"info.{type_}"


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}
