"""What a forwarded request costs in time: us added at p50, against what nginx `proxy_pass` adds.

Measured: one keep-alive connection, closed loop, to the same upstream directly, through nginx (keep-alive
to the upstream too) and through ours, in turns of a few hundred requests. Added is the median of a turn less
the median of the direct turn beside it. Not measured: load, large bodies, connections that must be opened.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from statistics import median

from scripts.benches import states
from scripts.benches.load import Client, http_request
from scripts.benches.nginx import nginx
from scripts.benches.ours import served
from scripts.benches.plan import Plan
from scripts.benches.processes import BenchError
from scripts.benches.table import Row

ACCOUNTS = 10
TURN = 250
"""Requests of one side before it is the other's turn."""
WRITE = (
    b'{"action":{"type":"order","orders":[{"a":0,"b":true,"p":"97000","s":"0.01","r":false,'
    b'"t":{"limit":{"tif":"Gtc"}}}],"grouping":"na"},"nonce":1760000000000,'
    b'"signature":{"r":"0x%s","s":"0x%s","v":27}}' % (b"1" * 64, b"2" * 64)
)
READ = b'{"type":"openOrders","user":"%s"}' % states.address(0).encode()
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
        for name in plan.chosen(TARGETS):
            yield _row(plan, name, clients)


def _row(plan: Plan, name: str, clients: list[Client]) -> Row:
    what, request = REQUESTS[name]
    row = Row(name=name, what=what, other_is="nginx proxy_pass", unit="us", target=TARGETS[name], bound="<=")
    answers = [bytes(client.ask(request)[1]) for client in clients]
    if len(set(answers)) != 1 or not answers[0]:
        raise BenchError(f"different answers: {[answer[:60] for answer in answers]}")
    for client in clients:
        client.latencies_us(request, TURN)
    medians: list[list[float]] = []
    for _ in range(plan.rounds):
        taken: list[list[float]] = [[], [], []]
        for _ in range(max(1, plan.requests // TURN)):
            for client, times in zip(clients, taken, strict=True):
                times += client.latencies_us(request, TURN)
        direct, proxied, through_us = map(median, taken)
        medians.append([direct, proxied, through_us])
        row.add(through_us - direct, proxied - direct, (through_us - direct) / (proxied - direct))
    direct, proxied, through_us = map(median, zip(*medians, strict=True))
    row.notes.append(
        f"p50 direct {direct:,.0f} us, nginx {proxied:,.0f} us, ours {through_us:,.0f} us; "
        f"{plan.requests} requests a side and round"
    )
    return row
