"""One HTTP exchange with an upstream: pool, deadlines, errors in our names. Never a second attempt.

Reads and writes have a `Rest` each, so that no read can take a write's connection.
"""

import asyncio
from collections.abc import Callable
from typing import NamedTuple

import aiohttp

from replica.errors import UpstreamTimeout, UpstreamUnavailable
from replica.upstream.tap import Tap


class Answer(NamedTuple):
    """What the upstream answered, unchanged. `content_type` is "" where it sent none."""

    status: int
    body: bytes
    content_type: str


MAX_ANSWER_BYTES = 256 << 20
"""Two orders of magnitude more than any answer of the exchange: bounds what a wild upstream makes us hold."""

HEADERS = {"Accept-Encoding": "identity", "User-Agent": "hl-replica"}


class Rest:
    """POSTs to one upstream. Call `open` inside the running loop, `close` before it ends.

    `idle_s`: a connection unused for that long is not used again: the far end may be closing it just now.
    `connector` builds the transport; tests on virtual time bring their own.
    """

    def __init__(
        self,
        base_url: str,
        *,
        connections: int,
        connect_timeout_s: float,
        idle_s: float,
        connector: Callable[[int, float], aiohttp.BaseConnector] | None = None,
        tap: Tap | None = None,
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._connections = connections
        self._connect_timeout = connect_timeout_s
        self._idle = idle_s
        self._make_connector = connector or _tcp
        self._tap = tap
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        self._session = aiohttp.ClientSession(
            connector=self._make_connector(self._connections, self._idle),
            headers=HEADERS,
            cookie_jar=aiohttp.DummyCookieJar(),
            # `connect` bounds the wait for a free connection of the pool too.
            timeout=aiohttp.ClientTimeout(total=None, connect=self._connect_timeout),
        )

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def post(self, path: str, body: bytes, content_type: str, *, deadline_s: float) -> Answer:
        """Send `body` as it is and return the whole answer, whatever its status.

        Raises `UpstreamTimeout` after `deadline_s` seconds, `UpstreamUnavailable` for any other failure on
        the way; both with `sent=False` when no connection could be had, so that no byte has left.
        """
        tap = self._tap
        if tap is None:
            return await self._post(path, body, content_type, deadline_s)
        asked = tap.now()
        try:
            answer = await self._post(path, body, content_type, deadline_s)
        except BaseException as error:
            tap.failed(asked, path, body, type(error).__name__)
            raise
        tap.answered(asked, path, body, answer.status, answer.content_type, answer.body)
        return answer

    async def _post(self, path: str, body: bytes, content_type: str, deadline_s: float) -> Answer:
        assert self._session is not None, "Rest.open was not called"
        try:
            async with (
                asyncio.timeout(deadline_s),
                self._session.post(
                    self._base_url + path,
                    data=body,
                    headers={"Content-Type": content_type},
                    allow_redirects=False,
                ) as response,
            ):
                return Answer(
                    response.status, await _whole(response), response.headers.get("Content-Type", "")
                )
        except aiohttp.ConnectionTimeoutError as error:
            raise UpstreamTimeout(f"no connection within {self._connect_timeout:g} s", sent=False) from error
        except aiohttp.ClientConnectorError as error:
            raise UpstreamUnavailable(f"no connection: {error.os_error}", sent=False) from error
        except TimeoutError as error:
            raise UpstreamTimeout(f"no answer within {deadline_s:g} s") from error
        except (aiohttp.ClientError, OSError) as error:
            raise UpstreamUnavailable(str(error) or type(error).__name__) from error


async def _whole(response: aiohttp.ClientResponse) -> bytes:
    """The body, but no more of it than we are ready to hold."""
    length = response.content_length
    if length is not None and length <= MAX_ANSWER_BYTES and "Content-Encoding" not in response.headers:
        return await response.read()
    if length is None or length <= MAX_ANSWER_BYTES:
        # How long it is, or will be when unpacked, is known at its end alone.
        body = bytearray()
        async for part in response.content.iter_any():
            body += part
            if len(body) > MAX_ANSWER_BYTES:
                break
        else:
            return bytes(body)
    raise UpstreamUnavailable("answer too large")


def _tcp(connections: int, idle_s: float) -> aiohttp.BaseConnector:
    return aiohttp.TCPConnector(limit=connections, keepalive_timeout=idle_s, ttl_dns_cache=60)
