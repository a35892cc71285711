"""What clients see of each fault: over HTTP and over a websocket, on the virtual loop."""

import asyncio
import itertools
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import websockets

from server.devnode import Devnode, Limits
from server.devnode.faults import Stage
from tests.server.devnode.client import Client, http

Start = Callable[..., Awaitable[Devnode]]
Connect = Callable[[Devnode], Awaitable[Client]]
META = {"type": "meta"}
ORDER = {
    "action": {"type": "order", "orders": [], "grouping": "na"},
    "nonce": 1,
    "signature": {"r": "0x1", "s": "0x2", "v": 27},
}
PUSH_S = 5.0


def now() -> float:
    return asyncio.get_running_loop().time()


async def quiet(client: Client, seconds: float) -> bool:
    """Whether nothing comes for so long."""
    try:
        async with asyncio.timeout(seconds):
            await client.connection.recv()
    except TimeoutError:
        return True
    return False


async def read(port: int, body: object, path: str = "/info") -> bytes:
    """All bytes that come back, until the connection ends; b"" also when it is reset."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    content = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    got = b""
    try:
        writer.write(head.encode() + b"Content-Length: %d\r\n\r\n" % len(content))
        await asyncio.sleep(0.01)
        writer.write(content[:10])
        await asyncio.sleep(0.01)
        writer.write(content[10:])
        while part := await reader.read(65536):
            got += part
            head_, _, rest = got.partition(b"\r\n\r\n")
            size = next((int(x[16:]) for x in head_.split(b"\r\n") if x.startswith(b"content-length: ")), -1)
            if len(rest) == size:
                break
    except ConnectionError:
        pass
    finally:
        writer.close()
    return got


# -- requests ------------------------------------------------------------------------------------------


async def test_answers_are_made_up_for_the_next_that_fit(devnode: Start) -> None:
    node = await devnode()
    user = node.addresses[1]
    node.faults.answer(429, times=3, type="clearinghouseState")
    state = {"type": "clearinghouseState", "user": user}
    assert (await http(node.port, META)).status == 200
    for _ in range(3):
        reply = await http(node.port, state)
        assert (reply.status, reply.body) == (429, b"null")
        assert reply.headers["content-type"] == "application/json"
    assert (await http(node.port, state)).status == 200
    assert node.stats.info["clearinghouseState"] == 4 and node.stats.statuses[429] == 3
    node.faults.answer(502, path="/exchange")
    assert (await http(node.port, META)).status == 200
    reply = await http(node.port, ORDER, path="/exchange")
    assert (reply.status, reply.headers["content-type"]) == (502, "text/html")
    assert node.stats.exchange["order"] == 1
    node.faults.heal()
    node.faults.answer(500, b'{"odd" : 1}', user=user, content_type="application/odd")
    reply = await http(node.port, state)
    assert (reply.status, reply.body) == (500, b'{"odd" : 1}')
    assert reply.headers["content-type"] == "application/odd"
    assert (await http(node.port, state | {"user": node.addresses[2]})).status == 200


async def test_a_post_is_answered_with_what_is_no_text_and_without_a_body(
    devnode: Start, connect: Connect
) -> None:
    node = await devnode()
    client = await connect(node)
    post = {"method": "post", "id": 1, "request": {"type": "info", "payload": META}}
    for status, body, payload in ((502, b"\xff\xfe", "502: \ufffd\ufffd"), (204, None, "204: ")):
        node.faults.answer(status, body, times=1)
        answer = await client.ask(post)
        assert answer["data"]["response"] == {"type": "error", "payload": payload}
    # Over HTTP the connection is good for more: nothing is left on it that could be read as the next answer.
    node.faults.answer(204, times=1)
    reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
    body = json.dumps(META).encode()
    request = (
        b"POST /info HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
    )
    for status in (b"204", b"200"):
        writer.write(request % (len(body), body))
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.split()[1] == status
    writer.close()


async def test_answers_travel_as_long_as_told(devnode: Start) -> None:
    node = await devnode(paused=True)
    node.faults.latency(2.5, type="meta")
    began = now()
    await http(node.port, {"type": "allMids"})
    assert now() - began < 0.1
    slow = asyncio.create_task(http(node.port, {"type": "meta"}))
    await asyncio.sleep(1)
    assert not slow.done()
    assert (await slow).status == 200
    assert now() - began == pytest.approx(2.5, abs=0.1)
    # As it was when it was made.
    node.faults.latency(2.0, path="/info")
    slow = asyncio.create_task(http(node.port, {"type": "allMids"}))
    await asyncio.sleep(1)
    node.set_mark("BTC", "50000")
    assert (await slow).json["BTC"] != "50000.5"


async def test_requests_that_hang_are_never_answered_nor_heeded(devnode: Start) -> None:
    node = await devnode()
    node.faults.hang(path="/exchange", times=1)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(http(node.port, ORDER, path="/exchange"), 300)
    assert (await http(node.port, ORDER, path="/exchange")).status == 200
    assert node.stats.exchange["order"] == 2 and node.stats.statuses[200] == 1


@pytest.mark.parametrize("stage", Stage)
async def test_a_write_is_cut_at_its_stage(devnode: Start, stage: Stage) -> None:
    node = await devnode(limits=Limits(), faucet_usd=0)
    whole = await read(node.port, ORDER, "/exchange")
    assert whole.endswith(b'does not exist."}')
    handled, seen = node.app.api.ledger.of("::1").weight.used(now()), node.stats.exchange["order"]
    node.faults.cut_writes(stage)
    if stage is not Stage.CONNECTED:
        assert (await http(node.port, META)).status == 200
        handled += 20
    got = await read(node.port, ORDER, "/exchange")
    if stage is Stage.ANSWER:
        body = whole.partition(b"\r\n\r\n")[2]
        head, _, half = got.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n" % len(body))
        assert half == body[: len(body) // 2]
    else:
        assert got == b""
    took_effect = node.app.api.ledger.of("::1").weight.used(now()) - handled
    assert took_effect == (stage in (Stage.DONE, Stage.ANSWER))
    assert node.stats.exchange["order"] - seen == (stage in (Stage.READ, Stage.DONE, Stage.ANSWER))
    assert await read(node.port, ORDER, "/exchange") == whole


async def test_any_bytes_are_answered(devnode: Start) -> None:
    node = await devnode()
    node.faults.answer_raw(b"SSH-2.0\r\n\x00\xff")
    assert await read(node.port, META) == b"SSH-2.0\r\n\x00\xff"
    node.faults.answer_raw("HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n\xff", path="/info")
    assert (await read(node.port, META)).endswith(b"\r\n\r\n\xff")
    assert (await http(node.port, META)).status == 200


async def test_posts_over_a_websocket_are_met_by_the_same_rules(devnode: Start, connect: Connect) -> None:
    node = await devnode()
    client = await connect(node)
    number = itertools.count(1)

    async def post(kind: str, payload: Any) -> None:
        request = {"type": kind, "payload": payload}
        await client.send({"method": "post", "id": next(number), "request": request})

    async def asked(kind: str, payload: Any) -> Any:
        await post(kind, payload)
        return (await client.receive())["data"]["response"]

    node.faults.answer(429, type="meta", times=1)
    assert await asked("info", META) == {"type": "error", "payload": "429: null"}
    assert (await asked("info", META))["type"] == "info"
    node.faults.answer(200, b"[1]", path="/info", times=1)
    assert await asked("info", META) == {"type": "info", "payload": {"type": "meta", "data": [1]}}
    node.faults.answer(200, b"[1]", path="/info", times=1)
    assert await asked("info", [META]) == {"type": "info", "payload": {"type": None, "data": [1]}}
    node.faults.latency(3, type="order", times=1)
    began = now()
    assert (await asked("action", ORDER))["payload"]["status"] == "err"
    assert now() - began == pytest.approx(3, abs=0.1)
    node.faults.hang(path="/exchange", times=1)
    await post("action", ORDER)
    assert await quiet(client, 30)
    for stage in ("read", "done", "answer"):
        node.faults.cut(stage)
        client = await connect(node)
        with pytest.raises(websockets.ConnectionClosedError):
            await asked("action", ORDER)
    assert node.stats.dropped["fault"] == 3


# -- connections ---------------------------------------------------------------------------------------


async def closed(client: Client) -> None:
    """Wait for an end without a goodbye."""
    with pytest.raises(websockets.ConnectionClosedError) as ended:
        async with asyncio.timeout(1):
            while True:
                await client.connection.recv()
    assert ended.value.rcvd is None


async def test_sockets_are_dropped_without_a_goodbye(devnode: Start, connect: Connect) -> None:
    node = await devnode()
    clients = [await connect(node) for _ in range(3)]
    assert (await http(node.port, {}, path="/dev/drop_sockets")).json == {"result": 3}
    for client in clients:
        await closed(client)
    assert node.drop_sockets() == 0
    await connect(node)


async def test_sockets_are_told_goodbye(devnode: Start, connect: Connect) -> None:
    node = await devnode()
    clients = [await connect(node) for _ in range(2)]
    await clients[0].subscribe(type="allMids")
    assert node.close_sockets(1012, "restarting") == 2
    with pytest.raises(websockets.ConnectionClosed):
        while True:
            await clients[0].receive()
    for client in clients:
        await client.connection.wait_closed()
        assert (client.connection.close_code, client.connection.close_reason) == (1012, "restarting")
    assert (node.sockets, node.stats.dropped.total()) == (0, 0)
    assert (await (await connect(node)).ask({"method": "ping"})) == {"channel": "pong"}
    for code, reason in ((1005, ""), (12, ""), (1000, "é" * 62)):
        with pytest.raises(ValueError, match=r"no code to close with|123 bytes"):
            node.close_sockets(code, reason)
    assert node.sockets == 1


async def test_anything_is_said_over_every_socket(devnode: Start, connect: Connect) -> None:
    node = await devnode()
    assert node.say("nobody") == 0
    clients = [await connect(node) for _ in range(2)]
    assert node.say('{"channel":"tomorrow') == 2
    assert [await client.connection.recv() for client in clients] == ['{"channel":"tomorrow'] * 2
    assert await quiet(clients[0], 1)


async def test_everything_is_cut_but_the_controls(devnode: Start, connect: Connect) -> None:
    node = await devnode()
    client = await connect(node)
    node.faults.latency(50)
    asking = asyncio.create_task(read(node.port, META))
    await asyncio.sleep(1)
    reply = await http(node.port, {}, path="/dev/abort")
    assert (reply.status, reply.json) == (200, {"result": 2})
    await closed(client)
    assert await asyncio.wait_for(asking, 1) == b""


async def test_idle_connections_are_hung_up(devnode: Start) -> None:
    node = await devnode()
    reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
    node.faults.latency(5)
    asking = asyncio.create_task(http(node.port, META))
    await asyncio.sleep(1)
    assert (await http(node.port, {}, path="/dev/hang_up_idle")).json == {"result": 1}
    assert await reader.read() == b""
    writer.close()
    assert (await asking).status == 200


async def test_nobody_listens_until_told_or_for_so_long(devnode: Start, connect: Connect) -> None:
    node = await devnode()
    client = await connect(node)
    node.refuse_connections()
    await asyncio.sleep(0)
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", node.port)
    assert (await client.ask({"method": "ping"}))["channel"] == "pong"
    await node.accept_connections()
    await node.accept_connections()
    assert (await http(node.port, {"seconds": 30}, path="/dev/refuse_connections")).status == 200
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", node.port)
    await asyncio.sleep(30.1)
    assert (await http(node.port, META)).status == 200
    node.refuse_connections(1000)  # and stopping ends that too
    stopped = Devnode(accounts=1)
    with pytest.raises(RuntimeError, match="not serving"):
        stopped.refuse_connections()
    assert stopped.drop_sockets() == 0


async def test_handshakes_are_answered_delayed_hung_and_cut(devnode: Start, connect: Connect) -> None:
    node = await devnode()
    node.faults.answer(503, path="/ws", times=1)
    with pytest.raises(websockets.InvalidStatus) as refused:
        await connect(node)
    assert refused.value.response.status_code == 503
    node.faults.latency(3, path="/ws", times=1)
    began = now()
    await connect(node)
    assert now() - began == pytest.approx(3, abs=0.1)
    node.faults.hang(path="/ws", times=1)
    with pytest.raises(TimeoutError):
        await connect(node)
    for stage in ("connected", "read"):
        node.faults.cut(stage, path="/ws")
        with pytest.raises((websockets.InvalidMessage, OSError)):
            await connect(node)
    assert node.stats.connections == 1
    assert (await (await connect(node)).ask({"method": "ping"}))["channel"] == "pong"


async def test_flapping_welcomes_and_drops(devnode: Start, connect: Connect) -> None:
    node = await devnode()
    node.faults.accept_and_drop(0.5)
    client, began = await connect(node), now()
    await closed(client)
    assert now() - began == pytest.approx(0.5, abs=0.1)
    node.faults.stay_up()
    assert await quiet(await connect(node), 30)


# -- frames --------------------------------------------------------------------------------------------


class Listener:
    """One account's states as they come, by the time in them."""

    def __init__(self, client: Client, first: int) -> None:
        self.client = client
        self.first = first

    async def next(self) -> int:
        """`time` of the next state, in seconds after the first."""
        frame = await self.client.receive()
        return round((frame["data"]["clearinghouseState"]["time"] - self.first) / 1000)


