"""Asset contexts: what each market is worth, trades and costs now, in the wire's keys and order of keys."""

from __future__ import annotations

from server.devnode.clearinghouse import fmt_double
from server.devnode.engine.listing import Instrument
from server.devnode.engine.units import number
from server.devnode.market.truth import Truth
from server.devnode.prices import price_text, step_at

SUPPLY = 1_000_000_000.0  # of every spot token: nothing here issues or burns any


def perp_context(truth: Truth, coin: str) -> str:
    """A PerpAssetCtx."""
    return truth.once("", ("ctx", coin), lambda: _perp(truth, truth.coins[coin]))


def spot_context(truth: Truth, coin: str) -> str:
    """A SpotAssetCtx."""
    return truth.once("", ("ctx", coin), lambda: _spot(truth, truth.coins[coin]))


def perp_contexts(truth: Truth, dex: str) -> str:
    """Positional to the universe of the dex."""
    names = [asset.name for asset in truth.markets.dexes[dex].assets]
    return truth.once("", ("ctxs", dex), lambda: f"[{','.join(perp_context(truth, coin) for coin in names)}]")


def spot_contexts(truth: Truth) -> str:
    """Not positional: more than the pairs that are listed, each with its `coin`."""
    return truth.once("", "spotCtxs", lambda: f"[{','.join(_spots(truth))}]")


def _perp(truth: Truth, inst: Instrument) -> str:
    state, decimals, now = truth.engine.ground.state, inst.px_decimals, truth.engine.now
    mark, oracle = state.marks[inst.asset], state.oracles[inst.asset]
    lots, ntl = truth.tape.day(inst.coin, now)
    bid, ask = truth.engine.best(inst.asset)
    low, high = (bid, ask) if bid and ask else (mark, mark + step_at(mark, decimals))
    return (
        f'{{"funding":"{truth.engine.funding_rate(inst.coin)}"'
        f',"openInterest":"{number(truth.tape.open_interest[inst.asset], inst.sz_decimals)}"'
        f',"prevDayPx":"{price_text(truth.tape.day_before(inst.asset, now), decimals)}"'
        f',"dayNtlVlm":"{number(ntl, 6)}","premium":"{fmt_double(mark / oracle - 1)}"'
        f',"oraclePx":"{price_text(oracle, decimals)}","markPx":"{price_text(mark, decimals)}"'
        f',"midPx":"{truth.engine.mid(inst.coin)}"'
        f',"impactPxs":["{price_text(low, decimals)}","{price_text(high, decimals)}"]'
        f',"dayBaseVlm":"{number(lots, inst.sz_decimals)}"}}'
    )


def _spot(truth: Truth, inst: Instrument) -> str:
    now, decimals = truth.engine.now, inst.px_decimals
    lots, ntl = truth.tape.day(inst.coin, now)
    return _spot_row(
        inst.coin,
        price_text(truth.tape.day_before(inst.asset, now), decimals),
        number(ntl, 8),
        price_text(truth.engine.ground.state.marks[inst.asset], decimals),
        truth.engine.mid(inst.coin) or "0.0",
        number(lots, inst.sz_decimals),
    )


def _spots(truth: Truth) -> list[str]:
    rows = []
    for pair in truth.markets.spot_pairs:
        if pair.listed:
            rows.append(spot_context(truth, pair.coin))
        else:
            px = price_text(pair.market.start, pair.market.decimals)
            rows.append(_spot_row(pair.coin, px, "0.0", px, px, "0.0"))
    return rows


def _spot_row(coin: str, before: str, ntl: str, mark: str, mid: str, lots: str) -> str:
    supply = fmt_double(SUPPLY)
    return (
        f'{{"prevDayPx":"{before}","dayNtlVlm":"{ntl}","markPx":"{mark}","midPx":"{mid}"'
        f',"circulatingSupply":"{supply}","coin":"{coin}","totalSupply":"{supply}","dayBaseVlm":"{lots}"}}'
    )
