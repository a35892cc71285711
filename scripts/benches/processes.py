"""Child processes: started with a line that says they are ready, stopped by their own id whatever happens."""

import ctypes
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

STOP_S = 10.0
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")
_libc = ctypes.CDLL(None)


class BenchError(Exception):
    """A measurement that could not be made; the message says why."""


@contextmanager
def child(
    name: str,
    argv: Sequence[str],
    folder: Path,
    *,
    ready: str | None = None,
    within_s: float = 60.0,
    environment: Mapping[str, str] | None = None,
) -> Iterator["Child"]:
    """Run `argv` for the length of the block. Returns once a line of its stdout matches `ready`.

    Its stderr goes to a file in `folder`. Raises `BenchError` if it ends or says nothing in time.
    """
    log = folder / f"{name}-{time.monotonic_ns()}.log"
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            argv,
            stdout=subprocess.PIPE,
            stderr=stderr,
            stdin=subprocess.DEVNULL,
            env=environment,
            # Ctrl-C is for the bench, which stops its children in order.
            start_new_session=True,
            preexec_fn=_die_with_parent if sys.platform == "linux" else None,
        )
    try:
        running = Child(name, process, log)
        if ready is not None:
            running.wait_for(ready, within_s)
        yield running
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        assert process.stdout is not None
        process.stdout.close()


def module(name: str, *arguments: object) -> list[str]:
    """The command line of a module of this folder as a process of its own."""
    return [sys.executable, "-P", "-m", f"scripts.benches.{name}", *map(str, arguments)]


def _die_with_parent() -> None:
    # Even if the bench is killed outright, its children end: PR_SET_PDEATHSIG = 1 (prctl.h).
    _libc.prctl(1, signal.SIGTERM)


class Child:
    """A running process. `said` is the match of its ready line."""

    said: re.Match[str]

    def __init__(self, name: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
        self.name = name
        self.pid = process.pid
        self._process = process
        self._log = log
        self._out = b""

    def wait_for(self, pattern: str, within_s: float) -> re.Match[str]:
        """The next line of its stdout that matches. Raises `BenchError`."""
        deadline = time.monotonic() + within_s
        stdout = self._process.stdout
        assert stdout is not None
        while True:
            *lines, self._out = self._out.split(b"\n")
            for number, line in enumerate(lines):
                found = re.search(pattern, line.decode("utf-8", "replace"))
                if found:
                    self._out = b"\n".join([*lines[number + 1 :], self._out])
                    self.said = found
                    return found
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([stdout], [], [], left)[0]:
                raise BenchError(f"{self.name} did not say {pattern!r} within {within_s:g} s{self._why()}")
            more = os.read(stdout.fileno(), 65536)
            if not more:
                raise BenchError(f"{self.name} ended with {self._process.wait()}{self._why()}")
            self._out += more

    def _why(self) -> str:
        last = self._log.read_text("utf-8", "replace").strip().splitlines()[-1:]
        return f": {last[0]}" if last else ""


@contextmanager
def placed(cores: Mapping[int, int]) -> Iterator[None]:
    """Keep each process (by id, 0 is this one) on the core of that number for the length of the block.

    Counted among the cores this process may use, over and over where there are fewer. What is started inside
    the block inherits the place of this process. Does nothing where the system has no such call.
    """
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = {pid: os.sched_getaffinity(pid) for pid in cores}
    usable = sorted(os.sched_getaffinity(0))
    try:
        for pid, core in cores.items():
            os.sched_setaffinity(pid, {usable[core % len(usable)]})
        yield
    finally:
        for pid, usual in before.items():
            os.sched_setaffinity(pid, usual)


def cpu_s(pid: int) -> float:
    """CPU seconds a process has used so far, user and system (resolution 10 ms)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / CLOCK_TICKS


def rss_bytes(pid: int | str = "self") -> int:
    """Resident memory of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise BenchError(f"no VmRSS of {pid}")
