"""The walk through the book: an incoming order against those that rest, best price first, oldest first."""

from __future__ import annotations

from dataclasses import dataclass

from server.devnode.clearinghouse import maintenance
from server.devnode.engine.account import Account, Pool
from server.devnode.engine.events import Terms
from server.devnode.engine.lifecycle import cancel, fill_resting, trim
from server.devnode.engine.listing import Instrument
from server.devnode.engine.margin import Others, hold_with, others
from server.devnode.engine.perp_trade import Traded, is_reducing, traded
from server.devnode.engine.settlement import holding_of, perp_fee, settle
from server.devnode.engine.state import PLAIN, Ground, Why


@dataclass(slots=True)
class Result:
    left: int
    lots: int = 0
    ntl: int = 0  # lots x ticks
    no_margin: bool = False  # stopped because the next fill could not be afforded


def crosses(terms: Terms, px: int) -> bool:
    return px <= terms.px if terms.is_buy else px >= terms.px


def match(ground: Ground, account: Account, inst: Instrument, terms: Terms, lots: int, why: Why) -> Result:
    """Match as much of an order as the book, its limit, the position (reduce-only) and margin allow."""
    result = Result(lots)
    side = ground.book(inst.asset).side(not terms.is_buy)
    fits = None if inst.is_spot else Fits(ground, account, inst)
    while result.left:
        level = side.best()
        if level is None or not crosses(terms, level.px):
            break
        order = next(iter(level.orders.values()))
        maker = ground.state.accounts[order.terms.user]
        if maker is account:  # the exchange expires the maker
            cancel(ground, account, order, "selfTradeCanceled")
            continue
        size = min(result.left, order.left)
        taken = made = None
        if fits is not None:
            if terms.reduce_only:
                size = min(size, reducible(account.pool(inst.dex), inst.asset, terms.is_buy))
                if not size:
                    break
            if order.terms.reduce_only:
                size = min(size, reducible(maker.pool(inst.dex), inst.asset, order.terms.is_buy))
                if not size:
                    cancel(ground, maker, order, "reduceOnlyCanceled")
                    continue
            made = Fits(ground, maker, inst).after(order.terms, size, level.px, crossed=False)
            if made is None:
                cancel(ground, maker, order, "marginCanceled")
                continue
            taken = fits.after(terms, size, level.px, crossed=True)
            if taken is None:
                result.no_margin = True
                break
        settle(ground, inst, account, terms, maker, order, size, why, taken, made)
        result.left -= size
        result.lots += size
        result.ntl += size * level.px
        fill_resting(ground, maker, inst, order, size)
        if fits is not None:
            trim_if_needed(ground, maker, inst)
    if result.lots and fits is not None:
        trim_if_needed(ground, account, inst)
    return result


def reducible(pool: Pool, asset: int, is_buy: bool) -> int:
    """How many lots a reduce-only order of this side may still trade."""
    holding = pool.holdings.get(asset)
    if holding is None or is_buy == (holding.lots > 0):
        return 0
    return abs(holding.lots)


def trim_if_needed(ground: Ground, account: Account, inst: Instrument) -> None:
    pool = account.pool(inst.dex)
    if inst.asset in pool.reducing or inst.asset in pool.tpsl:
        trim(ground, account, inst)


class Fits:
    """Whether an account can afford fills of one coin, all at the same marks.

    The rule: after a fill that does more than reduce, cross value at the marks covers the initial margin
    of all cross positions and what the resting orders hold; an isolated pocket covers its maintenance.
    """

    __slots__ = ("_account", "_ground", "_inst", "_others", "_pool")

    def __init__(self, ground: Ground, account: Account, inst: Instrument) -> None:
        self._ground = ground
        self._account = account
        self._inst = inst
        self._pool = account.pool(inst.dex)
        self._others: Others | None = None  # worked out when needed

    def after(self, terms: Terms, lots: int, px: int, *, crossed: bool) -> Traded | None:
        """The position after such a fill; None where it cannot be afforded."""
        account, pool, inst = self._account, self._pool, self._inst
        holding = holding_of(account, pool, inst)
        signed = lots if terms.is_buy else -lots
        fee, _ = perp_fee(account, lots * px, crossed, terms.builder[1] if terms.builder else 0)
        after = traded(holding, pool.cash, signed, px, fee)
        if account.exempt or is_reducing(holding.lots, signed):
            return after
        marks = self._ground.state.marks
        if self._others is None:
            self._others = others(pool, marks, inst.asset)
        rest, mark = self._others, marks[inst.asset]
        value, used = after.cash + rest.value, rest.used
        signed_value = after.lots * mark
        if after.raw is None:
            value += signed_value
            used += abs(signed_value) // holding.leverage
        elif after.raw + signed_value < maintenance(abs(signed_value), inst.tiers):
            return None
        resting = 0 if crossed or terms.reduce_only else -lots
        hold = hold_with(account, pool, inst, after.lots, terms.is_buy, resting, px) if pool.resting else 0
        return after if value >= used + hold else None


def execute(
    ground: Ground, account: Account, inst: Instrument, terms: Terms, lots: int, why: Why = PLAIN
) -> Result:
    """Match an order that never rests and is nobody's request: a slice, a liquidation. Tells its end."""
    result = match(ground, account, inst, terms, lots, why)
    ground.tell(terms, result.left, "canceled" if result.left else "filled")
    return result
