"""One batch from memory against a client that asks the upstream for every account by itself.

Measured: seconds until the last byte of 1000 states is there, for (ours) one batch request and (other) 1000
single reads of an upstream that answers each in 50 ms, 64 in flight. One aiohttp client, warm connections,
does both; neither side's answer is decoded. Not measured: the upstream's rate limit, which forbids the
second way for minutes.
"""

import asyncio
import time
from collections.abc import Iterator
from statistics import median

import aiohttp
import uvloop

from scripts.benches import states
from scripts.benches.ours import Served, served
from scripts.benches.plan import Plan
from scripts.benches.processes import BenchError
from scripts.benches.table import Row

ACCOUNTS = 1000
DELAY_MS = 50.0
IN_FLIGHT = 64
BATCHES = 30
"""Batches per round; their median is the round's figure."""
TARGETS = {"fan-out": 100.0}
HEADERS = {"Content-Type": "application/json"}


def run(plan: Plan) -> Iterator[Row]:
    with (
        served(plan.folder, ACCOUNTS, delay_ms=DELAY_MS) as ours,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        yield runner.run(_measure(plan, ours))


async def _measure(plan: Plan, ours: Served) -> Row:
    row = Row(
        name="fan-out",
        what=f"batch of {ACCOUNTS} users where the upstream answers in {DELAY_MS:g} ms, times faster",
        other_is=f"client, {IN_FLIGHT} at a time",
        unit="ms",
        target=TARGETS["fan-out"],
    )
    users = [states.address(n) for n in range(ACCOUNTS)]
    right = states.batch_answer(range(ACCOUNTS), states.USUAL_BYTES)
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=IN_FLIGHT), headers=HEADERS
    ) as session:
        for number in range(plan.rounds + 1):
            batches = [await _batch(session, ours.port, users) for _ in range(BATCHES)]
            one_by_one_ms, answers = await _one_by_one(session, ours.upstream_port, users)
            rows = b",".join(b'["%s",%s]' % (user.encode(), answers[user]) for user in users)
            gathered = b'{"successful_states":[%s],"failed_wallets":[]}' % rows
            if not states.timeless(batches[-1][1]) == states.timeless(gathered) == right:
                raise BenchError("the two ways gave different states")
            if number:  # the first round opened the connections
                batch_ms = median(ms for ms, _ in batches)
                row.add(batch_ms, one_by_one_ms, one_by_one_ms / batch_ms)
    row.notes.append(f"at best {ACCOUNTS / IN_FLIGHT * DELAY_MS:,.0f} ms for the client by arithmetic")
    return row


async def _batch(session: aiohttp.ClientSession, port: int, users: list[str]) -> tuple[float, bytes]:
    began = time.perf_counter()
    async with session.post(f"http://127.0.0.1:{port}/info", data=states.batch_request(users)) as response:
        body = await response.read()
    taken_ms = (time.perf_counter() - began) * 1000
    if response.headers.get("X-Replica-Source") != "memory":
        raise BenchError(f"not answered from memory: {response.status} {response.headers}")
    return taken_ms, body


async def _one_by_one(
    session: aiohttp.ClientSession, port: int, users: list[str]
) -> tuple[float, dict[str, bytes]]:
    url = f"http://127.0.0.1:{port}/info"
    answers: dict[str, bytes] = {}
    left = iter(users)

    async def work() -> None:
        for user in left:
            async with session.post(url, data=states.single_request(user)) as response:
                answers[user] = await response.read()

    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(IN_FLIGHT):
            group.create_task(work())
    return (time.perf_counter() - began) * 1000, answers
