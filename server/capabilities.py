"""One row per `/info` type: where it is answered from, how long an answer is kept, what it insists on. Pure.

Source: spec/info.md, sections 1.1 (what is refused), 2 (the types) and 5 (how fast each changes); for what a
write touches spec/exchange.md 7. What a type costs is in `replica/upstream/weight.py`.

An answer is kept no longer than the fastest thing in it takes to change, or than the upstream itself lags. A
type that is not in the table is passed through.
"""

from collections.abc import Hashable, Iterator, Mapping
from enum import Enum
from types import MappingProxyType
from typing import NamedTuple

from replica import LISTINGS, OUTCOMES, ROWS_PER_WEIGHT, info_cost
from server.params import Kind, Odd, Param, Params, Wrong, is_plain, read
from server.queries import accounts, candles, history, market, order_status
from server.queries.batches import KINDS
from server.queries.streams import Learn, Query


class Served(Enum):
    """Where a type is answered from. All but the denied end up at the upstream where nothing else will do."""

    MEMORY = "memory"
    TTL = "ttl"
    PASS = "pass"
    DENIED = "denied"


class Exactness(Enum):
    """What memory answers, against the upstream's own answer."""

    EXACT = "exact"  # the same object
    JOINED = "joined"  # put together from parts, each as the upstream has it
    PARTIAL = "partial"  # for some requests alone; the others go up


class Writes(Enum):
    """What actions do to an account, as far as answers show it."""

    TRADE = "trade"  # orders, cancels, TWAPs
    LEVERAGE = "leverage"
    MONEY = "money"  # transfers, whichever way
    ACCOUNT = "account"  # roles, agents, builders, referrers, modes
    STAKING = "staking"


class Class(NamedTuple):
    """How fast something changes: how long an answer is kept, and why that long."""

    name: str
    ttl_s: float
    why: str


BURST = Class("burst", 0.25, "traders poll it: whoever asks at the same moment shares an answer, no more")
MARKET = Class("market", 0.5, "the REST book is 0.3 to 0.8 s old when it arrives")
SECOND = Class("second", 1.0, "changes with every block, but nobody trades on it to the block")
ACTS = Class("acts", 5.0, "changes by acts of the account, and what passes here invalidates it")
HOURLY = Class("hourly", 5.0, "settled on the hour")
ONCE = Class("once", 10.0, "changes once or twice in the life of an account, and costs 60")
SLOW = Class("slow", 30.0, "statistics of weeks")
LISTING = Class("listing", 60.0, "changes with listings, which invalidate it where we see them")
SETTLING = Class("outcomes", 5.0, "outcomes are listed and settled by the hour")
RULES = Class("rules", 5.0, "changes when a deployer, the validators or the exchange decide it")
NEVER = Class("never", 0.0, "not kept")


class Row(NamedTuple):
    """One type. `feed` and `exactness` of what memory answers; `query` reads it,
    `learn` is told good answers of the upstream.

    `kept` and `ttl_s`: how long an upstream answer is kept. `writes`: which actions of the accounts it names
    invalidate it. `note`: what else a reader of the table should know. Account states and their batches are
    answered from memory without a `query`: they have a way of their own.
    """

    type: str
    params: tuple[Param, ...]
    kept: Class
    ttl_s: float
    writes: tuple[Writes, ...] = ()
    served: Served = Served.TTL
    feed: str = ""
    exactness: Exactness | None = None
    query: Query | None = None
    note: str = ""
    learn: Learn | None = None

    @property
    def of_accounts(self) -> bool:
        """Whether it tells of accounts: then it is held to the writes of the client that asks."""
        return any(param.account for param in self.params)


# -- parameters ----------------------------------------------------------------------------------------

USER = Param("user", Kind.ADDRESS, account=True)
ANY_USER = Param("user", Kind.ADDRESS, required=False, account=True)
VAULT = Param("vaultAddress", Kind.ADDRESS, account=True)
DEX = Param("dex", Kind.DEX, required=False)
ONE_DEX = Param("dex", Kind.DEX)
COIN = Param("coin", Kind.COIN)
TOKEN = Param("token", Kind.NATURAL)
START = Param("startTime", Kind.NATURAL)
START_IF_ANY = Param("startTime", Kind.NATURAL, required=False)
END = Param("endTime", Kind.NATURAL, required=False)
AGGREGATE = Param("aggregateByTime", Kind.FLAG, required=False)
CANDLES = Param("req", Kind.OBJECT, inside=(COIN, Param("interval", Kind.INTERVAL), START, END))

