"""Load: wrk for throughput, one blocking socket for latency. Loopback only."""

import json
import os
import re
import socket
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from scripts.benches.processes import BenchError

CONNECTIONS = 16
REQUEST_S = 30.0
"""Most that one answer may take before the bench gives up."""

# A body of 45 kB does not go into a command line: the script reads it from a file.
WRK_SCRIPT = """\
local body = os.getenv("BENCH_BODY")
if body then
  wrk.method = "POST"
  wrk.headers["Content-Type"] = "application/json"
  wrk.body = io.open(body, "rb"):read("*a")
end
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    'BENCH {"requests":%d,"seconds":%f,"bytes":%d,"bad":%d,"broken":%d,"p50_ms":%f,"p99_ms":%f}\\n',
    summary.requests, summary.duration / 1e6, summary.bytes,
    e.status, e.connect + e.read + e.write + e.timeout,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
"""


@dataclass(frozen=True)
class Throughput:
    """What wrk saw in one go."""

    requests: int
    per_s: float
    bytes_per_s: float
    p50_ms: float
    p99_ms: float


def wrk(wrk_program: str, folder: Path, url: str, seconds: float, body: Path | None = None) -> Throughput:
    """1 thread, 16 connections, closed loop; GET, or POST of a file.

    Raises `BenchError` unless every answer was a good one.
    """
    script = folder / "load.lua"
    if not script.exists():
        script.write_text(WRK_SCRIPT)
    environment = dict(os.environ)
    if body is not None:
        environment["BENCH_BODY"] = str(body)
    whole = max(1, round(seconds))  # wrk knows whole seconds only
    argv = [wrk_program, "-t1", f"-c{CONNECTIONS}", f"-d{whole}s", f"--timeout={REQUEST_S:g}s"]
    done = subprocess.run(
        [*argv, "-s", str(script), url],
        env=environment,
        capture_output=True,
        text=True,
        timeout=whole + REQUEST_S,
        check=False,
    )
    found = re.search(r"^BENCH (.*)$", done.stdout, re.M)
    if done.returncode or found is None:
        raise BenchError(f"wrk: {(done.stderr or done.stdout).strip()[-300:]}")
    seen = json.loads(found[1])
    if seen["bad"] or seen["broken"] or not seen["requests"]:
        raise BenchError(f"{url} did not answer every request well: {found[1]}")
    return Throughput(
        seen["requests"],
        seen["requests"] / seen["seconds"],
        seen["bytes"] / seen["seconds"],
        seen["p50_ms"],
        seen["p99_ms"],
    )


class Client:
    """One keep-alive connection on a blocking socket: the least jitter a client in Python can have."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=REQUEST_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = memoryview(bytearray(16 << 20))

    def close(self) -> None:
        self._socket.close()

    def ask(self, request: bytes) -> tuple[memoryview, memoryview]:
        """Send a whole request; head and body of the answer, valid until the next call."""
        connection, buffer = self._socket, self._buffer
        connection.sendall(request)
        got, end, whole = 0, -1, -1
        while whole < 0 or got < whole:
            more = connection.recv_into(buffer[got:])
            if not more:
                raise BenchError("the server closed the connection")
            got += more
            if whole < 0:
                head = bytes(buffer[: min(got, 8192)])
                end = head.find(b"\r\n\r\n")
                if end >= 0:
                    at = head.lower().find(b"content-length:", 0, end)
                    whole = end + 4 + (int(head[at + 15 : head.find(b"\r\n", at)]) if at >= 0 else 0)
        return buffer[: end + 2], buffer[end + 4 : whole]

    def latencies_us(self, request: bytes, times: int) -> list[float]:
        """Closed loop: microseconds from the first byte sent to the last one received, each time."""
        taken = []
        clock = time.perf_counter
        for _ in range(times):
            began = clock()
            head, _ = self.ask(request)
            taken.append((clock() - began) * 1e6)
            if bytes(head[9:12]) != b"200":
                raise BenchError(f"answered {bytes(head[:40])!r}")
        return taken


def http_request(method: bytes, path: str, body: bytes = b"") -> bytes:
    """The bytes of one request; a body makes it JSON."""
    head = b"%s %s HTTP/1.1\r\nHost: 127.0.0.1\r\n" % (method, path.encode())
    if body:
        head += b"Content-Type: application/json\r\nContent-Length: %d\r\n" % len(body)
    return head + b"\r\n" + body


def ask(port: int, method: bytes, path: str, body: bytes = b"") -> tuple[int, Mapping[str, str], bytes]:
    """One request on a connection of its own: status, headers (lower-case), body."""
    client = Client(port)
    try:
        head, answer = client.ask(http_request(method, path, body))
        lines = bytes(head).decode("latin-1").split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines[1:] if ": " in line)
        return int(lines[0].split()[1]), headers, bytes(answer)
    finally:
        client.close()
