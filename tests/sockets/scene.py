"""A devnode, our server in front of it, somebody who acts there, and what really happened.

The devnode's time stands still: nothing happens there but what an `Actor` does. The truth is what it answers
on `/info`, which has next to nothing in common with the frames that are compared with it.
"""

import asyncio
import contextlib
import http.client
import json
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from server.devnode import Limits
from server.devnode.background import running as devnode
from server.devnode.client import DevnodeClient
from tests.processes import running

TARGETS = ("devnode", "hl-replica")
DEADLINE_S = 20.0
AHEAD_MS = 30_000  # is where the devnode's clock begins: our own does not overtake it while it stands
TICK_S = 15.0  # a block, in the devnode's time; every other one has a slice of a TWAP
BTC, ETH = 0, 1

# Faults are to be noticed, and mended, within a test's patience. The upstream's time stands still.
SETTINGS = {
    "ping_interval_s": 0.4,
    "pong_timeout_s": 0.4,
    "subscribe_timeout_s": 1,
    "reconnect_min_s": 0.05,
    "reconnect_max_s": 0.2,
    "frozen_after_s": 0,
    "upstream_connections_per_minute": 0,
    "upstream_weight_per_minute": 0,
}


@dataclass(frozen=True, slots=True)
class Scene:
    """`url` is what the client is told; `node` are the controls of the exchange behind it."""

    url: str
    node: DevnodeClient

    @property
    def ws_url(self) -> str:
        return f"ws{self.url.removeprefix('http')}/ws"


@contextlib.asynccontextmanager
async def staged(target: str, **options: Any) -> AsyncIterator[Scene]:
    """The devnode itself, or a server process of ours in front of it. `options` are those of `Devnode`."""
    begin = int(time.time() * 1000) + AHEAD_MS
    world = {"accounts": 2, "seed": 3, "limits": Limits.off(), "impersonation": True, "paused": True}
    with devnode(**world, time_ms=begin, tick_s=TICK_S, **options) as node:
        if target == "devnode":
            yield Scene(node.url, node)
            return
        settings = {f"HL_REPLICA_{name.upper()}": str(value) for name, value in SETTINGS.items()}
        program = running("serve", "--port", "0", "--upstream", node.url, environment=settings)
        async with program as (_, hello):
            found = re.search(r"http://127\.0\.0\.1:\d+", hello)
            assert found, hello
            yield Scene(found.group(), node)


class Actor:
    """Somebody on the exchange who acts without a key and a server in between. Every call blocks.

    Prices are those at the last `look`: while nobody can connect, the controls alone are heeded.
    """

    def __init__(self, node: DevnodeClient, user: str, usd: float = 10_000) -> None:
        self.node = node
        self.user = user
        self.node.fund(user, usd)
        self.look()

    def look(self) -> None:
        bids, asks = self.node.info("l2Book", coin="BTC")["levels"]
        self.bid, self.ask = int(float(bids[0]["px"])), int(float(asks[0]["px"]))  # a tick is a dollar

    def act(self, action: dict[str, Any]) -> Any:
        answer = self.node.impersonate(self.user, action)
        assert answer["status"] == "ok", answer
        return answer["response"]

    def order(self, is_buy: bool, px: str, sz: str = "0.01", tif: str = "Gtc", asset: int = BTC) -> Any:
        row = {"a": asset, "b": is_buy, "p": px, "s": sz, "r": False, "t": {"limit": {"tif": tif}}}
        answer = self.act({"type": "order", "orders": [row], "grouping": "na"})
        return answer["data"]["statuses"][0]

    def buy(self, sz: str = "0.01") -> int:
        """At once; the order's id."""
        return int(self.order(True, str(self.ask + 500), sz, "Ioc")["filled"]["oid"])

    def rest(self) -> int:
        """An order that nobody takes; its id."""
        return int(self.order(True, str(self.bid - 9000))["resting"]["oid"])

    def cancel(self, oid: int) -> None:
        self.act({"type": "cancel", "cancels": [{"a": BTC, "o": oid}]})

    def meet_myself(self) -> None:
        """The exchange cancels an order that would trade with one of the same owner: nobody's wish."""
        between = str(self.ask - 1)
        self.order(False, between)
        assert "error" in self.order(True, between, tif="Ioc")

    def twap(self) -> None:
        row = {"a": ETH, "b": True, "s": "1.0", "r": False, "m": 5, "t": False}
        assert "running" in self.act({"type": "twapOrder", "twap": row})["data"]["status"]

    def round(self) -> None:
        """Something of everything that can happen to an account within a moment."""
        self.meet_myself()
        oid = self.rest()
        self.buy()
        self.cancel(oid)
        self.node.fund(self.user, 5)

    def until_settled(self) -> None:
        """Let an hour pass, and the funding come that is due in it."""
        self.node.advance(3600)


