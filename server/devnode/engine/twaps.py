"""TWAPs: an order cut into slices, one every 30 seconds, each an IOC at most 3% from the mark.

Source: official docs, order types. A slice that could not be filled is caught up later, up to three times
the normal size. Triggers and stops of a TWAP (`details`, 2026-07) are not played.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from server.devnode.engine import refusals
from server.devnode.engine.account import Account
from server.devnode.engine.events import Terms, TwapState, TwapStatus
from server.devnode.engine.listing import Instrument
from server.devnode.engine.matching import execute, reducible
from server.devnode.engine.order_actions import Look
from server.devnode.engine.placing import MICRO, WEI, afford
from server.devnode.engine.refusals import Refused
from server.devnode.engine.state import Ground, Twap, Why
from server.devnode.engine.units import exact, is_number
from server.devnode.engine.wire_orders import instrument
from server.devnode.prices import legal

SLICE_MS = 30_000
CATCH_UP = 3  # times the normal size of a slice
SLIPPAGE = (3, 100)
MINUTES = (5, 7 * 24 * 60)
USD_PER_MINUTE = 10
JITTER = 0.2  # of a slice's size, where `randomize` is set


def order(ground: Ground, account: Account, action: Mapping[str, Any], look: Look) -> dict[str, Any]:
    row = action["twap"]
    inst = instrument(ground.listing, row["a"])
    look(inst.asset)
    lots = exact(row["s"], inst.sz_decimals) if is_number(row["s"]) else None
    if lots is None:
        raise Refused(f"{refusals.INVALID_SIZE} asset={inst.asset}")
    state, minutes = ground.state, row["m"]
    error = _refusal(ground, account, inst, row, lots)
    if error is not None:
        return _answer("twapOrder", {"error": error})
    state.next_twap += 1
    twap = TwapState(
        state.next_twap,
        account.address,
        inst.asset,
        inst.coin,
        row["b"],
        lots,
        0,
        0,
        minutes,
        row["r"],
        row["t"],
        state.now,
    )
    state.twaps[twap.twap_id] = Twap(twap, 2 * minutes, next_ms=state.now)
    ground.history.add(TwapStatus(state.now, twap, "activated"))
    return _answer("twapOrder", {"running": {"twapId": twap.twap_id}})


def _refusal(
    ground: Ground, account: Account, inst: Instrument, row: Mapping[str, Any], lots: int
) -> str | None:
    minutes = row["m"]
    if not MINUTES[0] <= minutes <= MINUTES[1]:
        return refusals.TWAP_DURATION.format(minutes)
    least = USD_PER_MINUTE * minutes
    if lots * ground.state.marks[inst.asset] < least * (WEI if inst.is_spot else MICRO):
        return refusals.SMALL_TWAP.format(least)
    if row["r"] and (inst.is_spot or not reducible(account.pool(inst.dex), inst.asset, row["b"])):
        return refusals.TWAP_REDUCE_ONLY
    return None


def cancel(ground: Ground, account: Account, action: Mapping[str, Any]) -> dict[str, Any]:
    twap = ground.state.twaps.get(action["t"])
    if twap is None or twap.state.user != account.address or twap.state.asset != action["a"]:
        return _answer("twapCancel", {"error": refusals.NO_TWAP})
    _end(ground, twap, "terminated")
    return _answer("twapCancel", "success")


def _answer(kind: str, status: object) -> dict[str, Any]:
    return {"type": kind, "data": {"status": status}}


def slice_all(ground: Ground, look: Look) -> None:
    """Send the slices that are due, the oldest TWAP's first. One that fell behind catches up in turn."""
    for twap in list(ground.state.twaps.values()):
        while twap.state.twap_id in ground.state.twaps and twap.next_ms <= ground.state.now:
            look(twap.state.asset)
            _slice(ground, twap)


def _slice(ground: Ground, twap: Twap) -> None:
    state = twap.state
    inst, account = ground.instruments[state.asset], ground.state.accounts[state.user]
    twap.done += 1
    twap.next_ms += SLICE_MS
    lots = _size(ground, twap)
    if state.reduce_only:
        lots = min(lots, reducible(account.pool(inst.dex), inst.asset, state.is_buy))
    if lots > 0:
        terms = _terms(ground, inst, state, lots)
        refusal = afford(ground, account, inst, terms, lots)
        if refusal is not None:
            ground.tell(terms, lots, refusal[0])
            _end(ground, twap, "error", refusal[1])
            return
        result = execute(ground, account, inst, terms, lots, Why(state.twap_id))
        twap.state = state._replace(
            executed_lots=state.executed_lots + result.lots, executed_ntl=state.executed_ntl + result.ntl
        )
    if twap.done >= twap.slices or twap.state.executed_lots >= state.lots:
        _end(ground, twap, "finished")


def _size(ground: Ground, twap: Twap) -> int:
    state = twap.state
    normal = -(-state.lots // twap.slices)
    wanted = state.lots * twap.done // twap.slices - state.executed_lots
    if state.randomize and twap.done < twap.slices:
        wanted = round(wanted * ground.state.random.uniform(1 - JITTER, 1 + JITTER))
    return min(wanted, CATCH_UP * normal, state.lots - state.executed_lots)


def _terms(ground: Ground, inst: Instrument, state: TwapState, lots: int) -> Terms:
    mark, (part, whole) = ground.state.marks[inst.asset], SLIPPAGE
    px = legal(mark * (whole + part if state.is_buy else whole - part) // whole, inst.px_decimals)
    return Terms(
        ground.oid(),
        state.user,
        inst.asset,
        inst.coin,
        state.is_buy,
        px,
        lots,
        state.reduce_only,
        "Ioc",
        None,
        ground.state.now,
        "Twap Slice",
        twap_id=state.twap_id,
    )


def _end(ground: Ground, twap: Twap, status: str, description: str | None = None) -> None:
    del ground.state.twaps[twap.state.twap_id]
    ground.history.add(TwapStatus(ground.state.now, twap.state, status, description))
