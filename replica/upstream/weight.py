"""The rate budget of one upstream: what each request costs, and when it may go.

Costs are those the exchange publishes (official docs: rate limits and user limits, 2026-08): an address may
spend 1200 a minute over `/info` and `/exchange` together.
"""

import math
from collections import deque
from collections.abc import Mapping
from enum import IntEnum


class Lane(IntEnum):
    """Who goes first when the budget is short."""

    WRITE = 0
    READ = 1
    HEAL = 2  # what streams missed: clients wait for it, but nobody asked a question
    REFRESH = 3
    AUDIT = 4


INFO_COST: Mapping[str, int] = {
    "l2Book": 2,
    "allMids": 2,
    "clearinghouseState": 2,
    "orderStatus": 2,
    "spotClearinghouseState": 2,
    "exchangeStatus": 2,
    "userRole": 60,
}
DEFAULT_INFO_COST = 20
"""Every other documented type; clients assume it of undocumented ones too."""

ROWS_PER_WEIGHT: Mapping[str, tuple[int, int]] = {
    # type: (rows per extra unit of weight, most rows one answer can have)
    "recentTrades": (20, 500),
    "historicalOrders": (20, 2000),
    "userFills": (20, 2000),
    "userFillsByTime": (20, 2000),
    "fundingHistory": (20, 500),
    "userFunding": (20, 500),
    "userNonFundingLedgerUpdates": (20, 2000),
    "twapHistory": (20, 2000),
    "userTwapSliceFills": (20, 2000),
    "userTwapSliceFillsByTime": (20, 2000),
    "delegatorHistory": (20, 2000),
    "delegatorRewards": (20, 2000),
    "validatorStats": (20, 500),
    "candleSnapshot": (60, 5200),
}

ITEMS_PER_WRITE_WEIGHT = 40


def info_cost(type_: str) -> int:
    """The weight of an `/info` request before its rows are known."""
    return INFO_COST.get(type_, DEFAULT_INFO_COST)


def most_rows_cost(type_: str) -> int:
    """The most the rows of an answer can add. Charged when the request goes, settled when it is answered."""
    rule = ROWS_PER_WEIGHT.get(type_)
    return math.ceil(rule[1] / rule[0]) if rule is not None else 0


def rows_cost(type_: str, rows: int) -> int:
    """What `rows` rows add. Rounded up: the direction is not published."""
    rule = ROWS_PER_WEIGHT.get(type_)
    return math.ceil(rows / rule[0]) if rule is not None else 0


def exchange_cost(items: int) -> int:
    """The weight of an `/exchange` request whose action carries `items` orders, cancels or modifies."""
    return 1 + items // ITEMS_PER_WRITE_WEIGHT


class Charge:
    """One request's share of the budget: `cost` counts until the window has passed over `ended`.

    `least` is what it will cost at the least once its rows are known.
    """

    __slots__ = ("cost", "ended", "least")

    def __init__(self, cost: int, least: int) -> None:
        self.cost = cost
        self.least = least
        self.ended = math.inf

    def __repr__(self) -> str:
        return f"<Charge {self.cost}{'' if self.ended == math.inf else f' until {self.ended:.3f}'}>"


WINDOW_S = 60.0
SLACK_S = 0.5
"""Clocks drift and the upstream's window may be wider by a block: a charge is kept this much longer."""


