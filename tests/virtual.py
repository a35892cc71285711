"""The whole program in one process on virtual time, with a `FakeUpstream` on the other side."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Iterable
from random import Random
from typing import Any, NamedTuple

import aiohttp
from aiohttp.client_proto import ResponseHandler

from replica import Clock
from server.app import Program, http_server
from server.settings import Settings
from tests.upstream import FakeUpstream, values

EPOCH = 1_771_587_392.0
"""The wall clock when the loop's clock shows 0."""

ALICE = "0x" + "a1" * 20
BOB = "0x" + "b0" * 20
CAROL = "0x" + "ca" * 20
DAVE = "0x" + "da" * 20

ORDER = (
    b'{"action":{"type":"order","orders":[{"a":0,"b":true,"p":"1.0","s":"1.0"}],"grouping":"na"},"nonce":1}'
)
WRITE = ORDER[:-1] + b',"signature":{"r":"0x1","s":"0x2","v":27},"vaultAddress":null}'


class Connector(aiohttp.BaseConnector):
    """aiohttp's connections on a loop that has `create_connection` but no sockets of the kernel."""

    async def _create_connection(self, req: Any, traces: Any, timeout: Any) -> ResponseHandler:
        try:
            async with asyncio.timeout(timeout.sock_connect):
                _, protocol = await self._loop.create_connection(self._factory, req.url.host, req.url.port)
        except TimeoutError:
            raise
        except OSError as error:
            raise aiohttp.ClientConnectorError(req.connection_key, error) from error
        return protocol


class DeafConnector(Connector):
    """Connections that are never established, as to a host that drops every packet."""

    async def _create_connection(self, req: Any, traces: Any, timeout: Any) -> ResponseHandler:
        await asyncio.sleep(3600)
        raise AssertionError("nobody waits that long")


def connector(connections: int, idle_s: float) -> aiohttp.BaseConnector:
    return Connector(limit=connections, keepalive_timeout=idle_s)


def deaf_connector(connections: int, idle_s: float) -> aiohttp.BaseConnector:
    return DeafConnector(limit=connections, keepalive_timeout=idle_s)


class Reply(NamedTuple):
    """What a client received."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def source(self) -> str:
        return self.headers["x-replica-source"]

    @property
    def as_of(self) -> int:
        return int(self.headers["x-replica-as-of"])

    @property
    def value(self) -> float:
        """The account value of the first state in it."""
        return next(values(self.body))

    @property
    def failed(self) -> list[str]:
        return list(self.json["failed_wallets"])


class World:
    """The program under test, the upstream behind it, and a client before it."""

    def __init__(self, program: Program, upstream: FakeUpstream) -> None:
        self.program = program
        self.upstream = upstream
        self.store = program.replica.store

    async def post(
        self,
        path: str,
        body: bytes | dict[str, Any],
        *,
        client: str = "10.0.0.1",
        content_type: str | None = "application/json",
        **headers: str,
    ) -> Reply:
        """`headers` by name with `_` for `-`."""
        pairs = [] if content_type is None else [("content-type", content_type)]
        pairs += [(name.replace("_", "-"), value) for name, value in headers.items()]
        return await self.request("POST", path, encoded(body), pairs, client=client)

    async def request(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: Iterable[tuple[str, str]] = (),
        *,
        client: str = "10.0.0.1",
        parts: int = 1,
        leaves: bool = False,
    ) -> Reply:
        """One request straight into the ASGI application, its body in `parts` pieces.

        With `leaves` the client goes away before the last piece: the reply has status 0 then.
        """
        size = max(1, -(-len(body) // parts))
        pieces = [body[at : at + size] for at in range(0, len(body), size)] or [b""]
        inbox: list[dict[str, Any]] = [
            {"type": "http.request", "body": piece, "more_body": at + 1 < len(pieces)}
            for at, piece in enumerate(pieces)
        ]
        if leaves:
            inbox[-1] = {"type": "http.disconnect"}
        outbox: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return inbox.pop(0) if inbox else {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            outbox.append(message)

        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": [(name.encode(), value.encode()) for name, value in headers],
            "client": (client, 50_000),
            "server": ("127.0.0.1", 3001),
        }
        await self.program.front(scope, receive, send)
        if not outbox:
            return Reply(0, {}, b"")
        start, *rest = outbox
        names = {name.decode(): value.decode() for name, value in start["headers"]}
        whole = b"".join(message.get("body", b"") for message in rest)
        assert names.get("content-length", str(len(whole))) == str(len(whole))
        return Reply(start["status"], names, whole)

    async def info(self, body: bytes | dict[str, Any], **more: Any) -> Reply:
        return await self.post("/info", body, **more)

    async def state(self, user: str, dex: str | None = None, **more: Any) -> Reply:
        body = {"type": "clearinghouseState", "user": user}
        return await self.info(body if dex is None else {**body, "dex": dex}, **more)

    async def batch(self, users: list[Any], dex: str | None = None, **more: Any) -> Reply:
        body = {"type": "batchClearinghouseStates", "users": users}
        return await self.info(body if dex is None else {**body, "dex": dex}, **more)

    async def write(self, body: bytes = WRITE, **more: Any) -> Reply:
        return await self.post("/exchange", body, **more)

    async def ready(self) -> Reply:
        return await self.request("GET", "/ready")

    async def until(self, condition: Callable[[], bool], within_s: float = 60.0) -> float:
        """Wait in small virtual steps until `condition` holds. Returns how long that took."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        while not condition():
            assert loop.time() - began < within_s, f"not within {within_s} s: {self.program.replica!r}"
            await asyncio.sleep(0.01)
        return loop.time() - began

    async def until_live(self) -> None:
        """Wait until the feed is up and every account we want followed is live."""
        await self.until(lambda: not self.program.replica.assess().reasons)


