"""What came in, as it came: requests, heads of requests, what clients say on websockets, and their dials.

Kept for who tests a client: the newest of each, so many and so many bytes. Sans I/O.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar, overload

import orjson

KEPT = 10_000
KEPT_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Request:
    """A request that was read to its last byte, heeded or not. `at` is in seconds of the event loop."""

    path: str
    body: bytes
    at: float

    @property
    def type(self) -> str:
        return type_and_dex(self.path, self.body)[0]


def type_and_dex(path: str, body: bytes) -> tuple[str, str]:
    """The type of an `/info` request or of the action in a write, and its dex; "" for what has none."""
    try:
        fields = orjson.loads(body)
        fields = fields["action"] if path == "/exchange" else fields
        kind, dex = fields["type"], fields.get("dex")
    except (ValueError, KeyError, TypeError):
        return "", ""
    return kind if isinstance(kind, str) else "", dex if isinstance(dex, str) else ""


T = TypeVar("T")


class Newest(Sequence[T], Generic[T]):
    """A list that forgets its oldest items when it has too many, or too many bytes."""

    def __init__(self, most: int = KEPT, most_bytes: int = KEPT_BYTES) -> None:
        self._most, self._most_bytes = most, most_bytes
        self.clear()

    def __repr__(self) -> str:
        return f"<Newest {len(self)}, {self._bytes} bytes>"

    def add(self, item: T, size: int = 0) -> None:
        self._items.append((item, size))
        self._bytes += size
        while len(self._items) > self._most or self._bytes > self._most_bytes:
            self._bytes -= self._items.popleft()[1]

    def clear(self) -> None:
        self._items: deque[tuple[T, int]] = deque()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[T]:
        return (item for item, _ in self._items)

    @overload
    def __getitem__(self, at: int) -> T: ...
    @overload
    def __getitem__(self, at: slice) -> list[T]: ...
    def __getitem__(self, at: int | slice) -> T | list[T]:
        return list(self)[at] if isinstance(at, slice) else self._items[at][0]


@dataclass(slots=True)
class Seen:
    """All of it since the start, or since the `clear` of one of them."""

    requests: Newest[Request] = field(default_factory=Newest)
    heads: Newest[str] = field(default_factory=Newest)  # paths of requests whose head came, cut or not
    messages: Newest[str] = field(default_factory=Newest)  # what clients said over websockets, heard or not
    dials: Newest[float] = field(default_factory=Newest)  # when websockets were asked for, by the event loop
    connections: int = 0  # of any kind, by the sockets

    def request(self, path: str, body: bytes, at: float) -> None:
        self.requests.add(Request(path, body, at), len(body))

    def message(self, text: str) -> None:
        self.messages.add(text, len(text))

    def told(self) -> list[dict[str, Any]]:
        """The requests for JSON; bytes of a body that are no text are replaced."""
        return [
            {"path": one.path, "type": one.type, "at": one.at, "body": one.body.decode(errors="replace")}
            for one in self.requests
        ]
