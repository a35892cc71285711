"""Which subscription a frame belongs to: by what the frame says of itself."""

import json
from pathlib import Path
from typing import Any

import pytest

from replica.catalogue import ANONYMOUS, ANY, TYPES, Kind, address_in, address_of, kind_of
from replica.subscription import Subscription

USER = "0x" + "Ab" * 20

FRAMES: list[tuple[dict[str, Any], str, Any]] = [
    ({"type": "allMids"}, "allMids", {"mids": {"BTC": "1"}}),
    ({"type": "allMids", "dex": ""}, "allMids", {"mids": {}}),
    ({"type": "allMids", "dex": "xyz"}, "allMids", {"mids": {}, "dex": "xyz"}),
    ({"type": "l2Book", "coin": "BTC", "nSigFigs": 5, "mantissa": 2}, "l2Book", {"coin": "BTC", "time": 1}),
    ({"type": "bbo", "coin": "kPEPE"}, "bbo", {"coin": "kPEPE", "time": 1, "bbo": [None, None]}),
    ({"type": "trades", "coin": "@1"}, "trades", [{"coin": "@1", "tid": 1}]),
    ({"type": "candle", "coin": "BTC", "interval": "1m"}, "candle", {"t": 1, "s": "BTC", "i": "1m"}),
    ({"type": "activeAssetCtx", "coin": "BTC"}, "activeAssetCtx", {"coin": "BTC", "ctx": {}}),
    ({"type": "activeAssetCtx", "coin": "@1"}, "activeSpotAssetCtx", {"coin": "@1", "ctx": {}}),
    ({"type": "assetCtxs", "dex": "xyz"}, "assetCtxs", {"dex": "xyz", "ctxs": []}),
    ({"type": "spotAssetCtxs"}, "spotAssetCtxs", []),
    ({"type": "allDexsAssetCtxs"}, "allDexsAssetCtxs", {"ctxs": []}),
    ({"type": "fastAssetCtxs"}, "fastAssetCtxs", "q1YqSy0qzszPU7KqrgUA"),
    ({"type": "outcomeMetaUpdates"}, "outcomeMetaUpdates", {"updates": []}),
    ({"type": "clearinghouseState", "user": USER}, "clearinghouseState", {"dex": "", "user": USER.lower()}),
    ({"type": "openOrders", "user": USER, "dex": "xyz"}, "openOrders", {"dex": "xyz", "user": USER.lower()}),
    ({"type": "twapStates", "user": USER}, "twapStates", {"dex": "", "user": USER.lower(), "states": []}),
    ({"type": "spotState", "user": USER}, "spotState", {"user": USER.lower(), "spotState": {}}),
    (
        {"type": "activeAssetData", "user": USER, "coin": "BTC"},
        "activeAssetData",
        {"user": USER, "coin": "BTC"},
    ),
    ({"type": "webData3", "user": USER}, "webData3", {"userState": {"user": USER.lower()}}),
    ({"type": "webData2", "user": USER}, "webData2", {"user": USER.lower(), "meta": {}}),
    ({"type": "orderUpdates", "user": USER}, "orderUpdates", [{"order": {}}]),
    ({"type": "userEvents", "user": USER}, "user", {"fills": []}),
    ({"type": "notification", "user": USER}, "notification", {"notification": "x"}),
    ({"type": "userFills", "user": USER, "aggregateByTime": True}, "userFills", {"user": USER, "fills": []}),
]


@pytest.mark.parametrize(("subscription", "channel", "data"), FRAMES)
def test_a_frame_says_whose_it_is(subscription: dict[str, Any], channel: str, data: Any) -> None:
    assert address_in(channel, json.dumps(data).encode()) == address_of(Subscription(subscription))


def test_every_type_has_a_frame_above_or_is_a_log_of_a_user() -> None:
    shown = {subscription["type"] for subscription, _, _ in FRAMES}
    rest = {name for name, row in TYPES.items() if row.kind is Kind.LOG and row.named == ("user",)}
    assert shown | rest | {"allDexsClearinghouseState"} == set(TYPES)


def test_what_cannot_be_told_apart_has_one_address() -> None:
    def address(**fields: object) -> object:
        return address_of(Subscription(fields))

    assert address(type="l2Book", coin="BTC") == address(type="l2Book", coin="BTC", fast=True)
    assert address(type="orderUpdates", user="0x1") == address(type="orderUpdates", user="0x2")
    assert address(type="userFills", user="0x1") != address(type="userFills", user="0x2")
    assert address(type="candle", coin="BTC", interval="1m") != address(
        type="candle", coin="BTC", interval="5m"
    )


def test_an_unknown_type_may_be_anything() -> None:
    assert address_of(Subscription({"type": "news"})) == ANY
    assert kind_of(Subscription({"type": "news"})) is Kind.UNKNOWN
    assert address_in("news", b"{}") is None


@pytest.mark.parametrize(
    "data", [b"", b"nul", b"[]", b"3", b'{"coin":3}', b"[" * 100_000, b'{"coin":"\xff"}']
)
def test_data_that_is_not_what_its_channel_promises_has_no_address(data: bytes) -> None:
    assert address_in("l2Book", data) is None
    assert address_in("trades", data) is None


def test_anonymous_types_name_nothing() -> None:
    assert {name for name, row in TYPES.items() if "user" in row.params and not row.named} == ANONYMOUS


def test_recorded_frames_have_an_address(recorded_dir: Path) -> None:
    seen = set()
    for path in sorted((recorded_dir / "ws").glob("*.jsonl")):
        for line in path.read_text("utf-8").splitlines():
            message = json.loads(line)
            message = message.get("msg", message) if isinstance(message, dict) else message
            if not isinstance(message, dict) or "data" not in message:
                continue
            channel = message.get("channel")
            if channel in _READ:
                assert address_in(channel, json.dumps(message["data"]).encode()) is not None, (
                    path.name,
                    channel,
                )
                seen.add(channel)
    assert len(seen) >= 5


_READ = {row.channel or row.name for row in TYPES.values()} | {"activeSpotAssetCtx"}
