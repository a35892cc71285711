"""Bots of the official Python client, and what they trade on: the devnode, or our server before one."""

import contextlib
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

from hyperliquid.exchange import Exchange
from hyperliquid.info import Info

from server.devnode import Devnode, Limits
from tests.server.signing.sdk import wallet
from tests.sockets.conftest import start

FRIEND = "0x" + "5c" * 20


class Bot:
    """The SDK's two clients for one key, in a thread: they block."""

    def __init__(self, base_url: str, seed: int, **options: Any) -> None:
        self.key = wallet(seed)
        self.address = self.key.address
        self.exchange = Exchange(self.key, base_url, **options)
        self.info = Info(base_url, skip_ws=True)

    def statuses(self, answer: Any) -> Any:
        assert answer["status"] == "ok", answer
        return answer["response"]["data"]["statuses"]

    def size(self, coin: str) -> str:
        rows = self.info.user_state(self.address)["assetPositions"]
        return next((row["position"]["szi"] for row in rows if row["position"]["coin"] == coin), "0.0")

    def until(self, holds: Callable[[], bool], within_s: float = 10.0) -> None:
        """Ask again until it holds: what a bot did not write itself may be told it a moment late."""
        deadline = time.monotonic() + within_s
        while not holds():
            assert time.monotonic() < deadline, f"not within {within_s} s"


def ok(answer: Any) -> None:
    assert answer == {"status": "ok", "response": {"type": "default"}}


@contextlib.asynccontextmanager
async def served(through_us: bool) -> AsyncIterator[tuple[str, Devnode]]:
    node = Devnode(accounts=3, seed=3, limits=Limits.off())
    if through_us:
        async with start(node) as stack:
            yield stack.base_url, node
    else:
        try:
            yield f"http://127.0.0.1:{await node.start()}", node
        finally:
            await node.stop()
