"""Answers from memory against nginx serving the same bytes as a static file: requests per second.

Measured: 16 keep-alive connections, closed loop, one worker process on each side, while the feed goes on
pushing every account each 5 s. nginx is asked by GET, the way static files are served, and has no request
body to read; ours is a POST and reads 45 kB of it for 1000 users. Notes: nginx by POST, and tuned.
Not measured: TLS, networks, many clients, accounts that memory does not hold.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from scripts.benches import states
from scripts.benches.load import Throughput, ask, wrk
from scripts.benches.nginx import Nginx, nginx
from scripts.benches.ours import Served, served
from scripts.benches.plan import Plan
from scripts.benches.processes import BenchError, cpu_s
from scripts.benches.table import Row

ACCOUNTS = 1000
SATURATED = 0.6
"""Of a core, soft interrupts not counted: below it something else than the server was the bottleneck."""
TARGETS = {"batch-1000": (1000, 0.85), "batch-100": (100, 0.7), "single": (0, 0.7)}
"""Row -> how many users it asks for (0: the plain single read) and the ratio to reach."""


def run(plan: Plan) -> Iterator[Row]:
    with served(plan.folder, ACCOUNTS) as ours, nginx(plan.tool("nginx"), plan.folder) as other:
        for name in plan.chosen(TARGETS):
            yield _row(plan, name, ours, other)


def _row(plan: Plan, name: str, ours: Served, other: Nginx) -> Row:
    users, target = TARGETS[name]
    size, request, content = _same_bytes(plan.folder, name, users, ours, other)
    what = f"batch of {users} users" if users else "single clearinghouseState"
    row = Row(
        name=name,
        what=f"{what}, {content / 1000:,.{0 if users else 1}f} kB, from memory",
        other_is="nginx static, GET",
        unit="req/s",
        target=target,
    )
    tool = plan.tool("wrk")
    ours_side = Side(f"http://127.0.0.1:{ours.port}/info", request, ours.server.pid)
    file_side = Side(f"http://127.0.0.1:{other.port}/{name}.json", None, other.worker)
    post_side = Side(file_side.url, request, other.worker)
    tuned_side = Side(f"http://127.0.0.1:{other.tuned_port}/{name}.json", None, other.worker)
    for side in (ours_side, file_side):
        wrk(tool, plan.folder, side.url, 1, side.body)
    for number in range(plan.rounds):
        ours_side.go(plan)
        file_side.go(plan)
        mine, theirs = ours_side.seen[-1].per_s, file_side.seen[-1].per_s
        row.add(mine, theirs, mine / theirs)
        _still_from_memory(ours, request)
        if number < 2:
            post_side.go(plan)
            tuned_side.go(plan)
    by_cpu = median(file_side.cpu_us) / median(ours_side.cpu_us)
    row.notes += [
        f"ours {ours_side.told()}",
        f"nginx {file_side.told()}",
        f"nginx by POST {post_side.told()}",
        f"nginx tuned (open-file cache, 1 MB buffers, no sendfile), GET {tuned_side.told()}",
        f"by CPU per request (without soft interrupts, where loopback does much) the ratio is {by_cpu:.2f}",
        f"the same {size:,} bytes on both sides, checked; request body {request.stat().st_size:,} bytes",
    ]
    if min(*ours_side.busy, *file_side.busy) < SATURATED:
        row.notes.append(
            f"CAUTION: a server used less than {SATURATED:.0%} of a core: the load generator or another "
            "program on this machine set the pace, and the ratio says less than it seems to"
        )
    return row


@dataclass
class Side:
    """One thing to load and the process that answers; a figure of each per round."""

    url: str
    body: Path | None
    pid: int
    seen: list[Throughput] = field(default_factory=list)
    cpu_us: list[float] = field(default_factory=list)
    busy: list[float] = field(default_factory=list)

    def go(self, plan: Plan) -> None:
        """One round."""
        before = cpu_s(self.pid)
        seen = wrk(plan.tool("wrk"), plan.folder, self.url, plan.seconds, self.body)
        used_s = cpu_s(self.pid) - before
        self.seen.append(seen)
        self.cpu_us.append(used_s / seen.requests * 1e6)
        self.busy.append(used_s * seen.per_s / seen.requests)

    def told(self) -> str:
        seen = self.seen
        return (
            f"{median(s.per_s for s in seen):,.0f} req/s, "
            f"{median(s.bytes_per_s for s in seen) / 1e6:,.0f} MB/s, "
            f"p50 {median(s.p50_ms for s in seen):.2f} ms, p99 {median(s.p99_ms for s in seen):.2f} ms, "
            f"{median(self.cpu_us):,.1f} us CPU per request, {median(self.busy):.0%} of a core"
        )


def _same_bytes(folder: Path, name: str, users: int, ours: Served, other: Nginx) -> tuple[int, Path, int]:
    """Put our answer into nginx' file, prove both right. Its size, the request's file, bytes of states."""
    accounts = range(users)
    if users:
        asked = states.batch_request([states.address(n) for n in accounts])
        right = states.batch_answer(accounts, states.USUAL_BYTES)
    else:
        asked = states.single_request(states.address(0))
        right = states.timeless(states.state(0, 0, 10**12, states.USUAL_BYTES))
    request = folder / f"{name}-request.json"
    request.write_bytes(asked)
    status, _, body = ask(ours.port, b"POST", "/info", asked)
    if status != 200 or states.timeless(body) != right:
        raise BenchError(f"our answer is wrong: status {status}, {len(body)} bytes for {len(right)}")
    (other.static / f"{name}.json").write_bytes(body)
    for method, sent in ((b"GET", b""), (b"POST", asked)):
        status, _, served_ = ask(other.port, method, f"/{name}.json", sent)
        if status != 200 or served_ != body:
            raise BenchError(f"nginx serves something else by {method.decode()}: status {status}")
    content = sum(len(states.state(n, 0, 10**12, states.USUAL_BYTES)) for n in accounts or [0])
    return len(body), request, content


def _still_from_memory(ours: Served, request: Path) -> None:
    status, headers, _ = ask(ours.port, b"POST", "/info", request.read_bytes())
    if status != 200 or headers.get("x-replica-source") != "memory":
        raise BenchError(f"not answered from memory: {status} {dict(headers)}")