TRADE, LEVERAGE, MONEY, ACCOUNT, STAKING = Writes


def _row(
    type_: str,
    *params: Param,
    kept: Class,
    writes: tuple[Writes, ...] = (),
    served: Served | None = None,
    feed: str = "",
    exactness: Exactness | None = None,
    query: Query | None = None,
    note: str = "",
    learn: Learn | None = None,
) -> Row:
    if served is None:
        served = Served.MEMORY if query is not None else Served.TTL if kept.ttl_s else Served.PASS
    return Row(type_, params, kept, kept.ttl_s, writes, served, feed, exactness, query, note, learn)


def _rows() -> Iterator[Row]:
    # Account states and their batches have a way of their own: server/accounts.py, server/batch.py.
    yield _row(
        "clearinghouseState",
        USER,
        DEX,
        kept=NEVER,
        writes=(TRADE, LEVERAGE, MONEY),
        served=Served.MEMORY,
        feed="allDexsClearinghouseState",
        exactness=Exactness.EXACT,
        note="account_ttl_s where no feed has it",
    )
    yield _row(
        "batchClearinghouseStates",
        DEX,
        kept=NEVER,
        served=Served.MEMORY,
        feed="allDexsClearinghouseState",
        exactness=Exactness.JOINED,
        note="users: a list of addresses; the shape is that of hosted vendors",
    )
    for type_, params, note in (
        ("batchSpotClearinghouseStates", (), "users: a list of addresses; rows of spotClearinghouseState"),
        ("batchOpenOrders", (DEX,), "users: a list of addresses; rows of openOrders"),
        ("batchPortfolioStates", (DEX,), "users: a list of addresses; rows as portfolioState"),
        ("portfolioState", (USER, DEX), "clearinghouseState, spotClearinghouseState and userAbstraction"),
    ):
        unsure = "; ALL_DEXES by analogy, no vendor documents it" if type_ == "batchOpenOrders" else ""
        yield _row(
            type_,
            *params,
            kept=NEVER,
            served=Served.MEMORY,
            exactness=Exactness.JOINED,
            note=f"{note}{unsure}; each part is read, kept and paid for as a read of its own",
        )

    # 2.1 Perp account state
    traded = (TRADE, LEVERAGE, MONEY)
    yield _row(
        "activeAssetData",
        USER,
        COIN,
        kept=BURST,
        writes=traded,
        query=accounts.active_asset_data,
        feed="activeAssetData",
        exactness=Exactness.EXACT,
        note="from memory while a client holds the stream",
    )
    yield _row("portfolio", USER, kept=ACTS, writes=(TRADE, MONEY))
    yield _row("userFunding", USER, START_IF_ANY, END, kept=SECOND, writes=(TRADE,))
    yield _row(
        "userNonFundingLedgerUpdates",
        USER,
        START_IF_ANY,
        END,
        kept=BURST,
        writes=(MONEY,),
        query=history.user_non_funding_ledger_updates,
        feed="userNonFundingLedgerUpdates",
        exactness=Exactness.PARTIAL,
        note="a window wholly inside what is held without a hole, or the last answer, carried on",
    )
    yield _row("userFees", USER, kept=ACTS, writes=(TRADE, ACCOUNT, STAKING))
    yield _row("userRateLimit", USER, kept=BURST, writes=(TRADE, ACCOUNT))
    yield _row("userRole", USER, kept=ONCE, writes=(ACCOUNT, MONEY))
    yield _row(
        "userAbstraction",
        USER,
        kept=ACTS,
        writes=(ACCOUNT,),
        query=accounts.user_abstraction,
        feed="webData3",
        exactness=Exactness.JOINED,
        note="from memory while a client holds webData3, which says nothing where the mode is default",
    )
    yield _row("userDexAbstraction", USER, kept=ACTS, writes=(ACCOUNT,))
    yield _row("extraAgents", USER, kept=ACTS, writes=(ACCOUNT,))
    yield _row("approvedBuilders", USER, kept=ACTS, writes=(ACCOUNT,))
    yield _row("maxBuilderFee", USER, Param("builder", Kind.ADDRESS), kept=ACTS, writes=(ACCOUNT,))
    yield _row("subAccounts", USER, kept=BURST, writes=(*traded, ACCOUNT))
    yield _row("subAccounts2", USER, kept=BURST, writes=(*traded, ACCOUNT))
    yield _row("userToMultiSigSigners", USER, kept=ACTS, writes=(ACCOUNT,))
    yield _row("leadingVaults", ANY_USER, kept=ACTS, writes=(ACCOUNT,))
    yield _row("userVaultEquities", USER, kept=SECOND, writes=(MONEY,))
    yield _row("webData2", USER, kept=BURST, writes=(*traded, ACCOUNT))
    yield _row("isVip", USER, kept=RULES)
    yield _row("legalCheck", USER, kept=NEVER, note="may be about the address that asks")
    yield _row(
        "preTransferCheck",
        USER,
        Param("source", Kind.ADDRESS, account=True),
        kept=SECOND,
        writes=(MONEY,),
    )
    yield _row("referral", USER, kept=ACTS, writes=(TRADE, ACCOUNT))
    yield _row("liquidatable", kept=MARKET)

    # 2.2 Orders, fills, TWAP
    orders = (TRADE,)
    yield _row(
        "openOrders",
        USER,
        DEX,
        kept=BURST,
        writes=orders,
        query=accounts.open_orders,
        feed="openOrders",
        exactness=Exactness.JOINED,
        note="fewer fields of the stream's orders; whether both list the same ones is not verified",
    )
    yield _row(
        "frontendOpenOrders",
        USER,
        DEX,
        kept=BURST,
        writes=orders,
        query=accounts.frontend_open_orders,
        feed="openOrders",
        exactness=Exactness.EXACT,
    )
    yield _row(
        "orderStatus",
        USER,
        Param("oid", Kind.OID),
        kept=BURST,
        writes=orders,
        query=order_status.order_status,
        feed="userHistoricalOrders",
        exactness=Exactness.PARTIAL,
        note="from memory of orders that are over",
    )
    yield _row(
        "historicalOrders",
        USER,
        kept=BURST,
        writes=orders,
        query=history.historical_orders,
        feed="userHistoricalOrders",
        exactness=Exactness.PARTIAL,
        note="the last answer, carried on",
    )
    yield _row(
        "userFills",
        USER,
        AGGREGATE,
        kept=BURST,
        writes=orders,
        query=history.user_fills,
        feed="userFills",
        exactness=Exactness.PARTIAL,
        note="the last answer, carried on; not aggregated, and not where a TWAP filled since",
    )
    yield _row(
        "userFillsByTime",
        USER,
        START,
        END,
        AGGREGATE,
        Param("reversed", Kind.FLAG, required=False),
        kept=BURST,
        writes=orders,
        query=history.user_fills_by_time,
        feed="userFills",
        exactness=Exactness.PARTIAL,
        note="a window wholly inside what is held without a hole, or the last answer, carried on",
    )
    yield _row(
        "userTwapSliceFills",
        USER,
        kept=BURST,
        writes=orders,
        query=history.user_twap_slice_fills,
        feed="userTwapSliceFills",
        exactness=Exactness.PARTIAL,
        note="the last answer, carried on",
    )
    yield _row(
        "userTwapSliceFillsByTime",
        USER,
        START,
        END,
        AGGREGATE,
        kept=BURST,
        writes=orders,
        query=history.user_twap_slice_fills_by_time,
        feed="userTwapSliceFills",
        exactness=Exactness.PARTIAL,
        note="a window inside what is held, of one row at the most: their order is not known",
    )
    yield _row(
        "twapHistory",
        USER,
        kept=BURST,
        writes=orders,
        query=history.twap_history,
        feed="userTwapHistory",
        exactness=Exactness.PARTIAL,
        note="the last answer, carried on",
    )

    # 2.3 Market data
    yield _row(
        "allMids",
        DEX,
        kept=MARKET,
        query=market.all_mids,
        feed="allMids",
        exactness=Exactness.EXACT,
        note="pushed every 5 s; market_live_s says how old it may be, max-age of a request the same",
    )
    yield _row("meta", DEX, kept=LISTING)
    yield _row(
        "metaAndAssetCtxs",
        DEX,
        kept=MARKET,
        query=market.meta_and_asset_ctxs,
        feed="allDexsAssetCtxs",
        exactness=Exactness.JOINED,
        note="pushed every 13.6 s and used while younger than contexts_live_s: older prices are asked for",
    )
    yield _row("allPerpMetas", kept=LISTING)
    yield _row("perpDexs", kept=LISTING)
    yield _row("perpsAtOpenInterestCap", DEX, kept=SECOND)
    yield _row("perpDexLimits", ONE_DEX, kept=RULES)
    yield _row("perpDexStatus", ONE_DEX, kept=SECOND)
    yield _row("perpAnnotation", COIN, kept=LISTING)
    yield _row("perpCategories", kept=LISTING)
    yield _row("perpConciseAnnotations", kept=LISTING)
    yield _row("perpDeployAuctionStatus", kept=SECOND)
    yield _row("spotMeta", kept=LISTING)
    yield _row(
        "spotMetaAndAssetCtxs",
        kept=MARKET,
        query=market.spot_meta_and_asset_ctxs,
        feed="spotAssetCtxs",
        exactness=Exactness.JOINED,
        note="by coin, in the order of an answer of the last minute; used while younger than contexts_live_s",
    )
    yield _row("spotDeployState", USER, kept=SECOND)
    yield _row("spotPairDeployAuctionStatus", kept=SECOND)
    yield _row("tokenDetails", Param("tokenId", Kind.TEXT), kept=SECOND)
    yield _row(
        "l2Book",
        COIN,
        Param("nSigFigs", Kind.NATURAL, required=False),
        Param("mantissa", Kind.NATURAL, required=False),
        kept=MARKET,
        note="not from the stream: pushed every 5.4 s, its book is as new as an answer 9% of the time",
    )
    yield _row(
        "recentTrades",
        COIN,
        kept=MARKET,
        query=history.recent_trades,
        feed="trades",
        exactness=Exactness.JOINED,
        note="the last answer, carried on, while a client holds the stream",
    )
    yield _row(
        "candleSnapshot",
        CANDLES,
        kept=MARKET,
        query=candles.candle_snapshot,
        feed="candle",
        exactness=Exactness.PARTIAL,
        note="any window: closed candles as answers had them, the one that forms from the stream while held,"
        " else from an answer of the last 0.5 s; the upstream again when a candle has closed",
        learn=candles.learn,
    )
    yield _row("fundingHistory", COIN, START, END, kept=HOURLY)
    yield _row("predictedFundings", kept=HOURLY)
    yield _row("marginTable", Param("id", Kind.NATURAL), DEX, kept=LISTING)
    yield _row("maxMarketOrderNtls", ANY_USER, kept=RULES)
    yield _row("exchangeStatus", kept=MARKET)

    # 2.4 Spot account, borrow/lend, staking, vaults, outcomes, misc
    yield _row(
        "spotClearinghouseState",
        USER,
        kept=BURST,
        writes=(TRADE, MONEY, ACCOUNT, STAKING),
        query=accounts.spot_clearinghouse_state,
        feed="spotState",
        exactness=Exactness.EXACT,
    )
    yield _row("borrowLendUserState", USER, kept=SECOND, writes=(MONEY,))
    yield _row("borrowLendReserveState", TOKEN, kept=SECOND)
    yield _row("allBorrowLendReserveStates", kept=SECOND)
    yield _row("userBorrowLendInterest", USER, START, END, kept=SECOND, writes=(MONEY,))
    yield _row("delegations", USER, kept=ACTS, writes=(STAKING,))
    yield _row("delegatorSummary", USER, kept=ACTS, writes=(STAKING,))
    yield _row("delegatorHistory", USER, kept=ACTS, writes=(STAKING,))
    yield _row("delegatorRewards", USER, kept=ACTS, writes=(STAKING,))
    yield _row("validatorSummaries", kept=SLOW)
    yield _row("validatorL1Votes", kept=RULES)
    yield _row("vaultDetails", VAULT, ANY_USER, kept=SECOND, writes=(MONEY, ACCOUNT))
    yield _row("vaultSummaries", kept=SLOW)
    yield _row("outcomeMeta", kept=SETTLING)
    yield _row("settledOutcome", Param("outcome", Kind.NATURAL), kept=SETTLING)
    yield _row("outcomeTemplates", kept=SETTLING)
    yield _row("gossipRootIps", kept=SLOW)
    yield _row("gossipPriorityAuctionStatus", kept=SECOND)
    yield _row("usdcRouting", kept=RULES)
    yield _row("alignedQuoteTokenInfo", kept=NEVER, note="removed by the exchange in 2026: it answers 422")
    yield _row("fileSnapshot", kept=NEVER, served=Served.DENIED, note="writes files on a node")


