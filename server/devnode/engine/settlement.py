"""What a match does to the two accounts: cash, position or balances, fees, and the fills and the trade."""

from __future__ import annotations

from typing import NamedTuple

from server.devnode.engine.account import Account, Holding, Order, Pool
from server.devnode.engine.events import Collateral, Fill, Terms, Trade
from server.devnode.engine.fees import RATE_UNIT, TIERS, count
from server.devnode.engine.listing import USDC, Instrument
from server.devnode.engine.margin import leverage_of, rehold
from server.devnode.engine.perp_trade import Traded, direction, traded
from server.devnode.engine.state import FEES, INSURANCE, PLAIN, Ground, Why
from server.devnode.engine.units import CENT, truncated


def perp_fee(account: Account, ntl: int, crossed: bool, builder: int) -> tuple[int, int]:
    """The whole fee in micro-USD, and the builder's part of it."""
    extra = truncated(ntl, builder, RATE_UNIT)
    return truncated(ntl, TIERS[account.tier].perp[crossed], RATE_UNIT) + extra, extra


def holding_of(account: Account, pool: Pool, inst: Instrument) -> Holding:
    """The position of an account, or a flat one in its leverage's mode that belongs to nobody yet."""
    found = pool.holdings.get(inst.asset)
    if found is None:
        leverage = leverage_of(account, inst)
        found = Holding(leverage.value, None if leverage.is_cross else 0)
    return found


def book_perp(
    ground: Ground, account: Account, pool: Pool, inst: Instrument, holding: Holding, after: Traded
) -> None:
    """Write the result of a fill into the account."""
    opened = holding.lots == 0 or (holding.lots > 0) != (after.lots > 0)
    pool.cash = after.cash
    holding.lots, holding.entry, holding.raw = after.lots, after.entry, after.raw
    holding.since_change = 0
    if opened:
        holding.since_open = 0
    if after.lots:
        pool.holdings[inst.asset] = holding
    else:
        pool.holdings.pop(inst.asset, None)
    if after.shortfall:
        ground.pool(INSURANCE, inst.dex).cash -= after.shortfall
        ground.history.add(
            Collateral(ground.state.now, inst.dex, INSURANCE, account.address, after.shortfall)
        )
    rehold(account, pool, inst)


class Booked(NamedTuple):
    """What a side of a match came to, as its fill tells it."""

    start: int
    dir: str
    closed_pnl: int
    fee: int
    fee_token: int
    builder_fee: int
    volume: int  # micro-USD


def settle_side(
    ground: Ground,
    account: Account,
    inst: Instrument,
    terms: Terms,
    signed: int,
    px: int,
    tid: int,
    crossed: bool,
    why: Why,
    preview: Traded | None = None,
) -> None:
    """Book one side of a match and tell its fill. `preview` is its result, if worked out already."""
    if inst.is_spot:
        booked = _spot_side(ground, account, inst, terms, signed, px, crossed)
    else:
        booked = _perp_side(ground, account, inst, terms, signed, px, crossed, why, preview)
    account.volume += booked.volume
    state = ground.state
    count(account, state.now, booked.volume, is_spot=inst.is_spot)
    ground.history.add(
        Fill(
            state.now,
            account.address,
            inst.asset,
            inst.coin,
            px,
            abs(signed),
            signed > 0,
            booked.start,
            booked.dir,
            booked.closed_pnl,
            state.hash,
            terms.oid,
            crossed,
            booked.fee,
            tid,
            terms.cloid,
            booked.fee_token,
            booked.builder_fee,
            why.twap_id if crossed else None,
            why.liquidation,
            terms.builder[0] if terms.builder and booked.builder_fee else None,
        )
    )


def _perp_side(
    ground: Ground,
    account: Account,
    inst: Instrument,
    terms: Terms,
    signed: int,
    px: int,
    crossed: bool,
    why: Why,
    preview: Traded | None,
) -> Booked:
    pool = account.pool(inst.dex)
    holding = holding_of(account, pool, inst)
    ntl = abs(signed) * px
    taken_over = why.liquidation is not None and why.liquidation.method == "backstop"
    fee = extra = 0
    if not taken_over:
        fee, extra = perp_fee(account, ntl, crossed, terms.builder[1] if terms.builder else 0)
    after = preview or traded(holding, pool.cash, signed, px, fee)
    start, was_cross = holding.lots, holding.raw is None
    book_perp(ground, account, pool, inst, holding, after)
    ground.pool(FEES, inst.dex).cash += fee - extra
    if terms.builder and extra:
        ground.account(terms.builder[0]).pool(inst.dex).cash += extra
    dir_ = _liquidated(was_cross, start) if taken_over and crossed else direction(start, signed)
    return Booked(start, dir_, after.closed_pnl, fee, USDC, extra, ntl)


def _liquidated(is_cross: bool, start: int) -> str:
    """The `dir` of who loses a position to the liquidator."""
    return f"Liquidated {'Cross' if is_cross else 'Isolated'} {'Long' if start > 0 else 'Short'}"


def _spot_side(
    ground: Ground, account: Account, inst: Instrument, terms: Terms, signed: int, px: int, crossed: bool
) -> Booked:
    """A buyer pays the fee in what is bought, a seller in USDC."""
    base, quote = account.balance(inst.base), account.balance(USDC)
    wei, cost = abs(signed) * inst.lot_wei, abs(signed) * px  # a lot times a tick is a wei of USDC
    start, house = base.total, ground.state.accounts[FEES]
    rate = TIERS[account.tier].spot[crossed]
    if signed > 0:
        fee = truncated(wei, rate, RATE_UNIT)
        base.total += wei - fee
        base.entry += cost // CENT
        quote.total -= cost
        house.balance(inst.base).total += fee
        return Booked(start, "Buy", 0, fee, inst.base, 0, cost // CENT)
    extra = truncated(cost, terms.builder[1], RATE_UNIT) if terms.builder else 0
    fee = truncated(cost, rate, RATE_UNIT) + extra
    left = base.entry * (start - wei) // start if start > wei else 0
    pnl = cost - (base.entry - left) * CENT
    base.total -= wei
    base.entry = left
    quote.total += cost - fee
    house.balance(USDC).total += fee - extra
    if terms.builder and extra:
        ground.account(terms.builder[0]).balance(USDC).total += extra
    return Booked(start, "Sell", pnl, fee, USDC, extra, cost // CENT)


def settle(
    ground: Ground,
    inst: Instrument,
    taker: Account,
    terms: Terms,
    maker: Account,
    made: Order,
    lots: int,
    why: Why = PLAIN,
    taker_after: Traded | None = None,
    maker_after: Traded | None = None,
) -> None:
    """Book a match at the maker's price: both fills, then the trade."""
    px = made.terms.px
    signed = lots if terms.is_buy else -lots
    buyer, seller = (terms, made.terms) if terms.is_buy else (made.terms, terms)
    tid = ground.tid(buyer.oid, seller.oid)
    settle_side(ground, taker, inst, terms, signed, px, tid, True, why, taker_after)
    settle_side(ground, maker, inst, made.terms, -signed, px, tid, False, why, maker_after)
    state = ground.state
    ground.book(inst.asset).last = px
    ground.history.add(
        Trade(
            state.now,
            inst.asset,
            inst.coin,
            terms.is_buy,
            px,
            lots,
            state.hash,
            tid,
            buyer.user,
            seller.user,
        )
    )
