"""The peer of the websocket benches: what one writes in an hour with `websockets` and its `broadcast`.

One socket to the upstream, subscribed to one book; every frame goes to every client that has subscribed to
anything. Same loop (uvloop), no compression, nothing checked, nothing remembered.

    python -m scripts.benches.ws_bare UPSTREAM_PORT
"""

import asyncio
import signal
import sys

import orjson
import uvloop
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, broadcast, serve

from scripts.benches.market_upstream import coin


async def relay(upstream_port: int) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    members: set[ServerConnection] = set()

    async def client(socket: ServerConnection) -> None:
        try:
            async for text in socket:
                asked = orjson.loads(text)
                if asked["method"] == "ping":
                    await socket.send('{"channel":"pong"}')
                    continue
                await socket.send(orjson.dumps({"channel": "subscriptionResponse", "data": asked}).decode())
                members.add(socket)
        finally:
            members.discard(socket)

    async def forward() -> None:
        async with connect(
            f"ws://127.0.0.1:{upstream_port}/ws", compression=None, proxy=None, close_timeout=0.2
        ) as upstream:
            subscription = {"type": "l2Book", "coin": coin(0)}
            request = {"method": "subscribe", "subscription": subscription}
            await upstream.send(orjson.dumps(request).decode())
            async for text in upstream:
                broadcast(members, text)

    async with serve(client, "127.0.0.1", 0, compression=None, ping_interval=None, backlog=2048) as server:
        forwarding = asyncio.create_task(forward())
        print(f"ready {server.sockets[0].getsockname()[1]}", flush=True)
        stopped = asyncio.create_task(stop.wait())
        await asyncio.wait([forwarding, stopped], return_when=asyncio.FIRST_COMPLETED)
        forwarding.cancel()
        await asyncio.wait([forwarding])


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(relay(int(sys.argv[1])))
