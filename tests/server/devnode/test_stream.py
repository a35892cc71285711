"""`/ws`, as conversations on the virtual loop: acknowledgements, cadence, error strings, limits, ends."""

import asyncio
import itertools
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import websockets

from server.devnode import Devnode, Limits
from server.devnode.stats import Stats
from server.devnode.stream import OUTBOX_CHARS, Stream
from tests.server.devnode.client import Client, http

Start = Callable[..., Awaitable[Devnode]]
Connect = Callable[[Devnode], Awaitable[Client]]
UNKNOWN = "0x" + "5c" * 20
PUSH_S = 5.0


def now() -> float:
    return asyncio.get_running_loop().time()


def acknowledged(method: str, **subscription: object) -> dict[str, Any]:
    return {"channel": "subscriptionResponse", "data": {"method": method, "subscription": subscription}}


async def test_a_state_follows_its_acknowledgement_and_then_comes_every_period(
    devnode: Start, connect: Connect
) -> None:
    node = await devnode()
    client, user = await connect(node), node.addresses[1]
    ack = await client.subscribe(type="clearinghouseState", user="0x" + user[2:].upper())
    assert ack == acknowledged("subscribe", type="clearinghouseState", user=user, dex="")
    first, began = await client.receive(), now()
    assert first["channel"] == "clearinghouseState"
    assert (first["data"]["dex"], first["data"]["user"]) == ("", user)
    pushed = [first]
    at = []
    for _ in range(4):
        pushed.append(await client.receive())
        at.append(now())
    assert 0 < at[0] - began <= PUSH_S
    assert [later - earlier for earlier, later in itertools.pairwise(at)] == pytest.approx([PUSH_S] * 3)
    states = [one["data"]["clearinghouseState"] for one in pushed]
    assert [state["time"] for state in states] == sorted(state["time"] for state in states)
    # The first push may fall into the tick of the join; every later one sees five more.
    assert len({state["marginSummary"]["accountValue"] for state in states[1:]}) == 4


async def test_info_and_stream_say_the_same_bytes_within_a_tick(devnode: Start, connect: Connect) -> None:
    node = await devnode(tick_s=3600.0)
    client, user = await connect(node), node.addresses[0]
    await client.subscribe(type="clearinghouseState", user=user)
    frame = await client.connection.recv(decode=False)
    asked = await http(node.port, {"type": "clearinghouseState", "user": user})
    assert frame.endswith(b'"clearinghouseState":' + asked.body + b"}}")


async def test_all_dexs_come_in_one_frame_main_first(devnode: Start, connect: Connect) -> None:
    node = await devnode(tick_s=3600.0)
    client, user = await connect(node), node.addresses[1]
    ack = await client.subscribe(type="allDexsClearinghouseState", user=user)
    assert ack == acknowledged("subscribe", type="allDexsClearinghouseState", user=user)
    data = (await client.receive())["data"]
    assert data["user"] == user
    assert [dex for dex, _ in data["clearinghouseStates"]] == list(node.source.dexes)
    for dex, state in data["clearinghouseStates"]:
        asked = (await http(node.port, {"type": "clearinghouseState", "user": user, "dex": dex})).json
        assert state == asked | {"time": state["time"]}


async def test_unknown_accounts_are_fed_zeros(devnode: Start, connect: Connect) -> None:
    client = await connect(await devnode())
    await client.subscribe(type="clearinghouseState", user=UNKNOWN, dex="xyz")
    data = (await client.receive())["data"]
    assert (data["dex"], data["clearinghouseState"]["assetPositions"]) == ("xyz", [])


async def test_all_mids_name_the_dex_only_for_builder_dexes(devnode: Start, connect: Connect) -> None:
    node = await devnode()
    client = await connect(node)
    assert await client.subscribe(type="allMids") == acknowledged("subscribe", type="allMids")
    assert list((await client.receive())["data"]) == ["mids"]
    assert await client.subscribe(type="allMids", dex="xyz") == acknowledged(
        "subscribe", type="allMids", dex="xyz"
    )
    data = (await client.receive())["data"]
    assert data["dex"] == "xyz" and all(coin.startswith("xyz:") for coin in data["mids"])
    # What was sent comes back, or a common client would wait ten seconds for it and give up.
    await client.unsubscribe(type="allMids")
    ack = await client.subscribe(type="allMids", dex="")
    assert ack == acknowledged("subscribe", type="allMids", dex="")


