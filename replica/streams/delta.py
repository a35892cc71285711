"""`fastAssetCtxs`: changes of a map, which is whole in the first frame of a connection.

`data` is base64 of raw DEFLATE (no header, no checksum) of `{coin: {markPx?, midPx?}}`; later frames have the
changed coins and of them the changed fields; null is a value (spec/websocket.md section 6).
"""

import binascii
import zlib
from collections.abc import Sequence

import msgspec

from replica.streams.backfill import Backfill
from replica.streams.memory import Now, Out, Tally

MOST_BYTES = 16 << 20
"""Of an unpacked frame; 1600 coins make about 100 kB."""

_HEAD = b'{"channel":"fastAssetCtxs","data":'

_text = msgspec.json.Decoder(str).decode
_contexts = msgspec.json.Decoder(dict[str, dict[str, msgspec.Raw]]).decode


def unpack(data: bytes) -> dict[str, dict[str, msgspec.Raw]]:
    """The map in a frame's `data`. Raises ValueError (and its kind, msgspec's and binascii's errors)."""
    unpacker = zlib.decompressobj(wbits=-15)
    try:
        body = unpacker.decompress(binascii.a2b_base64(_text(data)), MOST_BYTES)
    except zlib.error as error:
        raise ValueError(str(error)) from error
    if not unpacker.eof:
        raise ValueError("cut, or too large")
    return _contexts(body)


def pack(contexts: dict[str, dict[str, msgspec.Raw]]) -> bytes:
    """A whole frame with this map. Values are the bytes that came."""
    packer = zlib.compressobj(wbits=-15)
    body = packer.compress(msgspec.json.encode(contexts)) + packer.flush()
    return b'%s"%s"}' % (_HEAD, binascii.b2a_base64(body, newline=False))


class DeltaMemory:
    """The whole map as changed up to now.

    The first frame of each connection replaces it and goes out as it came: merged into what a listener has
    it makes the same map, save for coins that are gone. Changes that come before it can't (the upstream
    sends it at once after the acknowledgement); would they, they are taken for it and the next frames mend.
    """

    wants: Backfill | None = None
    waits = False

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._contexts: dict[str, dict[str, msgspec.Raw]] = {}
        self._fed = False
        self._begins = True
        self._rendered: bytes | None = None

    def confirmed(self, now: Now) -> Sequence[Out]:
        self._begins = True
        return ()

    def lost(self) -> None:
        self._fed = False

    def receive(self, frame: bytes, data: bytes, now: Now) -> Sequence[Out]:
        try:
            changes = unpack(data)
        except (ValueError, RecursionError):
            self._tally.unreadable += 1
            return (frame,)
        # `Raw` slices hold their whole frame in memory: a copy of each value is what is kept.
        copied = {
            coin: {name: msgspec.Raw(bytes(value)) for name, value in fields.items()}
            for coin, fields in changes.items()
        }
        if self._begins:
            self._contexts = copied
            self._begins = False
        else:
            for coin, fields in copied.items():
                self._contexts.setdefault(coin, {}).update(fields)
        self._fed = True
        self._rendered = None
        return (frame,)

    def overdue(self, now: Now) -> Sequence[Out]:
        return ()

    def healed(self, backfill: Backfill, now: Now) -> Sequence[Out]:
        return ()

    def snapshot(self) -> tuple[bytes, ...]:
        if not self._fed:
            return ()
        if self._rendered is None:
            self._rendered = pack(self._contexts)
        return (self._rendered,)

    def check(self) -> None:
        assert self._rendered is None or unpack(self._rendered[len(_HEAD) : -1]) == self._contexts

    def __repr__(self) -> str:
        return f"<delta {len(self._contexts)} coins{'' if self._fed else ' STALE'}>"
