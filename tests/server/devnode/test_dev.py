"""`/dev/`: who is let in, and what is said to whom gets it wrong."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from server.devnode import Devnode, controls, faults
from server.devnode.dev import Dev, is_loopback
from server.devnode.devnode import VERBS as SOCKET_VERBS
from tests.server.devnode.client import JSON, http

Start = Callable[..., Awaitable[Devnode]]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "text"),
    [
        ("GET", "/dev/pause", b"", 405, "/dev/pause is for POST"),
        ("POST", "/dev/status", b"", 405, "/dev/status is for GET"),
        ("POST", "/dev/step", b"{", 400, "step: the body is no JSON"),
        ("POST", "/dev/step", b"[1]", 400, "step: the body is no JSON object"),
        ("POST", "/dev/step", b'{"n":1}', 400, "step: no field 'n', it takes blocks, quietly"),
        ("POST", "/dev/pause", b'{"n":1}', 400, "pause: no field 'n', it takes none"),
        ("POST", "/dev/step", b'{"blocks":"1"}', 400, 'step: blocks wants a whole number, got "1"'),
        ("POST", "/dev/step", b'{"blocks":1.5}', 400, "step: blocks wants a whole number, got 1.5"),
        ("POST", "/dev/step", b'{"blocks":true}', 400, "step: blocks wants a whole number, got true"),
        ("POST", "/dev/step", b'{"quietly":1}', 400, "step: quietly wants true or false, got 1"),
        ("POST", "/dev/set_mark", b"{}", 400, "set_mark: coin, px missing"),
        (
            "POST",
            "/dev/set_mark",
            b'{"coin":"BTC","px":[]}',
            400,
            "set_mark: px wants text or a number, got []",
        ),
        ("POST", "/dev/push", b'{"user":5}', 400, "push: user wants text or null, got 5"),
        ("POST", "/dev/answer", b"", 400, "answer: status missing"),
        ("POST", "/dev/cut", b'{"stage":3}', 400, "cut: stage wants text, got 3"),
    ],
)
async def test_what_is_wrong_is_said_in_a_line(
    devnode: Start, method: str, path: str, body: bytes, status: int, text: str
) -> None:
    reply = await http((await devnode()).port, body, method=method, path=path)
    assert (reply.status, reply.body.decode()) == (status, text)


@pytest.mark.parametrize("path", ["/dev/nope", "/dev/__init__", "/dev/described", "/dev/start", "/dev/a/b"])
async def test_an_unknown_verb_names_those_there_are(devnode: Start, path: str) -> None:
    for method in ("GET", "POST"):
        reply = await http((await devnode()).port, b"", method=method, path=path)
        assert reply.status == 404
        assert reply.body.decode().startswith(f"no {path}, there are abort, accept_and_drop, ")


async def test_no_body_no_header_and_a_slash_too_many_are_fine(devnode: Start) -> None:
    port = (await devnode()).port
    for path, body, headers in (
        ("/dev/pause", b"", {}),
        ("/dev/resume/", b" ", {}),
        ("//dev/pause", b"{}", {"Content-Type": "text/plain"}),
        ("/dev/step", b'{"blocks":2}', JSON),
    ):
        reply = await http(port, body, path=path, headers=headers)
        assert (reply.status, reply.json) == (200, {"result": None})


async def test_a_verb_takes_what_its_signature_says() -> None:
    seen: list[object] = []

    def verb(action: dict[str, Any], rows: list[int] | None = None, px: str | float = 0) -> int:
        seen.append((action, rows, px))
        return len(seen)

    dev = Dev([verb], {})
    for body, text in (
        ({"action": {}}, '{"result":1}'),
        ({"action": {"a": 1}, "rows": [1], "px": 2}, '{"result":2}'),
        ({"action": []}, "verb: action wants an object, got []"),
        ({"action": {}, "rows": {}}, "verb: rows wants a list or null, got {}"),
        ({"action": {}, "px": None}, "verb: px wants text or a number, got null"),
    ):
        assert (await dev.answer("POST", "verb", json.dumps(body).encode())).body.decode() == text
    assert seen == [({}, None, 0), ({"a": 1}, [1], 2)]


async def test_what_this_machine_refuses_is_said_too() -> None:
    async def accept_connections() -> None:
        raise OSError(98, "Address already in use")

    answer = await Dev([accept_connections], {}).answer("POST", "accept_connections", b"")
    assert (answer.status, answer.body) == (409, b"accept_connections: [Errno 98] Address already in use")


async def test_web_pages_are_refused(devnode: Start) -> None:
    node = await devnode()
    reply = await http(node.port, {}, path="/dev/pause", headers=JSON | {"Origin": "http://localhost:8000"})
    assert (reply.status, reply.body) == (403, b"/dev/ is not for web pages")
    assert not node.clock.paused


@pytest.mark.parametrize(
    ("ip", "let_in"),
    [
        ("127.0.0.1", True),
        ("127.1.2.3", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("10.0.0.1", False),
        ("::ffff:10.0.0.1", False),
        ("fe80::1", False),
        ("0.0.0.0", False),
        ("unknown", False),
        ("localhost", False),
        ("", False),
    ],
)
async def test_only_this_machine_is_let_in(devnode: Start, ip: str, let_in: bool) -> None:
    assert is_loopback(ip) is let_in
    node = await devnode(accounts=2)
    for method, path in (("POST", "/dev/pause"), ("GET", "/dev/status"), ("GET", "/dev/nope")):
        status, body = await asked(node, ip, method, path)
        if not let_in:
            assert (status, body) == (403, f"/dev/ is for this machine alone, not for {ip or 'unknown'}")
        else:
            assert status == (404 if "nope" in path else 200)
    assert node.clock.paused is let_in


async def test_a_proxy_on_this_machine_or_elsewhere_lets_nobody_in(devnode: Start) -> None:
    node = await devnode(accounts=2)
    for ip, peer in (("10.0.0.1", "127.0.0.1"), ("127.0.0.1", "10.0.0.1"), ("127.0.0.1", "unknown")):
        assert (await asked(node, ip, "POST", "/dev/pause", peer=peer))[0] == 403
    assert not node.clock.paused


async def asked(node: Devnode, ip: str, method: str, path: str, peer: str = "::1") -> tuple[int, str]:
    """Ask the application itself, as a client from that address, over a socket from `peer`."""
    sent: list[Any] = []
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "headers": [],
        "client": (ip, 5000) if ip else None,
        "extensions": {"devnode.peer": {"ip": peer}},
    }

    async def receive() -> Any:
        return {"type": "http.request", "body": b""}

    async def send(message: Any) -> None:
        sent.append(message)

    await node.app(scope, receive, send)
    return sent[0]["status"], sent[1]["body"].decode()


async def test_every_verb_is_a_documented_method_and_can_be_called_over_http(devnode: Start) -> None:
    node = await devnode(accounts=2)
    verbs = node.app.dev.verbs
    assert list(verbs) == [*controls.VERBS, *SOCKET_VERBS, *faults.VERBS]
    for name, verb in verbs.items():
        assert all(hints for hints in verb.hints.values()), name
        json.dumps(sorted(verb.required))
    # Nothing is called by asking what there is.
    await asyncio.sleep(0)
    assert node.status()["faults"] == []