def encoded(body: bytes | dict[str, Any]) -> bytes:
    return body if isinstance(body, bytes) else json.dumps(body).encode()


def wall() -> float:
    return EPOCH + asyncio.get_running_loop().time()


@contextlib.asynccontextmanager
async def running(
    *follow: str,
    dexes: tuple[str, ...] = ("", "xyz"),
    skew_s: float = 0.0,
    connector: Callable[[int, float], aiohttp.BaseConnector] = connector,
    prepare: Callable[[FakeUpstream], None] = lambda upstream: None,
    warm: bool = True,
    **settings: Any,
) -> AsyncIterator[World]:
    """A program that follows `follow`, started, with its feed up and its dex list read if `warm`.

    `skew_s` is how far the program's wall clock is ahead of the upstream's. `prepare` sees the upstream
    before anybody connects. What the start-up asked of the upstream is not counted.
    """
    upstream = FakeUpstream(wall, dexes=dexes)
    prepare(upstream)
    await upstream.start()
    program = Program(
        Settings(**settings),
        base_url=upstream.base_url,
        follow=follow,
        clock=Clock(monotonic=asyncio.get_running_loop().time, wall=lambda: wall() + skew_s),
        random=Random(1),
        connector=connector,
    )
    world = World(program, upstream)
    try:
        await program.start()
        if warm:
            await world.until_live()
            await world.until(lambda: program.replica.perp_dexs is not None)
            upstream.requests.clear()
        yield world
    finally:
        await program.stop()
        await upstream.stop()
        world.store.check()


# Through uvicorn


class Caller:
    """One connection of a client, HTTP by hand, so that it can be broken anywhere."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, body: bytes | dict[str, Any], path: str = "/info", **headers: str) -> None:
        self.writer.write(post(body, path, **headers))

    async def reply(self) -> Reply:
        """Read one answer. Raises `IncompleteReadError` with no `partial` if there is none."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:-2])}
        body = await self.reader.readexactly(int(headers["content-length"]))
        return Reply(int(head[0].split(" ")[1]), headers, body)

    async def ask(self, body: bytes | dict[str, Any], path: str = "/info", **headers: str) -> Reply:
        self.send(body, path, **headers)
        return await self.reply()

    async def closed(self) -> bool:
        """Whether the server says goodbye now, without another byte."""
        return await self.reader.read(1) == b""


def post(body: bytes | dict[str, Any], path: str = "/info", **headers: str) -> bytes:
    """The bytes of a request; `headers` by name with `_` for `-`."""
    content = encoded(body)
    lines = {"host": "x", "content_type": "application/json", "content_length": str(len(content)), **headers}
    head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in lines.items())
    return f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + content


class Site:
    """The program behind its real HTTP server."""

    def __init__(self, world: World, **settings: Any) -> None:
        self._server = http_server(world.program, Settings(**settings))
        self._server.config.host, self._server.config.port = "127.0.0.1", 0
        # The virtual loop knows no signals; `stop` does what SIGTERM does.
        self._server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign]
        self._callers: list[Caller] = []
        self._serving: asyncio.Task[None] | None = None
        self._port = 0

    async def start(self) -> None:
        self._serving = asyncio.create_task(self._server.serve())
        await asyncio.sleep(1)
        self._port = self._server.servers[0].sockets[0].getsockname()[1]

    async def call(self) -> Caller:
        caller = Caller(*await asyncio.open_connection("127.0.0.1", self._port))
        self._callers.append(caller)
        return caller

    def stop(self) -> None:
        """What SIGTERM does; `finish` waits for the end of it."""
        self._server.should_exit = True

    async def finish(self) -> None:
        self.stop()
        assert self._serving is not None
        await self._serving
        for caller in self._callers:
            caller.writer.close()


@contextlib.asynccontextmanager
async def serving(*follow: str, **settings: Any) -> AsyncIterator[tuple[World, Site]]:
    """Like `running`, behind uvicorn; takes only settings beside the accounts."""
    async with running(*follow, **settings) as world:
        site = Site(world, **settings)
        await site.start()
        try:
            yield world, site
        finally:
            await site.finish()
