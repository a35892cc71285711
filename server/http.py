"""ASGI without request and response objects: the paths clients call by the thousand.

`/info`, `/exchange`, and both under a key prefix (`/{key}/info`), as clients of hosted vendors call them; and
JSON-RPC at `POST /`, `/hypercore` and `/{key}/hypercore`. Everything else goes to the Starlette application
beside it.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from starlette.types import ASGIApp, Receive, Scope, Send

from server.exchange import Exchange
from server.info import Info, is_json
from server.jsonrpc import Call, answered, read, whole
from server.reply import BODY_TOO_LARGE, NOT_JSON_TYPE, OUR_FAULT, WRONG_METHOD, Header, Reply

logger = logging.getLogger(__name__)

CORS = [
    (b"access-control-allow-origin", b"*"),
    (b"access-control-expose-headers", b"*"),
]
PREFLIGHT = Reply(
    200,
    [
        (b"access-control-allow-methods", b"POST"),
        (b"access-control-allow-headers", b"*"),
        (b"access-control-max-age", b"86400"),
    ],
    b"",
)
NOBODY = Reply(200, [], b"")


class Front:
    """The outermost ASGI application."""

    def __init__(self, info: Info, exchange: Exchange, rest: ASGIApp, *, max_body_bytes: int) -> None:
        self._info = info
        self._exchange = exchange
        self._rest = rest
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._rest(scope, receive, send)
            return
        which, key = split_path(scope["path"])
        if which == "info":
            await self._serve(scope, receive, send, self._answer_info, key)
        elif which == "exchange":
            await self._serve(scope, receive, send, self._answer_exchange, key)
        elif (
            scope["method"] in ("POST", "OPTIONS") and (rpc_key := split_rpc_path(scope["path"])) is not None
        ):
            await self._serve(scope, receive, send, self._answer_rpc, rpc_key)
        else:
            await self._rest(scope, receive, send)

    async def _serve(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        answer: Callable[[bytes, Scope, str], Awaitable[Reply]],
        key: str,
    ) -> None:
        if scope["method"] != "POST":
            reply = PREFLIGHT if scope["method"] == "OPTIONS" else WRONG_METHOD
        else:
            body = await read_body(receive, self._max_body_bytes)
            if body is None:
                # The client went away before its request was whole: there is nobody to answer.
                return
            if isinstance(body, Reply):
                reply = body
            else:
                try:
                    reply = await answer(body, scope, client_of(scope, key))
                except Exception:
                    logger.exception("error while answering %s", scope["path"])
                    reply = OUR_FAULT
        await send_reply(send, reply)

    async def _answer_info(self, body: bytes, scope: Scope, client: str) -> Reply:
        reply = self._info.begin(body, scope["headers"], client)
        return reply if isinstance(reply, Reply) else await reply

    async def _answer_exchange(self, body: bytes, scope: Scope, client: str) -> Reply:
        return await self._exchange.answer(body, scope["headers"], client)

    async def _answer_rpc(self, body: bytes, scope: Scope, client: str) -> Reply:
        headers: list[Header] = scope["headers"]
        if not is_json(headers):
            return NOT_JSON_TYPE
        calls, batch = read(body)
        # Side by side: each has its own deadline, and all of them one budget.
        replies = await asyncio.gather(*(self._call(call, headers, client) for call in calls))
        responses = [
            answered(call.id, reply) if isinstance(call, Call) else call
            for call, reply in zip(calls, replies, strict=True)
        ]
        return whole(responses, batch=batch, headers=() if batch or not replies else replies[0].headers)

    async def _call(self, call: Call | bytes, headers: list[Header], client: str) -> Reply:
        """What `/info` answers to one call. A response that is known already was answered by nobody."""
        if isinstance(call, bytes):
            return NOBODY
        try:
            reply = self._info.begin_batch(call.type, call.params, headers, client)
            return reply if isinstance(reply, Reply) else await reply
        except Exception:
            # The other calls of a batch are answered all the same.
            logger.exception("error while answering a call of %s", call.type)
            return OUR_FAULT


def split_rpc_path(path: str) -> str | None:
    """The key of a path that JSON-RPC is spoken at, "" without one; None for any other path."""
    if path in ("/", "/hypercore"):
        return ""
    parts = path.split("/")
    return parts[1] if len(parts) == 3 and parts[0] == "" and parts[2] == "hypercore" else None


def split_path(path: str) -> tuple[str, str]:
    """("info" or "exchange", key) of a path we serve here, ("", "") of any other.

    `/info`, `/{key}/info`; `//info` is what the official SDK asks for with a slash too many in its base URL.
    """
    if path == "/info":
        return "info", ""
    parts = path.split("/")
    if len(parts) == 3 and parts[0] == "" and parts[2] in ("info", "exchange"):
        return parts[2], parts[1]
    return ("exchange", "") if path == "/exchange" else ("", "")


def client_of(scope: Scope, key: str) -> str:
    """Who a request comes from, for read-your-writes: its key, or without one its address."""
    if key:
        return f"key {key}"
    client = scope["client"]
    return client[0] if client is not None else ""


async def read_body(receive: Receive, most: int) -> bytes | Reply | None:
    """The whole body; a refusal if it is too large; None if the client left before it was whole."""
    message = await receive()
    body: bytes = message.get("body", b"")
    if message["type"] == "http.request" and not message.get("more_body", False):
        return body if len(body) <= most else BODY_TOO_LARGE
    parts = [body]
    size = len(body)
    while message["type"] == "http.request" and message.get("more_body", False):
        if size > most:
            return BODY_TOO_LARGE
        message = await receive()
        parts.append(message.get("body", b""))
        size += len(parts[-1])
    if message["type"] != "http.request":
        return None
    return b"".join(parts) if size <= most else BODY_TOO_LARGE


async def send_reply(send: Send, reply: Reply) -> None:
    headers = [*reply.headers, *CORS]
    if reply.status != 204:  # which has no body, and must not say how long it is
        headers.append((b"content-length", b"%d" % len(reply.body)))
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})