BEGIN_WITH_LISTS = frozenset({"metaAndAssetCtxs", "spotMetaAndAssetCtxs"})
"""Answers whose first part is a list: what is made of that must not outlive a listing."""

TABLE: Mapping[str, Row] = MappingProxyType({row.type: row for row in _rows()})


def table(ttl_s: Mapping[str, float]) -> Mapping[str, Row]:
    """The table with other TTLs for some types. Raises `ValueError` for a type whose answers are not kept."""
    rows = dict(TABLE)
    for type_, seconds in ttl_s.items():
        row = rows.get(type_)
        if row is None or (row.query is None and row.served in (Served.MEMORY, Served.DENIED)):
            raise ValueError(f"{type_[:64]} is no type whose answers are kept")
        served = row.served if row.query is not None else Served.TTL if seconds else Served.PASS
        rows[type_] = row._replace(ttl_s=seconds, served=served)
    return MappingProxyType(rows)


# -- one request ---------------------------------------------------------------------------------------


class Question(NamedTuple):
    """A request that is no plain nonsense. `row` None: only the upstream can say what it makes of it.

    `key` is equal for all that ask the same; `body` is what to ask the upstream with.
    """

    type: str
    key: Hashable
    body: bytes
    row: Row | None
    params: Params = MappingProxyType({})
    accounts: tuple[str, ...] = ()

    @property
    def ttl_s(self) -> float:
        return self.row.ttl_s if self.row is not None else 0.0

    def tags(self) -> Iterator[str]:
        """What makes an answer to it old before its time (`replica.Document`)."""
        if self.row is None:
            return
        if self.row.kept is LISTING or self.type in BEGIN_WITH_LISTS:
            yield LISTINGS
        elif self.row.kept is SETTLING:
            yield OUTCOMES
        for account in self.accounts:
            for what in self.row.writes:
                yield tag(what, account)


