"""What a request must have, and when two of them ask the same."""

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.capabilities import TABLE
from server.params import Odd, Wrong, is_plain, read

USER = "0x" + "Ab" * 20
OTHER = "0x" + "cd" * 20
START = {"startTime": 1_700_000_000_000}
CANDLES = {"coin": "BTC", "interval": "1m", **START}


def key(type_: str, **fields: Any) -> object:
    return read(TABLE[type_].params, {"type": type_, **fields}).key


@pytest.mark.parametrize(
    ("type_", "fields"),
    [
        ("openOrders", {}),
        ("openOrders", {"user": None}),
        ("openOrders", {"user": 1}),
        ("openOrders", {"user": "nobody"}),
        ("openOrders", {"user": USER + "\n"}),
        ("openOrders", {"user": USER, "dex": 1}),
        ("perpDexLimits", {}),
        ("perpDexLimits", {"dex": None}),
        ("l2Book", {}),
        ("l2Book", {"coin": ["BTC"]}),
        ("l2Book", {"coin": "BTC", "nSigFigs": "5"}),
        ("l2Book", {"coin": "BTC", "nSigFigs": True}),
        ("orderStatus", {"user": USER}),
        ("orderStatus", {"user": USER, "oid": -1}),
        ("orderStatus", {"user": USER, "oid": True}),
        ("orderStatus", {"user": USER, "oid": {}}),
        ("userFillsByTime", {"user": USER}),
        ("userFillsByTime", {"user": USER, "startTime": -1}),
        ("userFillsByTime", {"user": USER, "startTime": "1"}),
        ("userFillsByTime", {"user": USER, **START, "aggregateByTime": 1}),
        ("userFillsByTime", {"user": USER, **START, "reversed": "true"}),
        ("fundingHistory", {"coin": "BTC"}),
        ("candleSnapshot", CANDLES),
        ("candleSnapshot", {"req": None}),
        ("candleSnapshot", {"req": [CANDLES]}),
        ("candleSnapshot", {"req": {"coin": "BTC", "interval": "1m"}}),
        *(("candleSnapshot", {"req": CANDLES | {"interval": text}}) for text in ("2m", "6h", "1y", 1, "")),
        ("maxBuilderFee", {"user": USER}),
        ("vaultDetails", {"user": USER}),
        ("marginTable", {"id": "50"}),
        ("tokenDetails", {"tokenId": 1}),
    ],
)
def test_what_the_exchange_does_not_deserialize(type_: str, fields: dict[str, Any]) -> None:
    with pytest.raises(Wrong):
        key(type_, **fields)


@pytest.mark.parametrize(
    ("type_", "fields"),
    [
        ("openOrders", {"user": USER[2:]}),
        ("openOrders", {"user": "0X" + USER[2:]}),
        ("userFillsByTime", {"user": USER, "startTime": 1.0}),
        ("userFillsByTime", {"user": USER, "startTime": 1e30}),
        ("orderStatus", {"user": USER, "oid": "a cloid of its own kind"}),
    ],
)
def test_what_only_the_exchange_can_judge(type_: str, fields: dict[str, Any]) -> None:
    with pytest.raises(Odd):
        key(type_, **fields)


SAME = [
    ("openOrders", {"user": USER}, {"user": USER.lower(), "dex": ""}),
    ("meta", {}, {"dex": ""}),
    ("orderStatus", {"user": USER, "oid": "0x" + "Ab" * 16}, {"oid": "0x" + "aB" * 16, "user": USER}),
    ("candleSnapshot", {"req": CANDLES}, {"req": dict(reversed(CANDLES.items()))}),
    ("meta", {"a": 1, "b": 2}, {"b": 2, "a": 1}),
]
NOT_THE_SAME = [
    ("openOrders", {"user": USER}, {"user": OTHER}),
    ("openOrders", {"user": USER}, {"user": USER, "dex": "xyz"}),
    ("l2Book", {"coin": "kPEPE"}, {"coin": "KPEPE"}),
    ("l2Book", {"coin": "BTC"}, {"coin": "BTC", "nSigFigs": 5}),
    ("l2Book", {"coin": "BTC", "nSigFigs": 2}, {"coin": "BTC", "mantissa": 2}),
    ("l2Book", {"coin": "BTC"}, {"coin": "BTC", "nSigFigs": None}),
    ("userFills", {"user": USER}, {"user": USER, "aggregateByTime": True}),
    ("orderStatus", {"user": USER, "oid": 1}, {"user": USER, "oid": 2}),
    ("candleSnapshot", {"req": CANDLES}, {"req": CANDLES | {"endTime": 5}}),
    ("candleSnapshot", {"req": CANDLES}, {"req": CANDLES | {"type": "5"}}),
    ("candleSnapshot", {"req": CANDLES}, {"req": CANDLES, "endTime": 5}),
    ("meta", {}, {"includeEverything": True}),
    ("meta", {"a": 1}, {"a": 1.0}),
]


