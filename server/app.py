"""The composition root: builds the replica and the server from the settings, and runs them.

The only file that knows everyone, and the only one that reads the clocks and seeds randomness.
"""

import asyncio
import contextlib
import ctypes
import gc
import logging
import math
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import replace
from importlib.metadata import version
from random import Random
from typing import NamedTuple

import aiohttp
import uvicorn
from starlette.applications import Starlette

from replica import (
    Bounds,
    Clock,
    DocumentLimits,
    FeedSettings,
    KeepSettings,
    LedgerLimits,
    LiveBounds,
    MirrorSettings,
    Recorder,
    Replica,
    ReplicaSettings,
    Tap,
)
from server.accounts import AccountsSettings
from server.batch import BatchSettings
from server.capabilities import Row, table
from server.devnode import Devnode, Limits
from server.documents import DocumentsSettings
from server.exchange import Exchange, ExchangePolicy
from server.fastpath import fast_protocol
from server.freshness import Floors
from server.health import routes
from server.http import Front
from server.info import Info, InfoSettings
from server.openapi import describe
from server.queries.batches import BatchLimits
from server.recording import open_recorder, record, summary
from server.settings import Settings, SettingsError, mask_url
from server.ws.client import ClientLimits
from server.ws.connection import websocket_protocol
from server.ws.endpoint import Endpoint, EndpointSettings
from server.ws.hub import HubLimits
from server.ws.outbox import OutboxLimits
from server.ws.posts import Posts

logger = logging.getLogger(__name__)

BACKLOG = 2048


