"""Liquidation: what happens when the maintenance margin is no longer there.

As the docs have it: below the maintenance margin the orders of the account end and its positions are sold
into the book, a fifth of each that is larger than 100k USD, and as wholes in the 30 seconds after such a
part was sold. Below two thirds of the margin the liquidator takes over the positions, at the mark, and the
collateral that is left. There is no auto-deleveraging: what an account cannot pay, the insurance account
pays. That its TWAPs end too is our reading: nothing is known of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from server.devnode.clearinghouse import Tier, maintenance
from server.devnode.engine.account import Account, Holding, Pool, Safe
from server.devnode.engine.events import Collateral, LedgerUpdate, Liquidation, Terms
from server.devnode.engine.lifecycle import cancel_all
from server.devnode.engine.listing import Instrument
from server.devnode.engine.margin import cross, equity
from server.devnode.engine.matching import crosses, execute, trim_if_needed
from server.devnode.engine.order_actions import Look
from server.devnode.engine.settlement import settle_side
from server.devnode.engine.state import INSURANCE, LIQUIDATOR, Ground, State, Why
from server.devnode.engine.twaps import terminate
from server.devnode.engine.units import number, usd
from server.devnode.prices import legal

CHUNK_ABOVE = 100_000 * 1_000_000  # micro-USD of notional
CHUNK = 5  # a partial order is one in so many
COOLDOWN_MS = 30_000
SLIPPAGE = (10, 100)  # how far from the mark a liquidation's market order goes

Held = Sequence[tuple[Instrument, Holding]]
Concerned = Callable[[Instrument], bool]


class Short(NamedTuple):
    """Positions whose margin is short of what they need, and the markets whose orders end with them."""

    held: Held
    value: int
    needed: int
    kind: str  # Cross or Isolated, as the wire says
    concerned: Concerned

    @property
    def is_hopeless(self) -> bool:
        return self.value * 3 < self.needed * 2


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
            ):
                continue
            _check(ground, account, dex, pool, look)
            pool.safe = _trusted(ground, account, pool)


def _travel(state: State) -> None:
    before, far = state.travelled, 0.0
    for asset, mark in state.marks.items():
        old = before.get(asset, mark)
        if mark != old:
            far = max(far, (mark / old if mark > old else old / mark) - 1)
    if far or not before:
        state.travel += far
        state.travelled = dict(state.marks)


def _trusted(ground: Ground, account: Account, pool: Pool) -> Safe | None:
    """Work out how far the marks may travel before a pool has to be looked at again.

    Marks that have travelled t in all stand at most a factor e^t from here. So the value of positions falls,
    and what half of it their maintenance may be grows, by no more than (e^t - 1) of the notional. (What
    funding takes off counts as travel: see there.)
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
        return None
    return Safe(state.travel + 0.99 * math.log1p(min(shares) / 1.5), pool.cash, account.volume)


def _tiers(ground: Ground, asset: int) -> tuple[Tier, ...]:
    return ground.instruments[asset].tiers


def _check(ground: Ground, account: Account, dex: str, pool: Pool, look: Look) -> None:
    marks = ground.state.marks
    for asset, holding in sorted(pool.holdings.items()):
        if holding.raw is not None:
            inst, mark = ground.instruments[asset], marks[asset]
            needed = maintenance(abs(holding.lots) * mark, inst.tiers)
            value = equity(holding, mark)
            if value < needed:
                short = Short([(inst, holding)], value, needed, "Isolated", _only(asset))
                _liquidate(ground, account, short, look)
    held = [(ground.instruments[a], h) for a, h in sorted(pool.holdings.items()) if h.raw is None]
    if not held:
        return
    state = cross(pool, marks, ground.instruments)
    if state.value >= state.maintenance:
        return
    short = Short(
        held, state.value, state.maintenance, "Cross", lambda one: one.dex == dex and not one.is_spot
    )
    _liquidate(ground, account, short, look)
    if short.is_hopeless and pool.cash > 0:
        _move(ground, dex, account.address, LIQUIDATOR, pool.cash)
    if pool.cash < 0 and not any(one.raw is None for one in pool.holdings.values()):
        _move(ground, dex, INSURANCE, account.address, -pool.cash)


def _only(asset: int) -> Concerned:
    return lambda inst: inst.asset == asset


def _liquidate(ground: Ground, account: Account, short: Short, look: Look) -> None:
    """Sell or take over positions, and tell of it where anything was traded."""
    told = _told(ground, account, short)
    cancel_all(ground, account, "liquidatedCanceled", short.concerned)
    terminate(ground, account, short.concerned)
    before = account.volume
    if short.is_hopeless:
        for inst, holding in short.held:
            _take_over(ground, account, inst, holding)
    else:
        _sell_all(ground, account, short.held, look)
    if account.volume != before:
        ground.history.add(told)


def _sell_all(ground: Ground, account: Account, held: Held, look: Look) -> None:
    now = ground.state.now
    whole, parted = 0 < account.whole_until - now < COOLDOWN_MS, False  # not in the block that began it
    for inst, holding in held:
        lots = abs(holding.lots)
        if not whole and lots * ground.state.marks[inst.asset] > CHUNK_ABOVE:
            parted |= _sell(ground, account, inst, holding, -(-lots // CHUNK), look)
        else:
            _sell(ground, account, inst, holding, lots, look)
    if parted:
        account.whole_until = now + COOLDOWN_MS


def _sell(
    ground: Ground, account: Account, inst: Instrument, holding: Holding, lots: int, look: Look
) -> bool:
    """Send a market order that brings a position nearer to nought, if anybody is there to take it."""
    mark, is_buy = ground.state.marks[inst.asset], holding.lots < 0
    look(inst.asset)
    part, whole = SLIPPAGE
    px = legal(mark * (whole + part if is_buy else whole - part) // whole, inst.px_decimals)
    terms = _terms(ground, account, inst, is_buy, px, lots)
    best = ground.book(inst.asset).side(not is_buy).best()
    if best is None or not crosses(terms, best.px):
        return False
    why = Why(liquidation=Liquidation(account.address, mark, "market"))
    return execute(ground, account, inst, terms, lots, why).lots > 0


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
    settle_side(ground, account, inst, mine, signed, mark, tid, True, why)
    settle_side(ground, liquidator, inst, theirs, -signed, mark, tid, False, why)
    if left:
        _move(ground, inst.dex, account.address, LIQUIDATOR, left)
    trim_if_needed(ground, account, inst)


def _move(ground: Ground, dex: str, source: str, target: str, micro: int) -> None:
    ground.pool(source, dex).cash -= micro
    ground.pool(target, dex).cash += micro
    ground.history.add(Collateral(ground.state.now, dex, source, target, micro))


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


def _told(ground: Ground, account: Account, short: Short) -> LedgerUpdate:
    """The account's ledger of it, with the positions as they stand before."""
    state = ground.state
    delta = {
        "type": "liquidation",
        "liquidatedNtlPos": usd(sum(abs(h.lots) * state.marks[inst.asset] for inst, h in short.held)),
        "accountValue": usd(short.value),
        "leverageType": short.kind,
        "liquidatedPositions": [
            {"coin": inst.coin, "szi": number(h.lots, inst.sz_decimals)} for inst, h in short.held
        ],
    }
    return LedgerUpdate(state.now, state.hash, (account.address,), delta)
