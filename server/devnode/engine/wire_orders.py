"""Orders as the wire sends them, taken apart: what is refused for its text alone is refused here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from server.devnode.engine import refusals
from server.devnode.engine.listing import Instrument, Listing
from server.devnode.engine.refusals import Refused
from server.devnode.engine.units import exact, floored, is_number, is_tick

MAX_DISTANCE = (8, 10)  # of a price from the reference: 80%


class Spec(NamedTuple):
    """An order that is well-formed. `off_tick` is refused later, by itself."""

    inst: Instrument
    is_buy: bool
    px: int
    lots: int
    reduce_only: bool
    tif: str | None
    cloid: str | None
    off_tick: bool = False
    trigger_px: int = 0
    is_market: bool = False
    tpsl: str = ""

    @property
    def triggers_above(self) -> bool:
        """A sale takes profit above and stops below; a purchase the other way round."""
        return (self.tpsl == "tp") != self.is_buy

    @property
    def kind(self) -> str:
        if not self.tpsl:
            return "Market" if self.tif == "FrontendMarket" else "Limit"
        first = "Take Profit" if self.tpsl == "tp" else "Stop"
        return f"{first} {'Market' if self.is_market else 'Limit'}"


def instrument(listing: Listing, asset: object) -> Instrument:
    found = listing.by_asset.get(asset) if isinstance(asset, int) else None
    if found is None:
        raise Refused(refusals.NO_ASSET.format(asset))
    return found


def parse(listing: Listing, marks: Mapping[int, int], row: Mapping[str, Any]) -> Spec:
    """Take one order apart. Raises `Refused`, which refuses the whole batch."""
    inst = instrument(listing, row["a"])
    suffix = f" asset={inst.asset}"
    lots = exact(row["s"], inst.sz_decimals) if is_number(row["s"]) else None
    if lots is None:
        raise Refused(refusals.INVALID_SIZE + suffix)
    if lots == 0:
        raise Refused(refusals.ZERO_SIZE + suffix)
    px, off_tick = _price(inst, row["p"])
    if px <= 0:
        raise Refused(refusals.INVALID_PRICE + suffix)
    kind, cloid = row["t"], row.get("c")
    limit = kind.get("limit")
    if limit is not None:
        mark = marks[inst.asset]
        part, whole = MAX_DISTANCE
        if abs(px - mark) * whole > mark * part:
            raise Refused(refusals.TOO_FAR + suffix)
        return Spec(inst, row["b"], px, lots, row["r"], limit["tif"], cloid, off_tick)
    trigger = kind["trigger"]
    trigger_px, trigger_off = _price(inst, trigger["triggerPx"])
    if trigger_px <= 0:
        raise Refused(refusals.INVALID_PRICE + suffix)
    return Spec(
        inst,
        row["b"],
        px,
        lots,
        row["r"],
        None,
        cloid,
        off_tick or trigger_off,
        trigger_px,
        trigger["isMarket"],
        trigger["tpsl"],
    )


def _price(inst: Instrument, text: str) -> tuple[int, bool]:
    """Ticks (0 for no price at all), and whether that was not a legal tick."""
    if not is_number(text):
        return 0, False
    px = exact(text, inst.px_decimals)
    if px is None:
        return floored(text, inst.px_decimals) or 1, True
    return px, not is_tick(px, inst.px_decimals)
