"""What only the kernel can show: big answers, slow readers, half a conversation."""

import asyncio

from server.devnode import Devnode, Limits
from tests.callers import post
from tests.sockets.conftest import start


async def test_a_batch_of_a_thousand_accounts_however_slowly_it_is_read() -> None:
    node = Devnode(accounts=1000, seed=1, limits=Limits.off())
    async with start(node, account_live_s=60) as stack:
        batch = {"type": "batchClearinghouseStates", "users": list(node.addresses)}
        quick, slow, stopped = [await stack.site.call() for _ in range(3)]
        # One that never reads must not be in anyone's way.
        for _ in range(20):
            stopped.send(batch)
        slow.send(batch)
        reply = await quick.ask(batch)
        assert (reply.status, reply.source, reply.failed) == (200, "memory", [])
        assert len(reply.body) > 1_000_000
        assert [row[0] for row in reply.json["successful_states"]] == list(node.addresses)
        head = await slow.reader.readuntil(b"\r\n\r\n")
        left = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
        while left:
            left -= len(await slow.reader.read(min(left, 50_000)))
            await asyncio.sleep(0)
        for _ in range(3):
            assert (await quick.ask(batch)).status == 200
        assert node.stats.info["clearinghouseState"] == 0
        stopped.writer.transport.abort()


async def test_two_requests_in_one_segment_and_one_in_many() -> None:
    node = Devnode(accounts=3, seed=1, limits=Limits.off())
    async with start(node) as stack:
        request = post({"type": "clearinghouseState", "user": node.addresses[0]})
        caller = await stack.site.call()
        caller.writer.write(request + request)
        first, second = await caller.reply(), await caller.reply()
        assert first.status == second.status == 200
        for start_, end in ((0, 10), (10, len(request) - 20), (len(request) - 20, len(request))):
            caller.writer.write(request[start_:end])
            await asyncio.sleep(0.02)
        assert (await caller.reply()).status == 200


async def test_what_is_no_http_is_refused_and_hurts_nobody() -> None:
    node = Devnode(accounts=3, seed=1, limits=Limits.off())
    async with start(node) as stack:
        odd = await stack.site.call()
        odd.writer.write(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 20)
        assert (await odd.reader.read()).startswith(b"HTTP/1.1 400")
        caller = await stack.site.call()
        assert (await caller.ask({"type": "meta"})).status == 200
