"""Frames that events cause: orders, fills, fundings, ledger, TWAPs of an account, and trades of a market."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import orjson

from server.devnode.engine.events import (
    Event,
    Fill,
    Funding,
    LedgerUpdate,
    OrderStatus,
    Trade,
    TwapStatus,
)
from server.devnode.engine.units import short
from server.devnode.market.fills import aggregated, fill_rows
from server.devnode.market.truth import Truth
from server.devnode.subscriptions import Subscription

Row = dict[str, Any]

# channel -> the key of its list. The first frame of each says so with `isSnapshot`; the others leave it out.
SNAPSHOTS: Mapping[str, str] = {
    "userFills": "fills",
    "userFundings": "fundings",
    "userNonFundingLedgerUpdates": "nonFundingLedgerUpdates",
    "userTwapSliceFills": "twapSliceFills",
    "userTwapHistory": "history",
    "userHistoricalOrders": "orderHistory",
}
EVENT_KINDS = frozenset({*SNAPSHOTS, "orderUpdates", "userEvents", "notification", "trades"})
MOST = 2000  # rows of a snapshot; the exchange's number is not known

# Who caused a cancel is told apart by its name: these are nobody's wish.
_NON_USER = frozenset(
    {"marginCanceled", "selfTradeCanceled", "siblingFilledCanceled", "liquidatedCanceled", "scheduledCancel"}
)


class News:
    """The mutable state is who is listened to, so that nothing is made of what happens to others."""

    def __init__(self, truth: Truth) -> None:
        self._truth = truth
        self._open: set[Subscription] = set()
        self._users: Counter[str] = Counter()

    def opened(self, subscription: Subscription) -> None:
        if subscription.kind in EVENT_KINDS:
            self._open.add(subscription)
            if subscription.user is not None:
                self._users[subscription.user] += 1

    def closed(self, subscription: Subscription) -> None:
        if subscription.kind in EVENT_KINDS:
            self._open.remove(subscription)
            if subscription.user is not None:
                self._users[subscription.user] -= 1
                if not self._users[subscription.user]:
                    del self._users[subscription.user]

    def coins_of(self, events: Iterable[Event]) -> Iterable[str]:
        """The markets in which orders or trades were made, each once."""
        return dict.fromkeys(
            event.terms.coin if isinstance(event, OrderStatus) else event.coin
            for event in events
            if isinstance(event, OrderStatus | Trade)
        )

    def told(self, events: Sequence[Event]) -> Iterator[tuple[Subscription, str]]:
        if not self._open:
            return
        mine: dict[str, list[Event]] = defaultdict(list)
        trades: dict[str, list[Trade]] = defaultdict(list)
        for event in events:
            if isinstance(event, Trade):
                trades[event.coin].append(event)
            elif isinstance(event, LedgerUpdate):
                for user in event.users:
                    mine[user].append(event)
            else:
                user_ = _user(event)
                if user_ is not None and user_ in self._users:
                    mine[user_].append(event)
        for coin, rows in trades.items():
            one = Subscription("trades", None, None, (("coin", coin),))
            if one in self._open:
                yield one, _frame("trades", [self._truth.engine.wire.trade(trade) for trade in rows])
        for user, happened in mine.items():
            if user in self._users:
                yield from self._of_user(user, happened)

    def snapshot(self, subscription: Subscription) -> str:
        user, kind = subscription.user or "", subscription.kind
        return _listed(kind, user, self._past(subscription, user), snapshot=True)

    def _past(self, subscription: Subscription, user: str) -> list[Any]:
        """The rows of a first frame, oldest first."""
        truth, history = self._truth, self._truth.engine.ground.history
        kind = subscription.kind
        if kind == "userFills":
            fills = [fill for fill in history.fills.get(user, ()) if fill.twap_id is None]
            return fill_rows(truth, self._merged(subscription, fills)[-MOST:])
        if kind == "userFundings":
            return [_funding(row) for row in truth.engine.fundings(user)[-MOST:]]
        if kind == "userNonFundingLedgerUpdates":
            return truth.engine.ledger_updates(user)[-MOST:]
        if kind == "userTwapSliceFills":
            return truth.engine.twap_slice_fills(user)[::-1]
        if kind == "userTwapHistory":
            return truth.engine.twap_history(user)[:MOST][::-1]
        return truth.engine.historical_orders(user)[::-1]

    def _of_user(self, user: str, events: Sequence[Event]) -> Iterator[tuple[Subscription, str]]:
        wire = self._truth.engine.wire
        statuses = [event for event in events if isinstance(event, OrderStatus)]
        all_fills = [event for event in events if isinstance(event, Fill)]
        fills = [fill for fill in all_fills if fill.twap_id is None]
        slices = [
            {"fill": wire.fill(fill._replace(twap_id=None)), "twapId": fill.twap_id}  # as recorded
            for fill in all_fills
            if fill.twap_id is not None
        ]
        fundings = [_funding(wire.funding(event)) for event in events if isinstance(event, Funding)]
        ledger = [event for event in events if isinstance(event, LedgerUpdate)]
        twaps = [wire.twap_status(event) for event in events if isinstance(event, TwapStatus)]

        updates = Subscription("orderUpdates", user, None)
        if statuses and updates in self._open:
            yield updates, _frame("orderUpdates", self._updates(statuses))
        user_events = Subscription("userEvents", user, None)
        if user_events in self._open:
            for data in self._user_events(user, statuses, fills, slices, fundings, ledger, twaps):
                yield user_events, _frame("user", data)
        notes = Subscription("notification", user, None)
        if notes in self._open:
            yield from ((notes, self._notification(fill)) for fill in fills if not fill.crossed)
        for merged in (False, True):
            one = Subscription("userFills", user, None, (("aggregateByTime", merged),))
            if fills and one in self._open:
                rows = fill_rows(self._truth, self._merged(one, fills))
                yield one, _listed("userFills", user, rows)
        for kind, due, rows in (
            ("userTwapSliceFills", bool(slices), slices),
            ("userFundings", bool(fundings), fundings),
            # An empty list of these comes with every hour's funding.
            ("userNonFundingLedgerUpdates", bool(ledger or fundings), [wire.ledger(one) for one in ledger]),
            ("userTwapHistory", bool(twaps), twaps),
        ):
            subscription = Subscription(kind, user, None)
            if due and subscription in self._open:
                yield subscription, _listed(kind, user, rows)
        history = Subscription("userHistoricalOrders", user, None)
        if statuses and history in self._open:
            yield history, _listed(history.kind, user, [wire.status(event) for event in statuses])

    def _user_events(
        self,
        user: str,
        statuses: list[OrderStatus],
        fills: list[Fill],
        slices: list[Row],
        fundings: list[Row],
        ledger: list[LedgerUpdate],
        twaps: list[Row],
    ) -> Iterator[Row]:
        """What comes on the channel `user`, one kind of thing a frame."""
        if fills:
            yield {"fills": fill_rows(self._truth, fills)}
        if slices:
            yield {"twapSliceFills": slices}
        yield from ({"funding": row} for row in fundings)
        for number, event in enumerate(ledger):
            if event.delta["type"] == "liquidation":
                yield {"liquidation": _liquidation(user, event, number)}
        cancels = [
            {"coin": event.terms.coin, "oid": event.terms.oid}
            for event in statuses
            if event.status in _NON_USER
        ]
        if cancels:
            yield {"nonUserCancel": cancels}
        if twaps:
            yield {"twapHistory": twaps}

    def _merged(self, subscription: Subscription, fills: Sequence[Fill]) -> Sequence[Fill]:
        return aggregated(fills) if subscription.get("aggregateByTime") else fills

    def _updates(self, statuses: Sequence[OrderStatus]) -> list[Row]:
        wire = self._truth.engine.wire
        return [
            {
                "order": wire.open_order(event.terms, event.left),
                "status": event.status,
                "statusTimestamp": event.time,
            }
            for event in statuses
        ]

    def _notification(self, fill: Fill) -> str:
        inst = self._truth.engine.listing.by_asset[fill.asset]
        did, wire = "Bought" if fill.is_buy else "Sold", self._truth.engine.wire
        size = wire.sz(fill.asset, fill.lots).removesuffix(".0")
        text = f"Resting order filled: {did} {size} {fill.coin} at ${short(fill.px, inst.px_decimals)}"
        return _frame("notification", {"notification": text})


def _user(event: Event) -> str | None:
    if isinstance(event, Fill | Funding):
        return event.user
    if isinstance(event, OrderStatus):
        return event.terms.user
    return event.state.user if isinstance(event, TwapStatus) else None


def _frame(channel: str, data: object) -> str:
    return f'{{"channel":"{channel}","data":{orjson.dumps(data).decode()}}}'


def _listed(kind: str, user: str, rows: list[Any], *, snapshot: bool = False) -> str:
    head = '"isSnapshot":true,' if snapshot else ""
    text = orjson.dumps(rows).decode()
    return f'{{"channel":"{kind}","data":{{{head}"user":"{user}","{SNAPSHOTS[kind]}":{text}}}}}'


def _funding(row: Row) -> Row:
    """As the streams have it: flat, and without a hash."""
    return {"time": row["time"], **{key: value for key, value in row["delta"].items() if key != "type"}}


def _liquidation(user: str, event: LedgerUpdate, number: int) -> Row:
    return {
        "lid": event.time * 100 + number,
        "liquidator": "0x" + "0" * 40,
        "liquidated_user": user,
        "liquidated_ntl_pos": event.delta["liquidatedNtlPos"],
        "liquidated_account_value": event.delta["accountValue"],
    }
