"""FakeUpstream: an exchange that owns the truth, speaks the wire, and breaks it on request.

HTTP (`/info`, `/exchange`) and the websocket (`/ws`) on one port, parsed by hand, so that a connection can be
cut at any byte. It runs on whatever loop the test runs, and lives by the clock it is given. Tests compare the
replica with `state` (what the exchange would say now) and count `requests` (what it was asked).

The truth of an account is one amount per dex, its `accountValue`. A state's `time` is the moment it was
rendered, as on the exchange, and no two truths have the same.
"""

import asyncio
import contextlib
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from websockets.frames import Opcode
from websockets.http11 import Request as Handshake
from websockets.protocol import State
from websockets.server import ServerProtocol

PUSH_EVERY_S = 5.0
META = b'{"universe": [{"name":"BTC","szDecimals":5}],\n "odd" : 1.50, "marginTables":[]}'
"""Odd on purpose: whoever parses it and writes it again is found out."""


class Request(NamedTuple):
    """A request that was read to its last byte. `type` is that of the `/info` body or of the action."""

    path: str
    type: str
    body: bytes


class Stage(Enum):
    """Where a request can be cut."""

    CONNECTED = "before a byte of it was read"
    HEAD = "after its head"
    BODY = "in the middle of its body"
    READ = "after its body, before it had any effect"
    DONE = "after its effect, before the answer"
    ANSWER = "in the middle of the answer"


@dataclass
class Fault:
    """What to do to the next `times` requests that fit; a None fits everything."""

    path: str | None = None
    type: str | None = None
    user: str | None = None
    times: float = 1
    cut: Stage | None = None
    hang: bool = False
    raw: bytes | None = None
    answer: tuple[int, bytes, str] | None = None

    def fits(self, request: Request) -> bool:
        return (
            self.path in (None, request.path)
            and self.type in (None, request.type)
            and (self.user is None or self.user.encode() in request.body.lower())
        )


class Subscriber:
    """One websocket of the replica."""

    def __init__(self, protocol: ServerProtocol, writer: asyncio.StreamWriter) -> None:
        self.protocol = protocol
        self.writer = writer
        self.users: dict[str, None] = {}

    def send(self, message: object) -> None:
        self.send_text(json.dumps(message, separators=(",", ":")).encode())

    def send_text(self, text: bytes) -> None:
        if self.protocol.state is State.OPEN:
            self.protocol.send_text(text)
            self.flush()

    def flush(self) -> None:
        for data in self.protocol.data_to_send():
            if not self.writer.transport.is_closing():
                self.writer.write(data) if data else self.writer.close()


