"""Clients for the doors of a devnode, for the tests: raw HTTP, and a websocket that speaks in objects."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import websockets

JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True)
class Reply:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


async def http(
    port: int,
    body: object,
    *,
    path: str = "/info",
    method: str = "POST",
    headers: Mapping[str, str] = JSON,
) -> Reply:
    """One HTTP exchange on a connection of its own. `body`: bytes go as they are, the rest as JSON."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/1.1", "Host: devnode", f"Content-Length: {len(raw)}", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + raw)
        head, _, answer = (await reader.read()).partition(b"\r\n\r\n")
    finally:
        writer.close()
        await writer.wait_closed()
    status, *rest = head.decode().split("\r\n")
    named = (line.split(": ", 1) for line in rest)
    return Reply(int(status.split()[1]), {name.lower(): value for name, value in named}, answer)


class Client:
    """A websocket client that speaks in objects."""

    def __init__(self, connection: websockets.ClientConnection) -> None:
        self.connection = connection

    async def send(self, message: object) -> None:
        await self.connection.send(message if isinstance(message, str) else json.dumps(message))

    async def receive(self) -> Any:
        return json.loads(await self.connection.recv())

    async def ask(self, message: object) -> Any:
        await self.send(message)
        return await self.receive()

    async def subscribe(self, **subscription: object) -> Any:
        return await self.ask({"method": "subscribe", "subscription": subscription})

    async def unsubscribe(self, **subscription: object) -> Any:
        return await self.ask({"method": "unsubscribe", "subscription": subscription})
