"""Whatever is sent to it, the devnode answers in the exchange's words, and goes on."""

import json
import re
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from coincurve import PrivateKey
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from server.devnode import Devnode, Limits
from server.devnode.engine import refusals
from server.devnode.engine.invariants import check
from server.devnode.market import Exchange
from server.devnode.market.signed import EXPIRED, NONCE_MISMATCH
from server.signing import SigningError, is_user_signed
from server.signing.catalogue import canonical_action
from server.signing.ecrecover import keccak256
from server.signing.l1 import agent_digest, connection_id
from server.signing.user_signed import user_digest
from tests.server.devnode.client import Client, http
from tests.server.devnode.garbage import ADDRESS, junk, nested, spoilt, spoilt_text

Start = Callable[..., Awaitable[Devnode]]
Connect = Callable[[Devnode], Awaitable[Client]]
T0 = 1_800_000_000_000
KEY = PrivateKey(b"\x07" * 32)
SIGNER = "0x" + keccak256(KEY.public_key.format(compressed=False)[1:])[12:].hex()
MANY = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
SOME = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))

REFUSED = {
    (400, b"Failed to parse the request body as JSON"),
    (422, b"Failed to deserialize the JSON body into the target type"),
}


def _patterns() -> re.Pattern[str]:
    """Every refusal there is: the engine's words, and those that come before it."""
    texts = [EXPIRED, NONCE_MISMATCH, "Unable to recover signer.", "Invalid nonce: {}"]
    for name, value in vars(refusals).items():
        if name.isupper():
            texts.append(value[1] if isinstance(value, tuple) else value)
    any_of = "|".join(re.escape(text).replace(r"\{\}", ".*") for text in texts)
    return re.compile(rf"(?:{any_of})(?: asset=\d+)?", re.DOTALL)


WORDS = _patterns()


def row(**other: Any) -> dict[str, Any]:
    gtc = {"limit": {"tif": "Gtc"}}
    return {"a": 0, "b": True, "p": "97000", "s": "0.01", "r": False, "t": gtc} | other


def actions(nonce: int) -> list[dict[str, Any]]:
    """One of each type, well-formed."""
    stop = {"trigger": {"isMarket": True, "triggerPx": "90000", "tpsl": "sl"}}
    cloid = "0x" + "0" * 32
    chain = {"signatureChainId": "0x66eee", "hyperliquidChain": "Testnet"}
    sent = {"destination": ADDRESS, "amount": "1"}
    between = {
        "sourceDex": "",
        "destinationDex": "xyz",
        "token": "USDC",
        "fromSubAccount": "",
        "nonce": nonce,
    }
    sub = {"subAccountUser": ADDRESS}
    return [
        {"type": "order", "orders": [row()], "grouping": "na"},
        {
            "type": "order",
            "orders": [row(p="98000", t={"limit": {"tif": "Ioc"}}), row(b=False, r=True, t=stop)],
            "grouping": "normalTpsl",
            "builder": {"b": ADDRESS, "f": 1},
        },
        {"type": "order", "orders": [row(a=10_000, p="0.2", s="100", c=cloid)], "grouping": {"p": 1}},
        {"type": "modify", "oid": 41, "order": row()},
        {"type": "modify", "oid": cloid, "order": row(), "a": True},
        {"type": "batchModify", "modifies": [{"oid": 1, "order": row(c=cloid)}]},
        {"type": "cancel", "cancels": [{"a": 0, "o": 41}]},
        {"type": "cancelByCloid", "cancels": [{"asset": 0, "cloid": cloid}]},
        {"type": "scheduleCancel", "time": nonce + 10_000},
        {"type": "updateLeverage", "asset": 0, "isCross": True, "leverage": 5},
        {"type": "updateIsolatedMargin", "asset": 0, "isBuy": True, "ntli": 1_000_000},
        {"type": "topUpIsolatedOnlyMargin", "asset": 0, "leverage": "5"},
        {"type": "twapOrder", "twap": {"a": 0, "b": True, "s": "1", "r": False, "m": 30, "t": False}},
        {"type": "twapCancel", "a": 0, "t": 1},
        {"type": "createSubAccount", "name": "x"},
        {"type": "subAccountTransfer", **sub, "isDeposit": True, "usd": 1_000_000},
        {"type": "subAccountSpotTransfer", **sub, "isDeposit": True, "token": "USDC", "amount": "1"},
        {"type": "subAccountModify", **sub, "name": "x"},
        {"type": "setReferrer", "code": "X"},
        {"type": "noop"},
        {"type": "vaultTransfer", "vaultAddress": ADDRESS, "isDeposit": True, "usd": 5},
        {"type": "agentSendAsset", **sent, **between},
        {"type": "usdSend", **sent, "time": nonce, **chain},
        {"type": "spotSend", **sent, "token": "USDC", "time": nonce, **chain},
        {"type": "withdraw3", **sent, "time": nonce, **chain},
        {"type": "usdClassTransfer", "amount": "1", "toPerp": False, "nonce": nonce, **chain},
        {"type": "sendAsset", **sent, **between, **chain},
        {"type": "approveAgent", "agentAddress": ADDRESS, "agentName": "x", "nonce": nonce, **chain},
        {"type": "approveBuilderFee", "maxFeeRate": "0.01%", "builder": ADDRESS, "nonce": nonce, **chain},
        {
            "type": "multiSig",
            "signatureChainId": "0x66eee",
            "signatures": [{"r": "0x1", "s": "0x1", "v": 27}],
            "payload": {"multiSigUser": ADDRESS, "outerSigner": SIGNER, "action": {"type": "noop"}},
        },
    ]


