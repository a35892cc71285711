"""uvicorn's HTTP protocol with a short way for `/info` and `/exchange`: no ASGI messages, one write each.

A `POST /info` whose answer is at hand is written in the very step that its last byte was parsed in; one that
has to wait for the upstream costs one task. Whatever is unusual (a slow reader, a pipelined or HTTP/1.0
request, a long body, another path) goes the ordinary way through `http.Front`, which asks the same `Info` and
`Exchange` the same questions; so this file may be left out and nothing is lost but speed, and the end of
connections on which no request comes, or half of one. It leans on uvicorn's httptools protocol class, whose
version pyproject pins for that reason.
"""

import asyncio
import logging
import re
from collections.abc import Coroutine
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from server.exchange import Exchange
from server.http import CORS, split_path
from server.info import Info
from server.reply import OUR_FAULT, Reply
from server.upgrades import UpgradeIgnored

logger = logging.getLogger(__name__)

LONGEST_BODY = 256 << 10
"""A longer request body takes the ordinary way, which knows how to hold a sender back."""

SMALL = 16 << 10
"""An answer up to this goes out as one buffer; a larger one is not worth copying behind its head."""

UNUSUAL_IN_URL = re.compile(rb"[%?#]")
"""Beyond these a path is not what it looks like; the ordinary way takes it apart."""

_CORS_HEAD = b"".join(b"%s: %s\r\n" % header for header in CORS)


class _Heard:
    """Stands in for an `asyncio.Event` that uvicorn sets when the client leaves: nobody waits for it here."""

    def set(self) -> None:
        """Nothing to do: `_Awaited.disconnected` says it."""


class _Awaited:
    """A request on the short way whose answer is under way: what uvicorn looks at in its own cycle.

    While it is not complete, further requests of the connection queue up behind it; a stop of the server
    sets `keep_alive` to False, a client that leaves `disconnected` to True.
    """

    __slots__ = ("disconnected", "keep_alive", "message_event", "response_complete")

    def __init__(self) -> None:
        self.response_complete = False
        self.disconnected = False
        self.keep_alive = True
        self.message_event = _Heard()


class FastProtocol(UpgradeIgnored):
    """One client connection. `_parts` is the body of a request on the short way, None on the ordinary one."""

    info: Info
    exchange: Exchange
    longest = LONGEST_BODY
    _parts: list[bytes] | None = None
    _size = 0
    _which = ""
    _key = ""
    _last = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_request()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._await_request()

    def _await_request(self) -> None:
        # uvicorn sets its timer behind an answer alone: whoever says nothing at all, or stops within a
        # request, would keep a file descriptor for ever.
        if self._handed_over:
            return
        if self.timeout_keep_alive_task is None and (self.cycle is None or self.cycle.response_complete):
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def on_headers_complete(self) -> None:
        parser = self.parser
        if (
            parser.get_method() == b"POST"
            and (self.cycle is None or self.cycle.response_complete)
            and not self.pipeline
            and not self.flow.write_paused
            and not self.expect_100_continue
            and parser.should_keep_alive()
            and not parser.should_upgrade()
            and parser.get_http_version() == "1.1"
            and not UNUSUAL_IN_URL.search(self.url)
        ):
            self._which, self._key = split_path(self.url.decode("latin-1"))
            if self._which:
                self._parts = []
                self._size = 0
                return
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if self._parts is None:
            super().on_body(body)
            return
        self._parts.append(body)
        self._size += len(body)
        if self._size > self.longest:
            self._take_ordinary_way()

    def on_message_complete(self) -> None:
        parts = self._parts
        if parts is None:
            super().on_message_complete()
            return
        self._parts = None
        body = parts[0] if len(parts) == 1 else b"".join(parts)
        key = self._key
        client = f"key {key}" if key else self.client[0] if self.client is not None else ""
        reply: Reply | Coroutine[Any, Any, Reply]
        try:
            if self._which == "info":
                reply = self.info.begin(body, self.headers, client)
            else:
                reply = self.exchange.answer(body, self.headers, client)
        except Exception:
            logger.exception("error while answering /%s", self._which)
            reply = OUR_FAULT
        if isinstance(reply, Reply):
            self._write(reply, last=self._last)
        else:
            self._await(reply)

    def shutdown(self) -> None:
        if self._parts is not None:
            # A request is half received: it will be answered, and then the connection ends.
            self._last = True
        else:
            super().shutdown()

    def _take_ordinary_way(self) -> None:
        parts, self._parts = self._parts, None
        super().on_headers_complete()
        for part in parts or ():
            super().on_body(part)
        if self._last:
            super().shutdown()

    def _await(self, answer: Coroutine[Any, Any, Reply]) -> None:
        awaited = _Awaited()
        awaited.keep_alive = not self._last
        self.cycle = cast(RequestResponseCycle, awaited)
        # Among uvicorn's tasks: a stop of the server waits for it, up to its deadline.
        task = self.loop.create_task(self._finish(answer, awaited))
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)

    async def _finish(self, answer: Coroutine[Any, Any, Reply], awaited: _Awaited) -> None:
        try:
            reply = await answer
        except Exception:
            logger.exception("error while answering")
            reply = OUR_FAULT
        if self.flow.write_paused and not awaited.disconnected:
            await self.flow.drain()
        awaited.response_complete = True
        if not awaited.disconnected:
            self._write(reply, last=not awaited.keep_alive)

    def _write(self, reply: Reply, *, last: bool) -> None:
        if self.transport.is_closing():
            return
        body = reply.body
        head = [STATUS_LINE[reply.status]]
        for name, value in self.server_state.default_headers:
            head.append(b"%s: %s\r\n" % (name, value))
        for name, value in reply.headers:
            head.append(b"%s: %s\r\n" % (name, value))
        head.append(_CORS_HEAD)
        if last:
            head.append(b"connection: close\r\n")
        head.append(b"content-length: %d\r\n\r\n" % len(body))
        if len(body) <= SMALL:
            head.append(body)
            self.transport.write(b"".join(head))
        else:
            self.transport.writelines((b"".join(head), body))
        if last:
            self.transport.close()
        self.on_response_complete()


def fast_protocol(info: Info, exchange: Exchange, *, max_body_bytes: int) -> type[FastProtocol]:
    """A protocol class for uvicorn's `http=`, bound to one server's `info`, `exchange` and limit."""

    class Bound(FastProtocol):
        pass

    Bound.info = info
    Bound.exchange = exchange
    # The ordinary way refuses what is too large.
    Bound.longest = min(LONGEST_BODY, max_body_bytes)
    return Bound
