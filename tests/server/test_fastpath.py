"""The short way, driven by hand: bytes into the protocol, writes out of a transport that only listens."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from server.fastpath import SMALL, FastProtocol, fast_protocol
from server.http import Front
from server.reply import JSON, Header, Reply

QUICK, SLOW, FAULT, LARGE = b"quick", b"slow", b"fault", b"large"


class Transport(asyncio.Transport):
    """What was written to it, write by write; `reading` as the protocol asked for."""

    def __init__(self) -> None:
        super().__init__({"sockname": ("127.0.0.1", 1), "peername": ("10.9.8.7", 2)})
        self.writes: list[bytes] = []
        self.closed = False
        self.reading = True

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.closed, "written to after it was closed"
        self.writes.append(bytes(data))

    def writelines(self, list_of_data: Any) -> None:
        self.write(b"".join(list_of_data))

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


class Answers:
    """In place of `Info` and `Exchange`: says what it was asked; slow answers come when `gate` opens."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.finished = 0

    def begin(self, body: bytes, headers: Any, client: str) -> Reply | Coroutine[Any, Any, Reply]:
        if body == FAULT:
            raise RuntimeError("a fault of ours")
        if body == SLOW:
            return self.answer(body, headers, client)
        more = b"x" * (2 * SMALL) if body == LARGE else b""
        return self._say(body + b" from " + client.encode() + more)

    async def answer(self, body: bytes, headers: list[Header], client: str) -> Reply:
        await self.gate.wait()
        self.finished += 1
        if body == FAULT:
            raise RuntimeError("a fault of ours")
        return self._say(body + b" from " + client.encode())

    @staticmethod
    def _say(text: bytes) -> Reply:
        return Reply(200, [(b"content-type", JSON)], text)


