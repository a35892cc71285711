"""States, candles, the map of contexts, and what passes through: bytes and clock readings in, frames out."""

import base64
import json
import zlib
from typing import Any

import pytest

from replica.streams.candle import MOST_WAITING, CandleMemory
from replica.streams.delta import DeltaMemory, unpack
from replica.streams.make import memory_of
from replica.streams.memory import Gap, Memory, Now, Tally
from replica.streams.passing import PassingMemory
from replica.streams.state import OLDER_FOR_S, StateMemory
from replica.subscription import Subscription

USER = "0x" + "a1" * 20
NOW = Now(100.0, 1_771_587_392_000)
CANDLES = Subscription({"type": "candle", "coin": "BTC", "interval": "1m"})


def text(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def frame_of(channel: str, data: Any) -> tuple[bytes, bytes]:
    return b'{"channel":"%s","data":%s}' % (channel.encode(), text(data)), text(data)


def put(memory: Memory, channel: str, data: Any, now: Now = NOW) -> list[Any]:
    frame, body = frame_of(channel, data)
    outs = list(memory.receive(frame, body, now))
    memory.check()
    return ["SAME" if out == frame else out for out in outs]


# -- states ---------------------------------------------------------------------------------------------


def test_the_last_state_is_shown_to_who_joins() -> None:
    memory = StateMemory("allMids", Tally())
    memory.confirmed(NOW)
    assert memory.snapshot() == ()
    assert put(memory, "allMids", {"mids": {"BTC": "1.0"}}) == ["SAME"]
    assert put(memory, "allMids", {"mids": {"BTC": "2.0"}}) == ["SAME"]
    assert memory.snapshot() == (frame_of("allMids", {"mids": {"BTC": "2.0"}})[0],)


def test_during_an_outage_who_joins_is_shown_nothing() -> None:
    memory = StateMemory("allMids", Tally())
    put(memory, "allMids", {"mids": {}})
    memory.lost()
    assert memory.snapshot() == ()
    memory.confirmed(NOW)
    assert memory.snapshot() == ()
    put(memory, "allMids", {"mids": {}})
    assert memory.snapshot() != ()


STATES = [
    ("l2Book", lambda time: {"coin": "BTC", "time": time, "levels": [[], []]}),
    ("bbo", lambda time: {"coin": "BTC", "time": time, "bbo": [None, None]}),
    ("clearinghouseState", lambda time: {"dex": "", "user": USER, "clearinghouseState": {"time": time}}),
    (
        "allDexsClearinghouseState",
        lambda time: {"user": USER, "clearinghouseStates": [["", {"time": time}], ["xyz", {"time": 1}]]},
    ),
    ("webData3", lambda time: {"userState": {"serverTime": time, "user": USER}, "perpDexStates": []}),
]


@pytest.mark.parametrize(("channel", "data"), STATES)
def test_a_state_does_not_go_back_in_time(channel: str, data: Any) -> None:
    tally = Tally()
    memory = StateMemory(channel, tally)
    assert put(memory, channel, data(1000)) == ["SAME"]
    assert put(memory, channel, data(999)) == []
    assert tally.repeated == 1
    assert put(memory, channel, data(1000)) == ["SAME"]  # a book is sent again although nothing changed
    memory.lost()
    memory.confirmed(NOW)
    assert put(memory, channel, data(998)) == []
    assert memory.snapshot() == ()
    later = Now(NOW.monotonic + OLDER_FOR_S, NOW.wall_ms)
    assert put(memory, channel, data(997), later) == ["SAME"]


@pytest.mark.parametrize("odd", [{"time": "x"}, {}, [], None])
def test_a_state_that_can_not_be_read_goes_out(odd: Any) -> None:
    memory = StateMemory("l2Book", Tally())
    put(memory, "l2Book", {"time": 1000})
    assert put(memory, "l2Book", odd) == ["SAME"]
    assert put(memory, "l2Book", {"time": 999}) == []


# -- candles --------------------------------------------------------------------------------------------


def candle(minute: int, trades: int) -> dict[str, Any]:
    return {
        "t": minute * 60_000,
        "T": minute * 60_000 + 59_999,
        "s": "BTC",
        "i": "1m",
        "c": "1.0",
        "n": trades,
    }


def candles() -> CandleMemory:
    memory = CandleMemory(CANDLES, Tally())
    memory.confirmed(NOW)
    return memory


def answered(memory: CandleMemory, *rows: Any) -> list[Any]:
    backfill = memory.wants
    assert backfill is not None and backfill.question() is not None
    assert backfill.answer(200, text(rows))
    outs = list(memory.healed(backfill, NOW))
    memory.check()
    return [out if isinstance(out, Gap) else json.loads(out) for out in outs]


def shown(*rows: Any) -> list[Any]:
    return [{"channel": "candle", "data": row} for row in rows]


def test_the_forming_candle_is_shown() -> None:
    memory = candles()
    assert put(memory, "candle", candle(1, 5)) == ["SAME"]
    assert put(memory, "candle", candle(1, 6)) == ["SAME"]
    assert put(memory, "candle", candle(2, 1)) == ["SAME"]
    assert memory.snapshot() == (frame_of("candle", candle(2, 1))[0],)


def test_an_older_candle_and_one_that_comes_again_are_passed_over() -> None:
    memory = candles()
    put(memory, "candle", candle(2, 5))
    assert put(memory, "candle", candle(1, 9)) == []
    assert put(memory, "candle", candle(2, 4)) == []
    assert put(memory, "candle", candle(2, 5)) == []
    assert put(memory, "candle", candle(2, 6)) == ["SAME"]


def test_candles_that_closed_during_an_outage_are_asked_for() -> None:
    memory = candles()
    put(memory, "candle", candle(1, 5))
    memory.lost()
    assert memory.snapshot() == ()
    memory.confirmed(NOW)
    assert put(memory, "candle", candle(3, 1)) == []
    assert memory.wants is not None
    question = memory.wants.question()
    assert question is not None
    assert json.loads(question.body) == {
        "type": "candleSnapshot",
        "req": {"coin": "BTC", "interval": "1m", "startTime": 60_000, "endTime": 179_999},
    }
    assert put(memory, "candle", candle(3, 2)) == []
    rows = (candle(1, 8), candle(2, 3), candle(3, 1))
    assert answered(memory, *rows) == shown(candle(1, 8), candle(2, 3), candle(3, 2))
    assert put(memory, "candle", candle(3, 3)) == ["SAME"]


def test_a_candle_that_was_complete_already_is_not_told_again() -> None:
    memory = candles()
    put(memory, "candle", candle(1, 5))
    memory.lost()
    memory.confirmed(NOW)
    put(memory, "candle", candle(2, 1))
    assert answered(memory, candle(1, 5)) == shown(candle(2, 1))


def test_the_same_candle_still_forming_needs_nothing() -> None:
    memory = candles()
    put(memory, "candle", candle(1, 5))
    memory.lost()
    memory.confirmed(NOW)
    assert put(memory, "candle", candle(1, 7)) == ["SAME"]
    assert memory.wants is None


def test_a_candle_that_rolls_while_others_are_asked_for_is_told_once() -> None:
    memory = candles()
    put(memory, "candle", candle(1, 5))
    memory.lost()
    memory.confirmed(NOW)
    put(memory, "candle", candle(2, 1))
    put(memory, "candle", candle(2, 4))
    put(memory, "candle", candle(3, 1))
    assert answered(memory, candle(1, 6)) == shown(candle(1, 6), candle(2, 4), candle(3, 1))


def test_candles_that_are_too_old_are_a_gap() -> None:
    memory = candles()
    put(memory, "candle", candle(1, 5))
    memory.lost()
    memory.confirmed(NOW)
    put(memory, "candle", candle(9, 1))
    gap, *rest = answered(memory, candle(8, 3))
    assert isinstance(gap, Gap) and (gap.from_ms, gap.to_ms) == (60_000, 480_000)
    assert rest == shown(candle(8, 3), candle(9, 1))


def test_candles_wait_over_another_loss() -> None:
    memory = candles()
    put(memory, "candle", candle(1, 5))
    memory.lost()
    memory.confirmed(NOW)
    put(memory, "candle", candle(2, 1))
    memory.lost()
    assert memory.wants is None
    memory.confirmed(NOW)
    put(memory, "candle", candle(3, 1))
    assert answered(memory, candle(1, 6), candle(2, 7)) == shown(candle(1, 6), candle(2, 7), candle(3, 1))


def test_a_gap_of_candles_reaches_to_where_the_present_connection_begins() -> None:
    memory = candles()
    put(memory, "candle", candle(1, 5))
    for minute in (2, 6):
        memory.lost()
        memory.confirmed(NOW)
        put(memory, "candle", candle(minute, 1))
    backfill = memory.wants
    assert backfill is not None
    backfill.fail("down")
    gap, *rest = memory.healed(backfill, NOW)
    assert gap == Gap(60_000, 360_000, "down")
    assert [json.loads(out) for out in rest if isinstance(out, bytes)] == shown(candle(2, 1), candle(6, 1))


def test_too_many_candles_that_wait_are_a_gap() -> None:
    memory = candles()
    put(memory, "candle", candle(1, 5))
    memory.lost()
    memory.confirmed(NOW)
    for minute in range(3, 3 + MOST_WAITING):
        assert put(memory, "candle", candle(minute, 1)) == []
    gap, *rest = put(memory, "candle", candle(3 + MOST_WAITING, 1))
    assert isinstance(gap, Gap) and (gap.from_ms, gap.to_ms) == (60_000, 180_000)
    assert len(rest) == MOST_WAITING + 1
    assert memory.wants is None


# -- the map of contexts --------------------------------------------------------------------------------


def packed(contexts: Any) -> str:
    packer = zlib.compressobj(wbits=-15)
    return base64.b64encode(packer.compress(text(contexts)) + packer.flush()).decode()


def joined(memory: DeltaMemory) -> Any:
    (frame,) = memory.snapshot()
    memory.check()
    whole = json.loads(frame)
    assert whole["channel"] == "fastAssetCtxs"
    return json.loads(zlib.decompress(base64.b64decode(whole["data"]), wbits=-15))


def test_who_joins_gets_the_whole_map() -> None:
    memory = DeltaMemory(Tally())
    memory.confirmed(NOW)
    assert memory.snapshot() == ()
    whole = {"BTC": {"markPx": "1.0", "midPx": "1.5"}, "ETH": {"markPx": "2.0", "midPx": None}}
    assert put(memory, "fastAssetCtxs", packed(whole)) == ["SAME"]
    assert joined(memory) == whole
    assert put(memory, "fastAssetCtxs", packed({"BTC": {"midPx": None}, "NEW": {"markPx": "3.0"}})) == [
        "SAME"
    ]
    assert joined(memory) == {**whole, "BTC": {"markPx": "1.0", "midPx": None}, "NEW": {"markPx": "3.0"}}


def test_the_first_frame_of_a_connection_replaces_the_map() -> None:
    memory = DeltaMemory(Tally())
    memory.confirmed(NOW)
    put(memory, "fastAssetCtxs", packed({"BTC": {"markPx": "1.0"}, "GONE": {"markPx": "1.0"}}))
    memory.lost()
    assert memory.snapshot() == ()
    memory.confirmed(NOW)
    assert memory.snapshot() == ()
    assert put(memory, "fastAssetCtxs", packed({"BTC": {"markPx": "2.0"}})) == ["SAME"]
    assert joined(memory) == {"BTC": {"markPx": "2.0"}}


@pytest.mark.parametrize(
    "odd", ["", "%%%", "AAAA", packed([1])[:-4], packed([1]), packed({"BTC": 5}), 5, None]
)
def test_a_map_that_can_not_be_read_goes_out_and_changes_nothing(odd: Any) -> None:
    tally = Tally()
    memory = DeltaMemory(tally)
    memory.confirmed(NOW)
    put(memory, "fastAssetCtxs", packed({"BTC": {"markPx": "1.0"}}))
    assert put(memory, "fastAssetCtxs", odd) == ["SAME"]
    assert tally.unreadable == 1
    assert joined(memory) == {"BTC": {"markPx": "1.0"}}


def test_a_map_that_unpacks_to_too_much_is_not_read() -> None:
    packer = zlib.compressobj(wbits=-15)
    bomb = packer.compress(b" " * (20 << 20)) + packer.flush()
    with pytest.raises(ValueError, match="too large"):
        unpack(b'"%s"' % base64.b64encode(bomb))


# -- what passes through --------------------------------------------------------------------------------


def test_notifications_pass_and_every_outage_is_a_gap() -> None:
    memory = PassingMemory(Tally())
    assert memory.confirmed(NOW) == ()
    assert put(memory, "notification", {"notification": "Bought"}) == ["SAME"]
    assert put(memory, "notification", {"notification": "Bought"}) == ["SAME"]
    assert memory.snapshot() == ()
    memory.lost()
    (gap,) = memory.confirmed(Now(200.0, NOW.wall_ms + 9))
    assert isinstance(gap, Gap) and (gap.from_ms, gap.to_ms) == (NOW.wall_ms, NOW.wall_ms + 9)


# -- which memory ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("type_", "said"),
    [
        ("l2Book", "<state"),
        ("candle", "<candle"),
        ("trades", "<log"),
        ("userFills", "<log"),
        ("orderUpdates", "<log"),
        ("userEvents", "<log"),
        ("notification", "<passing>"),
        ("outcomeMetaUpdates", "<passing>"),
        ("somethingNew", "<passing>"),
        ("fastAssetCtxs", "<delta"),
    ],
)
def test_each_type_has_its_memory(type_: str, said: str) -> None:
    one = Subscription({"type": type_, "user": USER, "coin": "BTC", "interval": "1m"})
    memory = memory_of(one, Tally(), keep=10, most_waiting=10, pages=1)
    assert repr(memory).startswith(said)
    memory.confirmed(NOW)
    memory.check()
    assert memory.snapshot() == ()
