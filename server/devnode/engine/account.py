"""What the engine stores of one account: cash and positions per dex, spot balances, orders, settings."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from server.devnode.engine.events import Terms

DEFAULT_LEVERAGE = 20  # where the market allows it


class Leverage(NamedTuple):
    value: int
    is_cross: bool


@dataclass(slots=True)
class Order:
    """A live order: on the book, waiting for its price, or waiting for its parent's fill."""

    terms: Terms
    left: int
    siblings: tuple[int, ...] = ()  # one fills, the others are cancelled
    children: tuple[int, ...] = ()  # placed when this one is filled
    parent: int = 0  # whose child it is
    place: str = "book"  # or "trigger" until its price comes, or "parent" until that one is filled


@dataclass(slots=True)
class Holding:
    """A perp position."""

    leverage: int
    raw: int | None  # cash in the pocket of an isolated one; None for cross
    lots: int = 0
    entry: int = 0  # signed micro-USD
    since_open: int = 0  # funding paid, micro-USD
    since_change: int = 0


@dataclass(slots=True)
class Resting:
    """The opening orders of one coin on the book, summed up, and the margin they hold."""

    buy_lots: int = 0
    buy_ntl: int = 0
    sell_lots: int = 0
    sell_ntl: int = 0
    hold: int = 0


@dataclass(slots=True)
class Safe:
    """Nothing can be liquidated until the marks have travelled so far, unless cash or volume change."""

    travel: float
    cash: int
    volume: int


@dataclass(slots=True)
class Pool:
    """An account on one dex. All cross positions of it share `cash`."""

    cash: int = 0
    holdings: dict[int, Holding] = field(default_factory=dict)  # by asset, none of them flat
    resting: dict[int, Resting] = field(default_factory=dict)
    reducing: dict[int, dict[int, Order]] = field(default_factory=dict)  # reduce-only on the book
    tpsl: dict[int, dict[int, Order]] = field(default_factory=dict)  # of the position, armed
    hold: int = 0  # sum of the `hold` of `resting`
    all_time: dict[int, int] = field(default_factory=dict)  # funding paid per asset, ever
    safe: Safe | None = None  # from liquidation, as long as this holds


@dataclass(slots=True)
class Balance:
    """A spot balance, in wei. `entry` is its cost in micro-USD, 0 for USDC."""

    total: int = 0
    hold: int = 0
    entry: int = 0


@dataclass(slots=True)
class Agent:
    address: str
    name: str  # "" for the unnamed one
    valid_until: int | None


class Referred(NamedTuple):
    """By whose code an account came, when, and how much it had traded by then (micro-USD)."""

    referrer: str
    code: str
    time: int
    volume: int


@dataclass(slots=True)
class Account:
    address: str
    exempt: bool = False  # of the house: no margin, no liquidation
    master: str | None = None
    name: str = ""  # of a sub-account
    pools: dict[str, Pool] = field(default_factory=dict)
    spot: dict[int, Balance] = field(default_factory=dict)
    orders: dict[int, Order] = field(default_factory=dict)
    cloids: dict[str, int] = field(default_factory=dict)
    leverages: dict[int, Leverage] = field(default_factory=dict)
    agents: dict[str, Agent] = field(default_factory=dict)  # by name
    builders: dict[str, int] = field(default_factory=dict)  # approved rate, tenths of a basis point
    subs: list[str] = field(default_factory=list)
    code: str | None = None  # for others to name as their referrer
    referred: Referred | None = None
    referrals: list[str] = field(default_factory=list)  # who came by the code
    cancel_at: int | None = None
    cancels_on: tuple[int, int] = (0, 0)  # day, scheduled cancels triggered that day
    volume: int = 0  # micro-USD
    daily: dict[int, int] = field(default_factory=dict)  # by UTC day, as it counts for fees
    tier: int = 0  # of the fee schedule
    reserved: int = 0  # actions paid for, beyond those that volume allows
    whole_until: int = 0  # after a partial liquidation, others are of whole positions until then

    def pool(self, dex: str) -> Pool:
        found = self.pools.get(dex)
        if found is None:
            found = self.pools[dex] = Pool()
        return found

    def balance(self, token: int) -> Balance:
        found = self.spot.get(token)
        if found is None:
            found = self.spot[token] = Balance()
        return found
