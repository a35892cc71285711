"""The upstream of the websocket benches: books of many coins, 2 kB a frame, each stamped as it leaves.

Every subscription gets its acknowledgement and one frame. Then, by flag: nothing, one frame every so often,
or, from SIGUSR1 on, as many as the other side takes. A frame has the same length whatever it says, so that
whoever receives it may count bytes, and its `sent` is this machine's monotonic clock in ns.

    python -m scripts.benches.market_upstream [--every-ms 10 | --flood]
"""

import argparse
import asyncio
import functools
import signal
import time

import orjson
import uvloop

from scripts.benches.upstream import Connection, serve, text_frame

COINS = 1000
FRAME_BYTES = 2000
SENT = b'"sent":"'
SENT_DIGITS = 19


def coin(number: int) -> str:
    """Names of one length, as the exchange could have them."""
    return f"C{number:03d}"


META = {
    "universe": [{"name": coin(n), "szDecimals": 2, "maxLeverage": 10} for n in range(COINS)],
    "marginTables": [],
    "collateralToken": 0,
}
ANSWERS = {
    "allPerpMetas": orjson.dumps([META]),
    "meta": orjson.dumps(META),
    "perpDexs": b"[null]",
    "spotMeta": b'{"universe":[],"tokens":[]}',
    "outcomeMeta": b'{"outcomes":[],"questions":[]}',
}


@functools.cache
def levels() -> bytes:
    """As many levels on either side as make a frame of `FRAME_BYTES` or a few bytes less."""
    level, count = {"px": "97000.5", "sz": "0.01250", "n": 3}, 0
    while len(_payload(b"C000", 0, _rendered(level, count + 1))) <= FRAME_BYTES:
        count += 1
    return _rendered(level, count)


def _rendered(level: dict[str, object], count: int) -> bytes:
    return orjson.dumps([[level] * count, [level] * count])


def _payload(name: bytes, time_ms: int, sides: bytes) -> bytes:
    return b'{"channel":"l2Book","data":{"coin":"%s","time":%d,%s%019d","levels":%s}}' % (
        name,
        time_ms,
        SENT,
        time.monotonic_ns(),
        sides,
    )


class Books(Connection):
    """One websocket: the books it asked for, pushed in turn."""

    def __init__(self, world: "Market") -> None:
        super().__init__(world)  # type: ignore[arg-type]
        self._market = world
        self._coins: list[str] = []

    def _answer(self, head: bytes, body: bytes) -> None:
        answer = ANSWERS.get(str(orjson.loads(body).get("type")), b"null")
        self._transport.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s"
            % (len(answer), answer)
        )

    def _heard(self, message: dict[str, object]) -> None:
        subscription = message.get("subscription")
        if not isinstance(subscription, dict):
            self._transport.write(text_frame(b'{"channel":"pong"}'))
            return
        name = str(subscription["coin"])
        echo = text_frame(orjson.dumps({"channel": "subscriptionResponse", "data": message}))
        if message["method"] == "unsubscribe":
            self._coins.remove(name)
            self._transport.write(echo)
            return
        self._coins.append(name)
        self._transport.write(echo + self._market.frame(name))
        self._all_subscribed.set()

    async def _push(self) -> None:
        every_s = self._market.every_ms / 1000
        if not every_s:
            return
        loop = asyncio.get_running_loop()
        due, turn = loop.time(), 0
        while True:
            due += every_s
            await asyncio.sleep(due - loop.time())
            if self._coins:
                turn += 1
                self._transport.write(self._market.frame(self._coins[turn % len(self._coins)]))

    async def _flood(self) -> None:
        await self._all_subscribed.wait()
        await self._market.begin.wait()
        turn = 0
        while True:
            # One a write: many in one would make one write to each client of them, too.
            turn += 1
            self._transport.write(self._market.frame(self._coins[turn % len(self._coins)]))
            await self._writable.wait()
            await asyncio.sleep(0)


class Market:
    """What the frames say. Their time grows by one with each, however many fit into a millisecond."""

    delay_s = 0.0

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.every_ms: float = options.every_ms
        self._time_ms = int(time.time() * 1000)
        self.begin = asyncio.Event()

    def frame(self, name: str) -> bytes:
        self._time_ms += 1
        return text_frame(_payload(name.encode(), self._time_ms, levels()))


async def run(market: Market) -> None:
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, market.begin.set)
    await serve(lambda: Books(market))


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts.benches.market_upstream")
    parser.add_argument("--every-ms", type=float, default=0.0, help="one frame so often (never)")
    parser.add_argument("--flood", action="store_true", help="push as fast as it is taken")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run(Market(parser.parse_args())))


if __name__ == "__main__":
    main()
