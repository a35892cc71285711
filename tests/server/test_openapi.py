"""/openapi.json: as much of the surface as there is, and no more."""

from collections.abc import Iterator
from typing import Any

import pytest

from server.capabilities import TABLE
from server.http import split_path, split_rpc_path
from server.openapi import describe
from server.params import Kind, Param
from server.queries.batches import KINDS, BatchLimits
from tests.virtual import ALICE, running

DENIED = frozenset({"fileSnapshot", "webData2"})
DOCUMENT: dict[str, Any] = describe(TABLE, DENIED, BatchLimits(7, 3), version="1")
SCHEMAS = DOCUMENT["components"]["schemas"]


def refs(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if "$ref" in value:
            yield value["$ref"]
        for one in value.values():
            yield from refs(one)
    elif isinstance(value, list):
        for one in value:
            yield from refs(one)


def test_every_type_has_a_schema_with_its_parameters() -> None:
    mapping = SCHEMAS["InfoRequest"]["discriminator"]["mapping"]
    assert set(mapping) == (set(TABLE) | set(KINDS)) - DENIED
    for type_ in set(mapping) - set(KINDS):
        schema = SCHEMAS[mapping[type_].rpartition("/")[2]]
        assert schema["properties"]["type"] == {"const": type_}
        assert set(schema["properties"]) == {"type", *(param.name for param in TABLE[type_].params)}
        assert set(schema["required"]) == {"type", *(p.name for p in TABLE[type_].params if p.required)}
    assert SCHEMAS["info.batchOpenOrders"]["properties"]["users"]["maxItems"] == 7
    assert set(SCHEMAS["Other"]["properties"]["type"]["not"]["enum"]) >= set(TABLE)


def test_every_reference_leads_somewhere_and_every_name_is_one_s_own() -> None:
    assert {ref.rpartition("/")[2] for ref in refs(DOCUMENT)} == set(SCHEMAS)
    names = [one["operationId"] for path in DOCUMENT["paths"].values() for one in path.values()]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("path", DOCUMENT["paths"])
async def test_what_is_described_is_served(path: str) -> None:
    (method,) = DOCUMENT["paths"][path]
    async with running() as world:
        reply = await world.request(method.upper(), path.replace("{key}", "k"))
    assert reply.status not in (404, 405)
    if method == "post":
        assert split_path(path)[0] or split_rpc_path(path) is not None


async def test_it_is_told_with_the_settings_of_the_server() -> None:
    async with running(denied_types=("userRole",), batch_max_users=11) as world:
        reply = await world.request("GET", "/openapi.json")
        assert (reply.status, reply.headers["content-type"]) == (200, "application/json")
        schemas = reply.json["components"]["schemas"]
        assert "info.userRole" not in schemas
        assert "info.fileSnapshot" not in schemas
        assert "userRole" in schemas["Other"]["properties"]["type"]["not"]["enum"]
        assert schemas["info.batchClearinghouseStates"]["properties"]["users"]["maxItems"] == 11


@pytest.mark.parametrize("type_", sorted(set(TABLE) - set(KINDS) - {"fileSnapshot"}))
async def test_what_the_schema_insists_on_the_server_does(type_: str) -> None:
    params = TABLE[type_].params
    whole = {"type": type_, **{param.name: value(param) for param in params}}
    async with running() as world:
        for param in params:
            if param.required:
                less = {name: one for name, one in whole.items() if name != param.name}
                assert (await world.info(less)).status == 422
            assert (await world.info(whole | {param.name: [1]})).status == 422
        assert world.upstream.requests == []
        await world.info(whole)
        assert len(world.upstream.requests) == 1


def value(param: Param) -> Any:
    """One that fits."""
    if param.kind is Kind.OBJECT:
        return {inside.name: value(inside) for inside in param.inside}
    examples = {Kind.ADDRESS: ALICE, Kind.NATURAL: 1, Kind.FLAG: True, Kind.INTERVAL: "1m", Kind.OID: 1}
    return examples.get(param.kind, "" if param.kind is Kind.DEX else "BTC")