class FakeUpstream:
    """`await start()`, use, `await stop()`. `clock` is the exchange's own, seconds since 1970."""

    def __init__(self, clock: Callable[[], float], *, dexes: tuple[str, ...] = ("", "xyz")) -> None:
        self._clock = clock
        self.dexes = dexes
        self.truth: dict[tuple[str, str], float] = {}
        self.push_every_s = PUSH_EVERY_S
        self.latency_s = 0.0
        self.users_limit = math.inf
        self.writes_do: Callable[[bytes], None] = lambda body: None
        self.port = 0
        # What it saw.
        self.requests: list[Request] = []
        self.arrived: list[str] = []  # paths of requests whose head was read, cut or not
        self.connections = 0
        self.dials: list[float] = []  # websocket handshakes, by the loop's clock
        self.frames: list[dict[str, object]] = []  # what the replica said over the websocket
        self.pushes = 0
        self.subscribers: list[Subscriber] = []
        # What is wrong with it.
        self._faults: list[Fault] = []
        self._drop = 0
        self._duplicate = 0
        self._delay_s = 0.0
        self._delay_next_s = 0.0
        self._silent: set[str | None] = set()
        self._mute = False
        self._pongs = True
        self._flapping_s: float | None = None
        self._refusal: str | None = None
        self._ignores_close = False
        # Inside.
        self._last_ms = 0
        self._frozen_ms: int | None = None
        self._rendered: dict[str, list[bytes]] = {}
        self._server: asyncio.Server | None = None
        self._pusher: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[object]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._idle: set[asyncio.StreamWriter] = set()

    # -- life ------------------------------------------------------------------------------------------

    async def start(self) -> None:
        await self.accept_connections()
        self._pusher = asyncio.create_task(self._push_for_ever())

    async def stop(self) -> None:
        await self.refuse_connections()
        self.abort()
        if self._pusher is not None:
            self._pusher.cancel()
            await asyncio.wait([self._pusher])
        if self._tasks:
            await asyncio.wait(self._tasks)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    # -- the truth -------------------------------------------------------------------------------------

    def change_quietly(self, user: str, value: float, dex: str = "") -> None:
        """The truth moves; nobody is told before the next push."""
        self.truth[user, dex] = value
        self._last_ms = max(self._now_ms(), self._last_ms + 1)

    def set_state(self, user: str, value: float, dex: str = "") -> None:
        """The truth moves and is pushed at once."""
        self.change_quietly(user, value, dex)
        self.push(user)

    def state(self, user: str, dex: str = "") -> bytes:
        """What the exchange says right now."""
        value = self.truth.get((user, dex), 0.0)
        return (
            b'{"marginSummary":{"accountValue":"%(v)s","totalNtlPos":"0.0","totalRawUsd":"%(v)s",'
            b'"totalMarginUsed":"0.0"},"crossMarginSummary":{"accountValue":"%(v)s","totalNtlPos":"0.0",'
            b'"totalRawUsd":"%(v)s","totalMarginUsed":"0.0"},"crossMaintenanceMarginUsed":"0.0",'
            b'"withdrawable":"%(v)s","assetPositions":[],"time":%(t)d}'
        ) % {b"v": str(value).encode(), b"t": self.now_ms()}

    def now_ms(self) -> int:
        """The exchange's clock, as its states tell it."""
        if self._frozen_ms is not None:
            return self._frozen_ms
        self._last_ms = max(self._now_ms(), self._last_ms)
        return self._last_ms

    def _now_ms(self) -> int:
        return int(self._clock() * 1000)

    # -- counting --------------------------------------------------------------------------------------

    def calls(self, type_: str | None = None, path: str = "/info") -> int:
        """How many requests were read, all or of one type."""
        return sum(r.path == path and type_ in (None, r.type) for r in self.requests)

    @property
    def writes(self) -> list[bytes]:
        return [request.body for request in self.requests if request.path == "/exchange"]

    # -- faults of the feed ----------------------------------------------------------------------------

    def push(self, user: str) -> None:
        """Send the state of one account to everyone who follows it; the faults below apply."""
        frame = self._render(user)
        for subscriber in list(self.subscribers):
            if user in subscriber.users:
                self._push_to(subscriber, user, frame)

    def stale_push(self, user: str) -> None:
        """Repeat the oldest state that was ever pushed of this account."""
        for subscriber in list(self.subscribers):
            subscriber.send_text(self._rendered[user][0])

    def drop_next_push(self) -> None:
        self._drop += 1

    def duplicate_next_push(self) -> None:
        self._duplicate += 1

    def delay_next_push(self, seconds: float) -> None:
        """The next frame arrives late, so that those after it overtake it."""
        self._delay_next_s = seconds

    def delay(self, seconds: float) -> None:
        """Every frame arrives this late from now on, as it was when it was rendered."""
        self._delay_s = seconds

    def freeze_time(self) -> None:
        """Every state from now on carries the same `time`."""
        self._frozen_ms = self.now_ms()

    def thaw_time(self) -> None:
        self._frozen_ms = None

    def go_silent(self, user: str | None = None) -> None:
        """No more pushes, of one account or of any; the connection stays."""
        self._silent.add(user)

    def speak_again(self) -> None:
        self._silent.clear()

    def go_mute(self) -> None:
        """Not a byte more over any websocket, as through a half-open connection; reads go on."""
        self._mute = True

    def no_pongs(self) -> None:
        self._pongs = False

    def ignore_close(self) -> None:
        """A client's wish to close a websocket finds no answer."""
        self._ignores_close = True

    def abort(self) -> None:
        """Drop every connection there is."""
        for writer in list(self._writers):
            writer.transport.abort()
        self.subscribers.clear()

    def hang_up_idle(self) -> None:
        """Close the connections on which no request is under way, as any server does after a while."""
        for writer in list(self._idle):
            writer.close()

    async def refuse_connections(self) -> None:
        """Nobody listens any more. Connections there are go on."""
        if self._server is not None:
            self._server.close()
            await asyncio.sleep(0)
            self._server = None

    async def accept_connections(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    def accept_and_drop(self, after_s: float = 0.01) -> None:
        """Flap: every websocket is welcomed and then dropped."""
        self._flapping_s = after_s

    def stay_up(self) -> None:
        self._flapping_s = None

    def refuse_subscriptions(self, text: str) -> None:
        """Answer every subscribe with this error."""
        self._refusal = text

    # -- faults of requests ----------------------------------------------------------------------------

    def answer(
        self,
        status: int,
        body: bytes,
        *,
        times: float = math.inf,
        path: str | None = None,
        type: str | None = None,
        user: str | None = None,
        content_type: str = "application/json",
    ) -> None:
        """Answer the next requests that fit with this instead of the truth."""
        self._faults.append(Fault(path, type, user, times, answer=(status, body, content_type)))

    def answer_429(self, times: float = math.inf) -> None:
        self.answer(429, b"null", times=times)

    def hang(self, *, path: str | None = None, type: str | None = None, user: str | None = None) -> None:
        """Read requests that fit, and never answer."""
        self._faults.append(Fault(path, type, user, math.inf, hang=True))

    def cut(self, stage: Stage, *, path: str = "/exchange", times: float = 1) -> None:
        """Drop the connection of the next requests at this point. CONNECTED fits any, if it is new."""
        self._faults.append(Fault(path, times=times, cut=stage))

    def answer_raw(self, raw: bytes, *, path: str | None = None) -> None:
        """Answer the next request with these bytes, which need not be HTTP."""
        self._faults.append(Fault(path, raw=raw))

    def heal(self) -> None:
        """No request is mistreated any more."""
        self._faults.clear()

    def _fault(self, request: Request) -> Fault | None:
        for fault in self._faults:
            if fault.times > 0 and fault.cut is not Stage.CONNECTED and fault.fits(request):
                fault.times -= 1
                return fault
        return None

    def _cut_here(self, stage: Stage, path: str | None) -> bool:
        for fault in self._faults:
            if fault.times > 0 and fault.cut is stage and (path is None or fault.path == path):
                fault.times -= 1
                return True
        return False

    # -- HTTP ------------------------------------------------------------------------------------------

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        self.connections += 1
        try:
            while await self._request(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client left
        finally:
            self._writers.discard(writer)
            self._tasks.discard(task)
            writer.close()

    async def _request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Serve one request. False when the connection is over."""
        if self._cut_here(Stage.CONNECTED, None):
            writer.transport.abort()
            return False
        self._idle.add(writer)
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        finally:
            self._idle.discard(writer)
        path = head.split(b" ", 2)[1].decode()
        self.arrived.append(path)
        if path == "/ws":
            await self._websocket(head, reader, writer)
            return False
        size = int(_header(head, b"content-length"))
        if self._cut_here(Stage.HEAD, path):
            writer.transport.abort()
            return False
        part = await reader.readexactly(size // 2)
        if self._cut_here(Stage.BODY, path):
            writer.transport.abort()
            return False
        body = part + await reader.readexactly(size - size // 2)
        request = Request(path, _type_of(path, body), body)
        self.requests.append(request)
        fault = self._fault(request) or Fault()
        if fault.hang:
            await reader.read(1)  # until the client gives up
            return False
        if fault.cut is Stage.READ:
            writer.transport.abort()
            return False
        # The answer is made now and travels for `latency_s`.
        status, answer, content_type = fault.answer or self._answer(request)
        if self.latency_s:
            await asyncio.sleep(self.latency_s)
        if fault.cut is Stage.DONE:
            writer.transport.abort()
            return False
        reply = fault.raw or (
            b"HTTP/1.1 %d Whatever\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n"
            % (status, content_type.encode(), len(answer))
            + answer
        )
        writer.write(reply[: -len(answer) // 2] if fault.cut is Stage.ANSWER else reply)
        if fault.cut is Stage.ANSWER or fault.raw is not None:
            await writer.drain()
            writer.close()
            return False
        return True

    def _answer(self, request: Request) -> tuple[int, bytes, str]:
        if request.path == "/exchange":
            self.writes_do(request.body)
            return 200, b'{"status":"ok","response":{"type":"default"}}', "application/json"
        fields = json.loads(request.body)
        match request.type:
            case "clearinghouseState":
                dex = fields.get("dex") or ""
                if dex not in self.dexes:
                    return 500, b"null", "application/json"
                return 200, self.state(fields["user"].lower(), dex), "application/json"
            case "perpDexs":
                names = [{"name": dex, "fullName": dex.upper()} if dex else None for dex in self.dexes]
                return 200, json.dumps(names).encode(), "application/json"
            case "meta":
                return 200, META, "application/json"
            case "allMids" | "openOrders" | "userFills" | "userRole":
                return 200, b"[]", "application/json"
        return 422, b"Failed to deserialize the JSON body into the target type", "text/plain"

    # -- websocket -------------------------------------------------------------------------------------

    async def _websocket(
        self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.dials.append(asyncio.get_running_loop().time())
        protocol = ServerProtocol(max_size=None)
        protocol.receive_data(head)
        (handshake,) = protocol.events_received()
        assert isinstance(handshake, Handshake)
        protocol.send_response(protocol.accept(handshake))
        subscriber = Subscriber(protocol, writer)
        subscriber.flush()
        if self._flapping_s is not None:
            await asyncio.sleep(self._flapping_s)
            writer.transport.abort()
            return
        self.subscribers.append(subscriber)
        try:
            while data := await reader.read(65536):
                protocol.receive_data(data)
                for frame in protocol.events_received():
                    if frame.opcode is Opcode.TEXT:
                        self._said(subscriber, json.loads(frame.data))
                if protocol.state is not State.OPEN and self._ignores_close:
                    await reader.read()
                    return
                subscriber.flush()
        finally:
            if subscriber in self.subscribers:
                self.subscribers.remove(subscriber)

    def _said(self, subscriber: Subscriber, message: dict[str, object]) -> None:
        self.frames.append(message)
        if self._mute:
            return
        if message["method"] == "ping":
            if self._pongs:
                subscriber.send({"channel": "pong"})
            return
        wanted = message["subscription"]
        assert isinstance(wanted, dict)
        user = wanted["user"]
        if message["method"] == "unsubscribe":
            subscriber.users.pop(user, None)
        elif self._refusal is not None:
            subscriber.send({"channel": "error", "data": self._refusal})
            return
        elif len(subscriber.users) >= self.users_limit:
            text = f"Cannot track more than {self.users_limit} total users."
            subscriber.send({"channel": "error", "data": text})
            return
        else:
            subscriber.users[user] = None
        subscriber.send({"channel": "subscriptionResponse", "data": message})
        if message["method"] == "subscribe":
            self._push_to(subscriber, user, self._render(user))

    async def _push_for_ever(self) -> None:
        while True:
            await asyncio.sleep(self.push_every_s)
            for user in dict.fromkeys(user for one in self.subscribers for user in one.users):
                self.push(user)

    def _render(self, user: str) -> bytes:
        states = b",".join(b'["%s",%s]' % (dex.encode(), self.state(user, dex)) for dex in self.dexes)
        frame = b'{"channel":"allDexsClearinghouseState","data":{"user":"%s","clearinghouseStates":[%s]}}' % (
            user.encode(),
            states,
        )
        self._rendered.setdefault(user, []).append(frame)
        return frame

    def _push_to(self, subscriber: Subscriber, user: str, frame: bytes) -> None:
        if self._mute or not self._silent.isdisjoint((user, None)):
            return
        if self._drop:
            self._drop -= 1
            return
        delay_s, self._delay_next_s = self._delay_s + self._delay_next_s, 0.0
        copies = 1
        if self._duplicate:
            self._duplicate -= 1
            copies = 2
        for _ in range(copies):
            self.pushes += 1
            if delay_s:
                asyncio.get_running_loop().call_later(delay_s, subscriber.send_text, frame)
            else:
                subscriber.send_text(frame)


def _header(head: bytes, name: bytes) -> bytes:
    for line in head.split(b"\r\n")[1:]:
        key, _, value = line.partition(b":")
        if key.strip().lower() == name:
            return value.strip()
    return b"0"


def _type_of(path: str, body: bytes) -> str:
    with contextlib.suppress(ValueError, KeyError, TypeError):
        fields = json.loads(body)
        return str((fields["action"] if path == "/exchange" else fields)["type"])
    return ""


def values(body: bytes) -> Iterator[float]:
    """The account values in any answer, in its order: what the exchange's truth was."""
    for part in body.split(b'"marginSummary":{"accountValue":"')[1:]:
        yield float(part[: part.index(b'"')])