def signed(action: Any, nonce: int, vault: str | None = None, expires: int | None = None) -> dict[str, Any]:
    """A request with a signature over what it says, as far as that can be signed."""
    try:
        if is_user_signed(action):
            digest = user_digest(action, mainnet=action.get("hyperliquidChain") == "Mainnet")
        else:
            digest = agent_digest(
                connection_id(canonical_action(action), nonce, vault, expires), mainnet=False
            )
    except (SigningError, AttributeError):  # no action at all
        digest = bytes(32)
    raw = KEY.sign_recoverable(digest, hasher=None)
    words = {"r": "0x" + raw[:32].hex(), "s": "0x" + raw[32:64].hex(), "v": raw[64] + 27}
    return {
        "action": action,
        "nonce": nonce,
        "signature": words,
        "vaultAddress": vault,
        "expiresAfter": expires,
    }


@st.composite
def requests(draw: st.DrawFn) -> list[Any]:
    """Some requests in their order: spoilt before they are signed, and some of them afterwards too."""
    found = []
    for number in range(draw(st.integers(1, 5))):
        nonce = T0 + number
        action = draw(st.sampled_from(actions(nonce)).flatmap(spoilt))
        vault = draw(st.sampled_from([None] * 9 + [ADDRESS]))
        request = signed(action, nonce, vault, draw(st.sampled_from([None] * 9 + [T0 + 10**6])))
        found.append(draw(spoilt(request)) if draw(st.integers(0, 3)) == 0 else request)
    return found


def small() -> Devnode:
    return Devnode(accounts=1, limits=Limits.off(), paused=True, time_ms=T0, impersonation=True)


def errors(answer: Any) -> list[str]:
    """The texts of refusal in an answer to an action, of whose shape nothing else is taken for granted."""
    if answer["status"] == "err":
        return [answer["response"]]
    assert answer["status"] == "ok"
    data = answer["response"].get("data", {})
    statuses = data.get("statuses", [data.get("status")]) if isinstance(data, dict) else []
    return [status["error"] for status in statuses if isinstance(status, dict) and "error" in status]