class Program:
    """Replica and front together. `start`, serve `front`, `stop`.

    `base_url` is the upstream; `connector` only for tests on virtual time.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        base_url: str,
        follow: tuple[str, ...],
        clock: Clock,
        random: Random,
        connector: Callable[[int, float], aiohttp.BaseConnector] | None = None,
        tap: Tap | None = None,
    ) -> None:
        self.replica = Replica(
            replica_settings(settings, base_url, follow),
            clock=clock,
            random=random,
            connector=connector,
            tap=tap,
        )
        # Nothing served is older than this: a longer memory of writes would hold nobody to anything.
        frozen_s = settings.frozen_after_s or math.inf
        told = info_settings(settings)
        oldest_s = max(
            settings.stale_if_error_s,
            settings.account_ttl_s,
            settings.account_live_s,
            frozen_s,
            settings.error_ttl_s,
            *(row.ttl_s for row in told.rows.values() if row.of_accounts),
        )
        floors = Floors(keep_s=oldest_s + settings.batch_deadline_s + 1.0)
        self.info = Info(self.replica, floors, told)
        self.exchange = Exchange(self.replica, floors, self.info.documents, exchange_policy(settings))
        self.endpoint = Endpoint(
            self.replica.mirror,
            Posts(self.info, self.exchange),
            endpoint_settings(settings),
            knows=self.replica.knows,
            refresh_universe=self.replica.refresh_universe,
            monotonic=clock.monotonic,
            # Names this run: numbers of another one mean nothing here.
            epoch=f"{random.getrandbits(64):016x}",
        )
        self.replica.mirror.listener = self.endpoint.hub
        described = describe(told.rows, self.info.denied, told.batch.limits, version=version("hl-replica"))
        self.front = Front(
            self.info,
            self.exchange,
            Starlette(routes=routes(self.replica, self.endpoint, self.info, self.exchange, described)),
            max_body_bytes=settings.max_body_bytes,
        )

    async def start(self) -> None:
        await self.replica.start()
        await self.endpoint.start()

    async def stop(self) -> None:
        """After the last request is answered: end what is under way upstream, close the feed."""
        await self.endpoint.stop()
        await self.info.close()
        await self.replica.stop()


# -- settings, room by room ----------------------------------------------------------------------------


def replica_settings(settings: Settings, base_url: str, follow: tuple[str, ...]) -> ReplicaSettings:
    s = settings
    return ReplicaSettings(
        base_url=base_url,
        follow=follow,
        bounds=Bounds(
            live_s=s.account_live_s,
            ttl_s=s.account_ttl_s,
            frozen_after_s=s.frozen_after_s,
            cached_states=s.cache_max_states,
        ),
        feed=FeedSettings(
            ping_interval_s=s.ping_interval_s,
            pong_timeout_s=s.pong_timeout_s,
            silent_after_s=s.silent_after_s,
            healthy_after_s=s.healthy_after_s,
            messages_per_minute=s.upstream_messages_per_minute,
            connections=s.upstream_connections,
            connections_per_minute=s.upstream_connections_per_minute,
            empty_for_s=s.feed_empty_s,
            max_frame_bytes=s.feed_max_frame_bytes,
        ),
        ledger=LedgerLimits(
            users=s.upstream_users,
            subscriptions=s.upstream_subscriptions,
            answer_within_s=s.subscribe_timeout_s,
        ),
        mirror=MirrorSettings(
            linger_s=s.stream_linger_s,
            keep_rows=s.stream_rows,
            waiting_rows=s.heal_rows,
            heal_within_s=s.heal_within_s,
            heal_pages=s.heal_requests,
            healings=s.heal_concurrency,
        ),
        universe_refresh_s=s.universe_refresh_s,
        reconnect_min_s=s.reconnect_min_s,
        reconnect_max_s=s.reconnect_max_s,
        weight_per_minute=s.upstream_weight_per_minute,
        write_reserve_weight=s.write_reserve_weight,
        connect_timeout_s=s.connect_timeout_s,
        read_timeout_s=s.read_timeout_s,
        write_timeout_s=s.write_timeout_s,
        budget_wait_s=s.budget_wait_s,
        read_connections=s.read_connections,
        write_connections=s.write_connections,
        documents=DocumentLimits(count=s.documents_max, size=s.documents_max_bytes),
        error_ttl_s=s.error_ttl_s,
        keep=KeepSettings(
            account=s.keep_account_streams, market=s.keep_market_streams, most=s.keep_subscriptions
        ),
        live=LiveBounds(account_s=s.account_live_s, market_s=s.market_live_s, contexts_s=s.contexts_live_s),
    )


def info_settings(settings: Settings) -> InfoSettings:
    return InfoSettings(
        accounts=AccountsSettings(
            stale_if_error_s=settings.stale_if_error_s, not_before_wait_s=settings.not_before_wait_s
        ),
        batch=BatchSettings(
            limits=BatchLimits(
                max_users=settings.batch_max_users,
                max_users_all_dexes=settings.batch_max_users_all_dexes,
            ),
            max_dexes=settings.max_dexes,
            deadline_s=settings.batch_deadline_s,
            concurrency=settings.batch_concurrency,
            perp_dexs_ttl_s=settings.perp_dexs_ttl_s,
            official=settings.batch_official,
        ),
        documents=DocumentsSettings(
            stale_if_error_s=settings.stale_if_error_s, mainnet=settings.network == "mainnet"
        ),
        rows=_rows(settings),
        denied_types=frozenset(settings.denied_types),
    )


def _rows(settings: Settings) -> Mapping[str, Row]:
    try:
        return table(settings.ttls())
    except ValueError as error:
        raise SettingsError(f"ttl_s: {error}") from None


def exchange_policy(settings: Settings) -> ExchangePolicy:
    return ExchangePolicy(
        read_only=settings.read_only,
        allowed_actions=frozenset(settings.allowed_actions),
        kill_switch_file=settings.kill_switch_file,
        write_floor_margin_ms=settings.write_floor_margin_ms,
    )


def endpoint_settings(settings: Settings) -> EndpointSettings:
    s = settings
    return EndpointSettings(
        hub=HubLimits(
            subscriptions=s.ws_subscriptions,
            ack_wait_s=s.ws_ack_wait_s,
            resume_s=s.ws_resume_s,
            resume_messages=s.ws_resume_messages,
            resume_bytes=s.ws_resume_bytes,
        ),
        client=ClientLimits(
            messages_per_minute=s.ws_messages_per_minute,
            posts=s.ws_posts,
            new_subscriptions=s.ws_subscriptions,
            new_per_minute=s.ws_new_subscriptions_per_minute,
        ),
        outbox=OutboxLimits(messages=s.ws_outbox_messages, size=s.ws_outbox_bytes, behind_s=s.ws_behind_s),
        connections=s.ws_connections,
        connections_per_address=s.ws_connections_per_address,
        max_frame_bytes=s.ws_max_frame_bytes,
        write_buffer_bytes=s.ws_write_buffer_bytes,
        idle_s=s.ws_idle_s,
        close_s=s.ws_close_s,
    )


def without_upstream_limits(settings: Settings) -> Settings:
    """For the embedded exchange, which enforces none unless it is told to."""
    return settings.model_copy(
        update={
            "upstream_users": 0,
            "upstream_subscriptions": 0,
            "upstream_messages_per_minute": 0,
            "upstream_connections": 0,
            "upstream_connections_per_minute": 0,
            "upstream_weight_per_minute": 0,
        }
    )


# -- running -------------------------------------------------------------------------------------------


class Server(uvicorn.Server):
    """uvicorn, whose stop is ours: SIGTERM and SIGINT end it with exit code 0, not by the signal again."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        signals = (signal.SIGTERM, signal.SIGINT)
        for number in signals:
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number in signals:
                loop.remove_signal_handler(number)


