"""The devnode as a whole: builds its parts, binds them to a socket, lets time pass, takes them down."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from server.devnode.app import Api, App
from server.devnode.feeds import Feeds
from server.devnode.limits import Ledger, Limits
from server.devnode.recorded import Recorded
from server.devnode.stats import Stats
from server.devnode.stream import Streams
from server.devnode.world import Source, World

_STOP_S = 1.0  # how long clients are given to close; afterwards they are cut off


class Devnode:
    """A simulated exchange on a real socket.

    `accounts` and `seed` make the synthetic world; `recorded` names a folder of recordings to serve in
    its place. `clock` gives the seconds that `time` in a state is made of; cadences follow the event
    loop. Prices move every `tick_s`, accounts are pushed every `push_s` seconds.
    """

    def __init__(
        self,
        *,
        accounts: int = 100,
        seed: int = 1,
        limits: Limits = Limits(),  # noqa: B008 - frozen, and the default is part of the interface
        recorded: Path | None = None,
        clock: Callable[[], float] = time.time,
        tick_s: float = 1.0,
        push_s: float = 5.0,
    ) -> None:
        self.stats = Stats()
        self.limits = limits
        self.source: Source = World(accounts=accounts, seed=seed) if recorded is None else Recorded(recorded)
        self.addresses: Sequence[str] = self.source.addresses
        self._clock = clock
        self._tick_s = tick_s
        self._feeds = Feeds(self.source, self._now_ms, push_s, self.stats)
        ledger = Ledger(limits)
        api = Api(self.source, ledger, self.stats, self._now_ms)
        streams = Streams(self._feeds, ledger, self.stats, frozenset(self.source.dexes), api.post)
        self.app = App(api, streams, self.stats)
        self._server: _Server | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self.port = 0

    def __repr__(self) -> str:
        where = f"port {self.port}" if self._server else "stopped"
        return f"<Devnode {where}, {self.source!r}>"

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> int:
        """Bind and serve. Returns the port. Raises `OSError` when the address cannot be had."""
        if self._server is not None:
            raise RuntimeError("this devnode is already serving")
        config = uvicorn.Config(
            self.app,
            host=host,
            port=port,
            http="httptools",
            ws=_Protocol,
            ws_per_message_deflate=False,  # the exchange does not negotiate it
            ws_ping_interval=None,  # nor does it send pings of the protocol
            ws_max_size=1024 * 1024,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=75,  # the exchange's nginx; uvicorn's 5 s would cut pooled connections
            timeout_graceful_shutdown=5,  # never needed: stop() cuts the connections before
        )
        server = _Server(config)
        await server.open()
        self._server = server
        self.port = int(server.servers[0].sockets[0].getsockname()[1])
        self._tasks = [
            asyncio.create_task(server.main_loop(), name="devnode-server"),
            asyncio.create_task(self._ticking(), name="devnode-ticks"),
        ]
        return self.port

    async def stop(self) -> None:
        """Close the sockets, end the tasks and wait for them. Does nothing when not serving."""
        server, self._server = self._server, None
        if server is None:
            return
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)
        # A client that does not read would hold up the close for as long as it likes.
        cut = asyncio.get_running_loop().call_later(_STOP_S, server.abort)
        try:
            await server.shutdown()
        finally:
            cut.cancel()

    async def _ticking(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            # Ticks that a busy loop has missed are skipped, not made up for in one stretch.
            due = max(due + self._tick_s, loop.time())
            await asyncio.sleep(due - loop.time())
            self.source.tick()

    def _now_ms(self) -> int:
        return int(self._clock() * 1000)


class _Server(uvicorn.Server):
    """uvicorn without its claims on the process: no signals, no exit; it may share its loop."""

    async def open(self) -> None:
        """Listen. Raises `OSError` where uvicorn would end the process."""
        self.config.load()
        self.lifespan = self.config.lifespan_class(self.config)
        try:
            await self.startup()
        except SystemExit as exc:
            raise OSError(f"cannot listen on {self.config.host}:{self.config.port}") from exc.__context__

    def abort(self) -> None:
        for connection in list(self.server_state.connections):
            connection.transport.abort()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _Protocol(WebSocketsSansIOProtocol):
    """Lets the application cut a connection: ASGI itself can only close one politely, and wait."""

    async def run_asgi(self) -> None:
        extensions: dict[str, Any] = self.scope["extensions"]
        extensions["devnode.abort"] = {"abort": self.transport.abort}
        await super().run_asgi()