@pytest.mark.parametrize(
    "raw",
    [
        "hello",
        "[]",
        "null",
        '{"method":"subscribe"}',
        '{"method":"dance"}',
        '{"method":"subscribe","subscription":{"type":"webData2","user":"' + UNKNOWN + '"}}',
        '{"method":"subscribe","subscription":{"type":"clearinghouseState"}}',
        '{"method":"subscribe","subscription":{"type":"clearinghouseState","user":"0x1"}}',
        '{"method":"subscribe","subscription":{"type":"allMids","dex":5}}',
        '{"method":"subscribe","subscription":{"type":["allMids"]}}',
        '{"method":"subscribe","subscription":["allMids"]}',
        '{"method":"post","request":{"type":"info","payload":{"type":"meta"}}}',
        '{"method":"post","id":1,"request":{"type":"explorer","payload":{}}}',
    ],
)
async def test_what_cannot_be_read_is_repeated(devnode: Start, connect: Connect, raw: str) -> None:
    client = await connect(await devnode())
    text = f"Error parsing JSON into valid websocket request: {raw}"
    assert await client.ask(raw) == {"channel": "error", "data": text}
    assert await client.ask({"method": "ping"}) == {"channel": "pong"}  # an error never ends the connection


async def test_repeated_and_unheld_subscriptions_are_named(devnode: Start, connect: Connect) -> None:
    node = await devnode()
    client, user = await connect(node), node.addresses[0]
    await client.subscribe(type="clearinghouseState", user=user)
    await client.receive()
    wire = json.dumps({"type": "clearinghouseState", "user": user, "dex": ""}, separators=(",", ":"))
    # Left out, empty and null dex are one subscription.
    for dex in ({}, {"dex": ""}, {"dex": None}):
        reply = await client.subscribe(type="clearinghouseState", user=user, **dex)
        assert reply == {"channel": "error", "data": f"Already subscribed: {wire}"}
    ack = await client.unsubscribe(type="clearinghouseState", user=user)
    assert ack == acknowledged("unsubscribe", type="clearinghouseState", user=user, dex="")
    reply = await client.unsubscribe(type="clearinghouseState", user=user)
    assert reply == {"channel": "error", "data": f"Already unsubscribed: {wire}"}
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(20):
            await client.receive()
    reply = await client.subscribe(type="allMids", dex="nope")
    assert reply == {"channel": "error", "data": 'Invalid subscription {"type":"allMids","dex":"nope"}'}


async def test_the_limit_of_users_counts_addresses_over_all_connections(
    devnode: Start, connect: Connect
) -> None:
    node = await devnode(limits=Limits(users=2))
    one, two = await connect(node), await connect(node)
    first, second, third = node.addresses[:3]
    assert (await one.subscribe(type="clearinghouseState", user=first))["channel"] == "subscriptionResponse"
    await one.receive()
    assert (await two.subscribe(type="allDexsClearinghouseState", user=second))[
        "channel"
    ] == "subscriptionResponse"
    await two.receive()
    refused = {"channel": "error", "data": "Cannot track more than 2 total users."}
    assert await one.subscribe(type="clearinghouseState", user=third) == refused
    # More of a tracked user is free, and so is market data.
    for subscription in ({"type": "clearinghouseState", "user": second}, {"type": "allMids"}):
        assert (await one.subscribe(**subscription))["channel"] == "subscriptionResponse"
        await one.receive()
    # The last subscription of a user frees the slot at once; a close frees all of a connection.
    await two.unsubscribe(type="allDexsClearinghouseState", user=second)
    assert await two.subscribe(type="clearinghouseState", user=third) == refused
    await one.connection.close()
    for user in (second, third):
        assert (await two.subscribe(type="clearinghouseState", user=user))[
            "channel"
        ] == "subscriptionResponse"
        await two.receive()


async def test_the_limits_of_subscriptions_and_messages(devnode: Start, connect: Connect) -> None:
    node = await devnode(limits=Limits(users=None, subscriptions=2, messages_per_minute=5))
    client = await connect(node)
    for user in node.addresses[:2]:
        await client.subscribe(type="clearinghouseState", user=user)
        await client.receive()
    reply = await client.subscribe(type="allMids")
    assert reply == {"channel": "error", "data": "Cannot subscribe to more than 2 channels."}
    assert await client.ask({"method": "ping"}) == {"channel": "pong"}
    assert await client.ask({"method": "ping"}) == {"channel": "pong"}
    await client.send({"method": "ping"})
    while (reply := await client.receive())["channel"] == "clearinghouseState":
        pass
    assert reply == {"channel": "error", "data": "Cannot send more than 5 messages per minute."}
    # The budget is that of the address, not of the connection; it comes back with the minute.
    other = await connect(node)
    assert (await other.ask({"method": "ping"}))["channel"] == "error"
    await asyncio.sleep(50)
    await other.ask({"method": "ping"})
    await asyncio.sleep(15)
    assert await other.ask({"method": "ping"}) == {"channel": "pong"}


async def test_the_limits_of_connections(devnode: Start, connect: Connect) -> None:
    node = await devnode(limits=Limits(connections=2, connections_per_minute=3))
    one, _ = await connect(node), await connect(node)
    with pytest.raises(websockets.InvalidStatus) as refusal:
        await connect(node)
    assert (refusal.value.response.status_code, refusal.value.response.body) == (429, b"null")
    await one.connection.close()
    third = await connect(node)
    await third.connection.close()
    with pytest.raises(websockets.InvalidStatus):
        await connect(node)
    await asyncio.sleep(60)
    await connect(node)
    assert (node.stats.connections, node.stats.refused_connections) == (4, 2)