async def listening(node: Devnode, client: Client, number: int = 1) -> Listener:
    """Subscribed, with the first two states received: from now on one comes every period."""
    await client.subscribe(type="clearinghouseState", user=node.addresses[number])
    await client.receive()
    frame = await client.receive()
    return Listener(client, frame["data"]["clearinghouseState"]["time"])


async def test_pushes_are_lost_doubled_overtaken_late_and_stale(devnode: Start, connect: Connect) -> None:
    node = await devnode(tick_s=0.5)
    states = await listening(node, await connect(node))
    faults = node.faults
    faults.drop_next_push()
    assert await states.next() == 10
    faults.duplicate_next_push()
    assert [await states.next() for _ in range(3)] == [15, 15, 20]
    faults.reorder_next_push()
    assert [await states.next() for _ in range(3)] == [30, 25, 35]
    faults.delay_next_push(7)
    assert [await states.next() for _ in range(3)] == [45, 40, 50]
    faults.stale_next_push()
    assert await states.next() <= 0 and await states.next() == 60
    faults.delay(2)
    began = now()
    assert await states.next() == 65
    assert now() - began == pytest.approx(7, abs=0.6)
    assert faults.described() == ["delay all pushes by 2 s"]


async def test_silence_leaves_the_connection_and_the_answers(devnode: Start, connect: Connect) -> None:
    node = await devnode()
    client = await connect(node)
    await listening(node, client, 1)
    await listening(node, client, 2)
    node.faults.go_silent(node.addresses[1])
    for _ in range(4):
        assert (await client.receive())["data"]["user"] == node.addresses[2]
    node.faults.go_silent()
    assert await quiet(client, 30)
    assert (await client.ask({"method": "ping"}))["channel"] == "pong"
    node.faults.speak_again()
    assert not await quiet(client, PUSH_S + 1)


