"""An HTTP server of few words: it reads whole requests and then does what the test says, byte by byte."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import aiohttp
from aiohttp.client_proto import ResponseHandler

HOST, PORT = "upstream.test", 80
URL = f"http://{HOST}"

Behave = Callable[[asyncio.StreamWriter], Awaitable[None]]


class Connector(aiohttp.BaseConnector):
    """aiohttp's connections on the loop of virtual time. (Units of the replica do not load the server.)"""

    async def _create_connection(self, req: Any, traces: Any, timeout: Any) -> ResponseHandler:
        try:
            return (await self._loop.create_connection(self._factory, req.url.host, req.url.port))[1]
        except OSError as error:
            raise aiohttp.ClientConnectorError(req.connection_key, error) from error


class DeafConnector(aiohttp.BaseConnector):
    """To a host that drops every packet."""

    async def _create_connection(self, req: Any, traces: Any, timeout: Any) -> ResponseHandler:
        await asyncio.sleep(3600)
        raise AssertionError("nobody waits that long")


def connector(connections: int, idle_s: float) -> aiohttp.BaseConnector:
    return Connector(limit=connections, keepalive_timeout=idle_s)


def deaf_connector(connections: int, idle_s: float) -> aiohttp.BaseConnector:
    return DeafConnector(limit=connections, keepalive_timeout=idle_s)


class Received(NamedTuple):
    """One request, read to its last byte."""

    line: str
    headers: dict[str, str]
    body: bytes


class RawServer:
    """Does `behaviours` in turn, one per request; the last one for all the rest."""

    def __init__(self, *behaviours: Behave) -> None:
        self.requests: list[Received] = []
        self.connections = 0
        self._next: Iterator[Behave] = iter(behaviours)
        self._behave: Behave = behaviours[0]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                line, *fields = head.decode().strip().split("\r\n")
                headers = {name.lower(): value for name, value in (field.split(": ", 1) for field in fields)}
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                self.requests.append(Received(line, headers, body))
                self._behave = next(self._next, self._behave)
                await self._behave(writer)
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def listening(*behaviours: Behave) -> AsyncIterator[RawServer]:
    server = RawServer(*behaviours)
    listener = await asyncio.start_server(server.serve, HOST, PORT)
    try:
        yield server
    finally:
        listener.close()
        with contextlib.suppress(OSError):
            await listener.wait_closed()


def say(raw: bytes) -> Behave:
    """Write these bytes and go on with the next request."""

    async def behave(writer: asyncio.StreamWriter) -> None:
        writer.write(raw)
        await writer.drain()

    return behave


def answer(body: bytes, status: int = 200, *fields: str) -> Behave:
    """A whole answer."""
    head = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body)}", *fields]
    return say("\r\n".join(head).encode() + b"\r\n\r\n" + body)


def cut_after(raw: bytes) -> Behave:
    """Write these bytes, then close the connection."""

    async def behave(writer: asyncio.StreamWriter) -> None:
        writer.write(raw)
        await writer.drain()
        writer.close()

    return behave


async def hang(writer: asyncio.StreamWriter) -> None:
    """Never answer."""
    await asyncio.sleep(3600)
