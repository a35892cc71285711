"""Which streams the replica holds by itself, so that reads are answered from them. A pure planner.

Of a tracked account: its user slot is taken by its state already, so these cost subscriptions alone. Of the
market: what many read and few follow.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from replica.catalogue import TYPES, Param
from replica.subscription import Subscription

MAIN_DEX = ""

ACCOUNT_STREAMS = (
    "openOrders",
    "spotState",
    "userFills",
    "userTwapSliceFills",
    "userNonFundingLedgerUpdates",
    "userHistoricalOrders",
    "userTwapHistory",
)
"""Not here: `userFundings`, whose rows lack the hash that `/info` has (spec/websocket.md 8), `twapStates`,
which no `/info` type is, and `webData3`, which is for front ends."""

MARKET_STREAMS = ("allMids", "allDexsAssetCtxs", "spotAssetCtxs", "outcomeMetaUpdates")


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepSettings:
    """Names of subscription types; empty: none. `most` subscriptions together, 0: no limit."""

    account: tuple[str, ...] = ACCOUNT_STREAMS
    market: tuple[str, ...] = MARKET_STREAMS
    most: int = 400


def streams_to_keep(
    accounts: Iterable[str], dexes: Sequence[str], settings: KeepSettings
) -> list[Subscription]:
    """The subscriptions, those of the first accounts first. `dexes` are all that there are.

    Where they are too many for `most`, the last accounts' builder dexes are left out, then the last accounts
    altogether: of its other streams an account has all or none.
    """
    wanted = [Subscription({"type": name}) for name in settings.market]
    room = settings.most - len(wanted) if settings.most else None
    if room is not None and room <= 0:
        return wanted[: settings.most]
    of_dexes = [name for name in settings.account if Param.DEX in TYPES[name].params.values()]
    kept = list(accounts) if settings.account else []
    if room is not None and settings.account:
        kept = kept[: room // len(settings.account)]
        room -= len(kept) * len(settings.account)
    for user in kept:
        wanted += [Subscription({"type": name, "user": user}) for name in settings.account]
    builders = [dex for dex in dexes if dex != MAIN_DEX]
    for user in kept:
        more = [{"type": name, "user": user, "dex": dex} for dex in builders for name in of_dexes]
        if room is not None:
            if len(more) > room:
                break
            room -= len(more)
        wanted += map(Subscription, more)
    return wanted
