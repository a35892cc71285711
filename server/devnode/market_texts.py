"""The texts of market data: mids and asset contexts, from the marks and from constants of each coin."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence

from server.devnode.clearinghouse import fmt_double
from server.devnode.prices import Walk, legal, price_text, step_at


def mids_text(walks: Iterable[Walk]) -> str:
    """`allMids`: a flat object, keys in ASCII order as on the wire."""
    mids = {
        market.coin: _mid(walk.marks[market.coin], market.decimals)
        for walk in walks
        for market in walk.markets
    }
    return "{" + ",".join(f'"{coin}":"{mids[coin]}"' for coin in sorted(mids)) + "}"


def perp_contexts_text(walk: Walk) -> str:
    """PerpAssetCtx objects, positional to the universe."""
    rows = []
    for market in walk.markets:
        mark, decimals = walk.marks[market.coin], market.decimals
        constant = _share(market.coin)
        oracle = legal(mark + round(mark * (constant - 0.5) * 0.001), decimals)
        px, step = mark / 10**decimals, step_at(mark, decimals)
        base = (1 + 40 * constant) * 2_000_000 / px
        rows.append(
            f'{{"funding":"{fmt_double((constant - 0.4) * 2.5e-5)}","openInterest":"{fmt_double(base / 3)}"'
            f',"prevDayPx":"{price_text(market.start, decimals)}","dayNtlVlm":"{fmt_double(base * px)}"'
            f',"premium":"{fmt_double(mark / oracle - 1)}","oraclePx":"{price_text(oracle, decimals)}"'
            f',"markPx":"{price_text(mark, decimals)}","midPx":"{_mid(mark, decimals)}"'
            f',"impactPxs":["{price_text(mark, decimals)}","{price_text(mark + step, decimals)}"]'
            f',"dayBaseVlm":"{fmt_double(base)}"}}'
        )
    return f"[{','.join(rows)}]"


def spot_contexts_text(walk: Walk) -> str:
    """SpotAssetCtx objects. Not positional: each carries its `coin`, and there are more than pairs listed."""
    rows = []
    for market in walk.markets:
        mark, decimals = walk.marks[market.coin], market.decimals
        supply = (1 + 40 * _share(market.coin)) * 1_000_000
        base = supply / 50
        rows.append(
            f'{{"prevDayPx":"{price_text(market.start, decimals)}"'
            f',"dayNtlVlm":"{fmt_double(base * mark / 10**decimals)}","markPx":"{price_text(mark, decimals)}"'
            f',"midPx":"{_mid(mark, decimals)}","circulatingSupply":"{fmt_double(supply)}"'
            f',"coin":"{market.coin}","totalSupply":"{fmt_double(supply)}","dayBaseVlm":"{fmt_double(base)}"}}'
        )
    return f"[{','.join(rows)}]"


def spot_state_text(balances: Sequence[tuple[int, str, str]], tokens: Sequence[str]) -> str:
    """`spotClearinghouseState` of (token, total, entryNtl) rows; nothing is ever on hold."""
    rows = (
        f'{{"coin":"{tokens[token]}","token":{token},"total":"{total}","hold":"0.0","entryNtl":"{entry}"}}'
        for token, total, entry in balances
    )
    return f'{{"balances":[{",".join(rows)}]}}'


def _mid(mark: int, decimals: int) -> str:
    """The middle of a book one legal step wide, whose bid is the mark: one more decimal than a price."""
    return price_text((2 * mark + step_at(mark, decimals)) * 5, decimals + 1)


def _share(coin: str) -> float:
    """A constant of the coin in [0, 1), for the volumes and rates that nothing here computes."""
    return zlib.crc32(coin.encode()) / 2**32
