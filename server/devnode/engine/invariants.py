"""What holds after every call, whatever was called: for tests, and for whoever suspects the engine."""

from __future__ import annotations

from collections import Counter

from server.devnode.engine.account import Account, Order
from server.devnode.engine.listing import USDC
from server.devnode.engine.margin import hold_of, leverage_of
from server.devnode.engine.state import Ground
from server.devnode.engine.units import CENT


def check(ground: Ground) -> None:
    """Raise `AssertionError` with the first thing that is not as it must be."""
    _money(ground)
    _positions(ground)
    _books(ground)
    for account in ground.state.accounts.values():
        _orders(ground, account)
        if not account.exempt:
            _holds(ground, account)
    assert ground.state.hash == "0x" + "0" * 64, "an action was begun and not ended"


def _money(ground: Ground) -> None:
    """Nothing is made or lost: all there is of a token is what came in less what went out."""
    held: Counter[int] = Counter()
    for account in ground.state.accounts.values():
        for token, balance in account.spot.items():
            held[token] += balance.total
        for pool in account.pools.values():
            held[USDC] += CENT * (pool.cash + sum(one.raw or 0 for one in pool.holdings.values()))
    for token in held.keys() | ground.state.minted.keys():
        minted = ground.state.minted.get(token, 0)
        assert held[token] == minted, f"token {token}: {held[token] - minted} wei too many"


def _positions(ground: Ground) -> None:
    """Every long is somebody's short; a position is the sum of its fills."""
    held: Counter[tuple[str, int]] = Counter()
    net: Counter[int] = Counter()
    for address, account in ground.state.accounts.items():
        for dex, pool in account.pools.items():
            for asset, holding in pool.holdings.items():
                assert holding.lots != 0, f"{address} holds nothing of {asset}"
                assert holding.entry == 0 or (holding.entry > 0) == (holding.lots > 0)
                assert ground.instruments[asset].dex == dex
                held[address, asset] = holding.lots
                net[asset] += holding.lots
    assert not any(net.values()), f"long and short differ: {net}"
    filled: Counter[tuple[str, int]] = Counter()
    for fills in ground.history.fills.values():
        for fill in fills:
            if not ground.instruments[fill.asset].is_spot:
                filled[fill.user, fill.asset] += fill.lots if fill.is_buy else -fill.lots
    assert {k: v for k, v in filled.items() if v} == dict(held), "a position is not the sum of its fills"


def _books(ground: Ground) -> None:
    for asset, book in ground.state.books.items():
        book.check()
        for side in (book.bids, book.asks):
            for level in side:
                for oid, order in level.orders.items():
                    owner = ground.state.accounts[order.terms.user]
                    assert owner.orders.get(oid) is order, f"order {oid} is on a book and nobody's: {order}"
                    assert order.terms.asset == asset and order.place == "book"
    for asset, armed in ground.state.triggers.items():
        for order in armed:
            assert ground.state.accounts[order.terms.user].orders.get(order.terms.oid) is order
            assert order.terms.asset == asset and order.place == "trigger"


def _orders(ground: Ground, account: Account) -> None:
    for oid, order in account.orders.items():
        assert order.left > 0 and order.terms.oid == oid and order.terms.user == account.address
        asset = order.terms.asset
        if order.place == "book":
            side = ground.book(asset).side(order.terms.is_buy)
            assert any(oid in level.orders for level in side if level.px == order.terms.px)
        elif order.place == "trigger":
            assert any(order is one for one in ground.state.triggers[asset])
        else:
            assert order.place == "parent"
            parent = account.orders[order.parent]
            assert oid in parent.children and order.terms in parent.terms.children


def _holds(ground: Ground, account: Account) -> None:
    """What is held back is what the orders on the book ask for, summed anew."""
    spot: Counter[int] = Counter()
    on_book = [order for order in account.orders.values() if order.place == "book"]
    for order in on_book:
        inst = ground.instruments[order.terms.asset]
        if inst.is_spot:
            token, unit = (USDC, order.terms.px) if order.terms.is_buy else (inst.base, inst.lot_wei)
            spot[token] += order.left * unit
    for token, balance in account.spot.items():
        assert balance.hold == spot[token], f"token {token}: holds {balance.hold}, orders {spot[token]}"
        assert 0 <= balance.hold <= balance.total, f"token {token}: {balance}"
        assert balance.entry >= 0
    for dex, pool in account.pools.items():
        assert pool.hold == sum(resting.hold for resting in pool.resting.values())
        for asset, resting in pool.resting.items():
            mine = [o for o in on_book if o.terms.asset == asset and not o.terms.reduce_only]
            assert (resting.buy_lots, resting.buy_ntl) == _sums(mine, True)
            assert (resting.sell_lots, resting.sell_ntl) == _sums(mine, False)
            holding = pool.holdings.get(asset)
            leverage = leverage_of(account, ground.instruments[asset]).value
            assert resting.hold == hold_of(holding.lots if holding else 0, resting, leverage)
        for asset, orders in pool.reducing.items():
            assert orders and all(account.orders.get(oid) is order for oid, order in orders.items())
            assert ground.instruments[asset].dex == dex
        for asset, orders in pool.tpsl.items():
            armed = ground.state.triggers[asset]
            assert orders and all(any(order is one for one in armed) for order in orders.values())


def _sums(orders: list[Order], is_buy: bool) -> tuple[int, int]:
    mine = [order for order in orders if order.terms.is_buy == is_buy]
    return sum(order.left for order in mine), sum(order.left * order.terms.px for order in mine)
