"""The upstream of the benches, a process of its own: `/ws`, `/info` and `/exchange` on one port.

A bare protocol on uvloop rather than a web framework, so that it takes little of the machine it shares with
what is measured. It speaks as much of the wire as the benches need and checks nothing.

    python -m scripts.benches.upstream --accounts 1000 [--pushed K] [--every-s 5] [--delay-ms 50] [--flood]
"""

import argparse
import asyncio
import base64
import hashlib
import signal
import time
from collections.abc import Callable
from itertools import cycle
from typing import cast

import orjson
import uvloop

from scripts.benches import states

TICK_S = 0.01
FLOOD_FRAMES = 16
"""Frames per write when flooding: enough to keep any receiver busy, few enough to stop in time."""

PERP_DEXS = b'[null,{"name":"xyz"},{"name":"flx"},{"name":"vntl"}]'
OTHER = orjson.dumps(
    [{"coin": "BTC", "oid": 10**10 + n, "limitPx": "97000.5", "sz": "0.01"} for n in range(9)]
)
"""The answer to every read that is none of the above: about 600 bytes."""
WRITTEN = b'{"status":"ok","response":{"type":"order","data":{"statuses":[{"resting":{"oid":77738308}}]}}}'


class World:
    """The accounts, and who receives their pushes."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.sizes = (options.bytes_from, options.bytes_to)
        self.account_of = {states.address(n): n for n in range(options.accounts)}
        self.delay_s = options.delay_ms / 1000
        self._time_ms = int(time.time() * 1000)

    def frame(self, user: str) -> bytes:
        # A flood pushes an account many times in a millisecond: the time must grow all the same.
        self._time_ms = max(self._time_ms + 1, int(time.time() * 1000))
        payload = states.frame(self.account_of[user], user, self.options.dexes, self._time_ms, self.sizes)
        return text_frame(payload)

    def state(self, user: str) -> bytes:
        return states.state(self.account_of[user], 0, int(time.time() * 1000), self.sizes)


def text_frame(payload: bytes) -> bytes:
    """One unmasked websocket text frame."""
    size = len(payload)
    if size < 126:
        return b"\x81" + bytes([size]) + payload
    if size < 1 << 16:
        return b"\x81\x7e" + size.to_bytes(2, "big") + payload
    return b"\x81\x7f" + size.to_bytes(8, "big") + payload


class Connection(asyncio.Protocol):
    """HTTP until it asks for a websocket."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._loop = asyncio.get_running_loop()
        self._buffer = bytearray()
        self._websocket = False
        self._users: list[str] = []
        self._pushing: asyncio.Task[None] | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self._all_subscribed = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but its class

    def connection_lost(self, error: Exception | None) -> None:
        if self._pushing is not None:
            self._pushing.cancel()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while self._buffer and (self._read_frame() if self._websocket else self._read_request()):
            pass

    # -- HTTP ------------------------------------------------------------------------------------------

    def _read_request(self) -> bool:
        """Answer one request; False while it is not whole."""
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return False
        head = bytes(self._buffer[:end])
        headers = {
            name.lower(): value.strip()
            for name, _, value in (line.partition(b":") for line in head.split(b"\r\n")[1:])
        }
        whole = end + 4 + int(headers.get(b"content-length", 0))
        if len(self._buffer) < whole:
            return False
        body = bytes(self._buffer[end + 4 : whole])
        del self._buffer[:whole]
        if b"sec-websocket-key" in headers:
            self._upgrade(headers[b"sec-websocket-key"])
        elif self._world.delay_s:
            self._loop.call_later(self._world.delay_s, self._answer, head, body)
        else:
            self._answer(head, body)
        return True

    def _answer(self, head: bytes, body: bytes) -> None:
        if head.startswith(b"POST /exchange"):
            answer = WRITTEN
        elif b'"clearinghouseState"' in body:
            answer = self._world.state(orjson.loads(body)["user"])
        else:
            answer = PERP_DEXS if b'"perpDexs"' in body else OTHER
        self._transport.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s"
            % (len(answer), answer)
        )

    # -- websocket -------------------------------------------------------------------------------------

    def _upgrade(self, key: bytes) -> None:
        accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
        self._transport.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: %s\r\n\r\n" % accept
        )
        self._websocket = True
        flood = self._world.options.flood
        self._pushing = self._loop.create_task(self._flood() if flood else self._push())

    def _read_frame(self) -> bool:
        """Act on one client frame (whole and masked, as clients of ours send them)."""
        buffer = self._buffer
        if len(buffer) < 2:
            return False
        size, start = buffer[1] & 0x7F, 2
        if size >= 126:
            start = 4 if size == 126 else 10
            size = int.from_bytes(buffer[2:start], "big")
        end = start + 4 + size
        if len(buffer) < end:
            return False
        mask = bytes(buffer[start : start + 4])
        masked = bytes(buffer[start + 4 : end])
        opcode = buffer[0] & 0x0F
        del buffer[:end]
        pad = (mask * (size // 4 + 1))[:size]
        text = (int.from_bytes(masked, "big") ^ int.from_bytes(pad, "big")).to_bytes(size, "big")
        if opcode == 8:
            self._transport.write(b"\x88\x00")
            self._transport.close()
        elif opcode == 1:
            self._heard(orjson.loads(text))
        return True

    def _heard(self, message: dict[str, object]) -> None:
        if message["method"] == "ping":
            self._transport.write(text_frame(b'{"channel":"pong"}'))
        elif message["method"] == "subscribe":
            subscription = message["subscription"]
            assert isinstance(subscription, dict)
            user = str(subscription["user"])
            self._users.append(user)
            if len(self._users) == self._world.options.accounts:
                self._all_subscribed.set()
            echo = orjson.dumps({"channel": "subscriptionResponse", "data": message})
            self._transport.write(text_frame(echo) + self._world.frame(user))

    async def _push(self) -> None:
        """Push the first `pushed` accounts once in `every_s`, evenly spread over it."""
        options = self._world.options
        per_tick = options.pushed * TICK_S / options.every_s
        due, place = 0.0, 0
        while True:
            await asyncio.sleep(TICK_S)
            await self._writable.wait()
            due += per_tick
            frames = []
            while due >= 1.0 and self._users:
                due -= 1.0
                place = (place + 1) % min(options.pushed, len(self._users))
                frames.append(self._world.frame(self._users[place]))
            if frames:
                self._transport.write(b"".join(frames))

    async def _flood(self) -> None:
        """Push all accounts in turn, as fast as the other side takes it."""
        await self._all_subscribed.wait()
        users = cycle(self._users)
        while True:
            self._transport.write(b"".join([self._world.frame(next(users)) for _ in range(FLOOD_FRAMES)]))
            await self._writable.wait()
            await asyncio.sleep(0)


async def serve(connection: Callable[[], asyncio.Protocol]) -> None:
    """Say the port on stdout, and serve until terminated."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    server = await loop.create_server(connection, "127.0.0.1", 0, backlog=1024)
    print(f"ready {server.sockets[0].getsockname()[1]}", flush=True)
    await stop.wait()
    server.close()


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts.benches.upstream")
    parser.add_argument("--accounts", type=int, required=True)
    parser.add_argument("--pushed", type=int, help="how many of them are pushed again and again (all)")
    parser.add_argument("--every-s", type=float, default=5.0)
    parser.add_argument("--dexes", type=int, default=1)
    parser.add_argument("--bytes-from", type=int, default=states.USUAL_BYTES[0])
    parser.add_argument("--bytes-to", type=int, default=states.USUAL_BYTES[1])
    parser.add_argument("--delay-ms", type=float, default=0.0, help="of every HTTP answer")
    parser.add_argument("--flood", action="store_true", help="push as fast as the other side takes it")
    options = parser.parse_args()
    if options.pushed is None:
        options.pushed = options.accounts
    world = World(options)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(lambda: Connection(world)))


if __name__ == "__main__":
    main()
