"""A replay as a whole: on a real socket, in the place of the upstream that was recorded."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from server.devnode.dev import Dev
from server.devnode.embedded import EmbeddedServer, base_url
from server.devnode.replay.answers import Answers
from server.devnode.replay.app import App
from server.devnode.replay.player import VERBS, Player
from server.devnode.replay.script import read_script
from server.devnode.replay.tape import read_tape


class Replay:
    """Serves one recording, a file or a folder. Raises `RecordingError` where that can't be read.

    It plays from the first client's request on, `speed` times as fast as it was recorded; without `drops`
    no connection is cut or refused for having been so in the recording. `say` is told when it is over.
    """

    def __init__(
        self,
        path: Path,
        *,
        speed: float = 1.0,
        drops: bool = True,
        say: Callable[[str], None] = lambda text: print(text, flush=True),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.script = read_script(read_tape(path))
        self.player = Player(self.script, speed=speed, drops=drops, say=say)
        self.answers = Answers(self.script)
        looks = {"status": self.player.status, "accounts": lambda: list(self.addresses)}
        dev = Dev([getattr(self.player, verb) for verb in VERBS], looks)
        self._app = App(self.player, self.answers, dev, lambda: int(clock() * 1000))
        self._server: EmbeddedServer | None = None
        self._serving: asyncio.Task[None] | None = None
        self.port = 0

    def __repr__(self) -> str:
        script = self.script
        answers = sum(len(timeline) for timeline in script.answers.values())
        return (
            f"<Replay of {script.name}: {script.length_s:.1f} s, {script.frames} frames and {answers} answers"
            f" of {len(self.addresses)} accounts, at speed {self.player.head.speed:g}>"
        )

    @property
    def addresses(self) -> Sequence[str]:
        return self.answers.addresses

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> int:
        """Bind and serve. Returns the port. Raises `OSError` when the address cannot be had."""
        assert self._server is None, "this replay is already serving"
        server = EmbeddedServer(self._app, host, port, http=_Http, ws=_WebSocket)
        await server.open()
        self._server = server
        self.port = server.port
        self._serving = asyncio.create_task(server.main_loop(), name="replay-server")
        return self.port

    async def stop(self) -> None:
        """Close the sockets and wait for the end. Does nothing when not serving."""
        self.player.stop()
        server, self._server = self._server, None
        if server is None:
            return
        assert self._serving is not None
        self._serving.cancel()
        await asyncio.wait([self._serving])
        await server.end()

    def describe(self, host: str, port: int) -> str:
        """What is served, and how to use it, as printed on start."""
        base = base_url(host, port)
        return "\n".join(
            [
                f"devnode: {self!r}",
                *(f"  note      {note}" for note in self.script.notes),
                f"  upstream  {base} (it plays from the first request on)",
                f"  accounts  {base}/dev/accounts",
                f"  controls  {base}/dev/ (status; {', '.join(VERBS)})",
                "try:",
                f"  curl -s {base}/dev/accounts > accounts.json",
                f"  hl-replica serve --upstream {base} --track @accounts.json",
            ]
        )


class _Http(HttpToolsProtocol):
    """Lets the application cut a connection: ASGI itself can only answer."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {
            "replay.abort": {"abort": self.transport.abort},
            # Whoever the headers say it comes from.
            "replay.peer": {"ip": self.client[0] if self.client else "unknown"},
        }


class _WebSocket(WebSocketsSansIOProtocol):
    async def run_asgi(self) -> None:
        self.scope["extensions"]["replay.abort"] = {"abort": self.transport.abort}
        await super().run_asgi()
