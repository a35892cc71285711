"""Files as they grow: flushed, rotated, retained, given up."""

import errno
import gzip
import json
import os
import zlib
from pathlib import Path
from typing import Any

import pytest

from replica.recording.files import Files, Rotation
from replica.recording.format import Entry, entry

RUN = "20260220T113632.000Z"
LISTS = b'{"type":"perpDexs"}'


def frame(at: float, text: bytes = b"{}") -> Entry:
    return entry(at, 1000.0 + at, "in", bytes=text)


def answer(at: float, request: bytes = LISTS, body: bytes = b"[null]", status: int = 200) -> Entry:
    members: dict[str, Any] = {"took": 0.1, "status": status, "content_type": "application/json"}
    return entry(at, 1000.0 + at, "http", path="/info", request=request, answer=body, **members)


def files(folder: Path, run: str = RUN, **rotation: Any) -> Files:
    made = Files(folder, run, "https://h", Rotation(**rotation))
    made.begin(0.0, 1000.0)
    return made


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]


def kinds(path: Path) -> list[str]:
    return [line["kind"] for line in lines(path)]


def test_a_finished_file_is_plain_gzip_with_a_header_and_an_end(tmp_path: Path) -> None:
    made = files(tmp_path)
    made.write([frame(1), frame(2)])
    made.close()
    (path,) = tmp_path.iterdir()
    assert path.name == f"hl-replica-{RUN}-000001.jsonl.gz"
    assert lines(path) == [
        {
            "kind": "header",
            "at": 0.0,
            "wall": 1000.0,
            "format": "hl-replica recording",
            "version": 2,
            "run": RUN,
            "file": 1,
            "upstream": "https://h",
            "connected": False,
            "sockets": [],
        },
        {"kind": "in", "at": 1, "wall": 1001.0, "text": "{}"},
        {"kind": "in", "at": 2, "wall": 1002.0, "text": "{}"},
        {"kind": "end", "at": 2, "wall": 1002.0, "why": "stopped"},
    ]
    assert path.stat().st_mode & 0o777 == 0o600


def test_what_was_flushed_is_there_before_the_end(tmp_path: Path) -> None:
    made = files(tmp_path)
    made.write([frame(1, b"flushed")])
    made.flush()
    made.write([frame(2, b"not yet")])
    (path,) = tmp_path.iterdir()
    text = zlib.decompressobj(wbits=31).decompress(path.read_bytes())
    assert b"flushed" in text and text.endswith(b"\n")
    made.close()


def test_a_file_is_full_by_age(tmp_path: Path) -> None:
    made = files(tmp_path, seconds=10.0)
    made.write([frame(0), frame(9.9), frame(10.0), frame(25.0)])
    made.close()
    assert [[line["at"] for line in lines(tmp_path / name)] for name in names(tmp_path)] == [
        [0, 0, 9.9, 9.9],
        [10, 10, 10],
        [25, 25, 25],
    ]
    assert [lines(tmp_path / name)[-1]["why"] for name in names(tmp_path)] == ["rotated"] * 2 + ["stopped"]


def test_a_file_is_full_by_compressed_size(tmp_path: Path) -> None:
    made = files(tmp_path, bytes=50_000)
    for at in range(300):
        made.write([frame(at, os.urandom(1000).hex().encode())])
        made.flush()
    made.close()
    sizes = [(tmp_path / name).stat().st_size for name in names(tmp_path)]
    assert len(sizes) > 4
    assert all(50_000 <= size < 60_000 for size in sizes[:-1])
    kept = [line["at"] for name in names(tmp_path) for line in lines(tmp_path / name) if line["kind"] == "in"]
    assert kept == list(range(300))


def test_the_oldest_files_go_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    old = files(tmp_path, run="20250101T000000.000Z", seconds=1.0)
    old.write([frame(at) for at in range(3)])
    old.close()
    made = files(tmp_path, seconds=1.0, keep=4)
    made.write([frame(at) for at in range(3)])
    made.close()
    assert names(tmp_path) == [
        "hl-replica-20250101T000000.000Z-000003.jsonl.gz",
        *(f"hl-replica-{RUN}-{number:06}.jsonl.gz" for number in (1, 2, 3)),
        "notes.txt",
    ]


