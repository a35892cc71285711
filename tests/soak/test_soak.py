"""Hours of trading with everything going wrong upstream, by seed: what clients of /ws heard is what happened.

By default two short ones. `SOAK_HOURS=24 SOAK_SEEDS=1-20 scripts/test tests/soak` runs whole virtual days; a
failing seed is in the test's name.
"""

import asyncio
import contextlib
import os
from collections import Counter
from collections.abc import AsyncIterator
from random import Random
from typing import Any

import pytest

from server.devnode import Limits
from server.settings import Settings
from tests.callers import Site
from tests.soak.bots import COINS, Bots
from tests.soak.clients import Client, Habits
from tests.soak.judging import judge_logs, judge_states
from tests.soak.trouble import Trouble
from tests.soak.truth import Truth
from tests.upstream import Upstream
from tests.virtual import World, running

HOURS = float(os.environ.get("SOAK_HOURS", "0.75"))
USERS = tuple(f"0x{number:040x}" for number in range(0xB01, 0xB05))
TRACKED = USERS[:2]
EXPECTED = ("Cannot subscribe to more than 1000 channels.", "Already subscribed: ")
"""What the faults say, and what a client gets who asks again before he was answered."""
QUIET_S = 240.0
"""Long enough to dial again, to heal, to be forgotten, and for every period to pass."""


def _seeds() -> list[int]:
    first, _, last = os.environ.get("SOAK_SEEDS", "1-2").partition("-")
    return list(range(int(first), int(last or first) + 1))


