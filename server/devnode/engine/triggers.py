"""Trigger orders whose price has come: they turn into a market or a limit order at the mark's move."""

from __future__ import annotations

from server.devnode.engine.account import Order
from server.devnode.engine.lifecycle import cancel, end_children, take_away
from server.devnode.engine.matching import reducible
from server.devnode.engine.order_actions import Look
from server.devnode.engine.placing import run
from server.devnode.engine.state import Ground


def fire_all(ground: Ground, look: Look) -> None:
    """Fire every trigger order that its market's mark has reached, oldest first."""
    state = ground.state
    due = (order for asset, armed in state.triggers.items() for order in armed.due(state.marks[asset]))
    for order in sorted(due, key=lambda one: one.terms.oid):
        account = state.accounts[order.terms.user]
        if order.terms.oid in account.orders:  # the one before it may have ended this one
            look(order.terms.asset)
            _fire(ground, order)


def _fire(ground: Ground, order: Order) -> None:
    terms = order.terms
    account = ground.state.accounts[terms.user]
    inst = ground.instruments[terms.asset]
    if terms.reduce_only and not inst.is_spot:
        most = reducible(account.pool(inst.dex), inst.asset, terms.is_buy)
        if not most:
            cancel(ground, account, order, "reduceOnlyCanceled")
            return
        order.left = most if terms.is_whole else min(order.left, most)
    take_away(ground, account, inst, order)
    ground.tell(terms, order.left, "triggered")
    status = run(ground, account, inst, order, "FrontendMarket" if terms.is_market else "Gtc")
    if "error" in status:
        end_children(ground, account, order)
