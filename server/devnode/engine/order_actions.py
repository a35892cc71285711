"""The trading actions: order (with its groupings), modify, cancel, scheduled cancels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from server.devnode.engine import refusals
from server.devnode.engine.account import Account, Order
from server.devnode.engine.events import Terms
from server.devnode.engine.lifecycle import cancel, known, retie
from server.devnode.engine.matching import reducible
from server.devnode.engine.placing import Status, place, reject, terms_of
from server.devnode.engine.refusals import Refused
from server.devnode.engine.state import Ground
from server.devnode.engine.units import is_number
from server.devnode.engine.wire_orders import Spec, parse

Action = Mapping[str, Any]
Response = dict[str, Any]
Look = Callable[[int], None]  # a market is about to be traded: its makers may turn up

MAX_ITEMS = 200  # of one signed action
PERP_BUILDER_FEE = 100  # at most, in tenths of a basis point: 0.1%; spot 1%. Official docs, builder codes
SOON_MS = 5_000  # a scheduled cancel is at least this far ahead
DAY_MS = 86_400_000
MAX_SCHEDULED = 10  # scheduled cancels that may trigger in a UTC day
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
    tied = grouping == "positionTpsl"
    wholes = [tied and _is_whole(ground, row) for row in rows]
    rows = [_sized(ground, account, row) if whole else row for row, whole in zip(rows, wholes, strict=True)]
    specs = [parse(listing, marks, row) for row in rows]
    for spec in specs:
        if builder is not None and not spec.inst.is_spot and builder[1] > PERP_BUILDER_FEE:
            raise Refused(refusals.NO_BUILDER)
        look(spec.inst.asset)
    if grouping == "normalTpsl":
        return answered("order", _with_children(ground, account, specs, builder))
    if tied and not all(spec.tpsl and spec.reduce_only for spec in specs):
        raise Refused(refusals.CHILD_NOT_REDUCING)
    statuses: list[Status] = []
    for spec, whole in zip(specs, wholes, strict=True):
        terms = terms_of(ground, account, spec, builder=builder, is_position_tpsl=tied, is_whole=whole)
        if tied and not reducible(account.pool(spec.inst.dex), spec.inst.asset, spec.is_buy):
            statuses.append(reject(ground, terms, refusals.REDUCE_ONLY))
        else:
            statuses.append(place(ground, account, spec, terms))
    if tied:
        _tie(account, [oid for oid in account.orders if account.orders[oid].terms.is_position_tpsl], specs)
    return answered("order", statuses)


def _is_whole(ground: Ground, row: Mapping[str, Any]) -> bool:
    """A TP/SL of the whole position comes with size 0; with any other it keeps that size."""
    inst = ground.instruments.get(row["a"])
    return inst is not None and not inst.is_spot and is_number(row["s"]) and not row["s"].strip("0.")


def _sized(ground: Ground, account: Account, row: Mapping[str, Any]) -> Mapping[str, Any]:
    inst = ground.instruments[row["a"]]
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
        known(account, Order(child, child.lots, siblings=others, parent=oid, place="parent"))
    status = place(ground, account, parent, terms)
    if isinstance(status, dict) and "error" in status:
        for number in oids:
            account.orders.pop(number, None)
        return [status] * len(specs)
    return [status, *(_child_status(account, child) for child in children)]


def _child_status(account: Account, terms: Terms) -> Status:
    """Of a child whose parent has just been placed. It is gone where that was filled in part and ended."""
    child = account.orders.get(terms.oid)
    if child is None:
        return {"error": f"{refusals.NO_ORDER} asset={terms.asset}"}
    return "waitingForFill" if child.place == "parent" else "waitingForTrigger"


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
    (status,) = _modified(ground, account, [action], look)
    if isinstance(status, dict) and "error" in status:
        raise Refused(status["error"])
    return DEFAULT


def batch_modify(ground: Ground, account: Account, action: Action, look: Look) -> Response:
    _bounded(action["modifies"])
    return answered("order", _modified(ground, account, action["modifies"], look))


def _modified(ground: Ground, account: Account, rows: Sequence[Action], look: Look) -> list[Status]:
    """What is refused for its text alone refuses all of them, before any is executed."""
    specs = [parse(ground.listing, ground.state.marks, row["order"]) for row in rows]
    for spec in specs:
        look(spec.inst.asset)
    return [_modify(ground, account, row["oid"], spec) for row, spec in zip(rows, specs, strict=True)]


def _modify(ground: Ground, account: Account, name: int | str, spec: Spec) -> Status:
    """Cancel, then place anew under a new oid: the cancel stands even where the new order is refused."""
    old = find(account, name)
    if old is None or old.terms.asset != spec.inst.asset:
        return {"error": refusals.DEAD_ORDER}
    if old.place == "parent" and spec.tpsl:
        return _modify_child(ground, account, old, spec)
    was, siblings = old.terms, old.siblings
    children = [account.orders[oid] for oid in old.children if _waits(account, oid)]
    old.children = ()  # they belong to the new one
    cancel(ground, account, old)
    terms = terms_of(
        ground,
        account,
        spec,
        builder=was.builder,
        children=tuple(child.terms for child in children),
        is_position_tpsl=was.is_position_tpsl and bool(spec.tpsl),
    )
    for child in children:
        child.parent = terms.oid
    status = place(ground, account, spec, terms)
    if isinstance(status, dict) and "error" in status:
        for child in children:
            cancel(ground, account, child)
        return {"error": f"{refusals.DURING_MODIFY}{status['error']}"}
    fresh = account.orders.get(terms.oid)
    if fresh is not None and spec.tpsl:
        fresh.siblings = siblings
        _replace(account, siblings, was.oid, terms.oid)
    return status


def _modify_child(ground: Ground, account: Account, old: Order, spec: Spec) -> Status:
    """Another TP/SL waits for the parent in place of the old one."""
    terms = terms_of(ground, account, spec)
    if spec.off_tick or not spec.reduce_only:
        cancel(ground, account, old)
        refusal = refusals.TICK if spec.off_tick else ("reduceOnlyRejected", refusals.CHILD_NOT_REDUCING)
        return {"error": f"{refusals.DURING_MODIFY}{reject(ground, terms, refusal)['error']}"}
    retie(ground, account, old, terms)
    fresh = Order(terms, terms.lots, siblings=old.siblings, parent=old.parent, place="parent")
    old.parent = 0
    cancel(ground, account, old)
    known(account, fresh)
    _replace(account, old.siblings, old.terms.oid, terms.oid)
    return "waitingForFill"


def _waits(account: Account, oid: int) -> bool:
    child = account.orders.get(oid)
    return child is not None and child.place == "parent"


def _replace(account: Account, siblings: Sequence[int], old: int, new: int) -> None:
    """Let the siblings of `old` be those of `new`."""
    for oid in siblings:
        other = account.orders.get(oid)
        if other is not None:
            other.siblings = tuple(new if one == old else one for one in other.siblings)


def schedule_cancel(ground: Ground, account: Account, action: Action) -> Response:
    """Set the time at which all orders are cancelled, or (without one) unset it."""
    time, now = action.get("time"), ground.state.now
    if time is not None and time < now + SOON_MS:
        raise Refused(refusals.CANCEL_TOO_SOON)
    if time is not None and account.cancels_on == (now // DAY_MS, MAX_SCHEDULED):
        raise Refused(refusals.TOO_MANY_CANCELS)
    account.cancel_at = time
    return DEFAULT
