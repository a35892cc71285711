"""`/info` and `/exchange` over a real connection: the error matrix, the weights, what is counted."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
import pytest

from server.devnode import Devnode, Limits
from tests.server.devnode.client import JSON, http

Start = Callable[..., Awaitable[Devnode]]
UNKNOWN = "0x" + "5c" * 20
MALFORMED = b"Failed to deserialize the JSON body into the target type"
NOT_JSON = b"Failed to parse the request body as JSON"
SIGNATURE = {"r": "0x" + "1b" * 32, "s": "0x" + "2c" * 31, "v": 27}
ORDER = {"a": 4, "b": True, "p": "1670.1", "s": "0.0147", "r": False, "t": {"limit": {"tif": "Ioc"}}}
ACTION = {"type": "order", "orders": [ORDER], "grouping": "na"}
SIGNED = {"action": ACTION, "nonce": 1677777606040, "signature": SIGNATURE}


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        (b"", 400, NOT_JSON),
        (b'{"type":"meta"', 400, NOT_JSON),
        (b"\xff\xfe", 400, NOT_JSON),
        ([], 422, MALFORMED),
        ("meta", 422, MALFORMED),
        ({}, 422, MALFORMED),
        ({"type": 7}, 422, MALFORMED),
        ({"type": "noSuchType"}, 422, MALFORMED),
        ({"type": "alignedQuoteTokenInfo", "token": 0}, 422, MALFORMED),  # no longer served
        ({"type": "clearinghouseState"}, 422, MALFORMED),
        ({"type": "clearinghouseState", "user": None}, 422, MALFORMED),
        ({"type": "clearinghouseState", "user": 5}, 422, MALFORMED),
        ({"type": "clearinghouseState", "user": "0x12"}, 422, MALFORMED),
        ({"type": "clearinghouseState", "user": UNKNOWN[2:]}, 422, MALFORMED),
        ({"type": "clearinghouseState", "user": UNKNOWN + "\n"}, 422, MALFORMED),
        ({"type": "clearinghouseState", "user": UNKNOWN, "dex": 1}, 422, MALFORMED),
        ({"type": "userFillsByTime", "user": UNKNOWN}, 422, MALFORMED),
        ({"type": "userFillsByTime", "user": UNKNOWN, "startTime": -1}, 422, MALFORMED),
        ({"type": "orderStatus", "user": UNKNOWN}, 422, MALFORMED),
        ({"type": "orderStatus", "user": UNKNOWN, "oid": True}, 422, MALFORMED),
        ({"type": "batchClearinghouseStates"}, 422, MALFORMED),
        ({"type": "batchClearinghouseStates", "users": [UNKNOWN, "0x1"]}, 422, MALFORMED),
        ({"type": "batchClearinghouseStates", "users": [UNKNOWN], "dex": ""}, 500, b"null"),
        ({"type": "clearinghouseState", "user": UNKNOWN, "dex": "nope"}, 500, b"null"),
        ({"type": "meta", "dex": "nope"}, 500, b"null"),
        ({"type": "metaAndAssetCtxs", "dex": "nope"}, 500, b"null"),
        ({"type": "openOrders", "user": UNKNOWN}, 200, b"[]"),
        ({"type": "openOrders", "user": UNKNOWN, "dex": "xyz"}, 200, b"[]"),
        ({"type": "userFills", "user": UNKNOWN}, 200, b"[]"),
        ({"type": "userFillsByTime", "user": UNKNOWN, "startTime": 0}, 200, b"[]"),
        ({"type": "spotClearinghouseState", "user": UNKNOWN}, 200, b'{"balances":[]}'),
        ({"type": "userRole", "user": UNKNOWN}, 200, b'{"role":"missing"}'),
        ({"type": "orderStatus", "user": UNKNOWN, "oid": 5}, 200, b'{"status":"unknownOid"}'),
        ({"type": "orderStatus", "user": UNKNOWN, "oid": "0x" + "a" * 32}, 200, b'{"status":"unknownOid"}'),
        ({"type": "userAbstraction", "user": UNKNOWN}, 200, b'"default"'),
        ({"type": "subAccounts", "user": UNKNOWN}, 200, b"null"),
    ],
)
async def test_the_error_matrix(devnode: Start, body: object, status: int, text: bytes) -> None:
    reply = await http((await devnode()).port, body)
    assert (reply.status, reply.body) == (status, text)
    kind = "text/plain" if text in (MALFORMED, NOT_JSON) else "application/json"
    assert reply.headers["content-type"] == kind


async def test_headers_methods_and_paths(devnode: Start) -> None:
    port = (await devnode()).port
    meta = {"type": "meta"}
    for headers in (
        {},
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
    ):
        reply = await http(port, meta, headers=headers)
        assert reply.status == 415
        assert reply.body == b"Expected request with `Content-Type: application/json`"
    for content_type in ("application/json; charset=utf-8", "Application/JSON"):
        assert (await http(port, meta, headers={"Content-Type": content_type})).status == 200
    for method in ("GET", "PUT", "HEAD"):
        reply = await http(port, b"", method=method)
        assert (reply.status, reply.body) == (405, b"")
    assert (await http(port, meta, path="//info")).status == 200
    assert (await http(port, meta, path="/nope")).status == 404
    reply = await http(port, meta)
    assert reply.headers["access-control-allow-origin"] == "*"
    assert reply.headers["content-type"] == "application/json"
    assert (await http(port, b" " * (2 * 1024 * 1024 + 1))).status == 413


async def test_an_account_is_found_in_any_case_and_an_unknown_one_gets_zeros(devnode: Start) -> None:
    node = await devnode()
    user = node.addresses[1]
    upper = "0x" + user[2:].upper()
    for body in ({"user": user}, {"user": upper}, {"user": user, "dex": ""}, {"user": user, "dex": None}):
        reply = await http(node.port, {"type": "clearinghouseState"} | body)
        assert len(reply.json["assetPositions"]) == 40
    reply = await http(node.port, {"type": "clearinghouseState", "user": UNKNOWN, "dex": "flx", "more": 1})
    assert reply.json["assetPositions"] == [] and reply.json["time"] >= 1_800_000_000_000
    assert len(reply.body) == 309  # the recorded size


async def test_over_the_weight_budget_the_answer_is_null(devnode: Start) -> None:
    node = await devnode(limits=Limits(weight_per_minute=43))
    loop = asyncio.get_running_loop()
    first = loop.time()
    assert (await http(node.port, {"type": "meta"})).status == 200  # 20
    assert (await http(node.port, {"type": "noSuchType"})).status == 422  # 20: it was looked at
    assert (await http(node.port, {"type": "allMids"})).status == 200  # 2
    assert (await http(node.port, SIGNED, path="/exchange")).status == 200  # 1
    for path, body in (("/info", {"type": "allMids"}), ("/exchange", SIGNED)):
        reply = await http(node.port, body, path=path)
        assert (reply.status, reply.body) == (429, b"null")
        assert reply.headers["content-type"] == "application/json"
        assert "retry-after" not in reply.headers
    await asyncio.sleep(first + 60.1 - loop.time())
    assert (await http(node.port, {"type": "meta"})).status == 200
    assert node.stats.info["allMids"] == 2  # refused ones are counted: they were calls
    assert node.stats.statuses[429] == 2


async def test_unknown_signers_are_refused_with_an_address(devnode: Start) -> None:
    node = await devnode(faucet_usd=0)
    reply = await http(node.port, SIGNED, path="/exchange")
    assert reply.status == 200
    assert reply.json["status"] == "err"
    assert re.fullmatch(r"User or API Wallet 0x[0-9a-f]{40} does not exist\.", reply.json["response"])
    again = await http(node.port, SIGNED, path="/exchange")
    other = await http(node.port, SIGNED | {"nonce": 1677777606041}, path="/exchange")
    assert reply.body == again.body != other.body
    assert node.stats.exchange["order"] == 3


@pytest.mark.parametrize(
    "change",
    [
        {"vaultAddress": None, "expiresAfter": None},
        {"vaultAddress": UNKNOWN},
        {"vaultAddress": UNKNOWN[2:]},  # as one common client sends it
        {"expiresAfter": 1677777607000},
        {
            "action": {
                "type": "usdSend",
                "signatureChainId": "0x66eee",
                "hyperliquidChain": "Testnet",
                "destination": UNKNOWN,
                "amount": "1",
                "time": 1677777606040,
            }
        },
        {"action": {"type": "cancel", "cancels": [{"a": 1, "o": 2}]}},
        {"action": {"type": "cancelByCloid", "cancels": [{"asset": 1, "cloid": "0x" + "a" * 32}]}},
        {"action": {"type": "batchModify", "modifies": [{"oid": 1, "order": ORDER}]}},
        {"action": {"type": "modify", "oid": "0x" + "a" * 32, "order": ORDER}},
        {"action": ACTION | {"orders": [ORDER | {"c": "0x" + "a" * 32}]}},
        {
            "action": ACTION
            | {"orders": [ORDER | {"t": {"trigger": {"isMarket": True, "triggerPx": "1", "tpsl": "sl"}}}]}
        },
    ],
)
async def test_shapes_that_real_clients_send_deserialise(devnode: Start, change: dict[str, Any]) -> None:
    assert (await http((await devnode()).port, SIGNED | change, path="/exchange")).status == 200


@pytest.mark.parametrize(
    "body",
    [
        [],
        {},
        SIGNED | {"action": None},
        SIGNED | {"action": {}},
        SIGNED | {"action": {"type": ["order"]}},
        SIGNED | {"nonce": "1"},
        SIGNED | {"signature": {}},
        SIGNED | {"signature": SIGNATURE | {"r": 5}},
        SIGNED | {"signature": SIGNATURE | {"s": "0xzz"}},
        SIGNED | {"signature": SIGNATURE | {"v": []}},
        SIGNED | {"vaultAddress": "0x12"},
        SIGNED | {"expiresAfter": "soon"},
        SIGNED | {"action": ACTION | {"orders": [ORDER | {"p": 1670.1}]}},
        SIGNED | {"action": ACTION | {"orders": [ORDER | {"t": {"limit": {"tif": "Fok"}}}]}},
        SIGNED | {"action": ACTION | {"orders": [ORDER | {"t": {"market": {}}}]}},
        SIGNED | {"action": ACTION | {"orders": [ORDER | {"c": "mine"}]}},
        SIGNED | {"action": ACTION | {"orders": [5]}},
        SIGNED | {"action": ACTION | {"orders": {"a": 1}}},
        SIGNED | {"action": {"type": "cancel", "cancels": [{"a": 1, "o": "2"}]}},
    ],
)
async def test_actions_that_do_not_deserialise_are_refused_before_the_signature(
    devnode: Start, body: object
) -> None:
    reply = await http((await devnode()).port, body, path="/exchange")
    assert (reply.status, reply.body) == (422, MALFORMED)


async def test_exchange_shares_the_rest_of_the_matrix(devnode: Start) -> None:
    port = (await devnode()).port
    assert (await http(port, b"{", path="/exchange")).body == NOT_JSON
    assert (await http(port, SIGNED, path="/exchange", headers={})).status == 415
    assert (await http(port, b"", path="/exchange", method="GET", headers=JSON)).status == 405


async def test_kinds_that_clients_invent_do_not_fill_the_memory(devnode: Start) -> None:
    node = await devnode()
    for i in range(300):
        assert (await http(node.port, {"type": f"t{i}" + "x" * 100})).status == 422
    assert len(node.stats.info) <= 201 and node.stats.info["other"] == 100
    assert max(map(len, node.stats.info)) == 64


async def test_the_accounts_of_this_world_can_be_listed(devnode: Start) -> None:
    node = await devnode(accounts=7)
    reply = await http(node.port, b"", path="/dev/accounts", method="GET")
    assert reply.status == 200
    assert orjson.loads(reply.body) == list(node.addresses)
    assert (await http(node.port, b"", path="/dev/accounts", method="POST")).status == 405
