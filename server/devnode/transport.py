"""uvicorn's two protocols with a grip on the transport: ASGI itself can only close politely, and wait."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame
from websockets.protocol import State

from server.devnode.faults import Faults, Stage
from server.devnode.seen import Seen

DEV = "/dev/"


class HttpProtocol(HttpToolsProtocol):
    """Hands the application its transport, to write bytes that are no answer, to close or to cut."""

    faults: Faults
    seen: Seen

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.seen.connections += 1
        if self.faults.cuts_here(Stage.CONNECTED):
            transport.abort()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {
            "devnode.transport": {"transport": self.transport},
            # Whoever the headers say it comes from.
            "devnode.peer": {"ip": self.client[0] if self.client else "unknown"},
        }

    @property
    def idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    @property
    def controls(self) -> bool:
        """Whether the last that came over it was for the controls."""
        return self.scope is not None and str(self.scope.get("path", "")).startswith(DEV)


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """Lets the application cut a connection, and finds no answer where the faults say so."""

    faults: Faults

    async def run_asgi(self) -> None:
        extensions: dict[str, Any] = self.scope["extensions"]
        extensions["devnode.abort"] = {"abort": self.transport.abort}
        await super().run_asgi()

    def handle_ping(self) -> None:
        if self.faults.mute or not self.faults.pongs:
            self.conn.data_to_send()  # the pong that waits in it is lost
            return
        super().handle_ping()

    def shutdown(self) -> None:
        if self.conn.state is State.CLOSING:  # a goodbye that found no answer
            self.transport.abort()
            return
        super().shutdown()

    def handle_close(self, event: Frame) -> None:
        if (self.faults.mute or self.faults.ignores_close) and not self.close_sent:
            self.conn.data_to_send()
            return
        super().handle_close(event)


def protocols(faults: Faults, seen: Seen) -> tuple[type[HttpProtocol], type[WebSocketProtocol]]:
    """The two classes, bound to the faults of one devnode and to its record."""
    http = type("HttpProtocol", (HttpProtocol,), {"faults": faults, "seen": seen})
    ws = type("WebSocketProtocol", (WebSocketProtocol,), {"faults": faults})
    return http, ws
