"""Whoever listens in is told everything that is exchanged with the upstream, and what became of it."""

import asyncio
from typing import Any

import pytest

from replica import Subscription
from replica.upstream.rest import Rest
from replica.upstream.tap import Tap
from tests.upstream import Upstream
from tests.virtual import ALICE, WRITE, connector, wall
from tests.watch import Watch, watched

META = b'{"type":"meta"}'


class Notes(Tap):
    """Remembers what it is told of requests and of one websocket."""

    def __init__(self, socket: int = 0) -> None:
        self.told: list[tuple[Any, ...]] = []
        self._socket = socket

    def _note(self, socket: int, *told: Any) -> None:
        if socket == self._socket:
            self.told.append(told)

    def opened(self, *, socket: int = 0) -> None:
        self._note(socket, "opened")

    def refused(self, why: str, status: int | None, *, socket: int = 0) -> None:
        self._note(socket, "refused", why, status)

    def closed(self, why: str, code: int | None, *, by_upstream: bool, socket: int = 0) -> None:
        self._note(socket, "closed", why, code, by_upstream)

    def received(self, frame: bytes, *, socket: int = 0) -> None:
        self._note(socket, "received", frame)

    def sent(self, frame: bytes, *, socket: int = 0) -> None:
        self._note(socket, "sent", frame)

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def answered(
        self, asked: float, path: str, request: bytes, status: int, content_type: str, answer: bytes
    ) -> None:
        self.told.append(("answered", self.now() - asked, path, request, status, content_type, answer))

    def failed(self, asked: float, path: str, request: bytes, why: str) -> None:
        self.told.append(("failed", self.now() - asked, path, request, why))

    def of(self, *kinds: str) -> list[tuple[Any, ...]]:
        return [told for told in self.told if told[0] in kinds]


@pytest.fixture
async def upstream() -> Any:
    one = Upstream(wall)
    await one.start()
    yield one
    await one.stop()


def connections(notes: Notes) -> list[tuple[Any, ...]]:
    return notes.of("opened", "refused", "closed")


async def ready(watch: Watch) -> None:
    await watch.until(1)
    assert watch.program.replica.assess().reasons == ()


async def test_the_sockets_of_clients_are_told_apart(upstream: Upstream) -> None:
    notes = Notes(socket=1)
    async with watched(upstream.base_url, ALICE, tap=notes) as watch:
        await ready(watch)
        subscription = Subscription({"type": "notification", "user": ALICE})
        assert watch.program.replica.mirror.hold(subscription) is None
        await watch.until(10)
        upstream.drop_sockets()
        await watch.until(20)
    told = notes.of("opened", "closed", "refused")
    assert told[:3] == [("opened",), ("closed", "cut", None, True), ("opened",)]
    assert any(b'"notification"' in one[1] for one in notes.of("sent"))
    assert not any(b"allDexsClearinghouseState" in one[1] for one in notes.of("sent", "received"))


async def test_frames_of_both_directions_as_they_are(upstream: Upstream) -> None:
    notes = Notes()
    async with watched(upstream.base_url, ALICE, tap=notes) as watch:
        await ready(watch)
    frames = notes.of("opened", "sent", "received")
    assert frames[0] == ("opened",)
    assert frames[1][0] == "sent"
    assert ALICE.encode() in frames[1][1]
    assert frames[2][0] == "received"
    assert frames[2][1].startswith(b'{"channel":"subscriptionResponse"')
    assert frames[3] == ("received", upstream.frames(ALICE)[0])
    assert connections(notes) == [("opened",), ("closed", "given up", None, False)]


async def test_how_a_connection_ended(upstream: Upstream) -> None:
    notes = Notes()
    async with watched(upstream.base_url, ALICE, tap=notes) as watch:
        await ready(watch)
        upstream.abort()
        await watch.until(2)
        upstream.close_sockets(1012, "restarting")
        await watch.until(5)
        upstream.faults.go_mute()
        await watch.until(60)
    told = connections(notes)
    assert told[:6] == [
        ("opened",),
        ("closed", "cut", None, True),
        ("opened",),
        ("closed", "restarting", 1012, True),
        ("opened",),
        ("closed", "1 of 1 streams silent for 15 s", None, False),
    ]


async def test_dials_that_came_to_nothing() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 429 Too Many\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    notes = Notes()
    async with watched(f"http://127.0.0.1:{port}", ALICE, tap=notes) as watch:
        await watch.until(0.1)
        server.close()
        await watch.until(1)
    assert connections(notes) == [
        ("refused", "InvalidStatus", 429),
        ("refused", "ConnectionRefusedError", None),
    ]


async def test_answers_and_what_came_instead(upstream: Upstream) -> None:
    notes = Notes()
    rest = Rest(
        upstream.base_url, connections=1, connect_timeout_s=1.0, idle_s=5.0, connector=connector, tap=notes
    )
    await rest.open()
    try:
        upstream.faults.latency(0.5)
        upstream.faults.answer(503, b"\xff", type="meta", content_type="text/odd", times=1)
        answer = await rest.post("/info", META, "application/json", deadline_s=3.0)
        assert (answer.status, answer.body) == (503, b"\xff")
        upstream.faults.hang(type="meta")
        with pytest.raises(Exception, match="no answer"):
            await rest.post("/info", META, "application/json", deadline_s=3.0)
        asking = asyncio.create_task(rest.post("/info", META, "application/json", deadline_s=3.0))
        await asyncio.sleep(1)
        asking.cancel()
        await asyncio.wait([asking])
    finally:
        await rest.close()
    assert notes.told == [
        ("answered", pytest.approx(0.5), "/info", META, 503, "text/odd", b"\xff"),
        ("failed", pytest.approx(3.0), "/info", META, "UpstreamTimeout"),
        ("failed", pytest.approx(1.0), "/info", META, "CancelledError"),
    ]


async def test_writes_are_told_as_well(upstream: Upstream) -> None:
    notes = Notes()
    async with watched(upstream.base_url, ALICE, tap=notes) as watch:
        await watch.program.replica.forward_exchange(WRITE, "application/json")
    (told,) = [told for told in notes.of("answered") if told[2] == "/exchange"]
    assert told[3:5] == (WRITE, 200)
