"""Prices in ticks: which are legal, how they print, how far they drift by themselves."""

from __future__ import annotations

# The walk of the oracles (engine/makers.py) is held near its start: a devnode that runs for a week still
# shows plausible prices, and no synthetic account (accounts.py) is carried into liquidation by it.
MAX_DRIFT = 0.08  # of the logarithm of the price


def legal(ticks: int, decimals: int) -> int:
    """The nearest legal price: at most 5 significant figures; whole numbers are always legal. Ticks >= 1.

    Source: official docs, tick and lot size. The bound on decimals is in the unit itself.
    """
    step = step_at(ticks, decimals)
    return max(1, (ticks + step // 2) // step * step)


def step_at(ticks: int, decimals: int) -> int:
    """The distance to the next legal price above."""
    if ticks < 100_000:  # five figures at most: mostly so, and asked for every market at every block
        return 1
    return min(int(10 ** (len(str(ticks)) - 5)), int(10**decimals))


def price_text(ticks: int, decimals: int) -> str:
    """Print ticks as a wire price, one decimal kept: 9724 at 2 decimals is "97.24"."""
    if decimals == 0:
        return f"{ticks}.0"
    text = str(ticks).rjust(decimals + 1, "0")
    whole, fraction = text[:-decimals], text[-decimals:].rstrip("0")
    return f"{whole}.{fraction or '0'}"
