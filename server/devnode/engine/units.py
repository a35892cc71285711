"""Numbers between the wire's text and the engine's integers, and the rules of tick and lot."""

from __future__ import annotations

from server.devnode.clearinghouse import MICRO, fmt_double
from server.devnode.prices import step_at

MIN_NOTIONAL_USD = 10
CENT = 100  # wei of USDC in a micro-USD
MAX_TEXT = 30  # of a number: more digits than any amount has


def is_number(text: str) -> bool:
    """Is it a plain decimal, unsigned? The exchange's own parser takes more; no client sends it."""
    whole, dot, fraction = text.partition(".")
    if not (whole.isdigit() and text.isascii() and len(text) <= MAX_TEXT):
        return False
    return fraction.isdigit() if dot else True


def exact(text: str, decimals: int) -> int | None:
    """Read a plain decimal as an integer of 10^-decimals; None where that would round."""
    whole, _, fraction = text.partition(".")
    if fraction:
        fraction = fraction.rstrip("0")
        if len(fraction) > decimals:
            return None
    return int(whole + fraction.ljust(decimals, "0"))


def floored(text: str, decimals: int) -> int:
    whole, _, fraction = text.partition(".")
    return int(whole + fraction.ljust(decimals, "0")[:decimals])


def is_tick(ticks: int, decimals: int) -> bool:
    """At most 5 significant figures; whole numbers are always legal. Source: official docs."""
    return ticks % step_at(ticks, decimals) == 0


def number(value: int, decimals: int) -> str:
    """Print an integer of 10^-decimals as the wire prints a double."""
    return fmt_double(value / 10**decimals)


def usd(micro: int) -> str:
    return fmt_double(micro / MICRO)


def short(ticks: int, decimals: int) -> str:
    """Print a price without the decimal point that every other number keeps: conditions and bbos."""
    text = number(ticks, decimals)
    return text.removesuffix(".0")


def truncated(amount: int, numerator: int, denominator: int) -> int:
    """amount * numerator / denominator, towards zero: how the exchange rounds fees."""
    product = amount * numerator
    return product // denominator if product >= 0 else -(-product // denominator)
