"""TWAPs: an order cut into slices, one every 30 seconds, each an IOC at most 3% from the mark.

Source: official docs, order types. A slice that could not be filled is caught up later, up to three times
the normal size. With a trigger (`details`, 2026-07) it begins when the mark reaches that price. Of its stop
price only the name and the status `stopped` are known; our reading: it ends when the mark gets to that price
from the side on which it was when the TWAP began.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from server.devnode.engine import refusals
from server.devnode.engine.account import Account
from server.devnode.engine.events import Terms, TwapState, TwapStatus
from server.devnode.engine.listing import Instrument
from server.devnode.engine.matching import execute, reducible
from server.devnode.engine.order_actions import Look
from server.devnode.engine.placing import afford
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
    details = action.get("details") or {}
    trigger = details.get("t") or None
    trigger_px, stop_px = (_price(inst, text) for text in (trigger and trigger["p"], details.get("s")))
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
        (trigger_px, trigger["a"]) if trigger and trigger_px is not None else None,
        stop_px,
    )
    running = state.twaps[twap.twap_id] = Twap(twap, 2 * minutes, waits=twap.trigger is not None)
    if running.waits:
        ground.history.add(TwapStatus(state.now, twap, "waitingForTrigger"))
    else:
        _start(ground, running)
    return _answer("twapOrder", {"running": {"twapId": twap.twap_id}})


def _price(inst: Instrument, text: str | None) -> int | None:
    """A price of `details` in ticks. Raises `Refused` for a text that is none."""
    if text is None:
        return None
    ticks = exact(text, inst.px_decimals) if is_number(text) else None
    if not ticks:
        raise Refused(f"{refusals.INVALID_PRICE} asset={inst.asset}")
    return ticks


def _start(ground: Ground, twap: Twap) -> None:
    state, mark = ground.state, ground.state.marks[twap.state.asset]
    twap.next_ms, twap.waits = state.now, False
    twap.stops_above = twap.state.stop_px is not None and mark < twap.state.stop_px
    ground.history.add(TwapStatus(state.now, twap.state, "activated"))


def _refusal(
    ground: Ground, account: Account, inst: Instrument, row: Mapping[str, Any], lots: int
) -> str | None:
    minutes = row["m"]
    if not MINUTES[0] <= minutes <= MINUTES[1]:
        return refusals.TWAP_DURATION.format(minutes)
    least = USD_PER_MINUTE * minutes
    if lots * ground.state.marks[inst.asset] < least * inst.usd_unit:
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


def terminate(ground: Ground, account: Account, concerned: Callable[[Instrument], bool]) -> None:
    """End the TWAPs of an account in the markets concerned."""
    for twap in list(ground.state.twaps.values()):
        if twap.state.user == account.address and concerned(ground.instruments[twap.state.asset]):
            _end(ground, twap, "terminated")


def _answer(kind: str, status: object) -> dict[str, Any]:
    return {"type": kind, "data": {"status": status}}


def slice_all(ground: Ground, look: Look) -> None:
    """Send the slices that are due, the oldest TWAP's first. One that fell behind catches up in turn."""
    now, marks = ground.state.now, ground.state.marks
    for twap in list(ground.state.twaps.values()):
        mark = marks[twap.state.asset]
        if twap.waits:
            if twap.state.trigger is None or _reaches(mark, *twap.state.trigger):
                _start(ground, twap)
        elif twap.state.stop_px is not None and _reaches(mark, twap.state.stop_px, twap.stops_above):
            _end(ground, twap, "stopped")
        while twap.state.twap_id in ground.state.twaps and not twap.waits and twap.next_ms <= now:
            twap.next_ms += SLICE_MS
            look(twap.state.asset)
            _slice(ground, twap)


def _reaches(mark: int, px: int, above: bool) -> bool:
    return mark >= px if above else mark <= px


def _slice(ground: Ground, twap: Twap) -> None:
    state = twap.state
    inst, account = ground.instruments[state.asset], ground.state.accounts[state.user]
    twap.done += 1
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
