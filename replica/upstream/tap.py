"""Where somebody may listen in on everything that is exchanged with the upstream.

Both shells (`feed`, `rest`) take a tap or None. What a tap is told are the bytes of the wire, not our reading
of them: it can show afterwards what a fault of ours made of them.
"""

from typing import Protocol


class Tap(Protocol):
    """Called on the event loop at the moment of which it is told. No method may block or raise.

    Paths come without the base URL, and failures as bare names: an URL may hold a key. `socket` numbers the
    websockets: 0 is that of the tracked accounts, the others were opened for clients.
    """

    def opened(self, *, socket: int = 0) -> None:
        """A websocket's handshake is done."""

    def refused(self, why: str, status: int | None, *, socket: int = 0) -> None:
        """A dial came to nothing. `status` is the HTTP answer to the handshake, None where there was none."""

    def closed(self, why: str, code: int | None, *, by_upstream: bool, socket: int = 0) -> None:
        """The connection is over. `code` is that of the peer's close frame, None for a cut."""

    def received(self, frame: bytes, *, socket: int = 0) -> None:
        """One whole message came."""

    def sent(self, frame: bytes, *, socket: int = 0) -> None:
        """One message is about to go out."""

    def now(self) -> float:
        """The moment a request leaves, to be given back with its outcome."""

    def answered(
        self, asked: float, path: str, request: bytes, status: int, content_type: str, answer: bytes
    ) -> None:
        """A request got its whole answer, whatever the status."""

    def failed(self, asked: float, path: str, request: bytes, why: str) -> None:
        """A request got no answer: the name of the error, `CancelledError` where the asker gave up."""
