"""uvicorn's HTTP protocol with a short way for reads that memory answers: no task, no ASGI messages.

A `POST /info` whose answer is at hand is written in the very step that its last byte was parsed in. Whatever
is not that simple (a miss, a slow reader, a pipelined or unusual request) goes the ordinary way through
`http.Front`, which asks the same `Info` the same question; so this file may be left out and nothing but
speed is lost. It leans on uvicorn's httptools protocol class, whose version pyproject pins for that reason.
"""

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from server.http import CORS, split_path
from server.info import Info
from server.reply import Reply

LONGEST_BODY = 256 << 10
"""A longer request body takes the ordinary way, which knows how to hold a sender back."""

SMALL = 256 << 10
"""An answer up to this goes out as one buffer; a larger one is not worth copying behind its head."""

_CORS_HEAD = b"".join(b"%s: %s\r\n" % header for header in CORS)


class FastProtocol(HttpToolsProtocol):
    """One client connection. `_parts` is the body of a request on the short way, None on the ordinary one."""

    info: Info
    longest = LONGEST_BODY
    _parts: list[bytes] | None = None
    _size = 0
    _key = ""
    _last = False

    def on_headers_complete(self) -> None:
        parser = self.parser
        if (
            parser.get_method() == b"POST"
            and (self.cycle is None or self.cycle.response_complete)
            and not self.pipeline
            and not self.flow.write_paused
            and not self.expect_100_continue
            and parser.should_keep_alive()
            and not parser.should_upgrade()
            and parser.get_http_version() == "1.1"
            and b"%" not in self.url
        ):
            which, self._key = split_path(self.url.decode("latin-1"))
            if which == "info":
                self._parts = []
                self._size = 0
                return
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if self._parts is None:
            super().on_body(body)
            return
        self._parts.append(body)
        self._size += len(body)
        if self._size > self.longest:
            self._take_ordinary_way()

    def on_message_complete(self) -> None:
        parts = self._parts
        if parts is None:
            super().on_message_complete()
            return
        body = parts[0] if len(parts) == 1 else b"".join(parts)
        key = self._key
        client = f"key {key}" if key else self.client[0] if self.client is not None else ""
        try:
            reply = self.info.begin(body, self.headers, client)
        except Exception:
            # The ordinary way meets the same error, logs it and answers 500.
            reply = None
        if isinstance(reply, Reply) and not self.transport.is_closing():
            self._parts = None
            self._write(reply)
            return
        if reply is not None and not isinstance(reply, Reply):
            reply.close()
        self._take_ordinary_way()
        super().on_message_complete()

    def shutdown(self) -> None:
        if self._parts is not None:
            # A request is half received: it will be answered, and then the connection ends.
            self._last = True
        else:
            super().shutdown()

    def _take_ordinary_way(self) -> None:
        parts, self._parts = self._parts, None
        super().on_headers_complete()
        for part in parts or ():
            super().on_body(part)
        if self._last:
            super().shutdown()

    def _write(self, reply: Reply) -> None:
        body = reply.body
        head = [STATUS_LINE[reply.status]]
        for name, value in self.server_state.default_headers:
            head.append(b"%s: %s\r\n" % (name, value))
        for name, value in reply.headers:
            head.append(b"%s: %s\r\n" % (name, value))
        head.append(_CORS_HEAD)
        if self._last:
            head.append(b"connection: close\r\n")
        head.append(b"content-length: %d\r\n\r\n" % len(body))
        if len(body) <= SMALL:
            head.append(body)
            self.transport.write(b"".join(head))
        else:
            self.transport.writelines((b"".join(head), body))
        if self._last:
            self.transport.close()
        self.on_response_complete()


def fast_protocol(info: Info, *, max_body_bytes: int) -> type[FastProtocol]:
    """A protocol class for uvicorn's `http=`, bound to one server's `info` and its limit."""

    class Bound(FastProtocol):
        pass

    Bound.info = info
    # The ordinary way refuses what is too large.
    Bound.longest = min(LONGEST_BODY, max_body_bytes)
    return Bound
