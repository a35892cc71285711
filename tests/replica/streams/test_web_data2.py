"""`webData2` from its parts: every value as it came, in the keys and the order of the old frames."""

import json
from pathlib import Path
from typing import Any

import pytest

from replica.streams.web_data2 import MARKET, OF_USER, compose, parts_of

USER = "0x" + "ab" * 20
META = b'{"universe":[{"name":"BTC"},{"name":"ETH"}], "marginTables":[]}'


def parts(**changed: bytes | None) -> dict[str, bytes]:
    whole: dict[str, bytes | None] = {
        "clearinghouseState": b'{"dex":"","user":"%s","clearinghouseState":{"time":1,"x":1.50}}'
        % USER.encode(),
        "openOrders": b'{"dex":"","user":"u","orders":[{"oid":1}]}',
        "spotState": b'{"user":"u","spotState":{"balances":[ ]}}',
        "twapStates": b'{"dex":"","user":"u","states":[[1,{}]]}',
        "webData3": (
            b'{"userState":{"agentAddress":null,"agentValidUntil":null,"cumLedger":"1.5","serverTime":7,'
            b'"isVault":false,"user":"u"},"perpDexStates":[{"totalVaultEquity":"0.0",'
            b'"perpsAtOpenInterestCap":["CANTO"]},{"totalVaultEquity":"9.0"}]}'
        ),
        "allDexsAssetCtxs": b'{"ctxs":[["",[{"markPx":"1"},{"markPx":"2"}]],["xyz",[]]]}',
        "spotAssetCtxs": b'[{"coin":"@1"}]',
    } | changed
    return {name: data for name, data in whole.items() if data is not None}


def test_it_has_the_keys_of_the_wire_in_their_order_and_the_bytes_of_its_parts() -> None:
    assert compose(parts(), META) == (
        b'{"channel":"webData2","data":{"clearinghouseState":{"time":1,"x":1.50},"leadingVaults":[],'
        b'"totalVaultEquity":"0.0","openOrders":[{"oid":1}],"agentAddress":null,"agentValidUntil":null,'
        b'"cumLedger":"1.5","meta":{"universe":[{"name":"BTC"},{"name":"ETH"}], "marginTables":[]},'
        b'"assetCtxs":[{"markPx":"1"},{"markPx":"2"}],"serverTime":7,"isVault":false,"user":"u",'
        b'"twapStates":[[1,{}]],"spotState":{"balances":[ ]},"spotAssetCtxs":[{"coin":"@1"}],'
        b'"perpsAtOpenInterestCap":["CANTO"]}}'
    )


@pytest.mark.parametrize("missing", [*OF_USER, *MARKET])
def test_without_one_of_its_parts_there_is_none(missing: str) -> None:
    assert compose(parts(**{missing: None}), META) is None


@pytest.mark.parametrize("name", OF_USER)
def test_a_part_that_is_not_what_it_promises_makes_none(name: str) -> None:
    for data in (b"", b"[]", b"{}", b'{"userState":3}', b"[" * 10_000):
        assert compose(parts(**{name: data}), META) is None


def test_contexts_that_do_not_fit_the_universe_make_none() -> None:
    assert compose(parts(allDexsAssetCtxs=b'{"ctxs":[["",[{"markPx":"1"}]]]}'), META) is None
    assert compose(parts(allDexsAssetCtxs=b'{"ctxs":[["xyz",[]]]}'), META) is None
    assert compose(parts(webData3=b'{"userState":{},"perpDexStates":[]}'), META) is None


def test_optional_keys_come_through() -> None:
    web = parts()["webData3"].replace(b'"isVault"', b'"optOutOfSpotDusting":true,"isVault"')
    web = web.replace(b'"totalVaultEquity":"0.0"', b'"totalVaultEquity":"0.0","leadingVaults":[{"name":"v"}]')
    frame = compose(parts(webData3=web), META)
    assert frame is not None
    data = json.loads(frame)["data"]
    assert data["optOutOfSpotDusting"] is True
    assert data["leadingVaults"] == [{"name": "v"}]


def test_vaults_led_on_any_dex_are_told_once() -> None:
    web = parts()["webData3"].replace(
        b'"totalVaultEquity":"9.0"', b'"totalVaultEquity":"9.0","leadingVaults":[{"name":"a"},{"name":"b"}]'
    )
    web = web.replace(b'"totalVaultEquity":"0.0"', b'"totalVaultEquity":"0.0","leadingVaults":[{"name":"b"}]')
    frame = compose(parts(webData3=web), META)
    assert frame is not None
    assert json.loads(frame)["data"]["leadingVaults"] == [{"name": "b"}, {"name": "a"}]


def test_all_its_parts_cost_one_user() -> None:
    subscriptions = parts_of(USER)
    assert {part.type for part in subscriptions} == {*OF_USER, *MARKET}
    assert {part.user for part in subscriptions if part.user} == {USER}


def test_recorded_frames_have_these_keys_in_this_order(recorded_dir: Path) -> None:
    recorded: list[list[str]] = []
    for path in sorted((recorded_dir / "ws").glob("webData2__*.jsonl")):
        for line in path.read_text("utf-8").splitlines():
            message: Any = json.loads(line)
            if message.get("channel") == "webData2" and "meta" in message["data"]:
                recorded.append(list(message["data"]))
    assert recorded
    frame = compose(parts(), META)
    assert frame is not None
    ours = list(json.loads(frame)["data"])
    for keys in recorded:
        assert [key for key in ours if key in keys] == keys
        assert set(ours) - set(keys) <= {"spotState"}
