"""The background: oracles that walk, marks with them, and a house that keeps a book around the marks.

What the house's ladder crosses it takes: that is how a resting order is filled when the price comes to it.

Cheap by being lazy. When a mark moves, its ladder is put up at once only where somebody's order is met by
it; elsewhere when the next one looks at the market or trades in it, and `best` says meanwhile what would be
seen. What a ladder is made of follows from the move alone, not from when somebody looked: so looking
changes nothing that can be told.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from server.devnode.clearinghouse import MICRO
from server.devnode.engine.account import Order
from server.devnode.engine.book import Level
from server.devnode.engine.events import PriceMoves, Terms
from server.devnode.engine.lifecycle import enter, take_away
from server.devnode.engine.listing import Instrument
from server.devnode.engine.matching import crosses, match
from server.devnode.engine.state import HOUSE, PLAIN, START, Drift, Ground, Move
from server.devnode.prices import MAX_DRIFT, legal, step_at

STEP_MS = 3_000  # "approximately every 3 seconds": official docs, robust price indices
_PULL = 0.002  # share of the drift given back at every step
_COMMON = 0.6  # share of a step that all markets make together
_OWN = math.sqrt(1 - _COMMON**2)
_OIDS = 1 << 52  # the house's orders are numbered from here on, by move, market and rung
_ASSETS = 1 << 18  # more than the highest asset id


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
    """Somebody looks at a market: its ladder must stand."""
    if makers.quote and _is_stale(ground, asset):
        quote(ground, makers, ground.instruments[asset])


def visit(ground: Ground, makers: Makers, asset: int) -> None:
    """Somebody trades in a market: from now on its ladder may meet orders."""
    ground.state.visited.add(asset)
    look(ground, makers, asset)


def forget_looks(ground: Ground, makers: Makers) -> None:
    """Let the books be as if everybody had looked where somebody has traded, and nobody anywhere else.

    What is told stays as it is. Two engines of one truth are afterwards the same to the last detail.
    """
    state = ground.state
    for asset in ground.instruments:
        if asset in state.visited:
            look(ground, makers, asset)
        else:
            _take_down(ground, asset)
            state.books.pop(asset, None)
    state.books = dict(sorted(state.books.items()))
    state.quoted = dict(sorted(state.quoted.items()))
    state.ladders = dict(sorted(state.ladders.items()))
    house = state.accounts[HOUSE]
    house.orders = dict(sorted(house.orders.items()))


def best(ground: Ground, makers: Makers, asset: int) -> tuple[int | None, int | None]:
    """The best bid and ask that who looks at the market finds; None for a side that is empty."""
    book = ground.state.books.get(asset)
    if not makers.quote or not _is_stale(ground, asset):
        bid, ask = (book.bids.best(), book.asks.best()) if book else (None, None)
        return bid.px if bid else None, ask.px if ask else None
    bid_px, ask_px = _inside(ground, makers, asset)
    if book is not None:
        for level in book.bids:
            if level.px <= bid_px:
                break
            if _is_visited(level):
                bid_px = level.px
                break
        for level in book.asks:
            if level.px >= ask_px:
                break
            if _is_visited(level):
                ask_px = level.px
                break
    return bid_px or None, ask_px


def walk(ground: Ground, makers: Makers) -> None:
    """Take the steps of the oracles that are due, and let the ladders take what they now meet."""
    state = ground.state
    if not state.oracle_ms:
        state.oracle_ms = state.now
    due = (state.now - state.oracle_ms) // makers.step_ms
    if due <= 0:
        return
    state.oracle_ms += due * makers.step_ms
    if not makers.walk:
        return
    # What so many steps come to is one draw, too: each gives back its share of what those before it made.
    gauss, kept = state.random.gauss, (1 - _PULL) ** due
    size = math.sqrt((1 - kept**2) / (1 - (1 - _PULL) ** 2))
    common = gauss(0.0, 1.0)
    oracles, marks = [], []
    for asset, inst in ground.instruments.items():
        drift = state.drifts.get(asset)
        if drift is None:
            drift = state.drifts[asset] = Drift(state.oracles[asset])
        move = inst.market.volatility * size * (_COMMON * common + _OWN * gauss(0.0, 1.0))
        drift.drift = min(MAX_DRIFT, max(-MAX_DRIFT, drift.drift * kept + move))
        oracle = legal(round(drift.anchor * math.exp(drift.drift)), inst.px_decimals)
        mark = legal(oracle * drift.mark // drift.oracle, inst.px_decimals)
        moved = (asset, oracle)
        if oracle != state.oracles[asset]:
            state.oracles[asset] = oracle
            oracles.append(moved)
        if mark != state.marks[asset]:
            state.marks[asset] = mark
            marks.append(moved if mark == oracle else (asset, mark))
    _moved(ground, [asset for asset, _ in marks])
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
    _moved(ground, [inst.asset])
    ground.history.add(PriceMoves(state.now, moved if oracle else (), moved))


def requote(ground: Ground, makers: Makers) -> None:
    """Put up the ladders that meet somebody's order, where the mark has moved since they were."""
    if makers.quote:
        for asset in sorted(ground.state.visited):
            if _is_stale(ground, asset) and _meets(ground, makers, asset):
                quote(ground, makers, ground.instruments[asset])