def sound(node: Devnode, signer: str = SIGNER) -> None:
    """The books balance, and everything can still be read."""
    assert isinstance(node.source, Exchange)
    check(node.source.engine.ground)
    for kind in (
        "clearinghouseState",
        "openOrders",
        "historicalOrders",
        "userFills",
        "webData2",
        "portfolio",
    ):
        body = json.dumps({"type": kind, "user": signer}).encode()
        assert node.app.api.info("127.0.0.1", "application/json", body).status == 200


@MANY
@given(requests())
async def test_any_signed_action_is_answered_in_the_exchanges_words(asked: list[Any]) -> None:
    node = small()
    for request in asked:
        answer = node.app.api.exchange("127.0.0.1", "application/json", json.dumps(request).encode())
        if answer.status == 200:
            for text in errors(json.loads(answer.body)):
                assert WORDS.fullmatch(text), text
        else:
            assert (answer.status, answer.body) in REFUSED
    node.step()
    sound(node)


@pytest.mark.parametrize("action", actions(T0), ids=lambda action: action["type"])
def test_what_was_not_spoilt_deserialises_and_what_the_exchange_has_not_does_not(
    action: dict[str, Any],
) -> None:
    node = small()

    def exchange(action: Any) -> int:
        return node.source.exchange(signed(action, T0)).status  # type: ignore[attr-defined, no-any-return]

    assert exchange(action) == 200
    assert exchange({**action, "type": "noSuchAction"}) == 422


@SOME
@given(st.sampled_from(actions(T0)).flatmap(lambda action: spoilt_text(signed(action, T0))))
@example(b"")
@example(b"\xff\xfe")
@example(json.dumps({"action": nested(126)}).encode())
@example(json.dumps({"action": nested(127)}).encode())
async def test_bodies_that_are_no_json_are_refused_on_the_wire(devnode: Start, body: bytes) -> None:
    node = await devnode(accounts=1)
    for path in ("/exchange", "/info"):
        reply = await http(node.port, body, path=path)
        # A byte may be replaced within a text: then it is JSON, signed by somebody else.
        assert reply.status == 200 or (reply.status, reply.body) in REFUSED
    assert (await http(node.port, {"type": "meta"})).status == 200


async def test_the_exchanges_parser_reads_127_levels() -> None:
    api = small().app.api
    for deep, status in ((126, 422), (127, 400)):  # one more is the body itself
        body = json.dumps({"type": nested(deep)}).encode()
        assert api.info("", "application/json", body).status == status
        assert api.exchange("", "application/json", body).status == status


# -- the controls ---------------------------------------------------------------------------------------

GOOD: dict[str, list[Any]] = {
    "action": [actions(T0)[0]], "after_s": [0.1], "blocks": [1, 5], "body": ["x"], "channel": ["l2Book"],
    "code": [1000], "coin": ["BTC", "PURR/USDC", "xyz:TSLA"], "content_type": ["text/html"], "dex": ["xyz"],
    "frame": ["{}"], "nonce": [5], "path": ["/info", "/exchange", "/ws"], "px": ["97000", 97240.5, 1e-7],
    "quietly": [True], "raw": ["x"], "reason": ["x"], "saved": ["AAAA", "e30="], "seconds": [0, 0.5, 2],
    "seed": [3], "snapshot": [1], "stage": ["read", "connected"], "status": [429, 204], "text": ["no"],
    "times": [1, None], "type": ["meta"], "usd": ["5", 0.1 + 0.2], "user": [ADDRESS, SIGNER],
    "vault": [ADDRESS],
}  # fmt: skip
TAKES_THE_DOOR = ("refuse_connections", "accept_connections")


@st.composite
def controls(draw: st.DrawFn, node: Devnode) -> tuple[str, Any]:
    verb = draw(st.sampled_from([name for name in node.app.dev.verbs if name not in TAKES_THE_DOOR]))
    known = node.app.dev.verbs[verb]
    chosen = [name for name in known.hints if name in known.required or draw(st.booleans())]
    good = {name: draw(st.sampled_from(GOOD[name])) for name in chosen}
    return verb, draw(spoilt(good, 2))


