"""Reads of one list in any order, with writes in between: nobody is told less than somebody was before."""

import asyncio
from random import Random

import pytest

from server.capabilities import TABLE
from tests.upstream import TRADER
from tests.virtual import EPOCH, World, running, signed_order

BOT, OTHERS = "10.0.0.1", ("10.0.0.2", "10.0.0.3")
TRADER_ADDRESS = TRADER.address.lower()
TTL_S = TABLE["openOrders"].ttl_s


class Witness:
    """The list only grows: how long it is tells how new it is."""

    def __init__(self, world: World, me: str) -> None:
        self.world = world
        self.request = {"type": "openOrders", "user": me}
        self.written = 0  # acknowledged to the bot
        self.told = 0  # the most that anybody was told
        self.sources: set[str] = set()

    async def write(self, nonce: int) -> None:
        reply = await self.world.write(signed_order(nonce), client=BOT)
        assert reply.json["status"] == "ok"
        self.written += 1

    async def read(self, client: str, **directives: str) -> None:
        at_least = max(self.told, self.written if client == BOT else 0)
        reply = await self.world.info(self.request, client=client, **directives)
        self.sources.add(reply.source)
        assert len(reply.json) >= at_least
        self.told = max(self.told, len(reply.json))
        if reply.source == "memory":
            assert reply.age_ms <= TTL_S * 1000


@pytest.mark.parametrize("network", ["testnet", "mainnet"])  # for the latter no signer is recovered
@pytest.mark.parametrize("seed", range(15))
async def test_whatever_the_order(seed: int, network: str) -> None:
    random = Random(seed)
    async with running(network=network, warm=False) as world:
        witness = Witness(world, TRADER_ADDRESS)
        tasks = []
        for step in range(80):
            world.upstream.faults.latency(random.choice((0.0, 0.05, 0.3)), type="openOrders")
            if random.random() < 0.15:
                await witness.write(int(EPOCH * 1000) + step)
            else:
                directives = random.choice(({}, {}, {}, {"cache_control": "max-age=0"}))
                client = random.choice((BOT, *OTHERS))
                tasks.append(asyncio.create_task(witness.read(client, **directives)))
            await asyncio.sleep(random.choice((0.0, 0.01, 0.1, 0.3)))
        await asyncio.gather(*tasks)
        assert witness.written and witness.sources == {"memory", "coalesced", "upstream"}
        await asyncio.sleep(1)
        await witness.read(OTHERS[0])
        assert witness.told == witness.written
