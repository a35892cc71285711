"""What a client sends and receives, and the program's HTTP server, on any loop."""

import asyncio
import contextlib
import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from server.app import Program, http_server
from server.settings import Settings


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
    def age_ms(self) -> int:
        return int(self.headers["x-replica-age-ms"])

    @property
    def value(self) -> float:
        """The account value of the first state in it."""
        return next(values(self.body))

    @property
    def failed(self) -> list[str]:
        return list(self.json["failed_wallets"])


def values(body: bytes) -> Iterator[float]:
    """The account values in any answer, in its order."""
    for part in body.split(b'"marginSummary":{"accountValue":"')[1:]:
        yield float(part[: part.index(b'"')])


def encoded(body: bytes | dict[str, Any]) -> bytes:
    return body if isinstance(body, bytes) else json.dumps(body).encode()


class NoReply(Exception):
    """The connection was closed before a byte of an answer."""


class CutReply(Exception):
    """The connection was closed within an answer."""


class Caller:
    """One connection of a client, HTTP by hand, so that it can be broken anywhere."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, body: bytes | dict[str, Any], path: str = "/info", **headers: str) -> None:
        self.writer.write(post(body, path, **headers))

    async def reply(self) -> Reply:
        """Read one answer. Raises `NoReply` if the connection ends before it, `CutReply` if within."""
        try:
            begin = await self.reader.read(1)
        except ConnectionError as error:
            raise NoReply from error
        if not begin:
            raise NoReply
        try:
            head = (begin + await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = {
                name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:-2])
            }
            body = await self.reader.readexactly(int(headers["content-length"]))
        except (ConnectionError, asyncio.IncompleteReadError) as error:
            raise CutReply from error
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

    def __init__(self, program: Program, settings: Settings) -> None:
        self._server = http_server(program, settings)
        self._server.config.host, self._server.config.port = "127.0.0.1", 0
        # Signals are the process's, and the virtual loop knows none: `stop` does what SIGTERM does.
        self._server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign]
        self._callers: list[Caller] = []
        self._serving: asyncio.Task[None] | None = None
        self.port = 0

    async def start(self) -> None:
        self._serving = asyncio.create_task(self._server.serve())
        while not self._server.started:  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0.01)
        self.port = self._server.servers[0].sockets[0].getsockname()[1]

    async def call(self) -> Caller:
        caller = Caller(*await asyncio.open_connection("127.0.0.1", self.port))
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
