"""What a listener of the mirror hears over an outage, compared with what happened at the devnode."""

import asyncio
import itertools
import json
from collections import defaultdict
from typing import Any

from hyperliquid.utils.signing import sign_l1_action

from replica import Subscription
from replica.streams.memory import Gap
from tests.upstream import TRADER
from tests.virtual import ALICE, EPOCH, World, running

USER = TRADER.address.lower()
STREAMS = {
    one.type: one
    for one in (
        Subscription({"type": "userFills", "user": USER}),
        Subscription({"type": "orderUpdates", "user": USER}),
        Subscription({"type": "userEvents", "user": USER}),
        Subscription({"type": "userHistoricalOrders", "user": USER}),
        Subscription({"type": "userNonFundingLedgerUpdates", "user": USER}),
        Subscription({"type": "userFundings", "user": USER}),
        Subscription({"type": "trades", "coin": "BTC"}),
        Subscription({"type": "candle", "coin": "BTC", "interval": "1m"}),
    )
}


class Ear:
    """What was told of each type."""

    def __init__(self) -> None:
        self.told: dict[str, list[Any]] = defaultdict(list)
        self.gaps: list[Gap] = []

    def confirmed(self, subscription: Subscription) -> None: ...

    def refused(self, subscription: Subscription, text: str) -> None:
        raise AssertionError(text)

    def frame(self, subscription: Subscription, frame: bytes) -> None:
        self.told[subscription.type].append(json.loads(frame)["data"])

    def gap(self, subscription: Subscription, gap: Gap) -> None:
        self.gaps.append(gap)

    def rows(self, type_: str, name: str) -> list[Any]:
        return [row for data in self.told[type_] for row in data.get(name, ())]


class Trader:
    """Buys, sells, rests and cancels, over HTTP."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._nonces = itertools.count(int(EPOCH * 1000))

    async def act(self, action: dict[str, Any]) -> Any:
        nonce = next(self._nonces)
        signature = sign_l1_action(TRADER, action, None, nonce, None, False)
        body = {"action": action, "nonce": nonce, "signature": signature, "vaultAddress": None}
        reply = await self._world.write(json.dumps(body).encode())
        said = json.loads(reply.body)
        assert said["status"] == "ok", said
        return said["response"]["data"]["statuses"][0]

    async def order(self, is_buy: bool, price: str, tif: str) -> Any:
        row = {"a": 0, "b": is_buy, "p": price, "s": "0.001", "r": False, "t": {"limit": {"tif": tif}}}
        return await self.act({"type": "order", "orders": [row], "grouping": "na"})

    async def round(self) -> None:
        """A fill, an order that rests, its cancel."""
        assert "filled" in await self.order(True, "120000", "Ioc")
        oid = (await self.order(True, "50000", "Gtc"))["resting"]["oid"]
        await asyncio.sleep(1.0)
        await self.act({"type": "cancel", "cancels": [{"a": 0, "o": oid}]})


def truth(world: World, type_: str, **fields: Any) -> Any:
    return json.loads(world.upstream.says(type_, **fields))


async def test_what_happens_during_an_outage_is_heard_once_and_in_order() -> None:
    # Between two connections there are minutes.
    async with running(reconnect_min_s=150.0, reconnect_max_s=150.0) as world:
        mirror, ear, trader = world.program.replica.mirror, Ear(), Trader(world)
        mirror.listener = ear
        began = world.upstream.now_ms()
        for one in STREAMS.values():
            assert mirror.hold(one) is None
        await world.until(lambda: all(mirror.confirmed(one) for one in STREAMS.values()))
        await asyncio.sleep(2.0)
        await trader.round()
        for _ in range(2):
            await asyncio.sleep(5.0)
            world.upstream.drop_sockets()
            await trader.round()
            assert (await world.write(world.upstream.transfer(USER, 5.0))).status == 200
            await world.until(lambda: world.upstream.sockets > 0, 200.0)
            await trader.round()
            await asyncio.sleep(60.0)

        fills = truth(world, "userFills", user=USER)[::-1]
        assert len(fills) == 5
        assert ear.rows("userFills", "fills") == fills
        assert ear.rows("userEvents", "fills") == fills
        statuses = truth(world, "historicalOrders", user=USER)[::-1]
        assert ear.rows("userHistoricalOrders", "orderHistory") == statuses
        told = [row for rows in ear.told["orderUpdates"] for row in rows]
        assert [(r["order"]["oid"], r["status"], r["statusTimestamp"]) for r in told] == [
            (r["order"]["oid"], r["status"], r["statusTimestamp"]) for r in statuses
        ]
        # Those that were healed look as those that came live.
        assert len({tuple(row["order"]) for row in told}) == 1
        ledger = truth(world, "userNonFundingLedgerUpdates", user=USER)
        assert len(ledger) > 2
        assert ear.rows("userNonFundingLedgerUpdates", "nonFundingLedgerUpdates") == ledger
        trades = truth(world, "recentTrades", coin="BTC")[::-1]
        heard = [row for rows in ear.told["trades"] for row in rows]
        assert [row for row in heard if row["tid"] in {row["tid"] for row in trades}] == trades
        assert len({row["tid"] for row in heard}) == len(heard)
        minutes = [candle["t"] for candle in ear.told["candle"]]
        assert minutes == sorted(minutes)
        last = {candle["t"]: candle for candle in ear.told["candle"]}
        wanted = {"coin": "BTC", "interval": "1m", "startTime": began}
        closed = truth(world, "candleSnapshot", req=wanted)[1:-1]
        assert closed
        assert [last.get(candle["t"]) for candle in closed] == closed
        assert ear.gaps == []


async def test_a_clock_of_ours_that_is_ahead_hides_nothing_that_happened_before_the_first_row() -> None:
    async with running(ALICE, skew_s=30.0, reconnect_min_s=5.0, reconnect_max_s=5.0) as world:
        mirror, ear, trader = world.program.replica.mirror, Ear(), Trader(world)
        mirror.listener = ear
        await asyncio.sleep(10.0)
        assert mirror.hold(STREAMS["orderUpdates"]) is None
        await world.until(lambda: mirror.confirmed(STREAMS["orderUpdates"]))
        await asyncio.sleep(2.0)
        world.upstream.drop_sockets()
        oid = (await trader.order(True, "50000", "Gtc"))["resting"]["oid"]
        await asyncio.sleep(20.0)
        assert [row["order"]["oid"] for rows in ear.told["orderUpdates"] for row in rows] == [oid]
        assert ear.gaps == []
