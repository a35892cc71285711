"""A second bookkeeper: what every account has, made of nothing but the events that the engine publishes.

It shares no arithmetic with the engine. Not in the log, and not looked at here: agents, approvals, names,
referrals, reserved requests, scheduled cancels; and the orders of the house, which follow from the marks and
lose what is filled of them.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from server.devnode.engine import events as e
from server.devnode.engine.listing import Instrument, Listing
from server.devnode.engine.state import CLEARING, FEES, HOUSE, Ground

USDC = 0


@dataclass
class Position:
    leverage: int
    pocket: int | None  # None for cross
    lots: int = 0
    entry: int = 0
    since_open: int = 0
    since_change: int = 0


@dataclass
class Live:
    terms: e.Terms
    left: int
    place: str


class Reducer:
    """Money is micro-USD, spot amounts are wei."""

    def __init__(self, listing: Listing) -> None:
        self.listing = listing
        self.cash: Counter[tuple[str, str]] = Counter()
        self.positions: dict[tuple[str, int], Position] = {}
        self.funded: Counter[tuple[str, int]] = Counter()
        self.spot: Counter[tuple[str, int]] = Counter()
        self.cost: Counter[tuple[str, int]] = Counter()
        self.volume: Counter[str] = Counter()
        self.leverages: dict[tuple[str, int], tuple[int, bool]] = {}
        self.orders: dict[int, Live] = {}
        self.triggered: set[int] = set()
        self.filled: Counter[int] = Counter()
        self.twaps: dict[int, e.TwapState] = {}
        self.masters: dict[str, str | None] = {}
        self.last: dict[int, int] = {}
        self.oracles = {inst.asset: inst.market.start for inst in listing.by_asset.values()}
        self.marks = dict(self.oracles)

    def fold(self, events: Iterable[e.Event]) -> None:
        for event in events:
            getattr(self, f"_{type(event).__name__}")(event)

    def leverage(self, user: str, inst: Instrument) -> tuple[int, bool]:
        return self.leverages.get((user, inst.asset), (min(20, inst.max_leverage), not inst.isolated_only))

    def _AccountBorn(self, event: e.AccountBorn) -> None:
        self.masters[event.user] = event.master

    def _PriceMoves(self, event: e.PriceMoves) -> None:
        self.oracles.update(event.oracles)
        self.marks.update(event.marks)

    def _Trade(self, event: e.Trade) -> None:
        self.last[event.asset] = event.px

    # -- fills -----------------------------------------------------------------------------------------

    def _Fill(self, fill: e.Fill) -> None:
        inst = self.listing.by_asset[fill.asset]
        (self._spot if inst.is_spot else self._perp)(fill, inst)
        self.filled[fill.oid] += fill.lots
        if fill.oid in self.orders:
            self.orders[fill.oid].left -= fill.lots
        if fill.twap_id is not None:
            twap = self.twaps[fill.twap_id]
            self.twaps[fill.twap_id] = twap._replace(
                executed_lots=twap.executed_lots + fill.lots,
                executed_ntl=twap.executed_ntl + fill.lots * fill.px,
            )

    def _spot(self, fill: e.Fill, inst: Instrument) -> None:
        user, base = fill.user, (fill.user, inst.base)
        wei, cost = fill.lots * inst.lot_wei, fill.lots * fill.px
        assert fill.start == self.spot[base]
        self.volume[user] += cost // 100
        if fill.is_buy:
            self.spot[base] += wei
            self.cost[base] += cost // 100
            self.spot[user, USDC] -= cost
        else:
            self.cost[base] -= (cost - fill.closed_pnl) // 100
            self.spot[base] -= wei
            self.spot[user, USDC] += cost
        self.spot[user, fill.fee_token] -= fill.fee
        self.spot[FEES, fill.fee_token] += fill.fee - fill.builder_fee
        if fill.builder is not None:
            self.spot[fill.builder, fill.fee_token] += fill.builder_fee

    def _perp(self, fill: e.Fill, inst: Instrument) -> None:
        key, wallet = (fill.user, fill.asset), (fill.user, inst.dex)
        signed, px = fill.lots if fill.is_buy else -fill.lots, fill.px
        leverage, is_cross = self.leverage(fill.user, inst)
        position = self.positions.pop(key, None) or Position(leverage, None if is_cross else 0)
        before, after = position.lots, position.lots + signed
        assert fill.start == before
        self.volume[fill.user] += fill.lots * px
        self.cash[FEES, inst.dex] += fill.fee - fill.builder_fee
        if fill.builder is not None:
            self.cash[fill.builder, inst.dex] += fill.builder_fee
        if position.pocket is None:
            self.cash[wallet] -= signed * px + fill.fee
        else:
            into = self._into(position, signed, px, fill.fee)
            self.cash[wallet] -= into
            position.pocket += into - signed * px - fill.fee
        # What was not realised is still in the entry.
        position.entry += signed * px + fill.closed_pnl
        position.since_change = 0
        if before * after <= 0:
            position.since_open = 0
        position.lots = after
        if after:
            self.positions[key] = position

    def _into(self, position: Position, signed: int, px: int, fee: int) -> int:
        """What a fill takes out of the cross cash for the pocket: margin, or what it sets free (negative)."""
        old, new, pocket = position.lots, position.lots + signed, position.pocket or 0
        if old * signed >= 0:
            return abs(signed) * px // position.leverage
        worth = pocket + old * px
        if old * new > 0:
            stays = min(worth * abs(new) // abs(old), worth - fee)
            return stays - (worth - fee)
        return -(worth - fee) + abs(new) * px // position.leverage

    # -- money that moves without a trade ----------------------------------------------------------------

    def _Funding(self, event: e.Funding) -> None:
        inst, position = self.listing.by_asset[event.asset], self.positions[event.user, event.asset]
        assert event.lots == position.lots
        if position.pocket is None:
            self.cash[event.user, inst.dex] += event.usdc
        else:
            position.pocket += event.usdc
        self.cash[CLEARING, inst.dex] -= event.usdc
        self.funded[event.user, event.asset] -= event.usdc
        position.since_open -= event.usdc
        position.since_change -= event.usdc

    def _MarginMoved(self, event: e.MarginMoved) -> None:
        position = self.positions[event.user, event.asset]
        assert position.pocket is not None
        position.pocket += event.usd
        self.cash[event.user, self.listing.by_asset[event.asset].dex] -= event.usd

    def _Collateral(self, event: e.Collateral) -> None:
        self.cash[event.source, event.dex] -= event.usd
        self.cash[event.target, event.dex] += event.usd

    def _LedgerUpdate(self, event: e.LedgerUpdate) -> None:
        delta, user = event.delta, event.users[0]
        kind, usd = delta["type"], _micro(delta.get("usdc", "0"))
        if kind == "deposit":
            self.cash[user, ""] += usd
        elif kind == "withdraw":
            fee = _micro(delta["fee"])
            self.cash[user, ""] -= usd + fee
            self.cash[FEES, ""] += fee
        elif kind == "accountClassTransfer":
            usd = usd if delta["toPerp"] else -usd
            self.cash[user, ""] += usd
            self.spot[user, USDC] -= usd * 100
        elif kind in ("internalTransfer", "subAccountTransfer"):
            self.cash[delta["user"], ""] -= usd
            self.cash[delta["destination"], ""] += usd
        elif kind == "spotGenesis":
            self._give(user, delta, None)
        elif kind in ("spotTransfer", "send"):
            self._send(delta)
        else:
            assert kind == "liquidation", kind

    def _send(self, delta: dict[str, Any]) -> None:
        source, target = delta["user"], delta["destination"]
        sides = delta.get("sourceDex", "spot"), delta.get("destinationDex", "spot")
        token, wei = self._amount(delta)
        cost = 0
        if sides[0] == "spot":
            key = source, token
            cost = self.cost[key] * wei // self.spot[key]
            self.spot[key] -= wei
            self.cost[key] -= cost
        else:
            self.cash[source, sides[0]] -= wei // 100
        if sides[1] == "spot":
            self._give(target, delta, cost if source == target else None)
        else:
            self.cash[target, sides[1]] += wei // 100

    def _give(self, user: str, delta: dict[str, Any], cost: int | None) -> None:
        token, wei = self._amount(delta)
        self.spot[user, token] += wei
        if token != USDC:
            self.cost[user, token] += self._worth(token, wei) if cost is None else cost

    def _amount(self, delta: dict[str, Any]) -> tuple[int, int]:
        token = next(one for one in self.listing.tokens if one.name == delta["token"])
        return token.index, round(Decimal(delta["amount"]) * 10**token.wei_decimals)

    def _worth(self, token: int, wei: int) -> int:
        pairs = [inst for inst in self.listing.by_asset.values() if inst.is_spot and inst.base == token]
        return wei * self.marks[pairs[0].asset] // pairs[0].lot_wei // 100 if pairs else 0

    # -- orders and settings -----------------------------------------------------------------------------

    def _OrderStatus(self, event: e.OrderStatus) -> None:
        terms, oid = event.terms, event.terms.oid
        self.orders.pop(oid, None)
        if event.status == "open":
            waits = terms.is_trigger and oid not in self.triggered
            self.orders[oid] = Live(terms, event.left, "trigger" if waits else "book")
        elif event.status == "triggered":
            self.triggered.add(oid)

    def _Children(self, event: e.Children) -> None:
        parent = self.orders[event.parent]
        parent.terms = parent.terms._replace(children=event.terms)

    def _LeverageSet(self, event: e.LeverageSet) -> None:
        self.leverages[event.user, event.asset] = event.value, event.is_cross
        if (event.user, event.asset) in self.positions:
            self.positions[event.user, event.asset].leverage = event.value

    def _TwapStatus(self, event: e.TwapStatus) -> None:
        if event.status in ("activated", "waitingForTrigger"):
            self.twaps[event.state.twap_id] = event.state
        else:
            assert self.twaps.pop(event.state.twap_id) == event.state


def _micro(text: str) -> int:
    return round(Decimal(text) * 10**6)


def check_follows(found: Reducer, ground: Ground) -> None:
    """Raise `AssertionError` where the engine's state is not what its events come to."""
    state = ground.state
    pools = [(user, dex, pool) for user, a in state.accounts.items() for dex, pool in a.pools.items()]
    assert _some({(user, dex): pool.cash for user, dex, pool in pools}) == _some(found.cash)
    assert found.positions == {
        (user, asset): Position(one.leverage, one.raw, one.lots, one.entry, one.since_open, one.since_change)
        for user, _, pool in pools
        for asset, one in pool.holdings.items()
    }
    funded = {(user, asset): paid for user, _, pool in pools for asset, paid in pool.all_time.items()}
    assert _some(funded) == _some(found.funded)
    spot = {(user, token): one for user, a in state.accounts.items() for token, one in a.spot.items()}
    assert _some({key: one.total for key, one in spot.items()}) == _some(found.spot)
    assert _some({key: one.entry for key, one in spot.items()}) == _some(found.cost)
    _check_orders(found, ground)
    assert _some({user: account.volume for user, account in state.accounts.items()}) == _some(found.volume)
    for user, account in state.accounts.items():
        for asset, leverage in account.leverages.items():
            assert leverage == found.leverage(user, ground.instruments[asset])
    assert {number: twap.state for number, twap in state.twaps.items()} == found.twaps
    assert (state.marks, state.oracles) == (found.marks, found.oracles)
    assert _some({asset: book.last for asset, book in state.books.items()}) == found.last
    born = {user: account.master for user, account in state.accounts.items() if not account.exempt}
    assert born == found.masters


def _some(numbers: Mapping[Any, int]) -> dict[Any, int]:
    """Those that are not nought."""
    return {key: number for key, number in numbers.items() if number}


def _check_orders(found: Reducer, ground: Ground) -> None:
    live, waiting = {}, set()
    for user, account in ground.state.accounts.items():
        for oid, order in account.orders.items():
            if user == HOUSE:
                assert order.left == order.terms.lots - found.filled[oid]
            elif order.place == "parent":
                waiting.add(order.terms)
            else:
                live[oid] = Live(order.terms, order.left, order.place)
    assert live == found.orders
    assert waiting == {child for order in found.orders.values() for child in order.terms.children}
