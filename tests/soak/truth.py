"""What really happened at the devnode, row by row, in the wire's own words: heard before any fault."""

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from server.devnode.engine.events import Event
from server.devnode.market import Exchange
from server.devnode.market.news import News
from server.devnode.subscriptions import Subscription
from tests.upstream import Upstream

LISTS = {
    "userFills": "fills",
    "userFundings": "fundings",
    "userNonFundingLedgerUpdates": "nonFundingLedgerUpdates",
    "userTwapSliceFills": "twapSliceFills",
    "userTwapHistory": "history",
    "userHistoricalOrders": "orderHistory",
}
"""Channel -> where its rows are."""
LOGS = (*LISTS, "orderUpdates", "userEvents", "trades")

Place = tuple[str, ...]


def place_of(subscription: dict[str, Any]) -> Place:
    """What frames of a subscription say of themselves, the channel first."""
    type_ = subscription["type"]
    channel = {"userEvents": "user"}.get(type_, type_)
    user = "" if type_ in ("userEvents", "orderUpdates") else str(subscription.get("user", "")).lower()
    return (channel, user, str(subscription.get("coin", "")), str(subscription.get("dex", "")))


def place_in(channel: str, data: Any) -> Place:
    """The same of a frame."""
    channel = {"activeSpotAssetCtx": "activeAssetCtx"}.get(channel, channel)
    if isinstance(data, list):
        return (channel, "", data[0].get("coin", "") if data else "", "")
    if channel in ("user", "fastAssetCtxs"):
        return (channel, "", "", "")
    if channel == "webData3":
        data = data["userState"]
    return (channel, data.get("user", "").lower(), data.get("coin", data.get("s", "")), data.get("dex", ""))


def rows_in(channel: str, data: Any) -> list[str]:
    """The rows of a frame of one of `LOGS`, each as a text that is its own."""
    if channel == "user":
        rows = [
            {part: row} for part, rows in data.items() for row in (rows if isinstance(rows, list) else [rows])
        ]
    else:
        rows = data if isinstance(data, list) else data[LISTS[channel]]
    return [json.dumps(row, sort_keys=True) for row in rows]


class Told:
    """The rows of one stream, oldest first."""

    def __init__(self) -> None:
        self.rows: list[str] = []
        self.at: list[int] = []  # ms, by the devnode's clock
        self.number: dict[str, int] = {}

    def add(self, rows: Iterable[str], at: int) -> None:
        for row in rows:
            assert row not in self.number, f"the devnode tells twice: {row}"
            self.number[row] = len(self.rows)
            self.rows.append(row)
            self.at.append(at)


class Truth:
    """Hears everything that the devnode tells of these accounts and coins, from now on."""

    def __init__(self, upstream: Upstream, users: Sequence[str], coins: Sequence[str]) -> None:
        assert isinstance(upstream.source, Exchange)
        self._upstream = upstream
        self._news = News(upstream.source)
        # Frames of orders and events name no user: a stream is told apart by what was subscribed to.
        self._told: dict[Subscription, Told] = {}
        for one in _streams(users, coins):
            self._news.opened(one)
            self._told[one] = Told()
        self._pass_on, upstream.source.heard = upstream.source.heard, self._hear

    def of(self, subscription: dict[str, Any]) -> Told:
        return self._told[_stream(subscription["type"], subscription.get("user"), subscription.get("coin"))]

    @property
    def total(self) -> int:
        return sum(len(told.rows) for told in self._told.values())

    def _hear(self, events: Sequence[Event]) -> None:
        now = self._upstream.clock.now_ms()
        for subscription, frame in self._news.told(events):
            told = self._told.get(subscription)
            if told is not None:
                message = json.loads(frame)
                told.add(rows_in(message["channel"], message["data"]), now)
        self._pass_on(events)


def _streams(users: Sequence[str], coins: Sequence[str]) -> Iterator[Subscription]:
    for type_ in LOGS:
        if type_ == "trades":
            yield from (_stream(type_, None, coin) for coin in coins)
        else:
            yield from (_stream(type_, user, None) for user in users)


def _stream(type_: str, user: str | None, coin: str | None) -> Subscription:
    more: tuple[tuple[str, Any], ...] = ()
    if type_ == "userFills":
        more = (("aggregateByTime", False),)
    elif coin is not None:
        more = (("coin", coin),)
    return Subscription(type_, user, None, more)
