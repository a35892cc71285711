"""Margin: what positions use, what orders hold back, whether a fill or an order can be afforded.

The initial margin of a position is floor(notional at the mark / leverage), as the arithmetic of
`clearinghouseState` has it. An opening order holds size x limit price / leverage (recorded for an account
with no position); what an order would only close holds nothing. That last part is our reading: no
recording of positions together with their orders is known.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from server.devnode.clearinghouse import maintenance
from server.devnode.engine.account import DEFAULT_LEVERAGE, Account, Holding, Leverage, Pool, Resting
from server.devnode.engine.listing import Instrument

Marks = Mapping[int, int]


def leverage_of(account: Account, inst: Instrument) -> Leverage:
    found = account.leverages.get(inst.asset)
    if found is None:
        return Leverage(min(DEFAULT_LEVERAGE, inst.max_leverage), not inst.isolated_only)
    return found


class Others(NamedTuple):
    """The cross positions of a pool but one: their value at the marks and the margin they use."""

    value: int
    used: int


def others(pool: Pool, marks: Marks, asset: int) -> Others:
    value = used = 0
    for number, holding in pool.holdings.items():
        if number != asset and holding.raw is None:
            signed = holding.lots * marks[number]
            value += signed
            used += abs(signed) // holding.leverage
    return Others(value, used)


def hold_of(lots: int, resting: Resting, leverage: int) -> int:
    """The margin held by the opening orders of a coin, of which `lots` are closed by those against them."""
    ntl = 0
    if resting.buy_lots:
        ntl += resting.buy_ntl * max(0, resting.buy_lots - max(0, -lots)) // resting.buy_lots
    if resting.sell_lots:
        ntl += resting.sell_ntl * max(0, resting.sell_lots - max(0, lots)) // resting.sell_lots
    return ntl // leverage


def rehold(account: Account, pool: Pool, inst: Instrument) -> None:
    """Work out the hold of a coin anew, after its orders, its position or its leverage changed."""
    resting = pool.resting.get(inst.asset)
    if resting is None:
        return
    holding = pool.holdings.get(inst.asset)
    hold = hold_of(holding.lots if holding else 0, resting, leverage_of(account, inst).value)
    pool.hold += hold - resting.hold
    resting.hold = hold
    if not (resting.buy_lots or resting.sell_lots):
        del pool.resting[inst.asset]


def rest(account: Account, pool: Pool, inst: Instrument, is_buy: bool, lots: int, px: int) -> None:
    """Book `lots` of an opening order (negative: take them off) and hold the margin."""
    resting = pool.resting.get(inst.asset)
    if resting is None:
        resting = pool.resting[inst.asset] = Resting()
    if is_buy:
        resting.buy_lots += lots
        resting.buy_ntl += lots * px
    else:
        resting.sell_lots += lots
        resting.sell_ntl += lots * px
    rehold(account, pool, inst)


def hold_with(
    account: Account, pool: Pool, inst: Instrument, lots: int, is_buy: bool, more: int, px: int
) -> int:
    """What the pool would hold with a position of `lots` in the coin and an order of `more` lots more."""
    old = pool.resting.get(inst.asset)
    new = Resting(old.buy_lots, old.buy_ntl, old.sell_lots, old.sell_ntl) if old else Resting()
    if is_buy:
        new.buy_lots += more
        new.buy_ntl += more * px
    else:
        new.sell_lots += more
        new.sell_ntl += more * px
    hold = hold_of(lots, new, leverage_of(account, inst).value)
    return pool.hold - (old.hold if old else 0) + hold


class Cross(NamedTuple):
    """The cross part of a pool at the marks."""

    value: int
    used: int
    maintenance: int
    ntl: int
    reserved: int  # what a transfer must leave: per position, initial margin or a tenth of the notional


def cross(pool: Pool, marks: Marks, listing: Mapping[int, Instrument]) -> Cross:
    value, used, needed, total, reserved = pool.cash, 0, 0, 0, 0
    for number, holding in pool.holdings.items():
        if holding.raw is None:
            signed = holding.lots * marks[number]
            ntl = abs(signed)
            value += signed
            margin = ntl // holding.leverage
            used += margin
            total += ntl
            reserved += max(margin, ntl // 10)
            needed += maintenance(ntl, listing[number].tiers)
    return Cross(value, used, needed, total, reserved)


def withdrawable(pool: Pool, marks: Marks, listing: Mapping[int, Instrument]) -> int:
    if not pool.holdings:
        return max(0, pool.cash - pool.hold)
    state = cross(pool, marks, listing)
    return max(0, state.value - state.reserved - pool.hold)


def free(pool: Pool, marks: Marks, listing: Mapping[int, Instrument]) -> int:
    """What opening more may still use; negative when the marks have eaten into the margin."""
    if not pool.holdings:
        return pool.cash - pool.hold
    state = cross(pool, marks, listing)
    return state.value - state.used - pool.hold


def tier_allows(holding_lots: int, mark: int, leverage: int, inst: Instrument) -> bool:
    """May a position of this size have this leverage? The tier of its notional bounds it."""
    ntl = abs(holding_lots) * mark
    allowed = inst.tiers[0].max_leverage
    for tier in inst.tiers[1:]:
        if ntl < tier.lower_bound:
            break
        allowed = tier.max_leverage
    return leverage <= allowed


def equity(holding: Holding, mark: int) -> int:
    """Of an isolated position."""
    return (holding.raw or 0) + holding.lots * mark
