"""Everything that changes: accounts, books, prices, counters, and the log of what happened."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random
from typing import NamedTuple

from server.devnode.engine.account import Account, Pool
from server.devnode.engine.armed import Armed
from server.devnode.engine.book import Book
from server.devnode.engine.events import ZERO_HASH, AccountBorn, Liquidation, OrderStatus, Terms, TwapState
from server.devnode.engine.history import History
from server.devnode.engine.listing import Instrument, Listing

FEES = "0x" + "fe" * 20  # where fees go
INSURANCE = "0x" + "1f" * 20  # pays what bankrupt accounts cannot, takes what liquidations leave
LIQUIDATOR = "0x" + "11" * 20  # takes over positions in a backstop liquidation
CLEARING = "0x" + "c1" * 20  # the other side of funding
HOUSE = "0x" + "aa" * 20  # the background makers
SYSTEM = frozenset({FEES, INSURANCE, LIQUIDATOR, CLEARING, HOUSE})


@dataclass(slots=True)
class Twap:
    state: TwapState
    slices: int  # all in all
    done: int = 0
    next_ms: int = 0
    waits: bool = False  # for its trigger's price
    stops_above: bool = False  # on which side of its stop price it ends


@dataclass(slots=True)
class Drift:
    """One oracle's walk: where it is pulled to, and how far off (log) it is.

    The mark stands to the oracle as `mark` to `oracle`: 1 to 1 until somebody sets it apart.
    """

    anchor: int
    drift: float = 0.0
    mark: int = 1
    oracle: int = 1


class Move(NamedTuple):
    """A change of marks: they are numbered from 1 on."""

    number: int
    time: int


START = Move(0, 0)  # the marks that a world begins with


@dataclass(slots=True)
class State:
    seed: int
    now: int = 0
    next_oid: int = 0
    next_twap: int = 0
    tx: int = 0  # signed actions so far
    hash: str = ZERO_HASH  # of the action under way
    accounts: dict[str, Account] = field(default_factory=dict)
    agents: dict[str, str] = field(default_factory=dict)  # live agents: address -> account
    used_agents: set[str] = field(default_factory=set)
    codes: dict[str, str] = field(default_factory=dict)  # of referrals: code -> account
    books: dict[int, Book] = field(default_factory=dict)
    oracles: dict[int, int] = field(default_factory=dict)
    marks: dict[int, int] = field(default_factory=dict)
    triggers: dict[int, Armed] = field(default_factory=dict)  # by asset
    twaps: dict[int, Twap] = field(default_factory=dict)
    drifts: dict[int, Drift] = field(default_factory=dict)
    moves: int = 0  # of marks so far
    moved: dict[int, Move] = field(default_factory=dict)  # the last one of each asset's mark
    visited: set[int] = field(default_factory=set)  # assets in which somebody has traded
    quoted: dict[int, int] = field(default_factory=dict)  # assets with a ladder -> the move it stands for
    ladders: dict[int, tuple[int, ...]] = field(default_factory=dict)  # the orders they are made of
    oracle_ms: int = 0  # last step of the walk
    hour: int = 0  # last hour that was funded
    assessed: int = 0  # the day of which fee tiers are
    travel: float = 0.0  # how far marks have moved: the sum of the greatest move of each block, as a share
    travelled: dict[int, int] = field(default_factory=dict)  # the marks at which that was summed up
    minted: dict[int, int] = field(default_factory=dict)  # per token: wei put in less wei taken out
    random: Random = field(default_factory=lambda: Random(0))


class Ground:
    """The state together with what never changes: every part of the engine works on one of these."""

    def __init__(self, listing: Listing, seed: int) -> None:
        self.listing = listing
        self.instruments: Mapping[int, Instrument] = listing.by_asset
        self.state = State(seed, random=Random(f"devnode/{seed}/engine"))
        self.history = History()
        for inst in listing.by_asset.values():
            self.state.oracles[inst.asset] = self.state.marks[inst.asset] = inst.market.start
        for address in (FEES, INSURANCE, LIQUIDATOR, CLEARING, HOUSE):
            self.state.accounts[address] = Account(address, exempt=True)
        for dex in listing.dexes:
            self.state.accounts[HOUSE].pool(dex)  # now, not when its ladder there first happens to be needed

    def __repr__(self) -> str:
        return f"<Ground {len(self.state.accounts)} accounts, {self.history!r}>"

    def account(self, address: str) -> Account:
        """The account of an address, born now if need be."""
        found = self.state.accounts.get(address)
        if found is None:
            found = self.state.accounts[address] = Account(address)
            self.history.add(AccountBorn(self.state.now, address, None))
        return found

    def book(self, asset: int) -> Book:
        found = self.state.books.get(asset)
        if found is None:
            found = self.state.books[asset] = Book()
        return found

    def pool(self, address: str, dex: str) -> Pool:
        return self.state.accounts[address].pool(dex)

    def oid(self) -> int:
        self.state.next_oid += 1
        return self.state.next_oid

    def tell(self, terms: Terms, left: int, status: str) -> None:
        """Log a change of an order's status. The house's own are nobody's news."""
        if terms.user != HOUSE:
            self.history.add(OrderStatus(self.state.now, terms, left, status))

    def begin(self) -> None:
        """A signed action begins: everything it causes carries its hash."""
        state = self.state
        state.tx += 1
        state.hash = "0x" + hashlib.sha256(f"{state.seed}/{state.tx}".encode()).hexdigest()

    def end(self) -> None:
        self.state.hash = ZERO_HASH

    def tid(self, buyer: int, seller: int) -> int:
        """A trade's id: 50 bits of a hash of the two orders, as on the wire."""
        text = f"{self.state.seed}/{buyer}/{seller}".encode()
        return int.from_bytes(hashlib.blake2b(text, digest_size=7).digest(), "big") >> 6


@dataclass(frozen=True, slots=True)
class Why:
    """What caused a fill beyond the two orders: a slice of a TWAP, a liquidation."""

    twap_id: int | None = None
    liquidation: Liquidation | None = None


PLAIN = Why()
