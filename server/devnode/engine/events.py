"""The ledger of events: small frozen values, in order, from which every answer about the past follows.

Amounts are integers: prices in ticks and sizes in lots of the market, perp USD in micro-USD, spot amounts
in the token's wei. The sequence number of an event is its place in `History.events`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

ZERO_HASH = "0x" + "0" * 64  # of what no signed action caused: TWAP slices, funding, liquidations


class Terms(NamedTuple):
    """What an order was placed as. Never changes; what is left of it is told beside it."""

    oid: int
    user: str
    asset: int
    coin: str
    is_buy: bool
    px: int
    lots: int
    reduce_only: bool
    tif: str | None  # None on trigger orders, as the wire has it
    cloid: str | None
    timestamp: int
    kind: str = "Limit"  # the wire's orderType
    trigger_px: int = 0
    triggers_above: bool = False
    is_market: bool = False
    is_position_tpsl: bool = False
    is_whole: bool = False  # of the position, whatever its size is when the trigger comes
    children: tuple[Terms, ...] = ()
    builder: tuple[str, int] | None = None  # address, tenths of a basis point
    twap_id: int | None = None

    @property
    def is_trigger(self) -> bool:
        return self.trigger_px > 0


class AccountBorn(NamedTuple):
    time: int
    user: str
    master: str | None  # of a sub-account


class OrderStatus(NamedTuple):
    """Every change of an order's status, its placing and its refusal included.

    A fill of a part of a resting order changes no status: the fill tells of it, and `orderStatus` goes on
    saying what was left when the order was opened (official SDK, issue 141; in a recorded history of 1,909
    orders no order is opened twice).
    """

    time: int
    terms: Terms
    left: int
    status: str


class Liquidation(NamedTuple):
    """The mark of a fill that was a liquidation."""

    user: str
    mark: int
    method: str  # market or backstop


class Fill(NamedTuple):
    """One side of a trade."""

    time: int
    user: str
    asset: int
    coin: str
    px: int
    lots: int
    is_buy: bool
    start: int  # perps: lots held before; spot: wei of the base token
    dir: str
    closed_pnl: int  # perps micro-USD, spot wei of the quote token
    hash: str
    oid: int
    crossed: bool
    fee: int  # micro-USD; spot: wei of the fee token. Includes the builder's
    tid: int
    cloid: str | None
    fee_token: int
    builder_fee: int
    twap_id: int | None
    liquidation: Liquidation | None
    builder: str | None = None  # who is paid the builder's fee; the rest of it goes to the exchange


class Trade(NamedTuple):
    time: int
    asset: int
    coin: str
    is_buy: bool  # of the aggressor
    px: int
    lots: int
    hash: str
    tid: int
    buyer: str
    seller: str


class Funding(NamedTuple):
    time: int
    user: str
    asset: int
    coin: str
    usdc: int  # micro-USD, positive was received
    lots: int
    rate: int  # 10^-10


class LedgerUpdate(NamedTuple):
    """A movement of money that is neither a fill nor funding, with the wire's own `delta`."""

    time: int
    hash: str
    users: tuple[str, ...]
    delta: dict[str, Any]
    worth: int = 0  # micro-USD of what came in from outside, where the delta does not tell


class TwapState(NamedTuple):
    twap_id: int
    user: str
    asset: int
    coin: str
    is_buy: bool
    lots: int
    executed_lots: int
    executed_ntl: int
    minutes: int
    reduce_only: bool
    randomize: bool
    timestamp: int
    trigger: tuple[int, bool] | None = None  # price, and whether it is reached from below
    stop_px: int | None = None


class TwapStatus(NamedTuple):
    time: int
    state: TwapState
    status: str  # waitingForTrigger, activated, stopped, finished, terminated, error
    description: str | None = None


class Children(NamedTuple):
    """The TP/SL that wait for an order's fill from now on, as the order's terms say from now on."""

    time: int
    user: str
    parent: int
    terms: tuple[Terms, ...]


class LeverageSet(NamedTuple):
    time: int
    user: str
    asset: int
    value: int
    is_cross: bool


class MarginMoved(NamedTuple):
    """Cash of an account that went into the pocket of an isolated position, other than by a fill."""

    time: int
    user: str
    asset: int
    usd: int  # micro-USD, negative came out


class Collateral(NamedTuple):
    """Cash that the exchange moved on a dex: what a liquidation left, what an account could not pay, or
    what it pays for more actions."""

    time: int
    dex: str
    source: str
    target: str
    usd: int  # micro-USD


class PriceMoves(NamedTuple):
    """The prices that changed in one step, as (asset, ticks)."""

    time: int
    oracles: tuple[tuple[int, int], ...]
    marks: tuple[tuple[int, int], ...]


Event = (
    AccountBorn
    | OrderStatus
    | Fill
    | Trade
    | Funding
    | LedgerUpdate
    | TwapStatus
    | Children
    | LeverageSet
    | MarginMoved
    | Collateral
    | PriceMoves
)
