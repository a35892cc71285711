"""Batch latency whatever is held: ms at p50 of a batch of 1000 users with 1,000, 10,000 and 100,000 states.

Measured: one keep-alive connection, closed loop, on three servers at once, in turns. The users of a batch lie
anywhere among all that is held and are the same each time, as a dashboard polls. Every server gets the same
feed work, 200 pushes a second (1000 accounts each 5 s); the other states are pushed once and stay.
The notes have batches that ask for other users each time: that is the cost of memory the processor has not in
its caches, which no look-up can be free of. Not measured: the feed work of 100,000 accounts by itself.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from random import Random
from statistics import median

from scripts.benches import states
from scripts.benches.load import Client, http_request
from scripts.benches.ours import Served, served
from scripts.benches.plan import Plan
from scripts.benches.processes import BenchError, rss_bytes
from scripts.benches.table import Row

HELD = (1_000, 10_000, 100_000)
USERS = 1000
DRAWS = 32
TURN = 25
"""Batches of one server before it is the next one's turn."""
TARGETS = {"flat": 1.2}


class Side:
    """One server, its client and the batches it is asked for: `[0]` is the one of the row."""

    def __init__(self, held: int, server: Served) -> None:
        self.held = held
        self.server = server
        self.client = Client(server.port)
        random = Random(held)
        self.draws = [random.sample(range(held), USERS) for _ in range(DRAWS)]
        self.requests = [http_request(b"POST", "/info", _batch(accounts)) for accounts in self.draws]
        self.same_ms: list[float] = []
        self.others_ms: list[float] = []

    def check(self) -> None:
        body = bytes(self.client.ask(self.requests[0])[1])
        if states.timeless(body) != states.batch_answer(self.draws[0], states.USUAL_BYTES):
            raise BenchError(f"the answer is wrong with {self.held:,} states held")

    def note(self) -> str:
        return (
            f"{self.held:,} held: p50 {median(self.same_ms):.2f} ms, "
            f"other users each time {median(self.others_ms):.2f} ms; "
            f"the server takes {rss_bytes(self.server.server.pid) / 1e6:,.0f} MB"
        )


def run(plan: Plan) -> Iterator[Row]:
    row = Row(
        name="flat",
        what=f"batch of {USERS} users with {HELD[-1]:,} states held, p50",
        other_is=f"with {HELD[0]:,}",
        unit="ms",
        target=TARGETS["flat"],
        bound="<=",
    )
    with ExitStack() as stack:
        sides = [Side(held, stack.enter_context(served(plan.folder, held, pushed=USERS))) for held in HELD]
        for side in sides:
            stack.callback(side.client.close)
            side.check()
        turns = max(2, plan.requests // 4 // TURN)
        _round(sides, 2, DRAWS)
        for _ in range(plan.rounds):
            p50_ms = _round(sides, turns, 1)
            for side, ms in zip(sides, p50_ms, strict=True):
                side.same_ms.append(ms)
            row.add(p50_ms[-1], p50_ms[0], max(p50_ms) / min(p50_ms))
            for side, ms in zip(sides, _round(sides, turns, DRAWS), strict=True):
                side.others_ms.append(ms)
        row.notes += [side.note() for side in sides]
    row.notes.append("ratio: the slowest of the three to the fastest, the same users each time")
    yield row


def _round(sides: list[Side], turns: int, draws: int) -> list[float]:
    """Milliseconds at p50 of each side, asked for the first `draws` of its batches over and over."""
    taken_us: list[list[float]] = [[] for _ in sides]
    for turn in range(turns):
        for side, times in zip(sides, taken_us, strict=True):
            if draws == 1:
                side.client.ask(side.requests[0])  # back into the caches: the others' turns drove it out
            for number in range(TURN):
                request = side.requests[(turn * TURN + number) % draws]
                times += side.client.latencies_us(request, 1)
    return [median(times) / 1000 for times in taken_us]


def _batch(accounts: list[int]) -> bytes:
    return states.batch_request([states.address(n) for n in accounts])
