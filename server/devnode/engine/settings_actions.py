"""Actions on an account's settings: leverage, isolated margin, agents, builders, sub-accounts."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

from server.devnode.engine import refusals
from server.devnode.engine.account import Account, Agent, Holding, Leverage
from server.devnode.engine.events import AccountBorn, LeverageSet, MarginMoved
from server.devnode.engine.listing import Instrument
from server.devnode.engine.margin import equity, free, leverage_of, rehold, tier_allows, withdrawable
from server.devnode.engine.refusals import Refused
from server.devnode.engine.state import Ground
from server.devnode.engine.units import MAX_TEXT, exact, is_number
from server.devnode.engine.wire_orders import instrument

Action = Mapping[str, Any]
Response = dict[str, Any]
DEFAULT: Response = {"type": "default"}

DAY_MS = 86_400_000
AGENT_DAYS = 90  # an agent's life where its name gives none; observed on the testnet by a third party
MAX_AGENT_DAYS = 180
NAMED_AGENTS, PER_SUB = 3, 2  # named agents an account may have, and more for each sub-account
NOBODY = "0x" + "0" * 40  # approving this address removes the agent
MAX_BUILDER_FEE = 1_000  # tenths of a basis point: 1%
_VALID_UNTIL = re.compile(r"(.*?) ?valid_until ([0-9]+)")
_PERCENT = re.compile(r"([0-9]+)(?:\.([0-9]+))?%")


def update_leverage(ground: Ground, account: Account, action: Action) -> Response:
    inst = _perp(ground, action["asset"])
    value, is_cross = action["leverage"], action["isCross"]
    if not 1 <= value <= inst.max_leverage:
        raise Refused(refusals.INVALID_LEVERAGE)
    if is_cross and inst.isolated_only:
        raise Refused(refusals.NO_CROSS)
    before, after = leverage_of(account, inst), Leverage(value, is_cross)
    pool = account.pool(inst.dex)
    holding = pool.holdings.get(inst.asset)
    if holding is not None and before.is_cross != is_cross:
        raise Refused(refusals.LEVERAGE_TYPE)
    mark = ground.state.marks[inst.asset]
    if holding is not None and not tier_allows(holding.lots, mark, value, inst):
        raise Refused(refusals.INVALID_LEVERAGE)
    _apply_leverage(account, inst, after, holding)
    if value < before.value:
        lacking = None
        if free(pool, ground.state.marks, ground.instruments) < 0:
            lacking = refusals.CROSS_LEVERAGE
        if holding is not None and not is_cross and equity(holding, mark) < abs(holding.lots) * mark // value:
            lacking = refusals.ISOLATED_LEVERAGE
        if lacking:
            _apply_leverage(account, inst, before, holding)
            raise Refused(lacking)
    _tell_leverage(ground, account, inst, after)
    return DEFAULT


def set_leverage(ground: Ground, account: Account, inst: Instrument, leverage: Leverage) -> None:
    """Set the leverage of a coin that is not held and has no orders, whatever it is."""
    account.leverages[inst.asset] = leverage
    _tell_leverage(ground, account, inst, leverage)


def _tell_leverage(ground: Ground, account: Account, inst: Instrument, leverage: Leverage) -> None:
    ground.history.add(LeverageSet(ground.state.now, account.address, inst.asset, *leverage))


def _apply_leverage(account: Account, inst: Instrument, leverage: Leverage, holding: Holding | None) -> None:
    account.leverages[inst.asset] = leverage
    if holding is not None:
        holding.leverage = leverage.value
    rehold(account, account.pool(inst.dex), inst)


def update_isolated_margin(ground: Ground, account: Account, action: Action) -> Response:
    inst, holding = _isolated(ground, account, action["asset"])
    _add_margin(ground, account, inst, holding, action["ntli"])
    return DEFAULT


def top_up(ground: Ground, account: Account, action: Action) -> Response:
    """`topUpIsolatedOnlyMargin`: add what brings the position down to a leverage."""
    inst, holding = _isolated(ground, account, action["asset"])
    leverage = exact(action["leverage"], 6) if is_number(action["leverage"]) else None
    if not leverage:
        raise Refused(refusals.INVALID_LEVERAGE)
    mark = ground.state.marks[inst.asset]
    target = -(-abs(holding.lots) * mark * 1_000_000 // leverage)
    _add_margin(ground, account, inst, holding, max(0, target - equity(holding, mark)))
    return DEFAULT


def _add_margin(ground: Ground, account: Account, inst: Instrument, holding: Holding, micro: int) -> None:
    pool, marks = account.pool(inst.dex), ground.state.marks
    if micro > 0 and micro > withdrawable(pool, marks, ground.instruments):
        raise Refused(refusals.NO_MARGIN_TO_ADD)
    if micro < 0:
        ntl = abs(holding.lots) * marks[inst.asset]
        needed = max(ntl // holding.leverage, ntl // 10)
        if inst.isolated_only or equity(holding, marks[inst.asset]) + micro < needed:
            raise Refused(refusals.STRICT_ISOLATED)
    move_margin(ground, account, inst, holding, micro)


def move_margin(ground: Ground, account: Account, inst: Instrument, holding: Holding, micro: int) -> None:
    """Put micro-USD of the cross cash into an isolated pocket, or (negative) take them out."""
    account.pool(inst.dex).cash -= micro
    holding.raw = (holding.raw or 0) + micro
    ground.history.add(MarginMoved(ground.state.now, account.address, inst.asset, micro))


def _perp(ground: Ground, asset: object) -> Instrument:
    inst = instrument(ground.listing, asset)
    if inst.is_spot:
        raise Refused(refusals.NO_ASSET.format(asset))
    return inst


def _isolated(ground: Ground, account: Account, asset: object) -> tuple[Instrument, Holding]:
    inst = _perp(ground, asset)
    holding = account.pool(inst.dex).holdings.get(inst.asset)
    if holding is None or holding.raw is None:
        raise Refused(refusals.NOT_ISOLATED)
    return inst, holding


def approve_agent(ground: Ground, account: Account, action: Action) -> Response:
    """Name an agent, replace the one of that name, or (address zero) remove it."""
    now, address = ground.state.now, action["agentAddress"].lower()
    name, until = action.get("agentName") or "", None
    if found := _VALID_UNTIL.fullmatch(name):
        name, until = found[1], int(found[2][:MAX_TEXT])
        if not now < until <= now + MAX_AGENT_DAYS * DAY_MS:
            raise Refused(refusals.AGENT_EXPIRED)
    if address != NOBODY:
        if address in ground.state.used_agents or address in ground.state.accounts:
            raise Refused(refusals.AGENT_USED)
        limit = NAMED_AGENTS + PER_SUB * len(account.subs)
        named = sum(1 for other in account.agents if other)
        if name and name not in account.agents and named >= limit:
            raise Refused(refusals.TOO_MANY_AGENTS.format(limit))
    old = account.agents.pop(name, None)
    if old is not None:
        ground.state.agents.pop(old.address, None)
    if address != NOBODY:
        account.agents[name] = Agent(address, name, until or now + AGENT_DAYS * DAY_MS)
        ground.state.agents[address] = account.address
        ground.state.used_agents.add(address)
    return DEFAULT


def approve_builder_fee(ground: Ground, account: Account, action: Action) -> Response:
    """`maxFeeRate` is a percentage, "0.001%" being a tenth of a basis point."""
    found = _PERCENT.fullmatch(action["maxFeeRate"])
    if found is None:
        raise Refused(refusals.BUILDER_RATE)
    rate = int(found[1][:6] + (found[2] or "").ljust(3, "0")[:3])
    if rate > MAX_BUILDER_FEE:
        raise Refused(refusals.BUILDER_RATE)
    account.builders[action["builder"].lower()] = rate
    return DEFAULT


def create_sub_account(ground: Ground, account: Account, action: Action) -> Response:
    state = ground.state
    text = f"sub/{state.seed}/{account.address}/{len(account.subs)}"
    address = "0x" + hashlib.sha256(text.encode()).hexdigest()[:40]
    state.accounts[address] = Account(address, master=account.address, name=action["name"], tier=account.tier)
    account.subs.append(address)
    ground.history.add(AccountBorn(state.now, address, account.address))
    return {"type": "createSubAccount", "data": address}


def modify_sub_account(ground: Ground, account: Account, action: Action) -> Response:
    address = action["subAccountUser"].lower()
    if address not in account.subs:
        raise Refused(refusals.NO_VAULT.format(address))
    ground.state.accounts[address].name = action["name"]
    return DEFAULT