async def test_a_connection_that_was_sent_nothing_for_a_minute_is_cut(
    devnode: Start, connect: Connect
) -> None:
    node = await devnode()
    client = await connect(node)
    await asyncio.sleep(50)
    await client.ask({"method": "ping"})
    began = now()
    with pytest.raises(websockets.ConnectionClosedError) as end:
        await client.receive()
    assert now() - began == pytest.approx(60, abs=0.1)
    assert end.value.rcvd is None  # no close frame: the client sees a 1006
    assert node.stats.dropped == {"idle": 1}


async def test_a_subscribed_connection_is_never_idle(devnode: Start, connect: Connect) -> None:
    node = await devnode()
    client = await connect(node)
    await client.subscribe(type="allMids")
    began = now()
    while now() - began < 200:
        await client.receive()
    assert node.stats.frames["allMids"] >= 40


async def test_a_client_that_does_not_read_is_cut_and_nobody_waits_for_it(
    devnode: Start, connect: Connect
) -> None:
    node = await devnode(push_s=0.05)
    slow, quick = await connect(node), await connect(node)
    for client in (slow, quick):
        await client.subscribe(type="allDexsClearinghouseState", user=node.addresses[1])
    slow.connection.transport.pause_reading()
    began, received = now(), 0
    while now() - began < 60:
        assert (await quick.receive())["channel"] == "allDexsClearinghouseState"
        received += 1
    assert received == pytest.approx(1200, abs=5)
    assert node.stats.dropped == {"slow": 1}


async def test_an_outbox_has_a_bound() -> None:
    cut: list[bool] = []
    stream = Stream("127.0.0.1", lambda: cut.append(True), Stats())
    frame = "x" * (1024 * 1024)
    for _ in range(OUTBOX_CHARS // len(frame)):
        stream.put(frame)
    assert not cut
    stream.put(frame)
    stream.put(frame)
    assert cut == [True]
    await stream.room()  # nothing is waited for after the end


async def test_one_rendering_serves_all_listeners_and_phases_differ(devnode: Start, connect: Connect) -> None:
    node = await devnode(accounts=40)
    one, two = await connect(node), await connect(node)
    for user in node.addresses:
        await one.subscribe(type="clearinghouseState", user=user)
        await one.receive()
    await asyncio.sleep(PUSH_S)
    await _drain(one)
    at: dict[str, list[float]] = {}
    began = now()
    while now() - began < 2 * PUSH_S:
        data = (await one.receive())["data"]
        at.setdefault(data["user"], []).append(now())
    assert len(at) == 40
    assert len({round(times[-1] % PUSH_S, 2) for times in at.values()}) > 25  # spread over the period
    await two.subscribe(type="clearinghouseState", user=node.addresses[0])
    await two.receive()
    theirs = await two.connection.recv()
    while (mine := await one.connection.recv()) != theirs:
        assert json.loads(mine)["channel"] == "clearinghouseState"


async def test_posts_carry_info_and_actions(devnode: Start, connect: Connect) -> None:
    node = await devnode(tick_s=3600.0)
    client = await connect(node)
    asked = {"type": "meta", "dex": "xyz"}
    reply = await client.ask({"method": "post", "id": 1754, "request": {"type": "info", "payload": asked}})
    payload = reply["data"]["response"]["payload"]
    assert (reply["channel"], reply["data"]["id"], reply["data"]["response"]["type"]) == (
        "post",
        1754,
        "info",
    )
    assert payload == {"type": "meta", "data": (await http(node.port, asked)).json}
    signature = {"r": "0x1", "s": "0x2", "v": 27}
    action = {"action": {"type": "noop"}, "nonce": 1, "signature": signature}
    reply = await client.ask({"method": "post", "id": 2, "request": {"type": "action", "payload": action}})
    assert reply["data"]["response"]["payload"]["status"] == "err"
    for kind, bad in (("info", {"type": "noSuchType"}), ("info", 5), ("action", {})):
        reply = await client.ask({"method": "post", "id": 3, "request": {"type": kind, "payload": bad}})
        assert reply["data"]["response"]["type"] == "error"
        assert reply["data"]["response"]["payload"].startswith("422: Failed to deserialize")
    assert node.stats.posts == {"info": 3, "action": 2}


async def test_binary_frames_are_read_like_text(devnode: Start, connect: Connect) -> None:
    client = await connect(await devnode())
    await client.connection.send(b'{"method":"ping"}')
    assert await client.receive() == {"channel": "pong"}
    await client.connection.send(b"\xff")
    assert (await client.receive())["channel"] == "error"


async def test_only_ws_is_a_websocket(devnode: Start) -> None:
    node = await devnode()
    with pytest.raises(websockets.InvalidStatus):
        await websockets.connect(f"ws://127.0.0.1:{node.port}/info", proxy=None)


async def _drain(client: Client) -> None:
    """Take what has come so far."""
    try:
        while True:
            async with asyncio.timeout(0.001):
                await client.receive()
    except TimeoutError:
        pass