def tag(what: Writes, account: str) -> str:
    """The tag of all answers that such a write of this account (lower-case) changes."""
    return f"{what.value} {account}"


def question(
    rows: Mapping[str, Row], type_: str, request: Mapping[str, object], body: bytes
) -> Question | None:
    """What a decoded `request` of a string `type_` asks; `body` is how it came. None: the exchange's 422."""
    row = rows.get(type_)
    if row is not None and is_plain(body, request):
        try:
            key, params, accounts = read(row.params, request)
        except Wrong:
            return None
        except Odd:
            pass
        else:
            return Question(type_, (type_, key), body, row, params, accounts)
    return Question(type_, (type_, body), body, None)


# -- GET /capabilities ---------------------------------------------------------------------------------


def report(rows: Mapping[str, Row], denied: frozenset[str], refused: Mapping[str, int]) -> dict[str, object]:
    """The table as JSON has it. `refused`: types that the upstream did not know when it was asked (ms)."""
    return {
        "types": [_described(row, denied, refused.get(row.type)) for row in rows.values()],
        "other_types": Served.PASS.value,
        "denied_types": sorted(
            denied | {type_ for type_, row in rows.items() if row.served is Served.DENIED}
        ),
        "refused_by_upstream": dict(refused),
    }


def _described(row: Row, denied: frozenset[str], refused_ms: int | None) -> dict[str, object]:
    rule = ROWS_PER_WEIGHT.get(row.type)
    kind = KINDS.get(row.type)  # a batch costs what is missing of its parts
    return {
        "type": row.type,
        "served": Served.DENIED.value if row.type in denied else row.served.value,
        "ttl_s": row.ttl_s,
        "class": row.kept.name,
        "why": row.kept.why,
        "feed": row.feed or None,
        "exactness": row.exactness.value if row.exactness is not None else None,
        "weight": info_cost(row.type) if kind is None else None,
        "made_of": [part.type for part in kind.parts] if kind is not None else None,
        "rows_per_weight": rule[0] if rule is not None else None,
        "params": [_param(param) for param in row.params],
        "of_accounts": row.of_accounts,
        "invalidated_by": [what.value for what in row.writes],
        "refused_by_upstream_ms": refused_ms,
        "note": row.note or None,
    }


def _param(param: Param) -> dict[str, object]:
    told: dict[str, object] = {"name": param.name, "kind": param.kind.value, "required": param.required}
    if param.inside:
        told["params"] = [_param(inside) for inside in param.inside]
    return told