# -- what is true ----------------------------------------------------------------------------------------


class Truth:
    """What the devnode says happened, oldest first, in the form of the frames."""

    def __init__(self, node: DevnodeClient, user: str, coin: str = "BTC") -> None:
        self.user = user
        self._node = node
        self._coin = coin

    def of(self, kind: str) -> Any:
        """The rows of a subscription type; of `userEvents` a list for each key."""
        return getattr(self, "_" + kind)()

    def candles(self) -> list[Any]:
        """Those of a minute."""
        request = {"coin": self._coin, "interval": "1m", "startTime": 0, "endTime": 2**52}
        return list(self._node.info("candleSnapshot", req=request))

    def _info(self, kind: str, **fields: Any) -> list[dict[str, Any]]:
        return list(self._node.info(kind, user=self.user, **fields))

    def _userFills(self) -> list[Any]:
        # Slices of a TWAP have a stream of their own.
        return [row for row in self._info("userFills")[::-1] if row["twapId"] is None]

    def _userFundings(self) -> list[Any]:
        flat = [{"time": row["time"], **row["delta"]} for row in self._info("userFunding", startTime=0)]
        return [{name: value for name, value in row.items() if name != "type"} for row in flat]

    def _userNonFundingLedgerUpdates(self) -> list[Any]:
        return self._info("userNonFundingLedgerUpdates", startTime=0)

    def _userHistoricalOrders(self) -> list[Any]:
        return self._info("historicalOrders")[::-1]

    def _userTwapSliceFills(self) -> list[Any]:
        return self._info("userTwapSliceFills")[::-1]

    def _userTwapHistory(self) -> list[Any]:
        return self._info("twapHistory")[::-1]

    def _orderUpdates(self) -> list[Any]:
        return [{**row, "order": basic(row["order"])} for row in self._userHistoricalOrders()]

    def _userEvents(self) -> dict[str, list[Any]]:
        unwanted = [row for row in self._userHistoricalOrders() if row["status"] == "selfTradeCanceled"]
        return {
            "fills": self._userFills(),
            "twapSliceFills": self._userTwapSliceFills(),
            "funding": self._userFundings(),
            "nonUserCancel": [{name: row["order"][name] for name in ("coin", "oid")} for row in unwanted],
            "twapHistory": self._userTwapHistory(),
        }

    def _trades(self) -> list[Any]:
        rows = list(self._node.info("recentTrades", coin=self._coin))
        assert len(rows) < 10, "older ones are not told any more: the test trades too much"
        return rows[::-1]


def basic(order: dict[str, Any]) -> dict[str, Any]:
    """An order as `orderUpdates` has it."""
    kept = {name: order[name] for name in ("coin", "side", "limitPx", "sz", "oid", "timestamp", "origSz")}
    kept |= {"cloid": order["cloid"]} if order.get("cloid") is not None else {}
    return kept | ({"reduceOnly": True} if order.get("reduceOnly") else {})


