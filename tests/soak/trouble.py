"""Everything that goes wrong with an upstream, one thing after the other, by a seed.

What a connection can't do, it does not do here: lose rows and live on. (Where rows are lost it is cut in the
end, as over TCP.) States may be lost, swapped and outdated.
"""

import asyncio
from random import Random

from tests.upstream import Upstream

STATES = (
    "allMids",
    "l2Book",
    "bbo",
    "allDexsClearinghouseState",
    "clearinghouseState",
    "openOrders",
    "webData3",
)


class Trouble:
    """`go_on` until cancelled, then `end`. `story` tells what happened when (s)."""

    def __init__(self, upstream: Upstream, users: tuple[str, ...], random: Random, every_s: float) -> None:
        self._upstream = upstream
        self._faults = upstream.faults
        self._users = users
        self._random = random
        self._every_s = every_s
        self.story: list[tuple[float, str]] = []

    async def go_on(self) -> None:
        troubles = (
            self._drop, self._drop, self._close, self._outage, self._flap, self._mute, self._silence,
            self._no_pongs, self._freeze, self._bad_answers, self._slow_answers, self._duplicates,
            self._bad_states, self._refuse,
        )  # fmt: skip
        while True:
            await asyncio.sleep(self._random.expovariate(1 / self._every_s))
            trouble = self._random.choice(troubles)
            self.story.append((asyncio.get_running_loop().time(), trouble.__name__))
            await trouble()

    async def end(self) -> None:
        """Nothing is wrong any more."""
        self._upstream.drop_sockets()  # rows that a silence swallowed are lost with a connection
        self._faults.heal()
        self._upstream.refuse_connections()
        await self._upstream.accept_connections()

    async def _for(self, shortest_s: float, longest_s: float) -> None:
        await asyncio.sleep(self._random.uniform(shortest_s, longest_s))

    async def _drop(self) -> None:
        self._upstream.drop_sockets()

    async def _close(self) -> None:
        self._upstream.close_sockets(1012, "restart")

    async def _outage(self) -> None:
        self._upstream.refuse_connections()
        self._upstream.drop_sockets()
        await self._for(1, 240)
        await self._upstream.accept_connections()

    async def _flap(self) -> None:
        self._faults.accept_and_drop(self._random.choice((0.01, 0.5, 3.0)))
        self._upstream.drop_sockets()
        await self._for(5, 60)
        self._faults.stay_up()

    async def _mute(self) -> None:
        self._faults.go_mute()
        await self._for(1, 90)
        self._upstream.drop_sockets()
        self._faults.mute = False

    async def _silence(self) -> None:
        self._faults.go_silent(self._random.choice((None, *self._users)))
        await self._for(1, 60)
        self._upstream.drop_sockets()
        self._faults.speak_again()

    async def _no_pongs(self) -> None:
        self._faults.no_pongs()
        await self._for(10, 60)
        self._faults.pongs = True

    async def _freeze(self) -> None:
        self._faults.freeze_time()
        await self._for(5, 60)
        self._faults.thaw_time()

    async def _bad_answers(self) -> None:
        status, times = self._random.choice((429, 500, 502)), self._random.randint(1, 12)
        self._faults.answer(status, path="/info", times=times)
        await self._drop()

    async def _slow_answers(self) -> None:
        self._faults.latency(self._random.uniform(0.1, 5.0), times=self._random.randint(1, 20))
        await self._drop()

    async def _duplicates(self) -> None:
        self._faults.duplicate_next_push(times=self._random.randint(1, 50))

    async def _bad_states(self) -> None:
        channel, times = self._random.choice(STATES), self._random.randint(1, 5)
        match self._random.choice(("drop", "reorder", "stale", "delay")):
            case "drop":
                self._faults.drop_next_push(channel=channel, times=times)
            case "reorder":
                self._faults.reorder_next_push(channel=channel, times=times)
            case "stale":
                self._faults.stale_next_push(channel=channel, times=times)
            case "delay":
                self._faults.delay_next_push(self._random.uniform(0.1, 8.0), channel=channel, times=times)

    async def _refuse(self) -> None:
        self._faults.refuse_subscriptions("Cannot subscribe to more than 1000 channels.", times=2)
        await self._drop()
