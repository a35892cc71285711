"""`hl-replica serve` as users run it, told to stop while everyone is talking to it."""

import asyncio
import contextlib
import re
import signal
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from server.devnode import Devnode, Limits
from tests.callers import Caller, CutReply, NoReply
from tests.processes import running

WRITE = {
    "action": {"type": "cancel", "cancels": [{"a": 0, "o": 1}]},
    "nonce": 1,
    "signature": {"r": "0x1", "s": "0x2", "v": 27},
}


@contextlib.asynccontextmanager
async def served(*args: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, int]]:
    """A server process and the port it took. Killed at the end if it is still there."""
    async with running("serve", "--port", "0", *args) as (process, hello):
        found = re.search(r"http://127\.0\.0\.1:(\d+)", hello)
        assert found, hello
        yield process, int(found.group(1))


async def connect(port: int) -> Caller:
    return Caller(*await asyncio.open_connection("127.0.0.1", port))


async def ready(port: int) -> None:
    async with asyncio.timeout(30):
        while True:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /ready HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            answer = await reader.read()
            writer.close()
            if answer.startswith(b"HTTP/1.1 200"):
                return
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("signal_", [signal.SIGTERM, signal.SIGINT])
async def test_a_stop_under_load_loses_no_answer(signal_: signal.Signals, tmp_path: Path) -> None:
    node = Devnode(accounts=20, seed=1, limits=Limits.off())
    upstream = await node.start()
    fed = node.addresses[:10]
    kinds = {
        "memory": ("/info", {"type": "clearinghouseState", "user": fed[0]}),
        "batch": ("/info", {"type": "batchClearinghouseStates", "users": [*fed] * 100}),
        "upstream": ("/info", {"type": "clearinghouseState", "user": node.addresses[15]}),
        "other": ("/info", {"type": "allMids"}),
        "write": ("/exchange", WRITE),
    }
    answered: Counter[str] = Counter()
    unanswered: Counter[str] = Counter()
    broken: list[str] = []

    async def talk(port: int, kind: str) -> None:
        path, body = kinds[kind]
        caller = await connect(port)
        try:
            while True:
                caller.send(body, path)
                reply = await caller.reply()
                answered[kind] += 1
                if reply.status != 200:
                    broken.append(f"{kind}: {reply}")
        except NoReply:
            unanswered[kind] += 1
        except CutReply as error:
            broken.append(f"{kind}: {error.__cause__!r}")
        finally:
            caller.writer.close()

    try:
        # The budget is not what is tested here.
        config = tmp_path / "replica.toml"
        config.write_text("upstream_weight_per_minute = 0\n")
        options = ("--config", str(config), "--upstream", f"http://127.0.0.1:{upstream}", "--track", *fed)
        async with served(*options) as (process, port):
            await ready(port)
            talks = [asyncio.create_task(talk(port, kind)) for kind in kinds for _ in range(10)]
            async with asyncio.timeout(20):
                while min(answered[kind] for kind in kinds) < 20:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
            process.send_signal(signal_)
            async with asyncio.timeout(20):
                await asyncio.gather(*talks)
                _, errors = await process.communicate()
            assert process.returncode == 0, errors
            assert broken == []
            assert b"Traceback" not in errors
            assert unanswered.total() == len(talks)
            # Every write that reached the exchange was answered.
            assert node.stats.exchange["cancel"] == answered["write"]
            with pytest.raises(ConnectionRefusedError):
                await connect(port)
    finally:
        await node.stop()


async def test_it_stops_at_once_when_nobody_is_there() -> None:
    async with served("--network", "dev") as (process, port):
        await ready(port)
        process.terminate()
        async with asyncio.timeout(10):
            await process.communicate()
        assert process.returncode == 0
