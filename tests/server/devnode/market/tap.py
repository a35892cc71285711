"""A websocket client that sorts what comes by channel."""

import asyncio
from typing import Any

from tests.server.devnode.client import Client


class Tap:
    """Everything that comes over a connection, by channel."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.frames: list[Any] = []

    async def subscribe(self, type: str, **fields: Any) -> Any:
        """The acknowledgement, which is the next that is neither data nor late."""
        await self.client.send({"method": "subscribe", "subscription": {"type": type, **fields}})
        while (frame := await self.client.receive())["channel"] not in ("subscriptionResponse", "error"):
            self.frames.append(frame)
        return frame["data"]

    async def drain(self) -> None:
        try:
            while True:
                async with asyncio.timeout(0.01):
                    self.frames.append(await self.client.receive())
        except TimeoutError:
            pass

    def of(self, channel: str) -> list[Any]:
        return [frame["data"] for frame in self.frames if frame["channel"] == channel]
