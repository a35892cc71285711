"""A devnode on the virtual loop, websockets to it, and the coins of the recordings."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import websockets

from server.devnode import Devnode, Limits
from server.devnode.clearinghouse import Asset, tiers_of
from tests.server.devnode.client import Client
from tests.server.devnode.recover import scaled


@pytest.fixture
async def devnode() -> AsyncIterator[Callable[..., Awaitable[Devnode]]]:
    """Start devnodes, stop them at the end. Small world, no limits, a clock that follows the loop."""
    started: list[Devnode] = []

    async def start(**options: Any) -> Devnode:
        loop = asyncio.get_running_loop()
        options = {
            "accounts": 8,
            "limits": Limits.off(),
            "clock": lambda: 1_800_000_000 + loop.time(),
        } | options
        one = Devnode(**options)
        started.append(one)
        await one.start()
        return one

    yield start
    for one in started:
        await one.stop()


@pytest.fixture
async def connect() -> AsyncIterator[Callable[[Devnode], Awaitable[Client]]]:
    """Open websockets to a devnode, close them at the end."""
    opened: list[websockets.ClientConnection] = []

    async def open_one(devnode: Devnode) -> Client:
        connection = await websockets.connect(
            f"ws://127.0.0.1:{devnode.port}/ws",
            proxy=None,
            compression=None,
            ping_interval=None,
            max_size=None,
        )
        opened.append(connection)
        return Client(connection)

    yield open_one
    for connection in opened:
        await connection.close()


@pytest.fixture(scope="session")
def recorded_assets(recorded_dir: Path) -> Mapping[str, Asset]:
    """The coins of the recorded `meta` answers, newest last so that it wins; margin tables included."""
    assets: dict[str, Asset] = {}
    for name in ("clearinghouse/_meta_20250716.json", "info/meta__gohl_meta_with_dex.json"):
        document = json.loads((recorded_dir / name).read_bytes())
        meta = document.get("meta") if "note" in document else document["response"]
        tables = {number: table["marginTiers"] for number, table in meta["marginTables"]}
        for coin in meta["universe"]:
            single = [{"lowerBound": "0.0", "maxLeverage": coin["marginTableId"]}]
            rows = tables.get(coin["marginTableId"], single)
            tiers = tiers_of([(scaled(row["lowerBound"], 6), row["maxLeverage"]) for row in rows])
            assets[coin["name"]] = Asset(coin["name"], coin["szDecimals"], tiers)
    return assets
