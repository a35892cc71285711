"""The endpoint behind uvicorn's real protocols on virtual time, with a mirror that does as it is told."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import uvicorn
from websockets.asyncio.client import ClientConnection, connect
from websockets.client import ClientProtocol
from websockets.frames import Frame
from websockets.uri import parse_uri

from server.fastpath import fast_protocol
from server.http import Front
from server.reply import JSON, Header, Reply
from server.ws.connection import websocket_protocol
from server.ws.endpoint import Endpoint, EndpointSettings
from server.ws.posts import Posts
from tests.server.ws.fakes import FakeMirror, known


class Answers:
    """In place of `Info` and `Exchange`: the body back, with who asked; slow ones when `gate` opens."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.asked: list[bytes] = []
        self.finished = 0

    def begin(self, body: bytes, headers: Any, client: str) -> Reply | Coroutine[Any, Any, Reply]:
        if b"broken" in body:
            raise RuntimeError("a fault of ours")
        if b"slow" in body:
            return self.answer(body, headers, client)
        return self._say(body, client)

    async def answer(self, body: bytes, headers: list[Header], client: str) -> Reply:
        self.asked.append(body)
        await self.gate.wait()
        self.finished += 1
        return self._say(body, client)

    @staticmethod
    def _say(body: bytes, client: str) -> Reply:
        if b"wrong" in body:
            return Reply(422, [(b"content-type", b"text/plain")], b"no such thing")
        return Reply(200, [(b"content-type", JSON)], b'{"asked":%s,"by":"%s"}' % (body, client.encode()))


class Client:
    """A client as they are: a library's connection, JSON in and out."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    async def say(self, method: str, **more: Any) -> None:
        await self.connection.send(json.dumps({"method": method, **more}))

    async def subscribe(self, type_: str = "allMids", **fields: Any) -> None:
        await self.say("subscribe", subscription={"type": type_, **fields})

    async def post(self, id_: int, payload: Any, kind: str = "info") -> None:
        await self.say("post", id=id_, request={"type": kind, "payload": payload})

    async def heard(self) -> Any:
        return json.loads(await self.connection.recv())

    async def ping(self) -> None:
        """What was said before has been answered."""
        await self.say("ping")
        while (await self.heard()) != {"channel": "pong"}:
            pass

    async def closed(self) -> tuple[int | None, str | None]:
        """Code and reason, once the server has said goodbye. What was not read yet is passed over."""
        with contextlib.suppress(Exception):
            async for _ in self.connection:
                pass
        await self.connection.wait_closed()
        return self.connection.close_code, self.connection.close_reason


class Rude:
    """A client by hand: it sends what it likes, and reads when it likes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.protocol = ClientProtocol(parse_uri("ws://127.0.0.1/ws"), max_size=None)

    async def shake_hands(self) -> None:
        self.protocol.send_request(self.protocol.connect())
        self.send_out()
        self.protocol.receive_data(await self.reader.readuntil(b"\r\n\r\n"))
        self.protocol.events_received()

    def send_out(self) -> None:
        for data in self.protocol.data_to_send():
            if data:
                self.writer.write(data)

    def say(self, text: bytes) -> None:
        self.protocol.send_text(text)
        self.send_out()

    def subscribe(self, type_: str, **fields: Any) -> None:
        self.say(json.dumps({"method": "subscribe", "subscription": {"type": type_, **fields}}).encode())

    async def end(self) -> tuple[list[bytes], int | None, str]:
        """Read to the end: the texts, the code and the reason of the close (None: cut off)."""
        texts = []
        while True:
            try:
                data = await self.reader.read(1 << 16)
            except ConnectionError:
                data = b""
            if not data:
                break
            self.protocol.receive_data(data)
            for event in self.protocol.events_received():
                if isinstance(event, Frame) and event.opcode == 1:
                    texts.append(bytes(event.data))
        close = self.protocol.close_rcvd
        return (texts, close.code, close.reason) if close is not None else (texts, None, "")


class Served:
    def __init__(self, settings: EndpointSettings) -> None:
        self.mirror = FakeMirror()
        self.mirror.at_once = True
        self.answers = Answers()
        self.coins: dict[str, bool | None] = {"BTC": True, "ETH": True}
        self.universe_read = 0
        answers: Any = self.answers
        self.endpoint = Endpoint(
            self.mirror,
            Posts(answers, answers),
            settings,
            knows=lambda subscription: known(self.coins, subscription),
            refresh_universe=self._refresh,
            monotonic=asyncio.get_running_loop().time,
            epoch="run",
        )
        self.mirror.listener = self.endpoint.hub
        self.server = uvicorn.Server(
            uvicorn.Config(
                Front(answers, answers, self._nobody, max_body_bytes=1 << 20),
                http=fast_protocol(answers, answers, max_body_bytes=1 << 20),
                ws=websocket_protocol(self.endpoint),
                lifespan="off",
                log_config=None,
                host="127.0.0.1",
                port=0,
                timeout_keep_alive=75,
                timeout_graceful_shutdown=10,
            )
        )
        self.server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign]
        self.port = 0
        self._clients: list[asyncio.StreamWriter] = []

    @staticmethod
    async def _nobody(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 404, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    async def _refresh(self) -> None:
        self.universe_read += 1
        await asyncio.sleep(0.05)

    @contextlib.asynccontextmanager
    async def client(self, path: str = "/ws") -> AsyncIterator[Client]:
        async with connect(f"ws://127.0.0.1:{self.port}{path}", ping_interval=None) as connection:
            yield Client(connection)

    async def rude(self, *, handshake: bool = True) -> Rude:
        rude = Rude(*await asyncio.open_connection("127.0.0.1", self.port))
        self._clients.append(rude.writer)
        if handshake:
            await rude.shake_hands()
        return rude

    def close_clients(self) -> None:
        for writer in self._clients:
            writer.close()


@contextlib.asynccontextmanager
async def served(**settings: Any) -> AsyncIterator[Served]:
    it = Served(EndpointSettings(**settings))
    await it.endpoint.start()
    serving = asyncio.create_task(it.server.serve())
    while not it.server.started:  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(0.01)
    it.port = it.server.servers[0].sockets[0].getsockname()[1]
    try:
        yield it
        it.endpoint.hub.check()
    finally:
        it.close_clients()
        it.server.should_exit = True
        await serving
        await it.endpoint.stop()
    assert len(it.endpoint) == 0 and not it.server.server_state.connections
    assert not it.mirror.held or it.endpoint.settings.hub.resume_s
