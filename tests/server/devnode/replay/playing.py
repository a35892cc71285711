"""A replay at play, and clients that note what comes."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import websockets

from server.devnode import Replay
from tests.server.devnode.replay.tapes import header, save


@contextlib.asynccontextmanager
async def replaying(
    folder: Path, *lines: dict[str, Any], began: float | None = 0, **options: Any
) -> AsyncIterator[Replay]:
    """A replay of these lines; `began` is when they were recorded, in seconds since 1970."""
    path = save(folder, header() | {"wall": began}, *lines)
    replay = Replay(path, clock=lambda: 1.0, **{"say": lambda text: None, **options})
    await replay.start()
    try:
        yield replay
    finally:
        await replay.stop()


class Client:
    """Notes what comes, and when, in seconds since it connected."""

    def __init__(self, connection: websockets.ClientConnection) -> None:
        self.connection = connection
        self.began = asyncio.get_running_loop().time()
        self.came: list[tuple[float, bytes]] = []
        self.over: tuple[float, int] | None = None
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while True:
                frame = await self.connection.recv(decode=False)
                self.came.append((round(loop.time() - self.began, 6), bytes(frame)))
        except websockets.ConnectionClosed:
            self.over = (round(loop.time() - self.began, 6), self.connection.close_code or 0)

    async def say(self, *messages: object) -> None:
        for message in messages:
            await self.connection.send(message if isinstance(message, str) else json.dumps(message))
        await asyncio.sleep(0)

    @property
    def pushes(self) -> list[tuple[float, str]]:
        """Without acknowledgements."""
        told = [(at, frame.decode()) for at, frame in self.came]
        return [(at, frame) for at, frame in told if "subscriptionResponse" not in frame]

    async def until(self, seconds: float) -> None:
        await asyncio.sleep(self.began + seconds - asyncio.get_running_loop().time())

    async def close(self) -> None:
        await self.connection.close()
        await asyncio.wait([self._reading])


@contextlib.asynccontextmanager
async def connected(replay: Replay, *said: object) -> AsyncIterator[Client]:
    connection = await websockets.connect(
        f"ws://127.0.0.1:{replay.port}/ws", proxy=None, compression=None, ping_interval=None, max_size=None
    )
    client = Client(connection)
    try:
        await client.say(*said)
        yield client
    finally:
        await client.close()
