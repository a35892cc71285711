"""The synthetic exchange's markets: which dexes, coins and tokens there are, and the `meta` family.

Names, `szDecimals` and margin tables are the exchange's own, so that clients which know them find what
they expect; the prices are invented. `spotMeta.tokens` is short because clients index it by position.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from server.devnode.clearinghouse import MICRO, PRICE_DECIMALS, Asset, Tier, tiers_of

MAIN_DEX = ""

_TABLES: dict[int, tuple[str, tuple[tuple[int, int], ...]]] = {
    # id: (description, (lower bound in USD, maxLeverage) rows); as `meta` listed them in 2026-02
    50: ("", ((0, 50),)),
    51: ("tiered 10x", ((0, 10), (3_000_000, 5))),
    52: ("tiered 10x (2)", ((0, 10), (20_000_000, 5))),
    53: ("tiered 20x", ((0, 20), (40_000_000, 10))),
    54: ("tiered 20x (2)", ((0, 20), (70_000_000, 10))),
    55: ("tiered 25x", ((0, 25), (100_000_000, 15))),
    56: ("tiered 40x", ((0, 40), (150_000_000, 20))),
}

# name, szDecimals, marginTableId, price in USD. An id below 50 is a single tier of that leverage.
_MAIN = (
    ("BTC", 5, 56, "97240"), ("ETH", 4, 55, "3412.6"), ("ATOM", 2, 5, "4.2315"), ("DYDX", 1, 5, "0.58312"),
    ("SOL", 2, 54, "184.21"), ("AVAX", 2, 52, "24.318"), ("BNB", 3, 51, "871.35"), ("OP", 1, 51, "0.71346"),
    ("LTC", 2, 52, "98.514"), ("ARB", 1, 51, "0.43127"), ("DOGE", 0, 52, "0.21874"),
    ("INJ", 1, 51, "12.644"), ("SUI", 1, 52, "3.4472"), ("kPEPE", 0, 52, "0.011384"),
    ("CRV", 1, 52, "0.74218"), ("LDO", 1, 51, "1.1263"), ("LINK", 1, 52, "19.277"),
    ("XRP", 0, 53, "2.6418"), ("BCH", 3, 52, "512.83"), ("APT", 2, 52, "5.2846"), ("AAVE", 2, 52, "298.47"),
    ("WLD", 1, 52, "1.2047"), ("TRX", 0, 51, "0.31285"), ("kSHIB", 0, 51, "0.013472"),
    ("UNI", 1, 52, "9.1834"), ("SEI", 0, 51, "0.28614"), ("ZRO", 1, 5, "2.3187"), ("DOT", 1, 51, "4.1652"),
    ("TIA", 1, 52, "1.7421"), ("ADA", 0, 52, "0.80235"), ("TON", 1, 51, "3.2614"),
    ("PENDLE", 0, 5, "4.7521"), ("NEAR", 1, 52, "2.8143"), ("kBONK", 0, 52, "0.025317"),
    ("JUP", 0, 51, "0.48236"), ("WIF", 0, 5, "0.87412"), ("TAO", 3, 5, "402.17"), ("ENA", 0, 52, "0.56128"),
    ("POPCAT", 0, 3, "0.29463"), ("XLM", 0, 5, "0.38147"), ("HYPE", 2, 52, "44.836"),
    ("VIRTUAL", 1, 5, "1.3572"), ("PENGU", 0, 5, "0.031846"), ("FARTCOIN", 1, 52, "0.91283"),
    ("TRUMP", 1, 52, "8.7641"), ("IP", 1, 3, "6.4218"), ("PAXG", 3, 51, "3984.2"), ("ZEC", 2, 52, "231.47"),
)  # fmt: skip
_XYZ = (
    ("XYZ100", 4, 30, "25364"), ("TSLA", 3, 20, "412.63"), ("NVDA", 3, 20, "187.42"),
    ("GOLD", 4, 25, "3981.7"), ("HOOD", 3, 10, "121.34"), ("META", 3, 20, "718.25"),
    ("AAPL", 3, 20, "262.48"), ("MSFT", 3, 20, "518.37"), ("GOOGL", 3, 20, "246.91"),
    ("AMZN", 3, 20, "222.85"), ("COIN", 3, 10, "318.46"), ("SILVER", 2, 25, "48.217"),
    ("CL", 3, 20, "61.384"), ("SP500", 3, 50, "6718.4"),
)  # fmt: skip
_FLX = (
    ("TSLA", 3, 10, "412.71"), ("NVDA", 3, 10, "187.39"), ("COIN", 3, 10, "318.55"),
    ("CRCL", 3, 10, "127.42"), ("GOLD", 4, 20, "3981.9"), ("OIL", 3, 20, "61.372"),
)  # fmt: skip
_VNTL = (
    ("SPACEX", 4, 3, "412.4"), ("OPENAI", 4, 3, "684.1"), ("ANTHROPIC", 4, 3, "273.6"),
    ("MAG7", 3, 5, "524.7"),
)  # fmt: skip

_BUILDER_DEXES = (
    # name, full name, markets, and whether every market of it is isolated only
    ("xyz", "XYZ", _XYZ, False),
    ("flx", "Felix Exchange", _FLX, False),
    ("vntl", "Ventuals", _VNTL, True),
)

# name, szDecimals, weiDecimals, full name; the position is the token's index
_TOKENS = (
    ("USDC", 8, 8, None), ("PURR", 0, 5, None), ("HFUN", 2, 8, None), ("HYPE", 2, 8, "Hyperliquid"),
    ("UBTC", 5, 10, "Unit Bitcoin"), ("UETH", 4, 9, "Unit Ethereum"), ("USOL", 3, 9, "Unit Solana"),
    ("UFART", 1, 6, "Unit Fartcoin"),
)  # fmt: skip
# (spot index, base token, price in USD). The indices have a hole, as on the exchange, and the delisted
# pair keeps its asset context: clients must join the contexts by `coin`, not by position.
_PAIRS = (
    (0, 1, "0.15837"), (1, 2, "17.284"), (2, 3, "44.841"), (4, 4, "97233"), (5, 5, "3412.1"),
    (7, 6, "184.19"), (8, 7, "0.91271"),
)  # fmt: skip
_DELISTED_PAIR = (3, 2, "0.02137")


@dataclass(frozen=True, slots=True)
class Market:
    """A market as the price walk sees it. `decimals` is the most a price may have, ticks are 10^-decimals."""

    coin: str
    decimals: int
    start: int  # ticks
    volatility: float  # standard deviation of one step, as a share of the price


@dataclass(frozen=True, slots=True)
class Dex:
    name: str
    assets: tuple[Asset, ...]  # in universe order
    markets: tuple[Market, ...]
    isolated_only: bool
    meta: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class SpotPair:
    coin: str  # "PURR/USDC" or "@index"
    token: int
    market: Market
    listed: bool


class Markets:
    """All there is to trade, and the answers that never change: `meta` per dex, `perpDexs`, `spotMeta`."""

    def __init__(self) -> None:
        dexes = [_dex(MAIN_DEX, _MAIN, isolated_only=False)]
        dexes += [_dex(name, rows, isolated_only=only) for name, _, rows, only in _BUILDER_DEXES]
        self.dexes: Mapping[str, Dex] = {dex.name: dex for dex in dexes}
        self.spot_pairs = tuple(sorted(map(_pair, (*_PAIRS, _DELISTED_PAIR)), key=lambda pair: pair.coin))
        self.tokens = tuple(name for name, *_ in _TOKENS)
        self.meta: Mapping[str, str] = {dex.name: _text(dex.meta) for dex in dexes}
        self.perp_dexs = _text([None, *map(_perp_dex, _BUILDER_DEXES)])
        self.spot_meta = _text(_spot_meta())


def _text(value: object) -> str:
    return orjson.dumps(value).decode()


def _invented(*words: object, size: int = 20) -> str:
    """An address or id that nobody chose, the same in every run."""
    return "0x" + hashlib.sha256("/".join(map(str, words)).encode()).hexdigest()[: 2 * size]


def ticks(price: str, decimals: int) -> int:
    whole, _, fraction = price.partition(".")
    return int(whole + fraction.ljust(decimals, "0")[:decimals])


def _tiers(table: int) -> tuple[Tier, ...]:
    rows = _TABLES[table][1] if table in _TABLES else ((0, table),)
    return tiers_of([(bound * MICRO, leverage) for bound, leverage in rows])


def _dex(name: str, rows: tuple[tuple[str, int, int, str], ...], *, isolated_only: bool) -> Dex:
    assets, markets, universe = [], [], []
    for coin, sz_decimals, table, price in rows:
        full = f"{name}:{coin}" if name else coin
        asset = Asset(full, sz_decimals, _tiers(table))
        decimals = PRICE_DECIMALS - sz_decimals
        assets.append(asset)
        markets.append(Market(full, decimals, ticks(price, decimals), 0.0004 if name else 0.0003))
        entry: dict[str, Any] = {
            "szDecimals": sz_decimals,
            "name": full,
            "maxLeverage": asset.max_leverage,
            "marginTableId": table,
        }
        if isolated_only:
            entry |= {"onlyIsolated": True, "marginMode": "strictIsolated"}
        if name:
            entry |= {"growthMode": "enabled", "lastGrowthModeChangeTime": "2025-11-23T17:37:10.033211662"}
        universe.append(entry)
    tables = [
        [i, {"description": text, "marginTiers": [_tier_row(*row) for row in steps]}]
        for i, (text, steps) in _TABLES.items()
    ]
    meta = {"universe": universe, "marginTables": tables, "collateralToken": 0}
    return Dex(name, tuple(assets), tuple(markets), isolated_only, meta)


def _tier_row(bound: int, leverage: int) -> dict[str, Any]:
    return {"lowerBound": f"{bound}.0", "maxLeverage": leverage}


def _perp_dex(row: tuple[str, str, tuple[tuple[str, int, int, str], ...], bool]) -> dict[str, Any]:
    name, full_name, rows, _ = row
    updater = _invented("oracle", name)
    return {
        "name": name,
        "fullName": full_name,
        "deployer": _invented("deployer", name),
        "oracleUpdater": None if name == "xyz" else updater,
        "feeRecipient": _invented("fees", name),
        "assetToStreamingOiCap": [[f"{name}:{coin}", "25000000.0"] for coin in sorted(r[0] for r in rows)],
        "subDeployers": [["setOracle", [updater]]],
        "deployerFeeScale": "1.0",
        "lastDeployerFeeScaleChangeTime": "1970-01-01T00:00:00",
        "assetToFundingMultiplier": [],
        "assetToFundingInterestRate": [],
    }


def _pair(row: tuple[int, int, str]) -> SpotPair:
    index, token, price = row
    name, sz_decimals, *_ = _TOKENS[token]
    coin = f"{name}/USDC" if index == 0 else f"@{index}"
    decimals = 8 - sz_decimals  # official docs: spot prices have at most 8 - szDecimals decimals
    return SpotPair(coin, token, Market(coin, decimals, ticks(price, decimals), 0.0003), row in _PAIRS)


def _spot_meta() -> dict[str, Any]:
    universe = [
        {
            "tokens": [token, 0],
            "name": _pair((index, token, px)).coin,
            "index": index,
            "isCanonical": index == 0,
        }
        for index, token, px in _PAIRS
    ]
    tokens = [
        {
            "name": name,
            "szDecimals": sz_decimals,
            "weiDecimals": wei_decimals,
            "index": index,
            "tokenId": _invented("token", name, size=16),
            "isCanonical": index < 2,
            "evmContract": None
            if index == 0
            else {"address": _invented("evm", name), "evm_extra_wei_decimals": 18 - wei_decimals},
            "fullName": full_name,
            "deployerTradingFeeShare": "0.0",
        }
        for index, (name, sz_decimals, wei_decimals, full_name) in enumerate(_TOKENS)
    ]
    return {"universe": universe, "tokens": tokens}
