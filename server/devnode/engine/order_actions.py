"""The trading actions: order (with its groupings), modify, cancel, scheduled cancels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from server.devnode.engine import refusals
from server.devnode.engine.account import Account, Order
from server.devnode.engine.lifecycle import cancel, known
from server.devnode.engine.matching import reducible
from server.devnode.engine.placing import Status, place, reject, terms_of
from server.devnode.engine.refusals import Refused
from server.devnode.engine.state import Ground
from server.devnode.engine.wire_orders import Spec, parse

Action = Mapping[str, Any]
Response = dict[str, Any]
Look = Callable[[int], None]  # a market is about to be traded: its makers may turn up

MAX_ITEMS = 200  # of one signed action
PERP_BUILDER_FEE = 100  # at most, in tenths of a basis point: 0.1%; spot 1%. Official docs, builder codes
SOON_MS = 5_000  # a scheduled cancel is at least this far ahead
DEFAULT: Response = {"type": "default"}


def answered(kind: str, statuses: Sequence[Status]) -> Response:
    return {"type": kind, "data": {"statuses": list(statuses)}}


def order(ground: Ground, account: Account, action: Action, look: Look) -> Response:
    rows, grouping = action["orders"], action["grouping"]
    if not rows:
        raise Refused(refusals.NO_ORDERS)
    _bounded(rows)
    listing, marks = ground.listing, ground.state.marks
    builder = _builder(account, action.get("builder"))
    if grouping == "positionTpsl":
        rows = [_sized(ground, account, row) for row in rows]
    specs = [parse(listing, marks, row) for row in rows]
    for spec in specs:
        if builder is not None and not spec.inst.is_spot and builder[1] > PERP_BUILDER_FEE:
            raise Refused(refusals.NO_BUILDER)
        look(spec.inst.asset)
    if grouping == "normalTpsl":
        return answered("order", _with_children(ground, account, specs, builder))
    tied = grouping == "positionTpsl"
    if tied and not all(spec.tpsl and spec.reduce_only for spec in specs):
        raise Refused(refusals.CHILD_NOT_REDUCING)
    statuses = []
    for spec in specs:
        terms = terms_of(ground, account, spec, builder=builder, is_position_tpsl=tied)
        if tied and not reducible(account.pool(spec.inst.dex), spec.inst.asset, spec.is_buy):
            statuses.append(reject(ground, terms, refusals.REDUCE_ONLY))
        else:
            statuses.append(place(ground, account, spec, terms))
    if tied:
        _tie(account, [oid for oid in account.orders if account.orders[oid].terms.is_position_tpsl], specs)
    return answered("order", statuses)


def _sized(ground: Ground, account: Account, row: Mapping[str, Any]) -> Mapping[str, Any]:
    """A TP/SL of the whole position may come with size 0."""
    inst = ground.instruments.get(row["a"])
    if inst is None or inst.is_spot or row["s"].strip("0.") != "":
        return row
    lots = reducible(account.pool(inst.dex), inst.asset, row["b"])
    unit = 10**inst.sz_decimals
    return {
        **row,
        "s": f"{lots // unit}.{lots % unit:0{inst.sz_decimals}d}" if inst.sz_decimals else str(lots),
    }


def _tie(account: Account, oids: list[int], specs: Sequence[Spec]) -> None:
    """Position TP/SLs of one coin are siblings: one is filled, the others end."""
    for asset in {spec.inst.asset for spec in specs}:
        mine = tuple(oid for oid in oids if account.orders[oid].terms.asset == asset)
        for oid in mine:
            account.orders[oid].siblings = tuple(other for other in mine if other != oid)


def _with_children(
    ground: Ground, account: Account, specs: Sequence[Spec], builder: tuple[str, int] | None
) -> list[Status]:
    """A parent and its TP/SL, which wait for the parent to be filled as a whole."""
    parent, rest = specs[0], specs[1:]
    asset = parent.inst.asset
    if parent.tpsl or not 1 <= len(rest) <= 2 or any(not s.tpsl or s.inst.asset != asset for s in rest):
        raise Refused(refusals.TRIGGER_COUNT)
    if any(not spec.reduce_only for spec in rest):
        raise Refused(refusals.CHILD_NOT_REDUCING)
    if any(spec.off_tick for spec in rest):
        raise Refused(f"{refusals.TICK[1]} asset={asset}")
    oid = ground.oid()
    children = tuple(terms_of(ground, account, spec) for spec in rest)
    terms = terms_of(ground, account, parent, builder=builder, children=children, oid=oid)
    oids = tuple(child.oid for child in children)
    for child in children:
        others = tuple(other for other in oids if other != child.oid)
        known(account, Order(child, child.lots, siblings=others, place="parent"))
    status = place(ground, account, parent, terms)
    if isinstance(status, dict) and "error" in status:
        for number in oids:
            account.orders.pop(number, None)
        return [status] * len(specs)
    waiting = oid in account.orders
    return [status, *("waitingForFill" if waiting else "waitingForTrigger" for _ in rest)]


def _builder(account: Account, builder: Mapping[str, Any] | None) -> tuple[str, int] | None:
    if builder is None:
        return None
    address, fee = builder["b"].lower(), builder["f"]
    if fee > account.builders.get(address, 0):
        raise Refused(refusals.NO_BUILDER)
    return address, fee


def _bounded(rows: Sequence[object]) -> None:
    if len(rows) > MAX_ITEMS:
        raise Refused(refusals.TOO_HEAVY)


def cancels(ground: Ground, account: Account, action: Action) -> Response:
    """`cancel` and `cancelByCloid`: the answer of both is called cancel."""
    _bounded(action["cancels"])
    statuses: list[Status] = []
    for row in action["cancels"]:
        if action["type"] == "cancelByCloid":
            asset, found = row["asset"], find(account, row["cloid"])
        else:
            asset, found = row["a"], find(account, row["o"])
        if found is None or found.terms.asset != asset:
            statuses.append({"error": f"{refusals.NO_ORDER} asset={asset}"})
        else:
            cancel(ground, account, found)
            statuses.append("success")
    return answered("cancel", statuses)


def find(account: Account, name: int | str) -> Order | None:
    """A live order by oid or cloid."""
    oid = account.cloids.get(name) if isinstance(name, str) else name
    return account.orders.get(oid) if oid is not None else None


def modify(ground: Ground, account: Account, action: Action, look: Look) -> Response:
    status = _modify(ground, account, action, look)
    if isinstance(status, dict) and "error" in status:
        raise Refused(status["error"])
    return DEFAULT


def batch_modify(ground: Ground, account: Account, action: Action, look: Look) -> Response:
    _bounded(action["modifies"])
    return answered("order", [_modify(ground, account, row, look) for row in action["modifies"]])


def _modify(ground: Ground, account: Account, row: Action, look: Look) -> Status:
    """Cancel, then place anew under a new oid: the cancel stands even where the new order is refused."""
    spec = parse(ground.listing, ground.state.marks, row["order"])
    look(spec.inst.asset)
    old = find(account, row["oid"])
    if old is None or old.terms.asset != spec.inst.asset:
        return {"error": refusals.DEAD_ORDER}
    was = old.terms
    children = tuple(oid for oid in old.children if _waits(account, oid))
    siblings = old.siblings
    for oid in children:  # they belong to the new one
        account.orders[oid].place = "moved"
    waited = old.place == "parent"
    cancel(ground, account, old)
    terms = terms_of(
        ground,
        account,
        spec,
        builder=was.builder,
        children=tuple(child for child in was.children if child.oid in children),
        is_position_tpsl=was.is_position_tpsl and bool(spec.tpsl),
    )
    for oid in children:
        account.orders[oid].place = "parent"
    if waited and spec.tpsl:
        known(account, Order(terms, terms.lots, siblings=siblings, place="parent"))
        _replace(account, was.oid, terms.oid)
        return "waitingForFill"
    status = place(ground, account, spec, terms)
    if isinstance(status, dict) and "error" in status:
        for oid in children:
            account.orders.pop(oid, None)
        return {"error": f"Error placing new order during modify: {status['error']}"}
    fresh = account.orders.get(terms.oid)
    if fresh is not None and spec.tpsl:
        fresh.siblings = siblings
        _replace(account, was.oid, terms.oid)
    return status


def _waits(account: Account, oid: int) -> bool:
    child = account.orders.get(oid)
    return child is not None and child.place == "parent"


def _replace(account: Account, old: int, new: int) -> None:
    """Let the orders tied to `old` be tied to `new`."""
    for other in account.orders.values():
        if old in other.siblings:
            other.siblings = tuple(new if oid == old else oid for oid in other.siblings)
        if old in other.children:
            other.children = tuple(new if oid == old else oid for oid in other.children)


def schedule_cancel(ground: Ground, account: Account, action: Action) -> Response:
    time = action.get("time")
    if time is not None and time < ground.state.now + SOON_MS:
        raise Refused(refusals.CANCEL_TOO_SOON)
    account.cancel_at = time
    return DEFAULT
