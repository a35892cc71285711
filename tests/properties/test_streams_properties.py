"""Whatever happens on the way, a listener of rows hears the truth: each row once, in order, or a gap.

The upstream of these tests follows the real rules: a connection begins with the snapshot (or replay) that its
type has, `/info` answers from the same truth. What goes wrong is what the steps say.
"""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from replica.streams.healing import RECENT_TRADES
from replica.streams.log import LogMemory
from replica.streams.memory import Gap, Now, Out, Tally
from replica.subscription import Subscription

USER = "0x" + "a1" * 20
T0 = 1_771_587_392_000
SNAPSHOT = 25
"""Rows of a snapshot of this upstream: less than may happen in an outage."""
REPLAY = 5

Row = tuple[int, int]
"""(number, time): what a row is to these tests."""


class Kind(NamedTuple):
    """One stream: how its rows look on it and in `/info`."""

    type: str
    opening: str
    streamed: Callable[[Row], Any]
    answered: Callable[[Row], Any]
    name: str = ""  # the key of its list, where `data` is an object


def _fill(row: Row) -> Any:
    return {"coin": "BTC", "time": row[1], "oid": row[0], "tid": row[0], "twapId": None}


def _order(row: Row) -> Any:
    order = {"coin": "BTC", "side": "B", "limitPx": "1.0", "sz": "1.0", "oid": row[0], "timestamp": row[1]}
    return {"order": order, "status": "open", "statusTimestamp": row[1]}


def _historical(row: Row) -> Any:
    plain = _order(row)
    return {**plain, "order": {**plain["order"], "children": [], "cloid": None, "reduceOnly": False}}


def _funding(row: Row) -> Any:
    return {"time": row[1], "coin": f"C{row[0]}", "usdc": "1.0"}


def _paid(row: Row) -> Any:
    flat = _funding(row)
    time = flat.pop("time")
    return {"time": time, "hash": "0x0", "delta": {"type": "funding", **flat}}


def _trade(row: Row) -> Any:
    return {"coin": "BTC", "time": row[1], "tid": row[0]}


KINDS = [
    Kind("userFills", "snapshot", _fill, _fill, "fills"),
    Kind("userFundings", "snapshot", _funding, _paid, "fundings"),
    Kind("orderUpdates", "nothing", _order, _historical),
    Kind("trades", "replay", _trade, _trade),
]


def number_of(kind: Kind, row: Any) -> int:
    if kind.type == "orderUpdates":
        row = row["order"]
    return int(row["coin"][1:]) if kind.type == "userFundings" else row.get("tid", row.get("oid"))


