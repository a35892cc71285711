"""The tap that records: notes down on the event loop, writes on a thread of its own.

What it is told on the loop costs a tuple and a lock; encoding, compressing and the disk are the thread's.
"""

import logging
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from threading import Event, Thread

from replica.clock import Clock
from replica.recording.backlog import Backlog, Loss
from replica.recording.files import Files, Rotation
from replica.recording.format import SIGNED, Entry, entry, withheld

logger = logging.getLogger(__name__)

FLUSH_S = 1.0
"""How often what waits is written and flushed: what a crash may take with it."""
CLOSE_S = 30.0
"""How long `close` waits for the disk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecorderSettings:
    """`writes`: keep the bodies of /exchange, which hold signatures. `upstream` is shown in the files."""

    folder: Path
    upstream: str = ""
    rotation: Rotation = field(default_factory=Rotation)
    backlog_bytes: int = 64 << 20
    writes: bool = False


class Recorder:
    """A `Tap`. `open`, be told, `close`; what it is told before or after is passed over."""

    def __init__(self, settings: RecorderSettings, *, clock: Clock) -> None:
        self.settings = settings
        self._clock = clock
        self._backlog = Backlog(settings.backlog_bytes)
        self._began = 0.0
        self._files: Files | None = None
        self._wake = Event()
        self._closing = False
        self._unwritten: Loss | None = None
        self._thread: Thread | None = None
        self.frames = 0
        self.answers = 0
        self.lost = 0

    @property
    def files(self) -> int:
        """How many files were begun."""
        return 0 if self._files is None else self._files.number

    def open(self) -> None:
        """Make the folder and the first file. Raises `OSError` where that can't be done."""
        self.settings.folder.mkdir(parents=True, exist_ok=True)
        self._began, wall = self._clock.monotonic(), self._clock.wall()
        run = datetime.fromtimestamp(wall, UTC).strftime("%Y%m%dT%H%M%S.%f")[:-3] + "Z"
        files = Files(self.settings.folder, run, self.settings.upstream, self.settings.rotation)
        files.begin(0.0, wall)
        self._files = files
        self._thread = Thread(target=self._write_until_closed, args=(files,), name="recorder", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Write what waits and finish the file. Blocks meanwhile: call it when nothing else is to be done."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        self._closing = True
        self._wake.set()
        thread.join(CLOSE_S)
        if thread.is_alive():
            logger.error("the recording could not be finished within %g s", CLOSE_S)

    # -- what a tap is told ------------------------------------------------------------------------------

    def opened(self, *, socket: int = 0) -> None:
        self._note("opened", **_of(socket))

    def refused(self, why: str, status: int | None, *, socket: int = 0) -> None:
        self._note("refused", why=why, status=status, **_of(socket))

    def closed(self, why: str, code: int | None, *, by_upstream: bool, socket: int = 0) -> None:
        self._note("closed", by="upstream" if by_upstream else "us", why=why, code=code, **_of(socket))

    def received(self, frame: bytes, *, socket: int = 0) -> None:
        self.frames += 1
        self._note("in", bytes=frame, **_of(socket))

    def sent(self, frame: bytes, *, socket: int = 0) -> None:
        if SIGNED in frame and not self.settings.writes:
            self._note("out", **withheld(frame), **_of(socket))
        else:
            self._note("out", bytes=frame, **_of(socket))

    def now(self) -> float:
        return self._clock.monotonic()

    def answered(
        self, asked: float, path: str, request: bytes, status: int, content_type: str, answer: bytes
    ) -> None:
        self.answers += 1
        secret = self._secret(path, request)
        self._note(
            "http",
            path=path,
            took=self._since(asked),
            request=withheld(request) if secret else request,
            status=status,
            content_type=content_type,
            answer=withheld(answer) if secret else answer,
        )

    def failed(self, asked: float, path: str, request: bytes, why: str) -> None:
        kept = withheld(request) if self._secret(path, request) else request
        self._note("http", path=path, took=self._since(asked), request=kept, failure=why)

    def _secret(self, path: str, request: bytes) -> bool:
        return not self.settings.writes and (path != "/info" or SIGNED in request)

    def _since(self, asked: float) -> float:
        return round(self._clock.monotonic() - asked, 6)

    def _note(self, kind: str, **members: object) -> None:
        if self._thread is None:
            return
        clock = self._clock
        if self._backlog.put(entry(clock.monotonic() - self._began, clock.wall(), kind, **members)):
            self._wake.set()

    # -- the thread --------------------------------------------------------------------------------------

    def _write_until_closed(self, files: Files) -> None:
        while not self._closing:
            self._wake.wait(FLUSH_S)
            self._wake.clear()
            self._drain(files)
        self._drain(files)
        try:
            files.close()
        except OSError as error:
            logger.error("the recording was not finished: %s", error.strerror)

    def _drain(self, files: Files) -> None:
        """Write what waits. What can't be written is lost, and told of as soon as something can be."""
        batch = self._backlog.take()
        self.lost += sum(_lost(one) for one in batch)
        if self._unwritten is not None:
            batch.insert(0, self._unwritten.told())
        try:
            if batch:
                files.write(batch)
                files.flush()
            self._unwritten = None
        except OSError as error:
            if self._unwritten is None:
                logger.error("can't write the recording, going on without: %s", error.strerror)
            self._lose(batch)
        except Exception:
            # A fault of ours: said loudly, and what comes later is recorded all the same.
            logger.exception("fault in the recorder")
            self._lose(batch)
        finally:
            self._backlog.wrote()

    def _lose(self, batch: list[Entry]) -> None:
        self._unwritten = Loss()
        for one in batch:
            self._unwritten.add(one)
        self.lost += self._unwritten.records - sum(_lost(one) for one in batch)


def _of(socket: int) -> dict[str, object]:
    """The first websocket needs no number."""
    return {"socket": socket} if socket else {}


def _lost(one: Entry) -> int:
    records = one.members["records"] if one.kind == "gap" else 0
    assert isinstance(records, int)
    return records