def quote(ground: Ground, makers: Makers, inst: Instrument) -> None:
    """Put up a market's ladder around its mark in place of the one that stands."""
    state, asset = ground.state, inst.asset
    move, middle = state.moved.get(asset, START), state.marks[asset]
    _take_down(ground, asset)
    state.quoted[asset] = move.number
    scale = 100_000_000 if inst.is_spot else MICRO
    first = _OIDS + (move.number * _ASSETS + asset) * 2 * makers.depth
    standing = []
    for level, (bid, ask) in enumerate(_rungs(makers, inst, middle)):
        # A size that looks drawn and is a function of market, level and price: no generator to keep.
        spread = (asset * 7_919 + level * 104_729 + middle * 31) % 1_000
        usd = makers.level_usd * (1 + level // 2) * (500 + spread) // 1_000
        for px, is_buy in ((bid, True), (ask, False)):
            oid = first + 2 * level + is_buy
            if px and _offer(ground, inst, oid, px, max(1, usd * scale // px), is_buy, move.time):
                standing.append(oid)
    state.ladders[asset] = tuple(standing)


def _take_down(ground: Ground, asset: int) -> None:
    """Take away what is left of a market's ladder."""
    house = ground.state.accounts[HOUSE]
    ground.state.quoted.pop(asset, None)
    for oid in ground.state.ladders.pop(asset, ()):
        order = house.orders.get(oid)
        if order is not None:
            take_away(ground, house, ground.instruments[asset], order)


def _rungs(makers: Makers, inst: Instrument, middle: int) -> Iterator[tuple[int, int]]:
    """The prices of a ladder, (bid, ask), the best first; 0 for a bid that there is no room for."""
    step = step_at(middle, inst.px_decimals)
    bid = ask = middle
    for level in range(makers.depth):
        away = round(middle * makers.reach * (level / makers.depth) ** 2)
        bid = min(legal(middle - away, inst.px_decimals), bid - step)
        ask = max(legal(middle + away, inst.px_decimals), ask + step)
        yield legal(bid, inst.px_decimals) if bid > 0 else 0, legal(ask, inst.px_decimals)


def _inside(ground: Ground, makers: Makers, asset: int) -> tuple[int, int]:
    """The best prices of the ladder that stands, or would."""
    return next(_rungs(makers, ground.instruments[asset], ground.state.marks[asset]))


def _offer(ground: Ground, inst: Instrument, oid: int, px: int, lots: int, is_buy: bool, time: int) -> bool:
    """Offer a rung. Returns whether something of it stands."""
    house = ground.state.accounts[HOUSE]
    terms = Terms(oid, HOUSE, inst.asset, inst.coin, is_buy, px, lots, False, "Gtc", None, time)
    opposite = ground.book(inst.asset).side(not is_buy).best()
    if opposite is not None and crosses(terms, opposite.px):
        lots = match(ground, house, inst, terms, lots, PLAIN).left
    if lots:
        enter(ground, house, inst, Order(terms, lots))
    return lots > 0


def _moved(ground: Ground, assets: list[int]) -> None:
    state = ground.state
    state.moves += 1
    state.moved.update(dict.fromkeys(assets, Move(state.moves, state.now)))


def _is_stale(ground: Ground, asset: int) -> bool:
    """Has the mark moved since the ladder was put up, or was it never?"""
    state = ground.state
    return state.quoted.get(asset) != state.moved.get(asset, START).number


def _meets(ground: Ground, makers: Makers, asset: int) -> bool:
    """Would the ladder trade with somebody's order, were it put up now?"""
    book, mark = ground.book(asset), ground.state.marks[asset]
    bids, asks = book.bids.best(), book.asks.best()
    if (bids is None or bids.px <= mark) and (asks is None or asks.px >= mark):
        return False  # mostly: what stands at the wrong side of the mark is what it has just passed
    bid_px, ask_px = _inside(ground, makers, asset)
    for level in book.bids:
        if level.px < ask_px:
            break
        if _is_visited(level):
            return True
    for level in book.asks:
        if level.px > bid_px:
            break
        if _is_visited(level):
            return True
    return False


def _is_visited(level: Level) -> bool:
    """Does anybody's order stand there but the house's?"""
    return any(order.terms.user != HOUSE for order in level.orders.values())
