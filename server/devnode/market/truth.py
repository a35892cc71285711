"""What the answers and the frames are made of: the engine, what was summed up of its events, and a memo."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from server.devnode.clearinghouse import Core, render, render_zero
from server.devnode.engine import Engine
from server.devnode.engine.listing import Instrument
from server.devnode.market.course import Course
from server.devnode.market.signed import Signed
from server.devnode.market.tape import Tape
from server.devnode.markets import Markets


class Truth:
    """The readable half of an exchange. Who changes it says what of the memo is stale."""

    engine: Engine
    tape: Tape
    signed: Signed

    def __init__(self, markets: Markets) -> None:
        self.markets = markets
        self._told_ms = self._over_ms = 0
        self._addresses: tuple[str, ...] = ()
        self._old_trades: Mapping[str, int] = {}
        # Everything rendered since it last changed, by account; market data under "".
        self._memo: dict[str, dict[object, str]] = {}
        self._cores: dict[str, dict[str, Core]] = {}
        self._marks: dict[str, Mapping[str, int]] = {}
        self._courses: dict[str, Course] = {}

    @property
    def addresses(self) -> Sequence[str]:
        """The synthetic accounts; others come and go with their signers."""
        return self._addresses

    @property
    def dexes(self) -> Sequence[str]:
        return tuple(self.markets.dexes)

    @property
    def coins(self) -> Mapping[str, Instrument]:
        return self.engine.listing.by_coin

    def state(self, user: str, dex: str, now_ms: int) -> str:
        return self.once(user, dex, lambda: self._state(user, dex, now_ms))

    def _state(self, user: str, dex: str, now_ms: int) -> str:
        account = self.engine.ground.state.accounts.get(user)
        if account is None or dex not in account.pools:
            return render_zero(self.stamp(now_ms))
        cores = self._cores.setdefault(user, {})
        core = cores.get(dex)
        if core is None:
            core = cores[dex] = self.engine.core(user, dex)
        return render(core, self.marks(dex), self.stamp(now_ms))

    def marks(self, dex: str) -> Mapping[str, int]:
        """Mark prices in ticks by coin."""
        found = self._marks.get(dex)
        if found is None:
            found = self._marks[dex] = self.engine.marks(dex)
        return found

    def mids(self, dex: str) -> str | None:
        if dex not in self.markets.dexes:
            return None
        return self.once("", ("mids", dex), lambda: self._mids(dex))

    def _mids(self, dex: str) -> str:
        coins = sorted(coin for coin, inst in self.coins.items() if inst.dex == dex)
        return "{" + ",".join(f'"{coin}":"{self.engine.mid(coin)}"' for coin in coins) + "}"

    def book(
        self, coin: str, sig_figs: int | None = None, mantissa: int | None = None, depth: int = 20
    ) -> dict[str, Any]:
        """`l2Book` of a coin that there is."""
        row = self.engine.book(coin, sig_figs, mantissa, depth)
        assert row is not None, f"no market {coin}"
        row["time"] = self.stamp(row["time"])
        return row

    def course(self, user: str) -> Course:
        """An account's past, summed up as far as somebody has asked for it."""
        found = self._courses.get(user)
        if found is None:
            found = Course(self.engine.listing, user)
            if user in self.engine.ground.state.accounts:
                self._courses[user] = found
        return found

    def once(self, user: str, key: object, make: Callable[[], str]) -> str:
        """Render once per change. What depends on no account is kept under ""."""
        kept = self._memo.setdefault(user, {})
        text = kept.get(key)
        if text is None:
            text = kept[key] = make()
        return text

    def recent_trades(self, coin: str, limit: int) -> list[dict[str, Any]]:
        """Newest first; those by which the synthetic accounts came to their positions are not shown."""
        trades = self.engine.ground.history.trades.get(coin, [])[self._old_trades.get(coin, 0) :]
        return [self.engine.wire.trade(trade) for trade in reversed(trades[-limit:])]

    def told(self) -> None:
        """Listeners were told all that has happened: what happens next is of a later time."""
        self._over_ms = max(self._over_ms, self.engine.now)

    def stamp(self, now_ms: int) -> int:
        """`time` of what a reader is told: the clock, held where it was set back."""
        self._told_ms = max(self._told_ms, now_ms)
        return self._told_ms
