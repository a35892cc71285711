"""The official Python client's whole `Info`: every read of it is answered as the devnode answers it."""

import asyncio
import inspect
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
from hyperliquid.info import Info
from hyperliquid.utils.error import ClientError, ServerError
from hyperliquid.utils.types import Cloid

from server.devnode import Devnode, Limits
from tests.sockets.conftest import start

NO_READS = {"disconnect_websocket", "name_to_asset", "post", "set_perp_meta", "subscribe", "unsubscribe"}

BEGIN_MS = 1_800_000_000_000


@cache
def user() -> str:
    return Devnode(accounts=3, seed=3).addresses[0]


GIVEN: dict[str, Any] = {
    "user": user(),
    "address": user(),
    "multi_sig_user": user(),
    "name": "BTC",
    "interval": "1m",
    "oid": 1,
    "cloid": Cloid.from_int(1),
    "startTime": BEGIN_MS - 3_600_000,
    "start_time": BEGIN_MS - 3_600_000,
    "endTime": BEGIN_MS + 3_600_000,
}
"""Arguments by their names. What may be left out is."""


def reads() -> list[str]:
    members = inspect.getmembers(Info, inspect.isfunction)
    return [name for name, _ in members if not name.startswith("_") and name not in NO_READS]


def call(info: Info, name: str) -> Callable[[], Any]:
    method = getattr(info, name)
    wanted = inspect.signature(method).parameters.values()
    given = {one.name: GIVEN[one.name] for one in wanted if one.default is inspect.Parameter.empty}
    return lambda: method(**given)


def said(ask: Callable[[], Any]) -> Any:
    """What a caller gets: a value, or an error with its words."""
    try:
        return ask()
    except ClientError as error:
        return "ClientError", error.status_code, error.error_message
    except ServerError as error:
        return "ServerError", error.status_code, error.message


@pytest.mark.parametrize("keeps", [True, False], ids=["with streams", "without"])
async def test_every_read_is_answered_as_the_exchange_does(keeps: bool) -> None:
    # Its time stands still, so that two who ask in turn are told the same.
    node = Devnode(accounts=3, seed=3, limits=Limits.off(), impersonation=True, paused=True, time_ms=BEGIN_MS)
    assert node.addresses[0] == user()
    names = reads()
    assert len(names) > 35
    off: dict[str, Any] = {} if keeps else {"keep_account_streams": (), "keep_market_streams": ()}
    async with start(node, frozen_after_s=0, **off) as stack:
        direct = await asyncio.to_thread(Info, f"http://127.0.0.1:{node.port}", skip_ws=True)
        ours = await asyncio.to_thread(Info, stack.base_url, skip_ws=True)
        for name in names:
            expected = await asyncio.to_thread(said, call(direct, name))
            for _ in range(2):
                assert await asyncio.to_thread(said, call(ours, name)) == expected, name
