"""The front: which paths and verbs are whose, bodies whole or not at all, and what every answer carries."""

import logging

import pytest

from server.http import split_path
from tests.callers import Reply
from tests.virtual import ALICE, WRITE, World, running

STATE = b'{"type":"clearinghouseState","user":"%s"}' % ALICE.encode()
JSON = [("content-type", "application/json")]


@pytest.mark.parametrize(
    ("path", "whose"),
    [
        ("/info", ("info", "")),
        ("//info", ("info", "")),
        ("/key/info", ("info", "key")),
        ("/exchange", ("exchange", "")),
        ("//exchange", ("exchange", "")),
        ("/key/exchange", ("exchange", "key")),
        ("/info/info", ("info", "info")),
        ("/", ("", "")),
        ("", ("", "")),
        ("info", ("", "")),
        ("/info/", ("", "")),
        ("/a/b/info", ("", "")),
        ("///info", ("", "")),
        ("x/y/info", ("", "")),
        ("/health", ("", "")),
        ("/key/health", ("", "")),
    ],
)
def test_paths(path: str, whose: tuple[str, str]) -> None:
    assert split_path(path) == whose


@pytest.mark.parametrize("path", ["/info", "/exchange", "/key/info"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH"])
async def test_other_verbs_are_405_with_nothing_in_it(method: str, path: str) -> None:
    async with running() as world:
        reply = await world.request(method, path, STATE, JSON)
        assert (reply.status, reply.body, reply.headers["allow"]) == (405, b"", "POST")


async def test_a_browser_may_ask() -> None:
    async with running() as world:
        reply = await world.request("OPTIONS", "/info")
        assert reply.status == 200
        assert reply.headers["access-control-allow-methods"] == "POST"
        assert reply.headers["access-control-allow-headers"] == "*"


async def every_reply(world: World) -> list[Reply]:
    return [
        await world.info(STATE),
        await world.info(b"{"),
        await world.info({"type": "meta"}),
        await world.write(),
        await world.write(b"{}"),
        await world.request("GET", "/info"),
        await world.info(b" " * 2_000_000),
    ]


async def test_every_answer_has_its_length_and_lets_a_browser_read_it() -> None:
    async with running(ALICE) as world:
        for reply in await every_reply(world):
            assert reply.headers["content-length"] == str(len(reply.body))
            assert reply.headers["access-control-allow-origin"] == "*"
            assert reply.headers["access-control-expose-headers"] == "*"


@pytest.mark.parametrize("path", ["/info", "/exchange"])
@pytest.mark.parametrize("parts", [1, 2, 50])
@pytest.mark.parametrize("over", [0, 1, 5000])
async def test_a_body_may_be_as_long_as_the_limit(over: int, parts: int, path: str) -> None:
    async with running(ALICE, max_body_bytes=1000) as world:
        body = (WRITE if path == "/exchange" else STATE).ljust(1000 + over)
        reply = await world.request("POST", path, body, JSON, parts=parts)
        assert reply.status == (413 if over else 200)
        if over:
            assert reply.json["error"] == "request body too large"
            assert world.upstream.requests == []


@pytest.mark.parametrize("parts", [1, 2, 10])
async def test_a_client_that_left_is_not_answered(parts: int) -> None:
    async with running(ALICE) as world:
        reply = await world.request("POST", "/info", STATE, JSON, parts=parts, leaves=True)
        assert reply.status == 0


async def test_a_fault_of_ours_is_500_without_internals_and_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(ALICE) as world:

        def fault(*args: object) -> None:
            raise RuntimeError("the secret of the house")

        monkeypatch.setattr(world.store, "get", fault)
        with caplog.at_level(logging.ERROR):
            reply = await world.info(STATE)
        assert (reply.status, reply.json["error"]) == (500, "internal error")
        assert b"secret" not in reply.body
        assert "the secret of the house" in caplog.text
        monkeypatch.undo()
        assert (await world.info(STATE)).status == 200


async def test_a_websocket_is_turned_away() -> None:
    async with running() as world:
        said = []

        async def receive() -> dict[str, str]:
            return {"type": "websocket.connect"}

        async def send(message: dict[str, object]) -> None:
            said.append(message["type"])

        scope = {"type": "websocket", "path": "/ws", "headers": [], "query_string": b"", "root_path": ""}
        await world.program.front(scope, receive, send)  # type: ignore[arg-type]
        assert said == ["websocket.close"]
