"""The main job on recorded reality: what was recorded of the exchange comes out as it went in."""

from collections import defaultdict
from pathlib import Path

import pytest

from server.devnode import Devnode, Limits, Recorded
from tests.sockets.conftest import start


@pytest.mark.recorded
async def test_every_recorded_state_comes_back_byte_for_byte(recorded_dir: Path) -> None:
    node = Devnode(recorded=recorded_dir, limits=Limits.off())
    assert isinstance(node.source, Recorded)
    states = node.source.states
    assert len(states) > 20
    # Recorded time stands still, which is not a fault here.
    async with start(node, frozen_after_s=0) as stack:
        caller = await stack.site.call()
        users: dict[str, list[str]] = defaultdict(list)
        for (user, dex), recorded in states.items():
            reply = await caller.ask({"type": "clearinghouseState", "user": user, "dex": dex})
            assert (reply.status, reply.source) == (200, "memory")
            assert reply.body == recorded, f"{user} {dex}"
            users[dex].append(user)
        for dex, of_dex in users.items():
            rows = [b'["%s",%s]' % (user.encode(), states[user, dex]) for user in of_dex]
            reply = await caller.ask({"type": "batchClearinghouseStates", "users": of_dex, "dex": dex})
            assert reply.body == b'{"successful_states":[%s],"failed_wallets":[]}' % b",".join(rows)
        everyone = list(dict.fromkeys(user for user, _ in states))
        reply = await caller.ask({"type": "batchClearinghouseStates", "users": everyone, "dex": "ALL_DEXES"})
        assert reply.failed == []
        for (user, dex), recorded in states.items():
            row = reply.body.partition(b'["%s",{' % user.encode())[2].partition(b'],["0x')[0]
            assert b'"%s":%s' % (dex.encode() or b"native", recorded) in row, f"{user} {dex}"
        assert node.stats.info["clearinghouseState"] == 0