async def test_mute_nothing_is_heard_and_nothing_comes_for_ever(devnode: Start, connect: Connect) -> None:
    node = await devnode()
    client = await connect(node)
    await listening(node, client)
    node.faults.go_mute()
    await client.send({"method": "ping"})
    pong = await client.connection.ping()
    assert await quiet(client, 600) and not pong.done()
    assert node.stats.dropped["idle"] == 0
    assert (await http(node.port, META)).status == 200
    node.faults.heal()
    assert not await quiet(client, PUSH_S + 1)


async def test_pings_find_no_answer_while_data_flows(devnode: Start, connect: Connect) -> None:
    node = await devnode()
    client = await connect(node)
    await listening(node, client)
    node.faults.no_pongs()
    await client.send({"method": "ping"})
    pong = await client.connection.ping()
    assert (await client.receive())["channel"] == "clearinghouseState"
    assert not pong.done()
    node.faults.heal()
    await (await client.connection.ping())


async def test_a_wish_to_close_finds_no_answer(devnode: Start, connect: Connect) -> None:
    node = await devnode()
    client = await connect(node)
    node.faults.ignore_close()
    began = now()
    await client.connection.close()
    assert now() - began == pytest.approx(10, abs=1)  # the client's own patience
    node.faults.heal()
    client, began = await connect(node), now()
    await client.connection.close()
    assert now() - began < 1