class Connection:
    """One client connection on the short way."""

    def __init__(self) -> None:
        self.answers = Answers()
        info: Any = self.answers
        exchange: Any = self.answers
        front = Front(info, exchange, self._nobody, max_body_bytes=1 << 20)
        kind = fast_protocol(info, exchange, max_body_bytes=1 << 20)
        config = uvicorn.Config(front, http=kind, ws="none", lifespan="off", log_config=None)
        self.state = ServerState()
        self.protocol: FastProtocol = kind(config=config, server_state=self.state, app_state={})
        self.transport = Transport()
        self.protocol.connection_made(self.transport)

    @staticmethod
    async def _nobody(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError("another path")

    def send(self, body: bytes, path: bytes = b"/info", more: bytes = b"") -> None:
        head = b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n%s\r\n" % (path, len(body), more)
        self.protocol.data_received(head + body)

    def texts(self) -> list[bytes]:
        """The bodies of the answers, in order."""
        return [part.split(b"\r\n\r\n", 1)[1] for part in self._answers()]

    def _answers(self) -> list[bytes]:
        whole = b"".join(self.transport.writes)
        return [b"HTTP/1.1 " + part for part in whole.split(b"HTTP/1.1 ")[1:]]


async def test_an_answer_at_hand_is_one_write_in_the_same_step() -> None:
    it = Connection()
    it.send(QUICK)
    assert len(it.transport.writes) == 1
    assert it.texts() == [b"quick from 10.9.8.7"]
    it.send(QUICK, path=b"/mykey/info")
    assert it.texts()[1:] == [b"quick from key mykey"]
    assert not it.state.tasks


async def test_a_large_answer_is_whole() -> None:
    it = Connection()
    it.send(LARGE)
    (text,) = it.texts()
    assert len(text) > SMALL
    assert b"content-length: %d\r\n" % len(text) in it.transport.writes[0]


async def test_what_comes_behind_an_awaited_answer_waits_for_it() -> None:
    it = Connection()
    it.send(SLOW)
    it.send(QUICK)
    it.send(SLOW, path=b"/exchange")
    await asyncio.sleep(1)
    assert it.transport.writes == []
    assert not it.transport.reading  # nobody may pile up requests behind one that waits
    it.answers.gate.set()
    await asyncio.sleep(1)
    assert it.texts() == [b"slow from 10.9.8.7", b"quick from 10.9.8.7", b"slow from 10.9.8.7"]
    assert it.transport.reading


async def test_a_client_that_leaves_takes_nothing_with_it() -> None:
    it = Connection()
    it.send(SLOW, path=b"/exchange")
    it.transport.closed = True
    it.protocol.connection_lost(None)
    it.answers.gate.set()
    await asyncio.sleep(1)
    # The write went its way to the end; there was nobody to tell.
    assert it.answers.finished == 1
    assert it.transport.writes == []


async def test_a_request_half_received_at_the_stop_is_the_last_one_answered() -> None:
    it = Connection()
    it.protocol.data_received(b"POST /info HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nqu")
    it.protocol.shutdown()
    assert not it.transport.closed
    it.protocol.data_received(b"ick")
    assert it.texts() == [b"quick from 10.9.8.7"]
    assert b"connection: close\r\n" in it.transport.writes[0]
    assert it.transport.closed


async def test_an_awaited_answer_at_the_stop_is_the_last_one() -> None:
    it = Connection()
    it.send(SLOW)
    it.protocol.shutdown()
    assert not it.transport.closed
    it.answers.gate.set()
    await asyncio.sleep(1)
    assert it.texts() == [b"slow from 10.9.8.7"]
    assert b"connection: close\r\n" in it.transport.writes[0]
    assert it.transport.closed


async def test_an_idle_connection_is_closed_at_the_stop() -> None:
    it = Connection()
    it.send(QUICK)
    it.protocol.shutdown()
    assert it.transport.closed


@pytest.mark.parametrize("said", [b"", b"POST /in", b"POST /info HTTP/1.1\r\nContent-Length: 5\r\n\r\nqu"])
async def test_a_connection_that_says_no_more_is_closed(said: bytes) -> None:
    it = Connection()
    await asyncio.sleep(1)
    if said:
        it.protocol.data_received(said)
    await asyncio.sleep(it.protocol.timeout_keep_alive - 0.5)
    assert it.transport.closed is not bool(said)
    await asyncio.sleep(1)
    assert it.transport.closed


async def test_an_answer_may_take_longer_than_a_silence() -> None:
    it = Connection()
    it.send(SLOW)
    await asyncio.sleep(2 * it.protocol.timeout_keep_alive)
    assert not it.transport.closed
    it.answers.gate.set()
    await asyncio.sleep(1)
    assert it.texts() == [b"slow from 10.9.8.7"]


async def test_a_slow_reader_is_waited_for() -> None:
    it = Connection()
    it.send(SLOW)
    it.protocol.pause_writing()
    it.answers.gate.set()
    await asyncio.sleep(1)
    assert it.transport.writes == []
    it.protocol.resume_writing()
    await asyncio.sleep(1)
    assert it.texts() == [b"slow from 10.9.8.7"]
    # And a request that comes while its answers pile up takes the ordinary way, which waits as well.
    it.protocol.pause_writing()
    it.send(QUICK)
    await asyncio.sleep(1)
    assert len(it.texts()) == 1
    it.protocol.resume_writing()
    await asyncio.sleep(1)
    assert it.texts()[1:] == [b"quick from 10.9.8.7"]


async def test_faults_are_500_on_both_ways(caplog: Any) -> None:
    it = Connection()
    it.send(FAULT)
    it.answers.gate.set()
    it.send(FAULT, path=b"/exchange")
    await asyncio.sleep(1)
    assert [part[:12] for part in it._answers()] == [b"HTTP/1.1 500"] * 2
    assert len(caplog.records) == 2
    assert b"a fault of ours" not in b"".join(it.transport.writes)
    it.send(QUICK)
    assert it.texts()[2:] == [b"quick from 10.9.8.7"]


async def test_what_stands_behind_the_path_is_no_part_of_it() -> None:
    for path in (b"/health?as=/info", b"/health#/info"):
        it = Connection()
        it.send(QUICK, path)
        await asyncio.sleep(1)
        assert it.transport.writes[0].startswith(b"HTTP/1.1 500")  # from the rest of the application


async def test_whatever_is_unusual_goes_the_ordinary_way_to_the_same_answer() -> None:
    for body, path, more in (
        (QUICK, b"/in%66o", b""),
        (QUICK, b"/info?what=/info", b""),
        (QUICK, b"/info#/info", b""),
        (QUICK, b"/info", b"Connection: close\r\n"),
        (b"y" * (300 << 10), b"/info", b""),
    ):
        it = Connection()
        it.send(body, path, more)
        await asyncio.sleep(1)
        assert it.texts() == [body + b" from 10.9.8.7"]
        assert it.transport.closed == bool(more)