@pytest.mark.parametrize(("type_", "one", "other"), SAME)
def test_two_ways_to_ask_the_same(type_: str, one: dict[str, Any], other: dict[str, Any]) -> None:
    assert key(type_, **one) == key(type_, **other)
    assert hash(key(type_, **one)) == hash(key(type_, **other))


@pytest.mark.parametrize(("type_", "one", "other"), NOT_THE_SAME)
def test_two_questions(type_: str, one: dict[str, Any], other: dict[str, Any]) -> None:
    assert key(type_, **one) != key(type_, **other)


def test_what_was_read() -> None:
    asked = {"type": "userFillsByTime", "user": USER, **START, "endTime": None, "reversed": False}
    told = read(TABLE["userFillsByTime"].params, asked)
    assert told.params == {"user": USER.lower(), **START, "reversed": False}
    assert told.accounts == (USER.lower(),)
    assert read(TABLE["candleSnapshot"].params, {"type": "candleSnapshot", "req": CANDLES}).params == CANDLES
    both = read(TABLE["vaultDetails"].params, {"type": "vaultDetails", "vaultAddress": OTHER, "user": USER})
    assert both.accounts == (OTHER, USER.lower())


@pytest.mark.parametrize(
    ("body", "plain"),
    [
        (b'{"type":"meta"}', True),
        (b'{ "type" : "meta",\n"dex" :"" }', True),
        (b'{"type":"meta","type":"meta"}', False),
        (b'{"type":"meta","dex":1,"dex":2}', False),
        (b'{"type":"candleSnapshot","req":{"coin":"a","coin":"b"}}', False),
        (b'{"type":"meta","dex":"\\u0022\\u0022"}', False),
        (b'{"type":"meta","d\\u0065x":""}', False),
    ],
)
def test_only_what_is_read_whole_is_plain(body: bytes, plain: bool) -> None:
    assert is_plain(body, json.loads(body)) is plain


def test_what_is_nested_too_deep_to_be_written_again_is_not_plain() -> None:
    body = b'{"type":"meta","x":' + b"[" * 300 + b"]" * 300 + b"}"
    assert not is_plain(body, orjson.loads(body))


PIECES = st.recursive(
    st.none() | st.booleans() | st.integers(0, 9) | st.text('ab"\\:,{é', max_size=3),
    lambda inner: st.lists(st.tuples(st.text("ab", max_size=1), inner), max_size=4).map(tuple),
    max_leaves=12,
)


def written(piece: Any) -> str:
    if isinstance(piece, tuple):
        return "{" + ", ".join(f"{json.dumps(name)}:{written(value)}" for name, value in piece) + "}"
    return json.dumps(piece, ensure_ascii=False)


def repeats(piece: Any) -> bool:
    if not isinstance(piece, tuple):
        return False
    names = [name for name, _ in piece]
    return len(set(names)) < len(names) or any(repeats(value) for _, value in piece)


@given(st.lists(st.tuples(st.text("ab", max_size=1), PIECES), max_size=5).map(tuple))
def test_a_body_in_which_a_key_comes_twice_is_never_plain(piece: Any) -> None:
    body = written(piece).encode()
    if repeats(piece):
        assert not is_plain(body, json.loads(body))
    elif b"\\" not in body:
        assert is_plain(body, json.loads(body))
