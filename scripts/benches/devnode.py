"""The simulated exchange under signed orders: verified, matched, reported, with little and with much resting.

Measured: the CPU seconds (of one process, on one core) that signed orders take from the bytes of the request
to those of the answer: decoded, signer recovered, nonce used, matched, booked, and rendered for a listener of
`orderUpdates` and `userFills` of both traders. Of five orders two rest at the middle, two take them, one is
a `modify` of another deep in the book. Signed beforehand. With 10,000 orders in the same book, half of them
the traders' own, over a thousand levels a side; and with the house's alone. Beside it, in turns: recovering
the keys of the same signatures by the library alone. Prices stand still. Notes: over loopback.

    python -m scripts.benches.devnode inside ROUNDS ORDERS     (the process that is measured)
    python -m scripts.benches.devnode serve RESTING            (the one that is asked over loopback)
"""

import asyncio
import gc
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import aiohttp
import orjson
import uvloop
from coincurve import PrivateKey, PublicKey
from hyperliquid.utils.signing import sign_l1_action

from scripts.benches.load import CONNECTIONS, http_request
from scripts.benches.plan import Plan
from scripts.benches.processes import BenchError, child, cpu_s, module, placed
from scripts.benches.table import Row
from server.devnode import Devnode, Limits
from server.devnode.engine.units import number
from server.devnode.market import Exchange
from server.devnode.prices import legal
from server.devnode.subscriptions import Subscription
from server.signing.catalogue import canonical_action
from server.signing.ecrecover import keccak256
from server.signing.l1 import agent_digest, connection_id

RESTING = 10_000
SEED = 1
DEPOSIT_USD = 10_000_000
ORDER_USD = 100
BATCH = 200
IDLE = 0.9
"""Of the clock's time, at least, that the measured process had its core."""
JSON = "application/json"
TARGETS = {"devnode-orders": 2_000.0, "devnode-resting": 0.8}


def run(plan: Plan) -> Iterator[Row]:
    wanted = plan.chosen(TARGETS)
    orders = 2_000 if plan.quick else 5_000
    with placed({0: 0}):  # the child inherits it
        inside = module("devnode", "inside", plan.rounds, orders)
        with child("devnode", inside, plan.folder) as process:
            rounds = [
                json.loads(process.wait_for(r"^round (.*)$", within_s=180)[1]) for _ in range(plan.rounds)
            ]
    if "devnode-orders" in wanted:
        yield _orders(plan, rounds)
    if "devnode-resting" in wanted:
        row = Row(
            name="devnode-resting",
            what=f"devnode: signed orders a second, {RESTING:,} resting in the book",
            other_is="house's alone",
            unit="/s",
            target=TARGETS["devnode-resting"],
        )
        for one in rounds:
            row.add(one["full"], one["empty"], one["full"] / one["empty"])
        yield row


def _orders(plan: Plan, rounds: list[dict[str, float]]) -> Row:
    row = Row(
        name="devnode-orders",
        what="devnode: signed orders verified, matched and reported, one core",
        other_is="bare recoveries",
        unit="/s",
        target=TARGETS["devnode-orders"],
        absolute=True,
    )
    for one in rounds:
        row.add(one["empty"], one["curve"], one["empty"] / one["curve"])
    row.notes += [
        "the target is of our figure; the ratio is the share of the time that the curve alone takes",
        f"seconds are of CPU; by the clock {median(one['wall'] for one in rounds):,.0f}/s",
        f"{median(one['frames'] for one in rounds):.2f} frames a listener hears per order",
    ]
    for resting in (0, RESTING):
        row.notes.append(_over_loopback(plan, resting))
    if median(one["wall"] / one["empty"] for one in rounds) < IDLE:
        row.notes.append("CAUTION: other programs had this core too; what is by the clock says little")
    return row


# -- traders -------------------------------------------------------------------------------------------


@dataclass
class Trader:
    """A key, and the nonces it has used."""

    key: PrivateKey
    nonce: int

    @classmethod
    def of(cls, number: int, nonce: int) -> "Trader":
        return cls(PrivateKey(number.to_bytes(32, "big")), nonce)

    @property
    def address(self) -> str:
        return "0x" + keccak256(self.key.public_key.format(compressed=False)[1:])[12:].hex()

    def sign(self, action: dict[str, Any]) -> "Signed":
        self.nonce += 1
        digest = agent_digest(connection_id(canonical_action(action), self.nonce, None, None), mainnet=False)
        raw = self.key.sign_recoverable(digest, hasher=None)
        words = {"r": "0x" + raw[:32].hex(), "s": "0x" + raw[32:64].hex(), "v": raw[64] + 27}
        request = {"action": action, "nonce": self.nonce, "signature": words, "vaultAddress": None}
        return Signed(orjson.dumps(request), raw, digest)


@dataclass(frozen=True)
class Signed:
    body: bytes
    signature: bytes
    digest: bytes


