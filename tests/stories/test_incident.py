"""An incident is recorded, and happens again at a desk: the same bytes, the same troubles, the same end."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

from replica import Clock, Phase, Recorder, RecorderSettings, Rotation, Subscription
from replica.streams.memory import Gap
from server.devnode import Replay
from tests.upstream import Upstream
from tests.virtual import ALICE, BOB, wall
from tests.watch import Phases, States, Watch, watched


async def record(
    folder: Path,
    incident: Callable[[Upstream, Watch], Awaitable[None]],
    *follow: str,
    users_limit: int | None = None,
    **options: Any,
) -> tuple[Phases, list[str], States]:
    upstream = Upstream(wall, users_limit=users_limit)
    await upstream.start()
    clock = Clock(monotonic=asyncio.get_running_loop().time, wall=wall)
    recorder = Recorder(RecorderSettings(folder=folder, **options), clock=clock)
    recorder.open()
    try:
        async with watched(upstream.base_url, *follow, tap=recorder) as watch:
            await incident(upstream, watch)
    finally:
        await upstream.stop()
        recorder.close()
    assert recorder.lost == 0
    return watch.told()


@contextlib.asynccontextmanager
async def replaying(path: Path, **options: Any) -> AsyncIterator[tuple[Replay, list[str]]]:
    said: list[str] = []
    replay = Replay(path, say=said.append, **options)
    await replay.start()
    try:
        yield replay, said
    finally:
        await replay.stop()


async def replayed(
    folder: Path, seconds: float, *follow: str, **options: Any
) -> tuple[Phases, list[str], States]:
    async with (
        replaying(folder, **options) as (replay, _),
        watched(f"http://127.0.0.1:{replay.port}", *follow) as watch,
    ):
        await watch.until(seconds)
    return watch.told()


def phases(told: Phases) -> list[Phase]:
    return [phase for _, phase in told]


def assert_same_course(recorded: Phases, again: Phases, within_s: float) -> None:
    assert phases(again) == phases(recorded)
    for (then, phase), (now, _) in zip(recorded, again, strict=True):
        assert abs(now - then) <= within_s, f"{phase} at {now:.2f} s, recorded at {then:.2f} s"


async def quiet_minute(upstream: Upstream, watch: Watch) -> None:
    for second in range(60):
        upstream.set_state((ALICE, BOB)[second % 2], float(second + 1), ("", "xyz")[second % 3 == 0])
        await watch.until(second + 1)


async def test_a_replica_that_is_fed_the_recording_ends_with_the_same_bytes(tmp_path: Path) -> None:
    course, _, states = await record(tmp_path, quiet_minute, ALICE, BOB)
    again, _, same = await replayed(tmp_path, 61.0, ALICE, BOB)
    assert same == states
    assert {user for table in states.values() for user in table} == {ALICE, BOB}
    assert_same_course(course, again, within_s=0.02)


async def test_faster_it_ends_with_the_same_bytes_too(tmp_path: Path) -> None:
    _, _, states = await record(tmp_path, quiet_minute, ALICE, BOB)
    _, _, same = await replayed(tmp_path, 6.5, ALICE, BOB, speed=10.0)
    assert same == states


async def test_what_rotation_left_of_it_is_replayed_from_there_on(tmp_path: Path) -> None:
    rotation = Rotation(seconds=20.0, keep=2)
    _, _, states = await record(tmp_path, quiet_minute, ALICE, BOB, rotation=rotation)
    async with (
        replaying(tmp_path) as (replay, said),
        watched(f"http://127.0.0.1:{replay.port}", ALICE, BOB) as watch,
    ):
        assert replay.script.connected
        assert 20.0 <= replay.script.length_s <= 40.0
        await watch.until(replay.script.length_s + 1)
        # Read in the first file, which is gone.
        dexs = watch.program.replica.perp_dexs
        assert dexs is not None
        assert dexs.names == ("", "xyz", "flx", "vntl")
        assert len(said) == 1
    assert watch.states() == states
    assert [phase for _, phase in watch.phases] == [Phase.PENDING, Phase.READY]


class Ear:
    """What the mirror tells of a few subscriptions that are held from the start."""

    STREAMS = tuple(
        Subscription(one)
        for one in (
            {"type": "userFills", "user": ALICE},
            {"type": "userNonFundingLedgerUpdates", "user": ALICE},
            {"type": "userNonFundingLedgerUpdates", "user": BOB},
            {"type": "orderUpdates", "user": ALICE},
            {"type": "orderUpdates", "user": BOB},
            {"type": "openOrders", "user": BOB},
            {"type": "l2Book", "coin": "BTC"},
            {"type": "l2Book", "coin": "BTC", "nSigFigs": 3},
        )
    )

    def __init__(self, watch: Watch) -> None:
        self.told: dict[Subscription, list[bytes]] = {one: [] for one in self.STREAMS}
        self.gaps = 0
        mirror = watch.program.replica.mirror
        mirror.listener = self
        for one in self.STREAMS:
            assert mirror.hold(one) is None

    def confirmed(self, subscription: Subscription) -> None: ...

    def refused(self, subscription: Subscription, text: str) -> None:
        raise AssertionError(text)

    def frame(self, subscription: Subscription, frame: bytes) -> None:
        self.told[subscription].append(frame)

    def gap(self, subscription: Subscription, gap: Gap) -> None:
        self.gaps += 1


async def test_what_clients_held_happens_again_too(tmp_path: Path) -> None:
    ears: list[Ear] = []

    async def transfers(upstream: Upstream, watch: Watch) -> None:
        ears.append(Ear(watch))
        for second in range(60):
            if second == 30:
                upstream.drop_sockets()
            upstream.set_state((ALICE, BOB)[second % 2], float(second + 1))
            await watch.until(second + 1)

    await record(tmp_path, transfers, ALICE)
    async with replaying(tmp_path) as (replay, _), watched(f"http://127.0.0.1:{replay.port}", ALICE) as watch:
        ears.append(Ear(watch))
        await watch.until(62.0)
    recorded, again = ears
    for one in Ear.STREAMS:
        assert again.told[one] == recorded.told[one], one
    assert len(recorded.told[Ear.STREAMS[1]]) > 20 and all(recorded.told[one] for one in Ear.STREAMS[-3:])
    assert not recorded.gaps and not again.gaps


async def dropped_twice(upstream: Upstream, watch: Watch) -> None:
    await watch.until(20)
    upstream.abort()
    await watch.until(40)
    upstream.refuse_connections()
    upstream.abort()
    await watch.until(52)
    upstream.change_quietly(ALICE, 5.0)
    await upstream.accept_connections()
    await watch.until(70)


async def test_lost_connections_are_lost_again(tmp_path: Path) -> None:
    course, reasons, states = await record(tmp_path, dropped_twice, ALICE, BOB)
    assert phases(course) == [Phase.PENDING, Phase.READY] * 3
    again, why, same = await replayed(tmp_path, 71.0, ALICE, BOB)
    # Both come back by their own dice: two dials of up to 8 s in a row may differ by a quarter.
    assert_same_course(course[:5], again[:5], within_s=0.3)
    assert phases(again) == phases(course)
    assert [one.split(":")[0] for one in why] == [one.split(":")[0] for one in reasons]
    assert same == states


async def test_without_drops_they_are_not(tmp_path: Path) -> None:
    _, _, states = await record(tmp_path, dropped_twice, ALICE, BOB)
    again, _, same = await replayed(tmp_path, 71.0, ALICE, BOB, drops=False)
    assert same == states
    # What was not recorded while there was no connection is missing all the same.
    assert phases(again) == [Phase.PENDING, Phase.READY, Phase.PENDING, Phase.READY]


async def gone_silent(upstream: Upstream, watch: Watch) -> None:
    await watch.until(20)
    upstream.faults.go_silent()
    await watch.until(55)
    upstream.faults.speak_again()
    await watch.until(80)


async def test_silence_is_silent_again(tmp_path: Path) -> None:
    course, reasons, states = await record(tmp_path, gone_silent, ALICE, BOB)
    assert phases(course) == [Phase.PENDING, Phase.READY, Phase.PENDING, Phase.READY]
    again, why, same = await replayed(tmp_path, 80.0, ALICE, BOB)
    assert_same_course(course, again, within_s=0.5)
    assert why == reasons
    assert same == states


async def one_stream_silent(upstream: Upstream, watch: Watch) -> None:
    await watch.until(20)
    upstream.faults.go_silent(ALICE)
    await watch.until(50)
    upstream.faults.speak_again()
    await watch.until(70)


async def test_one_silent_stream_stays_silent_when_it_is_asked_for_again(tmp_path: Path) -> None:
    third = "0x" + "77" * 20
    course, reasons, states = await record(tmp_path, one_stream_silent, ALICE, BOB, third)
    assert phases(course) == [Phase.PENDING, Phase.READY, Phase.PENDING, Phase.READY]
    again, why, same = await replayed(tmp_path, 70.0, ALICE, BOB, third)
    assert_same_course(course, again, within_s=0.5)
    assert why == reasons
    assert same == states


async def flapping(upstream: Upstream, watch: Watch) -> None:
    await watch.until(10)
    upstream.faults.accept_and_drop(0)
    upstream.abort()
    await watch.until(30)
    upstream.faults.stay_up()
    await watch.until(60)


async def test_an_upstream_that_accepts_and_drops_does_so_again(tmp_path: Path) -> None:
    course, _, states = await record(tmp_path, flapping, ALICE)
    again, _, same = await replayed(tmp_path, 60.0, ALICE)
    assert phases(again) == phases(course) == [Phase.PENDING, Phase.READY] * 2
    assert abs(again[2][0] - course[2][0]) < 0.05
    assert same == states


async def test_a_refused_account_is_refused_again(tmp_path: Path) -> None:
    async def wait(upstream: Upstream, watch: Watch) -> None:
        await watch.until(30)

    course, _, states = await record(tmp_path, wait, ALICE, BOB, users_limit=1)
    async with (
        replaying(tmp_path) as (replay, _),
        watched(f"http://127.0.0.1:{replay.port}", ALICE, BOB) as watch,
    ):
        await watch.until(30)
        assert watch.program.replica.waiting_for_room == 1
        assert watch.program.replica.feed.counts.last_error == "Cannot track more than 1 total users."
        assert_same_course(course, watch.phases, within_s=0.02)
    assert watch.states() == states


async def test_failing_reads_fail_again_after_the_same_time(tmp_path: Path) -> None:
    carol = "0x" + "ca" * 20
    request = b'{"type":"clearinghouseState","user":"%s"}' % carol.encode()
    outcomes: list[tuple[str, float]] = []

    async def ask(watch: Watch) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            fetched = await watch.program.replica.fetch_account(carol, "", request)
            outcome = f"{fetched.answer.status} {fetched.answer.body!r}"
        except Exception as error:
            outcome = type(error).__name__
        outcomes.append((outcome, round(loop.time() - began, 1)))

    async def trouble(upstream: Upstream, watch: Watch) -> None:
        user = {"user": carol}
        await watch.until(5)
        upstream.faults.latency(2.0)
        await ask(watch)
        upstream.faults.latency(0)
        await watch.until(20)
        upstream.faults.answer(500, b"null", **user)
        await ask(watch)
        await watch.until(30)
        upstream.faults.heal()
        upstream.faults.hang(**user)
        await ask(watch)
        await watch.until(45)
        upstream.faults.heal()
        await ask(watch)

    await record(tmp_path, trouble, ALICE)
    recorded, outcomes = outcomes, []
    assert [took for _, took in recorded] == [2.0, 0.0, 10.0, 0.0]
    async with (
        replaying(tmp_path) as (replay, _),
        watched(f"http://127.0.0.1:{replay.port}", ALICE) as watch,
    ):
        for moment in (5.1, 20.1, 30.1, 45.1):
            await watch.until(moment)
            await ask(watch)
    same = [("UpstreamTimeout" if one == "UpstreamUnavailable" else one, took) for one, took in outcomes]
    assert same == recorded
