"""The recording format, version 2. Pure: an entry in, a line of JSON out.

A recording is a series of files `hl-replica-<run>-<number>.jsonl.gz`: one *run* (a recorder's life, named by the
UTC moment of its start) in files numbered from 000001. In order of names they are in order of time.

**Framing.** Each file is one gzip stream, brought to a byte boundary (Z_SYNC_FLUSH) about every second. Of a file
that ends anywhere, because its writer died or is still writing, everything up to the last flush can be read:
decompress until the input ends and drop what follows the last line feed. A file that was finished has `end` as its
last line. A line is one JSON object in UTF-8 and one line feed; members may come in any order, and a reader
passes over members and kinds it does not know. A later version that it could not read has another `version`.

**Every line** has `kind`, `at` (seconds since the start of the run by a clock that is never set, microseconds kept;
it never decreases within a run, but for carried lines) and `wall` (seconds since 1970 by the machine's clock).

**Bytes** of frames and bodies are kept exactly: `{"text": "..."}` where they are valid UTF-8, and
`{"base64": "..."}` where they are not. What could be misused is left out, its size in bytes is said instead:
`{"withheld": 312}`.

| kind | its members | |
|---|---|---|
| `header` | `format`: "hl-replica recording", `version`: 2, `run`, `file` (its number), `upstream` (without what may hold a key), `connected` | the first line of each file, and there alone; `connected`: whether websocket 0 is up at this point, `sockets`: the numbers of all that are |
| `opened` | `socket` | a websocket's handshake is done |
| `refused` | `socket`, `why`, `status` | a dial failed; `status` is the HTTP answer to the handshake, or null |
| `closed` | `socket`, `by`: "upstream" or "us", `why`, `code` | the connection is over; `code` is that of the upstream's close frame, null where it sent none |
| `in` | `socket`, bytes | one message came over the websocket |
| `out` | `socket`, bytes | one message went out; withheld if it holds a signature |
| `http` | `path`, `took`, `request`: bytes, `status`, `content_type`, `answer`: bytes | a request, told when its answer was whole; it was asked at `at - took`. Of `/exchange` request and answer are withheld, unless the recorder was told to keep them |
| `http` | `path`, `took`, `request`: bytes, `failure` | a request without an answer: a name such as `UpstreamTimeout` |
| `gap` | `since`, `records`, `bytes` | so many lines that belong here were lost since `since`, because they came faster than they could be written |
| `end` | `why`: "rotated" or "stopped" | the last line of a finished file |

`socket` is left out for 0, the websocket of the tracked accounts, which is always wanted; the others are opened
for clients, and closed when nobody needs them. Subscriptions are told apart by it: no two on one socket have frames
that say the same of themselves. (Version 1 knew of one websocket alone, and is read as that.)

A line with `"carried": true` is a copy of an `http` or `out` line of an earlier file of the run, with its original
`at`: the lists of markets and the subscriptions in force are repeated at the head of each file, so that it can be
understood when the first ones are gone.
"""  # noqa: E501 - a table row is one line

import base64
from collections.abc import Mapping
from typing import NamedTuple

import orjson

FORMAT = "hl-replica recording"
VERSION = 2

SIGNED = b'"signature"'


class Entry(NamedTuple):
    """One line to be. `size` is roughly what it costs to keep until it is written, in bytes."""

    at: float
    wall: float
    kind: str
    members: Mapping[str, object]
    size: int = 200


OVERHEAD = 200
"""Of an entry besides its bytes."""


def entry(at: float, wall: float, kind: str, **members: object) -> Entry:
    """An entry; members that are `bytes` are the bytes of the wire."""
    size = OVERHEAD + sum(len(value) for value in members.values() if isinstance(value, bytes))
    return Entry(at, wall, kind, members, size)


def line(one: Entry, **more: object) -> bytes:
    """The line of an entry, with its line feed."""
    members: dict[str, object] = {"kind": one.kind, "at": round(one.at, 6), "wall": round(one.wall, 6)}
    for name, value in one.members.items():
        if isinstance(value, str):
            # Header values of a wild upstream may hold what is no text at all.
            members[name] = value.encode("utf-8", "replace").decode()
        elif not isinstance(value, bytes):
            members[name] = value
        elif one.kind in ("in", "out"):
            members |= kept(value)
        else:
            members[name] = kept(value)
    return orjson.dumps(members | more, option=orjson.OPT_APPEND_NEWLINE)


def kept(raw: bytes) -> dict[str, object]:
    """Bytes as JSON has them."""
    try:
        return {"text": raw.decode()}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(raw).decode()}


def withheld(raw: bytes) -> dict[str, object]:
    return {"withheld": len(raw)}
