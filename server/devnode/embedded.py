"""uvicorn as a guest: a server that shares its event loop and its process with others."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any

import uvicorn

STOP_S = 1.0  # how long clients are given to close; afterwards they are cut off


def base_url(host: str, port: int) -> str:
    """As it can be pasted: an IPv6 address wants brackets."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class EmbeddedServer(uvicorn.Server):
    """uvicorn without its claims on the process: no signals, no exit; it may share its loop.

    It serves as the exchange's own front does: no compression of frames, no pings of the protocol.
    """

    def __init__(self, app: Any, host: str, port: int, *, http: type[Any], ws: type[Any]) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                host=host,
                port=port,
                http=http,
                ws=ws,
                ws_per_message_deflate=False,
                ws_ping_interval=None,
                ws_max_size=1024 * 1024,
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_keep_alive=75,  # the exchange's nginx; uvicorn's 5 s would cut pooled connections
                timeout_graceful_shutdown=5,  # never needed: `end` cuts the connections before
            )
        )

    @property
    def port(self) -> int:
        return int(self.servers[0].sockets[0].getsockname()[1])

    async def end(self) -> None:
        """Close everything, politely for a second."""
        # A client that does not read would hold up the close for as long as it likes.
        cut = asyncio.get_running_loop().call_later(STOP_S, self.abort)
        try:
            await self.shutdown()
        finally:
            cut.cancel()

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

    def close(self) -> None:
        """Listen no more."""
        for listener in self.servers:
            listener.close()

    async def listen_again(self, port: int) -> None:
        """Listen as `startup` does, unless it is listening. Raises `OSError`."""
        if any(listener.is_serving() for listener in self.servers):
            return
        config = self.config

        def protocol() -> asyncio.Protocol:
            return config.http_protocol_class(  # type: ignore[call-arg]
                config=config, server_state=self.server_state, app_state=self.lifespan.state
            )

        loop = asyncio.get_running_loop()
        listener = await loop.create_server(protocol, host=config.host, port=port, backlog=config.backlog)
        self.servers = [listener]

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
