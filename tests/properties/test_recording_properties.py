"""Whatever bytes the wire brings, in whatever files they land: what is read is what was recorded."""

import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from replica.clock import Clock
from replica.recording.files import Rotation
from replica.recording.recorder import Recorder, RecorderSettings
from server.devnode.replay.tape import read_tape

raw = st.one_of(
    st.binary(max_size=60),
    st.text(max_size=30).map(str.encode),
    st.sampled_from(
        [b"", b"\n", b"\r\n", "\u2028\x00\x7f".encode(), b'{"a":1.50}', b"\xed\xa0\x80", b"\xf0"]
    ),
)
pause = st.floats(0.0, 40.0)
happening = st.one_of(
    st.tuples(st.just("in"), raw),
    st.tuples(st.just("out"), raw.filter(lambda one: b'"signature"' not in one)),
    st.tuples(st.just("http"), raw, st.integers(100, 599), st.text(max_size=10), raw),
    st.tuples(st.just("failed"), raw, st.sampled_from(["UpstreamTimeout", "CancelledError"])),
    st.tuples(st.just("opened")),
    st.tuples(st.just("closed"), st.text(max_size=10), st.none() | st.integers(1000, 4999), st.booleans()),
    st.tuples(st.just("refused"), st.text(max_size=10), st.none() | st.integers(100, 599)),
)


@given(st.lists(st.tuples(pause, happening), max_size=30), st.sampled_from([10.0, 100.0, 1e9]))
def test_what_is_read_is_what_was_recorded(happenings: list[Any], rotate_s: float) -> None:
    now = 1000.0
    clock = Clock(monotonic=lambda: now, wall=lambda: 1.77e9 + now)
    expected: list[tuple[Any, ...]] = []
    with tempfile.TemporaryDirectory() as folder:
        rotation = Rotation(seconds=rotate_s, keep=1000)
        one = Recorder(RecorderSettings(folder=Path(folder), rotation=rotation), clock=clock)
        one.open()
        for wait, (kind, *given) in happenings:
            now += wait
            at = round(now - 1000.0, 6)
            asked = one.now()
            match kind, *given:
                case "in", frame:
                    one.received(frame)
                    expected.append((at, "in", frame))
                case "out", frame:
                    one.sent(frame)
                    expected.append((at, "out", frame))
                case "http", request, status, content_type, answer:
                    one.answered(asked, "/info", request, status, content_type, answer)
                    signed = b'"signature"' in request
                    bodies = (None, None) if signed else (request, answer)
                    expected.append((at, "http", bodies[0], status, content_type, bodies[1]))
                case "failed", request, why:
                    one.failed(asked, "/info", request, why)
                    expected.append((at, "http", None if b'"signature"' in request else request, why))
                case "opened", *_:
                    one.opened()
                    expected.append((at, "opened"))
                case "closed", why, code, by_upstream:
                    one.closed(why, code, by_upstream=by_upstream)
                    expected.append((at, "closed", why, code, "upstream" if by_upstream else "us"))
                case "refused", why, status:
                    one.refused(why, status)
                    expected.append((at, "refused", why, status))
        one.close()
        tape = read_tape(Path(folder))
    assert [told(record) for record in tape.records] == expected
    assert tape.notes == ()
    assert one.lost == 0


def told(record: Any) -> tuple[Any, ...]:
    members, head = record.members, (record.at, record.kind)
    match record.kind:
        case "in" | "out":
            return (*head, record.bytes())
        case "http" if "failure" in members:
            return (*head, record.bytes("request"), members["failure"])
        case "http":
            told = members["status"], members["content_type"], record.bytes("answer")
            return (*head, record.bytes("request"), *told)
        case "closed":
            return (*head, members["why"], members["code"], members["by"])
        case "refused":
            return (*head, members["why"], members["status"])
    return head
