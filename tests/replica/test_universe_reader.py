"""When the lists of coins are read, and what is made of an upstream that does not have them all."""

import asyncio
import json
from typing import Any

from replica.clock import Clock
from replica.errors import UpstreamUnavailable
from replica.subscription import Subscription
from replica.universe_reader import RETRY_S, UniverseReader
from replica.upstream.rest import Answer

ANSWERS: dict[str, Any] = {
    "perpDexs": [None, {"name": "xyz"}],
    "allPerpMetas": [{"universe": [{"name": "BTC"}]}, {"universe": [{"name": "xyz:XYZ100"}]}],
    "spotMeta": {"universe": [{"name": "PURR/USDC"}]},
    "outcomeMeta": {"outcomes": [{"outcome": 1, "sideSpecs": [{}, {}]}]},
}


class Upstream:
    """Answers after a second. What has no answer gets 422."""

    def __init__(self) -> None:
        self.answers = dict(ANSWERS)
        self.asked: list[str] = []
        self.down = False

    async def read(self, type_: str, body: bytes) -> Answer:
        self.asked.append(type_)
        await asyncio.sleep(1.0)
        if self.down:
            raise UpstreamUnavailable("down")
        fields = json.loads(body)
        assert fields.pop("type") == type_
        answer = self.answers.get(type_)
        if callable(answer):
            answer = answer(**fields)
        if answer is None:
            return Answer(422, b"Failed to deserialize the JSON body into the target type", "text/plain")
        return Answer(200, json.dumps(answer).encode(), "application/json")


def reader(upstream: Upstream) -> UniverseReader:
    clock = Clock(monotonic=asyncio.get_running_loop().time, wall=lambda: 0.0)
    return UniverseReader(upstream.read, clock, every_s=60.0)


async def test_it_is_read_once_a_minute_however_many_ask() -> None:
    upstream = Upstream()
    universe = reader(upstream)
    assert universe.universe.knows_coin("BTC") is None
    await asyncio.gather(*(universe.refresh() for _ in range(5)))
    assert upstream.asked == ["perpDexs", "allPerpMetas", "spotMeta", "outcomeMeta"]
    assert universe.universe.knows_coin("BTC") is True
    assert universe.universe.knows_coin("xyz:XYZ100") is True
    assert universe.universe.knows_coin("#11") is True
    assert universe.universe.knows_coin("NEW") is False

    upstream.answers["allPerpMetas"] = [{"universe": [{"name": "BTC"}, {"name": "NEW"}]}]
    await universe.refresh()
    assert universe.universe.knows_coin("NEW") is False
    await asyncio.sleep(60.0)
    await universe.refresh()
    assert universe.universe.knows_coin("NEW") is True


async def test_what_is_not_to_be_had_stays_unknown_and_is_asked_for_soon() -> None:
    upstream = Upstream()
    upstream.down = True
    universe = reader(upstream)
    await universe.refresh()
    assert universe.universe.knows_coin("BTC") is None
    upstream.down = False
    await universe.refresh()
    assert universe.universe.knows_coin("BTC") is None
    await asyncio.sleep(RETRY_S)
    await universe.refresh()
    assert universe.universe.knows_coin("BTC") is True


async def test_of_what_was_read_nothing_is_asked_for_sooner_because_of_what_was_not() -> None:
    upstream = Upstream()
    upstream.answers["outcomeMeta"] = {"not": "as it should be"}
    universe = reader(upstream)
    while asyncio.get_running_loop().time() < 60.0:
        await universe.refresh()
        await asyncio.sleep(1.0)
    assert upstream.asked[:4] == ["perpDexs", "allPerpMetas", "spotMeta", "outcomeMeta"]
    assert upstream.asked[4:] == ["outcomeMeta"] * 3  # after 5, 10 and 20 s
    assert universe.knows(Subscription({"type": "trades", "coin": "#10"})) is None
    assert universe.knows(Subscription({"type": "trades", "coin": "BTC"})) is True


async def test_a_reading_that_fails_leaves_what_was_known() -> None:
    upstream = Upstream()
    universe = reader(upstream)
    await universe.refresh()
    upstream.down = True
    await asyncio.sleep(60.0)
    await universe.refresh()
    assert universe.universe.knows_coin("BTC") is True


async def test_an_upstream_without_some_types_is_read_as_far_as_it_goes() -> None:
    upstream = Upstream()
    upstream.answers["allPerpMetas"] = upstream.answers["outcomeMeta"] = None
    metas = {"": {"universe": [{"name": "BTC"}]}, "xyz": {"universe": [{"name": "xyz:XYZ100"}]}}
    upstream.answers["meta"] = lambda dex: metas[dex]
    universe = reader(upstream)
    await universe.refresh()
    assert upstream.asked == ["perpDexs", "allPerpMetas", "meta", "meta", "spotMeta", "outcomeMeta"]
    assert universe.universe.knows_coin("xyz:XYZ100") is True
    assert universe.universe.knows_coin("#10") is False
