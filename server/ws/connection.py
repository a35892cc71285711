"""One client's websocket: uvicorn hands the socket over at the upgrade, `Connection` keeps it until its end.

What is sent goes straight to the transport; once that takes no more, an outbox is made, and nothing further
of the client is read until it is empty again: who doesn't read its answers asks no more questions.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, ClassVar, cast
from urllib.parse import unquote

from uvicorn.config import Config
from uvicorn.server import ServerState
from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol

from server.ws.client import Client, Rate
from server.ws.endpoint import Endpoint
from server.ws.messages import Post, failed_post
from server.ws.outbox import Outbox

logger = logging.getLogger(__name__)
_protocol_logger = logging.getLogger("websockets.server")

LONGEST_REASON = 123
"""Bytes of a close frame that are left for its reason (RFC 6455, 5.5)."""

SERVICE_RESTART = "service restart"
_DATA = (Opcode.TEXT, Opcode.BINARY, Opcode.CONT)


def _nowhere(frame: bytes) -> None:
    """Where everything goes that is sent to a client which is leaving."""


class Connection(asyncio.Protocol):
    """`outbox` is None while the socket takes what it is given. `key` is that of the path, `""` for none."""

    __slots__ = (
        "_abort",
        "_client",
        "_draining",
        "_loop",
        "_open",
        "_parts",
        "_paused",
        "_protocol",
        "_state",
        "_transport",
        "_unread",
        "_write",
        "address",
        "heard",
        "key",
        "outbox",
        "probed",
        "said",
        "said_since",
    )

    endpoint: ClassVar[Endpoint]

    def __init__(self, config: Config, server_state: ServerState, app_state: dict[str, Any]) -> None:
        self._state = server_state
        self._loop = asyncio.get_running_loop()
        self._protocol = ServerProtocol(
            max_size=self.endpoint.settings.max_frame_bytes, logger=_protocol_logger
        )
        self._client = Client(self.endpoint.hub, self, self.endpoint.settings.client)
        self._write: Callable[[bytes], object] = _nowhere
        self._open = False
        self._draining = False
        self._paused = False
        self._parts: bytearray | None = None  # of a message in fragments
        self._unread: deque[Frame] | None = None
        self._abort: asyncio.TimerHandle | None = None
        self.outbox: Outbox | None = None
        self.address = ""
        self.key = ""
        self.heard = self.said = self.endpoint.monotonic()
        self.said_since = self.probed = False

    # -- the socket ------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        self.address = str(peer[0]) if isinstance(peer, tuple) else ""
        self._state.connections.add(self)  # type: ignore[arg-type]

    def connection_lost(self, exc: Exception | None) -> None:
        self._leave()
        self._state.connections.discard(self)
        if self._abort is not None:
            self._abort.cancel()

    def data_received(self, data: bytes) -> None:
        self.heard = self.endpoint.monotonic()
        self.probed = False
        self._protocol.receive_data(data)
        for event in self._protocol.events_received():
            if isinstance(event, Request):
                self._shake_hands(event)
            elif isinstance(event, Frame):
                self._take(event)
        self._flush()
        if self._protocol.parser_exc is not None or self._protocol.state is not State.OPEN:
            self._leave()

    def eof_received(self) -> None:
        self._protocol.receive_eof()
        self._leave()
        self._flush()

    def pause_writing(self) -> None:
        self._paused = True
        if self.outbox is None and self._open:
            self.outbox = Outbox(self.endpoint.settings.outbox, self.endpoint.monotonic())
            self._read(False)

    def resume_writing(self) -> None:
        self._paused = False
        outbox = self.outbox
        if outbox is None:
            return
        outbox.moved(self.endpoint.monotonic())
        while not self._paused:
            frame = outbox.pop()
            if frame is None:
                self.outbox = None
                self._read_on()
                return
            self._write(frame)

    # -- the handshake ---------------------------------------------------------------------------------

    def _shake_hands(self, request: Request) -> None:
        # One step: uvicorn hands over the whole request, so nobody can dawdle in the middle of it.
        protocol = self._protocol
        key = key_of(request.path)
        if key is None:
            protocol.send_response(protocol.reject(404, "no websocket here, but at /ws\n"))
            return
        refusal = self.endpoint.refusal(self.address)
        if refusal is not None:
            status, text = refusal
            response = protocol.reject(status, text + "\n")
            response.headers["Retry-After"] = "5"
            protocol.send_response(response)
            return
        protocol.send_response(protocol.accept(request))
        if protocol.state is not State.OPEN:
            return
        self.key = key
        self._flush()
        self._write = self._transport.write
        self._open = True
        self._transport.set_write_buffer_limits(high=self.endpoint.settings.write_buffer_bytes)
        self.endpoint.join(self)

    # -- what comes in ---------------------------------------------------------------------------------

    def _take(self, frame: Frame) -> None:
        if not self._open or frame.opcode is Opcode.CLOSE:
            return
        if self.outbox is not None:
            # Parsed already when the socket was full: at most what one read brings.
            if self._unread is None:
                self._unread = deque()
            self._unread.append(frame)
            return
        rate = self._client.count(self.heard)
        if rate is Rate.FLOOD:
            self.endpoint.counts.floods += 1
            self.close(CloseCode.POLICY_VIOLATION, "too many messages")
            return
        if frame.opcode not in _DATA:
            return
        if self._parts is not None:
            self._parts += frame.data
        elif not frame.fin:
            self._parts = bytearray(frame.data)
        if not frame.fin:
            return
        raw = bytes(frame.data if self._parts is None else self._parts)
        self._parts = None
        if rate is Rate.OVER:
            self._client.refuse_rate()
        elif frame.opcode is Opcode.BINARY:
            self.close(CloseCode.UNSUPPORTED_DATA, "text messages only")
        elif not _is_text(raw):
            self.close(CloseCode.INVALID_DATA, "not UTF-8")
        elif not self._draining:
            self._receive(raw)

    def _receive(self, raw: bytes) -> None:
        self.endpoint.counts.messages += 1
        try:
            post = self._client.receive(raw, self.heard)
            if post is not None:
                self._answer(post)
        except Exception:
            logger.exception("error while answering a websocket message")
            self.close(CloseCode.INTERNAL_ERROR, "internal error")
        else:
            self.endpoint.look_at_universe()

    def _read_on(self) -> None:
        """The outbox is empty: take what had come before it was made, then the socket again."""
        while self._unread and self.outbox is None:
            self._take(self._unread.popleft())
        if self.outbox is None:
            self._unread = None
            self._read(True)

    def _read(self, on: bool) -> None:
        if not self._transport.is_closing():
            (self._transport.resume_reading if on else self._transport.pause_reading)()

    # -- posts -----------------------------------------------------------------------------------------

    def _answer(self, post: Post) -> None:
        self.endpoint.counts.posts += 1
        who = f"key {self.key}" if self.key else self.address
        answer = self.endpoint.posts.begin(post, who)
        if isinstance(answer, bytes):
            self._client.say(answer)
            return
        self._client.posts += 1
        # Among uvicorn's tasks: a stop of the server waits for it. It is not ended when the client leaves:
        # a write that is under way will have happened or not, and only its answer says which.
        task = self._loop.create_task(self._finish(post, answer))
        task.add_done_callback(self._state.tasks.discard)
        self._state.tasks.add(task)

    async def _finish(self, post: Post, answer: Coroutine[Any, Any, bytes]) -> None:
        text = failed_post(post.id, "503 Service Unavailable: the server stops, the outcome is unknown")
        try:
            text = await answer
        finally:
            self._client.posts -= 1
            self._client.say(text)
            if self._draining and not self._client.posts:
                self.close(CloseCode.SERVICE_RESTART, SERVICE_RESTART)

    # -- what goes out ---------------------------------------------------------------------------------

    def send(self, frame: bytes, key: Hashable | None) -> None:
        """A whole websocket frame, now or from the outbox. Never waits, never raises."""
        self.said_since = True
        if self.outbox is None:
            self._write(frame)
            return
        now = self.endpoint.monotonic()
        self.outbox.put(frame, key, now)
        self._judge(self.outbox, now)

    def _judge(self, outbox: Outbox, now: float) -> None:
        verdict = outbox.verdict(now)
        if verdict is not None:
            self.endpoint.counts.slow += 1
            self.close(CloseCode.POLICY_VIOLATION, f"slow client: {verdict}")

    def _flush(self) -> None:
        """What the protocol itself has to say: the handshake, pongs, the close."""
        for data in self._protocol.data_to_send():
            if data:
                self._transport.write(data)
            elif not self._transport.is_closing():
                self._hang_up()

    def _hang_up(self) -> None:
        # Half-closed, not closed: with unread bytes in the socket a close would be a reset, which can
        # overtake the close frame. The client's end follows, or the timer.
        self._abort_later()
        if self._transport.can_write_eof():
            self._transport.write_eof()
        else:
            self._transport.close()

    def _abort_later(self) -> None:
        if self._abort is None:
            self._abort = self._loop.call_later(self.endpoint.settings.close_s, self._transport.abort)

    # -- the end ---------------------------------------------------------------------------------------

    def close(self, code: int, reason: str) -> None:
        """Say goodbye; who does not answer in time is cut off."""
        if self._protocol.state is State.OPEN:
            self._protocol.send_close(code, reason[:LONGEST_REASON])
            self._flush()
            self._leave()
        self._abort_later()

    def shutdown(self) -> None:
        """The server stops (uvicorn): what was asked is still answered, then the client is sent away."""
        self._draining = True
        if not self._client.posts:
            self.close(CloseCode.SERVICE_RESTART, SERVICE_RESTART)

    def _leave(self) -> None:
        """Nothing is sent to it any more, and nothing it says counts."""
        if not self._open:
            return
        self._open = False
        self._write = _nowhere
        self._unread = self._parts = None
        if self.outbox is not None:
            # Its goodbye is to be heard.
            self.outbox = None
            self._read(True)
        self._client.leave(self.endpoint.monotonic())
        self.endpoint.leave(self)

    # -- time ------------------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Look whether it is still worth keeping. About once a second."""
        if self.said_since:
            self.said, self.said_since = now, False
        if self.outbox is not None:
            self._judge(self.outbox, now)
            return
        idle_s = self.endpoint.settings.idle_s
        if now - self.heard < idle_s:
            return
        if now - self.said >= idle_s:
            self.endpoint.counts.idle += 1
            self.close(CloseCode.NORMAL_CLOSURE, "idle")
        elif not self.probed:
            # It only listens, or is gone without a word: every websocket library answers this by itself.
            self.probed = True
            self._protocol.send_ping(b"")
            self._flush()
        elif now - self.heard >= 2 * idle_s:
            self.endpoint.counts.lost += 1
            self.close(CloseCode.GOING_AWAY, "no sign of life")

    @property
    def subscriptions(self) -> int:
        return len(self._client.holds)


def _is_text(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


def key_of(path: str) -> str | None:
    """The key of a path that we serve, `""` for none; None for another path.

    `/ws`, `/{key}/ws`; `//ws` is what the official SDK asks for with a slash too many in its base URL.
    """
    parts = path.partition("?")[0].split("/")
    if parts == ["", "ws"]:
        return ""
    if len(parts) == 3 and parts[0] == "" and parts[2] == "ws":
        return unquote(parts[1])
    return None


def websocket_protocol(endpoint: Endpoint) -> type[Connection]:
    """A protocol class for uvicorn's `ws=`, bound to one server's endpoint."""

    class Bound(Connection):
        __slots__ = ()

    Bound.endpoint = endpoint
    return Bound
