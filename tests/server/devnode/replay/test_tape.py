"""Reading recordings back, whole, cut off, damaged and hostile."""

import gzip
import json
import zlib
from pathlib import Path
from typing import Any

import pytest

from replica.recording.files import Files, Rotation
from replica.recording.format import entry
from server.devnode.recordings import RecordingError
from server.devnode.replay.tape import read_tape

RUN = "20260220T113632.000Z"
HEADER: dict[str, Any] = {
    "kind": "header",
    "format": "hl-replica recording",
    "version": 1,
    "run": RUN,
    "file": 1,
    "at": 5.0,
    "wall": 1.0,
    "upstream": "https://h",
    "connected": True,
}
END = {"kind": "end", "at": 9.0, "wall": 2.0, "why": "stopped"}


def frame(at: float, text: str = "{}") -> dict[str, Any]:
    return {"kind": "in", "at": at, "wall": 0.0, "text": text}


def text(*lines: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def save(path: Path, *lines: dict[str, Any]) -> Path:
    path.write_bytes(gzip.compress(text(*lines)))
    return path


def refused(path: Path) -> str:
    with pytest.raises(RecordingError) as caught:
        read_tape(path)
    said = str(caught.value)
    assert "\n" not in said
    return said


def name(number: int, run: str = RUN) -> str:
    return f"hl-replica-{run}-{number:06}.jsonl.gz"


def test_a_tape_begins_at_zero_and_leaves_out_what_frames_it(tmp_path: Path) -> None:
    tape = read_tape(save(tmp_path / "a", HEADER, frame(5.5), {"kind": "news", "at": 6, "wall": 0}, END))
    assert [(record.kind, record.at) for record in tape.records] == [("in", 0.5), ("news", 1.0)]
    assert (tape.length_s, tape.connected, tape.upstream, tape.notes) == (4.0, True, "https://h", ())


def test_text_that_was_unzipped_by_hand_is_read_too(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(text(HEADER, frame(6), END))
    assert len(read_tape(tmp_path / "a.jsonl").records) == 1


def test_wherever_a_file_ends_it_is_read_to_its_last_whole_record(tmp_path: Path) -> None:
    files = Files(tmp_path, RUN, "", Rotation())
    files.begin(0.0, 0.0)
    for at in range(1, 9):
        files.write([entry(float(at), 0.0, "in", bytes=b"frame %d" % at)])
        files.flush()
    files.close()
    whole = (tmp_path / name(1)).read_bytes()
    seen = set()
    for size in range(1, len(whole)):
        (tmp_path / "cut").write_bytes(whole[:size])
        held = zlib.decompressobj(wbits=31).decompress(whole[:size]).count(b'"kind":"in"')
        try:
            tape = read_tape(tmp_path / "cut")
        except RecordingError as error:
            assert str(error) == "cut: holds no whole record"
            assert held == 0
            continue
        assert [record.bytes() for record in tape.records] == [
            b"frame %d" % at for at in range(1, len(tape.records) + 1)
        ]
        assert held - 1 <= len(tape.records) <= held  # the last may be half a line
        seen.add(len(tape.records))
        if size < len(whole) - 60:
            assert tape.notes == ("cut was cut off or is still being written: read to its last whole record",)
    assert seen == set(range(9))


def test_the_files_of_the_newest_run_of_a_folder_are_one_tape(tmp_path: Path) -> None:
    old = "20250101T000000.000Z"
    save(tmp_path / name(1, old), {**HEADER, "run": old}, frame(6, "old"), END)
    meta = {
        "kind": "http",
        "at": 3.0,
        "wall": 0,
        "path": "/info",
        "took": 1,
        "request": {"text": '{"type":"meta"}'},
        "status": 200,
        "content_type": "",
        "answer": {"base64": "/w=="},
        "carried": True,
    }
    rotated = {**END, "why": "rotated"}
    save(tmp_path / name(2), {**HEADER, "file": 2}, meta, frame(6, "2"), {**rotated, "at": 6})
    save(tmp_path / name(3), {**HEADER, "file": 3, "at": 7}, meta, frame(8, "3"), END)
    (tmp_path / "notes.txt").write_text("mine")
    tape = read_tape(tmp_path)
    assert [(record.kind, record.at) for record in tape.records] == [("http", -2), ("in", 1), ("in", 3)]
    assert [record.bytes() for record in tape.records[1:]] == [b"2", b"3"]
    assert tape.records[0].bytes("answer") == b"\xff"
    assert tape.notes == ("the newest of 2 runs in this folder is replayed",)
    # The same by hand, as `cat` makes it.
    (tmp_path / "all").write_bytes((tmp_path / name(2)).read_bytes() + (tmp_path / name(3)).read_bytes())
    assert read_tape(tmp_path / "all").records == tape.records
    save(tmp_path / name(5), {**HEADER, "file": 5, "at": 10})
    assert refused(tmp_path) == f"{tmp_path.name}: a file is missing before {name(5)}"


def test_gaps_are_told(tmp_path: Path) -> None:
    gap = {"kind": "gap", "at": 6, "wall": 0, "since": 5, "records": 7, "bytes": 1}
    tape = read_tape(save(tmp_path / "a", HEADER, gap, {**gap, "records": 1}, END))
    assert tape.notes == ("8 records are missing from it, in 2 places",)


HTTP = {"kind": "http", "at": 6, "wall": 0, "path": "/info", "took": 1, "request": {"text": ""}}


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([], "holds no whole record"),
        ([frame(1)], "line 1: no recording: it does not begin with a header"),
        ([{**HEADER, "format": "x"}], "line 1: no recording: it does not begin with a header"),
        ([{**HEADER, "version": 3}], "line 1: format version 3, this reads 1 to 2"),
        ([{**HEADER, "connected": None}], "line 1: a 'header' without its 'connected'"),
        ([HEADER, {**HEADER, "run": "other"}], "line 2: belongs to another run than what is before it"),
        ([HEADER, {"at": 6}], "line 2: no record of a recording"),
        ([HEADER, {"kind": "in"}], "line 2: tells no time"),
        ([HEADER, {"kind": "in", "at": True, "text": ""}], "line 2: tells no time"),
        ([HEADER, frame(6), frame(5.9)], "line 3: goes back in time"),
        ([HEADER, {"kind": "in", "at": 6}], "line 2: a 'in' without its bytes"),
        ([HEADER, {"kind": "in", "at": 6, "base64": "?"}], "line 2: a 'in' without its bytes"),
        ([HEADER, {"kind": "in", "at": 6, "base64": 7}], "line 2: a 'in' without its bytes"),
        ([HEADER, {"kind": "closed", "at": 6, "code": 1, "why": ""}], "line 2: a 'closed' without its 'by'"),
        ([HEADER, {"kind": "refused", "at": 6, "status": "x"}], "line 2: a 'refused' without its 'status'"),
        ([HEADER, HTTP], "line 2: a 'http' without its 'status'"),
        ([HEADER, {**HTTP, "failure": "x", "request": {}}], "line 2: a 'http' without its bytes"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path: Path, lines: list[dict[str, Any]], said: str) -> None:
    assert refused(save(tmp_path / "a", *lines)).replace(": line", " line").endswith(said)


def test_files_that_are_none(tmp_path: Path) -> None:
    assert refused(tmp_path / "gone") == "gone: No such file or directory"
    assert refused(tmp_path) == f"{tmp_path.name}: no recording in this folder (hl-replica-*.jsonl.gz)"
    (tmp_path / "empty").touch()
    assert refused(tmp_path / "empty") == "empty: holds no whole record"
    (tmp_path / "text").write_bytes(b"hello\nworld\n")
    assert refused(tmp_path / "text") == "text line 1: no record of a recording"
    whole = bytearray(
        save(tmp_path / "a", HEADER, *(frame(6, str(n) * 50) for n in range(99)), END).read_bytes()
    )
    (tmp_path / "tail").write_bytes(bytes(whole) + b"\0" * 512)
    assert refused(tmp_path / "tail") == "tail: damaged: it can't be unzipped"


def test_a_damaged_file_is_refused_or_reads_as_it_was(tmp_path: Path) -> None:
    """Every byte of a recording turned round, one at a time."""
    path = save(tmp_path / "a", HEADER, frame(6, "x"), frame(7, "y"), END)
    whole, tape = path.read_bytes(), read_tape(path)
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 0xFF
        path.write_bytes(damaged)
        try:
            read = read_tape(path)
        except RecordingError as error:
            assert "\n" not in str(error)
        else:
            # Bytes of the gzip header that mean nothing; or the very end, which then counts as cut off.
            assert read.records == tape.records