async def test_an_unanswered_wish_to_close_does_not_hold_up_the_end(devnode: Start, connect: Connect) -> None:
    node = await devnode()
    client = await connect(node)
    node.faults.ignore_close()
    closing = asyncio.create_task(client.connection.close())
    await asyncio.sleep(0.01)
    began = now()
    await node.stop()
    assert now() - began < 1.0
    await closing


async def test_subscriptions_are_refused(devnode: Start, connect: Connect) -> None:
    node = await devnode()
    client, user = await connect(node), node.addresses[1]
    node.faults.refuse_subscriptions("Cannot subscribe today.", user=user, times=1)
    refused = await client.subscribe(type="clearinghouseState", user=user)
    assert refused == {"channel": "error", "data": "Cannot subscribe today."}
    assert (await client.subscribe(type="clearinghouseState", user=user))["channel"] != "error"


async def test_time_freezes_while_the_truth_moves(devnode: Start) -> None:
    node = await devnode()
    body = {"type": "clearinghouseState", "user": node.addresses[1]}
    node.faults.freeze_time()
    first = (await http(node.port, body)).json
    await asyncio.sleep(30)
    second = (await http(node.port, body)).json
    assert first["time"] == second["time"] and first["marginSummary"] != second["marginSummary"]
    node.faults.thaw_time()
    await asyncio.sleep(1)
    assert (await http(node.port, body)).json["time"] == pytest.approx(first["time"] + 31_000, abs=1_100)


