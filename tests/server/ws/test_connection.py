"""A client's socket from the handshake to its end, ordinary and hostile, behind uvicorn on virtual time."""

import asyncio
import json
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus
from websockets.frames import Frame, Opcode

from replica import Subscription
from server.ws.client import ClientLimits
from server.ws.connection import key_of
from server.ws.hub import HubLimits
from server.ws.outbox import OutboxLimits
from tests.server.ws.fakes import acknowledgement, wanted
from tests.server.ws.serving import Rude, Served, served

MIDS = wanted("allMids").subscription
TRADES = wanted("trades", coin="BTC").subscription


# The handshake


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("/ws", ""),
        ("//ws", ""),
        ("/abc/ws", "abc"),
        ("/a%20b/ws", "a b"),
        ("/ws?token=1", ""),
        ("/", None),
        ("/wss", None),
        ("/ws/", None),
        ("/a/b/ws", None),
        ("/info", None),
        ("", None),
    ],
)
def test_paths(path: str, key: str | None) -> None:
    assert key_of(path) == key


@pytest.mark.parametrize("path", ["/ws", "//ws", "/key/ws"])
async def test_a_client_subscribes_and_is_told(path: str) -> None:
    async with served() as it, it.client(path) as client:
        await client.subscribe(dex="")
        assert await client.heard() == acknowledgement(dex="")
        text = it.mirror.push(MIDS, {"mids": {"BTC": "1.0"}})
        assert await client.connection.recv(decode=False) == text
        await client.say("unsubscribe", subscription={"type": "allMids"})
        assert await client.heard() == acknowledgement("unsubscribe")
        await client.say("ping")
        assert await client.heard() == {"channel": "pong"}
        assert client.connection.protocol.extensions == []


async def test_another_path_is_refused_before_the_handshake() -> None:
    async with served() as it:
        with pytest.raises(InvalidStatus) as refused:
            async with it.client("/wss"):
                pass
        assert refused.value.response.status_code == 404


@pytest.mark.parametrize(
    ("limits", "status"), [({"connections": 1}, 503), ({"connections_per_address": 1}, 429)]
)
async def test_one_connection_too_many_is_refused_before_the_handshake(
    limits: dict[str, int], status: int
) -> None:
    async with served(**limits) as it:
        async with it.client() as client:
            with pytest.raises(InvalidStatus) as refused:
                async with it.client():
                    pass
            assert refused.value.response.status_code == status
            assert "Retry-After" in refused.value.response.headers
            await client.ping()
        async with it.client() as client:
            await client.ping()
        assert it.endpoint.counts.refused == 1


async def test_a_socket_outlives_the_keep_alive_of_http() -> None:
    async with served() as it, it.client() as client:
        for _ in range(10):
            await asyncio.sleep(50)
            await client.ping()


