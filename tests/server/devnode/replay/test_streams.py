"""Whose a recorded message is, and what of it a later joiner needs."""

import base64
import json
import zlib
from typing import Any

import pytest

from server.devnode.replay.streams import Sockets, Stays, said
from server.devnode.subscriptions import Change, Fatal
from tests.server.devnode.replay.tapes import ALICE, BOB

BOOK = {"type": "l2Book", "coin": "BTC", "nSigFigs": 5, "mantissa": 2}
HELD: list[dict[str, Any]] = [
    BOOK,
    {"type": "l2Book", "coin": "ETH"},
    {"type": "candle", "coin": "BTC", "interval": "1m"},
    {"type": "candle", "coin": "BTC", "interval": "1h"},
    {"type": "allMids"},
    {"type": "allMids", "dex": "xyz"},
    {"type": "trades", "coin": "@107"},
    {"type": "activeAssetCtx", "coin": "@107"},
    {"type": "openOrders", "user": ALICE},
    {"type": "openOrders", "user": ALICE, "dex": "xyz"},
    {"type": "webData3", "user": BOB},
    {"type": "userFills", "user": BOB, "aggregateByTime": True},
    {"type": "userEvents", "user": ALICE},
    {"type": "fastAssetCtxs"},
]


def went(sockets: Sockets, socket: int, method: str, what: dict[str, Any]) -> None:
    sockets.went(socket, json.dumps({"method": method, "subscription": what}).encode())


@pytest.fixture
def sockets() -> Sockets:
    one = Sockets()
    for what in HELD:
        went(one, 3, "subscribe", what)
    return one


@pytest.mark.parametrize(
    ("channel", "data", "number"),
    [
        ("l2Book", {"coin": "BTC", "levels": []}, 0),
        ("l2Book", {"coin": "ETH", "levels": []}, 1),
        ("candle", {"s": "BTC", "i": "1m"}, 2),
        ("candle", {"s": "BTC", "i": "1h"}, 3),
        ("allMids", {"mids": {}}, 4),
        ("allMids", {"dex": "xyz", "mids": {}}, 5),
        ("trades", [{"coin": "@107"}], 6),
        ("activeSpotAssetCtx", {"coin": "@107"}, 7),
        ("openOrders", {"dex": "", "user": ALICE.upper().replace("X", "x"), "orders": []}, 8),
        ("openOrders", {"dex": "xyz", "user": ALICE}, 9),
        ("webData3", {"userState": {"user": BOB}}, 10),
        ("userFills", {"user": BOB, "fills": []}, 11),
        ("user", {"fills": []}, 12),
        ("fastAssetCtxs", "packed", 13),
        ("l2Book", {"coin": "SOL"}, None),
        ("userFills", {"user": ALICE}, None),
        ("userEvents", {}, None),
        ("news", None, None),
        (None, None, None),
    ],
)
def test_whose_a_message_is(sockets: Sockets, channel: str, data: object, number: int | None) -> None:
    found = sockets.came(3, channel, data)
    if number is None:
        assert found is None
    else:
        message = said(json.dumps({"method": "subscribe", "subscription": HELD[number]}))
        assert isinstance(message, Change) and found is not None
        assert found[0] == message.subscription
    assert sockets.came(2, channel, data) is None


def test_what_is_given_up_is_nobodys_any_more(sockets: Sockets) -> None:
    went(sockets, 3, "unsubscribe", BOOK)
    assert sockets.came(3, "l2Book", {"coin": "BTC"}) is None
    assert sockets.came(3, "l2Book", {"coin": "ETH"}) is not None
    sockets.began(3)
    assert sockets.came(3, "l2Book", {"coin": "ETH"}) is None
    sockets.went(3, b"no JSON")


def test_what_stays_of_it(sockets: Sockets) -> None:
    def stays(channel: str, data: object) -> Stays:
        found = sockets.came(3, channel, data)
        assert found is not None
        return found[1]

    assert stays("l2Book", {"coin": "BTC"}) is Stays.ALONE
    assert stays("userFills", {"user": BOB, "isSnapshot": True, "fills": []}) is Stays.ALONE
    assert stays("userFills", {"user": BOB, "fills": []}) is Stays.TOO
    assert stays("user", {}) is Stays.NOT
    packer = zlib.compressobj(wbits=-15)
    packed = base64.b64encode(packer.compress(b"{}") + packer.flush()).decode()
    assert [stays("fastAssetCtxs", packed) for _ in range(3)] == [Stays.ALONE, Stays.TOO, Stays.TOO]


def test_any_coin_may_be_asked_for_but_not_in_any_way() -> None:
    def ask(**what: object) -> object:
        return said(json.dumps({"method": "subscribe", "subscription": what}), ("", "xyz"))

    assert isinstance(ask(type="l2Book", coin="NEW"), Change)
    assert isinstance(ask(type="l2Book", coin="NEW", nSigFigs=9), Fatal)
    assert not isinstance(ask(type="allMids", dex="other"), Change)
