"""Reading a recording of `hl-replica record`: files in, records out.

Written from the description of the format (version 2) alone, sharing no code with the writer. A file that was
cut off, by a crash or because it is still being written, is read to its last whole record, and the tape says
so in `notes`. Everything else that is wrong is a `RecordingError`: one line that names the file.
"""

from __future__ import annotations

import base64
import binascii
import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeGuard

import orjson

from server.devnode.recordings import RecordingError

FORMAT, VERSIONS = "hl-replica recording", (1, 2)  # the first knew of one websocket alone
_NAME = re.compile(r"hl-replica-(\d{8}T\d{6}\.\d{3}Z)-(\d{6,})\.jsonl\.gz")
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Record:
    """One line. `at` is in seconds since the tape's beginning."""

    kind: str
    at: float
    members: Mapping[str, Any]

    @property
    def socket(self) -> int:
        """Which websocket it tells of; 0 is the one that is always wanted."""
        return int(self.members.get("socket", 0))

    def bytes(self, name: str | None = None) -> bytes | None:
        """The bytes under this member, or of the frame itself; None where they were withheld."""
        held = self.members if name is None else self.members[name]
        if "text" in held:
            return str(held["text"]).encode()
        return base64.b64decode(held["base64"], validate=True) if "base64" in held else None


@dataclass(frozen=True, slots=True)
class Tape:
    """The records of one run, in order, without headers and repetitions. `connected`: when it begins.

    `began` is when that was by the recorder's clock, in seconds since 1970.
    """

    name: str
    began: float | None
    upstream: str
    connected: bool
    length_s: float
    records: tuple[Record, ...]
    notes: tuple[str, ...]


def read_tape(path: Path) -> Tape:
    """Read one file, or of a folder all files of the newest run. Raises `RecordingError`."""
    notes: list[str] = []
    paths = [path] if not path.is_dir() else _newest_run(path, notes)
    records: list[Record] = []
    first: Mapping[str, Any] | None = None
    begin = last = 0.0
    for one in paths:
        header: Mapping[str, Any] | None = None
        finished = False
        for number, fields in _lines(one):
            where = f"{one.name} line {number}"
            if fields["kind"] == "header":
                header = _header(fields, where)
                if first is None:
                    first, begin, last = header, fields["at"], fields["at"]
                elif header["run"] != first["run"]:
                    raise RecordingError(f"{where}: belongs to another run than what is before it")
            elif header is None or first is None:
                raise RecordingError(f"{where}: no recording: it does not begin with a header")
            _check(fields, where)
            if fields.get("carried") is True:
                if header is first:  # what it repeats is not on this tape
                    records.append(Record(fields["kind"], fields["at"] - begin, fields))
                continue
            if fields["at"] < last:
                raise RecordingError(f"{where}: goes back in time")
            last = fields["at"]
            finished = fields["kind"] == "end"
            if fields["kind"] not in ("header", "end"):
                records.append(Record(fields["kind"], fields["at"] - begin, fields))
        if header is None:
            raise RecordingError(f"{one.name}: holds no whole record")
        if not finished:
            notes.append(f"{one.name} was cut off or is still being written: read to its last whole record")
    if first is None:
        raise RecordingError(f"{path.name}: holds no recording")
    gaps = [record.members for record in records if record.kind == "gap"]
    if gaps:
        lost = sum(gap["records"] for gap in gaps)
        notes.append(f"{lost} records are missing from it, in {len(gaps)} places")
    name = path.name if len(paths) == 1 else f"{path.name}/ run {first['run']}"
    wall = first.get("wall")
    return Tape(
        name,
        float(wall) if _is_number(wall) else None,
        first["upstream"],
        first["connected"],
        last - begin,
        tuple(records),
        tuple(notes),
    )


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _newest_run(folder: Path, notes: list[str]) -> list[Path]:
    matches = [match for name in _names(folder) if (match := _NAME.fullmatch(name))]
    found = sorted((match[1], int(match[2]), match[0]) for match in matches)
    if not found:
        raise RecordingError(f"{folder.name}: no recording in this folder (hl-replica-*.jsonl.gz)")
    newest = found[-1][0]
    older = len({run for run, _, _ in found}) - 1
    if older:
        notes.append(f"the newest of {older + 1} runs in this folder is replayed")
    files = [(number, name) for run, number, name in found if run == newest]
    for (before, _), (after, name) in pairwise(files):
        if after != before + 1:
            raise RecordingError(f"{folder.name}: a file is missing before {name}")
    return [folder / name for _, name in files]