@dataclass
class Lane:
    """Two traders in one market, one of whom rests and one of whom takes, both sides in turn."""

    source: Exchange
    asset: int
    nonce: int
    moved: int = 0
    maker: Trader = field(init=False)
    taker: Trader = field(init=False)

    def __post_init__(self) -> None:
        self.maker, self.taker, *self.others = (
            Trader.of(1 + 4 * self.asset + place, self.nonce) for place in range(4)
        )
        self.inst = self.source.engine.listing.by_asset[self.asset]
        self.middle = self.source.engine.ground.state.marks[self.asset]
        self.lots = ORDER_USD * 1_000_000 // self.middle + 1

    def row(self, is_buy: bool, px: int, tif: str, cloid: str | None = None) -> dict[str, Any]:
        inst = self.inst
        found = {
            "a": self.asset,
            "b": is_buy,
            "p": number(px, inst.px_decimals).removesuffix(".0"),
            "s": number(self.lots, inst.sz_decimals).removesuffix(".0"),
            "r": False,
            "t": {"limit": {"tif": tif}},
        }
        return found | ({"c": cloid} if cloid else {})

    def deep(self, step: int, is_buy: bool) -> int:
        """A price behind the house's ladder."""
        away = self.middle * (120 + step % 1000) // 10_000
        return legal(self.middle - away if is_buy else self.middle + away, self.inst.px_decimals)

    @property
    def cloid(self) -> str:
        return f"0x{self.asset:032x}"

    def prepare(self, resting: int) -> None:
        """Fund the traders; let so many orders rest, of four accounts."""
        engine = self.source.engine
        traders = [self.maker, self.taker, *self.others]
        for trader in traders:
            engine.credit(trader.address, DEPOSIT_USD * 1_000_000)
        rows = [self.row(bool(n % 2), self.deep(n // 2, bool(n % 2)), "Alo") for n in range(resting)]
        self._place(self.maker, [self.row(True, self.deep(500, True), "Alo", self.cloid)])
        for number_, start in enumerate(range(0, resting, BATCH)):
            self._place(traders[number_ % len(traders)], rows[start : start + BATCH])

    def _place(self, trader: Trader, rows: list[dict[str, Any]]) -> None:
        engine = self.source.engine
        action = {"type": "order", "orders": rows, "grouping": "na"}
        answer = engine.apply(action, signer=trader.address, now_ms=engine.now + 1)
        if "error" in str(answer) or answer["status"] != "ok":
            raise BenchError(f"cannot rest: {str(answer)[:200]}")

    def orders(self, count: int) -> list[Signed]:
        """`count` signed orders, of which each five belong together. To be sent in this order."""
        found: list[Signed] = []
        while len(found) < count:
            for is_buy in (False, True):
                for trader, side, tif in ((self.maker, is_buy, "Alo"), (self.taker, not is_buy, "Ioc")):
                    rows = [self.row(side, self.middle, tif)]
                    found.append(trader.sign({"type": "order", "orders": rows, "grouping": "na"}))
            self.moved += 1
            row = self.row(True, self.deep(self.moved * 389, True), "Alo", self.cloid)
            found.append(self.maker.sign({"type": "modify", "oid": self.cloid, "order": row}))
        return found[:count]

    def subscriptions(self) -> Iterator[Subscription]:
        for trader in (self.maker, self.taker):
            yield Subscription("orderUpdates", trader.address, None)
            yield Subscription("userFills", trader.address, None, (("aggregateByTime", False),))


def _same_as_the_sdk() -> None:
    """Prove that what is signed here is what the official SDK signs."""
    from eth_account import Account

    key = (7).to_bytes(32, "big")
    action = {"type": "cancel", "cancels": [{"a": 1, "o": 2}]}
    theirs = sign_l1_action(Account.from_key(key), action, None, 12, None, False)
    ours = orjson.loads(Trader.of(7, 11).sign(action).body)["signature"]
    if any(int(str(ours[k]), 0) != int(str(theirs[k]), 0) for k in "rsv"):
        raise BenchError(f"the SDK signs otherwise: {ours} {theirs}")


def _devnode() -> Devnode:
    return Devnode(seed=SEED, limits=Limits.off(), paused=True, faucet_usd=0)


def _exchange(node: Devnode) -> Exchange:
    source = node.source
    assert isinstance(source, Exchange)
    return source


# -- in one process ------------------------------------------------------------------------------------


class Reader:
    """A listener that counts."""

    def __init__(self) -> None:
        self.frames = 0

    def put(self, frame: str) -> None:
        self.frames += len(frame.encode()) > 0


class Inside:
    """A devnode without its sockets."""

    def __init__(self, resting: int) -> None:
        self._node = _devnode()
        self._lane = Lane(_exchange(self._node), 0, self._node.clock.now_ms())
        self._lane.prepare(resting)
        self.reader = Reader()
        for subscription in self._lane.subscriptions():
            self._node.app.streams.feeds.join(subscription, self.reader)

    def go(self, count: int) -> tuple[float, float, list[Signed]]:
        """Seconds of CPU and of the clock that so many orders take, and the orders. Proves the answers."""
        signed = self._lane.orders(count)
        gc.collect()
        handle = self._node.app.api.exchange
        clock, cpu = time.perf_counter(), time.process_time()
        answers = [handle("127.0.0.1", JSON, one.body) for one in signed]
        used, taken = time.process_time() - cpu, time.perf_counter() - clock
        for answer in answers:
            _check(answer.status, answer.body)
        kinds = Counter(kind for one in answers for kind in (b"filled", b"resting") if kind in one.body)
        if kinds != {b"filled": count * 2 // 5, b"resting": count * 2 // 5}:
            raise BenchError(f"not matched as meant: {kinds}")
        return used, taken, signed


def _check(status: int, body: bytes) -> None:
    if status != 200 or b'"status":"ok"' not in body or b'"error"' in body:
        raise BenchError(f"refused: {status} {body[:200]!r}")


async def _inside(rounds: int, count: int) -> None:
    _same_as_the_sdk()
    empty, full = Inside(0), Inside(RESTING)
    for side in (empty, full):
        side.go(500)
    for _ in range(rounds):
        before = empty.reader.frames
        used, wall, signed = empty.go(count)
        frames = empty.reader.frames - before
        used_full = full.go(count)[0]
        began = time.process_time()
        for one in signed:
            PublicKey.from_signature_and_message(one.signature, one.digest, hasher=None)
        curve = time.process_time() - began
        seen = {
            "empty": count / used,
            "full": count / used_full,
            "curve": count / curve,
            "wall": count / wall,
            "frames": frames / count,
        }
        print(f"round {json.dumps(seen)}", flush=True)


# -- over loopback -------------------------------------------------------------------------------------


async def _serve(resting: int) -> None:
    node = _devnode()
    for lane in _lanes(node):
        lane.prepare(resting)
    print(f"ready {await node.start()}", flush=True)
    await asyncio.Event().wait()


def _lanes(node: Devnode) -> list[Lane]:
    """A market of its own for each connection: what one rests no other takes."""
    source, now = _exchange(node), node.clock.now_ms()
    perps = [a for a, inst in source.engine.listing.by_asset.items() if not inst.is_spot and not inst.dex]
    return [Lane(source, asset, now) for asset in perps[:CONNECTIONS]]


def _over_loopback(plan: Plan, resting: int) -> str:
    with (
        placed({0: 1}),
        child("devnode", module("devnode", "serve", resting), plan.folder, ready=r"^ready (\d+)") as server,
    ):
        count = 1_000 if plan.quick else 4_000
        with placed({0: 0}), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            per_s, busy, frames = runner.run(_load(int(server.said[1]), server.pid, plan.rounds, count))
    return (
        f"over loopback, {CONNECTIONS} connections in as many markets, {resting:,} resting in each: "
        f"{per_s:,.0f}/s by the clock, {busy:.0%} of a core ({per_s / busy:,.0f} per CPU second), "
        f"{frames:.2f} frames per order to one websocket"
    )


async def _load(port: int, pid: int, rounds: int, count: int) -> tuple[float, float, float]:
    """Orders a second, share of a core the server used, frames per order."""
    lanes = _lanes(_devnode())
    frames = 0

    async def read(socket: aiohttp.ClientWebSocketResponse) -> None:
        nonlocal frames
        async for message in socket:
            frames += '"channel":"subscriptionResponse"' not in message.data

    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"http://127.0.0.1:{port}/ws") as socket,
    ):
        for lane in lanes:
            for one in lane.subscriptions():
                await socket.send_json(
                    {"method": "subscribe", "subscription": {"type": one.kind, "user": one.user}}
                )
        reading = asyncio.create_task(read(socket))
        await _send(port, [lane.orders(25) for lane in lanes])
        await asyncio.sleep(0.3)  # the frames of these are in
        seen = []
        for _ in range(rounds):
            signed = [lane.orders(count // len(lanes)) for lane in lanes]
            total, frames = sum(map(len, signed)), 0
            used, began = cpu_s(pid), time.perf_counter()
            await _send(port, signed)
            taken = time.perf_counter() - began
            used = cpu_s(pid) - used
            await asyncio.sleep(0.3)
            seen.append((total / taken, used / taken, frames / total))
        reading.cancel()
    per_s, busy, heard = map(median, zip(*seen, strict=True))
    return per_s, busy, heard


async def _send(port: int, signed: list[list[Signed]]) -> None:
    async def work(orders: list[Signed]) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for one in orders:
            writer.write(http_request(b"POST", "/exchange", one.body))
            head = await reader.readuntil(b"\r\n\r\n")
            at = head.lower().index(b"content-length:")
            size = int(head[at + 15 : head.index(b"\r\n", at)])
            _check(int(head[9:12]), await reader.readexactly(size))
        writer.close()

    try:
        async with asyncio.TaskGroup() as group:
            for orders in signed:
                group.create_task(work(orders))
    except ExceptionGroup as several:
        raise BenchError(str(several.exceptions[0])) from several


if __name__ == "__main__":
    what, *numbers = sys.argv[1:]
    # The loop that `hl-replica devnode` runs on.
    asyncio.run(_inside(*map(int, numbers)) if what == "inside" else _serve(*map(int, numbers)))
