"""A devnode on its own: start it, say what to try, run until told to stop."""

from __future__ import annotations

import asyncio
import gc
import signal

from server.devnode.devnode import Devnode
from server.devnode.embedded import base_url
from server.devnode.replay import Replay


async def serve(devnode: Devnode | Replay, host: str, port: int) -> None:
    """Serve until SIGINT or SIGTERM. Raises `OSError` when the address cannot be had."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    signals = (signal.SIGINT, signal.SIGTERM)
    for number in signals:
        loop.add_signal_handler(number, stop.set)
    try:
        bound = await devnode.start(host, port)
        if isinstance(devnode, Replay):
            print(devnode.describe(host, bound), flush=True)
        else:
            print(describe(devnode, host, bound), flush=True)
        # Orders come and go by reference count. With 160,000 of them resting, one look through all for
        # cycles holds the exchange for half a second; what start-up made is never garbage.
        gc.collect()
        gc.freeze()
        gc.set_threshold(20_000, 50, 100)
        await stop.wait()
    finally:
        for number in signals:
            loop.remove_signal_handler(number)
        await devnode.stop()


def describe(devnode: Devnode, host: str, port: int) -> str:
    """What is served, and the first things to try, as printed on start."""
    base = base_url(host, port)
    socket = f"{base.replace('http', 'ws', 1)}/ws"
    users = devnode.addresses
    user = users[0] if users else "0x" + "0" * 40
    subscribe = f'{{"method":"subscribe","subscription":{{"type":"clearinghouseState","user":"{user}"}}}}'
    limits = "off" if devnode.limits == type(devnode.limits).off() else repr(devnode.limits)
    return "\n".join(
        [
            f"devnode: {devnode.source!r}",
            f"  limits    {limits}",
            f"  info      {base}/info",
            f"  exchange  {base}/exchange ({devnode.signers})",
            f"  ws        {socket}",
            f"  accounts  {', '.join(users[:3])}{' ...' if len(users) > 3 else ''}",
            f"            all of them: {base}/dev/accounts",
            "try:",
            f"  curl -s {base}/info -H 'Content-Type: application/json' \\",
            f'    -d \'{{"type":"clearinghouseState","user":"{user}"}}\'',
            f"  python -m websockets {socket}   and send: {subscribe}",
        ]
    )
