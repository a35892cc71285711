"""The background: oracles that walk, marks with them, and a house that keeps a book around the marks.

Cheap by being lazy: a market gets its ladder when it is first looked at or traded. What the house's
ladder then crosses it takes: that is how a resting order is filled when the price comes to it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from server.devnode.clearinghouse import MICRO
from server.devnode.engine.account import Order
from server.devnode.engine.events import PriceMoves, Terms
from server.devnode.engine.lifecycle import enter, take_away
from server.devnode.engine.listing import Instrument
from server.devnode.engine.matching import match
from server.devnode.engine.state import HOUSE, PLAIN, Drift, Ground
from server.devnode.prices import MAX_DRIFT, legal, step_at

STEP_MS = 3_000  # "approximately every 3 seconds": official docs, robust price indices
MAX_STEPS = 1_200  # at once, when time was advanced by more than an hour
_PULL = 0.002  # share of the drift given back at every step
_COMMON = 0.6  # share of a step that all markets make together
_OWN = math.sqrt(1 - _COMMON**2)


@dataclass(frozen=True, slots=True)
class Makers:
    """How the background behaves. `walk` False holds the oracles still, `quote` False leaves books empty."""

    walk: bool = True
    quote: bool = True
    depth: int = 20  # levels a side
    level_usd: int = 20_000  # of the best level; the deepest has some ten times as much
    reach: float = 0.01  # how far from the mark the deepest level stands
    step_ms: int = STEP_MS  # between two steps of the oracles


def look(ground: Ground, makers: Makers, asset: int) -> None:
    """Somebody looks at a market or trades in it: the house quotes it from now on."""
    if makers.quote and asset not in ground.state.quoted:
        quote(ground, makers, ground.instruments[asset])


def walk(ground: Ground, makers: Makers) -> None:
    """Take the steps of the oracles that are due, and move the ladders of the markets that have one."""
    state = ground.state
    if not state.oracle_ms:
        state.oracle_ms = state.now
    due = (state.now - state.oracle_ms) // makers.step_ms
    if due <= 0:
        return
    state.oracle_ms += due * makers.step_ms
    if not makers.walk:
        return
    gauss = state.random.gauss
    steps = [gauss(0.0, 1.0) for _ in range(min(due, MAX_STEPS))]
    oracles, marks = [], []
    for asset, inst in ground.instruments.items():
        drift = state.drifts.get(asset)
        if drift is None:
            drift = state.drifts[asset] = Drift(state.oracles[asset])
        for common in steps:
            move = inst.market.volatility * (_COMMON * common + _OWN * gauss(0.0, 1.0))
            drift.drift = min(MAX_DRIFT, max(-MAX_DRIFT, drift.drift * (1 - _PULL) + move))
        oracle = legal(round(drift.anchor * math.exp(drift.drift)), inst.px_decimals)
        mark = legal(oracle * drift.mark // drift.oracle, inst.px_decimals)
        moved = (asset, oracle)
        if oracle != state.oracles[asset]:
            state.oracles[asset] = oracle
            oracles.append(moved)
        if mark != state.marks[asset]:
            state.marks[asset] = mark
            marks.append(moved if mark == oracle else (asset, mark))
    ground.history.add(PriceMoves(state.now, tuple(oracles), tuple(marks)))
    requote(ground, makers)


def set_price(ground: Ground, inst: Instrument, px: int, *, oracle: bool) -> None:
    """Move the mark of a market, and with `oracle` its oracle and the middle its walk is pulled to.

    A mark that was moved alone keeps its distance from the oracle, in proportion, as that walks on.
    """
    state = ground.state
    moved = ((inst.asset, px),)
    state.marks[inst.asset] = px
    if oracle:
        state.oracles[inst.asset] = px
        state.drifts[inst.asset] = Drift(px)
    else:
        drift = state.drifts.setdefault(inst.asset, Drift(state.oracles[inst.asset]))
        drift.mark, drift.oracle = px, state.oracles[inst.asset]
    ground.history.add(PriceMoves(state.now, moved if oracle else (), moved))


def requote(ground: Ground, makers: Makers) -> None:
    for asset, around in list(ground.state.quoted.items()):
        if around != ground.state.marks[asset]:
            quote(ground, makers, ground.instruments[asset])


def quote(ground: Ground, makers: Makers, inst: Instrument) -> None:
    """Put up a market's ladder around its mark in place of the one that stands."""
    house = ground.state.accounts[HOUSE]
    asset, middle = inst.asset, ground.state.marks[inst.asset]
    for oid in ground.state.ladders.pop(asset, ()):
        order = house.orders.get(oid)
        if order is not None:
            take_away(ground, house, inst, order)
    ground.state.quoted[asset] = middle
    unit = 1 if inst.is_spot else MICRO
    scale = 100_000_000 if inst.is_spot else unit
    step = step_at(middle, inst.px_decimals)
    standing = []
    bid = ask = middle
    for level in range(makers.depth):
        away = round(middle * makers.reach * (level / makers.depth) ** 2)
        bid = min(legal(middle - away, inst.px_decimals), bid - step)
        ask = max(legal(middle + away, inst.px_decimals), ask + step)
        # A size that looks drawn and is a function of market, level and price: no generator to keep.
        spread = (asset * 7_919 + level * 104_729 + middle * 31) % 1_000
        usd = makers.level_usd * (1 + level // 2) * (500 + spread) // 1_000
        for px, is_buy in ((bid, True), (ask, False)):
            if px > 0:
                lots = max(1, usd * scale // px)
                standing += _offer(ground, inst, px, lots, is_buy)
    ground.state.ladders[asset] = tuple(standing)


def _offer(ground: Ground, inst: Instrument, px: int, lots: int, is_buy: bool) -> list[int]:
    px = legal(px, inst.px_decimals)
    house = ground.state.accounts[HOUSE]
    terms = Terms(
        ground.oid(), HOUSE, inst.asset, inst.coin, is_buy, px, lots, False, "Gtc", None, ground.state.now
    )
    result = match(ground, house, inst, terms, lots, PLAIN)
    if not result.left:
        return []
    enter(ground, house, inst, Order(terms, result.left))
    return [terms.oid]