async def test_a_plain_request_for_it_is_no_websocket() -> None:
    async with served() as it:
        rude = await it.rude(handshake=False)
        rude.writer.write(b"GET /ws HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b" 404 " in await rude.reader.readline()


async def test_an_upgrade_behind_an_unanswered_request_is_none() -> None:
    async with served() as it:
        rude = await it.rude(handshake=False)
        body = b'{"slow":1}'
        rude.writer.write(
            b"POST /info HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
        )
        rude.protocol.send_request(rude.protocol.connect())
        rude.send_out()
        await asyncio.sleep(1)
        it.answers.gate.set()
        assert b" 200 " in await rude.reader.readline()
        await rude.reader.readuntil(b"\r\n\r\n")
        rest = await rude.reader.readuntil(b"\r\n\r\n")
        assert b"HTTP/1.1 404 " in rest and len(it.endpoint) == 0


@pytest.mark.parametrize("protocol", [b"websocket", b"h2c"])
async def test_a_request_with_a_body_stays_a_request_whatever_it_offers(protocol: bytes) -> None:
    async with served() as it:
        rude = await it.rude(handshake=False)
        rude.writer.write(
            b"POST /info HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: %s\r\n"
            b"Content-Length: 2\r\n\r\n{}" % protocol
        )
        assert b" 200 " in await rude.reader.readline()
        assert len(it.endpoint) == 0


async def test_a_broken_handshake_is_told() -> None:
    async with served() as it:
        rude = await it.rude(handshake=False)
        rude.writer.write(
            b"GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 8\r\n\r\n"
        )
        assert (await rude.reader.readline()).startswith(b"HTTP/1.1 4")
        await rude.reader.read()
        assert len(it.endpoint) == 0


# Posts


async def test_posts() -> None:
    async with served() as it, it.client("/mine/ws") as client:
        await client.post(7, {"type": "meta"})
        data = {"asked": {"type": "meta"}, "by": "key mine"}
        assert await client.heard() == {
            "channel": "post",
            "data": {"id": 7, "response": {"type": "info", "payload": {"type": "meta", "data": data}}},
        }
        await client.post(8, {"type": "wrong"})
        assert (await client.heard())["data"]["response"] == {
            "type": "error",
            "payload": "422 Unprocessable Entity: no such thing",
        }
        await client.post(9, {"type": "broken"})
        assert (await client.heard())["data"]["response"]["payload"].startswith("500 Internal Server Error")
        await client.connection.send(
            b'{"method":"post","id":10,"request":{"type":"action","payload":{ "nonce" : 1.0 }}}'.decode()
        )
        it.answers.gate.set()
        answer = (await client.heard())["data"]
        assert (answer["id"], answer["response"]["type"]) == (10, "action")
        assert it.answers.asked == [b'{ "nonce" : 1.0 }']


async def test_posts_in_flight_are_bounded_and_others_go_past_them() -> None:
    async with served(client=ClientLimits(posts=2)) as it, it.client() as client:
        for id_ in (1, 2, 3):
            await client.post(id_, {"type": "slow"})
        assert await client.heard() == {"channel": "error", "data": "too many pending post requests id=3"}
        await client.post(4, {"type": "meta"})
        assert (await client.heard())["data"] == "too many pending post requests id=4"
        it.answers.gate.set()
        assert {(await client.heard())["data"]["id"] for _ in range(2)} == {1, 2}
        await client.post(5, {"type": "slow"})
        assert (await client.heard())["data"]["id"] == 5


async def test_who_leaves_does_not_take_its_writes_along() -> None:
    async with served() as it:
        async with it.client() as client:
            await client.post(1, {"nonce": 1}, "action")
            await client.ping()
        await asyncio.sleep(1)
        assert len(it.endpoint) == 0 and it.answers.finished == 0
        it.answers.gate.set()
        await asyncio.sleep(1)
        assert it.answers.finished == 1


# Coins that are not known


async def test_unknown_coins_are_looked_up_once_for_all() -> None:
    async with served() as it, it.client() as client:
        it.coins["LATER"] = None
        for coin in ("NEW", "NONE", "LATER"):
            await client.subscribe("trades", coin=coin)
        await client.ping()
        it.coins["NEW"] = True
        told = [await client.heard() for _ in range(2)]
        assert acknowledgement(type_="trades", coin="NEW") in told
        assert {"channel": "error", "data": 'Invalid subscription {"type":"trades","coin":"NONE"}'} in told
        assert it.universe_read == 1
        it.coins["LATER"] = True
        assert await client.heard() == acknowledgement(type_="trades", coin="LATER")
        assert it.universe_read == 2
        await client.ping()


# Limits


async def test_messages_are_counted_by_the_minute() -> None:
    async with served(client=ClientLimits(messages_per_minute=5)) as it, it.client() as client:
        for _ in range(5):
            await client.ping()
        await client.subscribe()
        told = {"channel": "error", "data": "Cannot send more than 5 messages per minute."}
        assert await client.heard() == told and not it.mirror.held
        await asyncio.sleep(60)
        await client.ping()


@pytest.mark.parametrize("kind", ["text", "ping", "fragment", "mixed"])
async def test_a_flood_is_cut_off(kind: str) -> None:
    async with served(client=ClientLimits(messages_per_minute=50)) as it:
        rude = await it.rude()
        if kind == "fragment":
            rude.protocol.send_text(b"", fin=False)
        for number in range(150):
            if kind == "text" or (kind == "mixed" and number % 2):
                rude.protocol.send_text(b'{"method":"ping"}')
            elif kind == "fragment":
                rude.protocol.send_continuation(b"", fin=False)
            else:
                rude.protocol.send_ping(b"x")
        rude.send_out()
        texts, code, reason = await rude.end()
        assert (code, reason) == (1008, "too many messages")
        assert len(texts) <= 100
        assert it.endpoint.counts.floods == 1


async def test_a_giant_frame_is_refused_by_its_head() -> None:
    async with served(max_frame_bytes=1000) as it:
        rude = await it.rude()
        frame = Frame(Opcode.TEXT, b"x" * 1_000_000).serialize(mask=True)
        rude.writer.write(frame[:200])
        _, code, _ = await rude.end()
        assert code == 1009


async def test_a_giant_message_in_fragments_is_refused() -> None:
    async with served(max_frame_bytes=1000) as it:
        rude = await it.rude()
        rude.protocol.send_text(b"x" * 600, fin=False)
        rude.protocol.send_continuation(b"x" * 600, fin=False)
        rude.send_out()
        _, code, _ = await rude.end()
        assert code == 1009


async def test_a_message_in_fragments_is_one_message() -> None:
    async with served() as it:
        rude = await it.rude()
        rude.protocol.send_text(b'{"method":"subscribe",', fin=False)
        rude.protocol.send_ping(b"between")
        rude.protocol.send_continuation(b'"subscription":', fin=False)
        rude.protocol.send_continuation(b'{"type":"allMids"}}', fin=True)
        rude.protocol.send_text(b'{"method":"ping"}')
        rude.protocol.send_close(1000, "bye")
        rude.send_out()
        texts, code, reason = await rude.end()
        assert [json.loads(text)["channel"] for text in texts] == ["subscriptionResponse", "pong"]
        assert (code, reason) == (1000, "bye")


@pytest.mark.parametrize(
    ("garbage", "code"),
    [
        (Frame(Opcode.TEXT, b"\xff\xfe").serialize(mask=True), 1007),
        (Frame(Opcode.BINARY, b"{}").serialize(mask=True), 1003),
        (Frame(Opcode.TEXT, b"{}").serialize(mask=False), 1002),
        (Frame(Opcode.CONT, b"{}").serialize(mask=True), 1002),
        (b"\xff" * 64, 1002),
        (b"GET / HTTP/1.1\r\n\r\n", 1002),
    ],
)
async def test_garbage_ends_its_own_connection_alone(garbage: bytes, code: int) -> None:
    async with served() as it, it.client() as client:
        rude = await it.rude()
        rude.writer.write(garbage)
        assert (await rude.end())[1] == code
        await client.ping()


async def test_bad_messages_end_nothing() -> None:
    async with served() as it, it.client() as client:
        for text in ("hello", "[]", '{"method":"subscribe","subscription":{"type":"candle"}}'):
            await client.connection.send(text)
            told = await client.heard()
            assert told["data"] == f"Error parsing JSON into valid websocket request: {text}"
        await client.subscribe("l2Book", coin="BTC", nSigFigs=6)
        assert (await client.heard())["data"].startswith('Invalid subscription {"type":"l2Book"')
        await client.ping()


async def test_thousands_of_subscriptions_of_one_client() -> None:
    async with served(client=ClientLimits(messages_per_minute=0)) as it, it.client() as client:
        for number in range(1001):
            await client.subscribe("nextYears", number=number)
        told = [await client.heard() for _ in range(1001)]
        assert sum(frame["channel"] == "subscriptionResponse" for frame in told) == 1000
        assert told[-1] == {"channel": "error", "data": "Cannot subscribe to more than 1000 channels."}
        assert len(it.mirror.held) == 1000
    assert not it.mirror.held


# Slow ones


async def stuck(it: Served, *types: tuple[str, dict[str, Any]]) -> Rude:
    """A client that subscribes to this and never reads."""
    rude = await it.rude()
    for type_, fields in types:
        rude.subscribe(type_, **fields)
    await asyncio.sleep(0.1)
    return rude


async def test_who_does_not_read_rows_is_let_go_and_slows_nobody() -> None:
    async with (
        served(outbox=OutboxLimits(messages=20), write_buffer_bytes=16 << 10) as it,
        it.client() as client,
    ):
        rude = await stuck(it, ("trades", {"coin": "BTC"}))
        await client.subscribe("trades", coin="BTC")
        await client.heard()
        for number in range(60):
            it.mirror.push(TRADES, [f"{number}" + "x" * 10_000])
            assert (await client.heard())["data"][0].startswith(f"{number}x")
        assert it.endpoint.counts.slow == 1
        texts, code, reason = await rude.end()
        assert (code, reason) == (1008, "slow client: 21 messages behind")
        rows = [json.loads(text)["data"][0] for text in texts[1:]]
        assert [row.rstrip("x") for row in rows] == [str(number) for number in range(len(rows))]
        await client.ping()


async def test_who_reads_states_late_gets_the_last_one() -> None:
    async with served(outbox=OutboxLimits(messages=20), write_buffer_bytes=16 << 10) as it:
        rude = await stuck(it, ("allMids", {}))
        for number in range(200):
            it.mirror.push(MIDS, f"{number} " + "x" * 10_000)
            await asyncio.sleep(0.01)
        reading = asyncio.create_task(rude.end())
        await asyncio.sleep(1)
        it.mirror.push(MIDS, "200")
        rude.protocol.send_close(1000)
        rude.send_out()
        texts, code, _ = await reading
        numbers = [int(json.loads(text)["data"].split()[0]) for text in texts[1:]]
        assert code == 1000 and it.endpoint.counts.slow == 0
        assert numbers == sorted(numbers) and numbers[-2:] == [199, 200] and len(numbers) < 100


async def test_who_reads_nothing_for_long_is_let_go_though_little_waits() -> None:
    async with served(outbox=OutboxLimits(behind_s=30.0), write_buffer_bytes=16 << 10, close_s=5.0) as it:
        rude = await stuck(it, ("allMids", {}))
        for number in range(100):
            it.mirror.push(MIDS, f"{number} " + "x" * 10_000)
            await asyncio.sleep(0.01)
        await asyncio.sleep(28)
        assert it.endpoint.counts.slow == 0
        await asyncio.sleep(3)
        assert it.endpoint.counts.slow == 1 and len(it.endpoint) == 0
        # It doesn't read its goodbye either.
        await asyncio.sleep(5)
        assert not it.server.server_state.connections
        assert (await rude.end())[1] is None


async def test_who_does_not_read_its_answers_is_not_asked_for_more() -> None:
    limits = ClientLimits(messages_per_minute=0)
    async with served(client=limits, outbox=OutboxLimits(messages=50)) as it:
        rude = await it.rude()
        payload = b'{"type":"meta","x":"%s"}' % (b"x" * 5000)
        post = b'{"method":"post","id":%d,"request":{"type":"info","payload":%s}}'
        for number in range(1000):
            rude.say(post % (number, payload))
        await asyncio.sleep(10)
        asked = it.endpoint.counts.posts
        assert asked < 300 and it.endpoint.counts.slow == 0
        rude.say(b'{"method":"nonsense"}')
        reading = asyncio.create_task(rude.end())
        await asyncio.sleep(10)
        rude.protocol.send_close(1000)
        rude.send_out()
        texts, code, _ = await reading
        ids = [json.loads(text)["data"]["id"] for text in texts[:-1]]
        assert ids == list(range(1000)) and b"nonsense" in texts[-1] and code == 1000


# Silence


async def test_who_says_and_hears_nothing_is_sent_away() -> None:
    async with served(idle_s=60.0) as it, it.client() as client:
        began = asyncio.get_running_loop().time()
        assert await client.closed() == (1000, "idle")
        assert 60 <= asyncio.get_running_loop().time() - began <= 62
        assert it.endpoint.counts.idle == 1


async def test_who_only_listens_stays_while_its_library_lives() -> None:
    async with served(idle_s=60.0) as it, it.client() as client:
        rude = await stuck(it, ("allMids", {}))
        await client.subscribe()
        for number in range(60):
            await asyncio.sleep(5)
            it.mirror.push(MIDS, number)
            assert (await client.heard())["channel"] in ("allMids", "subscriptionResponse")
        await client.ping()
        # The other one is half-open: nobody answers for it.
        assert it.endpoint.counts.lost == 1 and len(it.endpoint) == 1
        assert (await rude.end())[0][:1] == [json.dumps(acknowledgement(), separators=(",", ":")).encode()]


async def test_a_socket_that_is_cut_leaves_nothing() -> None:
    async with served() as it:
        rude = await stuck(it, ("allMids", {}), ("trades", {"coin": "BTC"}))
        assert len(it.mirror.held) == 2
        rude.writer.transport.abort()
        await asyncio.sleep(0.1)
        assert not it.mirror.held and not it.server.server_state.connections


# The end of the server


async def test_at_the_stop_everybody_is_told() -> None:
    async with served() as it, it.client() as one, it.client() as other:
        await one.subscribe()
        await one.heard()
        it.server.should_exit = True
        assert await one.closed() == await other.closed() == (1012, "service restart")


async def test_at_the_stop_what_was_asked_is_answered_first() -> None:
    async with served() as it, it.client() as client:
        await client.post(1, {"nonce": 1}, "action")
        await client.ping()
        it.server.should_exit = True
        await asyncio.sleep(3)
        it.answers.gate.set()
        assert (await client.heard())["data"]["id"] == 1
        assert await client.closed() == (1012, "service restart")


async def test_the_stop_waits_for_nobody_for_ever() -> None:
    async with served(close_s=5.0) as it:
        rude = await stuck(it, ("allMids", {}))
        waiting = await it.rude()
        waiting.say(b'{"method":"post","id":1,"request":{"type":"action","payload":{}}}')
        await asyncio.sleep(0.1)
        began = asyncio.get_running_loop().time()
        it.server.should_exit = True
        while it.server.server_state.connections:  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0.1)
        assert asyncio.get_running_loop().time() - began < 16
        assert (await rude.end())[1] == 1012
        texts, code, _ = await waiting.end()
        assert b"the outcome is unknown" in texts[0] and code == 1012


async def test_a_fault_of_ours_ends_one_connection_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    async with served() as it, it.client() as client, it.client() as other:

        def fails(subscription: Subscription) -> str | None:
            raise RuntimeError("a fault of ours")

        it.mirror.hold = fails  # type: ignore[method-assign]
        await client.subscribe()
        assert await client.closed() == (1011, "internal error")
        assert "a fault of ours" in caplog.text
        await other.ping()


async def test_numbers_survive_a_reconnect_of_the_client() -> None:
    async with served(hub=HubLimits(resume_s=60.0)) as it:
        async with it.client() as client:
            await client.subscribe("trades", coin="BTC", replica={"seq": True})
            told = await client.heard()
            it.mirror.push(TRADES, [1])
            last = await client.heard()
        it.mirror.push(TRADES, [2])
        async with it.client() as client:
            resume = {"epoch": told["replica"]["epoch"], "seq": last["replica"]["seq"]}
            await client.subscribe("trades", coin="BTC", replica={"seq": True, "resume": resume})
            assert (await client.heard())["replica"]["resumed"] is True
            assert (await client.heard())["data"] == [2]
