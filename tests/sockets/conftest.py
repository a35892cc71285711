"""The program and its upstream on the kernel's sockets."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from random import Random
from typing import Any

import hyperliquid.exchange
import pytest

from replica import Clock
from server.app import Program
from server.devnode import Devnode
from server.settings import Settings
from tests.callers import Site


@pytest.fixture(autouse=True)
def rising_nonces(monkeypatch: pytest.MonkeyPatch) -> None:
    """The official client takes the millisecond for its nonce, and the exchange a second one for a repeat.

    On loopback two writes can fall into one.
    """
    last = 0

    def later() -> int:
        nonlocal last
        last = max(last + 1, int(time.time() * 1000))
        return last

    monkeypatch.setattr(hyperliquid.exchange, "get_timestamp_ms", later)


class Stack:
    """The program behind its server, and the devnode behind the program."""

    def __init__(self, program: Program, site: Site, devnode: Devnode) -> None:
        self.program = program
        self.site = site
        self.devnode = devnode

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.site.port}"


@contextlib.asynccontextmanager
async def start(devnode: Devnode, **settings: Any) -> AsyncIterator[Stack]:
    """Follow every account of `devnode` and wait until all are live."""
    limits = {"upstream_users": 0, "upstream_subscriptions": 0, "upstream_weight_per_minute": 0}
    options = Settings(**(limits | settings))
    program = Program(
        options,
        base_url=f"http://127.0.0.1:{await devnode.start()}",
        follow=tuple(devnode.addresses),
        clock=Clock(monotonic=asyncio.get_running_loop().time, wall=time.time),
        random=Random(1),
    )
    site = Site(program, options)
    try:
        await program.start()
        await site.start()
        async with asyncio.timeout(30):
            while program.replica.assess().reasons or program.replica.perp_dexs is None:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        yield Stack(program, site, devnode)
    finally:
        await site.finish()
        await program.stop()
        await devnode.stop()
