"""What a devnode keeps of what it saw."""

import asyncio
import json
from collections.abc import Awaitable, Callable

import pytest

from server.devnode import Devnode
from server.devnode.faults import Stage
from server.devnode.seen import Newest, Request, Seen, type_and_dex
from tests.server.devnode.client import Client, http

Start = Callable[..., Awaitable[Devnode]]
Connect = Callable[[Devnode], Awaitable[Client]]
META = {"type": "meta"}


def test_the_newest_are_kept_by_their_number_and_by_their_bytes() -> None:
    few: Newest[int] = Newest(3, 100)
    for number in range(5):
        few.add(number, 10)
    assert (list(few), len(few), few[0], few[1:]) == ([2, 3, 4], 3, 2, [3, 4])
    few.add(5, 85)
    assert (list(few), repr(few)) == ([4, 5], "<Newest 2, 95 bytes>")
    few.add(6, 101)  # too much alone
    assert list(few) == []
    few.add(7, 100)
    few.clear()
    few.add(8, 100)
    assert list(few) == [8]


@pytest.mark.parametrize(
    ("path", "body", "named"),
    [
        ("/info", b'{"type":"meta","dex":"xyz"}', ("meta", "xyz")),
        ("/info", b'{"type":"meta","dex":null}', ("meta", "")),
        ("/info", b'{"type":"meta"}', ("meta", "")),
        ("/info", b'{"type":1,"dex":2}', ("", "")),
        ("/exchange", b'{"action":{"type":"order"}}', ("order", "")),
        ("/exchange", b'{"type":"order"}', ("", "")),
        ("/exchange", b'{"action":[]}', ("", "")),
        ("/info", b"[]", ("", "")),
        ("/info", b'"meta"', ("", "")),
        ("/info", b"{", ("", "")),
    ],
)
def test_a_request_is_named_as_far_as_it_names_itself(path: str, body: bytes, named: tuple[str, str]) -> None:
    assert type_and_dex(path, body) == named
    assert Request(path, body, 0.0).type == named[0]


def test_requests_are_told_as_text() -> None:
    seen = Seen()
    seen.request("/info", b'{"type":"meta"}', 1.5)
    seen.request("/exchange", b"\xff", 2.0)
    assert seen.told() == [
        {"path": "/info", "type": "meta", "at": 1.5, "body": '{"type":"meta"}'},
        {"path": "/exchange", "type": "", "at": 2.0, "body": "\ufffd"},
    ]


async def test_requests_are_kept_as_they_came_heeded_or_not(devnode: Start) -> None:
    node = await devnode()
    odd = b'{ "type":"meta" , "later": 1e2 }'
    await http(node.port, odd)
    await asyncio.sleep(2)
    node.faults.answer(500, times=1)
    await http(node.port, b"{")
    node.faults.cut(Stage.HEAD, path="/info")
    with pytest.raises((IndexError, ValueError, ConnectionError)):
        await http(node.port, META)
    await http(node.port, META, path="/other")
    assert [(one.path, one.body) for one in node.seen.requests] == [("/info", odd), ("/info", b"{")]
    first, second = (one.at for one in node.seen.requests)
    assert second - first == pytest.approx(2.0, abs=0.01)
    assert list(node.seen.heads) == ["/info"] * 3
    assert node.seen.connections == 4
    told = json.loads((await http(node.port, b"", path="/dev/requests", method="GET")).body)
    assert told == node.seen.told()


async def test_half_a_request_is_none(devnode: Start) -> None:
    node = await devnode()
    _, writer = await asyncio.open_connection("127.0.0.1", node.port)
    writer.write(
        b"POST /info HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{}"
    )
    await asyncio.sleep(0.01)
    writer.close()
    await asyncio.sleep(0.01)
    assert (len(node.seen.heads), len(node.seen.requests)) == (1, 0)
    assert (node.stats.info.total(), node.stats.statuses.total()) == (0, 0)


async def test_what_is_said_over_websockets_is_kept_heard_or_not(devnode: Start, connect: Connect) -> None:
    node = await devnode()
    client = await connect(node)
    await client.ask({"method": "ping"})
    await client.ask("what")
    node.faults.go_mute()
    await client.send("hello?")
    await asyncio.sleep(0.01)
    assert list(node.seen.messages) == ['{"method": "ping"}', "what", "hello?"]
    node.faults.heal()
    node.faults.answer(429, path="/ws", times=1)
    with pytest.raises(Exception, match="429"):
        await connect(node)
    assert (len(node.seen.dials), node.sockets) == (2, 1)
    await client.connection.close()
    await asyncio.sleep(0.01)
    assert node.sockets == 0
