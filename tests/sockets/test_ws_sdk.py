"""The official client's websocket manager, on every type it knows: at the devnode, and at our server."""

import asyncio
import contextlib
import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from hyperliquid.exchange import Exchange
from hyperliquid.info import Info

from tests.server.signing.sdk import wallet
from tests.sockets.scene import (
    EVENTS,
    OUTAGES,
    ROWS,
    TARGETS,
    Actor,
    Scene,
    Truth,
    outage,
    rows_of,
    staged,
    told,
    until,
)

KEY, OTHER = wallet(11), wallet(14)

MARKETS: dict[str, dict[str, Any]] = {
    "allMids": {"type": "allMids"},
    "l2Book": {"type": "l2Book", "coin": "BTC"},
    "trades": {"type": "trades", "coin": "BTC"},
    "bbo": {"type": "bbo", "coin": "BTC"},
    "candle": {"type": "candle", "coin": "BTC", "interval": "1m"},
    "activeAssetCtx": {"type": "activeAssetCtx", "coin": "BTC"},
    "activeSpotAssetCtx": {"type": "activeAssetCtx", "coin": "PURR/USDC"},
}
ACCOUNTS = (
    "userEvents",
    "userFills",
    "orderUpdates",
    "userFundings",
    "userNonFundingLedgerUpdates",
    "webData2",
)
LOGS = tuple(kind for kind in ROWS if kind in ACCOUNTS)
COUNTED = tuple(kind for kind in EVENTS if kind in ACCOUNTS or kind in MARKETS)
NO_SNAPSHOT = ("orderUpdates", "userEvents")


def known(user: str) -> dict[str, dict[str, Any]]:
    """All of `hyperliquid.websocket_manager`."""
    mine = {kind: {"type": kind, "user": user} for kind in ACCOUNTS}
    return MARKETS | mine | {"activeAssetData": {"type": "activeAssetData", "coin": "BTC", "user": user}}


class Watcher:
    """The SDK's `Info`, subscribed to all it knows. `user` with a checksum, as its users have it."""

    def __init__(self, scene: Scene, user: str) -> None:
        self.scene = scene
        self.truth = Truth(scene.node, user.lower())
        self.known = known(user)
        self.info = Info(scene.url)
        manager = self.info.ws_manager
        assert manager is not None
        until(lambda: manager.ws_ready, "a websocket")
        self.manager = manager
        self.socket = manager.ws.sock
        self.heard: dict[str, list[Any]] = {kind: [] for kind in self.known}
        self.acknowledged: list[dict[str, Any]] = []
        self.errors: list[str] = []
        self._handed = manager.ws.on_message
        manager.ws.on_message = self._listen  # the manager drops these two kinds of frames unseen
        self.since = {kind: self.truth.of(kind) for kind in NO_SNAPSHOT}
        self.traded = len(self.truth.of("trades"))
        self.ids = {
            kind: self.info.subscribe(dict(subscription), self.heard[kind].append)  # type: ignore[arg-type]
            for kind, subscription in self.known.items()
        }
        until(lambda: len(self.acknowledged) + len(self.errors) == len(self.known), "as many answers")

    def _listen(self, app: Any, text: str) -> None:
        frame = json.loads(text)
        if frame["channel"] == "subscriptionResponse":
            self.acknowledged.append(frame["data"])
        elif frame["channel"] == "error":
            self.errors.append(frame["data"])
        self._handed(app, text)

    @property
    def connected(self) -> bool:
        """Whether it is the first connection still: this client never makes a second one."""
        return self.manager.is_alive() and self.manager.ws.sock is self.socket

    def told(self, kind: str) -> Any:
        return rows_of(kind, self.heard[kind])

    def close(self) -> None:
        # Without this its thread looks up from its socket only after ten seconds.
        with contextlib.suppress(OSError):
            self.socket.sock.shutdown(socket.SHUT_RDWR)
        self.manager.join(10)
        self.info.disconnect_websocket()

    def has_every_event(self) -> None:
        """Wait until it was told every event, each once and in order."""
        for kind in COUNTED:
            rows = added(self.truth.of(kind), self.since.get(kind))
            try:
                until(lambda kind=kind, rows=rows: self._has(kind, rows), kind)  # type: ignore[misc]
            except AssertionError:
                raise AssertionError(told(kind, rows, self.told(kind))) from None
        for kind in LOGS:
            flags = [frame["data"].get("isSnapshot") for frame in self.heard[kind]]
            assert flags == [True] + [None] * (len(flags) - 1)

    def _has(self, kind: str, rows: Any) -> bool:
        found = self.told(kind)
        if kind == "trades":  # of those before it came it is told some, the newest
            return len(rows) - len(found) in range(self.traded + 1) and rows[-len(found) :] == found
        return bool(found == rows)

    def has_every_state(self) -> None:
        """Wait until the last frame of each state is what the exchange says now."""
        node = self.scene.node
        bids, asks = node.info("l2Book", coin="BTC")["levels"]
        spot = {row["coin"]: row for row in node.info("spotMetaAndAssetCtxs")[1]}
        expected: dict[str, Any] = {
            "allMids": {"mids": node.info("allMids")},
            "l2Book": {"coin": "BTC", "levels": [bids, asks]},
            "bbo": {"coin": "BTC", "bbo": [bids[0], asks[0]]},
            "activeAssetCtx": {"coin": "BTC", "ctx": node.info("metaAndAssetCtxs")[1][0]},
            "activeSpotAssetCtx": {"coin": "PURR/USDC", "ctx": spot["PURR/USDC"]},
            "activeAssetData": node.info("activeAssetData", user=self.truth.user, coin="BTC"),
            "candle": self.truth.candles()[-1],
        }
        node.push()
        for kind, wanted in expected.items():
            until(lambda kind=kind, wanted=wanted: self._last(kind) == wanted, f"{kind}: {wanted}")  # type: ignore[misc]

    def _last(self, kind: str) -> Any:
        data = self.heard[kind][-1]["data"]
        return {key: value for key, value in data.items() if key != "time" or kind not in ("l2Book", "bbo")}

    def has_candles(self, begin: int, end: int) -> None:
        """Wait until it knows how the candles ended that began and ended between these times."""
        for row in self.truth.candles():
            if begin <= row["t"] and row["T"] < end:
                until(lambda row=row: self._candle(row["t"]) == row, f"the candle {row}")  # type: ignore[misc]

    def _candle(self, opening: int) -> Any:
        frames = [frame["data"] for frame in self.heard["candle"] if frame["data"]["t"] == opening]
        return frames[-1] if frames else None


