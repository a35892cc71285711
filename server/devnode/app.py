"""The ASGI application: `/info`, `/exchange`, `/ws` and our own `/dev/accounts`, told apart by hand.

A handful of paths needs no router, and the exchange's own corner cases (an empty 405, a bare `null`) come out
as they are only where nothing adds a body of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import orjson
from starlette.types import Message, Receive, Scope, Send

from server.devnode import exchange
from server.devnode.info import MALFORMED, RATE_LIMITED, Answer, InfoRequest, decode, parse
from server.devnode.limits import Ledger, exchange_weight, info_weight
from server.devnode.stats import Stats
from server.devnode.stream import Streams, client_ip
from server.devnode.subscriptions import Post, post_answer
from server.devnode.world import Source

_BODY_BYTES = 2 * 1024 * 1024  # the stock limit of the exchange's web framework
_EMPTY = Answer(404, b"", "")
_NOT_ALLOWED = Answer(405, b"", "")
_TOO_LARGE = Answer(413, b"length limit exceeded", "text/plain")
_ALWAYS = (
    (b"access-control-allow-origin", b"*"),
    (b"vary", b"origin, access-control-request-method, access-control-request-headers"),
)


@dataclass(frozen=True, slots=True)
class Api:
    """`/info` and `/exchange` behind the weight limit. Synchronous: an answer is one short stretch."""

    source: Source
    ledger: Ledger
    stats: Stats
    now_ms: Callable[[], int]

    def info(self, ip: str, content_type: str | None, body: bytes) -> Answer:
        fields = decode(content_type, body)
        if isinstance(fields, Answer):
            self.stats.info["?"] += 1
            return fields
        return self._info(ip, fields)

    def exchange(self, ip: str, content_type: str | None, body: bytes) -> Answer:
        request = decode(content_type, body)
        if isinstance(request, Answer):
            self.stats.exchange["?"] += 1
            return request
        return self._exchange(ip, request, body)

    def post(self, ip: str, request: Post) -> str:
        """A request that came over a websocket, answered as a frame."""
        payload = request.payload
        if not isinstance(payload, dict):
            answer = MALFORMED
        elif request.kind == "info":
            answer = self._info(ip, payload)
        else:
            answer = self._exchange(ip, payload, orjson.dumps(payload))
        if answer.status != 200:
            # The docs only say that the payload mirrors the HTTP status and its description.
            text = f"{answer.status}: {answer.body.decode()}"
            return post_answer(request.id, "error", orjson.dumps(text).decode())
        body = answer.body.decode()
        if request.kind == "info":
            body = f'{{"type":{orjson.dumps(payload["type"]).decode()},"data":{body}}}'
        return post_answer(request.id, request.kind, body)

    def _info(self, ip: str, fields: object) -> Answer:
        assert isinstance(fields, dict)
        self.stats.count(self.stats.info, fields.get("type"))
        request = parse(fields)
        answer = self.source.info(request, self.now_ms()) if isinstance(request, InfoRequest) else request
        # The weight depends on the rows of the answer, so it is taken afterwards: here answers are cheap.
        kind = request.kind if isinstance(request, InfoRequest) else ""
        if not self.ledger.request(ip, info_weight(kind, answer.items), _now()):
            return RATE_LIMITED
        return answer

    def _exchange(self, ip: str, request: object, body: bytes) -> Answer:
        assert isinstance(request, dict)
        action = request.get("action")
        action = action if isinstance(action, dict) else {}
        self.stats.count(self.stats.exchange, action.get("type"))
        if not self.ledger.request(ip, exchange_weight(action), _now()):
            return RATE_LIMITED
        return exchange.answer(request, body)


@dataclass(frozen=True, slots=True)
class App:
    api: Api
    streams: Streams
    stats: Stats

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = "/" + scope["path"].strip("/")  # clients with a slash at the end of their base URL send //info
        if scope["type"] == "websocket":
            if path == "/ws":
                await self.streams.serve(scope, receive, send)
            else:
                await receive()
                await send({"type": "websocket.close"})  # before the handshake: a 403
        elif scope["type"] == "http":
            answer = await self._answer(scope, path, receive)
            self.stats.statuses[answer.status] += 1
            await _send(send, answer)

    async def _answer(self, scope: Scope, path: str, receive: Receive) -> Answer:
        if path == "/dev/accounts" and scope["method"] == "GET":
            # Not the exchange's: the addresses this world has, as a JSON list that `--track @FILE` reads.
            return Answer(200, orjson.dumps(list(self.api.source.addresses)))
        if path not in ("/info", "/exchange"):
            return _EMPTY
        if scope["method"] != "POST":
            return _NOT_ALLOWED
        body = await _read(receive)
        if body is None:
            return _TOO_LARGE
        content_type = None
        for name, value in scope["headers"]:
            if name == b"content-type":
                content_type = value.decode("latin-1")
        handle = self.api.info if path == "/info" else self.api.exchange
        return handle(client_ip(scope), content_type, body)


async def _read(receive: Receive) -> bytes | None:
    """The whole body, or None when it is too large. Of a client that goes away, what there was."""
    parts, size = [], 0
    while True:
        message: Message = await receive()
        part = message.get("body", b"")
        size += len(part)
        if size > _BODY_BYTES:
            return None
        parts.append(part)
        if not message.get("more_body", False):
            return b"".join(parts)


async def _send(send: Send, answer: Answer) -> None:
    headers = [(b"content-length", str(len(answer.body)).encode()), *_ALWAYS]
    if answer.content_type:
        headers.append((b"content-type", answer.content_type.encode()))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})


def _now() -> float:
    return asyncio.get_running_loop().time()
