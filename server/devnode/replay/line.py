"""One client's websocket to a replay: an outbox and its writer, and what the client says."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from starlette.types import Receive, Send

from server.devnode.replay.player import Player
from server.devnode.replay.streams import said
from server.devnode.subscriptions import (
    PONG,
    Change,
    Fatal,
    Invalid,
    Ping,
    Post,
    Subscription,
    acknowledgement,
    error,
)

STALL_S = 20.0  # a single frame may wait so long for the client to read
OUTBOX_BYTES = 256 << 20
_SENDABLE = frozenset({1000, 1001, 1002, 1003, *range(1007, 1015), *range(3000, 5000)})


class _End(NamedTuple):
    code: int | None
    why: str


class Line:
    """A `Listener`. `serve` runs it from the accepted handshake to its end."""

    def __init__(
        self,
        player: Player,
        dexes: frozenset[str],
        post: Callable[[Post], str],
        abort: Callable[[], None],
    ) -> None:
        self.had: dict[Subscription, int] = {}
        self._player = player
        self._dexes = dexes
        self._post = post
        self._abort = abort
        self._held: dict[Subscription, None] = {}
        self._out: deque[bytes | _End] = deque()
        self._size = 0
        self._filled = asyncio.Event()

    def put(self, frame: bytes) -> None:
        if self._size + len(frame) > OUTBOX_BYTES:
            self._abort()
            return
        self._size += len(frame)
        self._out.append(frame)
        self._filled.set()

    def end(self, code: int | None, why: str) -> None:
        self._out.append(_End(code, why))
        self._filled.set()

    async def serve(self, receive: Receive, send: Send) -> None:
        writer = asyncio.create_task(self._write(send), name="replay-ws-writer")
        self._player.connect(self)
        try:
            while (event := await receive())["type"] == "websocket.receive":
                text = event.get("text")
                self._said(text if text is not None else event["bytes"].decode(errors="replace"))
        finally:
            for stream in self._held:
                self._player.leave(stream, self)
            self._held.clear()
            self._player.disconnect(self)
            writer.cancel()
            await asyncio.wait([writer])

    def _said(self, raw: str) -> None:
        message = said(raw, self._dexes)
        if isinstance(message, Fatal):
            self._abort()
        elif isinstance(message, Ping):
            self._say(PONG)
        elif isinstance(message, Invalid):
            self._say(error(message.error))
        elif isinstance(message, Post):
            self._say(self._post(message))
        elif message.subscribe:
            self._subscribe(message)
        elif message.subscription not in self._held:
            self._say(error(f"Already unsubscribed: {message.subscription.wire}"))
        else:
            del self._held[message.subscription]
            self._player.leave(message.subscription, self)
            self._say(acknowledgement(message))

    def _subscribe(self, change: Change) -> None:
        stream = change.subscription
        if stream in self._held:
            self._say(error(f"Already subscribed: {stream.wire}"))
            return
        refusal = self._player.refusal(stream)
        if refusal is not None:
            self._say(error(refusal))
            return
        # No await from here on: no push can come between the acknowledgement and the last frame.
        self._held[stream] = None
        self._say(acknowledgement(change))
        self._player.join(stream, self)

    def _say(self, text: str) -> None:
        self.put(text.encode())

    async def _write(self, send: Send) -> None:
        try:
            while True:
                await self._filled.wait()
                self._filled.clear()
                while self._out:
                    one = self._out.popleft()
                    async with asyncio.timeout(STALL_S):
                        if isinstance(one, _End):
                            await self._hang_up(one, send)
                            return
                        await send(_message(one))
                        self._size -= len(one)
        except TimeoutError:
            self._abort()
        except (OSError, RuntimeError):
            pass  # the client went away: uvicorn says so with either, depending on how far it was

    async def _hang_up(self, end: _End, send: Send) -> None:
        if end.code is None:
            self._abort()
            return
        code = end.code if end.code in _SENDABLE else 1000  # 1005 is what an empty close frame reads as
        await send({"type": "websocket.close", "code": code, "reason": end.why})


def _message(frame: bytes) -> dict[str, object]:
    try:
        return {"type": "websocket.send", "text": frame.decode()}
    except UnicodeDecodeError:
        return {"type": "websocket.send", "bytes": frame}
