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
from tests.sockets.scene import EVENTS, ROWS, TARGETS, Actor, Scene, Truth, rows_of, staged, told, until

KEY = wallet(11)
USER = KEY.address.lower()

# All of `hyperliquid.websocket_manager`. Addresses as its users have them: with a checksum.
KNOWN: dict[str, dict[str, Any]] = {
    "allMids": {"type": "allMids"},
    "l2Book": {"type": "l2Book", "coin": "BTC"},
    "trades": {"type": "trades", "coin": "BTC"},
    "bbo": {"type": "bbo", "coin": "BTC"},
    "candle": {"type": "candle", "coin": "BTC", "interval": "1m"},
    "activeAssetCtx": {"type": "activeAssetCtx", "coin": "BTC"},
    "activeSpotAssetCtx": {"type": "activeAssetCtx", "coin": "PURR/USDC"},
    "activeAssetData": {"type": "activeAssetData", "coin": "BTC", "user": KEY.address},
} | {
    kind: {"type": kind, "user": KEY.address}
    for kind in (
        "userEvents",
        "userFills",
        "orderUpdates",
        "userFundings",
        "userNonFundingLedgerUpdates",
        "webData2",
    )
}
EVENTS_KNOWN = [kind for kind in EVENTS if kind in KNOWN]
LOGS_KNOWN = [kind for kind in ROWS if kind in KNOWN]


class Watcher:
    """The SDK's `Info`, subscribed to all it knows. Frames arrive in its thread."""

    def __init__(self, url: str, known: dict[str, dict[str, Any]]) -> None:
        self.info = Info(url)
        manager = self.info.ws_manager
        assert manager is not None
        until(lambda: manager.ws_ready, "a websocket")
        self.manager = manager
        self.socket = manager.ws.sock
        self.heard: dict[str, list[Any]] = {kind: [] for kind in known}
        self.acknowledged: list[dict[str, Any]] = []
        self.errors: list[str] = []
        self._handed = manager.ws.on_message
        manager.ws.on_message = self._listen  # the manager drops these two kinds of frames unseen
        self.ids = {
            kind: self.info.subscribe(dict(subscription), self.heard[kind].append)  # type: ignore[arg-type]
            for kind, subscription in known.items()
        }
        until(lambda: len(self.acknowledged) + len(self.errors) >= len(known), f"{len(known)} answers")

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


@contextlib.contextmanager
def watching(scene: Scene, known: dict[str, dict[str, Any]] = KNOWN) -> Iterator[Watcher]:
    watcher = Watcher(scene.url, known)
    try:
        yield watcher
    finally:
        watcher.close()


def all_of_it(scene: Scene, watcher: Watcher, since: dict[str, Any]) -> None:
    """Wait until it was told every event since `since`, each once and in order."""
    truth = Truth(scene.node, USER)
    for kind in EVENTS_KNOWN:
        rows = after(truth.of(kind), since.get(kind))
        try:
            until(lambda kind=kind, rows=rows: watcher.told(kind) == rows, kind)  # type: ignore[misc]
        except AssertionError:
            raise AssertionError(told(kind, rows, watcher.told(kind))) from None


def after(rows: Any, before: Any) -> Any:
    """What was added to the truth."""
    if before is None:
        return rows
    if isinstance(rows, dict):
        return {name: value[len(before[name]) :] for name, value in rows.items()}
    return rows[len(before) :]


def states(scene: Scene, watcher: Watcher) -> None:
    """Wait until the last frame of each state is what the exchange says now."""
    node = scene.node
    perp, spot = node.info("metaAndAssetCtxs"), node.info("spotMetaAndAssetCtxs")
    bids, asks = node.info("l2Book", coin="BTC")["levels"]
    expected: dict[str, Any] = {
        "allMids": {"mids": node.info("allMids")},
        "l2Book": {"coin": "BTC", "levels": [bids, asks]},
        "bbo": {"coin": "BTC", "bbo": [bids[0], asks[0]]},
        "activeAssetCtx": {"coin": "BTC", "ctx": perp[1][0]},
        "activeSpotAssetCtx": {
            "coin": "PURR/USDC",
            "ctx": next(ctx for ctx in spot[1] if ctx["coin"] == "PURR/USDC"),
        },
        "activeAssetData": node.info("activeAssetData", user=USER, coin="BTC"),
        "candle": candles(scene)[-1],
    }
    node.push()
    for kind, wanted in expected.items():

        def last(kind: str = kind) -> dict[str, Any]:
            data = dict(watcher.heard[kind][-1]["data"])
            if kind in ("l2Book", "bbo"):
                assert data.pop("time")
            return data

        until(lambda last=last, wanted=wanted: last() == wanted, f"{kind}: {last()} as {wanted}")  # type: ignore[misc]


def candles(scene: Scene) -> list[Any]:
    request = {"coin": "BTC", "interval": "1m", "startTime": 0, "endTime": 2**52}
    return list(scene.node.info("candleSnapshot", req=request))


def every_type(scene: Scene, target: str) -> None:
    actor, truth = Actor(scene.node, USER), Truth(scene.node, USER)
    actor.twap()
    actor.round()
    since = {kind: truth.of(kind) for kind in ("orderUpdates", "userEvents")}
    with watching(scene) as watcher:
        # The exchange itself doesn't have webData2 any more.
        refused = [] if target == "hl-replica" else ["webData2"]
        assert len(watcher.errors) == len(refused), watcher.errors
        assert [ack["method"] for ack in watcher.acknowledged] == ["subscribe"] * (len(KNOWN) - len(refused))
        first = [kind for kind in KNOWN if kind not in since and kind not in refused]
        for kind in first:
            until(lambda kind=kind: watcher.heard[kind], f"a first frame of {kind}")  # type: ignore[misc]
        for kind in LOGS_KNOWN:
            assert watcher.heard[kind][0]["data"]["isSnapshot"] is True
            assert watcher.told(kind) == truth.of(kind)
        states(scene, watcher)

        bot = Exchange(KEY, scene.url)
        bot.update_leverage(7, "BTC")
        assert "filled" in bot.market_open("BTC", False, 0.02)["response"]["data"]["statuses"][0]
        actor.look()
        actor.round()
        actor.until_settled()
        all_of_it(scene, watcher, since)
        states(scene, watcher)
        for kind in LOGS_KNOWN:
            assert all("isSnapshot" not in frame["data"] for frame in watcher.heard[kind][1:])
        if not refused:
            state = watcher.heard["webData2"][-1]["data"]["clearinghouseState"]
            assert state["assetPositions"][0]["position"]["leverage"]["value"] == 7

        # It leaves and comes back, and is told again what there was.
        for kind, subscription in KNOWN.items():
            watcher.info.unsubscribe(dict(subscription), watcher.ids[kind])  # type: ignore[arg-type]
        done = 2 * (len(KNOWN) - len(refused))
        until(lambda: len(watcher.acknowledged) == done, "the end of every subscription")
        again: list[Any] = []
        watcher.info.subscribe(dict(KNOWN["userFills"]), again.append)  # type: ignore[arg-type]
        until(lambda: again, "a snapshot")
        assert again[0]["data"]["isSnapshot"] is True
        assert rows_of("userFills", again) == truth.of("userFills")
        assert watcher.connected


@pytest.mark.parametrize("target", TARGETS)
async def test_every_type_it_knows(target: str) -> None:
    async with staged(target) as scene:
        await asyncio.to_thread(every_type, scene, target)
