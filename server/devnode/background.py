"""A devnode in a thread of its own, with a loop of its own, for synchronous tests and notebooks."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

from server.devnode.client import DevnodeClient
from server.devnode.devnode import Devnode
from server.devnode.embedded import base_url

START_S = 30.0


@contextmanager
def running(*, host: str = "127.0.0.1", port: int = 0, **options: Any) -> Iterator[DevnodeClient]:
    """Run a devnode with these options of `Devnode` and hand out its controls; stop it at the end.

    Raises `TypeError` for an option that there is not, `OSError` when the address cannot be had.
    """
    node = Devnode(**options)
    started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()
    thread = threading.Thread(
        target=lambda: asyncio.run(_serve(node, host, port, started)), name="devnode", daemon=True
    )
    thread.start()
    try:
        loop, stop = started.result(START_S)
    except OSError:
        thread.join()
        raise
    try:
        with DevnodeClient(base_url(host, node.port)) as client:
            yield client
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()


async def _serve(
    node: Devnode, host: str, port: int, started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]]
) -> None:
    stop = asyncio.Event()
    try:
        await node.start(host, port)
    except BaseException as error:
        started.set_exception(error)
        return
    started.set_result((asyncio.get_running_loop(), stop))
    await stop.wait()
    await node.stop()
