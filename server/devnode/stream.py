"""`/ws`: the shell around one client connection. One task reads, one task writes.

Nothing but the writer ever waits for the client. What is pushed goes into an outbox with a bound; a
client that does not read is cut off, without a closing handshake, as the exchange cuts connections.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import orjson
from starlette.types import Receive, Scope, Send

from server.devnode.faults import Faults, Stage
from server.devnode.feeds import Feeds
from server.devnode.info import RATE_LIMITED, Answer
from server.devnode.limits import Ledger
from server.devnode.seen import Seen
from server.devnode.stats import Stats
from server.devnode.subscriptions import (
    PONG,
    Change,
    Fatal,
    Invalid,
    Offer,
    Ping,
    Post,
    Subscription,
    acknowledgement,
    error,
    read_message,
)

IDLE_S = (
    60.0  # a connection to which nothing was sent for so long is dropped (official docs; wire: 60.2-60.6 s)
)
STALL_S = 20.0  # a single frame may wait so long for the client to read
OUTBOX_CHARS = 64 * 1024 * 1024  # frames are ASCII: characters are bytes
BACKLOG_CHARS = 1024 * 1024  # above this, the next message of the client is left unread


class Stream:
    """What one connection holds and what waits to be sent to it."""

    def __init__(
        self, ip: str, abort: Callable[[], None], stats: Stats, faults: Faults | None = None
    ) -> None:
        self.ip = ip
        self.held: set[Subscription] = set()
        self._abort = abort
        self._stats = stats
        self._faults = faults or Faults()
        self._frames: deque[str] = deque()
        self._chars = 0
        self._ended = False
        self._goodbye: tuple[int, str] | None = None
        self._filled = asyncio.Event()
        self._drained = asyncio.Event()
        self._drained.set()

    def put(self, frame: str) -> None:
        if self._ended or self._faults.mute:
            return
        if self._chars + len(frame) > OUTBOX_CHARS:
            self.drop("slow")
            return
        self._frames.append(frame)
        self._chars += len(frame)
        self._filled.set()
        if self._chars > BACKLOG_CHARS:
            self._drained.clear()

    def close(self, code: int, reason: str) -> None:
        """Say goodbye after what waits to be sent."""
        self._goodbye = code, reason
        self._filled.set()

    def drop(self, why: str) -> None:
        """Cut the connection. Its reader learns of it as a disconnect."""
        self._stats.dropped[why] += 1
        self._end()
        self._abort()

    async def room(self) -> None:
        """Wait until the client has read most of what it was sent. Returns at once after the end."""
        await self._drained.wait()

    async def write(self, send: Send) -> None:
        """Send what is put, until the connection ends."""
        try:
            while not self._ended:
                try:
                    async with asyncio.timeout(IDLE_S):
                        await self._filled.wait()
                except TimeoutError:
                    if self._faults.mute:
                        continue  # nobody knows any more that there is a connection
                    self.drop("idle")
                    return
                while self._frames:
                    frame = self._frames.popleft()
                    try:
                        async with asyncio.timeout(STALL_S):
                            await send({"type": "websocket.send", "text": frame})
                    except TimeoutError:
                        self.drop("slow")
                        return
                    self._chars -= len(frame)
                    if self._chars <= BACKLOG_CHARS:
                        self._drained.set()
                if self._goodbye is not None:
                    code, reason = self._goodbye
                    await send({"type": "websocket.close", "code": code, "reason": reason})
                    return
                if not self._ended:
                    self._filled.clear()
        except (OSError, RuntimeError):
            pass  # the client went away: uvicorn says so with either, depending on how far it was
        finally:
            self._end()

    def _end(self) -> None:
        self._ended = True
        self._frames.clear()
        self._filled.set()
        self._drained.set()


@dataclass(frozen=True, slots=True)
class Streams:
    """The endpoint: accepts connections and carries out what their clients say."""

    feeds: Feeds
    ledger: Ledger
    stats: Stats
    offer: Offer
    post: Callable[[str, Post, Answer | None], str]  # (client address, request, answer if given) -> frame
    faults: Faults
    seen: Seen
    opened: dict[Stream, None] = field(default_factory=dict)  # in the order in which they were

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one websocket, from its handshake to its end."""
        await receive()  # websocket.connect
        self.seen.dials.add(_now())
        ip = client_ip(scope)
        abort: Callable[[], None] = scope["extensions"].get("devnode.abort", {}).get("abort", _nothing)
        if not await self._welcomes(receive, send, abort):
            return
        if not self.ledger.connect(ip, _now()):
            self.stats.refused_connections += 1
            # What the exchange answers to an eleventh connection is not known; this is our guess.
            await _deny(send, RATE_LIMITED)
            return
        stream = Stream(ip, abort, self.stats, self.faults)
        writer: asyncio.Task[None] | None = None
        try:
            await send({"type": "websocket.accept"})
            self.stats.connections += 1
            self.opened[stream] = None
            if self.faults.flapping_s is not None:
                asyncio.get_running_loop().call_later(self.faults.flapping_s, stream.drop, "fault")
            writer = asyncio.create_task(stream.write(send), name=f"devnode-ws-writer-{ip}")
            while (event := await receive())["type"] == "websocket.receive":
                text = event.get("text")
                self._handle(stream, text if text is not None else event["bytes"].decode(errors="replace"))
                await stream.room()
        finally:
            self.opened.pop(stream, None)
            self._release(stream)
            if writer is not None:
                writer.cancel()
                await asyncio.wait([writer])

    async def _welcomes(self, receive: Receive, send: Send, abort: Callable[[], None]) -> bool:
        """Whether the faults let a handshake go on; if not, it was dealt with."""
        wrong = self.faults.request("/ws", b"")
        if wrong is None:
            return True
        if not await lasts(receive, wrong.latency_s):
            return False
        if wrong.hang:
            await gone(receive)
        elif wrong.cut is not None or wrong.raw is not None:
            abort()
            await gone(receive)
        elif wrong.answer is not None:
            self.stats.refused_connections += 1
            await _deny(send, wrong.answer)
        else:
            return True
        return False

    def _handle(self, stream: Stream, raw: str) -> None:
        self.seen.message(raw)
        if self.faults.mute:
            return
        refusal = self.ledger.message(stream.ip, _now())
        if refusal is not None:
            self._refuse(stream, refusal)
            return
        message = read_message(raw, self.offer)
        if isinstance(message, Ping):
            if self.faults.pongs:
                stream.put(PONG)
        elif isinstance(message, Invalid):
            self._refuse(stream, message.error)
        elif isinstance(message, Fatal):
            stream.drop("fatal")
        elif isinstance(message, Post):
            self.stats.posts[message.kind] += 1
            self._post(stream, message)
        elif message.subscribe:
            self._subscribe(stream, message)
        else:
            self._unsubscribe(stream, message)

    def _post(self, stream: Stream, request: Post) -> None:
        """Answer a request over the socket; what is wrong with `/info` and `/exchange` is wrong here."""
        path = "/info" if request.kind == "info" else "/exchange"
        wrong = self.faults.request(path, orjson.dumps(request.payload))
        if wrong is None:
            stream.put(self.post(stream.ip, request, None))
        elif wrong.cut is Stage.READ:
            stream.drop("fault")
        elif not wrong.hang:
            frame = self.post(stream.ip, request, wrong.answer)
            if wrong.cut is not None or wrong.raw is not None:
                stream.drop("fault")
            elif wrong.latency_s:
                asyncio.get_running_loop().call_later(wrong.latency_s, stream.put, frame)
            else:
                stream.put(frame)

    def _subscribe(self, stream: Stream, change: Change) -> None:
        subscription = change.subscription
        if subscription in stream.held:
            self._refuse(stream, f"Already subscribed: {subscription.wire}")
            return
        refusal = self.faults.refusal(subscription) or self.ledger.subscribe(stream.ip, subscription.user)
        if refusal is not None:
            self._refuse(stream, refusal)
            return
        # No await from here on: the acknowledgement goes out before the first data, and no push that
        # comes between can be missed or sent twice.
        stream.held.add(subscription)
        self.stats.subscribed[subscription.kind] += 1
        stream.put(acknowledgement(change))
        self.feeds.join(subscription, stream)

    def _unsubscribe(self, stream: Stream, change: Change) -> None:
        subscription = change.subscription
        if subscription not in stream.held:
            self._refuse(stream, f"Already unsubscribed: {subscription.wire}")
            return
        self._forget(stream, subscription)
        self.stats.unsubscribed[subscription.kind] += 1
        stream.put(acknowledgement(change))

    def _forget(self, stream: Stream, subscription: Subscription) -> None:
        stream.held.remove(subscription)
        self.feeds.leave(subscription, stream)
        self.ledger.unsubscribe(stream.ip, subscription.user)

    def _release(self, stream: Stream) -> None:
        for subscription in list(stream.held):
            self._forget(stream, subscription)
        self.ledger.disconnect(stream.ip)

    def _refuse(self, stream: Stream, text: str) -> None:
        self.stats.errors[" ".join(text.split(maxsplit=2)[:2]).rstrip(":")] += 1
        stream.put(error(text))


async def gone(receive: Receive) -> None:
    """Wait for the end of a connection, whatever else comes over it."""
    while not (await receive())["type"].endswith(".disconnect"):
        pass


async def lasts(receive: Receive, seconds: float) -> bool:
    """Wait this long; False if the client is gone before."""
    if seconds:
        try:
            async with asyncio.timeout(seconds):
                await gone(receive)
        except TimeoutError:
            return True
        return False
    return True


async def _deny(send: Send, answer: Answer) -> None:
    """Answer a handshake with something else than a websocket."""
    headers = [(b"content-type", answer.content_type.encode())]
    await send({"type": "websocket.http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": answer.body})


def client_ip(scope: Scope) -> str:
    client = scope.get("client")
    return client[0] if client else "unknown"


def _now() -> float:
    return asyncio.get_running_loop().time()


def _nothing() -> None:
    """Stands in for a transport where there is none, in tests that call the application directly."""