def text(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


class World:
    """The upstream's truth, a memory, and what its listener heard."""

    def __init__(self, kind: Kind, most_waiting: int = 5000) -> None:
        self.kind = kind
        self.tally = Tally()
        one = Subscription({"type": kind.type, "user": USER, "coin": "BTC"})
        self.memory = LogMemory(one, self.tally, most_waiting=most_waiting)
        self.truth: list[Row] = []
        self.began = 0  # how many rows of the truth were before anybody listened
        self.connected = False
        self.wire: list[tuple[list[Row], bool]] = []  # frames under way, in order
        self.heard: list[int] = []
        self.gaps: list[Gap] = []
        self.joins: list[tuple[list[int], int]] = []
        self.ms = T0

    # what the upstream does

    def happen(self, count: int) -> None:
        """A block with `count` rows."""
        self.ms += 10_000
        block = [(len(self.truth) + number, self.ms) for number in range(count)]
        self.truth += block
        if self.connected:
            self.wire.append((block, False))

    def connect(self) -> None:
        if self.connected:
            return
        self.connected = True
        self.ms += 10_000
        if not self.heard and not self.gaps and not self.began:
            self.began = len(self.truth) if self.kind.opening != "snapshot" else 0
        self.tell(self.memory.confirmed(self.now))
        if self.kind.opening == "snapshot":
            self.wire.append((self.truth[-SNAPSHOT:], True))
        elif self.kind.opening == "replay" and self.truth[self.began :]:
            self.wire.append((self.truth[self.began :][-REPLAY:], False))

    def outage(self, count: int) -> None:
        """Some of what happens meanwhile happens at one time, some not."""
        self.cut()
        for size in (count // 2, count - count // 2):
            if size:
                self.happen(size)
        self.connect()

    def cut(self) -> None:
        """What is under way does not arrive any more."""
        if self.connected:
            self.connected = False
            self.wire.clear()
            self.memory.lost()

    # what arrives

    def deliver(self, at: int = 0, *, keep: bool = False) -> None:
        if self.wire:
            at %= len(self.wire)
            rows, snapshot = self.wire[at]
            if not keep:
                del self.wire[at]
            streamed = [self.kind.streamed(row) for row in rows]
            head = {"isSnapshot": True} if snapshot else {}
            data = text({**head, "user": USER, self.kind.name: streamed} if self.kind.name else streamed)
            frame = b'{"channel":"%s","data":%s}' % (self.kind.type.encode(), data)
            self.tell(self.memory.receive(frame, data, self.now))

    def deliver_all(self) -> None:
        while self.wire:
            self.deliver()

    def lose(self, at: int) -> list[Row]:
        """On a healthy connection: only a wrong upstream does so."""
        return self.wire.pop(at % len(self.wire))[0] if self.wire else []

    def overdue(self) -> None:
        if self.memory.waits:
            self.tell(self.memory.overdue(self.now))

    def answer(self) -> None:
        """The next page, and what comes of it."""
        backfill = self.memory.wants
        if backfill is None:
            return
        question = backfill.question()
        if question is not None:
            asked = json.loads(question.body)
            rows = [row for row in self.truth if row[1] >= asked.get("startTime", 0)]
            if question.type == "recentTrades":
                rows = rows[-RECENT_TRADES:]
            if "startTime" not in asked:
                rows = rows[::-1]
            assert backfill.answer(200, text([self.kind.answered(row) for row in rows]))
        if backfill.question() is None:
            self.tell(self.memory.healed(backfill, self.now))

    def fail(self) -> None:
        backfill = self.memory.wants
        if backfill is not None:
            backfill.fail("down")
            self.tell(self.memory.healed(backfill, self.now))

    def join(self) -> None:
        frames = self.memory.snapshot()
        if frames:
            self.joins.append((self.numbers(frames[0]), len(self.heard)))

    # what is heard

    @property
    def now(self) -> Now:
        return Now((self.ms - T0) / 1000, self.ms)

    def numbers(self, frame: bytes) -> list[int]:
        data = json.loads(frame)["data"]
        return [number_of(self.kind, row) for row in (data[self.kind.name] if self.kind.name else data)]

    def tell(self, outs: Sequence[Out]) -> None:
        for out in outs:
            if isinstance(out, Gap):
                self.gaps.append(out)
            else:
                self.heard += self.numbers(out)
        self.memory.check()

    def settle(self) -> None:
        """Everything goes well from here on, and a new connection shows it."""
        self.cut()
        self.connect()
        self.happen(1)
        while self.wire or self.memory.wants is not None:
            self.deliver()
            self.answer()
        self.overdue()
        while self.memory.wants is not None:
            self.answer()
        self.happen(1)
        self.deliver()

    # what must hold

    def each_once(self) -> None:
        assert not [number for number, times in Counter(self.heard).items() if times > 1], self.heard

    def in_order(self) -> None:
        assert self.heard == sorted(self.heard)

    def missing(self) -> list[Row]:
        """Rows that were not heard although no gap covers them."""
        heard = set(self.heard)
        first = self.began
        if self.kind.opening == "snapshot" and self.heard:
            first = min(first + max(0, min(self.heard)), len(self.truth))  # before the first snapshot's rows
        return [
            row
            for row in self.truth[first:]
            if row[0] not in heard and not any((gap.from_ms or 0) <= row[1] <= gap.to_ms for gap in self.gaps)
        ]

    def joined_right(self) -> None:
        """What who joined was shown, and what was told after it, are everything and nothing twice."""
        for shown, at in self.joins:
            after = self.heard[at:]
            assert not set(shown) & set(after)
            if self.kind.opening == "snapshot":
                assert set(shown) | set(after) == set(self.heard)


HONEST = st.one_of(
    st.tuples(st.just("happen"), st.integers(1, 8)),
    st.tuples(st.just("outage"), st.integers(0, 2 * SNAPSHOT)),
    st.tuples(st.just("outage"), st.integers(0, SNAPSHOT)),
    st.tuples(st.sampled_from(["connect", "cut", "deliver", "again", "answer", "fail", "overdue", "join"])),
    st.tuples(st.sampled_from(["deliver_all", "deliver_all", "answer"])),
)


def honestly(world: World, steps: Sequence[tuple[Any, ...]]) -> None:
    """Steps as TCP allows them: frames arrive in order, until the connection is cut; some come twice."""
    for name, *rest in steps:
        if name == "again":
            world.deliver(keep=True)
        else:
            getattr(world, name)(*rest)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.type)
@given(steps=st.lists(HONEST, max_size=40))
def test_over_any_outages_rows_come_once_and_in_order_or_a_gap_is_said(
    kind: Kind, steps: list[tuple[Any, ...]]
) -> None:
    world = World(kind)
    honestly(world, steps)
    world.settle()
    world.each_once()
    world.in_order()
    world.joined_right()
    assert not world.missing(), repr(world.memory)


@pytest.mark.parametrize("kind", KINDS[:3], ids=lambda kind: kind.type)
@given(steps=st.lists(HONEST, max_size=40))
def test_where_no_question_fails_there_is_no_gap(kind: Kind, steps: list[tuple[Any, ...]]) -> None:
    """Of trades the upstream remembers too few for that."""
    world = World(kind)
    honestly(world, [step for step in steps if step[0] != "fail"])
    world.settle()
    assert world.gaps == []
    assert not world.missing()


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.type)
@given(steps=st.lists(HONEST, max_size=30), most=st.integers(1, 10))
def test_with_little_room_to_wait_the_same_holds(kind: Kind, steps: list[tuple[Any, ...]], most: int) -> None:
    world = World(kind, most_waiting=most)
    honestly(world, steps)
    world.settle()
    world.each_once()
    world.joined_right()
    assert not world.missing()


