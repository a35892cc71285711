"""Our own program as a process, for the tests on real sockets."""

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Mapping
from types import MappingProxyType


@contextlib.asynccontextmanager
async def running(
    *args: str, environment: Mapping[str, str] = MappingProxyType({})
) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """A process of ours, with this added to its environment, and its first line. Killed at the end."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "server", *args),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
    )
    try:
        assert process.stdout is not None
        yield process, (await asyncio.wait_for(process.stdout.readline(), 30)).decode()
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()
