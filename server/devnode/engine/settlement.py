"""What a match does to the two accounts: cash, position or balances, fees, and the fills and the trade."""

from __future__ import annotations

from server.devnode.engine.account import Account, Holding, Order, Pool
from server.devnode.engine.events import Fill, Terms, Trade
from server.devnode.engine.listing import USDC, Instrument
from server.devnode.engine.margin import leverage_of, rehold
from server.devnode.engine.perp_trade import Traded, direction, traded
from server.devnode.engine.state import FEES, INSURANCE, PLAIN, Ground, Why
from server.devnode.engine.units import truncated

# Base rates of tier 0, in 1/100000 of the notional. Source: official docs, fees. Builder dexes charge
# more and have a growth mode; here all perps cost the same.
PERP_FEES = (15, 45)  # maker, taker
SPOT_FEES = (40, 70)
RATE_UNIT = 100_000


def perp_fee(inst: Instrument, ntl: int, crossed: bool, builder: int) -> tuple[int, int]:
    """The whole fee in micro-USD, and the builder's part of it."""
    extra = truncated(ntl, builder, RATE_UNIT)
    return truncated(ntl, PERP_FEES[crossed], RATE_UNIT) + extra, extra


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
        pool.cooldown.pop(inst.asset, None)
    if after.shortfall:
        ground.pool(INSURANCE, inst.dex).cash -= after.shortfall
    rehold(account, pool, inst)


def settle_perp_side(
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
    """Book one side of a perp match. `preview` is its result where it has been worked out already."""
    pool = account.pool(inst.dex)
    holding = holding_of(account, pool, inst)
    ntl = abs(signed) * px
    taken_over = why.liquidation is not None and why.liquidation.method == "backstop"
    fee = extra = 0
    if not taken_over:
        fee, extra = perp_fee(inst, ntl, crossed, terms.builder[1] if terms.builder else 0)
    after = preview or traded(holding, pool.cash, signed, px, fee)
    start, was_cross = holding.lots, holding.raw is None
    book_perp(ground, account, pool, inst, holding, after)
    ground.pool(FEES, inst.dex).cash += fee - extra
    if terms.builder and extra:
        ground.account(terms.builder[0]).pool(inst.dex).cash += extra
    account.volume += ntl
    state = ground.state
    ground.history.add(
        Fill(
            state.now,
            account.address,
            inst.asset,
            inst.coin,
            px,
            abs(signed),
            signed > 0,
            start,
            _liquidated(was_cross, start) if taken_over and crossed else direction(start, signed),
            after.closed_pnl,
            state.hash,
            terms.oid,
            crossed,
            fee,
            tid,
            terms.cloid,
            USDC,
            extra,
            why.twap_id if crossed else None,
            why.liquidation,
        )
    )


def _liquidated(is_cross: bool, start: int) -> str:
    """The `dir` of who loses a position to the liquidator."""
    return f"Liquidated {'Cross' if is_cross else 'Isolated'} {'Long' if start > 0 else 'Short'}"


def settle_spot_side(
    ground: Ground,
    account: Account,
    inst: Instrument,
    terms: Terms,
    signed: int,
    px: int,
    tid: int,
    crossed: bool,
    why: Why,
) -> None:
    """Book one side of a spot match. A buyer pays the fee in what is bought, a seller in USDC."""
    base, quote = account.balance(inst.base), account.balance(USDC)
    wei, cost = abs(signed) * inst.lot_wei, abs(signed) * px  # a lot times a tick is a wei of USDC
    start, builder = base.total, 0
    house = ground.state.accounts[FEES]
    if signed > 0:
        fee, token, pnl = truncated(wei, SPOT_FEES[crossed], RATE_UNIT), inst.base, 0
        base.total += wei - fee
        base.entry += cost // 100
        quote.total -= cost
        house.balance(inst.base).total += fee
    else:
        builder = truncated(cost, terms.builder[1], RATE_UNIT) if terms.builder else 0
        fee, token = truncated(cost, SPOT_FEES[crossed], RATE_UNIT) + builder, USDC
        left = base.entry * (start - wei) // start if start > wei else 0
        pnl = cost - (base.entry - left) * 100
        base.total -= wei
        base.entry = left
        quote.total += cost - fee
        house.balance(USDC).total += fee - builder
        if terms.builder and builder:
            ground.account(terms.builder[0]).balance(USDC).total += builder
    account.volume += cost // 100
    state = ground.state
    ground.history.add(
        Fill(
            state.now,
            account.address,
            inst.asset,
            inst.coin,
            px,
            abs(signed),
            signed > 0,
            start,
            "Buy" if signed > 0 else "Sell",
            pnl,
            state.hash,
            terms.oid,
            crossed,
            fee,
            tid,
            terms.cloid,
            token,
            builder,
            why.twap_id if crossed else None,
            None,
        )
    )


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
    if inst.is_spot:
        settle_spot_side(ground, taker, inst, terms, signed, px, tid, True, why)
        settle_spot_side(ground, maker, inst, made.terms, -signed, px, tid, False, why)
    else:
        settle_perp_side(ground, taker, inst, terms, signed, px, tid, True, why, taker_after)
        settle_perp_side(ground, maker, inst, made.terms, -signed, px, tid, False, why, maker_after)
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
