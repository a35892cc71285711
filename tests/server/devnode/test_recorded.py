"""A folder of recordings as an upstream: every recorded answer and state can be asked for, byte for byte."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from server.devnode import Devnode, Recorded
from server.devnode.info import MALFORMED
from server.devnode.recordings import RecordingError, invented_address, is_whole, read_pairs, read_states
from tests.server.devnode.client import Client, http

Start = Callable[..., Awaitable[Devnode]]
Connect = Callable[[Devnode], Awaitable[Client]]
USER = "0x" + "7d" * 20
UNKNOWN = "0x" + "5c" * 20


def a_state(value: str, time: int | None = 1, **more: object) -> dict[str, Any]:
    summary = {"accountValue": value, "totalNtlPos": "0.0", "totalRawUsd": value, "totalMarginUsed": "0.0"}
    state = {
        "marginSummary": summary,
        "crossMarginSummary": summary,
        "crossMaintenanceMarginUsed": "0.0",
        "withdrawable": value,
        "assetPositions": [],
    }
    return state | ({} if time is None else {"time": time}) | more


@pytest.fixture
def folder(tmp_path: Path) -> Callable[..., Path]:
    """Write recordings: names of files and what is in them; a list becomes a file of lines."""

    def write(**files: object) -> Path:
        for name, content in files.items():
            place, _, rest = name.partition("__")
            path = tmp_path / place / rest
            path.parent.mkdir(exist_ok=True)
            if place == "ws":
                path = path.with_suffix(".jsonl")
                assert isinstance(content, list)
                path.write_text("".join(json.dumps(line) + "\n" for line in content))
            else:
                path.with_suffix(".json").write_text(json.dumps(content))
        return tmp_path

    return write


def pair(request: dict[str, Any], response: object, **meta: object) -> dict[str, Any]:
    return {"meta": meta, "request": request, "response": response}


async def test_an_answer_is_found_by_what_the_request_means(
    devnode: Start, folder: Callable[..., Path]
) -> None:
    node = await devnode(
        recorded=folder(
            info__fees=pair({"type": "userFees", "user": "0x" + "7D" * 20}, {"fee": "0.1"}),
            info__funding=pair(
                {"type": "userFunding", "user": USER, "startTime": 5, "endTime": None}, [1, 2]
            ),
            info__meta=pair({"type": "meta"}, {"universe": []}),
            info__failed=pair({"type": "candleSnapshot", "req": {"coin": "#1"}}, None, http_status=500),
            info__documented__x={"meta": {}, "examples": []},
        )
    )
    for body, status, answer in (
        ({"type": "userFees", "user": USER}, 200, b'{"fee":"0.1"}'),
        ({"user": "0x" + "7d" * 19 + "7D", "type": "userFees", "dex": None}, 200, b'{"fee":"0.1"}'),
        ({"type": "userFunding", "user": USER, "startTime": 5}, 200, b"[1,2]"),
        ({"type": "userFunding", "user": USER, "startTime": 6}, 200, b"[]"),  # another window: as for unknown
        ({"type": "meta", "dex": ""}, 200, b'{"universe":[]}'),
        ({"type": "meta", "superfluous": 1}, 200, b'{"universe":[]}'),
        ({"type": "meta", "dex": "nope"}, 500, b"null"),
        ({"type": "candleSnapshot", "req": {"coin": "#1"}}, 500, b"null"),
        ({"type": "openOrders", "user": UNKNOWN}, 200, b"[]"),
        (
            {"type": "userFees", "user": UNKNOWN},
            422,
            MALFORMED.body,
        ),
        ({"type": "spotMeta"}, 422, MALFORMED.body),
        ({"type": "batchClearinghouseStates", "users": [USER]}, 500, b"null"),
    ):
        reply = await http(node.port, body)
        assert (reply.status, reply.body) == (status, answer), body
    assert (await http(node.port, {"type": "exchangeStatus"})).json["specialStatuses"] is None


def test_of_several_answers_the_newest_of_mainnet_is_served(folder: Callable[..., Path]) -> None:
    meta = {"type": "meta"}
    recorded = Recorded(
        folder(
            info__a=pair(meta, "old", net="mainnet", captured="Fri, 22 Aug 2025 07:17:10 GMT"),
            info__b=pair(meta, "new", net="mainnet", captured="2025-12-13T21:23:05.000Z"),
            info__c=pair(meta, "other net", net="testnet", captured="Sat, 13 Dec 2025 21:24:05 GMT"),
            info__d=pair(meta, "no time"),
        )
    )
    assert [one.body for one in recorded.pairs] == [b'"old"', b'"new"', b'"other net"', b'"no time"']
    assert recorded._exact[b'{"type":"meta"}'].body == b'"new"'


def test_a_recording_without_its_request_gets_an_address_from_its_file(folder: Callable[..., Path]) -> None:
    path = folder(
        info__orders=pair({"type": "openOrders"}, [{"oid": 1}]),
        info__fees=pair({"type": "maxBuilderFee", "user": "(not given)"}, 7),
    )
    users = [one.request["user"] for one in read_pairs(path)]
    assert users == [invented_address("fees.json"), invented_address("orders.json")]
    assert all(one.invented_user for one in read_pairs(path))


def test_every_state_is_served_once_under_an_address_of_its_own(folder: Callable[..., Path]) -> None:
    older, newer, nameless, other = a_state("1.0", 1), a_state("2.0", 2), a_state("3.0"), a_state("4.0")
    single = {"user": USER, "dex": "xyz", "clearinghouseState": other}
    all_dexes = {"user": USER, "clearinghouseStates": [["xyz", other]]}
    shuffled = dict(reversed(list(older.items())))
    recorded = Recorded(
        folder(
            info__a=pair({"type": "clearinghouseState", "user": USER}, older),
            info__b=pair({"type": "clearinghouseState", "user": USER.upper().replace("X", "x")}, newer),
            info__web=pair({"type": "webData2"}, {"clearinghouseState": nameless}),
            ws__a=[
                {"dir": ">", "msg": {"method": "subscribe"}},
                {"channel": "pong"},
                {"msg": {"channel": "webData2", "data": {"user": UNKNOWN, "clearinghouseState": nameless}}},
                {"channel": "allDexsClearinghouseState", "data": all_dexes},
                {"channel": "clearinghouseState", "data": single},
            ],
            clearinghouse__a={"source": "x", "clearinghouseState": shuffled},  # the same as `older`
            clearinghouse__b={"partial": True, "clearinghouseState": a_state("5.0")},
            clearinghouse__c=[1, 2],
        )
    )
    assert recorded.states == {
        (USER, ""): json.dumps(newer, separators=(",", ":")).encode(),
        (invented_address("a.json"), ""): json.dumps(older, separators=(",", ":")).encode(),
        (UNKNOWN, ""): json.dumps(nameless, separators=(",", ":")).encode(),
        (USER, "xyz"): json.dumps(other, separators=(",", ":")).encode(),
    }
    assert recorded.dexes == ("", "xyz")
    assert set(recorded.addresses) == {USER, UNKNOWN, invented_address("a.json")}


def test_trimmed_states_are_no_states() -> None:
    assert is_whole(a_state("1.0"))
    assert not is_whole(None) and not is_whole({})
    for key in a_state("1.0"):
        assert is_whole({name: value for name, value in a_state("1.0").items() if name != key}) is (
            key == "time"
        )
    assert not is_whole(a_state("1.0", assetPositions=[{"type": "oneWay", "position": {"coin": "BTC"}}]))
    early = a_state("1.0", None)
    for key in ("withdrawable", "crossMaintenanceMarginUsed"):
        del early[key]
    assert not is_whole(early)
    early["marginSummary"] = early["marginSummary"] | {"withdrawable": "1.0"}
    assert is_whole(early)  # 2023


def test_a_folder_without_recordings_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no recordings in"):
        Recorded(tmp_path)


async def test_recorded_states_are_pushed_unchanged(
    devnode: Start, connect: Connect, folder: Callable[..., Path]
) -> None:
    state = a_state("2987462.9656839999")
    node = await devnode(recorded=folder(info__a=pair({"type": "clearinghouseState", "user": USER}, state)))
    client = await connect(node)
    await client.subscribe(type="clearinghouseState", user=USER)
    for _ in range(3):
        frame = await client.connection.recv()
        assert frame.endswith(f'"clearinghouseState":{json.dumps(state, separators=(",", ":"))}}}}}')
    # There are no mids in this folder: the subscription is acknowledged, and nothing comes.
    await client.unsubscribe(type="clearinghouseState", user=USER)
    await client.subscribe(type="allMids")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(20):
            await client.receive()


# The real folder


@pytest.mark.recorded
async def test_every_recorded_answer_is_served_as_it_was(recorded_dir: Path, devnode: Start) -> None:
    node = await devnode(recorded=recorded_dir)
    assert isinstance(node.source, Recorded)
    states = set(node.source.states.values())
    served = set()
    pushed_aside = []
    for one in node.source.pairs:
        reply = await http(node.port, one.request)
        assert reply.status == one.status
        if reply.body == one.body:
            served.add(_meaning(one.request))
        elif one.body not in states:
            pushed_aside.append(one)
    # What is not served has a better recording of the same request, and that one is.
    assert len(served) >= 50
    for one in pushed_aside:
        assert _meaning(one.request) in served, one.name


@pytest.mark.recorded
async def test_every_recorded_state_is_served_and_pushed_as_it_was(
    recorded_dir: Path, devnode: Start, connect: Connect
) -> None:
    node = await devnode(recorded=recorded_dir)
    assert isinstance(node.source, Recorded)
    assert len(node.source.states) == len(read_states(recorded_dir)) >= 20
    client = await connect(node)
    for (user, dex), body in node.source.states.items():
        reply = await http(node.port, {"type": "clearinghouseState", "user": user, "dex": dex})
        assert reply.body == body
        await client.subscribe(type="clearinghouseState", user=user, dex=dex)
        frame = await client.connection.recv(decode=False)
        assert frame.endswith(b'"clearinghouseState":' + body + b"}}")
        await client.unsubscribe(type="clearinghouseState", user=user, dex=dex)
    assert {user for user, _ in node.source.states} == set(node.addresses)


@pytest.mark.recorded
def test_bodies_have_the_size_that_was_seen_on_the_wire(recorded_dir: Path) -> None:
    checked = 0
    for one in read_pairs(recorded_dir):
        meta = json.loads((recorded_dir / "info" / one.name).read_bytes())["meta"]
        if "trimmed" in meta["judgement"] or meta.get("wire_body_bytes") is None:
            continue
        assert len(one.body) == meta["wire_body_bytes"], one.name
        checked += 1
    assert checked >= 50


@pytest.mark.recorded
async def test_the_official_client_can_be_built_on_recordings(
    recorded_dir: Path, devnode: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hyperliquid.api import API
    from hyperliquid.info import Info

    node = await devnode(recorded=recorded_dir)

    def post(self: API, path: str, payload: Any = None) -> Any:
        answer = node.app.api.info("127.0.0.1", "application/json", json.dumps(payload).encode())
        assert answer.status == 200, (payload, answer)
        return json.loads(answer.body)

    monkeypatch.setattr(API, "post", post)
    info = Info("http://devnode", skip_ws=True)
    assert info.name_to_asset("BTC") == 0
    assert len(info.user_state("0xF27ebb91ea420f73b59b205ac7e0b77a90ec8f3c")["assetPositions"]) == 139
    assert info.all_mids()["BTC"]


def _meaning(request: Any) -> str:
    """A request without what it could as well have left out; users in one case."""
    meaning = {key: value for key, value in request.items() if value not in (None, "")}
    if "user" in meaning:
        meaning["user"] = meaning["user"].lower()
    return json.dumps(meaning, sort_keys=True)


GOOD = {"meta": {}, "request": {"type": "meta"}, "response": {}}


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("info/x.json", "{", "x.json: no JSON"),
        ("info/x.json", "[]", "x.json: not a recording as this folder has them"),
        (
            "info/x.json",
            json.dumps(GOOD | {"request": {}}),
            "x.json: not a recording as this folder has them",
        ),
        ("info/x.json", json.dumps(GOOD | {"meta": {"captured": "soon"}}), "x.json: not a recording as"),
        ("info/x.json", json.dumps(GOOD | {"request": {"type": "webData2"}, "response": []}), "x.json: not"),
        ("ws/x.jsonl", '{"msg":1}', "x.jsonl: not a recording as this folder has them"),
        ("ws/x.jsonl", '{"channel":"allDexsClearinghouseState","data":{}}', "x.jsonl: not a recording as"),
        ("clearinghouse/x.json", "{", "x.json: no JSON"),
        ("other/x.json", "{}", "no recordings in"),
    ],
)
def test_a_file_that_is_no_recording_is_named(tmp_path: Path, name: str, text: str, said: str) -> None:
    path = tmp_path / name
    path.parent.mkdir()
    path.write_text(text)
    with pytest.raises(RecordingError) as refused:
        Recorded(tmp_path)
    assert str(refused.value).startswith(said) and "\n" not in str(refused.value)
