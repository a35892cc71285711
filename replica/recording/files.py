"""The files of one run: compressed as they grow, begun anew by size and age, the oldest ones dropped.

Blocking: belongs on a thread of its own.
"""

import os
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import orjson

from replica.recording.format import FORMAT, VERSION, Entry, entry, line

NAME = re.compile(r"hl-replica-\d{8}T\d{6}\.\d{3}Z-\d{6,}\.jsonl\.gz")
LEVEL = 6
"""Of zlib. Measured: account states shrink to a sixth at 70 MB/s, far above what any feed brings."""
CARRIED = frozenset({"perpDexs", "meta", "spotMeta"})
"""Types of /info that every file repeats, so that it can be replayed without those before it."""
CARRIED_MOST = 64
SUBSCRIBE, UNSUBSCRIBE = b'{"method":"subscribe"', b'{"method":"unsubscribe"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotation:
    """When a file is full, by its compressed size and its age, and how many files a folder keeps."""

    bytes: int = 64 << 20
    seconds: float = 3600.0
    keep: int = 24


class Files:
    """`begin`, then `write` and `flush` again and again, `close` once.

    All raise `OSError`. After one, the file at hand is given up: the next `write` begins another.
    """

    def __init__(self, folder: Path, run: str, upstream: str, rotation: Rotation) -> None:
        self._folder = folder
        self._run = run
        self._upstream = upstream
        self._rotation = rotation
        self._file: BinaryIO | None = None
        self._zip = zlib.compressobj(LEVEL, wbits=31)
        self._path = folder
        self._size = 0
        self._began = 0.0
        self._sound = False
        self._up: set[int] = set()
        self._carried: dict[bytes, Entry] = {}
        self._subscribed: dict[tuple[int, bytes], Entry] = {}
        self._last: Entry | None = None
        self.number = 0

    def begin(self, at: float, wall: float) -> None:
        """Make the first file, so that a folder that can't be written to is found out at once."""
        try:
            self._begin(at, wall)
            self.flush()
        except OSError:
            self._give_up()
            raise

    def write(self, entries: Sequence[Entry]) -> None:
        """Append the entries, in as many files as that takes."""
        try:
            for one in entries:
                if self._file is not None and self._full(one):
                    self._finish("rotated")
                if self._file is None:
                    self._begin(one.at, one.wall)
                self._put(line(one))
                self._remember(one)
        except OSError:
            self._give_up()
            raise

    def flush(self) -> None:
        """Bring what was written to where a crash of this process can't take it."""
        try:
            if self._file is not None:
                self._out(self._zip.flush(zlib.Z_SYNC_FLUSH))
                self._file.flush()
                self._reached_the_disk()
        except OSError:
            self._give_up()
            raise

    def close(self) -> None:
        """Finish the file at hand, if there is one."""
        try:
            if self._file is not None:
                self._finish("stopped")
        except OSError:
            self._give_up()
            raise

    def _full(self, one: Entry) -> bool:
        return self._size >= self._rotation.bytes or one.at - self._began >= self._rotation.seconds

    def _begin(self, at: float, wall: float) -> None:
        self._path = self._folder / f"hl-replica-{self._run}-{self.number + 1:06}.jsonl.gz"
        # Positions of named accounts are nobody else's business, and signed actions may be in it.
        number = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        self._file = open(number, "wb")  # noqa: SIM115 - open for as long as it is written to
        self.number += 1
        self._zip = zlib.compressobj(LEVEL, wbits=31)
        self._size = 0
        self._began = at
        self._sound = False
        header = entry(
            at,
            wall,
            "header",
            format=FORMAT,
            version=VERSION,
            run=self._run,
            file=self.number,
            upstream=self._upstream,
            connected=0 in self._up,
            sockets=sorted(self._up),
        )
        self._put(line(header))
        for carried in (*self._carried.values(), *self._subscribed.values()):
            self._put(line(carried, carried=True))

    def _finish(self, why: str) -> None:
        assert self._file is not None
        last = self._last
        self._put(line(entry(last.at if last else 0.0, last.wall if last else 0.0, "end", why=why)))
        self._out(self._zip.flush(zlib.Z_FINISH))
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._file = None
        self._reached_the_disk()

    def _give_up(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            try:
                file.close()
            except OSError:
                pass  # said already, by what brought us here
            if not self._sound:  # a full disk must not collect empty files in place of full ones
                self._path.unlink(missing_ok=True)
                self.number -= 1

    def _reached_the_disk(self) -> None:
        """Only a file that could be written to makes an older one go."""
        if not self._sound:
            self._sound = True
            self._drop_oldest()

    def _put(self, text: bytes) -> None:
        self._out(self._zip.compress(text))

    def _out(self, compressed: bytes) -> None:
        assert self._file is not None
        if compressed:
            self._file.write(compressed)
            self._size += len(compressed)

    def _remember(self, one: Entry) -> None:
        self._last = one
        if one.kind in ("opened", "closed"):
            socket = one.members.get("socket", 0)
            assert isinstance(socket, int)
            (self._up.add if one.kind == "opened" else self._up.discard)(socket)
            for key in [key for key in self._subscribed if key[0] == socket]:
                del self._subscribed[key]
        elif one.kind == "out":
            self._remember_sent(one)
        elif one.kind == "http" and one.members.get("status") == 200:
            request = one.members["request"]
            # The newest of each stays; under ever new spellings there is no room for more.
            if (
                isinstance(request, bytes)
                and (request in self._carried or len(self._carried) < CARRIED_MOST)
                and _is_carried(request)
            ):
                self._carried[request] = one

    def _remember_sent(self, one: Entry) -> None:
        frame, socket = one.members.get("bytes"), one.members.get("socket", 0)
        if not isinstance(frame, bytes) or not isinstance(socket, int):
            return
        # As the replica writes them: an unsubscribe is the same text, but for its method.
        subscribe = frame.replace(UNSUBSCRIBE, SUBSCRIBE, 1)
        if frame.startswith(SUBSCRIBE):
            self._subscribed[socket, subscribe] = one
        elif frame.startswith(UNSUBSCRIBE):
            self._subscribed.pop((socket, subscribe), None)

    def _drop_oldest(self) -> None:
        present = self._path.name
        names = sorted(name for name in os.listdir(self._folder) if NAME.fullmatch(name) and name != present)
        for name in names[: max(0, len(names) + 1 - self._rotation.keep)]:
            (self._folder / name).unlink(missing_ok=True)


def _is_carried(request: bytes) -> bool:
    if len(request) > 200:
        return False
    try:
        fields = orjson.loads(request)
    except orjson.JSONDecodeError:
        return False
    return isinstance(fields, dict) and fields.get("type") in CARRIED
