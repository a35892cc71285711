"""What looks after all websocket clients together."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from server.ws.endpoint import TICK_S, Endpoint, EndpointSettings
from server.ws.posts import Posts
from tests.server.ws.fakes import FakeMirror


class Visitor:
    """A connection that counts how often it is looked at, and may take it badly."""

    subscriptions = 0

    def __init__(self, address: str, *, breaks: bool = False) -> None:
        self.address = address
        self.looked_at = 0
        self._breaks = breaks

    def tick(self, now: float) -> None:
        self.looked_at += 1
        if self._breaks:
            raise RuntimeError("a fault of ours")


@contextlib.asynccontextmanager
async def endpoint(settings: EndpointSettings) -> AsyncIterator[Endpoint]:
    nobody: Any = None
    one = Endpoint(
        FakeMirror(),
        Posts(nobody, nobody),
        settings,
        knows=lambda subscription: True,
        refresh_universe=lambda: asyncio.sleep(0),
        monotonic=asyncio.get_running_loop().time,
        epoch="run",
    )
    await one.start()
    try:
        yield one
    finally:
        await one.stop()


async def test_a_connection_that_breaks_keeps_nobody_from_being_looked_after() -> None:
    async with endpoint(EndpointSettings()) as one:
        broken, sound = Visitor("10.0.0.1", breaks=True), Visitor("10.0.0.2")
        one.join(broken)
        one.join(sound)
        await asyncio.sleep(3.5 * TICK_S)
        assert (broken.looked_at, sound.looked_at) == (3, 3)


async def test_room_is_counted_in_all_and_by_address() -> None:
    async with endpoint(EndpointSettings(connections=3, connections_per_address=2)) as one:
        visitors = [Visitor("10.0.0.1"), Visitor("10.0.0.1"), Visitor("10.0.0.2")]
        for visitor in visitors[:2]:
            assert one.refusal(visitor.address) is None
            one.join(visitor)
        assert one.refusal("10.0.0.1") == (429, "no more than 2 connections from one address")
        one.join(visitors[2])
        assert one.refusal("10.0.0.3") == (503, "no room for more than 3 connections")
        one.leave(visitors[0])
        assert one.refusal("10.0.0.1") is None
        assert one.report()["refused"] == 2
