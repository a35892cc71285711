"""One HTTP exchange as ASGI has it: a body read to its end, an answer as it goes out."""

from __future__ import annotations

from starlette.types import Receive, Send
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from server.devnode.info import Answer

BODY_BYTES = 2 * 1024 * 1024  # the stock limit of the exchange's web framework
EMPTY = Answer(404, b"", "")
NOT_ALLOWED = Answer(405, b"", "")
TOO_LARGE = Answer(413, b"length limit exceeded", "text/plain")
_ALWAYS = (
    (b"access-control-allow-origin", b"*"),
    (b"vary", b"origin, access-control-request-method, access-control-request-headers"),
)


async def read_body(receive: Receive, most: int = BODY_BYTES) -> bytes | Answer | None:
    """The whole body; the answer to one that is too large; None if the client left before its end."""
    parts, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        part = message.get("body", b"")
        size += len(part)
        if size > most:
            return TOO_LARGE
        parts.append(part)
        if not message.get("more_body", False):
            return b"".join(parts)


async def send_answer(send: Send, answer: Answer) -> None:
    await send({"type": "http.response.start", "status": answer.status, "headers": _headers(answer)})
    await send({"type": "http.response.body", "body": answer.body})


def head_of(answer: Answer) -> bytes:
    """The head of an answer as it goes over the wire, for who writes it there by hand."""
    lines = [b"%s: %s\r\n" % header for header in _headers(answer)]
    return STATUS_LINE[answer.status] + b"".join(lines) + b"\r\n"


def _headers(answer: Answer) -> list[tuple[bytes, bytes]]:
    headers = [(b"content-length", str(len(answer.body)).encode()), *_ALWAYS]
    if answer.content_type:
        headers.append((b"content-type", answer.content_type.encode()))
    return headers
