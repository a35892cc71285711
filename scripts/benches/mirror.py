"""The websocket mirror: fan-out, latency, joins and memory, against a bare relay written with `websockets`.

Ours is `hl-replica serve` as a user runs it; the other side is `ws_bare`. Both get the same frames of 2 kB
from the same kind of upstream, serve the same clients (`ws_clients`) and have a core to themselves, the other
core being the upstream's and the clients'. Not measured: TLS, slow clients, frames of other sizes.
"""

import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from statistics import quantiles

import orjson

from scripts.benches.market_upstream import FRAME_BYTES, coin
from scripts.benches.ours import environment
from scripts.benches.plan import Plan
from scripts.benches.processes import BenchError, Child, child, cpu_s, module, placed, rss_bytes
from scripts.benches.table import Row
from scripts.benches.ws_clients import ACK, masked

TARGETS = {
    "fan-out-200": 0.9,
    "fan-out-1000": 0.9,
    "paced-200": 0.9,
    "paced-1000": 0.9,
    "relay-p50": 3.0,
    "relay-p99": 3.0,
    "join": 5.0,
    "client-memory": 64.0,
}
SERVER_CORE, REST_CORE = 0, 1
PACED_PER_S = 100_000
"""Messages to all clients together where a frame comes so often: well below what either side can do."""
RELAY_CLIENTS = 100
RELAY_EVERY_MS = 10.0
HELD = 1000
"""Subscriptions held while clients join."""
IDLE_CLIENTS = 500
IDLE_SUBSCRIPTIONS = 10

SETTINGS = """\
host = "127.0.0.1"
port = 0
upstream = "http://127.0.0.1:{upstream}"
log_level = "warning"
upstream_messages_per_minute = 0
upstream_connections_per_minute = 0
upstream_subscriptions = 0
upstream_weight_per_minute = 0
ws_messages_per_minute = 0
keep_market_streams = []
"""


@dataclass(frozen=True)
class Site:
    """A serving process and its port."""

    process: Child
    port: int


def run(plan: Plan) -> Iterator[Row]:
    chosen = plan.chosen(TARGETS)
    for count in (200, 1000):
        if f"fan-out-{count}" in chosen:
            yield _fan_out(plan, count, every_ms=None)
        if f"paced-{count}" in chosen:
            yield _fan_out(plan, count, every_ms=1000 * count / PACED_PER_S)
    if {"relay-p50", "relay-p99"} & set(chosen):
        yield from (row for row in _relay(plan) if row.name in chosen)
    if "join" in chosen:
        yield _join(plan)
    if "client-memory" in chosen:
        yield _memory(plan)


# -- rows ----------------------------------------------------------------------------------------------


def _fan_out(plan: Plan, count: int, *, every_ms: float | None) -> Row:
    """At full load, where frames pile up and share writes; or a frame so often, where each is a write."""
    how = "at full load" if every_ms is None else f"a frame each {every_ms:g} ms"
    row = Row(
        name=f"fan-out-{count}" if every_ms is None else f"paced-{count}",
        what=f"ws fan-out of a 2 kB channel to {count:,} clients, {how}, messages per CPU second",
        other_is="bare websockets.broadcast",
        unit="/s",
        target=0.9,
    )
    flags = ("--flood",) if every_ms is None else ("--every-ms", every_ms)
    by_clock = []
    for _ in range(plan.rounds):
        with _upstream(plan, *flags) as source, _ours(plan, source.port) as site:
            ours, ours_by_clock = _delivered(plan, source, site, count)
        with _upstream(plan, *flags) as source, _bare(plan, source.port) as site:
            other, other_by_clock = _delivered(plan, source, site, count)
        row.add(ours, other, ours / other)
        by_clock.append(f"{ours_by_clock:,.0f} against {other_by_clock:,.0f}")
    row.notes.append(f"messages per second by the clock, round by round: {'; '.join(by_clock)}")
    return row


