"""Books the synthetic accounts into an engine: deposits, and trades with the house at their entry prices.

So every long is somebody's short, every position the sum of its fills, and money conserved to the micro-USD.
"""

from __future__ import annotations

from server.devnode import accounts
from server.devnode.clearinghouse import Core, Position
from server.devnode.engine import Engine
from server.devnode.engine.account import Account, Leverage, Order
from server.devnode.engine.events import Funding, LedgerUpdate, Terms
from server.devnode.engine.fees import RATE_UNIT, TIERS
from server.devnode.engine.funding import UNIT
from server.devnode.engine.listing import USDC
from server.devnode.engine.settings_actions import move_margin, set_leverage
from server.devnode.engine.settlement import settle
from server.devnode.engine.state import CLEARING, HOUSE, Ground
from server.devnode.engine.transfers import deposit, deposit_spot, mint
from server.devnode.engine.units import CENT, exact, floored, truncated, usd
from server.devnode.markets import Markets
from server.devnode.prices import legal

LEAST = 10_000_000  # micro-USD of the first deposit


def seed_accounts(engine: Engine, count: int, seed: int, markets: Markets) -> tuple[str, ...]:
    """Give a fresh engine `count` accounts, who own what `accounts.make_account` drew. Returns addresses."""
    drawn = [accounts.make_account(seed, number, markets) for number in range(count)]
    for one in drawn:
        _book_in(engine, one)
    return tuple(one.address for one in drawn)


def _book_in(engine: Engine, drawn: accounts.Account) -> None:
    ground = engine.ground
    account = ground.account(drawn.address)
    for dex, core in drawn.cores.items():
        if not core.positions and core.cross_raw <= 0:
            continue
        fills = [_fill(engine, position) for position in core.positions]
        # What must come in so that, after the trades, their fees and fundings, the drawn cash is left.
        need = core.cross_raw + sum(
            px * position.lots
            + truncated(abs(position.lots) * px, TIERS[0].perp[True], RATE_UNIT)
            + _funding(engine, position)[0]
            for position, px in fills
        )
        need += sum(position.raw_usd or 0 for position in core.positions)
        paid = max(need, LEAST)
        deposit(ground, drawn.address, paid)
        _move(ground, account, dex, paid)
        for position, px in fills:
            _trade(engine, account, position, px)
        if paid > need:  # who bought low enough has taken profits out
            _take_out(ground, account, dex, paid - need)
        _check(account, dex, core)
    for index, total, entry in drawn.balances:
        token = ground.listing.tokens[index]
        wei = floored(total, token.wei_decimals)
        if wei:
            deposit_spot(ground, drawn.address, token, wei)
            account.balance(index).entry = exact(entry, 6) or 0


def _fill(engine: Engine, position: Position) -> tuple[Position, int]:
    """The position, and the legal price nearest to the entry that was drawn for it."""
    inst = engine.listing.by_coin[position.asset.name]
    return position, legal(position.entry_ntl // position.lots, inst.px_decimals)


def _funding(engine: Engine, position: Position) -> tuple[int, int]:
    """What was drawn to be paid since it was opened, as one funding: micro-USD, and the rate."""
    asset = engine.listing.by_coin[position.asset.name].asset
    ntl = position.lots * engine.ground.state.oracles[asset]
    rate = truncated(position.funding.since_open if ntl > 0 else -position.funding.since_open, UNIT, abs(ntl))
    return truncated(ntl, rate, UNIT), rate


def _fund(engine: Engine, account: Account, position: Position) -> None:
    ground, (paid, rate) = engine.ground, _funding(engine, position)
    inst = engine.listing.by_coin[position.asset.name]
    pool, asset = account.pool(inst.dex), inst.asset
    holding = pool.holdings[asset]
    if holding.raw is None:
        pool.cash -= paid
    else:
        holding.raw -= paid
    pool.all_time[asset] = pool.all_time.get(asset, 0) + paid
    holding.since_open += paid
    holding.since_change += paid
    ground.pool(CLEARING, inst.dex).cash += paid
    event = Funding(ground.state.now, account.address, asset, inst.coin, -paid, holding.lots, rate)
    ground.history.add_fundings(account.address, [event])


def _trade(engine: Engine, account: Account, position: Position, px: int) -> None:
    ground = engine.ground
    inst = engine.listing.by_coin[position.asset.name]
    house = ground.state.accounts[HOUSE]
    set_leverage(ground, account, inst, Leverage(position.leverage, position.is_cross))
    is_buy, lots = position.lots > 0, abs(position.lots)
    mine, theirs = (
        Terms(
            ground.oid(),
            user,
            inst.asset,
            inst.coin,
            side,
            px,
            lots,
            False,
            tif,
            None,
            ground.state.now,
        )
        for user, side, tif in ((account.address, is_buy, "Ioc"), (HOUSE, not is_buy, "Gtc"))
    )
    settle(ground, inst, account, mine, house, Order(theirs, lots), lots)
    ground.tell(mine, 0, "filled")
    ground.book(inst.asset).last = 0  # not a price of today
    _fund(engine, account, position)
    if position.raw_usd is not None:
        holding = account.pool(inst.dex).holdings[inst.asset]
        assert holding.raw is not None
        move_margin(ground, account, inst, holding, position.raw_usd - holding.raw)


def _move(ground: Ground, account: Account, dex: str, micro: int) -> None:
    """From the main dex, where deposits arrive, to another."""
    if not dex:
        return
    account.pool("").cash -= micro
    account.pool(dex).cash += micro
    delta = {
        "type": "send",
        "user": account.address,
        "destination": account.address,
        "sourceDex": "",
        "destinationDex": dex,
        "token": "USDC",
        "amount": usd(micro),
        "usdcValue": usd(micro),
        "fee": "0.0",
        "nativeTokenFee": "0.0",
        "nonce": ground.state.now,
        "feeToken": "",
    }
    ground.history.add(LedgerUpdate(ground.state.now, ground.state.hash, (account.address,), delta))


def _take_out(ground: Ground, account: Account, dex: str, micro: int) -> None:
    account.pool(dex).cash -= micro
    mint(ground, USDC, -micro * CENT)
    delta = {"type": "withdraw", "usdc": usd(micro), "nonce": ground.state.now, "fee": "0.0"}
    ground.history.add(LedgerUpdate(ground.state.now, ground.state.hash, (account.address,), delta))


def _check(account: Account, dex: str, core: Core) -> None:
    pool = account.pools[dex]
    # An isolated position pays its fee out of the pocket, which is then made up again: to the last unit.
    assert pool.cash == core.cross_raw, f"{account.address} {dex}: {pool.cash} instead of {core.cross_raw}"
