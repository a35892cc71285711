"""What the shell of the feed does around the session, with a socket that does as the test says.

Whole connections, lost and found, are told in tests/stories.
"""

import asyncio
import json
from random import Random
from typing import Any, cast

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosedError

from replica.clock import Clock
from replica.events import AccountStates, FeedEvent, FollowingEnded
from replica.subscription import all_dexs_clearinghouse_state
from replica.upstream.backoff import Backoff
from replica.upstream.feed import Feed, FeedSettings, Shared
from replica.upstream.ledger import Ledger
from replica.upstream.usage import LedgerLimits

A, B, C = ("0x" + letter * 40 for letter in "abc")


def now() -> float:
    return asyncio.get_running_loop().time()


def push(user: str, time: int) -> bytes:
    states = [["", {"time": time}]]
    data = {"user": user, "clearinghouseStates": states}
    return json.dumps({"channel": "allDexsClearinghouseState", "data": data}).encode()


class Socket:
    """`arrive` makes a frame come in, `cut` ends it; while `stalled`, what is sent waits for ever."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.stalled = False
        self._arrived: asyncio.Queue[bytes | Exception] = asyncio.Queue()

    async def send(self, frame: bytes, text: bool) -> None:
        assert text
        if self.stalled:
            await asyncio.sleep(1e9)
        message = json.loads(frame)
        self.sent.append(f"{message['method']} {message.get('subscription', {}).get('user', '')[:3]}".strip())

    async def recv(self, decode: bool) -> bytes:
        assert decode is False
        frame = await self._arrived.get()
        if isinstance(frame, Exception):
            raise frame
        return frame

    def arrive(self, frame: bytes) -> None:
        self._arrived.put_nowait(frame)

    def cut(self) -> None:
        self._arrived.put_nowait(ConnectionClosedError(None, None))


class Rig:
    """A feed without a network, and what it applied."""

    def __init__(self, *users: str, **settings: Any) -> None:
        self.applied: list[FeedEvent] = []
        self.feed = Feed(
            "ws://nowhere/ws",
            Ledger(LedgerLimits()),
            lambda event, _: self.applied.append(event),
            settings=(chosen := FeedSettings(**settings)),
            shared=Shared.under(chosen),
            backoff=Backoff(first_s=0.5, longest_s=30.0, healthy_after_s=60.0, random=Random(0)),
            clock=Clock(now, now),
        )
        self.want(*users)
        self.socket = Socket()

    def want(self, *users: str) -> None:
        wanted = [all_dexs_clearinghouse_state(user) for user in users]
        gone = [one for one in self.feed.ledger.wanted() if one not in wanted]
        if gone:
            self.feed.drop(gone)
        self.feed.add(wanted)

    def connect(self) -> "asyncio.Task[str]":
        return asyncio.create_task(self.feed._pump(cast(ClientConnection, self.socket), now()))

    def ended(self) -> list[tuple[str, tuple[str, ...]]]:
        return [(event.reason, event.users) for event in self.applied if isinstance(event, FollowingEnded)]


async def test_what_arrives_is_applied_in_order_until_the_connection_is_cut() -> None:
    rig = Rig(A, B)
    pump = rig.connect()
    await asyncio.sleep(0.1)
    assert rig.feed.connected
    assert rig.socket.sent == ["subscribe 0xa", "subscribe 0xb"]
    for number in range(5):
        rig.socket.arrive(push(A, number))
        rig.socket.arrive(push(B, number))
        rig.socket.arrive(push(C, number))
    rig.socket.cut()
    assert "ConnectionClosedError" in await pump
    states = [event for event in rig.applied if isinstance(event, AccountStates)]
    assert [(event.user, event.states[0].time) for event in states] == [
        (user, number) for number in range(5) for user in (A, B)
    ]
    # The last thing said of a lost connection: nothing it brought is live any more.
    assert isinstance(rig.applied[-1], FollowingEnded)
    assert rig.applied[-1].users == (A, B)
    assert not rig.feed.connected


async def test_a_peer_that_stops_reading_does_not_hold_up_the_verdict() -> None:
    rig = Rig(A, pong_timeout_s=10.0)
    rig.socket.stalled = True
    pump = rig.connect()
    with pytest.raises(TimeoutError):
        await pump
    assert now() == 10.0
    assert not rig.feed.connected
    assert rig.ended()[-1][1] == (A,)


async def test_who_has_gone_silent_is_not_live_while_the_peer_stalls() -> None:
    rig = Rig(A, B, C)
    pump = rig.connect()
    await asyncio.sleep(0.1)
    rig.socket.arrive(push(A, 1))
    await asyncio.sleep(9.0)
    rig.socket.arrive(push(B, 1))
    rig.socket.arrive(push(C, 1))
    rig.socket.stalled = True
    await asyncio.sleep(7.0)  # A is silent, and its unsubscribe can't go out
    assert rig.ended() == [("silent", (A,))]
    pump.cancel()
    await asyncio.wait([pump])


async def test_who_is_not_wanted_any_more_is_given_up_at_once_connected_or_not() -> None:
    rig = Rig(A, B)
    rig.want(B, C)
    assert rig.ended() == [("given up", (A,))]
    pump = rig.connect()
    await asyncio.sleep(0.1)
    rig.socket.arrive(push(B, 1))
    await asyncio.sleep(0.1)
    # The connection is lost before the unsubscribe is sent: B is not among those it ends, it has ended.
    rig.socket.cut()
    rig.want(C)
    assert rig.ended()[-1] == ("given up", (B,))
    await pump
    assert rig.ended()[-1][1] == (C,)
    assert "unsubscribe 0xb" not in rig.socket.sent


async def test_wanted_while_connected_is_asked_for_at_once() -> None:
    rig = Rig(A)
    pump = rig.connect()
    await asyncio.sleep(0.1)
    rig.want(A, B)
    await asyncio.sleep(0.001)
    assert rig.socket.sent == ["subscribe 0xa", "subscribe 0xb"]
    pump.cancel()
    await asyncio.wait([pump])


@pytest.mark.parametrize("step", range(8))
async def test_cancelled_at_any_step_it_leaves_no_task_and_nothing_live(step: int) -> None:
    rig = Rig(A)
    pump = rig.connect()
    for _ in range(step):
        await asyncio.sleep(0)
    if step > 4:
        rig.socket.arrive(push(A, 1))
    pump.cancel()
    await asyncio.wait([pump])
    assert pump.cancelled()
    assert not rig.feed.connected
    assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []
    if rig.applied:
        assert isinstance(rig.applied[-1], FollowingEnded)


async def test_repr_says_how_it_stands() -> None:
    rig = Rig(A)
    assert repr(rig.feed) == "<Feed down (not connected yet), connection 0, <Ledger 1 wanted>>"
    pump = rig.connect()
    await asyncio.sleep(0.1)
    assert repr(rig.feed) == "<Feed up, connection 1, <Ledger 1 pending>>"
    pump.cancel()
    await asyncio.wait([pump])
