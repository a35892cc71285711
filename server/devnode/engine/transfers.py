"""Money that moves without a trade: between accounts, between spot and the dexes, out of the exchange.

No transfer costs a fee here but a withdrawal (1 USDC): the exchange's charge for waking a new account is
not played. Texts: where the exchange has one for perps and one for spot, these.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from server.devnode.engine import refusals
from server.devnode.engine.account import Account
from server.devnode.engine.events import Collateral, LedgerUpdate
from server.devnode.engine.listing import SPOT_ASSETS, USDC, Token
from server.devnode.engine.margin import withdrawable
from server.devnode.engine.refusals import Refused
from server.devnode.engine.state import FEES, Ground
from server.devnode.engine.units import CENT, exact, is_number, number, usd

Action = Mapping[str, Any]
Response = dict[str, Any]
DEFAULT: Response = {"type": "default"}

SPOT = "spot"  # the name of the spot side where a dex is asked for
WITHDRAWAL_FEE = 1_000_000
REQUEST_COST = 500  # micro-USD: official docs, rate limits
_ADDRESS = re.compile(r"0x[0-9a-f]{40}")


def usd_send(ground: Ground, account: Account, action: Action) -> Response:
    micro, to = _micro(action["amount"]), _address(action["destination"])
    _take_cash(ground, account, "", micro)
    ground.account(to).pool("").cash += micro
    _log(
        ground,
        (account.address, to),
        {
            "type": "internalTransfer",
            "usdc": usd(micro),
            "user": account.address,
            "destination": to,
            "fee": "0.0",
        },
    )
    return DEFAULT


def spot_send(ground: Ground, account: Account, action: Action) -> Response:
    to = _address(action["destination"])
    _send_spot(ground, account, to, action["token"], action["amount"], action.get("time"))
    return DEFAULT


def usd_class_transfer(ground: Ground, account: Account, action: Action) -> Response:
    """Between the account's own perps and spot; the amount may name a sub-account instead."""
    amount, _, sub = action["amount"].partition(" subaccount:")
    if sub:
        account = _own(ground, account, sub.lower())
    micro = _micro(amount)
    balance, pool = account.balance(USDC), account.pool("")
    if action["toPerp"]:
        _take_spot(account, USDC, micro * CENT)
        pool.cash += micro
    else:
        _take_cash(ground, account, "", micro)
        balance.total += micro * CENT
    delta = {"type": "accountClassTransfer", "usdc": usd(micro), "toPerp": action["toPerp"]}
    _log(ground, (account.address,), delta)
    return DEFAULT


def send_asset(ground: Ground, account: Account, action: Action) -> Response:
    """From a dex or spot of one account to a dex or spot of any."""
    source = _own(ground, account, sub.lower()) if (sub := action.get("fromSubAccount")) else account
    _send(ground, source, _address(action["destination"]), action)
    return DEFAULT


def agent_send_asset(ground: Ground, account: Account, action: Action) -> Response:
    source = _own(ground, account, sub.lower()) if (sub := action.get("fromSubAccount")) else account
    to = _address(action["destination"])
    if to != account.address and to not in account.subs:
        raise Refused(refusals.AGENT_SEND)
    _send(ground, source, to, action)
    return DEFAULT