def _names(folder: Path) -> list[str]:
    try:
        return [entry.name for entry in folder.iterdir()]
    except OSError as error:
        raise RecordingError(f"{folder.name}: {error.strerror}") from None


def _lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(number, object) of each whole line."""
    number, rest = 0, b""
    for chunk in _text(path):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            number += 1
            try:
                fields = orjson.loads(line)
            except orjson.JSONDecodeError:
                fields = None
            if not isinstance(fields, dict) or not isinstance(fields.get("kind"), str):
                raise RecordingError(f"{path.name} line {number}: no record of a recording")
            if not _is_number(fields.get("at")):
                raise RecordingError(f"{path.name} line {number}: tells no time")
            yield number, fields


def _text(path: Path) -> Iterator[bytes]:
    """What a file holds, unzipped as far as it goes. Text that was unzipped by hand is taken as it is."""
    try:
        with path.open("rb") as file:
            chunk = file.read(_CHUNK)
            if chunk[:2] != b"\x1f\x8b"[: len(chunk)]:
                while chunk:
                    yield chunk
                    chunk = file.read(_CHUNK)
                return
            unzip = zlib.decompressobj(wbits=31)
            while chunk:
                yield unzip.decompress(chunk)
                chunk = unzip.unused_data
                if unzip.eof:  # several files in one, as `cat` makes them
                    unzip = zlib.decompressobj(wbits=31)
                chunk = chunk or file.read(_CHUNK)
    except OSError as error:
        raise RecordingError(f"{path.name}: {error.strerror}") from None
    except zlib.error:
        raise RecordingError(f"{path.name}: damaged: it can't be unzipped") from None


def _header(fields: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    if fields.get("format") != FORMAT:
        raise RecordingError(f"{where}: no recording: it does not begin with a header")
    if fields.get("version") not in VERSIONS:
        raise RecordingError(
            f"{where}: format version {fields.get('version')!r}, this reads {VERSIONS[0]} to {VERSIONS[-1]}"
        )
    return fields


_MEMBERS: Mapping[str, Mapping[str, type | tuple[type, ...]]] = {
    "header": {"run": str, "file": int, "upstream": str, "connected": bool},
    "refused": {"status": (int, type(None))},
    "closed": {"by": str, "why": str, "code": (int, type(None))},
    "http": {"path": str, "took": (int, float), "request": dict},
    "gap": {"records": int},
}


def _check(fields: Mapping[str, Any], where: str) -> None:
    """Raise where a record lacks what its kind promises. Kinds we do not know promise nothing."""
    kind = fields["kind"]
    if not isinstance(fields.get("socket", 0), int):
        raise RecordingError(f"{where}: a {kind!r} of no 'socket'")
    wanted = dict(_MEMBERS.get(kind, {}))
    contents = [fields] if kind in ("in", "out") else []
    if kind == "http" and "failure" not in fields:
        wanted |= {"status": int, "content_type": str, "answer": dict}
    for name, types in wanted.items():
        if not isinstance(fields.get(name), types):
            raise RecordingError(f"{where}: a {kind!r} without its {name!r}")
        if types is dict:
            contents.append(fields[name])
    for content in contents:
        if not _is_content(content):
            raise RecordingError(f"{where}: a {kind!r} without its bytes")


def _is_content(held: Mapping[str, Any]) -> bool:
    if "base64" in held:
        try:
            base64.b64decode(held["base64"], validate=True)
        except (binascii.Error, TypeError, ValueError):
            return False
        return True
    return isinstance(held.get("text"), str) or isinstance(held.get("withheld"), int)
