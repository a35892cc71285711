"""The tap and its thread: everything it is told is in the file, and no secret."""

import errno
import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from replica.clock import Clock
from replica.recording.files import Files, Rotation
from replica.recording.recorder import Recorder, RecorderSettings
from server.devnode.replay.tape import Record, Tape, read_tape

SECRET = b'{"action":{"type":"order"},"nonce":1,"signature":{"r":"0x1","s":"0x2","v":27}}'


class Time:
    now = 100.0

    def clock(self) -> Clock:
        return Clock(monotonic=lambda: self.now, wall=lambda: 1_771_587_392.0 + self.now)


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def recorder(tmp_path: Path, time: Time) -> Callable[..., Recorder]:
    def make(**options: Any) -> Recorder:
        made = Recorder(
            RecorderSettings(folder=tmp_path, upstream="https://h", **options), clock=time.clock()
        )
        made.open()
        return made

    return make


def raw(folder: Path) -> bytes:
    return b"".join(gzip.decompress(path.read_bytes()) for path in sorted(folder.iterdir()))


def shown(record: Record) -> tuple[str, float]:
    return record.kind, round(record.at, 6)


def test_everything_it_is_told_is_on_the_tape(
    recorder: Callable[..., Recorder], time: Time, tmp_path: Path
) -> None:
    one = recorder()
    time.now = 100.5
    asked = one.now()
    one.refused("ConnectionRefusedError", None)
    time.now = 101.0
    one.opened()
    one.sent(b'{"method":"ping"}')
    one.received(b'{"channel":"pong"}')
    one.received(b"\xff\xfe")
    one.answered(asked, "/info", b'{"type":"meta"}', 500, "text/html", b"\x80")
    one.failed(asked, "/info", b'{"type":"meta"}', "UpstreamTimeout")
    time.now = 102.0
    one.closed("bye", 1001, by_upstream=True)
    one.close()
    tape = read_tape(tmp_path)
    assert [shown(record) for record in tape.records] == [
        ("refused", 0.5),
        ("opened", 1.0),
        ("out", 1.0),
        ("in", 1.0),
        ("in", 1.0),
        ("http", 1.0),
        ("http", 1.0),
        ("closed", 2.0),
    ]
    refused, _, out, pong, odd, answered, failed, closed = tape.records
    assert refused.members["status"] is None
    assert out.bytes() == b'{"method":"ping"}'
    assert (pong.bytes(), odd.bytes()) == (b'{"channel":"pong"}', b"\xff\xfe")
    assert (answered.bytes("request"), answered.bytes("answer")) == (b'{"type":"meta"}', b"\x80")
    assert (answered.members["status"], answered.members["took"]) == (500, 0.5)
    assert failed.members["failure"] == "UpstreamTimeout"
    assert (closed.members["by"], closed.members["code"], closed.members["why"]) == ("upstream", 1001, "bye")
    assert closed.members["wall"] == 1_771_587_494.0
    assert (tape.upstream, tape.notes) == ("https://h", ())
    assert (one.frames, one.answers, one.lost, one.files) == (2, 1, 0, 1)


def test_sockets_are_told_apart(recorder: Callable[..., Recorder], tmp_path: Path) -> None:
    one = recorder()
    one.refused("E", None, socket=1)
    one.opened(socket=1)
    one.sent(b"{}", socket=1)
    one.received(b"{}", socket=2)
    one.received(b"{}")
    one.closed("bye", 1001, by_upstream=True, socket=1)
    one.close()
    assert [(record.kind, record.socket) for record in read_tape(tmp_path).records] == [
        ("refused", 1),
        ("opened", 1),
        ("out", 1),
        ("in", 2),
        ("in", 0),
        ("closed", 1),
    ]


def tell_secrets(one: Recorder) -> None:
    one.answered(one.now(), "/exchange", SECRET, 200, "application/json", b'{"oid":77}')
    one.failed(one.now(), "/exchange", SECRET, "UpstreamTimeout")
    one.answered(one.now(), "/info", SECRET, 200, "application/json", b'{"oid":77}')
    one.sent(b'{"method":"post","id":1,"request":{"type":"action","payload":' + SECRET + b"}}")
    one.close()


def test_nothing_signed_is_kept(recorder: Callable[..., Recorder], tmp_path: Path) -> None:
    tell_secrets(recorder())
    text = raw(tmp_path)
    for secret in (b"signature", b"0x2", b"nonce", b"oid"):
        assert secret not in text
    answered, failed, _, out = read_tape(tmp_path).records
    assert (answered.members["path"], answered.members["status"]) == ("/exchange", 200)
    assert answered.members["request"] == {"withheld": len(SECRET)}
    assert answered.bytes("answer") is None
    assert failed.members["failure"] == "UpstreamTimeout"
    assert out.members["withheld"] > len(SECRET)


def test_writes_are_kept_when_that_is_asked_for(recorder: Callable[..., Recorder], tmp_path: Path) -> None:
    tell_secrets(recorder(writes=True))
    answered, failed, _, out = read_tape(tmp_path).records
    assert answered.bytes("request") == failed.bytes("request") == SECRET
    assert answered.bytes("answer") == b'{"oid":77}'
    assert SECRET in (out.bytes() or b"")


def test_a_header_that_is_no_text_costs_nothing_else(
    recorder: Callable[..., Recorder], tmp_path: Path
) -> None:
    one = recorder()
    one.answered(one.now(), "/info", b"{}", 200, "text/\udcff", b"{}")
    one.close()
    assert read_tape(tmp_path).records[0].members["content_type"] == "text/?"


def test_what_is_told_before_and_after_is_passed_over(
    recorder: Callable[..., Recorder], tmp_path: Path, time: Time
) -> None:
    early = Recorder(RecorderSettings(folder=tmp_path), clock=time.clock())
    early.opened()
    early.close()
    assert list(tmp_path.iterdir()) == []
    one = recorder()
    one.close()
    one.received(b"late")
    one.close()
    assert read_tape(tmp_path).records == ()


def test_more_than_there_is_room_for_is_a_gap_in_the_file(
    recorder: Callable[..., Recorder], tmp_path: Path, time: Time
) -> None:
    one = recorder(backlog_bytes=10_000)
    one.received(b"a")
    one.received(b"b" * 20_000)
    one.close()
    tape: Tape = read_tape(tmp_path)
    assert [record.kind for record in tape.records] == ["in", "gap"]
    assert tape.records[1].members["records"] == one.lost == 1
    assert tape.notes == ("1 records are missing from it, in 1 places",)


def test_what_the_disk_refused_is_a_gap_once_it_takes_again(
    recorder: Callable[..., Recorder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Driven by hand, in the place of the thread."""
    one = recorder()
    one.close()
    files = Files(tmp_path, "20300101T000000.000Z", "", Rotation())
    one._thread = object()  # type: ignore[assignment]
    write = Files.write

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(Files, "write", refuse)
    for frame in (b"1", b"2", b"3"):
        one.received(frame)
        one._drain(files)
    monkeypatch.setattr(Files, "write", write)
    one.received(b"4")
    one._drain(files)
    files.close()
    tape = read_tape(tmp_path)
    assert [record.kind for record in tape.records] == ["gap", "in"]
    assert tape.records[0].members["records"] == 3
    assert one.lost == 3