def _delivered(plan: Plan, source: Site, site: Site, count: int) -> tuple[float, float]:
    """Messages that reached the clients per CPU second of the server, and per second."""
    with _clients(plan, site, count) as clients:
        os.kill(source.process.pid, signal.SIGUSR1)
        time.sleep(1.0)
        before_s, before = _counted(clients, time.monotonic())
        cpu = cpu_s(site.process.pid)
        after_s, after = _counted(clients, before_s + plan.seconds)
        cpu = cpu_s(site.process.pid) - cpu
    messages = (after - before) / FRAME_BYTES
    if not messages or not cpu:
        raise BenchError("nothing was delivered")
    return messages / cpu, messages / (after_s - before_s)


def _relay(plan: Plan) -> tuple[Row, Row]:
    rows = tuple(
        Row(
            name=f"relay-{part}",
            what=f"ws latency added at {part}, {RELAY_CLIENTS} clients, a frame each {RELAY_EVERY_MS:g} ms",
            other_is="bare relay",
            unit="us",
            target=3.0,
            bound="<=",
        )
        for part in ("p50", "p99")
    )
    every = ("--every-ms", RELAY_EVERY_MS)
    direct = []
    for _ in range(plan.rounds):
        with _upstream(plan, *every) as source:
            # What a frame takes without anybody between: it is part of both sides.
            base = _ages(plan, source.port, 1)
            direct.append(base[0])
            with _ours(plan, source.port) as site:
                ours = _ages(plan, site.port, RELAY_CLIENTS)
            with _bare(plan, source.port) as site:
                other = _ages(plan, site.port, RELAY_CLIENTS)
        for row, mine, theirs in zip(rows, ours, other, strict=True):
            added, added_there = mine - base[0], theirs - base[0]
            if added_there <= 0:
                raise BenchError("the bare relay was faster than no relay: the machine is too noisy")
            row.add(added, added_there, added / added_there)
    rows[0].notes.append(f"taken off both: {', '.join(f'{us:.0f}' for us in direct)} us without a relay")
    return rows[0], rows[1]


def _ages(plan: Plan, port: int, count: int) -> tuple[float, float]:
    """How old frames are on arrival, p50 and p99, in us."""
    with _clients_of(plan, port, count, "--latency", "--seconds", plan.seconds) as clients:
        seen = clients.wait_for(r"^latency (\S+) (\S+)", within_s=30 + plan.seconds)
        return float(seen[1]), float(seen[2])


def _join(plan: Plan) -> Row:
    row = Row(
        name="join",
        what=f"ws join of a warm channel: ack and snapshot, {HELD:,} subscriptions held, p99",
        other_is="ping to pong of the same server, p99",
        unit="ms",
        target=5.0,
        bound="<=",
        absolute=True,
    )
    with (
        _upstream(plan) as source,
        _ours(plan, source.port) as site,
        _clients(plan, site, 1, "--subscriptions", HELD),
    ):
        for _ in range(plan.rounds):
            with Joiner(site.port) as joiner:
                joins = [joiner.join(coin(n % HELD)) for n in range(plan.requests)]
                pings = [joiner.ping() for _ in range(plan.requests)]
            ours, other = quantiles(joins, n=100)[98], quantiles(pings, n=100)[98]
            row.add(ours * 1e3, other * 1e3, ours / other)
            row.notes.append(f"p50 {quantiles(joins, n=100)[49] * 1e3:.3f} ms")
    return row


def _memory(plan: Plan) -> Row:
    row = Row(
        name="client-memory",
        what=f"ws memory per idle client with {IDLE_SUBSCRIPTIONS} subscriptions",
        other_is="bare websockets server, no subscriptions held",
        unit="kB",
        target=64.0,
        bound="<=",
        absolute=True,
    )
    for _ in range(plan.rounds):
        with _upstream(plan) as source, _ours(plan, source.port) as site:
            ours = _per_client(plan, site)
        with _upstream(plan) as source, _bare(plan, source.port) as site:
            other = _per_client(plan, site)
        row.add(ours / 1e3, other / 1e3, ours / other)
    return row


