"""Single flight: who shares whose call."""

import asyncio

import pytest

from server.coalesce import Coalescer


class Calls:
    """Counts calls; each takes a virtual second and returns its number."""

    def __init__(self) -> None:
        self.count = 0

    async def __call__(self) -> int:
        self.count += 1
        number = self.count
        await asyncio.sleep(1)
        return number


@pytest.fixture
def calls() -> Calls:
    return Calls()


def coalescer() -> Coalescer[int]:
    return Coalescer(asyncio.get_running_loop().time)


NEVER_MIND = float("-inf")


async def test_those_who_come_meanwhile_share(calls: Calls) -> None:
    flights = coalescer()
    first = asyncio.create_task(flights.run("a", calls, started_after=NEVER_MIND))
    await asyncio.sleep(0.5)
    second = asyncio.create_task(flights.run("a", calls, started_after=NEVER_MIND))
    other = asyncio.create_task(flights.run("b", calls, started_after=NEVER_MIND))
    assert (await first, await second, await other) == ((1, False), (1, True), (2, False))
    assert len(flights) == 0
    assert await flights.run("a", calls, started_after=NEVER_MIND) == (3, False)


async def test_a_flight_from_before_is_not_joined_and_does_not_end_the_new_one(calls: Calls) -> None:
    flights = coalescer()
    old = asyncio.create_task(flights.run("a", calls, started_after=NEVER_MIND))
    await asyncio.sleep(0.5)
    now = asyncio.get_running_loop().time()
    new = asyncio.create_task(flights.run("a", calls, started_after=now))
    await asyncio.sleep(0.6)
    # The old one has landed; the new one is still the one to join.
    assert (await old)[0] == 1
    late = asyncio.create_task(flights.run("a", calls, started_after=NEVER_MIND))
    assert (await new, await late) == ((2, False), (2, True))
    assert calls.count == 2


async def test_a_flight_outlives_who_started_it(calls: Calls) -> None:
    flights = coalescer()
    first = asyncio.create_task(flights.run("a", calls, started_after=NEVER_MIND))
    await asyncio.sleep(0.1)
    second = asyncio.create_task(flights.run("a", calls, started_after=NEVER_MIND))
    await asyncio.sleep(0.1)
    first.cancel()
    assert await second == (1, True)


async def test_a_failure_goes_to_everyone_and_is_forgotten() -> None:
    flights = coalescer()

    async def fail() -> int:
        await asyncio.sleep(1)
        raise ValueError("no")

    both = [asyncio.create_task(flights.run("a", fail, started_after=NEVER_MIND)) for _ in range(2)]
    await asyncio.wait(both)
    assert [str(task.exception()) for task in both] == ["no", "no"]
    assert len(flights) == 0


async def test_a_failure_nobody_waits_for_is_quiet(caplog: pytest.LogCaptureFixture) -> None:
    flights = coalescer()

    async def fail() -> int:
        await asyncio.sleep(1)
        raise ValueError("no")

    waiter = asyncio.create_task(flights.run("a", fail, started_after=NEVER_MIND))
    await asyncio.sleep(0.1)
    waiter.cancel()
    await asyncio.sleep(2)
    assert len(flights) == 0
    assert caplog.records == []


async def test_close_ends_what_is_under_way(calls: Calls) -> None:
    flights = coalescer()
    waiter = asyncio.create_task(flights.run("a", calls, started_after=NEVER_MIND))
    await asyncio.sleep(0.1)
    await flights.close()
    assert len(flights) == 0
    with pytest.raises(asyncio.CancelledError):
        await waiter
    await flights.close()


async def test_close_ends_a_replaced_flight_too(calls: Calls) -> None:
    flights = coalescer()
    now = asyncio.get_running_loop().time
    first = asyncio.create_task(flights.run("a", calls, started_after=NEVER_MIND))
    await asyncio.sleep(0.1)
    second = asyncio.create_task(flights.run("a", calls, started_after=now()))
    await asyncio.sleep(0.1)
    await flights.close()
    for waiter in (first, second):
        with pytest.raises(asyncio.CancelledError):
            await waiter