async def test_stopping_ends_what_hangs_and_what_travels(devnode: Start) -> None:
    node = await devnode()
    node.faults.hang(type="meta")
    node.faults.latency(1000, type="allMids")
    asking = [asyncio.create_task(read(node.port, {"type": kind})) for kind in ("meta", "allMids")]
    await asyncio.sleep(1)
    began = now()
    await node.stop()
    assert now() - began < 3
    assert await asyncio.gather(*asking) == [b"", b""]


# -- without faults ------------------------------------------------------------------------------------


async def test_healed_the_bytes_are_what_they_would_have_been(devnode: Start, connect: Connect) -> None:
    """Rules that fit nothing, and rules that were lifted, change no byte of answers and frames."""
    said: list[list[object]] = []
    for faulty in (False, True):
        node = await devnode(paused=True, time_ms=1_700_000_000_000)
        if faulty:
            node.faults.answer(500)
            node.faults.hang()
            node.faults.duplicate_next_push(times=9)
            node.faults.refuse_subscriptions()
            node.faults.go_mute()
            node.faults.heal()
            node.faults.answer(500, user="0x" + "5c" * 20)
            node.faults.drop_next_push(channel="nothing")
            node.faults.latency(3, type="nothing")
        client, user = await connect(node), node.addresses[1]
        told: list[object] = [await client.subscribe(type="allDexsClearinghouseState", user=user)]
        for _ in range(5):
            node.step(3)
            told.append(await client.connection.recv())
            for path, body in (("/info", META), ("/info", {"type": "nope"}), ("/exchange", ORDER)):
                reply = await http(node.port, body, path=path)
                headers = {key: value for key, value in reply.headers.items() if key != "date"}
                told.append((reply.status, headers, reply.body))
        told.append(node.stats.info | node.stats.exchange)
        said.append(told)
    assert said[0] == said[1]