def _send(ground: Ground, source: Account, to: str, action: Action) -> None:
    token = _token(ground, action["token"])
    sides = action["sourceDex"], action["destinationDex"]
    for side in sides:
        if side != SPOT and (side not in ground.listing.dexes or token.index != USDC):
            raise Refused(refusals.INVALID_SEND)
    wei = _wei(action["amount"], token)
    if sides != (SPOT, SPOT) and wei % CENT:
        raise Refused(refusals.INVALID_SEND)
    entry = 0
    if sides[0] == SPOT:
        entry = _take_spot(source, token.index, wei)
    else:
        _take_cash(ground, source, sides[0], wei // CENT)
    target = ground.account(to)
    if sides[1] == SPOT:
        _give_spot(ground, target, token, wei, entry if target is source else None)
    else:
        target.pool(sides[1]).cash += wei // CENT
    _log(
        ground,
        (source.address, to),
        {
            "type": "send",
            "user": source.address,
            "destination": to,
            "sourceDex": sides[0],
            "destinationDex": sides[1],
            "token": token.name,
            "amount": number(wei, token.wei_decimals),
            "usdcValue": usd(_value(ground, token, wei)),
            "fee": "0.0",
            "nativeTokenFee": "0.0",
            "nonce": action.get("nonce"),
            "feeToken": "",
        },
    )


def withdraw(ground: Ground, account: Account, action: Action) -> Response:
    micro = _micro(action["amount"])
    _address(action["destination"])
    if micro <= WITHDRAWAL_FEE:
        raise Refused(refusals.WITHDRAWAL)
    _take_cash(ground, account, "", micro)
    ground.pool(FEES, "").cash += WITHDRAWAL_FEE
    mint(ground, USDC, -(micro - WITHDRAWAL_FEE) * CENT)
    delta = {
        "type": "withdraw",
        "usdc": usd(micro - WITHDRAWAL_FEE),
        "nonce": action.get("time"),
        "fee": usd(WITHDRAWAL_FEE),
    }
    _log(ground, (account.address,), delta)
    return DEFAULT


def reserve_request_weight(ground: Ground, account: Account, action: Action) -> Response:
    """Pay from the perps for more actions, of one's own or of another account."""
    target = account
    if (to := action.get("destination")) is not None:
        target = ground.account(_address(to))
    cost = action["weight"] * REQUEST_COST
    pool = account.pool("")
    if cost > withdrawable(pool, ground.state.marks, ground.instruments):
        raise Refused(refusals.RESERVATION)
    pool.cash -= cost
    ground.pool(FEES, "").cash += cost
    ground.history.add(Collateral(ground.state.now, "", account.address, FEES, cost))
    target.reserved += action["weight"]
    return DEFAULT


def sub_account_transfer(ground: Ground, account: Account, action: Action) -> Response:
    sub, micro = _sub(ground, account, action), action["usd"]
    if micro <= 0:
        raise Refused(refusals.INVALID_SEND)
    source, target = (account, sub) if action["isDeposit"] else (sub, account)
    _take_cash(ground, source, "", micro)
    target.pool("").cash += micro
    delta = {
        "type": "subAccountTransfer",
        "usdc": usd(micro),
        "user": source.address,
        "destination": target.address,
    }
    _log(ground, (source.address, target.address), delta)
    return DEFAULT


def sub_account_spot_transfer(ground: Ground, account: Account, action: Action) -> Response:
    sub = _sub(ground, account, action)
    source, target = (account, sub) if action["isDeposit"] else (sub, account)
    _send_spot(ground, source, target.address, action["token"], action["amount"], None)
    return DEFAULT


def deposit(ground: Ground, address: str, micro: int) -> None:
    """Credit an account from outside: what the bridge does, and the faucet."""
    ground.account(address).pool("").cash += micro
    mint(ground, USDC, micro * CENT)
    _log(ground, (address,), {"type": "deposit", "usdc": usd(micro)})


def deposit_spot(ground: Ground, address: str, token: Token, wei: int) -> None:
    """Credit a spot balance from outside."""
    _give_spot(ground, ground.account(address), token, wei, None)
    mint(ground, token.index, wei)
    delta = {"type": "spotGenesis", "token": token.name, "amount": number(wei, token.wei_decimals)}
    _log(ground, (address,), delta, _value(ground, token, wei))


def mint(ground: Ground, token: int, wei: int) -> None:
    ground.state.minted[token] = ground.state.minted.get(token, 0) + wei


def _send_spot(ground: Ground, source: Account, to: str, name: str, amount: str, nonce: object) -> None:
    token = _token(ground, name)
    wei = _wei(amount, token)
    entry = _take_spot(source, token.index, wei)
    target = ground.account(to)
    _give_spot(ground, target, token, wei, entry if target is source else None)
    _log(
        ground,
        (source.address, to),
        {
            "type": "spotTransfer",
            "token": token.name,
            "amount": number(wei, token.wei_decimals),
            "usdcValue": usd(_value(ground, token, wei)),
            "user": source.address,
            "destination": to,
            "fee": "0.0",
            "nativeTokenFee": "0.0",
            "nonce": nonce,
            "feeToken": "",
        },
    )


def _take_cash(ground: Ground, account: Account, dex: str, micro: int) -> None:
    pool = account.pool(dex)
    if micro > withdrawable(pool, ground.state.marks, ground.instruments):
        raise Refused(refusals.WITHDRAWAL)
    pool.cash -= micro


def _take_spot(account: Account, token: int, wei: int) -> int:
    """Take wei off a balance. Returns the share of its cost that goes along."""
    balance = account.balance(token)
    if wei > balance.total - balance.hold:
        raise Refused(refusals.TRANSFER)
    entry = balance.entry * wei // balance.total if balance.total else 0
    balance.total -= wei
    balance.entry -= entry
    return entry


def _give_spot(ground: Ground, account: Account, token: Token, wei: int, entry: int | None) -> None:
    """Add wei to a balance, at the cost given or, as the docs say of transfers, at the market's price."""
    balance = account.balance(token.index)
    balance.total += wei
    if token.index != USDC:
        balance.entry += _value(ground, token, wei) if entry is None else entry


def _value(ground: Ground, token: Token, wei: int) -> int:
    """Micro-USD at the mark of the token's pair; 0 for a token without one."""
    if token.index == USDC:
        return wei // CENT
    for asset, inst in ground.instruments.items():
        if asset >= SPOT_ASSETS and inst.is_spot and inst.base == token.index:
            return wei * ground.state.marks[asset] // inst.lot_wei // CENT
    return 0


def _sub(ground: Ground, account: Account, action: Action) -> Account:
    address = action["subAccountUser"].lower()
    if address not in account.subs:
        source, to = (account.address, address) if action["isDeposit"] else (address, account.address)
        raise Refused(refusals.SUB_TRANSFER.format(source, to))
    return ground.state.accounts[address]


def _own(ground: Ground, account: Account, address: str) -> Account:
    if address not in account.subs:
        raise Refused(refusals.NO_VAULT.format(address))
    return ground.state.accounts[address]


def _token(ground: Ground, text: str) -> Token:
    found = ground.listing.token(text)
    if found is None:
        raise Refused(refusals.INVALID_SEND)
    return found


def _micro(text: str) -> int:
    return _amount(text, 6)


def _wei(text: str, token: Token) -> int:
    return _amount(text, token.wei_decimals)


def _amount(text: str, decimals: int) -> int:
    value = exact(text, decimals) if is_number(text) else None
    if not value:
        raise Refused(refusals.INVALID_SEND)
    return value


def _address(text: str) -> str:
    if not _ADDRESS.fullmatch(address := text.lower()):
        raise Refused(refusals.INVALID_SEND)
    return address


def _log(ground: Ground, users: tuple[str, ...], delta: dict[str, Any], worth: int = 0) -> None:
    state = ground.state
    named = tuple(dict.fromkeys(users))
    ground.history.add(LedgerUpdate(state.now, state.hash, named, delta, worth))
