"""Liquidation: what happens when the maintenance margin is no longer there.

As the docs have it: below the maintenance margin positions are sold into the book, above 100k USD of
notional a fifth at first and the rest 30 seconds later; below two thirds of it the liquidator takes over
the positions, at the mark, and the collateral that is left. There is no auto-deleveraging: what an account
cannot pay, the insurance account pays.
"""

from __future__ import annotations

import math

from server.devnode.clearinghouse import Tier, maintenance
from server.devnode.engine.account import Account, Holding, Pool, Safe
from server.devnode.engine.events import LedgerUpdate, Liquidation, Terms
from server.devnode.engine.lifecycle import cancel
from server.devnode.engine.listing import Instrument
from server.devnode.engine.margin import cross, equity
from server.devnode.engine.matching import execute, trim_if_needed
from server.devnode.engine.order_actions import Look
from server.devnode.engine.settlement import settle_perp_side
from server.devnode.engine.state import INSURANCE, LIQUIDATOR, Ground, State, Why
from server.devnode.engine.units import number, usd
from server.devnode.prices import legal

CHUNK_ABOVE = 100_000 * 1_000_000  # micro-USD of notional
CHUNK = 5  # the first order is one in so many
COOLDOWN_MS = 30_000
SLIPPAGE = (10, 100)  # how far from the mark a liquidation's market order goes


def liquidate_all(ground: Ground, look: Look) -> None:
    """Look at every account that holds anything and may have come near, and liquidate what must be."""
    state = ground.state
    _travel(state)
    for account in list(state.accounts.values()):
        if account.exempt:
            continue
        for dex, pool in account.pools.items():
            safe = pool.safe
            if not pool.holdings or (
                safe is not None
                and safe.travel > state.travel
                and safe.cash == pool.cash
                and safe.volume == account.volume
                and safe.hour == state.hour
            ):
                continue
            pool.safe = None
            _check(ground, account, dex, pool, look)
            _trust(ground, account, pool)


def _travel(state: State) -> None:
    before, far = state.travelled, 0.0
    for asset, mark in state.marks.items():
        old = before.get(asset, mark)
        if mark != old:
            far = max(far, (mark / old if mark > old else old / mark) - 1)
    if far or not before:
        state.travel += far
        state.travelled = dict(state.marks)


def _trust(ground: Ground, account: Account, pool: Pool) -> None:
    """Work out how far the marks may travel before a pool has to be looked at again.

    Marks that have travelled t in all stand at most a factor e^t from here. So the value of positions falls,
    and what half of it their maintenance may be grows, by no more than (e^t - 1) of the notional.
    """
    state = ground.state
    whole = cross(pool, state.marks, ground.instruments)
    rooms = [(whole.value - whole.maintenance, whole.ntl)]
    for asset, holding in pool.holdings.items():
        if holding.raw is not None:
            ntl = abs(holding.lots) * state.marks[asset]
            rooms.append((equity(holding, state.marks[asset]) - maintenance(ntl, _tiers(ground, asset)), ntl))
    shares = [room / ntl for room, ntl in rooms if ntl]
    if not shares or min(shares) <= 0:
        return
    far = 0.99 * math.log1p(min(shares) / 1.5)
    pool.safe = Safe(state.travel + far, pool.cash, account.volume, state.hour)


def _tiers(ground: Ground, asset: int) -> tuple[Tier, ...]:
    return ground.instruments[asset].tiers


def _check(ground: Ground, account: Account, dex: str, pool: Pool, look: Look) -> None:
    marks = ground.state.marks
    for asset, holding in sorted(pool.holdings.items()):
        if holding.raw is None:
            continue
        inst, mark = ground.instruments[asset], marks[asset]
        needed = maintenance(abs(holding.lots) * mark, inst.tiers)
        value = equity(holding, mark)
        if value < needed:
            _tell(ground, account, [(inst, holding)], value, "Isolated")
            _cancel_orders(ground, account, dex, asset)
            if value * 3 < needed * 2:
                _take_over(ground, account, inst, holding)
            else:
                _sell(ground, account, pool, inst, holding, look)
        else:
            pool.cooldown.pop(asset, None)
    state = cross(pool, marks, ground.instruments)
    held = [(ground.instruments[a], h) for a, h in sorted(pool.holdings.items()) if h.raw is None]
    if not held:
        return
    if state.value >= state.maintenance:
        for inst, _ in held:
            pool.cooldown.pop(inst.asset, None)
        return
    _tell(ground, account, held, state.value, "Cross")
    _cancel_orders(ground, account, dex, None)
    backstop = state.value * 3 < state.maintenance * 2
    for inst, holding in held:
        if backstop:
            _take_over(ground, account, inst, holding)
        else:
            _sell(ground, account, pool, inst, holding, look)
    if backstop and pool.cash > 0:
        ground.pool(LIQUIDATOR, dex).cash += pool.cash
        pool.cash = 0
    if pool.cash < 0 and not any(one.raw is None for one in pool.holdings.values()):
        ground.pool(INSURANCE, dex).cash += pool.cash
        pool.cash = 0