def test_a_folder_never_keeps_more_than_it_may(tmp_path: Path) -> None:
    made = files(tmp_path, seconds=1.0, keep=1)
    for at in range(5):
        made.write([frame(at)])
        made.flush()
        assert len(names(tmp_path)) == 1
    made.close()
    assert names(tmp_path) == [f"hl-replica-{RUN}-000005.jsonl.gz"]


def test_each_file_repeats_the_lists_of_markets_and_says_whether_the_feed_is_up(tmp_path: Path) -> None:
    made = files(tmp_path, seconds=10.0)
    made.write([answer(0.5), answer(0.6, body=b"[null,1]"), answer(0.7, b'{"type":"meta"}', status=500)])
    made.write([answer(0.8, b'{"type":"userFills","user":"0x"}'), answer(0.9, b"[not an object]")])
    made.write([entry(1.0, 0.0, "opened"), frame(10)])
    made.write([entry(20.0, 0.0, "closed", by="us", why="", code=None), frame(30)])
    made.close()
    second, third, fourth = (lines(tmp_path / name) for name in names(tmp_path)[1:])
    for one in (second, third, fourth):
        carried = [line for line in one if line.get("carried")]
        assert [(line["at"], line["answer"]) for line in carried] == [(0.6, {"text": "[null,1]"})]
        assert one[1] is carried[0]
    assert [one[0]["connected"] for one in (second, third, fourth)] == [True, True, False]


def test_each_file_says_which_sockets_are_up_and_repeats_their_subscriptions(tmp_path: Path) -> None:
    made = files(tmp_path, seconds=10.0)
    mids, book = b'"subscription":{"type":"allMids"}}', b'"subscription":{"type":"l2Book","coin":"BTC"}}'

    def sent(at: float, method: bytes, what: bytes, **socket: int) -> Entry:
        return entry(at, 0.0, "out", bytes=b'{"method":"%s",%s' % (method, what), **socket)

    made.write([entry(1.0, 0.0, "opened"), entry(1.0, 0.0, "opened", socket=2)])
    made.write([sent(2.0, b"subscribe", mids), sent(2.0, b"subscribe", mids, socket=2)])
    made.write(
        [sent(3.0, b"subscribe", book, socket=2), frame(10), sent(11.0, b"unsubscribe", mids, socket=2)]
    )
    made.write([frame(20), entry(21.0, 0.0, "closed", by="us", why="", code=None, socket=2), frame(30)])
    made.close()
    second, third, fourth = (lines(tmp_path / name) for name in names(tmp_path)[1:])
    assert [one[0]["sockets"] for one in (second, third, fourth)] == [[0, 2], [0, 2], [0]]
    carried = [
        [(line.get("socket", 0), line["text"]) for line in one if line.get("carried")]
        for one in (second, third, fourth)
    ]
    first = (0, '{"method":"subscribe",' + mids.decode())
    other = (2, '{"method":"subscribe",' + book.decode())
    assert carried == [[first, (2, first[1]), other], [first, other], [first]]


class FullDisk:
    """A file whose disk is full, until it is not."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.full = True
        real = open

        def opened(number: int, mode: str) -> Any:
            file = real(number, mode, buffering=0)
            disk = self

            class File:
                def write(self, data: bytes) -> int:
                    if disk.full:
                        raise OSError(errno.ENOSPC, "no space")
                    return file.write(data)

                def __getattr__(self, name: str) -> Any:
                    return getattr(file, name)

            return File()

        monkeypatch.setattr("replica.recording.files.open", opened, raising=False)


def test_a_full_disk_costs_no_older_file_and_leaves_no_empty_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = files(tmp_path, seconds=1.0, keep=2)
    made.write([frame(0), frame(1)])
    made.flush()
    before = names(tmp_path)
    disk = FullDisk(monkeypatch)
    for at in range(2, 12):
        with pytest.raises(OSError, match="no space"):
            made.write([frame(at)])
            made.flush()
    assert names(tmp_path) == before
    disk.full = False
    made.write([frame(12)])
    made.close()
    assert names(tmp_path) == [f"hl-replica-{RUN}-{number:06}.jsonl.gz" for number in (2, 3)]
    assert kinds(tmp_path / names(tmp_path)[1]) == ["header", "in", "end"]


def test_a_folder_that_is_not_there_is_found_out_at_once(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        files(tmp_path / "gone")
