"""Fills as rows, and fills of one order at one time taken together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

from server.devnode.engine.events import Fill
from server.devnode.market.truth import Truth


def fill_rows(truth: Truth, fills: Iterable[Fill]) -> list[dict[str, Any]]:
    return [truth.engine.wire.fill(fill) for fill in fills]


def aggregated(fills: Sequence[Fill]) -> list[Fill]:
    """What a crossing order took from several resting ones becomes one fill at the average price."""
    return [_one(list(group)) for _, group in groupby(fills, key=_same)]


def _same(fill: Fill) -> object:
    return (fill.time, fill.oid, fill.coin) if fill.crossed else (fill.time, fill.oid, fill.coin, fill.tid)


def _one(group: list[Fill]) -> Fill:
    first = group[0]
    if len(group) == 1:
        return first
    lots = sum(fill.lots for fill in group)
    ntl = sum(fill.lots * fill.px for fill in group)
    return first._replace(
        lots=lots,
        px=(2 * ntl + lots) // (2 * lots),
        closed_pnl=sum(fill.closed_pnl for fill in group),
        fee=sum(fill.fee for fill in group),
        builder_fee=sum(fill.builder_fee for fill in group),
    )