@SOME
@given(st.data())
async def test_any_control_is_done_or_refused_in_one_line(devnode: Start, data: st.DataObject) -> None:
    node = await devnode(accounts=1, paused=True, time_ms=T0, impersonation=True)
    for _ in range(8):
        verb, fields = data.draw(controls(node))
        reply = await node.app.dev.answer("POST", verb, json.dumps(fields).encode())
        assert reply.status in (200, 400), (verb, fields, reply)
        if reply.status == 200:
            assert list(json.loads(reply.body)) == ["result"]
        else:
            assert b"\n" not in reply.body and reply.body.startswith(verb.encode() + b": ")
    node.faults.heal()
    node.step()
    sound(node)
    assert json.loads(json.dumps(node.status()))["paused"] in (True, False)
    assert (await http(node.port, {"type": "meta"})).status == 200


@SOME
@given(st.data())
async def test_what_no_devnode_saved_changes_nothing(data: st.DataObject) -> None:
    node = small()
    request = signed(actions(T0)[0], T0)
    node.app.api.exchange("127.0.0.1", "application/json", json.dumps(request).encode())
    saved = node.save()
    place = data.draw(st.integers(0, len(saved) - 1))
    instead = data.draw(st.sampled_from(["", "A", "/", "=", "é", "\n"]))
    spoilt_save = saved[:place] + instead + saved[place + data.draw(st.sampled_from([1, 40])) :]
    if spoilt_save == saved:
        return
    before = node.addresses, node.now_ms()
    with pytest.raises(ValueError, match="that was not saved by a devnode"):
        node.load(spoilt_save)
    assert (node.save(), (node.addresses, node.now_ms())) == (saved, before)
    node.load(saved)
    assert node.save() == saved


@SOME
@given(st.binary(max_size=30) | junk.map(lambda value: json.dumps(value).encode()))
async def test_any_body_of_a_control_is_read_or_refused(devnode: Start, body: bytes) -> None:
    node = await devnode(accounts=1)
    for verb in ("pause", "step", "answer", "load", "impersonate"):
        reply = await http(node.port, body, path=f"/dev/{verb}")
        assert reply.status in (200, 400)
    assert (await http(node.port, b"", path="/dev/status", method="GET")).status == 200


# -- posts over the websocket ---------------------------------------------------------------------------


@st.composite
def frames(draw: st.DrawFn) -> str:
    nonce = T0 + draw(st.integers(0, 9))
    payload: Any = signed(draw(st.sampled_from(actions(nonce))), nonce)
    kind = draw(st.sampled_from(["action", "info"]))
    if kind == "info":
        payload = {
            "type": draw(st.sampled_from(["meta", "l2Book", "userFills"])),
            "coin": "BTC",
            "user": SIGNER,
        }
    whole = {"method": "post", "id": 3, "request": {"type": kind, "payload": payload}}
    if draw(st.integers(0, 4)) == 0:
        return draw(spoilt_text(whole)).decode(errors="replace")
    return json.dumps(draw(spoilt(whole)))


@SOME
@given(st.lists(frames(), max_size=6))
@example([json.dumps({"method": "post", "id": 1, "request": {"type": "action", "payload": nested(500)}})])
async def test_every_post_has_one_answer_and_the_socket_stays(
    devnode: Start, connect: Connect, said: list[str]
) -> None:
    client = await connect(await devnode(accounts=1, paused=True, time_ms=T0))
    for frame in said:
        answer = await client.ask(frame)
        if answer["channel"] == "error":
            assert answer["data"] == f"Error parsing JSON into valid websocket request: {frame}"
            continue
        response = answer["data"]["response"]
        if response["type"] == "error":
            assert response["payload"] in {f"{status}: {text.decode()}" for status, text in REFUSED} | {
                "500: null"
            }
        elif response["type"] == "action":
            for text in errors(response["payload"]):
                assert WORDS.fullmatch(text), text
    assert await client.ask({"method": "ping"}) == {"channel": "pong"}
