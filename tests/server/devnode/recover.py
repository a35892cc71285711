"""The way back: from a `clearinghouseState` off the wire to the core and the marks that rendered it.

Everything is in the payload except what the wire does not say: the margin held by resting orders (it
only shows as a lower `withdrawable`) and the collateral that a unified account has elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from server.devnode.clearinghouse import MICRO, Asset, Core, Funding, Position, tiers_of


@dataclass(frozen=True, slots=True)
class Recovered:
    core: Core
    marks: dict[str, int]  # ticks, implied by positionValue / |szi|


class NotRecoverable(ValueError):
    """A number of the payload contradicts another one: it was edited, or the arithmetic has changed."""


def scaled(text: str, decimals: int) -> int:
    """Read a wire number as an integer of 10^-decimals. Rounds: the text carries binary64 artefacts."""
    return int(Decimal(text).scaleb(decimals).to_integral_value())


def recover(state: Mapping[str, Any], assets: Mapping[str, Asset]) -> Recovered:
    """Take a decoded state apart. `assets` must know every coin in it.

    Raises `NotRecoverable` when a position's value is not a whole number of ticks times its size.
    """
    marks: dict[str, int] = {}
    positions = []
    reserved = 0
    for row in state["assetPositions"]:
        position = row["position"]
        asset = assets[position["coin"]]
        lots = scaled(position["szi"], asset.sz_decimals)
        value = scaled(position["positionValue"], 6)
        mark, rest = divmod(value, abs(lots))
        if rest:
            raise NotRecoverable(f"{asset.name}: {value} micro-USD is no multiple of {lots} lots")
        marks[asset.name] = mark
        signed = value if lots > 0 else -value
        leverage = position["leverage"]
        isolated = leverage["type"] == "isolated"
        if not isolated:
            reserved += max(value // leverage["value"], value // 10)
        maximum = position["maxLeverage"]
        positions.append(
            Position(
                asset,
                lots,
                signed - scaled(position["unrealizedPnl"], 6),
                leverage["value"],
                raw_usd=scaled(leverage["rawUsd"], 6) if isolated else None,
                funding=_funding(position.get("cumFunding")),
                tiers=asset.tiers if maximum == asset.max_leverage else tiers_of([(0, maximum)]),
            )
        )
    cross = state["crossMarginSummary"]
    withdrawable = scaled(state["withdrawable"], 6)
    held = scaled(cross["accountValue"], 6) - reserved - withdrawable
    # A withdrawable of 0 says nothing about the orders, and a negative rest is no margin.
    order_margin = max(0, held) if withdrawable else 0
    return Recovered(Core(scaled(cross["totalRawUsd"], 6), tuple(positions), order_margin), marks)


def infer_extra(state: Mapping[str, Any], recovered: Recovered) -> int:
    """The collateral outside of this dex, in micro-USD, that the cross liquidation prices imply.

    Taken from the row whose printed price resolves it best (the smallest size), within its first tier.
    Returns 0 when no cross row has a price.
    """
    best: tuple[int, int] | None = None
    maintenance = scaled(state["crossMaintenanceMarginUsed"], 6)
    value = scaled(state["crossMarginSummary"]["accountValue"], 6)
    for row, position in zip(state["assetPositions"], recovered.core.positions, strict=True):
        printed = row["position"]["liquidationPx"]
        if printed is None or not position.is_cross:
            continue
        signed = position.lots * recovered.marks[position.asset.name]
        maximum = position.tiers[0].max_leverage
        own = abs(signed) // (2 * maximum)
        sign = 1 if position.lots > 0 else -1
        size = Decimal(position.lots).scaleb(-position.asset.sz_decimals)
        n = Decimal(printed) * size * (1 - Decimal(sign) / (2 * maximum)) * MICRO
        extra = int((maintenance - own - value + signed - n).to_integral_value())
        if best is None or abs(size) < best[0]:
            best = (abs(position.lots), extra)
    return 0 if best is None else best[1]


def _funding(texts: Mapping[str, str] | None) -> Funding:
    if texts is None:  # 2023
        return Funding()
    return Funding(
        scaled(texts["allTime"], 6), scaled(texts["sinceOpen"], 6), scaled(texts["sinceChange"], 6)
    )
