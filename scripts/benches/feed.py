"""The feed: states applied per CPU second, against a bare `websockets` loop that only decodes.

Measured: CPU time of the receiving process while the upstream floods it, (ours) through the feed, session
and store of a `Replica` built as the server builds it, and (other) through
`orjson.loads(await socket.recv(decode=False))`. Both on uvloop, in one process, in turns, fed by the same
sender. Not measured: serving clients meanwhile, more accounts than `ACCOUNTS`.

    python -m scripts.benches.feed UPSTREAM_PORT DEXES SECONDS ROUNDS     (the receiving process)
"""

import asyncio
import sys
import time
from collections.abc import Iterator
from random import Random

import orjson
import uvloop
from websockets.asyncio.client import connect

from scripts.benches import states
from scripts.benches.plan import Plan
from scripts.benches.processes import BenchError, child, module
from scripts.benches.table import Row

ACCOUNTS = 200
WARM_UP_S = 0.5
TARGETS = {"feed-usual": 0.5, "feed-large": 0.5}
FRAMES = {"feed-usual": (4, states.USUAL_BYTES), "feed-large": (1, states.LARGE_BYTES)}
"""Row -> dexes in a frame, bytes of a state from and to."""

FAR_AHEAD_S = 366 * 86_400.0


def run(plan: Plan) -> Iterator[Row]:
    for name in plan.chosen(TARGETS):
        dexes, (least, most) = FRAMES[name]
        row = Row(
            name=name,
            what=f"feed: states of {least / 1000:g}-{most / 1000:g} kB, {dexes} a frame, per CPU second",
            other_is="bare loop, orjson.loads",
            unit="/s",
            target=TARGETS[name],
        )
        sizes = ("--bytes-from", least, "--bytes-to", most)
        upstream = module("upstream", "--accounts", ACCOUNTS, "--dexes", dexes, "--flood", *sizes)
        with child("upstream", upstream, plan.folder, ready=r"^ready (\d+)") as source:
            receiver = module("feed", source.said[1], dexes, plan.seconds, plan.rounds)
            with child("feed", receiver, plan.folder) as process:
                for _ in range(plan.rounds):
                    seen = process.wait_for(r"^round (\S+) (\S+)", within_s=30 + 4 * plan.seconds)
                    ours, other = float(seen[1]), float(seen[2])
                    row.add(ours, other, ours / other)
        row.notes.append(f"per state: ours {1e6 / ours:.1f} us, bare loop {1e6 / other:.1f} us of CPU")
        yield row


# -- the receiving process -----------------------------------------------------------------------------


async def receive(port: int, dexes: int, seconds: float, rounds: int) -> None:
    from server.app import tune_process

    users = tuple(states.address(n) for n in range(ACCOUNTS))
    tune_process()
    for _ in range(rounds):
        ours = await _ours(port, users, seconds)
        other = await _bare(port, users, dexes, seconds)
        print(f"round {ours} {other}", flush=True)


async def _ours(port: int, users: tuple[str, ...], seconds: float) -> float:
    """States the store took in per CPU second."""
    from replica import Clock, Replica
    from server.app import replica_settings, without_upstream_limits
    from server.settings import Settings

    replica = Replica(
        replica_settings(without_upstream_limits(Settings()), f"http://127.0.0.1:{port}", users),
        # The flood's times run ahead of the clock, and the replica believes none from the future.
        clock=Clock(monotonic=asyncio.get_running_loop().time, wall=lambda: time.time() + FAR_AHEAD_S),
        random=Random(1),
    )
    await replica.start()
    try:
        await asyncio.sleep(WARM_UP_S)
        states_, version, cpu = replica.feed.counts.states, replica.store.version, time.process_time()
        await asyncio.sleep(seconds)
        cpu = time.process_time() - cpu
        applied = replica.store.version - version
        if applied < 0.999 * (replica.feed.counts.states - states_) or not applied:
            raise BenchError(f"{applied} states applied of {replica.feed.counts.states - states_} received")
        return applied / cpu
    finally:
        await replica.stop()


async def _bare(port: int, users: tuple[str, ...], dexes: int, seconds: float) -> float:
    """States a loop that only decodes could have taken in per CPU second."""
    frames = 0

    async def loop() -> None:
        nonlocal frames
        async with connect(
            f"ws://127.0.0.1:{port}/ws",
            compression=None,
            ping_interval=None,
            max_size=None,
            proxy=None,
            close_timeout=0.2,
        ) as socket:
            for user in users:
                subscription = {"type": "allDexsClearinghouseState", "user": user}
                await socket.send(
                    orjson.dumps({"method": "subscribe", "subscription": subscription}), text=True
                )
            while True:
                orjson.loads(await socket.recv(decode=False))
                frames += 1

    task = asyncio.create_task(loop())
    try:
        await asyncio.sleep(WARM_UP_S)
        before, cpu = frames, time.process_time()
        await asyncio.sleep(seconds)
        cpu = time.process_time() - cpu
        return (frames - before) * dexes / cpu
    finally:
        task.cancel()
        await asyncio.wait([task])


if __name__ == "__main__":
    port_, dexes_, seconds_, rounds_ = sys.argv[1:]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(receive(int(port_), int(dexes_), float(seconds_), int(rounds_)))
