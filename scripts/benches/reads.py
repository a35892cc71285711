"""Reads that memory answers from streams, against nginx serving the same bytes; and a burst that asks once.

Measured: 16 keep-alive connections, closed loop, one worker process on each side, while the streams go on
being pushed every 5 s. nginx is asked by GET and reads no body. The burst: 1,000 connections ask the same at
once, of which nothing is held, and the upstream takes half a second: it may be asked once.
Not measured: TLS, networks, answers that have to be asked for.
"""

import asyncio
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median
from typing import NamedTuple

import orjson

from scripts.benches import reads_upstream, states
from scripts.benches.batches import SATURATED, Side
from scripts.benches.load import ask, http_request, wrk
from scripts.benches.nginx import Nginx, nginx
from scripts.benches.ours import environment
from scripts.benches.plan import Plan
from scripts.benches.processes import BenchError, Child, child, module
from scripts.benches.table import Row

BURST = 1000
ANSWERS = {
    "allMids": reads_upstream.mids,
    "metaAndAssetCtxs": reads_upstream.both,
    "openOrders": reads_upstream.open_orders,
    "spotClearinghouseState": reads_upstream.balances,
}
TARGETS = {**dict.fromkeys((f"read-{type_}" for type_ in ANSWERS), 0.6), "burst": 1.0}

SETTINGS = """\
host = "127.0.0.1"
port = 0
upstream = "http://127.0.0.1:{upstream}"
track = ["{user}"]
log_level = "warning"
upstream_users = 0
upstream_subscriptions = 0
upstream_messages_per_minute = 0
upstream_connections_per_minute = 0
upstream_weight_per_minute = 0
frozen_after_s = 0
account_live_s = 86400
market_live_s = 86400
keep_account_streams = ["openOrders", "spotState"]
keep_market_streams = ["allMids", "allDexsAssetCtxs"]
ttl_s = ["meta=86400"]
"""


class Served(NamedTuple):
    """A server of ours and its upstream."""

    server: Child
    port: int
    upstream_port: int


def run(plan: Plan) -> Iterator[Row]:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    chosen = plan.chosen(TARGETS)
    with _served(plan) as ours, nginx(plan.tool("nginx"), plan.folder) as other:
        for name in chosen:
            yield _burst(plan, ours) if name == "burst" else _read(plan, name, ours, other)


@contextmanager
def _served(plan: Plan) -> Iterator[Served]:
    with child("upstream", module("reads_upstream"), plan.folder, ready=r"^ready (\d+)") as source:
        upstream = int(source.said[1])
        config = plan.folder / "reads.toml"
        config.write_text(SETTINGS.format(upstream=upstream, user=reads_upstream.USER), "utf-8")
        argv = [sys.executable, "-P", "-m", "server", "serve", "--config", str(config)]
        listens = r"listens on http://[^:]+:(\d+)"
        with child("server", argv, plan.folder, ready=listens, environment=environment()) as server:
            yield Served(server, int(server.said[1]), upstream)


def _request(type_: str) -> bytes:
    user = {} if type_ in ("allMids", "metaAndAssetCtxs") else {"user": reads_upstream.USER}
    return orjson.dumps({"type": type_, **user})


def _read(plan: Plan, name: str, ours: Served, other: Nginx) -> Row:
    type_ = name.removeprefix("read-")
    request = plan.folder / f"{name}-request.json"
    request.write_bytes(_request(type_))
    body = _from_memory(ours, type_, within_s=30.0)
    (other.static / f"{name}.json").write_bytes(body)
    row = Row(
        name=name,
        what=f"{type_}, {len(body) / 1000:,.1f} kB, from memory",
        other_is="nginx static, GET",
        unit="req/s",
        target=TARGETS[name],
    )
    tool = plan.tool("wrk")
    ours_side = Side(f"http://127.0.0.1:{ours.port}/info", request, ours.server.pid)
    file_side = Side(f"http://127.0.0.1:{other.port}/{name}.json", None, other.worker)
    for side in (ours_side, file_side):
        wrk(tool, plan.folder, side.url, 1, side.body)
    for _ in range(plan.rounds):
        ours_side.go(plan)
        file_side.go(plan)
        mine, theirs = ours_side.seen[-1].per_s, file_side.seen[-1].per_s
        row.add(mine, theirs, mine / theirs)
        _from_memory(ours, type_)
    by_cpu = median(file_side.cpu_us) / median(ours_side.cpu_us)
    row.notes += [
        f"ours {ours_side.told()}",
        f"nginx {file_side.told()}",
        f"by CPU per request (without soft interrupts, where loopback does much) the ratio is {by_cpu:.2f}",
    ]
    if min(*ours_side.busy, *file_side.busy) < SATURATED:
        row.notes.append(f"CAUTION: a server used less than {SATURATED:.0%} of a core")
    return row


def _from_memory(ours: Served, type_: str, within_s: float = 0.0) -> bytes:
    """Our answer, which must be one that was pushed. Raises `BenchError`."""
    right = {ANSWERS[type_](variant) for variant in range(reads_upstream.VARIANTS)}
    deadline = time.monotonic() + within_s
    while True:
        before = _asked(ours, type_)
        status, headers, body = ask(ours.port, b"POST", "/info", _request(type_))
        held = headers.get("x-replica-source") == "memory" and _asked(ours, type_) == before
        if status == 200 and held and body in right:
            return body
        if time.monotonic() > deadline:
            raise BenchError(f"{type_} not from memory, or wrong: {status} {dict(headers)} {body[:200]!r}")
        time.sleep(0.3)


def _asked(ours: Served, type_: str) -> int:
    """How often the upstream was asked for a type."""
    _, _, body = ask(ours.upstream_port, b"POST", "/info", b'{"type":"asked"}')
    return int(orjson.loads(body).get(type_, 0))


def _burst(plan: Plan, ours: Served) -> Row:
    row = Row(
        name="burst",
        what=f"{BURST:,} identical cold reads at once",
        other_is="asked of us",
        unit="upstream calls",
        target=TARGETS["burst"],
        bound="<=",
        absolute=True,
    )
    sources: set[str] = set()
    for number in range(plan.rounds):
        before = _asked(ours, "userRole")
        # Another question each time: what was answered before is held.
        request = {"type": "userRole", "user": states.address(number + 1)}
        sources |= asyncio.run(_at_once(ours.port, orjson.dumps(request)))
        calls = _asked(ours, "userRole") - before
        row.add(calls, BURST, calls / BURST)
    row.notes.append(f"answered from: {', '.join(sorted(sources))}")
    return row


async def _at_once(port: int, body: bytes) -> set[str]:
    """Ask the same over `BURST` connections. Where the answers came from; `BenchError` if one is no good."""
    pairs = [await asyncio.open_connection("127.0.0.1", port) for _ in range(BURST)]
    try:
        for _, writer in pairs:
            writer.write(http_request(b"POST", "/info", body))
        sources = set()
        for reader, _ in pairs:
            head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)).decode().lower()
            if not head.startswith("http/1.1 200 "):
                raise BenchError(f"answered {head[:60]!r}")
            sources.add(head.partition("x-replica-source: ")[2].partition("\r\n")[0])
        return sources
    finally:
        for _, writer in pairs:
            writer.close()
