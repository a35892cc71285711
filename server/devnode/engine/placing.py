"""Placing orders: the checks of one order in turn, then the walk through the book, then its rest."""

from __future__ import annotations

from typing import Any

from server.devnode.engine import refusals
from server.devnode.engine.account import Account, Order
from server.devnode.engine.events import Terms
from server.devnode.engine.lifecycle import arm, end, enter, filled
from server.devnode.engine.listing import USDC, Instrument
from server.devnode.engine.margin import (
    cross,
    free,
    hold_with,
    leverage_of,
    tier_allows,
)
from server.devnode.engine.matching import crosses, match, reducible
from server.devnode.engine.state import PLAIN, Ground, Why
from server.devnode.engine.units import MIN_NOTIONAL_USD, number, short
from server.devnode.engine.wire_orders import Spec

OPEN_ORDERS = 5_000  # at most per account; the 1000 + 1 per 5M of volume of the docs is not played
Status = dict[str, Any] | str
Refusal = tuple[str, str]


def terms_of(
    ground: Ground,
    account: Account,
    spec: Spec,
    *,
    builder: tuple[str, int] | None = None,
    children: tuple[Terms, ...] = (),
    is_position_tpsl: bool = False,
    is_whole: bool = False,
    oid: int = 0,
) -> Terms:
    return Terms(
        oid or ground.oid(),
        account.address,
        spec.inst.asset,
        spec.inst.coin,
        spec.is_buy,
        spec.px,
        spec.lots,
        spec.reduce_only,
        spec.tif,
        spec.cloid,
        ground.state.now,
        spec.kind,
        spec.trigger_px,
        spec.triggers_above,
        spec.is_market,
        is_position_tpsl,
        is_whole,
        children,
        builder,
    )


def reject(ground: Ground, terms: Terms, refusal: Refusal, detail: str = "") -> dict[str, str]:
    status, text = refusal
    ground.tell(terms, terms.lots, status)
    return {"error": f"{text.format(detail) if detail else text} asset={terms.asset}"}


def place(ground: Ground, account: Account, spec: Spec, terms: Terms) -> Status:
    """Place an order that has no trigger, or whose trigger has just come. The answer is its status."""
    inst = spec.inst
    refusal = refusals.TICK if spec.off_tick else check_value(account, inst, spec)
    if refusal is None and len(account.orders) >= OPEN_ORDERS and not account.exempt:
        refusal = refusals.TOO_MANY
    if refusal is None and spec.tpsl:
        return _place_trigger(ground, account, spec, terms)
    if refusal is not None:
        return reject(ground, terms, refusal)
    children = tuple(child.oid for child in terms.children)
    return run(ground, account, inst, Order(terms, terms.lots, children=children), terms.tif or "Gtc")


def check_value(account: Account, inst: Instrument, spec: Spec) -> Refusal | None:
    """The smallest value an order may have. What closes a position as a whole may be smaller."""
    if spec.lots * spec.px >= MIN_NOTIONAL_USD * inst.usd_unit:
        return None
    if inst.is_spot:
        return refusals.MIN_SPOT_NOTIONAL
    if spec.reduce_only and (
        spec.tpsl or spec.lots >= reducible(account.pool(inst.dex), inst.asset, spec.is_buy)
    ):
        return None
    return refusals.MIN_NOTIONAL


def run(
    ground: Ground, account: Account, inst: Instrument, order: Order, tif: str, why: Why = PLAIN
) -> Status:
    """Check an order against account and book, match it, and let the rest of it rest or end."""
    terms = order.terms
    opposite = ground.book(inst.asset).side(not terms.is_buy).best()
    if tif == "Alo" and opposite is not None and crosses(terms, opposite.px):
        return reject(ground, terms, refusals.BAD_ALO, bbo(ground, inst))
    refusal = None if account.exempt else afford(ground, account, inst, terms, order.left)
    if refusal is not None:
        return reject(ground, terms, refusal)
    result = match(ground, account, inst, terms, order.left, why)
    order.left = result.left
    if not result.left:
        if tif == "Gtc":  # recorded: open and filled in one message
            ground.tell(terms, result.lots, "open")
        filled(ground, account, order)
        return done(inst, terms, result.lots, result.ntl)
    if result.no_margin and not result.lots:
        return reject(ground, terms, refusals.MARGIN)
    stopped = result.no_margin or (
        terms.reduce_only
        and not inst.is_spot
        and not reducible(account.pool(inst.dex), inst.asset, terms.is_buy)
    )
    if tif in ("Ioc", "FrontendMarket") or stopped:
        if not result.lots:
            return reject(ground, terms, refusals.NO_LIQUIDITY if tif == "FrontendMarket" else refusals.IOC)
        status = "marginCanceled" if result.no_margin else "reduceOnlyCanceled" if stopped else "canceled"
        end(ground, account, order, status)
        return done(inst, terms, result.lots, result.ntl)
    if not account.exempt and not can_rest(ground, account, inst, terms, order.left):
        if not result.lots:
            return reject(ground, terms, refusals.MARGIN)
        end(ground, account, order, "marginCanceled")
        return done(inst, terms, result.lots, result.ntl)
    ground.tell(terms, order.left, "open")
    enter(ground, account, inst, order)
    return named({"resting": {"oid": terms.oid}}, "resting", terms)


