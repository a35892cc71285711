"""No 60 s at the upstream ever hold more than the budget, at whatever moment it counts each request."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from replica.upstream.weight import SLACK_S, WINDOW_S, Charge, Lane, WeightLedger

lanes = st.sampled_from(Lane)
shares = st.sampled_from([0.0, 0.3, 0.5, 1.0])
gaps = st.one_of(
    st.floats(0.0, 5.0),
    st.floats(50.0, 70.0),
    st.sampled_from([0.1, 30.0, 59.9, WINDOW_S, WINDOW_S + SLACK_S]),
)


@dataclass
class Request:
    """One request as the upstream saw it: it counted it somewhere between leaving and end."""

    lane: Lane
    charge: Charge
    charged: int
    least: int
    left: float
    ended: float = math.inf
    cost: int = 0

    def may_count_in(self, start: float, end: float) -> bool:
        return self.left <= end and self.ended >= start

    def weight(self) -> int:
        return self.charged if self.ended == math.inf else self.cost


class Weight(RuleBasedStateMachine):
    @initialize(per_minute=st.integers(4, 30), reserve=st.integers(0, 9))
    def begin(self, per_minute: int, reserve: int) -> None:
        self.per_minute = per_minute
        self.reserve = min(reserve, per_minute)
        self.ledger = WeightLedger(per_minute=per_minute, write_reserve=reserve)
        self.now = 0.0
        self.blocked_until = 0.0
        self.requests: list[Request] = []
        self.history: list[Callable[[WeightLedger, dict[int, Charge]], object]] = []

    def limit(self, lane: Lane) -> int:
        return self.per_minute if lane is Lane.WRITE else self.per_minute - self.reserve

    def under_way(self) -> list[Request]:
        return [request for request in self.requests if request.ended == math.inf]

    @rule(seconds=gaps)
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(lane=lanes, share=shares, refund=st.integers(0, 10))
    def arrive(self, lane: Lane, share: float, refund: int) -> None:
        room = self.ledger.room(lane, self.now)
        if room <= 0:
            return
        cost = max(1, int(room * share))
        number, now, least = len(self.requests), self.now, max(1, cost - refund)

        def take(ledger: WeightLedger, charges: dict[int, Charge]) -> Charge:
            charges[number] = ledger.take(cost, now, least=least)
            return charges[number]

        self.history.append(take)
        self.requests.append(Request(lane, take(self.ledger, {}), cost, least, now))
        # At this very moment all of these may count at the upstream.
        window = sum(r.weight() for r in self.requests if r.may_count_in(now - WINDOW_S, now))
        assert window <= self.limit(lane)
        assert lane is Lane.WRITE or now >= self.blocked_until

    @rule(which=st.integers(0, 10**6), how=st.sampled_from(["as charged", "less", "cancelled"]))
    def end(self, which: int, how: str) -> None:
        if not (under_way := self.under_way()):
            return
        request = under_way[which % len(under_way)]
        number, now = self.requests.index(request), self.now
        if how == "cancelled":
            before = self.ledger.room(Lane.WRITE, now)
            self.ledger.cancel(request.charge)
            assert self.ledger.room(Lane.WRITE, now) == before + request.charged
            request.ended, request.cost, request.left = -math.inf, 0, math.inf
            self.history.append(lambda ledger, charges: ledger.cancel(charges[number]))
            return
        cost = request.charged if how == "as charged" else request.least
        given = None if how == "as charged" else cost
        self.ledger.settle(request.charge, now, given)
        request.ended, request.cost = now, cost
        self.history.append(lambda ledger, charges: ledger.settle(charges[number], now, given))

    @rule(wait=st.sampled_from([1.0, 5.0]))
    def refused(self, wait: float) -> None:
        now = self.now
        self.ledger.refused(now, wait)
        self.blocked_until = max(self.blocked_until, now + wait)
        self.history.append(lambda ledger, charges: ledger.refused(now, wait))

    def twin(self) -> WeightLedger:
        """The same ledger, to look into the future with; all that is under way ends now, for the least."""
        ledger = WeightLedger(per_minute=self.per_minute, write_reserve=self.reserve)
        charges: dict[int, Charge] = {}
        for step in self.history:
            step(ledger, charges)
        for request in self.under_way():
            ledger.settle(charges[self.requests.index(request)], self.now, request.least)
        return ledger

    @rule(lane=lanes, cost=st.integers(1, 30))
    def ask_when(self, lane: Lane, cost: int) -> None:
        earliest = self.ledger.earliest(cost, lane, self.now)
        if cost > self.limit(lane):
            assert earliest == math.inf
            return
        assert self.now <= earliest <= max(self.now + WINDOW_S + SLACK_S, self.blocked_until)
        if self.ledger.room(lane, self.now) >= cost:
            assert earliest == self.now
        if self.now < (before := (self.now + earliest) / 2) < earliest:
            # Never room before it, whatever becomes of what is under way.
            assert self.twin().room(lane, before) < cost, f"{earliest} is too late"
        if not self.under_way():
            assert self.twin().room(lane, earliest) >= cost, f"{earliest} is too early"

    @rule(lane=lanes, seconds=gaps)
    def ask_how_much(self, lane: Lane, seconds: float) -> None:
        by = self.now + seconds
        room = self.ledger.room_by(lane, self.now, by)
        if not self.under_way():
            assert room == self.twin().room(lane, by)
        assert room <= max(self.twin().room(lane, by), 0)

    @invariant()
    def check(self) -> None:
        if not hasattr(self, "ledger"):
            return
        self.ledger.check()
        lately = self.now - WINDOW_S - 2 * SLACK_S
        if not any(r.lane is Lane.WRITE and r.may_count_in(lately, self.now) for r in self.requests):
            assert self.ledger.room(Lane.WRITE, self.now) >= self.reserve

    def teardown(self) -> None:
        for request in getattr(self, "requests", ()):
            for start in (request.left, request.ended, request.left - WINDOW_S, request.ended - WINDOW_S):
                if not math.isfinite(start):
                    continue
                counted = [r for r in self.requests if r.may_count_in(start, start + WINDOW_S)]
                assert sum(r.weight() for r in counted) <= self.per_minute


TestWeight = Weight.TestCase