WRONG = st.one_of(HONEST, st.tuples(st.sampled_from(["lose", "deliver"]), st.integers(0, 5)))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.type)
@given(steps=st.lists(WRONG, max_size=40))
def test_an_upstream_that_loses_and_reorders_frames_makes_no_row_come_twice(
    kind: Kind, steps: list[tuple[Any, ...]]
) -> None:
    """What stays missing is of what was lost on a healthy connection, and nothing else."""
    world = World(kind)
    lost: set[Row] = set()
    for step in steps:
        if step[0] == "lose":
            lost |= set(world.lose(step[1]))
        else:
            if step[0] in ("cut", "outage"):
                # Frames that overtook others leave those behind them when the connection goes.
                lost |= {row for rows, _ in world.wire for row in rows}

            honestly(world, [step])
    lost |= {row for rows, _ in world.wire for row in rows}
    world.settle()
    world.each_once()
    assert set(world.missing()) <= lost


@given(steps=st.lists(WRONG, max_size=12))
def test_a_snapshot_that_reaches_back_heals_what_was_lost_on_a_healthy_connection(
    steps: list[tuple[Any, ...]],
) -> None:
    world = World(KINDS[0])
    for step in steps:
        if step[0] == "lose":
            world.lose(step[1])
        else:
            honestly(world, [step])
    assume(len(world.truth) < SNAPSHOT - 2)
    world.settle()
    world.each_once()
    assert not world.missing()
