"""`hl-replica record` between its command line and the replica."""

import asyncio
from pathlib import Path
from random import Random
from typing import Any

import pytest

from replica import Clock, Recorder, RecorderSettings, Replica, ReplicaSettings, Rotation
from server.devnode.replay.tape import Tape, read_tape
from server.recording import open_recorder, record, summary
from server.settings import Settings, SettingsError
from tests.upstream import Upstream
from tests.virtual import ALICE, connector, wall

STILL = Clock(monotonic=lambda: 0.0, wall=lambda: 0.0)


def virtual() -> Clock:
    return Clock(monotonic=asyncio.get_running_loop().time, wall=wall)


def test_nothing_is_recorded_unless_it_is_asked_for() -> None:
    assert open_recorder(Settings(), "http://h", STILL) is None


def test_settings_become_the_recorders(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    settings = Settings(
        record_dir=str(folder),
        record_rotate_mb=2,
        record_rotate_minutes=3,
        record_keep=4,
        record_backlog_mb=5,
        record_writes=True,
    )
    recorder = open_recorder(settings, "https://h/SECRET", STILL)
    assert recorder is not None
    recorder.close()
    assert recorder.settings == RecorderSettings(
        folder=folder,
        upstream="https://h/***",
        rotation=Rotation(bytes=2 << 20, seconds=180.0, keep=4),
        backlog_bytes=5 << 20,
        writes=True,
    )
    assert read_tape(folder).upstream == "https://h/***"


def test_a_folder_that_will_not_do_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match=r"^record_dir: can't record into .*file: File exists$"):
        open_recorder(Settings(record_dir=str(tmp_path / "file")), "http://h", STILL)


async def recorded(folder: Path, upstream: Upstream, **options: Any) -> tuple[Tape, Recorder]:
    clock = virtual()
    recorder = Recorder(RecorderSettings(folder=folder), clock=clock)
    recorder.open()
    replica = Replica(
        ReplicaSettings(base_url=upstream.base_url, follow=(ALICE,)),
        clock=clock,
        random=Random(1),
        connector=connector,
        tap=recorder,
    )
    await record(replica, **{"stop": asyncio.Event(), "for_s": 30.0, **options})
    recorder.close()
    return read_tape(folder), recorder


def asked(tape: Tape) -> list[tuple[bytes | None, object]]:
    return [(r.bytes("request"), r.members["status"]) for r in tape.records if r.kind == "http"]


async def test_it_follows_and_has_the_lists_of_markets(tmp_path: Path) -> None:
    upstream = Upstream(wall)
    upstream.faults.answer(200, b"{}", type="spotMeta")
    await upstream.start()
    tape, recorder = await recorded(tmp_path, upstream)
    await upstream.stop()
    pushes = [one.bytes() for one in tape.records if one.kind == "in" and b"States" in (one.bytes() or b"")]
    assert pushes == upstream.frames(ALICE)
    assert len(pushes) >= 6
    assert sorted(asked(tape)) == [
        (b'{"type":"meta"}', 200),
        (b'{"type":"perpDexs"}', 200),
        (b'{"type":"spotMeta"}', 200),
    ]
    assert (tape.length_s, tape.notes) == (30.0, ())
    assert summary(recorder) == (f"recorded {recorder.frames} frames and 3 answers in 1 file of {tmp_path}")


async def test_lists_that_are_not_to_be_had_are_asked_for_again(tmp_path: Path) -> None:
    upstream = Upstream(wall)
    upstream.faults.answer(502, b"", path="/info", times=4)
    upstream.faults.answer(200, b"{}", type="spotMeta")
    await upstream.start()
    tape, _ = await recorded(tmp_path, upstream)
    await upstream.stop()
    answered = [request for request, status in asked(tape) if status == 200]
    assert sorted(answered) == [b'{"type":"meta"}', b'{"type":"perpDexs"}', b'{"type":"spotMeta"}']


async def test_it_stops_when_it_is_told_to(tmp_path: Path) -> None:
    upstream = Upstream(wall)
    await upstream.start()
    stop = asyncio.Event()
    asyncio.get_running_loop().call_later(12.0, stop.set)
    tape, _ = await recorded(tmp_path, upstream, stop=stop, for_s=None)
    await upstream.stop()
    assert tape.length_s == 12.0
    assert tape.notes == ()
