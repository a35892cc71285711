"""Posts over a websocket: `info` as `POST /info`, `action` as `POST /exchange`, wrapped (websocket.md, 4)."""

import logging
from collections.abc import Coroutine
from http import HTTPStatus
from typing import Any

import msgspec
import orjson

from server.exchange import Exchange
from server.info import Info
from server.reply import JSON, OUR_FAULT, Reply
from server.ws.messages import Post, action_answer, failed_post, info_answer

logger = logging.getLogger(__name__)

HEADERS = ((b"content-type", JSON),)


class Posts:
    """The same `info` and `exchange` as over HTTP, so the same memory, freshness, budget and policy."""

    def __init__(self, info: Info, exchange: Exchange) -> None:
        self._info = info
        self._exchange = exchange

    def begin(self, post: Post, client: str) -> bytes | Coroutine[Any, Any, bytes]:
        """The text of the answer, or a coroutine that will have it; it never raises.

        `client` is who is held to which floor, as over HTTP.
        """
        try:
            reply = (
                self._info.begin(post.payload, HEADERS, client)
                if post.kind == "info"
                else self._exchange.answer(post.payload, HEADERS, client)
            )
        except Exception:
            logger.exception("error while answering a post")
            reply = OUR_FAULT
        return wrapped(post, reply) if isinstance(reply, Reply) else _finish(post, reply)


async def _finish(post: Post, answer: Coroutine[Any, Any, Reply]) -> bytes:
    try:
        reply = await answer
    except Exception:
        logger.exception("error while answering a post")
        reply = OUR_FAULT
    return wrapped(post, reply)


def wrapped(post: Post, reply: Reply) -> bytes:
    """An HTTP answer as the text of a post's: a body that is no JSON would break the frame it is in."""
    if reply.status != HTTPStatus.OK:
        return failed_post(post.id, described(reply))
    try:
        reply.body.decode()
        msgspec.json.decode(reply.body, type=msgspec.Raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return failed_post(post.id, "502 Bad Gateway: the upstream's answer is no JSON")
    if post.kind == "action":
        return action_answer(post.id, reply.body)
    return info_answer(post.id, str(orjson.loads(post.payload)["type"]), reply.body)


def described(reply: Reply) -> str:
    """Status and description in one line, as the exchange has it."""
    try:
        status = f"{reply.status} {HTTPStatus(reply.status).phrase}"
    except ValueError:
        status = str(reply.status)
    text = reply.body.decode("utf-8", "replace").strip()
    return status if text in ("", "null") else f"{status}: {text}"
