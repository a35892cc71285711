"""Accounts that trade on the devnode without a pause."""

import asyncio
from random import Random
from typing import Any

from server.devnode.market import Exchange
from tests.upstream import Upstream

COINS = {"BTC": 0, "ETH": 1, "SOL": 4}
SIZES = {"BTC": "0.001", "ETH": "0.02", "SOL": "0.5"}


class Bots:
    """`trade` until cancelled: fills, resting orders, cancels, TWAPs, transfers."""

    def __init__(self, upstream: Upstream, users: tuple[str, ...], random: Random, every_s: float) -> None:
        assert isinstance(upstream.source, Exchange)
        self._upstream = upstream
        self._engine = upstream.source.engine
        self._users = users
        self._random = random
        self._every_s = every_s
        self._resting: list[tuple[str, int, int]] = []  # user, asset, oid
        self.done = 0

    async def trade(self) -> None:
        for user in self._users:
            self._upstream.fund(user, 1_000_000)
        while True:
            await asyncio.sleep(self._random.expovariate(1 / self._every_s))
            for _ in range(self._random.choice((1, 1, 1, 2, 4))):
                self.act()

    def act(self) -> None:
        random = self._random
        user = random.choice(self._users)
        coin = random.choice(tuple(COINS))
        match random.choices(("take", "rest", "cancel", "send", "twap", "schedule"), (8, 4, 4, 2, 1, 1))[0]:
            case "take":
                self._order(user, coin, random.random() < 0.5, 0.02, "Ioc")
            case "rest":
                answer = self._order(user, coin, random.random() < 0.5, -0.1, "Gtc")
                if answer["status"] == "ok":
                    for status in answer["response"]["data"]["statuses"]:
                        if "resting" in status:
                            self._resting.append((user, COINS[coin], status["resting"]["oid"]))
            case "cancel" if self._resting:
                user, asset, oid = self._resting.pop(random.randrange(len(self._resting)))
                self._act(user, {"type": "cancel", "cancels": [{"a": asset, "o": oid}]})
            case "send":
                other = random.choice([one for one in self._users if one != user])
                self._act(
                    user,
                    {
                        "type": "usdSend",
                        "signatureChainId": "0x66eee",
                        "hyperliquidChain": "Testnet",
                        "destination": other,
                        "amount": str(random.randint(1, 99)),
                        "time": self._upstream.clock.now_ms(),
                    },
                )
            case "twap":
                twap = {
                    "a": COINS[coin],
                    "b": random.random() < 0.5,
                    "s": str(float(SIZES[coin]) * 50),
                    "r": False,
                    "m": 5,
                    "t": False,
                }
                self._act(user, {"type": "twapOrder", "twap": twap})
            case "schedule":
                at = self._upstream.clock.now_ms() + 10_000
                self._act(user, {"type": "scheduleCancel", "time": at})

    def _order(self, user: str, coin: str, is_buy: bool, beyond: float, tif: str) -> Any:
        """So far beyond the mid, as a share of it."""
        mid = float(self._engine.mid(coin) or 0)
        price = mid * (1 + beyond if is_buy else 1 - beyond)
        order = {
            "a": COINS[coin],
            "b": is_buy,
            "p": f"{float(f'{price:.5g}'):g}" if price < 1e5 else str(round(price)),
            "s": SIZES[coin],
            "r": False,
            "t": {"limit": {"tif": tif}},
        }
        return self._act(user, {"type": "order", "orders": [order], "grouping": "na"})

    def _act(self, user: str, action: dict[str, Any]) -> Any:
        answer = self._upstream.impersonate(user, action)
        self.done += answer["status"] == "ok"
        return answer