@contextlib.contextmanager
def watching(scene: Scene, user: str) -> Iterator[Watcher]:
    watcher = Watcher(scene, user)
    try:
        yield watcher
        assert watcher.connected
    finally:
        watcher.close()


def added(rows: Any, before: Any) -> Any:
    """What has come to the truth since."""
    if before is None:
        return rows
    if isinstance(rows, dict):
        return {name: value[len(before[name]) :] for name, value in rows.items()}
    return rows[len(before) :]


def every_type(scene: Scene, refused: int) -> None:
    actor = Actor(scene.node, KEY.address.lower())
    actor.twap()
    actor.round()
    with watching(scene, KEY.address) as watcher:
        taken = len(watcher.known) - refused
        assert len(watcher.errors) == refused, watcher.errors
        assert [ack["method"] for ack in watcher.acknowledged] == ["subscribe"] * taken
        for kind in watcher.known:
            if kind not in NO_SNAPSHOT and not (refused and kind == "webData2"):
                until(lambda kind=kind: watcher.heard[kind], f"a first frame of {kind}")  # type: ignore[misc]
        for kind in LOGS:
            assert watcher.told(kind) == watcher.truth.of(kind)
        watcher.has_every_state()

        bot = Exchange(KEY, scene.url)
        bot.update_leverage(7, "BTC")
        assert "filled" in bot.market_open("BTC", False, 0.02)["response"]["data"]["statuses"][0]
        actor.look()
        actor.round()
        actor.until_settled()
        watcher.has_every_event()
        watcher.has_every_state()
        if not refused:
            # What `/info` still answers of that name, but for a list that is left out where it is empty.
            whole = scene.node.info("webData2", user=watcher.truth.user)
            assert whole.pop("perpsAtOpenInterestCap") == []
            until(lambda: watcher.heard["webData2"][-1]["data"] == whole, "webData2")

        # It leaves and comes back, and is told again what there was.
        for kind, subscription in watcher.known.items():
            watcher.info.unsubscribe(dict(subscription), watcher.ids[kind])  # type: ignore[arg-type]
        until(lambda: len(watcher.acknowledged) == 2 * taken, "the end of every subscription")
        again: list[Any] = []
        watcher.info.subscribe(dict(watcher.known["userFills"]), again.append)  # type: ignore[arg-type]
        until(lambda: again, "a snapshot")
        assert again[0]["data"]["isSnapshot"] is True
        assert rows_of("userFills", again) == watcher.truth.of("userFills")


@pytest.mark.parametrize("target", TARGETS)
async def test_every_type_it_knows(target: str) -> None:
    async with staged(target) as scene:
        # The exchange itself doesn't have webData2 any more.
        await asyncio.to_thread(every_type, scene, 1 if target == "devnode" else 0)


def through_outages(scene: Scene) -> None:
    node = scene.node
    users = [KEY.address, OTHER.address]
    actors = [Actor(node, user.lower()) for user in users]
    for actor in actors:
        actor.twap()
    with contextlib.ExitStack() as stack:
        watchers = [stack.enter_context(watching(scene, user)) for user in users]
        for actor in actors:
            actor.round()
        for how in OUTAGES:
            for actor in actors:
                actor.look()
            begin = node.status()["time"] // 60_000 * 60_000
            with outage(scene, how):
                if how == "cut":  # it joins what is held while nothing new can be heard
                    watchers.append(stack.enter_context(watching(scene, KEY.address)))
                for actor in actors:
                    actor.round()
                node.advance(3600 if how == OUTAGES[-1] else 15)
            if how == OUTAGES[-1]:
                # Longer than the trades go back that are told to who joins: missed ones come with the next.
                actors[0].buy("0.001")
            for watcher in watchers:
                watcher.has_every_event()
                watcher.has_candles(begin, node.status()["time"])
        for actor in actors:
            actor.rest()  # whatever comes twice has come before it
        for watcher in watchers:
            watcher.has_every_event()
            watcher.has_every_state()


async def test_outages_of_the_exchange_cost_no_event() -> None:
    async with staged("hl-replica") as scene:
        await asyncio.to_thread(through_outages, scene)
