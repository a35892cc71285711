"""POST /exchange: which refusals come first, and what the upstream's word does to later reads."""

import asyncio
from pathlib import Path

import pytest

from server.exchange import _is_refused
from tests.virtual import ALICE, WRITE, running


@pytest.mark.parametrize(
    ("body", "refused"),
    [
        (b'{"status":"err","response":"no"}', True),
        (b'{"status":"ok","response":{"type":"order","data":{"statuses":[{"error":"no"}]}}}', False),
        (b'{"status":"ok"}', False),
        (b"{}", False),
        (b"null", False),
        (b"[]", False),
        (b"not json", False),
        (b"", False),
    ],
)
def test_only_a_clear_no_is_a_no(body: bytes, refused: bool) -> None:
    assert _is_refused(body) is refused


async def test_a_body_that_is_no_write_is_told_so_before_any_policy(tmp_path: Path) -> None:
    switch = tmp_path / "stop"
    switch.touch()
    async with running(read_only=True, kill_switch_file=str(switch), allowed_actions=("x",)) as world:
        assert (await world.write(b"{}")).status == 422
        assert "kill switch" in (await world.write()).json["error"]
        switch.unlink()
        assert "read-only" in (await world.write()).json["error"]
        assert world.upstream.seen.heads.count("/exchange") == 0


async def test_it_counts_and_says_so() -> None:
    async with running(allowed_actions=("order",)) as world:
        await world.write()
        await world.write(b"{")
        world.upstream.faults.hang(path="/exchange")
        await world.write()
        said = (await world.request("GET", "/ready")).json
        assert said["writes"] == {"forwarded": 2, "refused": 1, "outcome_unknown": 1}


async def test_the_margin_makes_up_for_clocks() -> None:
    async with running(ALICE, write_floor_margin_ms=700) as world:
        await asyncio.sleep(1)
        reply = await world.write()
        assert int(reply.headers["x-replica-not-before"]) == pytest.approx(
            world.upstream.now_ms() + 700, abs=1
        )


async def test_a_long_type_is_not_echoed_whole() -> None:
    async with running(allowed_actions=("order",)) as world:
        reply = await world.write(WRITE.replace(b'"order"', b'"%s"' % (b"x" * 5000)))
        assert reply.status == 403
        assert len(reply.body) < 500