def _cancel_orders(ground: Ground, account: Account, dex: str, asset: int | None) -> None:
    for order in list(account.orders.values()):
        inst = ground.instruments[order.terms.asset]
        concerned = inst.asset == asset if asset is not None else inst.dex == dex and not inst.is_spot
        if concerned and order.terms.oid in account.orders:
            cancel(ground, account, order, "liquidatedCanceled")


def _sell(
    ground: Ground, account: Account, pool: Pool, inst: Instrument, holding: Holding, look: Look
) -> None:
    """Send a market order for the position, or for a part of it where it is large."""
    now, mark = ground.state.now, ground.state.marks[inst.asset]
    lots = abs(holding.lots)
    if lots * mark > CHUNK_ABOVE:
        until = pool.cooldown.get(inst.asset)
        if until is None:
            pool.cooldown[inst.asset] = now + COOLDOWN_MS
            lots = -(-lots // CHUNK)
        elif now < until:
            return
    look(inst.asset)
    is_buy = holding.lots < 0
    part, whole = SLIPPAGE
    px = legal(mark * (whole + part if is_buy else whole - part) // whole, inst.px_decimals)
    terms = _terms(ground, account, inst, is_buy, px, lots)
    execute(ground, account, inst, terms, lots, Why(liquidation=Liquidation(account.address, mark, "market")))


def _take_over(ground: Ground, account: Account, inst: Instrument, holding: Holding) -> None:
    """Move a position to the liquidator at the mark, without fees; an isolated one with its pocket."""
    mark, signed = ground.state.marks[inst.asset], -holding.lots
    left = max(0, equity(holding, mark)) if holding.raw is not None else 0
    liquidator = ground.state.accounts[LIQUIDATOR]
    mine = _terms(ground, account, inst, signed > 0, mark, abs(signed))
    theirs = _terms(ground, liquidator, inst, signed < 0, mark, abs(signed))
    buyer, seller = (mine, theirs) if signed > 0 else (theirs, mine)
    tid = ground.tid(buyer.oid, seller.oid)
    why = Why(liquidation=Liquidation(account.address, mark, "backstop"))
    settle_perp_side(ground, account, inst, mine, signed, mark, tid, True, why)
    settle_perp_side(ground, liquidator, inst, theirs, -signed, mark, tid, False, why)
    account.pool(inst.dex).cash -= left
    liquidator.pool(inst.dex).cash += left
    trim_if_needed(ground, account, inst)


def _terms(ground: Ground, account: Account, inst: Instrument, is_buy: bool, px: int, lots: int) -> Terms:
    return Terms(
        ground.oid(),
        account.address,
        inst.asset,
        inst.coin,
        is_buy,
        px,
        lots,
        True,
        "LiquidationMarket",
        None,
        ground.state.now,
        "Market",
    )


def _tell(
    ground: Ground, account: Account, held: list[tuple[Instrument, Holding]], value: int, kind: str
) -> None:
    state = ground.state
    delta = {
        "type": "liquidation",
        "liquidatedNtlPos": usd(sum(abs(h.lots) * state.marks[inst.asset] for inst, h in held)),
        "accountValue": usd(value),
        "leverageType": kind,
        "liquidatedPositions": [
            {"coin": inst.coin, "szi": number(h.lots, inst.sz_decimals)} for inst, h in held
        ],
    }
    ground.history.add(LedgerUpdate(state.now, state.hash, (account.address,), delta))