ROWS = {
    "userFills": "fills",
    "userFundings": "fundings",
    "userNonFundingLedgerUpdates": "nonFundingLedgerUpdates",
    "userHistoricalOrders": "orderHistory",
    "userTwapSliceFills": "twapSliceFills",
    "userTwapHistory": "history",
}
"""The key of the rows in a frame of each type with a snapshot."""

EVENTS = ("orderUpdates", "userEvents", "trades", *ROWS)
"""Types of which every row counts."""


def rows_of(kind: str, frames: list[dict[str, Any]]) -> Any:
    """All that some frames of one subscription tell, in the form of `Truth.of`."""
    if kind == "userEvents":
        found: dict[str, list[Any]] = {
            name: [] for name in ("fills", "twapSliceFills", "funding", "nonUserCancel", "twapHistory")
        }
        for frame in frames:
            for name, value in frame["data"].items():
                found[name] += value if isinstance(value, list) else [value]
        return found
    if kind in ROWS:
        return [row for frame in frames for row in frame["data"][ROWS[kind]]]
    return [row for frame in frames for row in frame["data"]]


# -- waiting -----------------------------------------------------------------------------------------------


def until(done: Callable[[], Any], what: str) -> None:
    """Wait in a thread for a condition that another thread brings about."""
    end = time.monotonic() + DEADLINE_S
    while not done():
        assert time.monotonic() < end, f"not within {DEADLINE_S:g} s: {what}"
        time.sleep(0.01)


async def comes_true(done: Callable[[], Any], what: str) -> None:
    """The same on the event loop. What blocks in `done` is short."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(DEADLINE_S):
            while not done():  # noqa: ASYNC110 - what is waited for happens in another process
                await asyncio.sleep(0.01)
            return
    raise AssertionError(f"not within {DEADLINE_S:g} s: {what}")


def told(name: str, expected: Any, heard: Any) -> str:
    """What is missing, and what is too much, in a line or two."""
    if isinstance(expected, dict):
        return "; ".join(told(f"{name}.{key}", expected[key], heard[key]) for key in expected)
    wanted, found = ([json.dumps(row, sort_keys=True) for row in rows] for rows in (expected, heard))
    if wanted == found:
        return f"{name}: as it should be"
    missing = [row[:160] for row in wanted if row not in found]
    twice = sorted({row[:160] for row in found if found.count(row) > wanted.count(row)})
    if not missing and not twice:
        place = next(i for i, (one, other) in enumerate(zip(wanted, found, strict=True)) if one != other)
        return f"{name}: from {place} on in another order: {found[place:]}, not {wanted[place:]}"
    return f"{name}: {len(found)} of {len(wanted)}, missing {missing}, too much {twice}"


# -- outages -----------------------------------------------------------------------------------------------

OUTAGES = ("cut", "mute", "down")


@contextlib.contextmanager
def outage(scene: Scene, how: str) -> Iterator[None]:
    """The exchange can't be heard, and our server has noticed before it can again.

    "cut": no websockets, requests are answered; "mute": connections stand and nothing comes over them, not
    even pongs; "down": nobody listens at its port.
    """
    node = scene.node
    if how == "cut":
        node.faults.answer(503, path="/ws")
        node.drop_sockets()
        until(lambda: stats(node)["refused_connections"], "another attempt to connect")
    elif how == "mute":
        opened = stats(node)["connections"] + ready(scene)["feed"]["sockets"]
        node.faults.go_mute()
        until(lambda: stats(node)["connections"] >= opened, "a new connection in place of each")
    else:
        node.refuse_connections()
        node.abort()
    yield
    node.faults.heal()
    node.call("accept_connections")


def stats(node: DevnodeClient) -> dict[str, Any]:
    return dict(node.status()["stats"])


def ready(scene: Scene) -> dict[str, Any]:
    """What our server says of itself."""
    with contextlib.closing(http.client.HTTPConnection(urlsplit(scene.url).netloc)) as connection:
        connection.request("GET", "/ready")
        return dict(json.loads(connection.getresponse().read()))
