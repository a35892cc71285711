"""The exchange as a source: one engine, and all answers and frames made of what it says.

Sans I/O. The clock comes in as a function; whoever wants to hear of changes sets `heard`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

import orjson

from server.devnode.engine import Engine, Makers
from server.devnode.engine.events import (
    AccountBorn,
    Event,
    Fill,
    Funding,
    LedgerUpdate,
    OrderStatus,
    TwapStatus,
)
from server.devnode.engine.funding import HOUR_MS
from server.devnode.engine.units import number
from server.devnode.exchange import deserialises, is_action, is_address, is_price
from server.devnode.info import DEX_TYPES, FAILED, MALFORMED, Answer, InfoRequest
from server.devnode.market.account_answers import ACCOUNT_ANSWERS
from server.devnode.market.asking import Unreadable
from server.devnode.market.market_answers import MARKET_ANSWERS, Answers
from server.devnode.market.seeding import seed_accounts
from server.devnode.market.signed import Signed
from server.devnode.market.tape import INTERVALS, Tape
from server.devnode.market.truth import Truth
from server.devnode.markets import Markets
from server.devnode.prices import legal
from server.devnode.subscriptions import Offer

MICRO = 1_000_000
ANSWERS: Answers = {**MARKET_ANSWERS, **ACCOUNT_ANSWERS}


class Taken(NamedTuple):
    """A snapshot. Opaque to everyone else."""

    seed: int
    addresses: tuple[str, ...]
    engine: Engine
    state: Any
    signed: object
    old_events: int
    old_trades: Mapping[str, int]
    ticks: int
    now: int


class Exchange(Truth):
    """A local exchange with some synthetic accounts in it, whose `faucet_usd` any new signer is born with.

    The mutable state is the engine, what was summed up of its events, the nonces, and the memo of what was
    rendered since it last changed.
    """

    seed: int

    def __init__(
        self,
        *,
        accounts: int,
        seed: int,
        now_ms: Callable[[], int],
        next_ms: Callable[[], int],
        wall_ms: Callable[[], int],
        step_ms: int = 1000,
        chain: str = "testnet",
        faucet_usd: float = 10_000,
    ) -> None:
        super().__init__(Markets())
        self.heard: Callable[[Sequence[Event]], None] = lambda _: None
        self._count = accounts
        self._clock_ms, self._next_ms = now_ms, next_ms
        self._makers = Makers(step_ms=step_ms)
        self._faucet = round(faucet_usd * MICRO)
        self._chain, self._wall_ms = chain, wall_ms
        self._began_ms = 0
        self.reset(seed)

    def __repr__(self) -> str:
        count = len(self.engine.addresses())
        return f"<Exchange {count} accounts, {len(self.dexes)} dexes, tick {self.ticks}>"

    @property
    def offer(self) -> Offer:
        """What can be subscribed to."""
        spot = frozenset(coin for coin, inst in self.coins.items() if inst.is_spot)
        return Offer(frozenset(self.dexes), frozenset(self.coins), spot, frozenset(INTERVALS))

    def now(self) -> int:
        """The time of a block that is made now."""
        return max(self._clock_ms(), self.engine.now)

    def later(self) -> int:
        """The time of a block of its own: no two truths have the same."""
        return max(self._next_ms(), self.engine.now)

    # -- what changes it -------------------------------------------------------------------------------

    def tick(self) -> None:
        self.engine.advance(self.now())
        self.ticks += 1
        self._changed(all_of_it=True)

    def exchange(self, request: Mapping[str, Any]) -> Answer:
        """Answer a `POST /exchange`."""
        if not deserialises(request):
            return MALFORMED
        answer = self.signed.act(self.engine, request, self.later())
        if answer is None:
            return MALFORMED
        self._acted()
        return Answer(200, orjson.dumps(answer))

    def impersonate(
        self, user: str, action: dict[str, Any], nonce: int | None, vault: str | None
    ) -> Mapping[str, Any]:
        """Let an account act without a signature. Raises `ValueError` for an action that is malformed."""
        if not is_action(action):
            raise ValueError("that is no action")
        now = self.later()
        answer = self.signed.execute(
            self.engine, action, user.lower(), vault, now if nonce is None else nonce, now
        )
        self._acted()
        return answer

    def _acted(self) -> None:
        # Some actions change an account without an event.
        for user in self.signed.actors:
            self._forget(user)
        self._changed()

    def set_mark(self, coin: str, px: str) -> None:
        """Move a whole market, its oracle, mark and makers, to the legal price nearest to `px`."""
        self.set_oracle(coin, px)

    def set_oracle(self, coin: str, px: str) -> None:
        """The same as `set_mark`: marks follow the oracle here. What comes due by it happens at once."""
        inst = self.coins.get(coin)
        if inst is None:
            raise ValueError(f"no market {coin}")
        ticks = round(Decimal(px) * 10**inst.px_decimals) if is_price(px) else 0
        if ticks <= 0:
            raise ValueError(f"no price for {coin}: {px}")
        text = number(legal(ticks, inst.px_decimals), inst.px_decimals)
        self.engine.set_oracle(coin, text, self.now())
        self.engine.advance(self.now())
        self._changed(all_of_it=True)

    def fund(self, user: str, usd: str) -> None:
        """Credit USDC to an account's perps."""
        if not is_address(user):
            raise ValueError(f"no address: {user[:60]}")
        micro = int(Decimal(usd) * MICRO) if is_price(usd) else 0
        if micro <= 0:
            raise ValueError(f"no amount: {usd[:40]}")
        self.engine.credit(user.lower(), micro, self.now())
        self._changed()

    def reset(self, seed: int | None = None) -> None:
        """Begin anew, with the seed there was or another one. `time` goes on."""
        if seed is not None:
            self.seed = seed
        self._begin(self._clock_ms())

    def _begin(self, began_ms: int) -> None:
        self._began_ms = began_ms
        self.engine = Engine(seed=self.seed, markets=self.markets, makers=self._makers, faucet=self._faucet)
        self.engine.advance(began_ms)
        self.engine.journal.clear()
        self._addresses = seed_accounts(self.engine, self._count, self.seed, self.markets)
        self.signed = Signed(chain=self._chain, has_faucet=self._faucet > 0, wall_ms=self._wall_ms)
        self.ticks = 0
        self._old_events = len(self.engine.events)
        self._old_trades = {coin: len(rows) for coin, rows in self.engine.ground.history.trades.items()}
        self._sum_up()

    # -- going back ------------------------------------------------------------------------------------

    def snapshot(self) -> Taken:
        return Taken(
            self.seed,
            self._addresses,
            self.engine,
            self.engine.snapshot(),
            self.signed.snapshot(),
            self._old_events,
            self._old_trades,
            self.ticks,
            self.now(),
        )

    def revert(self, snapshot: Taken) -> None:
        self.seed, self._addresses, self.engine = snapshot.seed, snapshot.addresses, snapshot.engine
        self.engine.revert(snapshot.state)
        self.signed.revert(snapshot.signed)
        self._old_events, self._old_trades = snapshot.old_events, snapshot.old_trades
        self.ticks = snapshot.ticks
        self._sleep(self._clock_ms() - snapshot.now)
        self._sum_up()

    def _sleep(self, ms: int) -> None:
        """What was to come in some time still comes in as much, though `time` has gone on."""
        state = self.engine.ground.state
        state.now += ms
        state.oracle_ms += ms
        state.hour = max(state.hour, state.now // HOUR_MS)
        for twap in state.twaps.values():
            twap.next_ms += ms

    def save(self) -> bytes:
        """The calls that led here. What is loaded makes them again."""
        return orjson.dumps(
            {
                "seed": self.seed,
                "accounts": self._count,
                "began": self._began_ms,
                "ticks": self.ticks,
                "journal": self.engine.journal,
            }
        )

    def load(self, saved: bytes) -> None:
        try:
            world = orjson.loads(saved)
            seed, count, began, ticks = (world[name] for name in ("seed", "accounts", "began", "ticks"))
            journal = [(str(name), tuple(arguments)) for name, arguments in world["journal"]]
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
            raise ValueError("that was not saved by a devnode") from None
        self.seed, self._count = seed, count
        self._begin(began)
        self.engine.replay(journal)
        self.ticks = ticks
        self._sum_up()

    # -- hearing of changes ----------------------------------------------------------------------------

    def _sum_up(self) -> None:
        """Make what is derived from the events anew."""
        events = self.engine.events
        self.tape = Tape(self.engine.listing, self._began_ms)
        self.tape.absorb(events[: self._old_events], past=True)
        self.tape.absorb(events[self._old_events :])
        self._seen = len(events)
        self._memo.clear()
        self._cores.clear()
        self._marks.clear()

    def _changed(self, *, all_of_it: bool = False) -> None:
        fresh = self.engine.ground.history.since(self._seen)
        self._seen += len(fresh)
        self.tape.absorb(fresh)
        for event in fresh:
            for user in users_of(event):
                self._forget(user)
        self._memo.pop("", None)
        if all_of_it:
            self._memo.clear()
            self._marks.clear()
        self.heard(fresh)

    def _forget(self, user: str) -> None:
        self._cores.pop(user, None)
        self._memo.pop(user, None)

    # -- what it says ----------------------------------------------------------------------------------

    def info(self, request: InfoRequest, now_ms: int) -> Answer:
        if request.kind in DEX_TYPES and request.dex not in self.markets.dexes:
            return FAILED
        answer = ANSWERS.get(request.kind)
        if answer is None:
            return MALFORMED
        try:
            return answer(self, request, now_ms)
        except Unreadable:
            return MALFORMED


def users_of(event: Event) -> tuple[str, ...]:
    """The accounts that an event tells of."""
    if isinstance(event, Fill | Funding | AccountBorn):
        return (event.user,)
    if isinstance(event, OrderStatus):
        return (event.terms.user,)
    if isinstance(event, LedgerUpdate):
        return event.users
    return (event.state.user,) if isinstance(event, TwapStatus) else ()
