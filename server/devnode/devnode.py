"""The devnode as a whole: builds its parts, binds them to a socket, lets time pass, takes them down."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from websockets.exceptions import ProtocolError
from websockets.frames import Close

from server.devnode import controls, faults
from server.devnode.abilities import Source
from server.devnode.app import Api, App
from server.devnode.clock import Clock
from server.devnode.controls import Controls
from server.devnode.dev import Dev
from server.devnode.embedded import EmbeddedServer
from server.devnode.faults import Faults
from server.devnode.feeds import Feeds, Script, States
from server.devnode.limits import Ledger, Limits
from server.devnode.market import Channels, Exchange
from server.devnode.recorded import Recorded
from server.devnode.seen import Seen
from server.devnode.stats import Stats
from server.devnode.stream import Stream, Streams
from server.devnode.subscriptions import Offer
from server.devnode.transport import HttpProtocol, WebSocketProtocol, protocols

VERBS = (
    "drop_sockets", "close_sockets", "say", "abort", "hang_up_idle", "refuse_connections",
    "accept_connections",
)  # fmt: skip
"""What is done to the sockets themselves, also over HTTP."""

REASON_BYTES = 123  # of a control frame's 125, two are the code: RFC 6455, 5.5
_STRETCH_S = 0.002  # so long blocks are made without a look at what else there is to do


class Devnode(Controls):
    """A simulated exchange on a real socket, with controls, and with `faults`.

    `accounts` and `seed` make the local exchange; `recorded` names a folder of recordings to serve in
    its place. `clock` gives the seconds that `time` in a state is made of; cadences follow the event
    loop. Prices move every `tick_s`, accounts are pushed every `push_s` seconds; `cadences` sets the other
    periods by their names in `market.channels.PERIODS`. With `time_ms` the clock begins there; `paused`,
    nothing moves but by the controls: the same requests get the same bytes then. Without `walk` time goes
    on, but oracles and marks stay where they are put.

    Actions are signed for `chain` ("testnet", as the official client signs for any URL but the mainnet's
    own, or "mainnet"); whoever is known may sign for the other one too. Who signs a first action is born
    with `faucet_usd`; 0 leaves that to `fund`. With `impersonation`, `/dev/impersonate` acts for anybody.
    """

    def __init__(
        self,
        *,
        accounts: int = 100,
        seed: int = 1,
        limits: Limits = Limits(),  # noqa: B008 - frozen, and the default is part of the interface
        recorded: Path | None = None,
        clock: Callable[[], float] = time.time,
        tick_s: float = 1.0,
        push_s: float = 5.0,
        time_ms: int | None = None,
        paused: bool = False,
        walk: bool = True,
        chain: str = "testnet",
        faucet_usd: float = 10_000,
        impersonation: bool = False,
        cadences: Mapping[str, float] | None = None,
    ) -> None:
        self.stats = Stats()
        self.seen = Seen()
        self.limits = limits
        told = Clock(clock, start_ms=time_ms)
        if paused:
            told.pause()  # before anything is dated by it
        source: Source
        if recorded is not None:
            source = Recorded(recorded)
        else:
            source = Exchange(
                accounts=accounts,
                seed=seed,
                now_ms=told.now_ms,
                next_ms=told.next_ms,
                wall_ms=lambda: int(clock() * 1000),
                step_ms=max(1, round(tick_s * 1000)),
                walk=walk,
                chain=chain,
                faucet_usd=faucet_usd,
                impersonation=impersonation,
                free_actions=limits.actions_per_account,
            )
        wrong = Faults()
        script: Script = States(source, self.now_ms, push_s)
        offer = Offer(frozenset(source.dexes))
        if isinstance(source, Exchange):
            script = Channels(source, self.now_ms, push_s, cadences or {})
            offer = source.offer
        feeds = Feeds(script, self.stats, wrong)
        if isinstance(source, Exchange):
            source.heard, source.over = feeds.heard, feeds.close_block
        super().__init__(source, told, wrong, feeds, tick_s=tick_s, paused=paused)
        self._tick_s = tick_s
        ledger = Ledger(limits)
        api = Api(source, ledger, self.stats, self.now_ms)
        self._streams = Streams(feeds, ledger, self.stats, offer, api.post, wrong, self.seen)
        self.app = App(api, self._streams, self.stats, wrong, self._dev(), self.seen)
        self._server: EmbeddedServer | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self.port = 0

    @property
    def addresses(self) -> Sequence[str]:
        """The accounts there are; others with another seed."""
        return self.source.addresses

    @property
    def signers(self) -> str:
        """What becomes of signed actions, in a few words."""
        if not isinstance(self.source, Exchange):
            return "every signer is unknown"
        born = self.source.faucet_usd
        return f"signed for {self.source.chain}, " + (
            f"new signers are born with {born:g} USDC" if born else "signers need funds: /dev/fund"
        )

    def __repr__(self) -> str:
        where = f"port {self.port}" if self._server else "stopped"
        return f"<Devnode {where}, {self.source!r}>"

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> int:
        """Bind and serve. Returns the port. Raises `OSError` when the address cannot be had."""
        if self._server is not None:
            raise RuntimeError("this devnode is already serving")
        http, ws = protocols(self.faults, self.seen)
        server = EmbeddedServer(self.app, host, port, http=http, ws=ws)
        await server.open()
        self._server = server
        self.port = server.port
        self._tasks = [
            asyncio.create_task(server.main_loop(), name="devnode-server"),
            asyncio.create_task(self._ticking(), name="devnode-ticks"),
        ]
        return self.port

    async def stop(self) -> None:
        """Close the sockets, end the tasks and wait for them. Does nothing when not serving."""
        server, self._server = self._server, None
        if server is None:
            return
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)
        await server.end()

    # -- the sockets -----------------------------------------------------------------------------------

    def drop_sockets(self) -> int:
        """Cut every websocket, without a goodbye. Returns how many there were."""
        sockets = [one for one in self._connections() if isinstance(one, WebSocketProtocol)]
        self.stats.dropped["fault"] += len(sockets)
        return self._cut(sockets)

    def close_sockets(self, code: int = 1000, reason: str = "") -> int:
        """Say goodbye over every websocket, as a server that restarts. Returns how many there were."""
        try:
            Close(code, reason).check()
        except ProtocolError:
            raise ValueError(f"{code} is no code to close with") from None
        if len(reason.encode()) > REASON_BYTES:
            raise ValueError(f"the reason is longer than {REASON_BYTES} bytes")
        return self._to_all(lambda stream: stream.close(code, reason))

    def say(self, frame: str) -> int:
        """Send this over every websocket, whatever it is. Returns how many there are."""
        return self._to_all(lambda stream: stream.put(frame))

    @property
    def sockets(self) -> int:
        """How many websockets are open."""
        return len(self._streams.opened)

    def _to_all(self, do: Callable[[Stream], None]) -> int:
        streams = list(self._streams.opened)
        for stream in streams:
            do(stream)
        return len(streams)

    def abort(self) -> int:
        """Cut every connection there is, but those of the controls."""
        others = [one for one in self._connections() if isinstance(one, HttpProtocol) and not one.controls]
        return self.drop_sockets() + self._cut(others)

    def hang_up_idle(self) -> int:
        """Close the connections on which no request is under way, as any server does after a while."""
        idle = [
            one
            for one in self._connections()
            if isinstance(one, HttpProtocol) and one.idle and not one.controls
        ]
        for connection in idle:
            connection.transport.close()
        return len(idle)

    def refuse_connections(self, seconds: float | None = None) -> None:
        """Nobody listens any more, for so long or until `accept_connections`. What is connected goes on.

        From another process only one that is connected already can end it; the client for the controls is.
        """
        if seconds is not None and not 0 <= seconds < math.inf:
            raise ValueError(f"{seconds} is no number of seconds")
        self._serving().close()
        if seconds is not None:
            self._tasks.append(asyncio.create_task(self._return_after(seconds), name="devnode-return"))

    async def accept_connections(self) -> None:
        """Listen again, on the same port. Raises `OSError` when somebody else has taken it."""
        await self._serving().listen_again(self.port)

    async def _return_after(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        await self.accept_connections()

    def _serving(self) -> EmbeddedServer:
        if self._server is None:
            raise RuntimeError("this devnode is not serving")
        return self._server

    def _connections(self) -> list[Any]:
        return [] if self._server is None else list(self._server.server_state.connections)

    def _cut(self, connections: list[Any]) -> int:
        for connection in connections:
            connection.transport.abort()
        return len(connections)

    def _dev(self) -> Dev:
        long = {
            "step": _unhurried(self.step, self.stepping),
            "advance": _unhurried(self.advance, self.advancing),
        }
        verbs = [long.get(name) or getattr(self, name) for name in (*controls.VERBS, *VERBS)]
        verbs += [getattr(self.faults, name) for name in faults.VERBS]
        looks: dict[str, Callable[[], object]] = {
            "status": self.status,
            "accounts": lambda: list(self.addresses),  # a JSON list that `--track @FILE` reads
            "requests": self.seen.told,
        }
        return Dev(verbs, looks)

    def status(self) -> dict[str, Any]:
        """How it stands: time, faults in force, and what was asked and sent since the start."""
        counted = {field.name: getattr(self.stats, field.name) for field in dataclasses.fields(self.stats)}
        return super().status() | {"stats": counted}

    async def _ticking(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            # Ticks that a busy loop has missed are skipped, not made up for in one stretch.
            due = max(due + self._tick_s, loop.time())
            await asyncio.sleep(due - loop.time())
            if not self.clock.paused:
                self.source.tick()


def _unhurried(control: Callable[..., None], blocks: Callable[..., Iterator[None]]) -> Callable[..., Any]:
    """A control that makes blocks, in short stretches: others are answered in between."""

    @functools.wraps(control)
    async def unhurried(**fields: Any) -> None:
        began = time.perf_counter()
        for _ in blocks(**fields):
            if time.perf_counter() - began > _STRETCH_S:
                await asyncio.sleep(0)
                began = time.perf_counter()

    return unhurried
