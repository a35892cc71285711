"""Many websocket clients in one process, each as cheap as can be: they count bytes or read one stamp a frame.

Once every client has the acknowledgement of every subscription it says `ready`. Then it says ten times a
second how many bytes have come (`at SECONDS BYTES`), and, with --latency, on the line `latency P50 P99` how
old they were on arrival, in us, over all clients, once --seconds have passed.

    python -m scripts.benches.ws_clients PORT --clients 200 [--subscriptions 1] [--latency --seconds 4]
"""

import argparse
import asyncio
import base64
import os
import signal
import statistics
import time
from typing import cast

import orjson
import uvloop

from scripts.benches.market_upstream import SENT, SENT_DIGITS, coin
from scripts.benches.upstream import text_frame

ACK = b'"subscriptionResponse"'
AT_ONCE = 50
"""Clients that are connecting at the same time."""


def masked(text: bytes) -> bytes:
    """One client frame; a mask of zeros is a mask."""
    frame = bytearray(text_frame(text))
    frame[1] |= 0x80
    at = len(frame) - len(text)
    return bytes(frame[:at]) + b"\0\0\0\0" + text


class Client(asyncio.Protocol):
    """Connects, asks for its subscriptions, then only counts."""

    def __init__(self, port: int, subscriptions: int) -> None:
        self.ready = asyncio.get_running_loop().create_future()
        self.received = 0
        self.ages: list[int] | None = None
        self._port = port
        self._missing = subscriptions
        self._subscriptions = subscriptions
        self._tail = b""
        self._open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(
            b"GET /ws HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n\r\n"
            % (self._port, base64.b64encode(os.urandom(16)))
        )

    def data_received(self, data: bytes) -> None:
        self.received += len(data)
        if self.ages is not None:
            self._age(data)
        elif self._missing:
            self._start(data)

    def connection_lost(self, error: Exception | None) -> None:
        if not self.ready.done():
            self.ready.set_exception(ConnectionError(f"lost while connecting: {error}"))

    def _start(self, data: bytes) -> None:
        data = self._tail + data
        if not self._open:
            if b"\r\n\r\n" not in data:
                self._tail = data
                return
            head, _, data = data.partition(b"\r\n\r\n")
            if b" 101 " not in head:
                self.ready.set_exception(ConnectionError(head.decode("latin-1")))
                return
            self._open = True
            requests = [
                orjson.dumps({"method": "subscribe", "subscription": {"type": "l2Book", "coin": coin(n)}})
                for n in range(self._subscriptions)
            ]
            self._transport.write(b"".join(map(masked, requests)))
        self._missing -= data.count(ACK)
        self._tail = b"" if ACK in data[-len(ACK) :] else data[1 - len(ACK) :]
        if self._missing <= 0 and not self.ready.done():
            self._tail = b""
            self.ready.set_result(None)

    def _age(self, data: bytes) -> None:
        now = time.monotonic_ns()
        assert self.ages is not None
        at = data.find(SENT)
        while at >= 0:
            stamp = data[at + len(SENT) : at + len(SENT) + SENT_DIGITS]
            if len(stamp) == SENT_DIGITS:
                self.ages.append(now - int(stamp))
            at = data.find(SENT, at + 1)


async def run(options: argparse.Namespace) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    clients: list[Client] = []
    while len(clients) < options.clients:
        some = [
            Client(options.port, options.subscriptions)
            for _ in range(min(AT_ONCE, options.clients - len(clients)))
        ]
        for client in some:
            await loop.create_connection(lambda client=client: client, "127.0.0.1", options.port)  # type: ignore[misc]
        await asyncio.gather(*(client.ready for client in some))
        clients += some
    print("ready", flush=True)
    if options.latency:
        await _measure(clients, options.seconds)
    while not stop.is_set():
        print(f"at {time.monotonic()} {sum(client.received for client in clients)}", flush=True)
        try:
            await asyncio.wait_for(stop.wait(), 0.1)
        except TimeoutError:
            pass


async def _measure(clients: list[Client], seconds: float) -> None:
    for client in clients:
        client.ages = []
    await asyncio.sleep(seconds)
    ages = [age for client in clients for age in client.ages or ()]
    for client in clients:
        client.ages = None
    cuts = statistics.quantiles(ages, n=100)
    print(f"latency {cuts[49] / 1e3} {cuts[98] / 1e3} {len(ages)}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="scripts.benches.ws_clients")
    parser.add_argument("port", type=int)
    parser.add_argument("--clients", type=int, required=True)
    parser.add_argument("--subscriptions", type=int, default=1)
    parser.add_argument("--latency", action="store_true")
    parser.add_argument("--seconds", type=float, default=2.0)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run(parser.parse_args()))
