"""The ASGI application: `/info`, `/exchange`, `/ws` and our own `/dev/`, told apart by hand.

A handful of paths needs no router, and the exchange's own corner cases (an empty 405, a bare `null`) come out
as they are only where nothing adds a body of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import orjson
from starlette.types import Receive, Scope, Send

from server.devnode import exchange
from server.devnode.abilities import Source, Trades
from server.devnode.asgi import EMPTY, NOT_ALLOWED, head_of, read_body, send_answer
from server.devnode.dev import Dev
from server.devnode.faults import Faults, Stage, Verdict
from server.devnode.info import MALFORMED, RATE_LIMITED, Answer, InfoRequest, decode, parse
from server.devnode.limits import Ledger, exchange_weight, info_weight
from server.devnode.seen import Seen
from server.devnode.stats import Stats
from server.devnode.stream import Streams, client_ip, gone, lasts
from server.devnode.subscriptions import Post, post_answer

_SAVED_BYTES = 512 * 1024 * 1024  # a whole world, to be loaded


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

    def seen(self, path: str, body: bytes) -> None:
        """Count a request that is not handled."""
        try:
            fields = orjson.loads(body)
        except orjson.JSONDecodeError:
            fields = None
        fields = fields if isinstance(fields, dict) else {}
        if path == "/info":
            self.stats.count(self.stats.info, fields.get("type"))
        else:
            action = fields.get("action")
            self.stats.count(self.stats.exchange, action.get("type") if isinstance(action, dict) else None)

    def post(self, ip: str, request: Post, given: Answer | None) -> str:
        """A request that came over a websocket, answered as a frame, with what is `given` if anything is."""
        payload = request.payload
        if given is not None:
            answer = given
        elif not isinstance(payload, dict):
            answer = MALFORMED
        elif request.kind == "info":
            answer = self._info(ip, payload)
        else:
            answer = self._exchange(ip, payload, orjson.dumps(payload))
        if answer.status != 200:
            # The docs only say that the payload mirrors the HTTP status and its description.
            text = f"{answer.status}: {answer.body.decode(errors='replace')}"
            return post_answer(request.id, "error", orjson.dumps(text).decode())
        body = answer.body.decode(errors="replace")  # what the faults say need not be text
        if request.kind == "info":
            kind = orjson.dumps(payload.get("type") if isinstance(payload, dict) else None).decode()
            body = f'{{"type":{kind},"data":{body}}}'
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
        if isinstance(self.source, Trades):
            return self.source.exchange(request)
        return exchange.answer(request, body)


@dataclass(frozen=True, slots=True)
class App:
    api: Api
    streams: Streams
    stats: Stats
    faults: Faults
    dev: Dev
    seen: Seen

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
            if answer is not None:
                self.stats.statuses[answer.status] += 1
                await send_answer(send, answer)

    async def _answer(self, scope: Scope, path: str, receive: Receive) -> Answer | None:
        """The answer to send; None when the connection was dealt with already."""
        if path.startswith("/dev/"):
            peer = scope.get("extensions", {}).get("devnode.peer", {}).get("ip", "unknown")
            refusal = self.dev.refusal((peer, client_ip(scope)), scope["headers"])
            if refusal is not None:
                return refusal
            content = await read_body(receive, _SAVED_BYTES)
            if not isinstance(content, bytes):
                return content
            return await self.dev.answer(scope["method"], path.removeprefix("/dev/"), content)
        if path not in ("/info", "/exchange"):
            return EMPTY
        if scope["method"] != "POST":
            return NOT_ALLOWED
        self.seen.heads.add(path)
        if self.faults.cuts_here(Stage.HEAD, path):
            await _cut(scope, receive)
            return None
        if self.faults.cuts_here(Stage.BODY, path):
            await _read_half(scope, receive)
            await _cut(scope, receive)
            return None
        body = await read_body(receive)
        if not isinstance(body, bytes):
            return body
        self.seen.request(path, body, _now())
        content_type = None
        for name, value in scope["headers"]:
            if name == b"content-type":
                content_type = value.decode("latin-1")
        handle = self.api.info if path == "/info" else self.api.exchange
        wrong = self.faults.request(path, body)
        if wrong is None:
            return handle(client_ip(scope), content_type, body)
        if wrong.hang or wrong.cut is Stage.READ or wrong.answer is not None:
            self.api.seen(path, body)
        return await self._mistreat(
            wrong, scope, receive, lambda: handle(client_ip(scope), content_type, body)
        )

    async def _mistreat(
        self, wrong: Verdict, scope: Scope, receive: Receive, handle: Callable[[], Answer]
    ) -> Answer | None:
        """Deal with a request that was read as the faults say."""
        if wrong.hang:
            await gone(receive)
            return None
        if wrong.cut is Stage.READ:
            await _cut(scope, receive)
            return None
        # The answer is made now, and then it travels.
        answer = handle() if wrong.answer is None else wrong.answer
        if not await lasts(receive, wrong.latency_s):
            return None
        if wrong.cut is Stage.DONE:
            await _cut(scope, receive)
            return None
        if wrong.cut is Stage.ANSWER:
            head, body = head_of(answer), answer.body
            await _write_and_close(scope, receive, head + body[: len(body) // 2] if body else head[:-2])
            return None
        if wrong.raw is not None:
            await _write_and_close(scope, receive, wrong.raw)
            return None
        return answer


async def _read_half(scope: Scope, receive: Receive) -> None:
    """Wait for the middle of the body."""
    sizes = [int(value) for name, value in scope["headers"] if name == b"content-length"]
    missing = (sizes[0] if sizes else 0) // 2
    while missing > 0 and (message := await receive()).get("more_body", False):
        missing -= len(message.get("body", b""))


async def _cut(scope: Scope, receive: Receive) -> None:
    """Drop the connection, without a goodbye."""
    scope["extensions"]["devnode.transport"]["transport"].abort()
    await gone(receive)


async def _write_and_close(scope: Scope, receive: Receive, content: bytes) -> None:
    transport = scope["extensions"]["devnode.transport"]["transport"]
    transport.write(content)
    transport.close()
    await gone(receive)


def _now() -> float:
    return asyncio.get_running_loop().time()