def _per_client(plan: Plan, site: Site) -> float:
    """Bytes of resident memory that each of `IDLE_CLIENTS` costs, once a first hundred have been."""
    subscriptions = ("--subscriptions", IDLE_SUBSCRIPTIONS)
    with _clients(plan, site, 100, *subscriptions):
        before = rss_bytes(site.process.pid)
        with _clients(plan, site, IDLE_CLIENTS, *subscriptions):
            return (rss_bytes(site.process.pid) - before) / IDLE_CLIENTS


# -- processes -----------------------------------------------------------------------------------------


@contextmanager
def _upstream(plan: Plan, *flags: object) -> Iterator[Site]:
    argv = module("market_upstream", *flags)
    upstream = child("upstream", argv, plan.folder, ready=r"^ready (\d+)")
    with upstream as process, placed({process.pid: REST_CORE}):
        yield Site(process, int(process.said[1]))


@contextmanager
def _ours(plan: Plan, upstream: int) -> Iterator[Site]:
    config = plan.folder / f"mirror-{upstream}.toml"
    config.write_text(SETTINGS.format(upstream=upstream), "utf-8")
    argv = [sys.executable, "-P", "-m", "server", "serve", "--config", str(config)]
    listens = r"listens on http://[^:]+:(\d+)"
    server = child("server", argv, plan.folder, ready=listens, environment=environment())
    with server as process, placed({process.pid: SERVER_CORE}):
        yield Site(process, int(process.said[1]))


@contextmanager
def _bare(plan: Plan, upstream: int) -> Iterator[Site]:
    argv = module("ws_bare", upstream)
    bare = child("bare", argv, plan.folder, ready=r"^ready (\d+)")
    with bare as process, placed({process.pid: SERVER_CORE}):
        yield Site(process, int(process.said[1]))


def _clients(plan: Plan, site: Site, count: int, *flags: object) -> AbstractContextManager[Child]:
    return _clients_of(plan, site.port, count, *flags)


@contextmanager
def _clients_of(plan: Plan, port: int, count: int, *flags: object) -> Iterator[Child]:
    argv = module("ws_clients", port, "--clients", count, *flags)
    with child("clients", argv, plan.folder) as process, placed({process.pid: REST_CORE}):
        process.wait_for(r"^ready", within_s=60)
        yield process


def _counted(clients: Child, not_before: float) -> tuple[float, float]:
    """The first count that the clients tell of a moment not before this one: (when, bytes)."""
    while True:
        seen = clients.wait_for(r"^at (\S+) (\d+)", within_s=30)
        if float(seen[1]) >= not_before:
            return float(seen[1]), float(seen[2])


class Joiner:
    """One blocking socket that joins and leaves warm channels."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.sendall(
            b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n"
        )
        self._until(b"\r\n\r\n")

    def __enter__(self) -> "Joiner":
        return self

    def __exit__(self, *exc: object) -> None:
        self._socket.close()

    def join(self, name: str) -> float:
        """Seconds from asking for a held book to its last byte; then leaves it again."""
        subscription = {"type": "l2Book", "coin": name}
        asked = time.perf_counter()
        self._socket.sendall(masked(orjson.dumps({"method": "subscribe", "subscription": subscription})))
        self._until(ACK, b'"levels"', b"]]}}")
        took = time.perf_counter() - asked
        self._socket.sendall(masked(orjson.dumps({"method": "unsubscribe", "subscription": subscription})))
        self._until(ACK, b"}}")
        return took

    def ping(self) -> float:
        asked = time.perf_counter()
        self._socket.sendall(masked(b'{"method":"ping"}'))
        self._until(b"pong")
        return time.perf_counter() - asked

    def _until(self, *marks: bytes) -> None:
        """Receive until each mark has come, one behind the other."""
        seen = b""
        while True:
            at = 0
            for mark in marks:
                at = seen.find(mark, at)
                if at < 0:
                    break
                at += len(mark)
            else:
                return
            more = self._socket.recv(65536)
            if not more:
                raise BenchError("the server hung up")
            seen += more
