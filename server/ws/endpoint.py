"""`/ws` as a whole: who is connected, how many may be, and the clock that looks after them."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

from replica import Subscription
from server.ws.client import ClientLimits
from server.ws.hub import Hub, HubLimits, Source
from server.ws.outbox import OutboxLimits
from server.ws.posts import Posts

logger = logging.getLogger(__name__)

TICK_S = 1.0
"""How late a time limit may be kept. One timer for all: a timer for each client would cost more than it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointSettings:
    """Seconds, bytes; `connections_per_address` 0 for no limit."""

    hub: HubLimits = field(default_factory=HubLimits)
    client: ClientLimits = field(default_factory=ClientLimits)
    outbox: OutboxLimits = field(default_factory=OutboxLimits)
    connections: int = 10_000
    connections_per_address: int = 0
    max_frame_bytes: int = 1 << 20
    write_buffer_bytes: int = 256 << 10
    idle_s: float = 60.0
    close_s: float = 5.0


@dataclass(slots=True)
class Counts:
    """Since the start. `slow`, `floods`, `idle` and `lost` (no sign of life) are closed connections."""

    opened: int = 0
    refused: int = 0
    messages: int = 0
    posts: int = 0
    slow: int = 0
    floods: int = 0
    idle: int = 0
    lost: int = 0


class Client(Protocol):
    """One connection whose handshake is done, as far as the endpoint looks at it."""

    address: str

    @property
    def subscriptions(self) -> int: ...

    def tick(self, now: float) -> None:
        """Look whether it is still worth keeping."""


class Endpoint:
    """`start`, serve its connections, `stop`.

    `refresh_universe` reads again which coins and dexes there are; it may fail or do nothing, `knows` tells.
    """

    def __init__(
        self,
        source: Source,
        posts: Posts,
        settings: EndpointSettings,
        *,
        knows: Callable[[Subscription], bool | None],
        refresh_universe: Callable[[], Awaitable[None]],
        monotonic: Callable[[], float],
        epoch: str,
    ) -> None:
        self.settings = settings
        self.posts = posts
        self.monotonic = monotonic
        self.hub = Hub(source, knows, settings.hub, epoch=epoch)
        self.counts = Counts()
        self._refresh_universe = refresh_universe
        self._connections: dict[Client, None] = {}
        self._per_address: dict[str, int] = {}
        self._ticking: asyncio.Task[None] | None = None
        self._looking: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._ticking = asyncio.create_task(self._tick(), name="websocket clients")

    async def stop(self) -> None:
        """After the connections are closed."""
        for task in (self._ticking, self._looking):
            if task is not None:
                task.cancel()
                await asyncio.wait([task])

    # -- connections -----------------------------------------------------------------------------------

    def refusal(self, address: str) -> tuple[int, str] | None:
        """Status and text for one connection too many, before its handshake."""
        settings = self.settings
        most = settings.connections_per_address
        if len(self._connections) >= settings.connections:
            refused = 503, f"no room for more than {settings.connections} connections"
        elif most and self._per_address.get(address, 0) >= most:
            refused = 429, f"no more than {most} connections from one address"
        else:
            return None
        self.counts.refused += 1
        return refused

    def join(self, connection: Client) -> None:
        self.counts.opened += 1
        self._connections[connection] = None
        address = connection.address
        self._per_address[address] = self._per_address.get(address, 0) + 1

    def leave(self, connection: Client) -> None:
        del self._connections[connection]
        address = connection.address
        self._per_address[address] -= 1
        if not self._per_address[address]:
            del self._per_address[address]

    def __len__(self) -> int:
        return len(self._connections)

    # -- time ------------------------------------------------------------------------------------------

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            now = self.monotonic()
            ticks = [self.hub.tick, *(connection.tick for connection in self._connections)]
            for tick in ticks:
                try:
                    tick(now)
                except Exception:
                    # Of that one alone: the others are looked after all the same.
                    logger.exception("error while looking after websocket clients")

    # -- names that we don't know ----------------------------------------------------------------------

    def look_at_universe(self) -> None:
        """Have it read again if somebody waits for a coin or a dex that is not known."""
        if self.hub.unchecked and self._looking is None:
            self._looking = asyncio.create_task(self._look(), name="unknown coins")
            self._looking.add_done_callback(self._looked)

    async def _look(self) -> None:
        while self.hub.unchecked:
            await self._refresh_universe()
            self.hub.judge()
            if self.hub.unchecked:
                # The upstream can't say what coins there are. It will.
                await asyncio.sleep(TICK_S)

    def _looked(self, task: asyncio.Task[None]) -> None:
        self._looking = None
        if not task.cancelled() and task.exception() is not None:
            logger.error("error while reading the universe", exc_info=task.exception())

    # -- what /ready says of it ------------------------------------------------------------------------

    def report(self) -> dict[str, object]:
        counts, hub = self.counts, self.hub
        return {
            "connected": len(self),
            "subscriptions": sum(connection.subscriptions for connection in self._connections),
            "shared": len(hub),
            "opened": counts.opened,
            "refused": counts.refused,
            "messages": counts.messages,
            "posts": counts.posts,
            "frames_published": hub.counts.published,
            "frames_sent": hub.counts.sent,
            "subscriptions_refused": hub.counts.refused,
            "gaps": hub.counts.gaps,
            "resumed": hub.counts.resumed,
            "closed_slow": counts.slow,
            "closed_flooding": counts.floods,
            "closed_idle": counts.idle,
            "closed_lost": counts.lost,
        }

    def __repr__(self) -> str:
        return f"<Endpoint {len(self)} clients {self.hub!r}>"
