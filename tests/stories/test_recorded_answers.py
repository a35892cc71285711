"""What was recorded of `/info` comes back unharmed: passed through, remembered, made of a stream's frame."""

from pathlib import Path
from typing import Any

import orjson
import pytest

from server.capabilities import TABLE
from server.devnode.recordings import Pair, read_pairs
from server.params import Kind
from server.queries import accounts, market
from server.queries.batches import KINDS
from tests.virtual import ALICE, running


@pytest.fixture(scope="module")
def pairs(recorded_dir: Path) -> list[Pair]:
    # Batches are asked for by parts, and answered in the shape of hosted vendors.
    return [pair for pair in read_pairs(recorded_dir) if pair.request["type"] not in KINDS]


FILLED = {Kind.ADDRESS: ALICE, Kind.NATURAL: 0, Kind.COIN: "BTC", Kind.TEXT: "", Kind.DEX: "", Kind.OID: 1}


def left_out(type_: str) -> dict[str, Any]:
    """What the type insists on: of some recordings the request was not kept."""
    return {
        param.name: FILLED[param.kind]
        for param in TABLE[type_].params
        if param.required and param.kind in FILLED
    }


@pytest.mark.recorded
async def test_passed_through_and_remembered(pairs: list[Pair]) -> None:
    seen = set()
    async with running(upstream_weight_per_minute=0) as world:
        for number, pair in enumerate(pairs):
            type_ = pair.request["type"]
            world.upstream.faults.answer(pair.status, pair.body, type=type_)
            # Each is a question of its own: what was remembered of another must not answer it.
            request = {**left_out(type_), **pair.request, "recording": number}
            if type_ == "clearinghouseState":
                request["user"] = f"0x{number:040x}"
            for _ in range(3):
                reply = await world.info(request)
                assert (reply.status, reply.body) == (pair.status, pair.body), pair.name
                assert reply.headers["content-type"] == "application/json"
                seen.add(reply.source)
            world.upstream.faults.heal()
    assert len(pairs) > 60
    assert seen == {"upstream", "memory"}
    assert {pair.request["type"] for pair in pairs} <= set(TABLE)


def of_type(pairs: list[Pair], type_: str) -> list[bytes]:
    found = [pair.body for pair in pairs if pair.request["type"] == type_ and pair.status == 200]
    assert found, f"no recording of {type_}"
    return found


@pytest.mark.recorded
def test_states_of_accounts_made_of_frames(pairs: list[Pair]) -> None:
    user = ALICE.encode()
    for body in of_type(pairs, "spotClearinghouseState"):
        assert accounts.balances(b'{"user":"%s","spotState":%s}' % (user, body)) == body
    for body in of_type(pairs, "frontendOpenOrders"):
        frame = b'{"dex":"","user":"%s","orders":%s}' % (user, body)
        assert accounts.frontend_orders(frame) == body
        plain = orjson.loads(accounts.plain_orders(frame))
        for order, row in zip(orjson.loads(body), plain, strict=True):
            assert row.items() <= order.items()
    for body in of_type(pairs, "activeAssetData"):
        assert accounts.as_it_is(body) == body


@pytest.mark.recorded
def test_prices_and_contexts_made_of_frames(pairs: list[Pair]) -> None:
    for body in of_type(pairs, "allMids"):
        assert market.mids(b'{"mids":%s}' % body) == body
    for body in of_type(pairs, "metaAndAssetCtxs"):
        meta, contexts = map(orjson.dumps, orjson.loads(body))
        assert market.perps(b'{"ctxs":[["",%s],["xyz",[]]]}' % contexts, "", meta) == body
        assert market.perps(b'{"ctxs":[["",[]]]}', "", meta) is None
    for body in of_type(pairs, "spotMetaAndAssetCtxs"):
        contexts = orjson.loads(body)[1]
        # In any order: the answer has its own.
        frame = orjson.dumps(sorted(contexts, key=lambda one: str(one["coin"])))
        assert market.spots(frame, body) == body
        assert market.spots(orjson.dumps(contexts[1:]), body) is None
