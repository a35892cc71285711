"""An order's way through the engine: onto the book, off it, filled; and the orders tied to it."""

from __future__ import annotations

from collections.abc import Callable

from server.devnode.engine.account import Account, Order
from server.devnode.engine.armed import Armed
from server.devnode.engine.events import Children, Terms
from server.devnode.engine.listing import USDC, Instrument
from server.devnode.engine.margin import rest
from server.devnode.engine.state import Ground


def known(account: Account, order: Order) -> None:
    """File a live order under its account."""
    terms = order.terms
    account.orders[terms.oid] = order
    if terms.cloid is not None:
        account.cloids[terms.cloid] = terms.oid


def hold(account: Account, inst: Instrument, terms: Terms, lots: int) -> None:
    """Hold back what `lots` of an order on the book may cost; negative lots set it free."""
    if account.exempt:
        return
    if inst.is_spot:
        if terms.is_buy:
            account.balance(USDC).hold += lots * terms.px
        else:
            account.balance(inst.base).hold += lots * inst.lot_wei
    elif not terms.reduce_only:
        rest(account, account.pool(inst.dex), inst, terms.is_buy, lots, terms.px)


def enter(ground: Ground, account: Account, inst: Instrument, order: Order) -> None:
    """Put an order on the book. It must not cross."""
    order.place = "book"
    terms = order.terms
    known(account, order)
    ground.book(inst.asset).side(terms.is_buy).add(order)
    hold(account, inst, terms, order.left)
    if terms.reduce_only and not inst.is_spot:
        account.pool(inst.dex).reducing.setdefault(inst.asset, {})[terms.oid] = order
        trim(ground, account, inst)


def arm(ground: Ground, account: Account, inst: Instrument, order: Order) -> None:
    """Let an order wait for its trigger."""
    order.place = "trigger"
    known(account, order)
    armed = ground.state.triggers.get(inst.asset)
    if armed is None:
        armed = ground.state.triggers[inst.asset] = Armed()
    armed.add(order)
    if order.terms.is_position_tpsl:
        account.pool(inst.dex).tpsl.setdefault(inst.asset, {})[order.terms.oid] = order


def take_away(ground: Ground, account: Account, inst: Instrument, order: Order) -> None:
    """Remove a live order from wherever it is, and what it holds; tells nobody."""
    oid = order.terms.oid
    if account.orders.pop(oid, None) is None:
        return
    if order.place == "trigger":
        ground.state.triggers[inst.asset].remove(order)
        if order.terms.is_position_tpsl:
            _drop(account.pool(inst.dex).tpsl, inst.asset, oid)
    elif order.place == "book":
        ground.book(inst.asset).side(order.terms.is_buy).remove(order)
        hold(account, inst, order.terms, -order.left)
        if order.terms.reduce_only:
            _drop(account.pool(inst.dex).reducing, inst.asset, oid)
    elif order.place == "parent":
        retie(ground, account, order, None)


def cancel(ground: Ground, account: Account, order: Order, status: str = "canceled") -> None:
    """Take a live order away and end it."""
    take_away(ground, account, ground.instruments[order.terms.asset], order)
    end(ground, account, order, status)


def end(ground: Ground, account: Account, order: Order, status: str) -> None:
    """Tell of the end of an order that is nowhere any more. Children that wait for it end with it.

    But they are placed where it was filled in part and its rest cancelled for want of margin, as if it had
    been filled as a whole: official docs, take profit and stop loss orders.
    """
    ground.tell(order.terms, order.left, status)
    if status == "marginCanceled" and order.left < order.terms.lots:
        _wake(ground, account, order)
    end_children(ground, account, order)


def end_children(ground: Ground, account: Account, parent: Order) -> None:
    for child in _waiting(account, parent):
        cancel(ground, account, child)


def cancel_all(
    ground: Ground, account: Account, status: str, concerned: Callable[[Instrument], bool] = lambda _: True
) -> None:
    """Cancel the orders of an account in the markets concerned."""
    for order in list(account.orders.values()):
        # a parent's end has ended its children
        if order.terms.oid in account.orders and concerned(ground.instruments[order.terms.asset]):
            cancel(ground, account, order, status)


def fill_resting(ground: Ground, account: Account, inst: Instrument, order: Order, lots: int) -> None:
    """Take a match's lots off an order on the book."""
    ground.book(inst.asset).side(order.terms.is_buy).reduce(order, lots)
    hold(account, inst, order.terms, -lots)
    if not order.left:
        account.orders.pop(order.terms.oid, None)
        if order.terms.reduce_only:
            _drop(account.pool(inst.dex).reducing, inst.asset, order.terms.oid)
        filled(ground, account, order)


def filled(ground: Ground, account: Account, order: Order) -> None:
    """An order is filled to the last lot: its children wake, its siblings end."""
    ground.tell(order.terms, 0, "filled")
    _wake(ground, account, order)
    for oid in order.siblings:
        sibling = account.orders.get(oid)
        if sibling is not None:
            cancel(ground, account, sibling, "siblingFilledCanceled")


def _waiting(account: Account, parent: Order) -> list[Order]:
    found = (account.orders.get(oid) for oid in parent.children)
    return [child for child in found if child is not None and child.place == "parent"]


def _wake(ground: Ground, account: Account, parent: Order) -> None:
    """Let the children of an order wait for their prices."""
    for child in _waiting(account, parent):
        arm(ground, account, ground.instruments[child.terms.asset], child)
        ground.tell(child.terms, child.left, "open")


def retie(ground: Ground, account: Account, child: Order, fresh: Terms | None) -> None:
    """Let another child wait for an order in place of one, or none."""
    parent = account.orders.get(child.parent)
    if parent is None:
        return
    now = (fresh if one.oid == child.terms.oid else one for one in parent.terms.children)
    parent.terms = parent.terms._replace(children=tuple(one for one in now if one is not None))
    parent.children = tuple(one.oid for one in parent.terms.children)
    told = Children(ground.state.now, account.address, parent.terms.oid, parent.terms.children)
    ground.history.add(told)


def trim(ground: Ground, account: Account, inst: Instrument) -> None:
    """Cancel reduce-only orders that the position no longer needs, oldest first.

    Recorded: of two orders that together exceed the position, the first is cancelled when the second
    is placed. A single one that is too large stays; a match stops at the position.
    """
    pool = account.pool(inst.dex)
    holding = pool.holdings.get(inst.asset)
    lots = holding.lots if holding else 0
    reducing = pool.reducing.get(inst.asset, {})
    total = sum(order.left for order in reducing.values())
    for order in list(reducing.values()):
        if _is_useless(order, lots) or (total > abs(lots) and len(reducing) > 1):
            total -= order.left
            cancel(ground, account, order, "reduceOnlyCanceled")
    for order in list(pool.tpsl.get(inst.asset, {}).values()):
        if _is_useless(order, lots):
            cancel(ground, account, order, "reduceOnlyCanceled")


def _is_useless(order: Order, lots: int) -> bool:
    """Can a reduce-only order not reduce a position of so many lots?"""
    return lots == 0 or order.terms.is_buy == (lots > 0)


def _drop(orders: dict[int, dict[int, Order]], asset: int, oid: int) -> None:
    """Take an order out of an index of orders by asset and oid, which keeps no empty rows."""
    row = orders.get(asset)
    if row is not None and row.pop(oid, None) is not None and not row:
        del orders[asset]
