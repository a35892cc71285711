"""The devnode as a whole: starting, stopping, sharing a loop, and the official client on top of it."""

import asyncio
import json
import signal
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from server.devnode import Devnode, Limits, serve
from server.devnode.foreground import describe
from tests.server.devnode.client import Client, http

Start = Callable[..., Awaitable[Devnode]]
Connect = Callable[[Devnode], Awaitable[Client]]


async def test_it_starts_stops_and_starts_again() -> None:
    node = Devnode(accounts=2)
    await node.stop()  # nothing to stop yet
    before = asyncio.all_tasks()
    for _ in range(2):
        port = await node.start()
        assert port == node.port > 0
        assert (await http(port, {"type": "perpDexs"})).status == 200
        with pytest.raises(RuntimeError, match="already"):
            await node.start()
        await node.stop()
        assert asyncio.all_tasks() == before
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)


async def test_stopping_ends_the_connections_of_clients(devnode: Start, connect: Connect) -> None:
    node = await devnode()
    reading, stuck = await connect(node), await connect(node)
    for client in (reading, stuck):
        await client.subscribe(type="allDexsClearinghouseState", user=node.addresses[1])
    stuck.connection.transport.pause_reading()
    await asyncio.sleep(30)  # enough pushes to fill what lies between the two
    before = asyncio.get_running_loop().time()
    await node.stop()
    assert asyncio.get_running_loop().time() - before < 3
    await asyncio.wait_for(reading.connection.wait_closed(), 1)


async def test_two_devnodes_share_a_loop(devnode: Start) -> None:
    one, two = await devnode(seed=1), await devnode(seed=2)
    assert one.port != two.port and not set(one.addresses) & set(two.addresses)
    for node in (one, two):
        body = {"type": "clearinghouseState", "user": node.addresses[0]}
        assert (await http(node.port, body)).json["assetPositions"]


async def test_without_a_walk_prices_stay_where_they_are_put_and_time_goes_on(devnode: Start) -> None:
    node = await devnode(walk=False)

    async def said(kind: str, **fields: str) -> Any:
        return (await http(node.port, {"type": kind, **fields})).json

    mids = await said("allMids")
    began = (await said("clearinghouseState", user=node.addresses[1]))["time"]
    await asyncio.sleep(300)
    assert await said("allMids") == mids
    assert (await said("clearinghouseState", user=node.addresses[1]))["time"] > began + 290_000
    node.set_oracle("BTC", "50000")
    await asyncio.sleep(300)
    assert await said("allMids") == mids | {"BTC": "50000.0"}


async def test_prices_move_by_the_loop_and_time_by_the_clock(devnode: Start) -> None:
    seconds = 1_700_000_000.0
    node = await devnode(tick_s=2.0, clock=lambda: seconds)
    body = {"type": "clearinghouseState", "user": node.addresses[1]}
    first = (await http(node.port, body)).json
    await asyncio.sleep(1.5)
    assert (await http(node.port, body)).json == first
    seconds += 2.5
    await asyncio.sleep(1.0)
    second = (await http(node.port, body)).json
    assert (first["time"], second["time"]) == (1_700_000_000_000, 1_700_000_002_500)
    assert first["marginSummary"] != second["marginSummary"]


async def test_the_official_client_can_be_built_on_it(
    devnode: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Its requests go into the application directly: its HTTP library needs threads or a blocked loop.
    from hyperliquid.api import API
    from hyperliquid.info import Info

    node = await devnode()

    def post(self: API, path: str, payload: Any = None) -> Any:
        assert path == "/info"
        answer = node.app.api.info("127.0.0.1", "application/json", json.dumps(payload).encode())
        assert answer.status == 200, (payload, answer)
        return json.loads(answer.body)

    monkeypatch.setattr(API, "post", post)
    info = Info("http://devnode", skip_ws=True, perp_dexs=["", "xyz", "flx", "vntl"])
    assert info.name_to_asset("BTC") == 0
    assert info.name_to_asset("xyz:TSLA") == 110001
    assert info.name_to_asset("PURR/USDC") == 10000
    assert info.name_to_asset("HYPE/USDC") == 10002
    state = info.user_state(node.addresses[1].upper().replace("X", "x"))
    assert len(state["assetPositions"]) == 40
    assert float(state["marginSummary"]["accountValue"]) > 0
    assert info.open_orders(node.addresses[0]) == []
    assert {fill["dir"] for fill in info.user_fills(node.addresses[1])} == {"Open Long", "Open Short"}
    assert info.all_mids()["BTC"] and info.spot_user_state(node.addresses[0])["balances"] is not None


async def test_serving_in_the_foreground_ends_with_a_signal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # The virtual loop has no signals: it keeps what was asked of it, and the test plays the kernel.
    loop = asyncio.get_running_loop()
    handlers: dict[int, Callable[[], object]] = {}
    monkeypatch.setattr(
        loop, "add_signal_handler", lambda number, handler: handlers.update({number: handler})
    )
    monkeypatch.setattr(loop, "remove_signal_handler", lambda number: handlers.pop(number))
    node = Devnode(accounts=2)
    task = asyncio.create_task(serve(node, "127.0.0.1", 4001))
    await asyncio.sleep(1)
    assert set(handlers) == {signal.SIGINT, signal.SIGTERM}
    assert (await http(4001, {"type": "exchangeStatus"})).status == 200
    handlers[signal.SIGTERM]()
    await task
    assert handlers == {}
    printed = capsys.readouterr().out
    assert "http://127.0.0.1:4001/info" in printed and node.addresses[0] in printed


def test_what_is_printed_says_what_is_served_and_what_to_try() -> None:
    text = describe(Devnode(accounts=5, limits=Limits.off()), "127.0.0.1", 4001)
    assert "5 accounts" in text and "limits    off" in text and "curl" in text
    text = describe(Devnode(accounts=1), "::1", 4001)
    assert "http://[::1]:4001/info" in text and "ws://[::1]:4001/ws" in text
