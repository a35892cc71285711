"""The ASGI application of a replay: `/info`, `/exchange`, `/ws`, and `/dev/` for what time does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import orjson
from starlette.types import Receive, Scope, Send

from server.devnode.asgi import EMPTY, NOT_ALLOWED, read_body, send_answer
from server.devnode.dev import Dev
from server.devnode.info import MALFORMED, Answer, decode
from server.devnode.replay.answers import Answers, Outcome
from server.devnode.replay.line import Line
from server.devnode.replay.player import Player
from server.devnode.stream import client_ip
from server.devnode.subscriptions import Post, post_answer

_NO_ACTIONS = b'{"status":"err","response":"A replay takes no actions."}'


@dataclass(frozen=True, slots=True)
class App:
    player: Player
    answers: Answers
    dev: Dev
    now_ms: Callable[[], int]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = "/" + scope["path"].strip("/")
        if scope["type"] == "websocket":
            await receive()  # websocket.connect
            if path == "/ws":
                await self._websocket(scope, receive, send)
            else:
                await send({"type": "websocket.close"})  # before the handshake: a 403
        elif scope["type"] == "http":
            outcome = await self._http(scope, path, receive)
            if outcome is None:
                return
            if outcome.after_s:
                await asyncio.sleep(self.player.takes(outcome.after_s))
            if outcome.answer is None:
                _abort_of(scope)()
                while (await receive())["type"] != "http.disconnect":
                    pass
            else:
                await send_answer(send, outcome.answer)

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        status = self.player.fate_of_dial()
        if status is not None:
            await send({"type": "websocket.http.response.start", "status": status, "headers": []})
            await send({"type": "websocket.http.response.body", "body": b""})
            return
        await send({"type": "websocket.accept"})
        line = Line(self.player, frozenset(self.answers.dexes), self._post, _abort_of(scope))
        await line.serve(receive, send)

    async def _http(self, scope: Scope, path: str, receive: Receive) -> Outcome | None:
        """What becomes of a request; None where its client left before its end."""
        method, is_control = scope["method"], path.startswith("/dev/")
        if is_control:
            peer = scope["extensions"]["replay.peer"]["ip"]
            refusal = self.dev.refusal((peer, client_ip(scope)), scope["headers"])
            if refusal is not None:
                return Outcome(refusal)
        elif path not in ("/info", "/exchange"):
            return Outcome(EMPTY)
        elif method != "POST":
            return Outcome(NOT_ALLOWED)
        body = await read_body(receive)
        if not isinstance(body, bytes):
            return None if body is None else Outcome(body)
        if is_control:
            return Outcome(await self.dev.answer(method, path.removeprefix("/dev/"), body))
        if path == "/exchange":
            return Outcome(Answer(200, _NO_ACTIONS))
        headers = dict(scope["headers"])
        fields = decode(headers.get(b"content-type", b"").decode("latin-1"), body)
        if isinstance(fields, Answer):
            return Outcome(fields)
        return self.answers.find(fields, self.player.moment(), self.now_ms())

    def _post(self, request: Post) -> str:
        """A request that came over a websocket. Its answer does not wait: it would hold up the frames."""
        payload = request.payload
        if request.kind != "info":
            return post_answer(request.id, request.kind, _NO_ACTIONS.decode())
        answer: Answer | None = MALFORMED
        if isinstance(payload, dict):
            answer = self.answers.find(payload, self.player.moment(), self.now_ms()).answer
        if answer is None or answer.status != 200 or not _is_json(answer.body):
            text = "502: " if answer is None else f"{answer.status}: {answer.body.decode(errors='replace')}"
            return post_answer(request.id, "error", orjson.dumps(text).decode())
        kind = orjson.dumps(payload.get("type")).decode()
        return post_answer(request.id, "info", f'{{"type":{kind},"data":{answer.body.decode()}}}')


def _is_json(body: bytes) -> bool:
    """Whatever once came with a 200 may stand in a recording: a frame takes JSON alone."""
    try:
        orjson.loads(body)
    except orjson.JSONDecodeError:
        return False
    return True


def _abort_of(scope: Scope) -> Callable[[], None]:
    abort: Callable[[], None] = scope["extensions"]["replay.abort"]["abort"]
    return abort
