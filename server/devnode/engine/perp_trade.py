"""What a fill does to a perp position: a pure function, so that it can be tried before it is done.

Rules: cash pays signed size x price and the fee; opening adds to the entry notional, closing cuts it in
proportion, truncated; a flip starts anew at the fill's price. An isolated opening moves size x price /
leverage from the cross cash into the pocket, a closing gives the freed share of the pocket back.
"""

from __future__ import annotations

from typing import NamedTuple

from server.devnode.engine.account import Holding


class Traded(NamedTuple):
    """The state after a fill. `shortfall` is what an isolated pocket could not pay: insurance does."""

    cash: int
    lots: int
    entry: int
    raw: int | None
    closed_pnl: int
    shortfall: int = 0


def is_reducing(lots: int, signed: int) -> bool:
    """Does a fill only bring the position nearer to nought?"""
    return lots * signed < 0 and abs(signed) <= abs(lots)


def traded(holding: Holding, cash: int, signed: int, px: int, fee: int) -> Traded:
    old = holding.lots
    new = old + signed
    if old == 0 or (old > 0) == (signed > 0):
        entry, pnl = holding.entry + signed * px, 0
    elif abs(signed) <= abs(old):
        cut = abs(holding.entry) * abs(new) // abs(old)  # truncated, as recorded
        entry = cut if old > 0 else -cut
        pnl = -signed * px - (holding.entry - entry)
    else:
        entry, pnl = new * px, old * px - holding.entry
    if holding.raw is None:
        return Traded(cash - signed * px - fee, new, entry, None, pnl)
    return _isolated(holding, cash, signed, px, fee, entry, pnl)


def _isolated(holding: Holding, cash: int, signed: int, px: int, fee: int, entry: int, pnl: int) -> Traded:
    old, raw = holding.lots, holding.raw or 0
    new = old + signed
    if old == 0 or (old > 0) == (signed > 0):
        posted = abs(signed) * px // holding.leverage
        return Traded(cash - posted, new, entry, raw + posted - fee - signed * px, pnl)
    value = raw + old * px
    if new != 0 and abs(signed) <= abs(old):
        kept = value * abs(new) // abs(old)
        if value - kept < fee:  # what is set free does not even pay the fee
            kept = value - fee
        return Traded(cash + value - fee - kept, new, entry, kept - new * px, pnl)
    freed = value - fee
    shortfall = max(0, -freed)
    cash += max(0, freed)
    if new == 0:
        return Traded(cash, 0, 0, 0, pnl, shortfall)
    posted = abs(new) * px // holding.leverage
    return Traded(cash - posted, new, entry, posted - new * px, pnl, shortfall)


def direction(start: int, signed: int) -> str:
    """The wire's `dir` of a perp fill."""
    end = start + signed
    if start == 0 or (start > 0) == (signed > 0):
        return "Open Long" if signed > 0 else "Open Short"
    if start > 0:
        return "Close Long" if end >= 0 else "Long > Short"
    return "Close Short" if end <= 0 else "Short > Long"
