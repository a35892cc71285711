"""The arithmetic of `clearinghouseState`: an account's core and the marks in, the wire's own text out.

Pure integers wherever the exchange uses integers. Units:

* USD amounts are **micro-USD** (10^-6 USD),
* sizes are **lots** (10^-szDecimals of the coin), signed, long is positive,
* prices are **ticks** (10^-(6 - szDecimals) USD),

so that lots x ticks is micro-USD without any rounding. Only `returnOnEquity` and `liquidationPx` are
binary64 on the wire, and there the order of operations is part of the contract: it was matched digit by
digit against recorded states (tests/server/devnode/test_recover.py repeats the proof).

Formulas: official docs (margining, margin tiers, liquidations, entry price and pnl); rounding: wire.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import NamedTuple

MICRO = 1_000_000
PRICE_DECIMALS = 6  # perps: a price has at most 6 - szDecimals decimals

# "null if <= 0, > 1e15 or size 0": the official example code for liquidation prices.
_LIQUIDATION_MAX = 1e15


def fmt(micro: int) -> str:
    """Print micro-USD as the wire does: ten decimals of the nearest double, zeros cut, one decimal kept.

    The artefacts of binary64 are part of it: 3155203766062 prints as "3155203.7660619998".
    """
    return fmt_double(micro / MICRO)


def fmt_double(value: float) -> str:
    """Print a double as the wire does: ten decimals, zeros cut, one decimal kept, never "-0.0"."""
    text = f"{value:.10f}".rstrip("0")
    if text[-1] == ".":
        text += "0"
    return "0.0" if text == "-0.0" else text  # a negative zero was never seen on the wire


class Tier(NamedTuple):
    """One step of a margin table. The rate is 1/(2 x maxLeverage) of the notional, less the deduction."""

    lower_bound: int  # micro-USD of notional from which this tier applies
    max_leverage: int
    deduction: int | Fraction  # micro-USD; makes the maintenance margin continuous over the steps


def tiers_of(steps: Sequence[tuple[int, int]]) -> tuple[Tier, ...]:
    """Build a margin table from (lower bound in micro-USD, maxLeverage) rows, lowest first.

    Official docs, margin tiers: deduction_n = deduction_{n-1} + lowerBound_n * (rate_n - rate_{n-1}).
    """
    tiers: list[Tier] = []
    for lower_bound, max_leverage in steps:
        deduction: int | Fraction = 0
        if tiers:
            step = Fraction(1, 2 * max_leverage) - Fraction(1, 2 * tiers[-1].max_leverage)
            deduction = tiers[-1].deduction + lower_bound * step
            if deduction.denominator == 1:
                deduction = int(deduction)  # all tables but the 25x one: keeps the hot path in integers
        tiers.append(Tier(lower_bound, max_leverage, deduction))
    return tuple(tiers)


@dataclass(frozen=True, slots=True)
class Asset:
    """A perpetual of one dex: what its positions need to know about it."""

    name: str  # as the wire says it: "BTC", "xyz:TSLA"
    sz_decimals: int
    tiers: tuple[Tier, ...]

    @property
    def max_leverage(self) -> int:
        return self.tiers[0].max_leverage


@dataclass(frozen=True, slots=True)
class Funding:
    """Cumulative funding in micro-USD; positive was paid by the user."""

    all_time: int = 0
    since_open: int = 0
    since_change: int = 0


@dataclass(frozen=True, slots=True)
class Position:
    """One open position: everything about it that does not move with the mark.

    `raw_usd` is the cash in the pocket of an isolated position, None for a cross one. `tiers` is the
    asset's table, or a single step where the account has a maximum of its own (vaults of the exchange
    print `maxLeverage` 50 on every coin; the table of the coin does not apply then).
    """

    asset: Asset
    lots: int  # signed, never 0: flat positions are not listed
    entry_ntl: int  # signed micro-USD: size times the *exact* entry price, which the printed one has lost
    leverage: int
    raw_usd: int | None = None
    funding: Funding = Funding()
    tiers: tuple[Tier, ...] = ()
    _head: str = field(init=False, repr=False, compare=False)
    _tail: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.tiers:
            object.__setattr__(self, "tiers", self.asset.tiers)
        # Rendered once: between two marks nothing of these two stretches can change.
        object.__setattr__(self, "_head", _head(self))
        object.__setattr__(self, "_tail", _tail(self))

    @property
    def is_cross(self) -> bool:
        return self.raw_usd is None


@dataclass(frozen=True, slots=True)
class Core:
    """What the exchange stores of one account on one dex; everything else follows from the marks.

    Positions come in the order of the universe. `order_margin` is the margin that resting orders hold
    back from `withdrawable`. `extra` is the collateral of a unified account that lies outside of this
    dex and only shows in its liquidation prices. Both are micro-USD, 0 for a plain account.
    """

    cross_raw: int
    positions: tuple[Position, ...] = ()
    order_margin: int = 0
    extra: int = 0


def maintenance(notional: int, tiers: tuple[Tier, ...]) -> int:
    """The maintenance margin of a position of this notional, floored to micro-USD."""
    tier = tiers[0]
    for candidate in tiers[1:]:
        if notional < candidate.lower_bound:
            break
        tier = candidate
    if not tier.deduction:
        return notional // (2 * tier.max_leverage)
    return int((Fraction(notional, 2 * tier.max_leverage) - tier.deduction) // 1)


def liquidation_px(n: int, lots: int, sz_decimals: int, tiers: tuple[Tier, ...]) -> float | None:
    """The price at which the margin is used up, or None where there is none (the wire's null).

    `n` is micro-USD: isolated, minus the cash in the pocket; cross, the maintenance of all the other
    positions less the account value without this position. The tier is the one that applies to the
    notional *at the liquidation price*, so each is tried. Doubles in exactly this order: any other
    order of operations misses the wire's last digit on some recorded rows.
    """
    size = lots / 10**sz_decimals
    sign = 1 if lots > 0 else -1
    last = len(tiers) - 1
    for i, (lower_bound, max_leverage, deduction) in enumerate(tiers):
        need = (n - deduction) / MICRO if deduction else n / MICRO
        px = float(need) / (size * (1 - sign / (2 * max_leverage)))
        notional = px * abs(size) * MICRO
        above = i == 0 or notional >= lower_bound
        below = i == last or notional < tiers[i + 1].lower_bound
        if above and below:
            return px if 0 < px <= _LIQUIDATION_MAX else None
    return None


def render(core: Core, marks: Mapping[str, int], time_ms: int | None) -> str:
    """Render a `clearinghouseState` as compact JSON in the wire's key order.

    `marks` maps the name of every held asset to its mark price in ticks. `time_ms` None leaves `time`
    out, as payloads of 2023 had it.
    """
    cross_signed = cross_ntl = cross_used = cross_maintenance = reserved = 0
    iso_signed = iso_ntl = iso_used = iso_raw = 0
    rows: list[tuple[Position, int, int, int]] = []  # position, signed value, margin used, maintenance
    for position in core.positions:
        signed = position.lots * marks[position.asset.name]
        ntl = abs(signed)
        if position.raw_usd is None:
            used = ntl // position.leverage
            needed = maintenance(ntl, position.tiers)
            cross_signed += signed
            cross_ntl += ntl
            cross_used += used
            cross_maintenance += needed
            # What may be moved out must leave the initial margin, or 10% of the notional if that is
            # more: per position, not of the two sums as the docs read (a recorded state decides).
            reserved += max(used, ntl // 10)
        else:
            used = position.raw_usd + signed
            needed = 0
            iso_signed += signed
            iso_ntl += ntl
            iso_used += used
            iso_raw += position.raw_usd
        rows.append((position, signed, used, needed))

    cross_value = core.cross_raw + cross_signed
    listed = []
    for position, signed, used, needed in rows:
        if position.raw_usd is None:
            n = cross_maintenance - needed - (cross_value + core.extra - signed)
        else:
            n = -position.raw_usd
        listed.append(_row(position, signed, used, n))

    value = cross_value + iso_raw + iso_signed
    withdrawable = max(0, cross_value - reserved - core.order_margin)
    return (
        '{"marginSummary":'
        + _summary(value, cross_ntl + iso_ntl, core.cross_raw + iso_raw, cross_used + iso_used)
        + ',"crossMarginSummary":'
        + _summary(cross_value, cross_ntl, core.cross_raw, cross_used)
        + f',"crossMaintenanceMarginUsed":"{fmt(cross_maintenance)}","withdrawable":"{fmt(withdrawable)}"'
        + f',"assetPositions":[{",".join(listed)}]'
        + ("}" if time_ms is None else f',"time":{time_ms}}}')
    )


def render_zero(time_ms: int) -> str:
    """The state of an account the exchange has never seen: the same object, all zeros."""
    return render(Core(0), {}, time_ms)


def _summary(value: int, ntl: int, raw: int, used: int) -> str:
    return (
        f'{{"accountValue":"{fmt(value)}","totalNtlPos":"{fmt(ntl)}"'
        f',"totalRawUsd":"{fmt(raw)}","totalMarginUsed":"{fmt(used)}"}}'
    )


def _row(position: Position, signed: int, used: int, n: int) -> str:
    pnl = signed - position.entry_ntl
    # An integer quotient: Python rounds it correctly, as the wire's digits need.
    roe = pnl * position.leverage / abs(position.entry_ntl) if position.entry_ntl else 0.0
    px = liquidation_px(n, position.lots, position.asset.sz_decimals, position.tiers)
    liquidation = "null" if px is None else f'"{fmt_double(px)}"'
    return (
        f'{position._head}"positionValue":"{fmt(abs(signed))}","unrealizedPnl":"{fmt(pnl)}"'
        f',"returnOnEquity":"{fmt_double(roe)}","liquidationPx":{liquidation}'
        f',"marginUsed":"{fmt(used)}"{position._tail}'
    )


def _head(position: Position) -> str:
    asset = position.asset
    szi = fmt_double(position.lots / 10**asset.sz_decimals)
    # Both have the sign of the position, so the floor truncates toward zero.
    entry = fmt_double(position.entry_ntl // position.lots / 10 ** (PRICE_DECIMALS - asset.sz_decimals))
    if position.raw_usd is None:
        leverage = f'{{"type":"cross","value":{position.leverage}}}'
    else:
        leverage = f'{{"type":"isolated","value":{position.leverage},"rawUsd":"{fmt(position.raw_usd)}"}}'
    return (
        f'{{"type":"oneWay","position":{{"coin":"{asset.name}","szi":"{szi}"'
        f',"leverage":{leverage},"entryPx":"{entry}",'
    )


def _tail(position: Position) -> str:
    funding = position.funding
    return (
        f',"maxLeverage":{position.tiers[0].max_leverage},"cumFunding":{{"allTime":"{fmt(funding.all_time)}"'
        f',"sinceOpen":"{fmt(funding.since_open)}","sinceChange":"{fmt(funding.since_change)}"}}}}}}'
    )
