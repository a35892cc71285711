"""Frames in, events out. Texts are whole frames as the wire has them."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec import Raw

from replica.events import AccountStates, Acknowledged, Data, ErrorText, Pong, State, Unknown, Unreadable
from replica.upstream.wire import (
    NO_CHANNEL,
    PING,
    count_items,
    count_rows,
    embedded_object,
    read_answer,
    read_perp_dexs,
    read_state,
    write_request,
)
from tests.feeding import read

USER = "0x" + "ab" * 20
DEEP = b'{"a":' * 100_000
"""Valid JSON so far, and nested deeper than any decoder goes."""


# -- frames ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frame", "event"),
    [
        ('{"channel":"pong"}', Pong()),
        ('{"channel":"pong","data":null}', Pong()),
        (
            '{"channel":"error","data":"Already unsubscribed: {\\"type\\":\\"trades\\"}"}',
            ErrorText('Already unsubscribed: {"type":"trades"}'),
        ),
        (
            '{"channel":"subscriptionResponse","data":{"method":"subscribe","subscription":'
            '{"type":"l2Book","coin":"HYPE","nSigFigs":null,"fast":false}}}',
            Acknowledged("subscribe", {"type": "l2Book", "coin": "HYPE", "nSigFigs": None, "fast": False}),
        ),
        (
            '{"channel":"allMids","data":{"mids":{"BTC":"1.0"}}}',
            Data("allMids", Raw(b'{"mids":{"BTC":"1.0"}}')),
        ),
        ('{"channel":"notInAnyBook","data":[1,{"a":2}],"more":3}', Data("notInAnyBook", Raw(b'[1,{"a":2}]'))),
        ("Websocket connection established.", Unknown("(greeting)")),
        (
            f'{{"channel":"clearinghouseState","data":{{"dex":"xyz","user":"{USER}",'
            '"clearinghouseState":{"marginSummary":{"accountValue":"7434835.0399999993"},"time":17}}}',
            AccountStates(
                USER,
                (State("xyz", b'{"marginSummary":{"accountValue":"7434835.0399999993"},"time":17}', 17),),
            ),
        ),
        (
            f'{{"channel":"clearinghouseState","data":{{"user":"{USER}","clearinghouseState":{{"time":1}}}}}}',
            AccountStates(USER, (State("", b'{"time":1}', 1),)),
        ),
        (
            f'{{"channel":"allDexsClearinghouseState","data":{{"user":"{USER}","new":true,'
            '"clearinghouseStates":[["",{"a": 1.50,"time":5}],["xyz",{"time":6}]]}}',
            AccountStates(USER, (State("", b'{"a": 1.50,"time":5}', 5), State("xyz", b'{"time":6}', 6))),
        ),
        (
            f'{{"channel":"allDexsClearinghouseState","data":{{"user":"{USER}","clearinghouseStates":[]}}}}',
            AccountStates(USER, ()),
        ),
    ],
)
def test_a_frame_is_read(frame: str, event: object) -> None:
    assert read(frame) == event
    assert read(frame.encode()) == event


@pytest.mark.parametrize(
    "frame",
    [
        "",
        "null",
        "[1,]",
        "{}",
        '{"channel":7}',
        '{"channel":"error","data":{"text":"no string"}}',
        '{"channel":"error"}',
        '{"channel":"subscriptionResponse","data":"subscribe"}',
        '{"channel":"subscriptionResponse","data":{"method":"subscribe"}}',
        '{"channel":"subscriptionResponse","data":{"method":"subscribe","subscription":["trades"]}}',
        '{"channel":"clearinghouseState","data":null}',
        '{"channel":"clearinghouseState","data":{"user":"0x12","clearinghouseState":{"time":1}}}',
        f'{{"channel":"clearinghouseState","data":{{"user":"{USER}"}}}}',
        f'{{"channel":"allDexsClearinghouseState","data":{{"user":"{USER}","clearinghouseStates":{{"":{{}}}}}}}}',
        f'{{"channel":"clearinghouseState","data":{{"user":"{USER}","clearinghouseState":{{"a":tru}}}}}}',
        '{"channel":"pong"} {"channel":"pong"}',
        "Websocket connection established",
        '{"channel":"lone \ud800 surrogate"}',
        b'{"channel":"\xff"}',
        b"\x00\x01",
        b'{"channel":"x","data":' + DEEP,
    ],
)
def test_what_cannot_be_read_says_so_and_raises_nothing(frame: str | bytes) -> None:
    assert isinstance(read(frame), Unreadable)


@pytest.mark.parametrize("frame", ["[]", ' [{"height":1}]'])
def test_a_bare_list_is_data_of_no_channel(frame: str) -> None:
    assert read(frame) == Data(NO_CHANNEL, Raw(frame.encode())) == read(frame.encode())


def test_an_address_is_lower_case_from_here_on() -> None:
    frame = f'{{"channel":"clearinghouseState","data":{{"user":"0x{"AB" * 20}","clearinghouseState":{{}}}}}}'
    event = read(frame)
    assert isinstance(event, AccountStates)
    assert event.user == USER


def test_one_state_that_is_none_does_not_take_the_others_with_it() -> None:
    event = read(
        f'{{"channel":"allDexsClearinghouseState","data":{{"user":"{USER}",'
        '"clearinghouseStates":[["",null],["abc",[]],["xyz",{"time":6}]]}}'
    )
    assert event == AccountStates(USER, (State("xyz", b'{"time":6}', 6),))


# -- states ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "time"),
    [
        (b'{"time":1750912276372}', 1750912276372),
        (b'{"a":1,"time":1750912276372}', 1750912276372),
        (b'{"time": 12, "a":1}', 12),
        (b'{ "a" : 1 , "time" : 12 }', 12),
        (b"{}", 0),
        (b'{"assetPositions":[]}', 0),
        # A position may have a time too; it is not the state's.
        (b'{"assetPositions":[{"time":99}],"time":3}', 3),
        (b'{"time":3,"assetPositions":[{"time":99}]}', 3),
        (b'{"time":3,"position":{"time":99}}', 3),
        (b'{"position":{"time":99}}', 0),
        # Keys that only look like it.
        (b'{"a\\"time":99}', 0),
        (b'{"time":3,"a,\\"time":99}', 3),
        (b'{"time":3,"xtime":99}', 3),
        (b'{"time":3,"\\u0074ime":99}', 99),
        (b'{"a":"}","time":3}', 3),
    ],
)
def test_the_time_of_a_state_is_its_own(body: bytes, time: int) -> None:
    assert read_state("", body) == State("", body, time)


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b'"{}"', b"{", b'{"time":"3"}', b"{" + DEEP])
def test_what_is_no_state(body: bytes) -> None:
    assert read_state("", body) is None


def test_an_answer_must_be_one_state_from_end_to_end() -> None:
    state = b'{"marginSummary":{},"time":3}'
    assert read_answer("xyz", state) == State("xyz", state, 3)
    assert read_answer("", b" \n" + state + b"\n") == State("", state, 3)
    for body in (
        b"",
        b"null",
        b"[]",
        b'{"time":3}',
        state[:-1],
        state + b"x",
        state + state,
        b'"marginSummary"',
        b'{"marginSummary":1,"b":' + DEEP,
        b"\xff",
    ):
        assert read_answer("", body) is None, body[:40]


# -- recorded ----------------------------------------------------------------------------------------------


def recorded_frames(folder: Path) -> list[tuple[str, str]]:
    """(where, text) of every frame received in the recordings, as the text that was received."""
    decoder = json.JSONDecoder()
    frames = []
    for path in sorted((folder / "ws").glob("*.jsonl")):
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
            if not line.strip():
                continue
            outer = json.loads(line)
            text = line
            if "msg" in outer:
                if outer.get("dir", "<") != "<":
                    continue
                start = line.index('"msg":') + len('"msg":')
                while line[start] == " ":
                    start += 1
                text = line[start : decoder.raw_decode(line, start)[1]]
            frames.append((f"{path.name}:{number}", text))
    return frames


@pytest.mark.recorded
def test_recorded_frames_are_read_for_what_they_are(recorded_dir: Path) -> None:
    frames = recorded_frames(recorded_dir)
    seen: dict[str, int] = {}
    for where, text in frames:
        raw = text.encode()
        wire = json.loads(text)
        channel, data = wire["channel"], wire.get("data")
        seen[channel] = seen.get(channel, 0) + 1
        event = read(raw)
        match channel:
            case "subscriptionResponse":
                assert event == Acknowledged(data["method"], data["subscription"]), where
            case "error":
                assert event == ErrorText(data), where
            case "pong":
                assert event == Pong(), where
            case "clearinghouseState" | "allDexsClearinghouseState":
                assert isinstance(event, AccountStates), where
                pairs = data.get("clearinghouseStates") or [[data.get("dex"), data.get("clearinghouseState")]]
                assert event.user == data["user"].lower(), where
                assert [state.dex for state in event.states] == [dex for dex, _ in pairs], where
                for state, (_, decoded) in zip(event.states, pairs, strict=True):
                    assert state.body in raw, f"{where}: not a slice"
                    assert json.loads(state.body) == decoded, where
                    assert state.time == decoded.get("time", 0), where
            case _:
                assert isinstance(event, Data), where
                assert event.channel == channel, where
                assert bytes(event.data) in raw, f"{where}: not a slice"
    assert {"subscriptionResponse", "error", "pong", "allDexsClearinghouseState", "allMids"} <= seen.keys()


@pytest.mark.recorded
def test_recorded_answers_are_states_byte_for_byte(recorded_dir: Path) -> None:
    found = 0
    for path in sorted((recorded_dir / "clearinghouse").glob("*.json")):
        recording = json.loads(path.read_text("utf-8"))
        for value in (recording, *(recording.values() if isinstance(recording, dict) else ())):
            if isinstance(value, dict) and "marginSummary" in value:
                body = json.dumps(value, indent=1).encode()
                assert read_answer("", body) == State("", body, value.get("time", 0)), path.name
                found += 1
    assert found


# -- what else is counted and read -------------------------------------------------------------------------


def test_rows_are_counted_in_lists_alone() -> None:
    assert count_rows(b"[]") == 0
    assert count_rows(b'[1, {"a":[2,3]}, null]') == 3
    for body in (b"", b"null", b'{"a":[1]}', b"[1", b"[" * 100_000):
        assert count_rows(body) == 0


@pytest.mark.parametrize(
    ("body", "items"),
    [
        (b'{"action":{"type":"order","orders":[{},{},{}],"grouping":"na"},"nonce":1}', 3),
        (b'{"action":{"type":"cancel","cancels":[{}]},"nonce":1}', 1),
        (b'{"action":{"type":"batchModify","modifies":[{},{}]}}', 2),
        (b'{"action":{"type":"usdSend","amount":"1"}}', 0),
        (b'{"action":{"orders":{"a":1}}}', 0),
        (b'{"action":[]}', 0),
        (b'{"nonce":1}', 0),
        (b"not JSON", 0),
        (b"", 0),
        (b'{"action":' + DEEP, 0),
    ],
)
def test_items_of_a_write_are_counted(body: bytes, items: int) -> None:
    assert count_items(body) == items


@pytest.mark.parametrize(
    ("body", "names"),
    [
        (b'[null,{"name":"xyz","fullName":"x"},{"name":"abc"}]', ("", "xyz", "abc")),
        (b"[null]", ("",)),
        (b"[]", ("",)),
        (b'[null,{"name":"xyz"},{"name":"xyz"},{"fullName":"unnamed"}]', ("", "xyz")),
        (b"null", None),
        (b'{"name":"xyz"}', None),
        (b'[{"name":7}]', None),
        (b"[" * 100_000, None),
    ],
)
def test_the_dex_list(body: bytes, names: tuple[str, ...] | None) -> None:
    assert read_perp_dexs(body) == names


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('Already subscribed: {"type":"trades","coin":"ETH"}', {"type": "trades", "coin": "ETH"}),
        ('Invalid subscription {"type":"l2Book"}', {"type": "l2Book"}),
        ('x {"a":{"b":1}} y', {"a": {"b": 1}}),
        ("Cannot track more than 15 total users.", None),
        ("} {", None),
        ("{", None),
        ("{not json}", None),
        ('{"a":\ud800}', None),
        (DEEP.decode() + "}", None),
    ],
)
def test_the_object_inside_an_error_text(text: str, found: object) -> None:
    assert embedded_object(text) == found


@pytest.mark.parametrize(
    ("write", "text"),
    [
        (lambda: PING, b'{"method":"ping"}'),
        (
            lambda: write_request("subscribe", {"type": "trades", "coin": "kPEPE"}),
            b'{"method":"subscribe","subscription":{"type":"trades","coin":"kPEPE"}}',
        ),
    ],
)
def test_what_we_send(write: Callable[[], bytes], text: bytes) -> None:
    assert write() == text
