"""Frames recorded from the exchange: every one can be read, and a snapshot of ours is what was sent."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest

from replica.catalogue import ALIASES, TYPES
from replica.streams.make import memory_of
from replica.streams.memory import Gap, Memory, Now, Tally
from replica.streams.rows import PARTS
from replica.subscription import Subscription

NOW = Now(1.0, 1_791_281_000_000)
NAMES = {row.channel or row.name: row.name for row in TYPES.values()} | ALIASES

pytestmark = pytest.mark.recorded


class Envelope(msgspec.Struct):
    channel: str = ""
    data: msgspec.Raw = msgspec.Raw(b"null")


def recorded_frames(folder: Path) -> list[bytes]:
    found = []
    for path in sorted((folder / "ws").glob("*.jsonl")):
        for line in path.read_bytes().splitlines():
            message = msgspec.json.decode(line, type=dict[str, msgspec.Raw])
            found.append(bytes(message.get("msg", line)))
    return found


def user_in(data: Any) -> str:
    return str(data.get("user", "")) if isinstance(data, dict) else ""


def test_every_recorded_frame_is_read(recorded_dir: Path) -> None:
    counts: Counter[str] = Counter()
    for frame in recorded_frames(recorded_dir):
        envelope = msgspec.json.decode(frame, type=Envelope)
        name = NAMES.get(envelope.channel)
        if name is None:
            continue
        tally = Tally()
        data = bytes(envelope.data)
        one = Subscription({"type": name, "user": user_in(json.loads(data)), "coin": "BTC", "interval": "1m"})
        memory: Memory = memory_of(one, tally, keep=2000, most_waiting=5000, pages=1)
        memory.confirmed(NOW)
        outs = list(memory.receive(frame, data, NOW)) or list(memory.overdue(NOW))
        assert not tally.unreadable, frame
        assert [json.loads(out) for out in outs if not isinstance(out, Gap)] == [json.loads(frame)]
        for snapshot in memory.snapshot():
            assert json.loads(snapshot) == json.loads(frame)
        memory.check()
        counts[name] += 1
        if name == "userEvents":
            counts.update(part for part in PARTS if part in json.loads(data))
    assert {"userFills", "userFundings", "userNonFundingLedgerUpdates", "orderUpdates", "trades"} <= set(
        counts
    )
    assert {"l2Book", "bbo", "candle", "fills", "funding", "liquidation", "nonUserCancel"} <= set(counts)