def done(inst: Instrument, terms: Terms, lots: int, ntl: int) -> Status:
    row = {
        "totalSz": number(lots, inst.sz_decimals),
        "avgPx": number((2 * ntl + lots) // (2 * lots), inst.px_decimals),
        "oid": terms.oid,
    }
    return named({"filled": row}, "filled", terms)


def named(status: dict[str, Any], key: str, terms: Terms) -> Status:
    if terms.cloid is not None:
        status[key]["cloid"] = terms.cloid
    return status


def bbo(ground: Ground, inst: Instrument) -> str:
    book = ground.book(inst.asset)
    bid, ask = book.bids.best(), book.asks.best()
    return f"{short(bid.px if bid else 0, inst.px_decimals)}@{short(ask.px if ask else 0, inst.px_decimals)}"


def afford(ground: Ground, account: Account, inst: Instrument, terms: Terms, lots: int) -> Refusal | None:
    """Can the account carry the order if all of it trades? Every fill is checked again, to the micro-USD."""
    if inst.is_spot:
        return _afford_spot(account, inst, terms, lots)
    pool = account.pool(inst.dex)
    if terms.reduce_only:
        return None if reducible(pool, inst.asset, terms.is_buy) else refusals.REDUCE_ONLY
    marks = ground.state.marks
    mark = marks[inst.asset]
    holding = pool.holdings.get(inst.asset)
    held = holding.lots if holding else 0
    end = held + (lots if terms.is_buy else -lots)
    if abs(end) <= abs(held) and held * end >= 0:
        return None  # only closes
    if not tier_allows(end, mark, leverage_of(account, inst).value, inst):
        return refusals.MAX_POSITION
    px = min(terms.px, mark) if terms.is_buy else max(terms.px, mark)
    more = hold_with(account, pool, inst, held, terms.is_buy, lots, px) - pool.hold
    if more <= 0:
        return None
    return refusals.MARGIN if free(pool, marks, ground.instruments) < more else None


def can_rest(ground: Ground, account: Account, inst: Instrument, terms: Terms, lots: int) -> bool:
    """Is there the margin for what remains of an order to rest at its own price?"""
    if inst.is_spot or terms.reduce_only:
        return True  # held in full already, or nothing to hold
    pool = account.pool(inst.dex)
    holding = pool.holdings.get(inst.asset)
    hold = hold_with(account, pool, inst, holding.lots if holding else 0, terms.is_buy, lots, terms.px)
    if hold <= pool.hold:
        return True
    state = cross(pool, ground.state.marks, ground.instruments)
    return state.value - state.used >= hold


def _afford_spot(account: Account, inst: Instrument, terms: Terms, lots: int) -> Refusal | None:
    token, need = (USDC, lots * terms.px) if terms.is_buy else (inst.base, lots * inst.lot_wei)
    balance = account.balance(token)
    return refusals.SPOT_BALANCE if balance.total - balance.hold < need else None


def _place_trigger(ground: Ground, account: Account, spec: Spec, terms: Terms) -> Status:
    """Arm a trigger order. Its price must not have come already."""
    mark = ground.state.marks[spec.inst.asset]
    if mark >= spec.trigger_px if spec.triggers_above else mark <= spec.trigger_px:
        return reject(ground, terms, refusals.BAD_TRIGGER)
    order = Order(terms, terms.lots, children=tuple(child.oid for child in terms.children))
    ground.tell(terms, terms.lots, "open")
    arm(ground, account, spec.inst, order)
    if terms.is_position_tpsl:
        return "waitingForTrigger"
    return named({"resting": {"oid": terms.oid}}, "resting", terms)
