"""uvicorn as a guest: a server that shares its event loop and its process with others."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator

import uvicorn


class EmbeddedServer(uvicorn.Server):
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