def http_server(program: Program, settings: Settings) -> Server:
    """uvicorn with its C parser and our websockets, and none of the per-request extras nobody asked for."""
    return Server(
        uvicorn.Config(
            program.front,
            http=fast_protocol(program.info, program.exchange, max_body_bytes=settings.max_body_bytes),
            ws=websocket_protocol(program.endpoint),
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            backlog=BACKLOG,
            # Clients poll every few seconds: closing between two polls would cost them a handshake each.
            timeout_keep_alive=75,
            timeout_graceful_shutdown=max(1, round(settings.shutdown_grace_s)),
        )
    )


def tune_process() -> None:
    """Settings of the interpreter and the allocator that megabyte answers and 100,000 states ask for."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            libc = ctypes.CDLL(None)
            # A body above glibc's mmap threshold (128 kB) would be mapped, page-faulted and unmapped for
            # every answer. M_MMAP_THRESHOLD = -3, M_TRIM_THRESHOLD = -1 (malloc.h).
            libc.mallopt(-3, 1 << 30)
            libc.mallopt(-1, 512 << 20)
    # What start-up made stays; and the states come and go by reference count alone, so that looking
    # through all of them for cycles again and again would find nothing.
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 50, 100)


def listen(host: str, port: int) -> socket.socket:
    """Bind before anything is started, so that a port in use is found out first. Raises OSError."""
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError:
        listener.close()
        raise
    return listener


def url_of(listener: socket.socket) -> str:
    """Where it listens, as a client writes it."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if listener.family == socket.AF_INET6 else f"http://{host}:{port}"


# Not the loop's own time: uvloop's stands still within an iteration, and reads after writes are told apart by
# less than that.
CLOCK = Clock(monotonic=time.monotonic, wall=time.time)


class Upstream(NamedTuple):
    """Where answers come from, and the settings as they are for it. `devnode`: the embedded one."""

    settings: Settings
    base_url: str
    follow: tuple[str, ...]
    devnode: Devnode | None


@contextlib.asynccontextmanager
async def upstream_of(settings: Settings) -> AsyncIterator[Upstream]:
    """The upstream that the settings name; for network dev it is started here, and stopped at the end."""
    follow = settings.tracked_addresses()
    if settings.network != "dev":
        assert settings.upstream_url is not None, "every network but dev has an upstream"
        yield Upstream(settings, settings.upstream_url, follow, None)
        return
    devnode = Devnode(
        accounts=settings.dev_accounts,
        seed=settings.dev_seed,
        limits=Limits() if settings.dev_limits else Limits.off(),
    )
    try:
        base_url = f"http://127.0.0.1:{await devnode.start()}"
        if not settings.dev_limits:
            settings = without_upstream_limits(settings)
        yield Upstream(settings, base_url, (*follow, *devnode.addresses), devnode)
    finally:
        await devnode.stop()


