"""The official Python client, told nothing but our base URL."""

import asyncio

import pytest
from hyperliquid.info import Info
from hyperliquid.utils.error import ClientError

from server.devnode import Devnode, Limits
from tests.sockets.conftest import start
from tests.sockets.scene import until


def devnode() -> Devnode:
    return Devnode(accounts=5, seed=3, limits=Limits.off())


async def test_it_reads_accounts_and_markets() -> None:
    node = devnode()
    async with start(node) as stack:
        user = node.addresses[0]
        info = await asyncio.to_thread(Info, stack.base_url, skip_ws=True)
        fed = node.stats.info["clearinghouseState"]
        state = await asyncio.to_thread(info.user_state, user)
        assert node.stats.info["clearinghouseState"] == fed == 0
        assert state.keys() >= {
            "marginSummary",
            "crossMarginSummary",
            "withdrawable",
            "assetPositions",
            "time",
        }
        meta = await asyncio.to_thread(info.meta)
        assert {"name", "szDecimals"} <= meta["universe"][0].keys()
        mids = await asyncio.to_thread(info.all_mids)
        assert float(mids[meta["universe"][0]["name"]]) > 0
        spot = await asyncio.to_thread(info.spot_meta)
        assert {"tokens", "universe"} <= spot.keys()
        assert node.stats.info["meta"] == 1  # asked for when it was made, and remembered


async def test_it_reads_with_a_slash_too_many_and_in_any_case() -> None:
    node = devnode()
    async with start(node) as stack:
        info = await asyncio.to_thread(Info, stack.base_url + "/", skip_ws=True)
        state = await asyncio.to_thread(info.user_state, "0x" + node.addresses[0][2:].upper())
        assert state["marginSummary"]["accountValue"]
        assert node.stats.info["clearinghouseState"] == 0


async def test_it_survives_our_refusals() -> None:
    async with start(devnode()) as stack:
        info = await asyncio.to_thread(Info, stack.base_url, skip_ws=True)
        for body in ({"type": "fileSnapshot"}, {"type": "clearinghouseState", "user": "nobody"}, {}):
            with pytest.raises(ClientError):
                await asyncio.to_thread(info.post, "/info", body)


async def test_it_can_be_made_with_its_websocket() -> None:
    def read_and_leave(base_url: str) -> None:
        info = Info(base_url)
        manager = info.ws_manager
        assert manager is not None
        try:
            assert info.meta()["universe"]
            # Told to stop while it still connects, the client forgets its socket.
            until(lambda: manager.ws_ready, "a websocket")
        finally:
            info.disconnect_websocket()
            manager.join(10)

    async with start(devnode()) as stack:
        await asyncio.to_thread(read_and_leave, stack.base_url)
