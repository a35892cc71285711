"""`hl-replica record` and `devnode --replay` as users run them."""

import asyncio
import json
import os
import re
import signal
import sys
from pathlib import Path

import pytest
import websockets

from server.devnode import Devnode, Limits
from server.devnode.replay.tape import read_tape
from tests.processes import running

ROOT = Path(__file__).resolve().parents[2]


async def frames(port: int, user: str, count: int) -> list[str]:
    async with websockets.connect(f"ws://127.0.0.1:{port}/ws", proxy=None, max_size=None) as socket:
        wanted = {"type": "allDexsClearinghouseState", "user": user}
        await socket.send(json.dumps({"method": "subscribe", "subscription": wanted}))
        came = [str(await asyncio.wait_for(socket.recv(), 20)) for _ in range(count + 1)]
    return [frame for frame in came if "subscriptionResponse" not in frame]


@pytest.mark.parametrize("signal_", [signal.SIGTERM, signal.SIGINT])
async def test_what_was_recorded_until_the_signal_is_replayed(
    tmp_path: Path, signal_: signal.Signals
) -> None:
    node = Devnode(accounts=3, limits=Limits.off(), push_s=0.2, tick_s=0.1)
    upstream = f"http://127.0.0.1:{await node.start()}"
    user = node.addresses[0]
    try:
        argv = ("--upstream", upstream, "--track", *node.addresses, "--out", str(tmp_path))
        async with running("record", *argv) as (process, hello):
            assert hello == f"recording 3 accounts of {upstream} into {tmp_path}\n"
            await asyncio.sleep(1.5)
            process.send_signal(signal_)
            out, err = await asyncio.wait_for(process.communicate(), 20)
    finally:
        await node.stop()
    assert (process.returncode, err) == (0, b"")
    assert re.fullmatch(rb"recorded \d+ frames and 3 answers in 1 file of .*\n", out)
    tape = read_tape(tmp_path)
    assert tape.notes == ()
    recorded = [one.bytes() or b"" for one in tape.records if one.kind == "in"]
    pushed = [frame.decode() for frame in recorded if b"States" in frame and user.encode() in frame]
    assert len(pushed) >= 5

    async with running("devnode", "--replay", str(tmp_path), "--port", "0", "--speed", "3") as (
        replay,
        hello,
    ):
        assert hello.startswith("devnode: <Replay of ")
        assert replay.stdout is not None
        found = re.search(rb":(\d+) \(it plays", await replay.stdout.readline())
        assert found
        assert await frames(int(found.group(1)), user, len(pushed)) == pushed
        replay.send_signal(signal_)
        out, err = await asyncio.wait_for(replay.communicate(), 20)
    assert (replay.returncode, err) == (0, b"")


async def test_a_killed_recorder_leaves_what_it_had_a_moment_ago(tmp_path: Path) -> None:
    argv = ("--network", "dev", "--out", str(tmp_path))
    async with running("record", *argv) as (process, _):
        await asyncio.sleep(3)
        process.kill()
        await process.wait()
    tape = read_tape(tmp_path)
    assert len(tape.records) > 1000
    assert "was cut off" in tape.notes[0]


async def test_serve_records_and_says_so_at_its_end(tmp_path: Path) -> None:
    async with running("serve", "--network", "dev", "--port", "0", "--record", str(tmp_path)) as (process, _):
        await asyncio.sleep(2)
        process.terminate()
        out, _ = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 0
    assert re.search(rb"^recorded \d+ frames and \d+ answers in 1 file of ", out, re.MULTILINE)
    assert read_tape(tmp_path).notes == ()


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("record", "--out", "d"), "hl-replica: nothing to record: name accounts with --track\n"),
        (
            ("record", "--network", "dev", "--out", "/dev/null/d"),
            "hl-replica: record_dir: can't record into /dev/null/d: Not a directory\n",
        ),
        (
            ("serve", "--network", "dev", "--port", "0", "--record", "/dev/null/d"),
            "hl-replica: record_dir: can't record into /dev/null/d: Not a directory\n",
        ),
        (("devnode", "--replay", "gone"), "hl-replica: --replay: gone: No such file or directory\n"),
    ],
)
async def test_a_mistake_is_one_line_and_code_2(tmp_path: Path, argv: tuple[str, ...], said: str) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "server", *argv),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    out, err = await asyncio.wait_for(process.communicate(), 20)
    assert (process.returncode, out.decode(), err.decode()) == (2, "", said)
    assert os.listdir(tmp_path) == []
