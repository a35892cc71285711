"""What can be traded, by asset id: perps of every dex and spot pairs, as the orders name them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import orjson

from server.devnode.clearinghouse import MICRO, Asset, Tier
from server.devnode.markets import MAIN_DEX, Market, Markets

SPOT_ASSETS = 10_000  # asset id of spot pair n is this + n
BUILDER_ASSETS = 100_000  # of a builder's perp: this + 10000 * dex index + index in its universe
USDC = 0  # the token every pair is quoted in, and every dex's collateral


@dataclass(frozen=True, slots=True)
class Instrument:
    asset: int
    coin: str
    dex: str
    sz_decimals: int
    px_decimals: int
    market: Market
    perp: Asset | None  # None for spot
    isolated_only: bool = False
    base: int = 0  # spot: the token bought
    lot_wei: int = 1  # spot: wei of the base token in a lot

    @property
    def is_spot(self) -> bool:
        return self.perp is None

    @property
    def usd_unit(self) -> int:
        """Lots times ticks in a USD: micro-USD of a perp, wei of USDC of a pair."""
        return MICRO if self.perp else 100 * MICRO

    @property
    def tiers(self) -> tuple[Tier, ...]:
        return self.perp.tiers if self.perp else ()

    @property
    def max_leverage(self) -> int:
        return self.perp.max_leverage if self.perp else 1


@dataclass(frozen=True, slots=True)
class Token:
    index: int
    name: str
    wei_decimals: int
    token_id: str


class Listing:
    """Frozen once built."""

    def __init__(self, markets: Markets) -> None:
        self.markets = markets
        self.tokens = tuple(
            Token(row["index"], row["name"], row["weiDecimals"], row["tokenId"])
            for row in orjson.loads(markets.spot_meta)["tokens"]
        )
        self.dexes = tuple(markets.dexes)
        found = [
            Instrument(
                _offset(number) + i,
                asset.name,
                name,
                asset.sz_decimals,
                market.decimals,
                market,
                asset,
                dex.isolated_only,
            )
            for number, (name, dex) in enumerate(markets.dexes.items())
            for i, (asset, market) in enumerate(zip(dex.assets, dex.markets, strict=True))
        ]
        for pair in markets.spot_pairs:
            if pair.listed:
                index = int(pair.coin[1:]) if pair.coin.startswith("@") else 0
                decimals = 8 - pair.market.decimals  # szDecimals: a spot price has 8 - szDecimals
                found.append(
                    Instrument(
                        SPOT_ASSETS + index,
                        pair.coin,
                        MAIN_DEX,
                        decimals,
                        pair.market.decimals,
                        pair.market,
                        None,
                        base=pair.token,
                        lot_wei=10 ** (self.tokens[pair.token].wei_decimals - decimals),
                    )
                )
        self.by_asset: Mapping[int, Instrument] = {one.asset: one for one in found}
        self.by_coin: Mapping[str, Instrument] = {one.coin: one for one in found}
        self._tokens: dict[str, Token] = {}
        for token in self.tokens:
            self._tokens[f"{token.name}:{token.token_id}"] = token
            self._tokens.setdefault(token.name, token)

    def token(self, text: str) -> Token | None:
        """The token that a transfer names, with its id ("PURR:0x…") or, as for USDC, without."""
        name, _, token_id = text.partition(":")
        found = self._tokens.get(f"{name}:{token_id.lower()}" if token_id else name)
        # Clients carry the USDC id of the real exchange; there is only one USDC to mean.
        return self.tokens[USDC] if found is None and name == "USDC" else found


def _offset(dex_number: int) -> int:
    return BUILDER_ASSETS + 10_000 * dex_number if dex_number else 0
