"""Of each candle the last frame counts: over any outages a listener has every candle as it closed."""

import json
from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from replica.streams.candle import CandleMemory
from replica.streams.memory import Gap, Now, Out, Tally
from replica.subscription import Subscription

MINUTE_MS = 60_000
NOW = Now(0.0, 0)
STEPS = st.one_of(
    st.tuples(st.just("trade"), st.integers(0, 2)),
    st.tuples(st.sampled_from(["connect", "cut", "deliver", "again", "answer", "fail"])),
    st.tuples(st.just("outage"), st.integers(0, 5)),
)


class World:
    """Candles of one market in which every minute sees a trade, and what was told of them."""

    def __init__(self) -> None:
        self.memory = CandleMemory(Subscription({"type": "candle", "coin": "BTC", "interval": "1m"}), Tally())
        self.truth = {MINUTE_MS: 1}  # t -> trades
        self.wire: list[tuple[int, int]] = []
        self.connected = False
        self.told: list[tuple[int, int]] = []
        self.gaps: list[Gap] = []

    @property
    def forming(self) -> int:
        return max(self.truth)

    def trade(self, minutes: int) -> None:
        """One trade in each of the minutes that begin, or another in the one that runs."""
        for t in range(self.forming + MINUTE_MS, self.forming + minutes * MINUTE_MS + 1, MINUTE_MS):
            self.truth[t] = 0
            self._traded(t)
        if not minutes:
            self._traded(self.forming)

    def _traded(self, t: int) -> None:
        self.truth[t] += 1
        if self.connected:
            self.wire.append((t, self.truth[t]))

    def connect(self) -> None:
        if not self.connected:
            self.connected = True
            self.tell(self.memory.confirmed(NOW))
            self.wire.append((self.forming, self.truth[self.forming]))

    def cut(self) -> None:
        if self.connected:
            self.connected = False
            self.wire.clear()
            self.memory.lost()

    def outage(self, minutes: int) -> None:
        self.cut()
        self.trade(minutes)
        self.connect()

    def deliver(self, *, keep: bool = False) -> None:
        if self.wire:
            data = self.row(*self.wire[0])
            frame = b'{"channel":"candle","data":%s}' % data
            if not keep:
                del self.wire[0]
            self.tell(self.memory.receive(frame, data, NOW))

    def again(self) -> None:
        self.deliver(keep=True)

    def answer(self) -> None:
        backfill = self.memory.wants
        if backfill is not None:
            question = backfill.question()
            assert question is not None
            asked = json.loads(question.body)["req"]
            found = [t for t in self.truth if asked["startTime"] <= t <= asked["endTime"]]
            assert backfill.answer(200, b"[%s]" % b",".join(self.row(t, self.truth[t]) for t in found))
            self.tell(self.memory.healed(backfill, NOW))

    def fail(self) -> None:
        backfill = self.memory.wants
        if backfill is not None:
            backfill.fail("down")
            self.tell(self.memory.healed(backfill, NOW))

    def row(self, t: int, trades: int) -> bytes:
        return json.dumps({"t": t, "T": t + MINUTE_MS - 1, "s": "BTC", "i": "1m", "n": trades}).encode()

    def tell(self, outs: Sequence[Out]) -> None:
        for out in outs:
            if isinstance(out, Gap):
                self.gaps.append(out)
            else:
                candle = json.loads(out)["data"]
                self.told.append((candle["t"], candle["n"]))
        self.memory.check()

    def settle(self) -> None:
        self.cut()
        self.connect()
        self.trade(1)
        while self.wire or self.memory.wants is not None:
            self.deliver()
            self.answer()


@given(steps=st.lists(STEPS, max_size=40))
def test_every_candle_is_told_as_it_closed_or_a_gap_covers_it(steps: list[tuple[Any, ...]]) -> None:
    world = World()
    for name, *rest in steps:
        getattr(world, name)(*rest)
    world.settle()
    assert world.told == sorted(set(world.told)), "each version once, in order"
    last = dict(world.told)
    first = world.told[0][0]
    wrong = [t for t, trades in world.truth.items() if t >= first and last.get(t) != trades]
    assert [t for t in wrong if not any((gap.from_ms or 0) <= t <= gap.to_ms for gap in world.gaps)] == []
    if ("fail",) not in steps:
        assert not wrong and not world.gaps
