"""Our side: `hl-replica serve` as a user runs it, mirroring the bench upstream through its feed.

What differs from the defaults: the upstream's limits are off (the bench upstream has none) and nothing
expires, so that a push delayed by a busy machine does not turn a memory read into an upstream call.
"""

import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from scripts.benches import states
from scripts.benches.load import ask
from scripts.benches.processes import BenchError, Child, child, module

SETTINGS = """\
host = "127.0.0.1"
port = 0
upstream = "{upstream}"
track = ["@{accounts}"]
log_level = "warning"
upstream_users = 0
upstream_subscriptions = 0
upstream_messages_per_minute = 0
upstream_connections_per_minute = 0
upstream_weight_per_minute = 0
subscribe_timeout_s = 300
silent_after_s = 86400
frozen_after_s = 0
account_live_s = 86400
keep_account_streams = []
keep_market_streams = []
"""


@dataclass(frozen=True)
class Served:
    """A server that holds every account, and its upstream."""

    server: Child
    port: int
    upstream: Child
    upstream_port: int


@contextmanager
def served(
    folder: Path, accounts: int, *, pushed: int | None = None, delay_ms: float = 0.0
) -> Iterator[Served]:
    """Run upstream and server for the length of the block; entered once all `accounts` are mirrored.

    Each account has one state of `USUAL_BYTES`. The first `pushed` (default: all) are pushed again every
    5 s, evenly spread, for as long as the block lasts: the feed's work is in every number.
    """
    pushed = accounts if pushed is None else pushed
    upstream = module("upstream", "--accounts", accounts, "--pushed", pushed, "--delay-ms", delay_ms)
    with child("upstream", upstream, folder, ready=r"^ready (\d+)") as source:
        upstream_port = int(source.said[1])
        tracked = folder / f"accounts-{accounts}.txt"
        tracked.write_text("".join(f"{states.address(n)}\n" for n in range(accounts)))
        config = folder / f"settings-{upstream_port}.toml"
        config.write_text(
            SETTINGS.format(upstream=f"http://127.0.0.1:{upstream_port}", accounts=tracked), "utf-8"
        )
        argv = [sys.executable, "-P", "-m", "server", "serve", "--config", str(config)]
        with child(
            "server", argv, folder, ready=r"listens on http://[^:]+:(\d+)", environment=environment()
        ) as server:
            port = int(server.said[1])
            _wait_until_ready(port, within_s=30.0 + accounts / 500)
            yield Served(server, port, source, upstream_port)


def environment() -> Mapping[str, str]:
    """That of whoever runs the bench, without settings of this program."""
    # The settings of whoever runs the bench are theirs, not the bench's.
    return {name: value for name, value in os.environ.items() if not name.upper().startswith("HL_REPLICA_")}


def _wait_until_ready(port: int, within_s: float) -> None:
    deadline = time.monotonic() + within_s
    while True:
        try:
            status, _, body = ask(port, b"GET", "/ready")
        except ConnectionRefusedError:  # it says its address a moment before it listens
            status, body = 0, b"not listening"
        if status == 200:
            return
        if time.monotonic() > deadline:
            raise BenchError(f"not ready within {within_s:g} s: {body[:300].decode('utf-8', 'replace')}")
        time.sleep(0.3)
