"""The exchange as a source: one engine, and all answers and frames made of what it says.

Sans I/O. The clock comes in as a function; whoever wants to hear of changes sets `heard`, and `over` to learn
that the time of what was heard is over.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

import orjson

from server.devnode.engine import Engine, Makers, shapes
from server.devnode.engine.events import (
    AccountBorn,
    Children,
    Collateral,
    Event,
    Fill,
    Funding,
    LedgerUpdate,
    LeverageSet,
    MarginMoved,
    OrderStatus,
    TwapStatus,
)
from server.devnode.engine.units import number
from server.devnode.exchange import deserialises
from server.devnode.info import DEX_TYPES, FAILED, MALFORMED, Answer, InfoRequest, address
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
KEPT_EVENTS = 20_000  # of the engine's log, for nobody: what is read of the past is kept per account
_PLAIN = re.compile(r"[0-9]{1,12}(\.[0-9]{1,12})?")
ANSWERS: Answers = {**MARKET_ANSWERS, **ACCOUNT_ANSWERS}


class Taken(NamedTuple):
    """A snapshot. Opaque to everyone else."""

    seed: int
    addresses: tuple[str, ...]
    engine: Engine
    state: Any
    signed: object
    tape: Tape
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
        walk: bool = True,
        chain: str = "testnet",
        faucet_usd: float = 10_000,
        impersonation: bool = False,
        free_actions: int | None = None,
    ) -> None:
        super().__init__(Markets())
        self.heard: Callable[[Sequence[Event]], None] = lambda _: None
        self.over: Callable[[], None] = lambda: None
        self._count = accounts
        self._clock_ms, self._next_ms = now_ms, next_ms
        self._makers = Makers(step_ms=step_ms, walk=walk)
        self._faucet = round(faucet_usd * MICRO)
        self._wall_ms = wall_ms
        self._free_actions = free_actions
        self.chain, self.faucet_usd, self.impersonation = chain, faucet_usd, impersonation
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
        """The time of a block in which something changes: no reader was told of another truth at it.

        What comes in one millisecond with nobody reading in between is in one block, as on the exchange.
        """
        now = self.now()
        if now <= max(self._told_ms, self._over_ms):
            now = max(self._next_ms(), self.engine.now)
        if now > self.engine.now:
            self.over()
        return now

    # -- what changes it -------------------------------------------------------------------------------

    def tick(self) -> None:
        self.engine.advance(self.later())
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
        self, user: str, action: dict[str, Any], nonce: int | None = None, vault: str | None = None
    ) -> Mapping[str, Any]:
        """Let an account act without a signature. Raises `ValueError` where it may not, or means nothing."""
        if not self.impersonation:
            raise ValueError("this devnode was made without impersonation")
        if address(user) is None or (vault is not None and address(vault) is None):
            raise ValueError(f"no address: {user[:60]}, {vault}"[:100])
        if not shapes.deserialises(action):
            raise ValueError("that is no action of the exchange")
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
        """Move a mark and its makers to the legal price nearest to `px`: so far from the oracle it stays."""
        self.engine.set_mark(coin, self._price(coin, px), self.later())
        self._react()

    def set_oracle(self, coin: str, px: str) -> None:
        """Move a whole market: its oracle, mark and makers."""
        self.engine.set_oracle(coin, self._price(coin, px), self.later())
        self._react()

    def _price(self, coin: str, px: str) -> str:
        inst = self.coins.get(coin)
        if inst is None:
            raise ValueError(f"no market {coin}")
        ticks = round(Decimal(px) * 10**inst.px_decimals) if _PLAIN.fullmatch(px) else 0
        if ticks <= 0:
            raise ValueError(f"no price for {coin}: {px}")
        return number(legal(ticks, inst.px_decimals), inst.px_decimals)

    def _react(self) -> None:
        """What comes due by a price happens at once."""
        self.engine.advance(self.engine.now)
        self._changed(all_of_it=True)

    def fund(self, user: str, usd: str) -> None:
        """Credit USDC to an account's perps."""
        if address(user) is None:
            raise ValueError(f"no address: {user[:60]}")
        micro = int(Decimal(usd) * MICRO) if _PLAIN.fullmatch(usd) else 0
        if micro <= 0:
            raise ValueError(f"no amount: {usd[:40]}")
        self.engine.credit(user.lower(), micro, self.later())
        self._changed()

    def reset(self, seed: int | None = None) -> None:
        """Begin anew, with the seed there was or another one. `time` goes on."""
        if seed is not None:
            self.seed = seed
        self._begin(self._clock_ms())

    def _begin(self, began_ms: int) -> None:
        self.over()
        self._began_ms = began_ms
        self.engine = Engine(seed=self.seed, markets=self.markets, makers=self._makers, faucet=self._faucet)
        self.engine.advance(began_ms)
        self._addresses = seed_accounts(self.engine, self._count, self.seed, self.markets)
        self.engine.advance(began_ms)  # the first look at so many accounts takes its time: not while serving
        self.engine.journal.clear()
        self.signed = Signed(
            chain=self.chain,
            has_faucet=self._faucet > 0,
            wall_ms=self._wall_ms,
            free_actions=self._free_actions,
        )
        self.ticks = 0
        self.tape = Tape(self.engine.listing, began_ms)
        self.tape.absorb(self.engine.events, past=True)
        self.engine.ground.history.forget(self.engine.seq)
        self._old_trades = {coin: len(rows) for coin, rows in self.engine.ground.history.trades.items()}
        self._renew()

    # -- going back ------------------------------------------------------------------------------------

    def snapshot(self) -> Taken:
        return Taken(
            self.seed,
            self._addresses,
            self.engine,
            self.engine.snapshot(),
            self.signed.snapshot(),
            self.tape.clone(),
            self._old_trades,
            self.ticks,
            self.now(),
        )

    def revert(self, snapshot: Taken) -> None:
        self.over()
        self.seed, self._addresses, self.engine = snapshot.seed, snapshot.addresses, snapshot.engine
        self.engine.revert(snapshot.state)
        self.signed.revert(snapshot.signed)
        self.tape, self._old_trades = snapshot.tape.clone(), snapshot.old_trades
        self.ticks = snapshot.ticks
        self.engine.sleep(self._clock_ms() - snapshot.now)
        self._renew()

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
        for call in journal:
            self.engine.replay([call])
            self._absorb()
        self.ticks = ticks
        self._renew()

    # -- hearing of changes ----------------------------------------------------------------------------

    def _renew(self) -> None:
        """Everything is different: nothing that was rendered is good any more."""
        self._seen = self.engine.seq
        self._memo.clear()
        self._cores.clear()
        self._marks.clear()
        self._courses.clear()

    def _absorb(self) -> Sequence[Event]:
        """Sum up the events since the last time. Returns them."""
        fresh = self.engine.events_since(self._seen)
        self._seen += len(fresh)
        self.tape.absorb(fresh)
        if len(self.engine.events) > KEPT_EVENTS:
            self.engine.forget(self._seen)
        return fresh

    def _changed(self, *, all_of_it: bool = False) -> None:
        fresh = self._absorb()
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
    if isinstance(event, Fill):
        return (event.user,) if event.builder is None else (event.user, event.builder)
    if isinstance(event, Funding | AccountBorn | LeverageSet | MarginMoved | Children):
        return (event.user,)
    if isinstance(event, Collateral):
        return event.source, event.target
    if isinstance(event, OrderStatus):
        return (event.terms.user,)
    if isinstance(event, LedgerUpdate):
        return event.users
    return (event.state.user,) if isinstance(event, TwapStatus) else ()
