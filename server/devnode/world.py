"""The synthetic exchange: accounts, markets and prices that move, answered in the wire's own text.

Deterministic: the same seed, number of accounts and ticks give the same bytes but for `time`. Sans I/O:
`tick` is called by the shell, the wall clock comes in as milliseconds.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from random import Random
from typing import Any, Protocol

from server.devnode.accounts import Account, make_account
from server.devnode.clearinghouse import render, render_zero
from server.devnode.info import DEX_TYPES, EMPTY, FAILED, MALFORMED, Answer, InfoRequest, ok
from server.devnode.market_texts import mids_text, perp_contexts_text, spot_contexts_text, spot_state_text
from server.devnode.markets import MAIN_DEX, Markets
from server.devnode.prices import Walk

_PRICE = re.compile(r"[0-9]{1,12}(\.[0-9]{1,12})?")


class Source(Protocol):
    """What is served: the synthetic world or a folder of recordings. All methods are synchronous."""

    @property
    def addresses(self) -> Sequence[str]:
        """Accounts worth asking for, lower-case."""

    @property
    def dexes(self) -> Sequence[str]:
        """Every perp dex, the main one ("") first, in the order of `perpDexs`."""

    def tick(self) -> None:
        """Let the prices move once."""

    def state(self, user: str, dex: str, now_ms: int) -> str:
        """The clearinghouseState of any account on a known dex: zeros for who holds nothing there."""

    def mids(self, dex: str) -> str | None:
        """The object of mids of a dex; None when there is none to serve."""

    def info(self, request: InfoRequest, now_ms: int) -> Answer:
        """Answer one `/info` request that deserialises."""


class World:
    """The mutable state is the price walks, the tick number, the last `time` given out and the memo.

    Accounts change with `reset` alone.
    """

    seed: int

    def __init__(self, *, accounts: int, seed: int) -> None:
        self.markets = Markets()
        self._count = accounts
        self._last_ms = 0
        # Everything rendered since the last tick. Many readers of one account cost one rendering.
        self._memo: dict[tuple[str, str], str] = {}
        self.reset(seed)
        self._answers: Mapping[str, Callable[[InfoRequest, int], str]] = {
            "allMids": lambda request, _: self.mids(request.dex) or "{}",
            "allPerpMetas": lambda _, __: f"[{','.join(self.markets.meta.values())}]",
            "clearinghouseState": lambda request, now_ms: self.state(request.user, request.dex, now_ms),
            "exchangeStatus": lambda _, now_ms: f'{{"specialStatuses":null,"time":{self._stamp(now_ms)}}}',
            "meta": lambda request, _: self.markets.meta[request.dex],
            "metaAndAssetCtxs": lambda request, _: self._meta_and_asset_ctxs(request.dex),
            "perpDexs": lambda _, __: self.markets.perp_dexs,
            "spotClearinghouseState": lambda request, _: self._spot_state(request.user),
            "spotMeta": lambda _, __: self.markets.spot_meta,
            "spotMetaAndAssetCtxs": lambda _, __: self._spot_meta_and_asset_ctxs(),
            "userRole": lambda request, _: (
                '{"role":"user"}' if request.user in self._accounts else EMPTY["userRole"]
            ),
        }

    def __repr__(self) -> str:
        return f"<World {len(self._accounts)} accounts, {len(self.dexes)} dexes, tick {self.ticks}>"

    @property
    def addresses(self) -> Sequence[str]:
        return tuple(self._accounts)

    @property
    def accounts(self) -> Mapping[str, Account]:
        return self._accounts

    @property
    def dexes(self) -> Sequence[str]:
        return tuple(self.markets.dexes)

    def marks(self, dex: str) -> Mapping[str, int]:
        """Mark prices in ticks by coin."""
        return self._walks[dex].marks

    def tick(self) -> None:
        common = self._random.gauss(0.0, 1.0)
        for walk in self._walks.values():
            walk.step(common)
        self._spot.step(common)
        self.ticks += 1
        self._memo.clear()

    def reset(self, seed: int | None = None) -> None:
        """Begin anew, with the seed there was or another one. `time` goes on."""
        if seed is not None:
            self.seed = seed
        self._accounts: Mapping[str, Account] = {
            account.address: account
            for account in (make_account(self.seed, i, self.markets) for i in range(self._count))
        }
        self._random = Random(f"devnode/{self.seed}/prices")
        self._walks = {
            name: Walk(dex.markets, Random(f"devnode/{self.seed}/prices/{name}"))
            for name, dex in self.markets.dexes.items()
        }
        self._spot = Walk(
            (p.market for p in self.markets.spot_pairs), Random(f"devnode/{self.seed}/prices/spot")
        )
        self.ticks = 0
        self._memo.clear()

    def set_mark(self, coin: str, px: str) -> None:
        """Move one mark to the legal price nearest to `px`. Raises `ValueError`, saying why."""
        walk = next((w for w in (*self._walks.values(), self._spot) if coin in w.marks), None)
        if walk is None:
            raise ValueError(f"no market {coin}")
        decimals = next(market.decimals for market in walk.markets if market.coin == coin)
        ticks = round(Decimal(px) * 10**decimals) if _PRICE.fullmatch(px) else 0
        if ticks <= 0:
            raise ValueError(f"no price for {coin}: {px}")
        walk.set_mark(coin, ticks)
        self._memo.clear()

    def snapshot(self) -> object:
        """All that `revert` needs; not `time`, which never goes back."""
        walks = {name: walk.snapshot() for name, walk in self._walks.items()}
        return self.seed, self._accounts, self.ticks, self._random.getstate(), walks, self._spot.snapshot()

    def revert(self, snapshot: Any) -> None:
        self.seed, self._accounts, self.ticks, state, walks, spot = snapshot
        self._random.setstate(state)
        for name, walk in self._walks.items():
            walk.revert(walks[name])
        self._spot.revert(spot)
        self._memo.clear()

    def state(self, user: str, dex: str, now_ms: int) -> str:
        account = self._accounts.get(user)
        core = account.cores.get(dex) if account is not None else None
        if core is None:
            return render_zero(self._stamp(now_ms))
        held = self._memo.get((user, dex))
        if held is None:
            held = render(core, self._walks[dex].marks, self._stamp(now_ms))
            self._memo[user, dex] = held
        return held

    def mids(self, dex: str) -> str | None:
        if dex not in self._walks:
            return None
        # Spot markets belong to the main dex only.
        walks = (self._walks[dex], self._spot) if dex == MAIN_DEX else (self._walks[dex],)
        return self._once("allMids", dex, lambda: mids_text(walks))

    def info(self, request: InfoRequest, now_ms: int) -> Answer:
        if request.kind in DEX_TYPES and request.dex not in self._walks:
            return FAILED
        if request.kind == "batchClearinghouseStates":
            return FAILED  # what the exchange itself was recorded to answer, 2025-08
        answer = self._answers.get(request.kind)
        if answer is not None:
            return ok(answer(request, now_ms))
        empty = EMPTY.get(request.kind)
        return MALFORMED if empty is None else ok(empty)

    def _meta_and_asset_ctxs(self, dex: str) -> str:
        walk = self._walks[dex]
        return self._once(
            "metaAndAssetCtxs", dex, lambda: f"[{self.markets.meta[dex]},{perp_contexts_text(walk)}]"
        )

    def _spot_meta_and_asset_ctxs(self) -> str:
        return self._once(
            "spotMetaAndAssetCtxs", "", lambda: f"[{self.markets.spot_meta},{spot_contexts_text(self._spot)}]"
        )

    def _spot_state(self, user: str) -> str:
        account = self._accounts.get(user)
        return spot_state_text(account.balances if account else (), self.markets.tokens)

    def _once(self, kind: str, dex: str, make: Callable[[], str]) -> str:
        """Render once per tick. A kind is no address, so the keys of the memo cannot meet."""
        text = self._memo.get((kind, dex))
        if text is None:
            text = self._memo[kind, dex] = make()
        return text

    def _stamp(self, now_ms: int) -> int:
        """`time` of a rendering: the clock, held where the clock was set back."""
        self._last_ms = max(self._last_ms, now_ms)
        return self._last_ms
