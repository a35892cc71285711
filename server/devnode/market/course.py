"""What an account had, at any time: its money and positions, summed up from its own events.

Sans I/O, and apart from the engine's own books: that both come to the same is a property (see the tests).
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Any, NamedTuple

from server.devnode.clearinghouse import MICRO
from server.devnode.engine.events import Collateral, Fill, LedgerUpdate
from server.devnode.engine.history import History
from server.devnode.engine.listing import USDC, Instrument, Listing
from server.devnode.engine.units import CENT

_TIME = attrgetter("time")
_KINDS = ("fills", "built", "fundings", "collateral", "ledger")
SPOT = "spot"


class Moment(NamedTuple):
    """Of the perps and of the spot side, in micro-USD: value, what came in less what went out, volume."""

    perp: int
    spot: int
    into_perps: int
    into_spot: int
    perp_volume: int
    spot_volume: int


NOTHING = Moment(0, 0, 0, 0, 0, 0)


class Course:
    """The mutable state is the sums up to the events that were read, and `points`, for who draws them."""

    def __init__(self, listing: Listing, user: str) -> None:
        self.points: dict[int, Moment] = {}
        self._listing = listing
        self._user = user
        self._tokens = {token.name: token for token in listing.tokens}
        self._read = dict.fromkeys(_KINDS, 0)
        self._cash = 0  # of all dexes, pockets included
        self._lots: Counter[int] = Counter()
        self._wei: Counter[int] = Counter()
        self._into_perps = self._into_spot = self._perp_volume = self._spot_volume = 0

    def born(self, history: History) -> int | None:
        """When the first thing happened to it; None where nothing has."""
        found = [rows[0].time for kind in _KINDS if (rows := getattr(history, kind).get(self._user))]
        return min(found, default=None)

    def read(self, history: History, before: int | None = None) -> None:
        """Sum up the events before a time, or all. A time before the one of the last call changes nothing."""
        add: Mapping[str, Callable[[Any], None]] = {
            "fills": self._fill,
            "built": self._built,
            "collateral": self._collateral,
            "ledger": self._ledger,
        }
        for kind, done in self._read.items():
            rows = getattr(history, kind).get(self._user, ())
            end = len(rows) if before is None else bisect_left(rows, before, lo=done, key=_TIME)
            fresh = rows[done:end]
            if kind == "fundings":  # there are so many of these
                self._cash += sum(event.usdc for event in fresh)
            else:
                for event in fresh:
                    add[kind](event)
            self._read[kind] = end

    def moment(self, marks: Mapping[int, int]) -> Moment:
        """How it stands, at some marks."""
        return Moment(
            self._cash + sum(lots * marks[asset] for asset, lots in self._lots.items()),
            spot_value(self._listing, self._wei, marks),
            self._into_perps,
            self._into_spot,
            self._perp_volume,
            self._spot_volume,
        )

    def _fill(self, fill: Fill) -> None:
        inst = self._listing.by_asset[fill.asset]
        signed, cost = fill.lots if fill.is_buy else -fill.lots, fill.lots * fill.px
        if inst.is_spot:
            self._wei[inst.base] += signed * inst.lot_wei
            self._wei[USDC] -= signed * fill.px
            self._wei[fill.fee_token] -= fill.fee
            self._spot_volume += cost // CENT
        else:
            self._lots[fill.asset] += signed
            self._cash -= signed * fill.px + fill.fee
            self._perp_volume += cost

    def _built(self, fill: Fill) -> None:
        if self._listing.by_asset[fill.asset].is_spot:
            self._wei[fill.fee_token] += fill.builder_fee
        else:
            self._cash += fill.builder_fee

    def _collateral(self, event: Collateral) -> None:
        self._cash += event.usd * ((event.target == self._user) - (event.source == self._user))

    def _ledger(self, event: LedgerUpdate) -> None:
        delta, user = event.delta, self._user
        perps = into_perps(delta, user)
        self._cash += perps
        self._into_perps += perps
        kind = delta["type"]
        if kind == "accountClassTransfer":
            self._wei[USDC] -= perps * CENT
            self._into_spot -= perps
        elif kind == "spotGenesis":
            self._spot(delta, 1, event.worth)
        elif kind in ("spotTransfer", "send"):
            gained = delta["destination"] == user and delta.get("destinationDex", SPOT) == SPOT
            lost = delta["user"] == user and delta.get("sourceDex", SPOT) == SPOT
            self._spot(delta, gained - lost, micro(delta["usdcValue"]))

    def _spot(self, delta: Mapping[str, Any], times: int, worth: int) -> None:
        token = self._tokens[delta["token"]]
        self._wei[token.index] += times * round(float(delta["amount"]) * 10**token.wei_decimals)
        self._into_spot += times * worth


def spot_value(listing: Listing, wei: Mapping[int, int], marks: Mapping[int, int]) -> int:
    """Micro-USD of spot balances at the marks; what has no market is worth nothing."""
    pairs: dict[int, Instrument] = {}
    for inst in listing.by_asset.values():
        if inst.is_spot:
            pairs.setdefault(inst.base, inst)
    value = 0
    for token, amount in wei.items():
        if token == USDC:
            value += amount // CENT
        elif token in pairs:
            value += amount * marks[pairs[token].asset] // pairs[token].lot_wei // CENT
    return value


def into_perps(delta: Mapping[str, Any], user: str) -> int:
    """What a movement of money brought into the perps of one who had part in it, micro-USD."""
    kind = delta["type"]
    if kind == "deposit":
        return micro(delta["usdc"])
    if kind == "withdraw":
        return -micro(delta["usdc"]) - micro(delta["fee"])
    if kind == "accountClassTransfer":
        return micro(delta["usdc"]) * (1 if delta["toPerp"] else -1)
    if kind in ("internalTransfer", "subAccountTransfer"):
        return micro(delta["usdc"]) * (bool(delta["destination"] == user) - bool(delta["user"] == user))
    if kind == "send":
        gained = bool(delta["destination"] == user and delta["destinationDex"] != SPOT)
        lost = bool(delta["user"] == user and delta["sourceDex"] != SPOT)
        return micro(delta["usdcValue"]) * (gained - lost)
    return 0


def micro(text: str) -> int:
    """An amount as it is told, with the noise that doubles have in their last digits."""
    return round(float(text) * MICRO)
