"""Synthetic accounts: who they are and what they hold, each a pure function of (seed, number)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random

from server.devnode.clearinghouse import MICRO, Asset, Core, Funding, Position, fmt, fmt_double
from server.devnode.markets import MAIN_DEX, Dex, Markets

# The first three accounts are the corner cases, so that even a small world has them; the rest is drawn.
_FIRST = {0: 3, 1: 40, 2: 0}
_DRAWN = ((0.15, 0, 0), (0.55, 1, 4), (0.22, 5, 12), (0.08, 13, 40))  # (share, fewest, most) on the main dex

# Margins leave room for a walk over the whole range of prices.MAX_DRIFT against the account: left alone,
# none of them is liquidated.
_ROOM = 0.12


@dataclass(frozen=True, slots=True)
class Account:
    address: str
    cores: Mapping[str, Core]  # by dex; a dex that the account never touched is absent
    balances: tuple[tuple[int, str, str], ...]  # spot: (token, total, entryNtl)


def address_of(seed: int, number: int) -> str:
    return "0x" + hashlib.sha256(f"devnode/{seed}/{number}".encode()).hexdigest()[:40]


def make_account(seed: int, number: int, markets: Markets) -> Account:
    """Draw account `number` of a world. Does not depend on how many others there are."""
    random = Random(f"devnode/{seed}/account/{number}")
    cores = {}
    for dex in markets.dexes.values():
        count = _count(random, number, dex)
        if count or dex.name == MAIN_DEX or random.random() < 0.2:
            cores[dex.name] = _core(random, dex, count)
    return Account(address_of(seed, number), cores, _balances(random, markets))


def _count(random: Random, number: int, dex: Dex) -> int:
    if dex.name != MAIN_DEX:
        return 0 if random.random() < 0.6 else random.randint(1, min(6, len(dex.assets)))
    if number in _FIRST:
        return _FIRST[number]
    _, fewest, most = random.choices(_DRAWN, weights=[share for share, _, _ in _DRAWN])[0]
    return random.randint(fewest, most)


def _core(random: Random, dex: Dex, count: int) -> Core:
    starts = {market.coin: market.start for market in dex.markets}
    chosen = sorted(random.sample(range(len(dex.assets)), count))
    scale = 10 ** random.uniform(1.3, 5.8)  # this account trades some 20 to 600 000 USD a position
    held = [_position(random, dex, dex.assets[i], starts, scale) for i in chosen]
    cross = [(p, p.lots * starts[p.asset.name]) for p in held if p.is_cross]
    notional = sum(abs(signed) for _, signed in cross)
    needed = sum(max(1 / p.leverage, 1 / p.tiers[0].max_leverage) * abs(signed) for p, signed in cross)
    free = int(random.choice((0, 1, 1, 1)) * 10 ** random.uniform(6, 11))
    value = int(needed * random.uniform(1.02, 3.0) + _ROOM * notional) + free
    return Core(value - sum(signed for _, signed in cross), tuple(held))


def _position(random: Random, dex: Dex, asset: Asset, starts: Mapping[str, int], scale: float) -> Position:
    start = starts[asset.name]
    sign = random.choice((1, -1))
    usd = min(scale * 10 ** random.uniform(-0.5, 0.5), 1_500_000)  # below every table's second tier
    lots = sign * max(1, round(usd * MICRO / start))
    entry = lots * start * random.uniform(0.75, 1.25)
    leverage = random.choice([x for x in (1, 2, 3, 5, 10, 20, asset.max_leverage) if x <= asset.max_leverage])
    raw_usd = None
    if dex.isolated_only or random.random() < 0.12:
        share = max(1 / leverage, 0.5 / asset.max_leverage + _ROOM) * random.uniform(1.0, 1.6)
        signed = lots * start
        raw_usd = int(share * abs(signed)) - signed
    open_, change = random.gauss(0, 0.002) * usd, random.random()
    funding = Funding(
        round((open_ + random.gauss(0, 0.02) * usd) * MICRO),
        round(open_ * MICRO),
        round(open_ * change * MICRO),
    )
    return Position(asset, lots, int(entry), leverage, raw_usd, funding)


def _balances(random: Random, markets: Markets) -> tuple[tuple[int, str, str], ...]:
    """Some spot balances as (token, total, entryNtl) in the wire's text, USDC first."""
    if random.random() < 0.3:
        return ()
    rows = [(0, fmt_double(round(random.uniform(0, 5000), 8)), "0.0")]
    pairs = {pair.token: pair.market for pair in markets.spot_pairs if pair.listed}
    for token in sorted(random.sample(sorted(pairs), random.randint(0, 3))):
        usd = 10 ** random.uniform(0.5, 4.5)
        total = usd / (pairs[token].start / 10 ** pairs[token].decimals)
        rows.append((token, fmt_double(round(total, 8)), fmt(round(usd * random.uniform(0.7, 1.3) * MICRO))))
    return tuple(rows)
