"""The whole program in one process on virtual time, with a devnode on the other side."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from random import Random
from types import MappingProxyType
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler
from hyperliquid.utils.signing import sign_l1_action

from replica import Clock
from server.app import Program
from server.settings import Settings
from tests.callers import Reply, Site, encoded
from tests.upstream import TRADER, Upstream

EPOCH = 1_771_587_392.0
"""The wall clock when the loop's clock shows 0."""

ALICE = "0x" + "a1" * 20
BOB = "0x" + "b0" * 20
CAROL = "0x" + "ca" * 20
DAVE = "0x" + "da" * 20

META = b'{"universe": [{"name":"BTC","szDecimals":5}],\n "odd" : 1.50, "marginTables":[]}'
"""What an upstream may answer. Odd on purpose: whoever parses it and writes it again is found out."""


def signed_order(nonce: int) -> bytes:
    """The trader bids for a little BTC, far below the market."""
    row = {"a": 0, "b": True, "p": "50000", "s": "0.001", "r": False, "t": {"limit": {"tif": "Gtc"}}}
    action = {"type": "order", "orders": [row], "grouping": "na"}
    signature = sign_l1_action(TRADER, action, None, nonce, None, False)
    return encoded({"action": action, "nonce": nonce, "signature": signature, "vaultAddress": None})


WRITE = signed_order(int(EPOCH * 1000))
"""Good for one order; whoever repeats it is told that its nonce is used up."""


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


class World:
    """The program under test, the upstream behind it, and a client before it."""

    def __init__(self, program: Program, upstream: Upstream) -> None:
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


def wall() -> float:
    return EPOCH + asyncio.get_running_loop().time()


@contextlib.asynccontextmanager
async def running(
    *follow: str,
    skew_s: float = 0.0,
    connector: Callable[[int, float], aiohttp.BaseConnector] = connector,
    prepare: Callable[[Upstream], None] = lambda upstream: None,
    warm: bool = True,
    upstream: Mapping[str, Any] = MappingProxyType({}),
    keeps: bool = False,
    **settings: Any,
) -> AsyncIterator[World]:
    """A program that follows `follow`, started, with its feed up and its dex list read if `warm`.

    `keeps`: whether it keeps streams for reads, as it does by default; else it holds what clients hold alone.
    `skew_s` is how far the program's wall clock is ahead of the upstream's. `prepare` sees the upstream
    before anybody connects; `upstream` are options of it. What the start-up asked of it is not counted.
    """
    if not keeps:
        settings = {"keep_account_streams": (), "keep_market_streams": ()} | settings
    node = Upstream(wall, **upstream)
    prepare(node)
    await node.start()
    program = Program(
        Settings(**settings),
        base_url=node.base_url,
        follow=follow,
        clock=Clock(monotonic=asyncio.get_running_loop().time, wall=lambda: wall() + skew_s),
        random=Random(1),
        connector=connector,
    )
    world = World(program, node)
    try:
        await program.start()
        if warm:
            await world.until_live()
            await world.until(lambda: program.replica.perp_dexs is not None)
            node.seen.requests.clear()
        yield world
    finally:
        await program.stop()
        await node.stop()
        world.store.check()


@contextlib.asynccontextmanager
async def serving(*follow: str, **settings: Any) -> AsyncIterator[tuple[World, Site]]:
    """Like `running`, behind uvicorn; takes only settings beside the accounts."""
    async with running(*follow, **settings) as world:
        site = Site(world.program, Settings(**settings))
        await site.start()
        try:
            yield world, site
        finally:
            await site.finish()
