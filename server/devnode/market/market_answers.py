"""`/info` about markets: books, trades, candles, contexts, rates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import orjson

from server.devnode.clearinghouse import MICRO, fmt_double
from server.devnode.engine.funding import HOUR_MS
from server.devnode.engine.units import number, usd
from server.devnode.info import FAILED, Answer, InfoRequest, is_natural, ok
from server.devnode.market.asking import Unreadable, text_of, user_of, window_of
from server.devnode.market.contexts import SUPPLY, perp_contexts, spot_context, spot_contexts
from server.devnode.market.tape import INTERVALS
from server.devnode.market.truth import Truth
from server.devnode.markets import MAIN_DEX
from server.devnode.subscriptions import can_merge

Answers = Mapping[str, Callable[[Truth, InfoRequest, int], Answer]]
TRADES = 10  # of `recentTrades`: the number is not published
RATES = 500  # rows of `fundingHistory`: the oldest of the window


def rows_answer(rows: list[Any]) -> Answer:
    return ok(orjson.dumps(rows), len(rows))


def _book(truth: Truth, request: InfoRequest, now_ms: int) -> Answer:
    coin, fields = text_of(request.fields, "coin"), request.fields
    sig_figs, mantissa = fields.get("nSigFigs"), fields.get("mantissa")
    if not all(one is None or is_natural(one) for one in (sig_figs, mantissa)):
        raise Unreadable
    if coin not in truth.coins:
        return ok("null")
    return ok(book_text(truth, coin, sig_figs, mantissa)) if can_merge(sig_figs, mantissa) else FAILED


def book_text(truth: Truth, coin: str, sig_figs: int | None, mantissa: int | None, depth: int = 20) -> str:
    """`l2Book`."""
    return truth.once(
        "",
        ("book", coin, sig_figs, mantissa, depth),
        lambda: orjson.dumps(truth.book(coin, sig_figs, mantissa, depth)).decode(),
    )


def _recent_trades(truth: Truth, request: InfoRequest, now_ms: int) -> Answer:
    coin = text_of(request.fields, "coin")
    return rows_answer(truth.recent_trades(coin, TRADES)) if coin in truth.coins else FAILED


def _candles(truth: Truth, request: InfoRequest, now_ms: int) -> Answer:
    wanted = request.fields.get("req")
    coin, interval = text_of(wanted, "coin"), text_of(wanted, "interval")
    first, last = window_of(wanted, start=True)
    if interval not in INTERVALS:
        raise Unreadable
    return rows_answer(truth.tape.candles(coin, interval, first, last)) if coin in truth.coins else FAILED


def _funding_history(truth: Truth, request: InfoRequest, now_ms: int) -> Answer:
    coin = text_of(request.fields, "coin")
    first, last = window_of(request.fields, start=True)
    inst = truth.coins.get(coin)
    if inst is None or inst.is_spot:
        return FAILED
    found = [row for row in truth.tape.rates.get(coin, ()) if first <= row.time <= last]
    return rows_answer(
        [
            {
                "coin": coin,
                "fundingRate": number(row.rate, 10),
                "premium": fmt_double(row.premium),
                "time": row.time,
            }
            for row in found[:RATES]
        ]
    )


def _predicted_fundings(truth: Truth, request: InfoRequest, now_ms: int) -> Answer:
    hour = now_ms // HOUR_MS * HOUR_MS  # recorded: the hour that was just settled, not the next
    rows = [
        [
            asset.name,
            [
                [
                    "HlPerp",
                    {
                        "fundingRate": truth.engine.funding_rate(asset.name),
                        "nextFundingTime": hour,
                        "fundingIntervalHours": 1,
                    },
                ]
            ],
        ]
        for asset in truth.markets.dexes[MAIN_DEX].assets
    ]
    return ok(orjson.dumps(rows))


def _margin_table(truth: Truth, request: InfoRequest, now_ms: int) -> Answer:
    number_ = request.fields.get("id")
    if not is_natural(number_):
        raise Unreadable
    assert isinstance(number_, int)
    tables = dict(truth.markets.dexes[MAIN_DEX].meta["marginTables"])
    single = {"description": "", "marginTiers": [{"lowerBound": "0.0", "maxLeverage": number_}]}
    found = tables.get(number_, single if 0 < number_ < 50 else None)
    return FAILED if found is None else ok(orjson.dumps(found))


def _named(field: str) -> Callable[[Truth, InfoRequest, int], Answer]:
    """Null, for whatever is named there: there are none of its kind."""

    def answer(truth: Truth, request: InfoRequest, now_ms: int) -> Answer:
        text_of(request.fields, field)
        return ok("null")

    return answer


def _counted(field: str) -> Callable[[Truth, InfoRequest, int], Answer]:
    def answer(truth: Truth, request: InfoRequest, now_ms: int) -> Answer:
        if not is_natural(request.fields.get(field)):
            raise Unreadable
        return ok("null")

    return answer


def _vault_details(truth: Truth, request: InfoRequest, now_ms: int) -> Answer:
    user_of(request, "vaultAddress")
    return ok("null")


def _perp_dex_limits(truth: Truth, request: InfoRequest, now_ms: int) -> Answer:
    """Null for the main dex and for one there is not."""
    rows = orjson.loads(truth.markets.perp_dexs)[1:]
    found = next((row for row in rows if row["name"] == text_of(request.fields, "dex")), None)
    if found is None:
        return ok("null")
    caps = found["assetToStreamingOiCap"]
    limits = {
        "totalOiCap": usd(sum(round(float(cap)) for _, cap in caps) * MICRO),
        "oiSzCapPerPerp": "1000000000.0",
        "maxTransferNtl": "150000000.0",
        "coinToOiCap": caps,
    }
    return ok(orjson.dumps(limits))


def _token_details(truth: Truth, request: InfoRequest, now_ms: int) -> Answer:
    """Of a token of `spotMeta`. Nobody deployed it, and all there is of it circulates."""
    token_id = text_of(request.fields, "tokenId")
    tokens = orjson.loads(truth.markets.spot_meta)["tokens"]
    token = next((row for row in tokens if row["tokenId"] == token_id.lower()), None)
    if token is None:
        return FAILED
    inst = next((one for one in truth.coins.values() if one.is_spot and one.base == token["index"]), None)
    context = orjson.loads(spot_context(truth, inst.coin)) if inst else {}
    supply = fmt_double(SUPPLY)
    details = {
        "name": token["name"],
        "maxSupply": supply,
        "totalSupply": supply,
        "circulatingSupply": supply,
        "szDecimals": token["szDecimals"],
        "weiDecimals": token["weiDecimals"],
        **{key: context.get(key, "1.0") for key in ("midPx", "markPx", "prevDayPx")},  # USDC is the unit
        **dict.fromkeys(("genesis", "deployer", "deployGas", "deployTime")),
        "seededUsdc": "0.0",
        "nonCirculatingUserBalances": [],
        "futureEmissions": "0.0",
    }
    return ok(orjson.dumps(details))


MARKET_ANSWERS: Answers = {
    "allMids": lambda truth, request, _: ok(truth.mids(request.dex) or "{}"),
    "allPerpMetas": lambda truth, _, __: ok(f"[{','.join(truth.markets.meta.values())}]"),
    "batchClearinghouseStates": lambda *_: FAILED,  # what the exchange itself was recorded to answer, 2025-08
    "candleSnapshot": _candles,
    "exchangeStatus": lambda truth, _, now_ms: ok(f'{{"specialStatuses":null,"time":{truth.stamp(now_ms)}}}'),
    "fundingHistory": _funding_history,
    "l2Book": _book,
    "liquidatable": lambda *_: ok("[]"),  # who can be is liquidated before anybody asks
    "marginTable": _margin_table,
    "meta": lambda truth, request, _: ok(truth.markets.meta[request.dex]),
    "metaAndAssetCtxs": lambda truth, request, _: ok(
        f"[{truth.markets.meta[request.dex]},{perp_contexts(truth, request.dex)}]"
    ),
    "outcomeMeta": lambda *_: ok('{"outcomes":[],"questions":[]}'),
    "outcomeTemplates": lambda *_: ok("[]"),
    "perpAnnotation": _named("coin"),
    "perpCategories": lambda *_: ok("[]"),
    "perpConciseAnnotations": lambda *_: ok("[]"),
    "perpDexLimits": _perp_dex_limits,
    "perpDexs": lambda truth, _, __: ok(truth.markets.perp_dexs),
    "perpsAtOpenInterestCap": lambda *_: ok("[]"),
    "predictedFundings": _predicted_fundings,
    "recentTrades": _recent_trades,
    "settledOutcome": _counted("outcome"),
    "spotMeta": lambda truth, _, __: ok(truth.markets.spot_meta),
    "spotMetaAndAssetCtxs": lambda truth, _, __: ok(f"[{truth.markets.spot_meta},{spot_contexts(truth)}]"),
    "tokenDetails": _token_details,
    "vaultDetails": _vault_details,
    "vaultSummaries": lambda *_: ok("[]"),
}
