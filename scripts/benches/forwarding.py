"""What a forwarded request costs in time: us added at p50, against what nginx `proxy_pass` adds.

Measured: one keep-alive connection, closed loop, to the same upstream directly, through nginx (keep-alive
to the upstream too) and through ours, in turns of a few hundred requests. Added is the median of a round less
the median of the direct requests beside it. Not measured: load, large bodies, connections to be opened.

Where the processes run decides the figures: waking one on another core costs several times what nginx does
to a request. So they are placed. The row has all on one core, where only one of them ever has work and the
figures are the work itself; the notes have client and upstream on one core and the server on another.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from statistics import median

from scripts.benches import states
from scripts.benches.load import Client, http_request
from scripts.benches.nginx import nginx
from scripts.benches.ours import served
from scripts.benches.plan import Plan
from scripts.benches.processes import BenchError, placed
from scripts.benches.table import Row

ACCOUNTS = 10
TURN = 250
"""Requests of one side before it is the other's turn."""
WRITE = (
    b'{"action":{"type":"order","orders":[{"a":0,"b":true,"p":"97000","s":"0.01","r":false,'
    b'"t":{"limit":{"tif":"Gtc"}}}],"grouping":"na"},"nonce":1760000000000,'
    b'"signature":{"r":"0x%s","s":"0x%s","v":27}}' % (b"1" * 64, b"2" * 64)
)
# Of a type whose answers are not kept: any other would be measured from memory.
READ = b'{"type":"legalCheck","user":"%s"}' % states.address(0).encode()
TARGETS = {"exchange": 4.0, "forwarded-read": 4.0}
REQUESTS = {
    "exchange": ("/exchange: latency added at p50", http_request(b"POST", "/exchange", WRITE)),
    "forwarded-read": ("forwarded read: latency added at p50", http_request(b"POST", "/info", READ)),
}


def run(plan: Plan) -> Iterator[Row]:
    with ExitStack() as stack:
        ours = stack.enter_context(served(plan.folder, ACCOUNTS))
        other = stack.enter_context(nginx(plan.tool("nginx"), plan.folder, behind=ours.upstream_port))
        clients = [Client(port) for port in (ours.upstream_port, other.port, ours.port)]
        for client in clients:
            stack.callback(client.close)
        servers = (ours.server.pid, other.worker)
        together = dict.fromkeys((0, ours.upstream.pid, *servers), 0)
        for name in plan.chosen(TARGETS):
            yield _row(plan, name, clients, together, {**together, **dict.fromkeys(servers, 1)})


def _row(
    plan: Plan, name: str, clients: list[Client], together: Mapping[int, int], apart: Mapping[int, int]
) -> Row:
    what, request = REQUESTS[name]
    row = Row(name=name, what=what, other_is="nginx proxy_pass", unit="us", target=TARGETS[name], bound="<=")
    answers = [bytes(client.ask(request)[1]) for client in clients]
    if len(set(answers)) != 1 or not answers[0]:
        raise BenchError(f"different answers: {[answer[:60] for answer in answers]}")
    medians: dict[str, list[list[float]]] = {"one core": [], "two cores": []}
    for _ in range(plan.rounds):
        for where, cores in zip(medians, (together, apart), strict=True):
            with placed(cores):
                medians[where].append(_round(clients, request, plan.requests))
        direct, proxied, through_us = medians["one core"][-1]
        row.add(through_us - direct, proxied - direct, (through_us - direct) / (proxied - direct))
    for where, rounds in medians.items():
        direct, proxied, through_us = map(median, zip(*rounds, strict=True))
        row.notes.append(
            f"{where}: p50 direct {direct:,.0f} us, nginx {proxied:,.0f} us, ours {through_us:,.0f} us: "
            f"added {(through_us - direct) / (proxied - direct):.1f} times nginx"
        )
    row.notes.append(f"{plan.requests} requests a side, round and place")
    return row


def _round(clients: list[Client], request: bytes, requests: int) -> list[float]:
    """Microseconds at p50 of each client."""
    taken: list[list[float]] = [[] for _ in clients]
    for client in clients:
        client.latencies_us(request, TURN)
    for _ in range(max(1, requests // TURN)):
        for client, times in zip(clients, taken, strict=True):
            times += client.latencies_us(request, TURN)
    return [median(times) for times in taken]