def with_gaps(one: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {**one, "replica": {"gaps": True, **more}}


def logs(user: str, **more: Any) -> list[dict[str, Any]]:
    types = (
        "userFills", "userFundings", "userNonFundingLedgerUpdates", "userTwapSliceFills", "userTwapHistory",
        "userHistoricalOrders", "orderUpdates", "userEvents",
    )  # fmt: skip
    return [with_gaps({"type": type_, "user": user}, **more) for type_ in types] + [
        with_gaps({"type": "trades", "coin": coin}, **more) for coin in COINS
    ]


def states(user: str, **more: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [
        {"type": "allMids"},
        {"type": "l2Book", "coin": "BTC"},
        {"type": "l2Book", "coin": "ETH", "nSigFigs": 3},
        {"type": "bbo", "coin": "ETH"},
        {"type": "candle", "coin": "SOL", "interval": "1m"},
        {"type": "activeAssetCtx", "coin": "BTC"},
        {"type": "fastAssetCtxs"},
        {"type": "allDexsClearinghouseState", "user": user},
        {"type": "clearinghouseState", "user": user},
        {"type": "openOrders", "user": user},
        {"type": "spotState", "user": user},
        {"type": "twapStates", "user": user},
        {"type": "webData3", "user": user},
        {"type": "activeAssetData", "user": user, "coin": "BTC"},
    ]
    return [with_gaps(one, **more) for one in found] if more else found


def population(site: Site, truth: Truth, seed: int) -> list[Client]:
    def client(name: str, wanted: list[dict[str, Any]], number: int, **habits: Any) -> Client:
        return Client(name, lambda: site.port, truth, wanted, Habits(**habits), Random(seed * 100 + number))

    a, b, c, d = USERS
    return [
        client("steady", logs(a) + states(a), 1),
        client("steady too", logs(c) + states(c)[7:], 2),
        client("restless", logs(b) + states(b)[:7], 3, stays_s=300.0, away_s=60.0),
        client(
            "resuming",
            logs(a, seq=True) + states(b, seq=True)[::2],
            4,
            stays_s=200.0,
            away_s=15.0,
            resumes=True,
        ),
        client("changing", logs(d) + states(d)[::3], 5, changes_s=20.0),
        client("slow", logs(b) + states(a)[:5], 6, reads_slowly=0.002, rests_s=20.0),
        client("old", [{"type": "webData2", "user": a}, {"type": "webData2", "user": d}], 7, stays_s=900.0),
    ]


async def watch(world: World) -> None:
    """Every structure is sound at any time."""
    replica, hub = world.program.replica, world.program.endpoint.hub
    while True:
        await asyncio.sleep(7.3)
        for one in (replica._streams, replica.mirror, replica.feed, replica.store, hub):
            one.check()


class Excess:
    """What the upstream refused because a limit was exceeded."""

    def __init__(self, upstream: Upstream) -> None:
        self.found: list[str] = []
        ledger = upstream._streams.ledger
        for name in ("connect", "request"):
            self._spy(ledger, name, lambda verdict: not verdict)
        for name in ("message", "subscribe"):
            self._spy(ledger, name, lambda verdict: verdict is not None)

    def _spy(self, ledger: Any, name: str, is_excess: Any) -> None:
        asked = getattr(ledger, name)

        def spied(*args: Any) -> Any:
            verdict = asked(*args)
            if is_excess(verdict):
                self.found.append(f"{asyncio.get_running_loop().time():.1f} s: {name} {args}: {verdict}")
            return verdict

        setattr(ledger, name, spied)


@contextlib.asynccontextmanager
async def soaking(seed: int) -> AsyncIterator[tuple[World, Site]]:
    settings: dict[str, Any] = {"ws_write_buffer_bytes": 4096}
    upstream = {
        "limits": Limits(),
        "seed": seed,
        "walk": True,
        # Slower than the exchange, for the sake of this machine; nothing here depends on it.
        "tick_s": 5.0,
        "push_s": 10.0,
        "cadences": dict.fromkeys(("fastAssetCtxs", "bbo", "candle", "activeAssetCtx", "l2Book"), 10.0),
    }
    async with running(*TRACKED, upstream=upstream, **settings) as world:
        site = Site(world.program, Settings(**settings))
        await site.start()
        try:
            yield world, site
        finally:
            await site.finish()


def at_work() -> Counter[str]:
    return Counter(str(task.get_coro()).split(" at 0x")[0] for task in asyncio.all_tasks())


def held(world: World, site: Site) -> dict[str, int]:
    """How much of what clients cause there is."""
    replica, endpoint = world.program.replica, world.program.endpoint
    return {
        "clients": len(endpoint),
        "topics": len(endpoint.hub),
        "bytes kept": endpoint.hub._kept.size,
        "streams": len(replica._streams._streams),
        "parts of webData2": len(replica.mirror._users),
        "subscriptions": replica.feed.held,
        "connections": replica.feed.sockets,
        "channels of the upstream": len(world.upstream._feeds),
    }


@pytest.mark.parametrize("seed", _seeds())
async def test_what_clients_heard_is_what_happened(seed: int) -> None:
    random = Random(seed)
    async with soaking(seed) as (world, site):
        upstream, counts = world.upstream, world.program.replica._streams.counts
        truth, excess = Truth(upstream, USERS, tuple(COINS)), Excess(upstream)
        bots = Bots(upstream, USERS, Random(random.random()), every_s=12.0)
        trouble = Trouble(upstream, USERS, Random(random.random()), every_s=90.0)
        clients = population(site, truth, seed)
        await asyncio.sleep(10.0)
        before = at_work(), held(world, site)

        async with asyncio.TaskGroup() as group:
            lives = [group.create_task(client.live()) for client in clients]
            acting = [group.create_task(one) for one in (bots.trade(), watch(world))]
            faults = group.create_task(trouble.go_on())
            await asyncio.sleep(HOURS * 3600)
            faults.cancel()
            await asyncio.wait([faults])
            await trouble.end()
            for one in acting:
                one.cancel()
            upstream.pause()
            await asyncio.sleep(QUIET_S)

            print("\n".join(f"{at:.0f} s: {what}" for at, what in trouble.story))
            assert excess.found == []
            heard = missing = 0
            for client in clients:
                rows, gone = judge_logs(client, truth)
                heard, missing = heard + rows, missing + gone
                judge_states(client, upstream)
                assert [text for text in client.errors if not text.startswith(EXPECTED)] == [], client.name
            for client in clients:
                await client.leave()
            await asyncio.wait(lives)

        # Not for want of anything happening, nor by saying that all is lost.
        assert heard > 1000 * HOURS and counts.rows_healed > 20 * HOURS and bots.done > 100 * HOURS
        assert missing < heard / 50, f"{missing} rows of {heard} could not be had, in {counts.gaps} gaps"
        assert world.program.endpoint.hub.counts.resumed > 0
        await asyncio.sleep(QUIET_S)
        assert (at_work(), held(world, site)) == before