class WeightLedger:
    """A sliding 60 s window that is never exceeded, with a share that only writes may use.

    A request is in the upstream's window from some moment between its leaving and its answer. So it is
    charged before it leaves, and leaves our window 60 s after it *ended*: whatever the way to the upstream
    does to the order and spacing of requests, no 60 s there can hold more than the budget.

    `per_minute` 0 means no limit. The mutable state is `_charges`, `_spent` and `_blocked_until`.
    """

    def __init__(self, *, per_minute: int, write_reserve: int) -> None:
        self._per_minute = per_minute
        self._reserve = min(write_reserve, per_minute)
        self._open: dict[int, Charge] = {}
        self._ended: deque[Charge] = deque()
        self._spent = 0
        self._blocked_until = 0.0
        self.refusals = 0

    def room(self, lane: Lane, now: float) -> int:
        """How much weight this lane may spend now."""
        if lane is not Lane.WRITE and now < self._blocked_until:
            return 0
        if not self._per_minute:
            return 1 << 30
        self._expire(now)
        return self._limit(lane) - self._spent

    def room_by(self, lane: Lane, now: float, by: float) -> int:
        """How much weight this lane may spend from `now` to `by` in all, were nobody else to spend."""
        if lane is not Lane.WRITE and by < self._blocked_until:
            return 0
        if not self._per_minute:
            return 1 << 30
        self._expire(now)
        freed = 0
        for charge in self._ended:
            if charge.ended + WINDOW_S + SLACK_S > by:
                break
            freed += charge.cost
        return self._limit(lane) - self._spent + freed

    def take(self, cost: int, now: float, *, least: int | None = None) -> Charge:
        """Charge a request about to leave. The caller asked for `room` first."""
        charge = Charge(cost, cost if least is None else least)
        self._expire(now)
        self._open[id(charge)] = charge
        self._spent += cost
        return charge

    def settle(self, charge: Charge, now: float, cost: int | None = None) -> None:
        """The request ended; `cost` when it turned out lower (or higher) than was charged. Call once."""
        if self._open.pop(id(charge), None) is None:
            return
        if cost is not None:
            self._spent += cost - charge.cost
            charge.cost = cost
        charge.ended = now
        self._ended.append(charge)

    def cancel(self, charge: Charge) -> None:
        """The request never left: it costs nothing."""
        if self._open.pop(id(charge), None) is not None:
            self._spent -= charge.cost

    def earliest(self, cost: int, lane: Lane, now: float) -> float:
        """When `cost` may go on this lane at the soonest, if nobody else spends; inf if it never fits.

        Exact while nothing is under way that may turn out cheaper than it was charged.
        """
        if self._per_minute and cost > self._limit(lane):
            return math.inf
        start = now if lane is Lane.WRITE else max(now, self._blocked_until)
        if not self._per_minute:
            return start
        self._expire(now)
        excess = self._spent + cost - self._limit(lane)
        excess -= sum(charge.cost - charge.least for charge in self._open.values())
        if excess <= 0:
            return start
        for charge in self._ended:
            excess -= charge.cost
            if excess <= 0:
                return max(start, charge.ended + WINDOW_S + SLACK_S)
        # Only requests still under way stand before it: none leaves the window sooner than this.
        return max(start, now + WINDOW_S + SLACK_S)

    def refused(self, now: float, wait_s: float) -> None:
        """The upstream said 429: somebody else spends on this address. Hold all but writes for a while.

        Writes still go: the refusal costs them nothing (nothing was submitted) and waiting costs money.
        """
        self.refusals += 1
        self._blocked_until = max(self._blocked_until, now + wait_s)

    def _limit(self, lane: Lane) -> int:
        return self._per_minute if lane is Lane.WRITE else self._per_minute - self._reserve

    def _expire(self, now: float) -> None:
        # Added as in `earliest`, to the last bit: at the moment it names there is room.
        while self._ended and self._ended[0].ended + WINDOW_S + SLACK_S <= now:
            self._spent -= self._ended.popleft().cost

    def check(self) -> None:
        """Tests call it after each step."""
        charges = [*self._open.values(), *self._ended]
        assert self._spent == sum(charge.cost for charge in charges), f"{self!r}: {charges}"
        ended = [charge.ended for charge in self._ended]
        assert ended == sorted(ended), f"{self!r}: out of order"

    def __repr__(self) -> str:
        limit = self._per_minute or "no limit"
        return f"<WeightLedger {self._spent}/{limit}, {len(self._open)} under way>"