@contextlib.contextmanager
def recording(settings: Settings, base_url: str) -> Iterator[Recorder | None]:
    """The recorder that the settings ask for. Finished last: what ends before is still recorded."""
    recorder = open_recorder(settings, base_url, CLOCK)
    try:
        yield recorder
    finally:
        if recorder is not None:
            recorder.close()
            print(summary(recorder), flush=True)


async def serve(settings: Settings, listener: socket.socket) -> None:
    """Run until SIGTERM or SIGINT: stop accepting, finish what is in flight, close the feed."""
    try:
        async with upstream_of(settings) as upstream:
            settings = upstream.settings
            with recording(settings, upstream.base_url) as recorder:
                program = Program(
                    settings,
                    base_url=upstream.base_url,
                    follow=upstream.follow,
                    clock=CLOCK,
                    random=Random(),
                    tap=recorder,
                )
                try:
                    await program.start()
                    # Whoever reads the line below may connect: from here on the kernel takes them in.
                    listener.listen(BACKLOG)
                    _say_hello(url_of(listener), upstream.base_url, program.replica, upstream.devnode)
                    tune_process()
                    await http_server(program, settings).serve(sockets=[listener])
                finally:
                    await program.stop()
    finally:
        listener.close()
    logger.info("stopped")


async def serve_nobody(settings: Settings, for_s: float | None) -> None:
    """Record until SIGTERM or SIGINT, or for this many seconds."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with upstream_of(settings) as upstream:
        if not upstream.follow:
            raise SettingsError("nothing to record: name accounts with --track")
        with recording(upstream.settings, upstream.base_url) as recorder:
            replica = Replica(
                # A recording is of the account states, and nobody reads meanwhile.
                replace(
                    replica_settings(upstream.settings, upstream.base_url, upstream.follow),
                    keep=KeepSettings(account=(), market=()),
                ),
                clock=CLOCK,
                random=Random(),
                tap=recorder,
            )
            waiting = len(replica.plan.waiting)
            over = f", {waiting} more are over the upstream's user limit" if waiting else ""
            shown = "the embedded devnode" if upstream.devnode is not None else mask_url(upstream.base_url)
            print(
                f"recording {len(replica.plan.live)} accounts of {shown} into {settings.record_dir}{over}",
                flush=True,
            )
            await record(replica, stop, for_s=for_s)


def _say_hello(url: str, base_url: str, replica: Replica, devnode: Devnode | None) -> None:
    plan = replica.plan
    upstream = "the embedded devnode" if devnode is not None else mask_url(base_url)
    print(f"hl-replica listens on {url}, upstream is {upstream}, {len(plan.live)} accounts followed live")
    if plan.waiting:
        print(
            f"  {len(plan.waiting)} tracked accounts are over the upstream's user limit: fetched when asked"
        )
    if devnode is not None:
        users = ",".join(f'"{user}"' for user in devnode.addresses[:2])
        print("Try:")
        print(f"  curl -s {url}/ready")
        print(
            f"  curl -si {url}/info -H 'Content-Type: application/json' "
            f'-d \'{{"type":"batchClearinghouseStates","users":[{users}]}}\''
        )
    sys.stdout.flush()


def run(settings: Settings) -> int:
    """Serve until told to stop and return the exit code, 0. Raises OSError where it can't listen."""
    _log(settings)
    listener = listen(settings.host, settings.port)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(serve(settings, listener))
    return 0


def run_recorder(settings: Settings, for_s: float | None) -> int:
    """Record until told to stop, or for this many seconds, and return the exit code, 0."""
    _log(settings)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(serve_nobody(settings, for_s))
    return 0


def _log(settings: Settings) -> None:
    logging.basicConfig(
        level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    for chatty in ("websockets", "uvicorn"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop
