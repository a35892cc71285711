"""One HTTP exchange against a server that misbehaves byte by byte. Never a second attempt."""

import asyncio
import gzip
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import aiohttp
import pytest

from replica.errors import UpstreamTimeout, UpstreamUnavailable
from replica.upstream import rest as rest_module
from replica.upstream.rest import Answer, Rest
from tests.replica.upstream.raw_server import (
    URL,
    Behave,
    answer,
    connector,
    cut_after,
    deaf_connector,
    hang,
    listening,
    say,
)

JSON = "application/json"


def now() -> float:
    return asyncio.get_running_loop().time()


@asynccontextmanager
async def opened(
    *,
    url: str = URL,
    connections: int = 4,
    idle_s: float = 15.0,
    connect: Callable[[int, float], aiohttp.BaseConnector] = connector,
) -> AsyncIterator[Rest]:
    rest = Rest(url, connections=connections, connect_timeout_s=3.0, idle_s=idle_s, connector=connect)
    await rest.open()
    try:
        yield rest
    finally:
        await rest.close()


async def test_bytes_there_and_bytes_back() -> None:
    body = b'{ "type" :"meta" , "odd": 1.50}\n'
    async with (
        listening(answer(b'{"a": 1.50}', 200, "Content-Type: application/json; charset=utf-8")) as server,
        opened(url=URL + "/") as rest,
    ):
        got = await rest.post("/info", body, "Application/JSON", deadline_s=10.0)
    assert got == Answer(200, b'{"a": 1.50}', "application/json; charset=utf-8")
    (request,) = server.requests
    assert request.line == "POST /info HTTP/1.1"
    assert request.body == body
    assert request.headers["content-type"] == "Application/JSON"
    assert request.headers["accept-encoding"] == "identity"
    assert request.headers["user-agent"] == "hl-replica"


@pytest.mark.parametrize("status", [200, 201, 400, 404, 405, 422, 429, 500, 502, 503, 504, 533])
async def test_any_status_is_an_answer(status: int) -> None:
    async with listening(answer(b"null", status)), opened() as rest:
        assert await rest.post("/info", b"{}", JSON, deadline_s=10.0) == Answer(status, b"null", "")


async def test_a_redirect_is_an_answer_and_is_not_followed() -> None:
    async with listening(answer(b"", 307, f"Location: {URL}/elsewhere")) as server, opened() as rest:
        assert (await rest.post("/exchange", b"{}", JSON, deadline_s=10.0)).status == 307
    assert len(server.requests) == 1


async def test_what_comes_compressed_all_the_same_is_unpacked() -> None:
    packed = gzip.compress(b"{}")
    async with listening(answer(packed, 200, "Content-Encoding: gzip")), opened() as rest:
        assert (await rest.post("/info", b"{}", JSON, deadline_s=10.0)).body == b"{}"


async def test_what_unpacks_to_more_than_we_are_ready_to_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rest_module, "MAX_ANSWER_BYTES", 100_000)
    packed = gzip.compress(b"x" * 10_000_000)
    assert len(packed) < 100_000
    async with listening(answer(packed, 200, "Content-Encoding: gzip")), opened() as rest:
        with pytest.raises(UpstreamUnavailable, match="too large"):
            await rest.post("/info", b"{}", JSON, deadline_s=10.0)


async def test_a_cookie_is_not_kept() -> None:
    async with listening(answer(b"{}", 200, "Set-Cookie: a=b; Path=/")) as server, opened() as rest:
        for _ in range(2):
            await rest.post("/info", b"{}", JSON, deadline_s=10.0)
    assert "cookie" not in server.requests[1].headers


async def test_a_connection_is_used_again_unless_it_idled_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aiohttp.connector.monotonic", asyncio.get_running_loop().time)
    async with listening(answer(b"{}")) as server, opened(idle_s=15.0) as rest:
        await rest.post("/info", b"{}", JSON, deadline_s=10.0)
        await asyncio.sleep(14.0)
        await rest.post("/info", b"{}", JSON, deadline_s=10.0)
        assert server.connections == 1
        await asyncio.sleep(16.0)
        await rest.post("/info", b"{}", JSON, deadline_s=10.0)
        assert server.connections == 2


# -- failures: after a byte may have left ------------------------------------------------------------------

HALF = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"


@pytest.mark.parametrize(
    "behave",
    [
        cut_after(b""),
        cut_after(b"HTTP/1.1 200"),
        cut_after(b"HTTP/1.1 200 OK\r\nContent-Le"),
        cut_after(HALF),
        cut_after(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"),
        say(b"SSH-2.0-OpenSSH_9.6\r\n\r\n"),
        say(b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n{}"),
        say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}"),
    ],
)
async def test_a_cut_or_garbled_answer_is_unavailable_and_may_have_left(behave: Behave) -> None:
    async with listening(behave) as server, opened() as rest:
        with pytest.raises(UpstreamUnavailable) as failed:
            await rest.post("/exchange", b"{}", JSON, deadline_s=10.0)
    assert failed.value.sent
    assert str(failed.value)
    assert len(server.requests) == 1
    assert now() < 10.0


async def test_a_cut_on_a_used_connection_is_not_tried_again_either() -> None:
    async with listening(answer(b"{}"), cut_after(b"")) as server, opened() as rest:
        await rest.post("/exchange", b"1", JSON, deadline_s=10.0)
        with pytest.raises(UpstreamUnavailable) as failed:
            await rest.post("/exchange", b"2", JSON, deadline_s=10.0)
    assert failed.value.sent
    assert [request.body for request in server.requests] == [b"1", b"2"]


@pytest.mark.parametrize("start", [b"", b"HTTP/1.1 200 OK\r\n", HALF])
async def test_no_whole_answer_within_the_deadline(start: bytes) -> None:
    async def stall(writer: asyncio.StreamWriter) -> None:
        writer.write(start)
        await hang(writer)

    async with opened() as rest, listening(stall) as server:
        with pytest.raises(UpstreamTimeout) as failed:
            await rest.post("/exchange", b"{}", JSON, deadline_s=10.0)
        assert failed.value.sent
        assert str(failed.value) == "no answer within 10 s"
        assert now() == 10.0
        assert len(server.requests) == 1


async def test_an_answer_in_time_however_slowly() -> None:
    async def drip(writer: asyncio.StreamWriter) -> None:
        for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}":
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0.2)

    async with listening(drip), opened() as rest:
        assert (await rest.post("/info", b"{}", JSON, deadline_s=10.0)).body == b"{}"


@pytest.mark.parametrize("told", [True, False])
async def test_more_than_we_are_ready_to_hold(told: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rest_module, "MAX_ANSWER_BYTES", 1000)

    def body(size: int) -> Behave:
        head = f"Content-Length: {size}" if told else "Transfer-Encoding: chunked"
        data = b"x" * size if told else b"%x\r\n%s\r\n0\r\n\r\n" % (size, b"x" * size)
        return say(f"HTTP/1.1 200 OK\r\n{head}\r\n\r\n".encode() + data)

    async with listening(body(1000), body(300_000), answer(b"{}")) as server, opened(connections=1) as rest:
        assert len((await rest.post("/info", b"{}", JSON, deadline_s=10.0)).body) == 1000
        with pytest.raises(UpstreamUnavailable, match="too large"):
            await rest.post("/info", b"{}", JSON, deadline_s=10.0)
        assert (await rest.post("/info", b"{}", JSON, deadline_s=10.0)).body == b"{}"
        assert server.connections == 2  # the rest of the large one was not read


# -- failures: before any byte left ------------------------------------------------------------------------


async def test_nobody_listening() -> None:
    async with opened() as rest:
        with pytest.raises(UpstreamUnavailable) as failed:
            await rest.post("/exchange", b"{}", JSON, deadline_s=10.0)
    assert not failed.value.sent
    assert str(failed.value).startswith("no connection: ")


async def test_no_connection_in_time() -> None:
    async with opened(connect=deaf_connector) as rest:
        with pytest.raises(UpstreamTimeout) as failed:
            await rest.post("/exchange", b"{}", JSON, deadline_s=10.0)
    assert not failed.value.sent
    assert str(failed.value) == "no connection within 3 s"
    assert now() == pytest.approx(3.0, abs=1.0)  # aiohttp rounds long time-outs up


async def test_no_free_connection_in_time() -> None:
    async with opened(connections=1) as rest, listening(hang) as server:
        first = asyncio.create_task(rest.post("/exchange", b"1", JSON, deadline_s=10.0))
        await asyncio.sleep(0.1)
        with pytest.raises(UpstreamTimeout) as failed:
            await rest.post("/exchange", b"2", JSON, deadline_s=10.0)
        assert not failed.value.sent
        with pytest.raises(UpstreamTimeout):
            await first
        assert [request.body for request in server.requests] == [b"1"]


# -- cancelled, at every step there is ---------------------------------------------------------------------


async def test_cancelled_at_any_step_it_leaves_the_pool_as_it_was() -> None:
    reached: set[int] = set()
    async with listening(answer(b"{}")) as server, opened(connections=1) as rest:
        for step in range(40):
            server.requests.clear()
            task = asyncio.create_task(rest.post("/exchange", b"cancelled", JSON, deadline_s=10.0))
            for _ in range(step):
                await asyncio.sleep(0)
            task.cancel()
            outcome = (await asyncio.gather(task, return_exceptions=True))[0]
            assert isinstance(outcome, asyncio.CancelledError | Answer)
            reached.add(len(server.requests) + isinstance(outcome, Answer))
            # One connection is all there is: were it lost, this would not get through.
            assert (await rest.post("/info", b"next", JSON, deadline_s=1.0)).body == b"{}"
            assert sum(request.body == b"cancelled" for request in server.requests) <= 1
    assert reached == {0, 1, 2}, "before it left, after, and after the answer"
