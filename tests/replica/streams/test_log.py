"""Rows: each told once, in order, across outages; or a gap."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from replica.streams.log import COARSE_MS, SKEW_MS, SURELY_ALL, LogMemory
from replica.streams.memory import Gap, Now, Out, Tally
from replica.subscription import Subscription

USER = "0x" + "a1" * 20
T0 = 1_771_587_392_000

FILLS = Subscription({"type": "userFills", "user": USER})
ORDERS = Subscription({"type": "orderUpdates", "user": USER})
EVENTS = Subscription({"type": "userEvents", "user": USER})
TRADES = Subscription({"type": "trades", "coin": "BTC"})


def fill(number: int, **more: Any) -> dict[str, Any]:
    return {"coin": "BTC", "px": "80067.0", "time": T0 + number, "oid": number, "tid": number, **more}


def trade(number: int) -> dict[str, Any]:
    return {"coin": "BTC", "side": "A", "px": "1.0", "time": T0 + number, "tid": number}


def text(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def fills(*numbers: int, snapshot: bool = False) -> dict[str, Any]:
    head = {"isSnapshot": True} if snapshot else {}
    return {**head, "user": USER, "fills": [fill(number) for number in numbers]}


class Script:
    """A memory, and what it told."""

    def __init__(self, subscription: Subscription, **settings: int) -> None:
        self.tally = Tally()
        self.memory = LogMemory(subscription, self.tally, **settings)
        self.channel = {"userEvents": "user"}.get(subscription.type, subscription.type)
        self.now = Now(0.0, T0)

    def frame(self, data: object) -> bytes:
        return b'{"channel":"%s","data":%s}' % (self.channel.encode(), text(data))

    def receive(self, data: object) -> Sequence[Out]:
        outs = self.memory.receive(self.frame(data), text(data), self.now)
        self.memory.check()
        return outs

    def confirmed(self) -> Sequence[Out]:
        outs = self.memory.confirmed(self.now)
        self.memory.check()
        return outs

    def overdue(self) -> Sequence[Out]:
        outs = self.memory.overdue(self.now)
        self.memory.check()
        return outs

    def lost(self) -> None:
        self.memory.lost()
        self.memory.check()

    def again(self) -> None:
        """The connection is lost, and there is another."""
        self.lost()
        assert not self.confirmed()

    def asked(self) -> list[dict[str, Any]]:
        """The question that is open."""
        assert self.memory.wants is not None
        question = self.memory.wants.question()
        return [] if question is None else [json.loads(question.body)]

    def answer(self, *answers: object) -> Sequence[Out]:
        backfill = self.memory.wants
        assert backfill is not None
        for one in answers:
            assert backfill.question() is not None
            assert backfill.answer(200, text(one))
        assert backfill.question() is None
        outs = self.memory.healed(backfill, self.now)
        self.memory.check()
        return outs

    def fail(self, reason: str) -> Sequence[Out]:
        backfill = self.memory.wants
        assert backfill is not None
        backfill.fail(reason)
        outs = self.memory.healed(backfill, self.now)
        self.memory.check()
        return outs

    def snapshot(self) -> list[Any]:
        return [json.loads(frame)["data"] for frame in self.memory.snapshot()]


def opened(subscription: Subscription = FILLS, *numbers: int, **settings: int) -> Script:
    """A script after its first snapshot of fills."""
    script = Script(subscription, **settings)
    assert not script.confirmed()
    data = fills(*numbers, snapshot=True)
    assert list(script.receive(data)) == [script.frame(data)]
    return script


# -- a healthy connection -------------------------------------------------------------------------------


def test_the_first_snapshot_and_new_rows_go_out_as_they_came() -> None:
    script = opened(FILLS, 1, 2)
    assert list(script.receive(fills(3))) == [script.frame(fills(3))]
    assert script.snapshot() == [fills(1, 2, 3, snapshot=True)]


def test_nothing_is_shown_before_the_first_snapshot() -> None:
    script = Script(FILLS)
    script.confirmed()
    assert script.snapshot() == []
    assert list(script.receive(fills(3))) == []
    assert script.memory.waits
    first = fills(1, 2, snapshot=True)
    assert list(script.receive(first)) == [script.frame(first), script.frame(fills(3))]
    assert not script.memory.waits


def test_without_a_snapshot_in_time_live_rows_go_out_and_joiners_still_get_nothing() -> None:
    script = Script(FILLS)
    script.confirmed()
    script.receive(fills(3))
    assert list(script.overdue()) == [script.frame(fills(3))]
    assert script.snapshot() == []
    late = script.receive(fills(1, 2, 3, snapshot=True))
    assert list(late) == [script.frame(fills(1, 2, snapshot=True))]
    assert script.snapshot() == [fills(1, 2, 3, snapshot=True)]


def test_a_frame_that_comes_again_adds_nothing() -> None:
    script = opened(FILLS, 1)
    script.receive(fills(2))
    assert list(script.receive(fills(2))) == []
    assert list(script.receive(fills(1, snapshot=True))) == []
    assert script.tally.repeated == 2


def test_of_a_frame_with_old_and_new_rows_the_new_go_out_without_the_snapshot_mark() -> None:
    script = opened(FILLS, 1)
    assert list(script.receive(fills(1, 2))) == [script.frame(fills(2))]
    assert list(script.receive(fills(1, 2, 3, snapshot=True))) == [script.frame(fills(3))]


def test_an_empty_live_frame_goes_out() -> None:
    # The hourly funding brings an empty list of ledger updates; clients may count on it.
    script = opened(FILLS, 1)
    assert list(script.receive(fills())) == [script.frame(fills())]


def test_what_can_not_be_read_goes_out_and_is_counted() -> None:
    script = opened(FILLS, 1)
    odd = {"user": USER, "fills": [{"coin": 5}]}
    assert list(script.receive(odd)) == [script.frame(odd)]
    assert script.tally.unreadable == 1


def test_both_sides_of_a_trade_with_oneself_are_rows() -> None:
    script = opened(FILLS)
    both = {"user": USER, "fills": [fill(1, side="A"), {**fill(1, side="B"), "oid": 7}]}
    assert list(script.receive(both)) == [script.frame(both)]
    assert script.snapshot() == [{"isSnapshot": True, **both}]


def test_a_snapshot_has_the_newest_rows_and_is_bounded() -> None:
    script = opened(FILLS, *range(10), keep=5)
    assert script.snapshot() == [fills(5, 6, 7, 8, 9, snapshot=True)]
    script.receive(fills(10))
    assert script.snapshot() == [fills(6, 7, 8, 9, 10, snapshot=True)]


def test_a_snapshot_is_as_long_as_the_longest_that_came() -> None:
    user_fundings = Subscription({"type": "userFundings", "user": USER})
    rows = [{"time": T0 + number, "coin": "BTC", "usdc": "1.0"} for number in range(601)]
    script = Script(user_fundings)
    script.confirmed()
    script.receive({"isSnapshot": True, "user": USER, "fundings": rows[:600]})
    script.receive({"user": USER, "fundings": rows[600:]})
    assert script.snapshot() == [{"isSnapshot": True, "user": USER, "fundings": rows[1:]}]


def test_an_upstream_that_sends_the_newest_first_is_imitated() -> None:
    script = opened(FILLS, 3, 2, 1)
    script.receive(fills(4))
    assert script.snapshot() == [fills(4, 3, 2, 1, snapshot=True)]


# -- another connection ---------------------------------------------------------------------------------


def test_after_a_reconnect_only_what_is_new_goes_out() -> None:
    script = opened(FILLS, 1, 2)
    script.again()
    assert script.memory.waits
    assert list(script.receive(fills(1, 2, 3, 4, snapshot=True))) == [script.frame(fills(3, 4))]
    assert script.memory.wants is None
    assert list(script.receive(fills(5))) == [script.frame(fills(5))]
    assert script.tally.rows_healed == 2


def test_a_snapshot_that_brings_nothing_new_is_not_told() -> None:
    script = opened(FILLS, 1, 2)
    script.again()
    assert list(script.receive(fills(1, 2, snapshot=True))) == []
    assert list(script.receive(fills(3))) == [script.frame(fills(3))]


def test_live_rows_wait_for_the_snapshot_of_the_new_connection() -> None:
    script = opened(FILLS, 1)
    script.again()
    assert list(script.receive(fills(4))) == []
    assert list(script.receive(fills(1, 2, 3, snapshot=True))) == [script.frame(fills(2, 3, 4))]


def test_a_row_that_was_lost_on_a_healthy_connection_comes_late() -> None:
    script = opened(FILLS, 1)
    script.receive(fills(3))
    script.again()
    assert list(script.receive(fills(1, 2, 3, 4, snapshot=True))) == [script.frame(fills(2, 4))]
    assert script.snapshot() == [fills(1, 2, 3, 4, snapshot=True)]


def test_a_snapshot_that_does_not_reach_back_is_filled_up() -> None:
    script = opened(FILLS, 1, 2)
    script.again()
    assert list(script.receive(fills(5, 6, snapshot=True))) == []
    assert script.asked() == [{"type": "userFillsByTime", "user": USER, "startTime": T0 + 2}]
    assert list(script.receive(fills(7))) == []
    assert script.snapshot() == [fills(1, 2, snapshot=True)]
    outs = script.answer([fill(number) for number in (2, 3, 4, 5)])
    assert list(outs) == [script.frame(fills(3, 4, 5, 6, 7))]
    assert list(script.receive(fills(7))) == []
    assert list(script.receive(fills(8))) == [script.frame(fills(8))]


def test_few_first_rows_of_an_account_are_all_there_are() -> None:
    script = opened(FILLS)
    script.again()
    assert list(script.receive(fills(5, snapshot=True))) == [script.frame(fills(5))]


def test_many_first_rows_of_an_account_may_have_been_cut() -> None:
    script = opened(FILLS)
    script.again()
    many = range(1, SURELY_ALL + 1)
    assert list(script.receive(fills(*many, snapshot=True))) == []
    assert script.asked()[0]["startTime"] < T0


def test_a_connection_without_its_snapshot_is_filled_up() -> None:
    script = opened(FILLS, 1)
    script.again()
    script.receive(fills(4))
    assert list(script.overdue()) == []
    assert list(script.answer([fill(number) for number in (1, 2, 3, 4)])) == [script.frame(fills(2, 3, 4))]
    assert list(script.receive(fills(2, 3, 4, 5, snapshot=True))) == [script.frame(fills(5))]


def test_what_waits_stays_when_the_next_connection_is_lost_too() -> None:
    script = opened(FILLS, 1)
    script.again()
    script.receive(fills(5, snapshot=True))
    first = script.memory.wants
    script.again()
    assert script.memory.wants is None
    assert script.memory.healed(first, script.now) == ()  # type: ignore[arg-type]
    script.receive(fills(9, snapshot=True))
    outs = script.answer([fill(number) for number in range(1, 10)])
    assert list(outs) == [script.frame(fills(*range(2, 10)))]


def test_what_can_not_be_had_is_a_gap_before_what_came_after_it() -> None:
    script = opened(FILLS, 1)
    script.again()
    script.receive(fills(5, 6, snapshot=True))
    gap, frame = script.fail("the upstream is down")
    assert gap == Gap(T0 + 1, T0 + 5, "the upstream is down")
    assert frame == script.frame(fills(5, 6))
    assert script.tally.gaps == 1


def test_too_many_rows_that_wait_are_a_gap() -> None:
    script = opened(FILLS, 1, most_waiting=2)
    script.again()
    script.receive(fills(5, 6, snapshot=True))
    gap, frame = script.receive(fills(7))
    assert isinstance(gap, Gap) and (gap.from_ms, gap.to_ms) == (T0 + 1, T0 + 5)
    assert frame == script.frame(fills(5, 6, 7))
    assert script.memory.wants is None


def test_a_gap_reaches_to_where_the_present_connection_begins() -> None:
    # What waits from the connection before says nothing of the time between the two.
    script = opened(FILLS, 1)
    script.again()
    script.receive(fills(5, snapshot=True))
    script.again()
    script.receive(fills(9, snapshot=True))
    gap, frame = script.fail("down")
    assert gap == Gap(T0 + 1, T0 + 9, "down")
    assert frame == script.frame(fills(5, 9))


def test_an_answer_ahead_of_the_stream_leaves_to_it_what_it_will_bring() -> None:
    script = Script(ORDERS)
    script.confirmed()
    script.receive([update(1, "open")])
    script.again()
    script.receive([update(3, "open")])
    later = 3 + COARSE_MS + 1
    outs = script.answer([historical(later, "open"), historical(3, "open"), historical(2, "open")])
    assert list(outs) == [script.frame([update(2, "open"), update(3, "open")])]
    assert script.receive([update(later, "open")])


def test_what_waited_for_a_first_snapshot_that_never_came_is_left_to_the_next() -> None:
    script = Script(FILLS)
    script.confirmed()
    script.receive(fills(3))
    script.again()
    first = fills(4, 5, snapshot=True)
    assert list(script.receive(first)) == [script.frame(first)]


def test_a_late_first_snapshot_that_misses_what_was_told_says_so() -> None:
    script = Script(FILLS)
    script.confirmed()
    script.receive(fills(3))
    script.overdue()
    script.again()
    gap, frame = script.receive(fills(8, 9, snapshot=True))
    assert isinstance(gap, Gap) and (gap.from_ms, gap.to_ms) == (T0 + 3, T0 + 8)
    assert frame == script.frame(fills(8, 9, snapshot=True))


def test_fills_of_twaps_are_left_to_their_own_stream_unless_this_one_has_them() -> None:
    answer = [fill(1), fill(2, twapId=7), fill(3, twapId=None)]
    plain = opened(FILLS, 1)
    plain.again()
    plain.receive(fills(4, snapshot=True))
    (frame,) = plain.answer(answer)
    assert isinstance(frame, bytes)
    assert [row["tid"] for row in json.loads(frame)["data"]["fills"]] == [3, 4]

    mixed = opened(FILLS)
    mixed.receive({"user": USER, "fills": [fill(1, twapId=6)]})
    mixed.again()
    mixed.receive(fills(4, snapshot=True))
    (frame,) = mixed.answer(answer)
    assert isinstance(frame, bytes)
    assert [row["tid"] for row in json.loads(frame)["data"]["fills"]] == [2, 3, 4]


# -- trades ---------------------------------------------------------------------------------------------


def test_trades_begin_anywhere_and_joiners_get_the_recent_ones() -> None:
    script = Script(TRADES)
    script.confirmed()
    assert script.snapshot() == []
    assert script.receive([trade(1), trade(2)])
    assert script.snapshot() == [[trade(1), trade(2)]]
    assert list(script.receive([trade(2), trade(3)])) == [script.frame([trade(3)])]


def test_a_replay_that_reaches_back_heals_trades() -> None:
    script = Script(TRADES)
    script.confirmed()
    script.receive([trade(1)])
    script.again()
    assert script.memory.waits
    assert list(script.receive([trade(1), trade(2)])) == [script.frame([trade(2)])]
    assert not script.memory.waits


def test_trades_that_are_too_old_for_a_replay_do_not_wait_for_the_next_one() -> None:
    script = Script(TRADES)
    assert not script.confirmed()
    assert not script.memory.waits  # nothing was missed yet
    script.receive([trade(1)])
    script.again()
    assert not script.overdue()
    assert script.asked() == [{"type": "recentTrades", "coin": "BTC"}]
    assert list(script.answer([trade(3), trade(2), trade(1)])) == [script.frame([trade(2), trade(3)])]
    script.again()
    script.overdue()
    assert not script.answer([trade(3), trade(2), trade(1)])
    assert list(script.receive([trade(4)])) == [script.frame([trade(4)])]


def test_trades_are_filled_up_from_the_recent_ones_as_far_as_they_reach() -> None:
    script = Script(TRADES)
    script.confirmed()
    script.receive([trade(1)])
    script.again()
    assert list(script.receive([trade(30)])) == []
    assert script.asked() == [{"type": "recentTrades", "coin": "BTC"}]
    gap, frame = script.answer([trade(number) for number in range(30, 20, -1)])
    assert isinstance(gap, Gap) and (gap.from_ms, gap.to_ms) == (T0 + 1, T0 + 21)
    assert frame == script.frame([trade(number) for number in range(21, 31)])


# -- events ---------------------------------------------------------------------------------------------


def update(number: int, status: str, sz: str = "0.5") -> dict[str, Any]:
    order = {"coin": "BTC", "side": "B", "limitPx": "1.0", "sz": sz, "oid": number, "timestamp": T0}
    return {"order": {**order, "origSz": "0.5"}, "status": status, "statusTimestamp": T0 + number}


def historical(number: int, status: str, **more: Any) -> dict[str, Any]:
    plain = update(number, status)
    extra = {"triggerCondition": "N/A", "children": [], "tif": "Gtc", "reduceOnly": False, "cloid": None}
    return {**plain, "order": {**plain["order"], **extra, **more}}


def test_order_updates_are_healed_from_historical_orders() -> None:
    script = Script(ORDERS)
    script.confirmed()
    assert script.receive([update(1, "open")])
    assert script.snapshot() == []
    script.again()
    assert script.asked() == [{"type": "historicalOrders", "user": USER}]
    script.receive([update(4, "open")])
    (frame,) = script.answer(
        [
            historical(4, "open"),
            historical(3, "filled", cloid="0x01", reduceOnly=True),
            historical(2, "canceled"),
            historical(1, "open"),
        ]
    )
    filled = update(3, "filled")
    filled["order"] |= {"cloid": "0x01", "reduceOnly": True}
    assert frame == script.frame([update(2, "canceled"), filled, update(4, "open")])


def test_an_order_update_and_its_twin_of_the_history_are_one_row() -> None:
    script = Script(ORDERS)
    script.confirmed()
    script.receive([update(1, "open", sz="0.2")])
    script.again()
    script.receive([update(2, "open", sz="0.1")])
    (frame,) = script.answer([historical(2, "open"), historical(1, "open")])
    assert frame == script.frame([update(2, "open", sz="0.1")])


def test_partial_fills_of_one_block_are_rows() -> None:
    script = Script(ORDERS)
    script.confirmed()
    both = [update(1, "open", sz="0.4"), update(1, "open", sz="0.3")]
    assert list(script.receive(both)) == [script.frame(both)]


def test_what_was_before_anybody_listened_is_not_told() -> None:
    script = Script(ORDERS)
    script.now = Now(0.0, T0 + 10_000)
    script.confirmed()
    script.again()
    assert list(script.answer([historical(1, "open")])) == []


def test_a_history_that_does_not_reach_back_is_a_gap() -> None:
    script = Script(ORDERS)
    script.confirmed()
    script.receive([update(1, "open")])
    script.again()
    gap, frame = script.answer([historical(number, "open") for number in range(2100, 100, -1)])
    assert isinstance(gap, Gap) and (gap.from_ms, gap.to_ms) == (T0 + 1, T0 + 101)
    assert isinstance(frame, bytes) and len(json.loads(frame)["data"]) == 2000


def test_user_events_are_healed_from_all_that_has_them() -> None:
    script = Script(EVENTS)
    script.confirmed()
    script.receive({"fills": [fill(1)]})
    script.again()
    script.receive({"nonUserCancel": [{"coin": "BTC", "oid": 9}]})
    script.receive({"fills": [fill(9)]})
    funding = {"time": T0 + 3, "coin": "BTC", "usdc": "1.0"}
    twap_fill = {"fill": fill(5), "twapId": 7}
    twap = {
        "time": T0 // 1000 + 1,
        "state": {"coin": "BTC", "timestamp": T0},
        "status": {"status": "finished"},
        "twapId": 7,
    }
    outs = script.answer(
        [fill(1), fill(2), fill(4), fill(5, twapId=7)],
        [{"time": T0 + 3, "hash": "0x0", "delta": {"type": "funding", "coin": "BTC", "usdc": "1.0"}}],
        [twap_fill],
        [twap],
        [historical(6, "marginCanceled"), historical(5, "reduceOnlyCanceled"), historical(1, "open")],
    )
    assert [json.loads(out)["data"] for out in outs if isinstance(out, bytes)] == [
        {"fills": [fill(2)]},
        {"funding": funding},
        {"fills": [fill(4)]},
        {"twapSliceFills": [twap_fill]},
        # Who has no time of his own was not missed: he comes after all that was.
        {"nonUserCancel": [{"coin": "BTC", "oid": 6}, {"coin": "BTC", "oid": 9}]},
        {"fills": [fill(9)]},
        {"twapHistory": [twap]},
    ]


def test_an_event_without_a_time_is_told_when_the_history_says_that_it_was() -> None:
    script = Script(EVENTS)
    script.confirmed()
    script.receive({"fills": [fill(1)]})
    script.again()
    script.receive({"nonUserCancel": [{"coin": "BTC", "oid": 5}]})
    outs = script.answer(
        [fill(1), fill(2), fill(9)], [], [], [], [historical(5, "marginCanceled"), historical(1, "open")]
    )
    assert [json.loads(out)["data"] for out in outs if isinstance(out, bytes)] == [
        {"fills": [fill(2)]},
        {"nonUserCancel": [{"coin": "BTC", "oid": 5}]},
        {"fills": [fill(9)]},
    ]


def test_a_liquidation_whose_event_was_missed_is_a_gap() -> None:
    script = Script(EVENTS)
    script.confirmed()
    script.receive({"fills": [fill(1)]})
    script.again()
    mine = fill(2, liquidation={"liquidatedUser": USER, "markPx": "1.0", "method": "market"})
    other = fill(3, liquidation={"liquidatedUser": "0x" + "b0" * 20, "markPx": "1.0", "method": "market"})
    gap, frame = script.answer([fill(1), mine, other], [], [], [], [])
    assert isinstance(gap, Gap) and (gap.from_ms, gap.to_ms) == (T0 + 2, T0 + 2)
    assert frame == script.frame({"fills": [mine, other]})


@pytest.mark.parametrize(
    ("subscription", "name", "row", "asked"),
    [
        ("userFundings", "fundings", {"time": T0, "coin": "BTC"}, "userFunding"),
        (
            "userNonFundingLedgerUpdates",
            "nonFundingLedgerUpdates",
            {"time": T0, "hash": "0x0", "delta": {"type": "deposit", "usdc": "1.0"}},
            "userNonFundingLedgerUpdates",
        ),
        ("userTwapSliceFills", "twapSliceFills", {"fill": fill(0), "twapId": 1}, "userTwapSliceFillsByTime"),
        (
            "userTwapHistory",
            "history",
            {"time": T0 // 1000, "state": {"coin": "BTC", "timestamp": T0}, "status": {"status": "finished"}},
            "twapHistory",
        ),
        ("userHistoricalOrders", "orderHistory", historical(0, "open"), "historicalOrders"),
    ],
)
def test_every_list_is_kept_and_filled_up(subscription: str, name: str, row: Any, asked: str) -> None:
    script = Script(Subscription({"type": subscription, "user": USER}))
    script.confirmed()
    first = {"isSnapshot": True, "user": USER, name: [row]}
    assert list(script.receive(first)) == [script.frame(first)]
    assert script.snapshot() == [first]
    assert list(script.receive(first)) == []
    script.again()
    script.overdue()
    (question,) = script.asked()
    assert question["type"] == asked and question["user"] == USER
    # `startTime` of lists by time, in ms whatever the rows have
    assert question.get("startTime", T0) == T0


# -- what readers may rely on --------------------------------------------------------------------------


def held(script: Script) -> tuple[list[int], int] | None:
    """The numbers of the rows that are held, and since which number none is missing."""
    whole = script.memory.whole()
    return None if whole is None else ([row.time - T0 for row in whole.rows], whole.since_ms - T0)


def test_nothing_is_whole_before_the_snapshot() -> None:
    script = Script(FILLS)
    assert held(script) is None
    script.confirmed()
    assert held(script) is None
    script.receive(fills(7, 8, snapshot=True))
    # Of the time of the oldest there may have been more.
    assert held(script) == ([7, 8], 8)
    script.receive(fills(9))
    assert held(script) == ([7, 8, 9], 8)
    whole = script.memory.whole()
    assert script.memory.whole() is whole


def test_an_empty_snapshot_says_nothing_of_before() -> None:
    script = Script(FILLS)
    script.confirmed()
    script.receive(fills(snapshot=True))
    assert held(script) == ([], SKEW_MS)
    script.receive(fills(9))
    assert held(script) == ([9], SKEW_MS)


def test_what_is_let_go_is_not_whole() -> None:
    script = Script(FILLS, keep=3)
    script.confirmed()
    script.receive(fills(1, 2, snapshot=True))
    script.receive(fills(3, 4))
    assert held(script) == ([2, 3, 4], 2)
    script.receive(fills(5, 6))
    assert held(script) == ([4, 5, 6], 4)


def test_nothing_is_whole_while_it_is_not_fed_or_healed() -> None:
    script = Script(FILLS)
    script.confirmed()
    script.receive(fills(7, 8, snapshot=True))
    script.memory.lost()
    assert held(script) is None
    script.confirmed()
    assert held(script) is None
    # It goes back to what is known: nothing is missing.
    script.receive(fills(8, 9, snapshot=True))
    assert held(script) == ([7, 8, 9], 8)


def test_after_a_gap_it_is_whole_from_there() -> None:
    script = Script(FILLS)
    script.confirmed()
    script.receive(fills(7, 8, snapshot=True))
    script.memory.lost()
    script.confirmed()
    script.receive(fills(*range(50, 80), snapshot=True))
    assert held(script) is None
    wants = script.memory.wants
    assert wants is not None
    wants.fail("nobody answers")
    (gap, _) = script.memory.healed(wants, script.now)
    assert isinstance(gap, Gap)
    assert gap.to_ms == T0 + 50
    whole = held(script)
    assert whole is not None
    assert whole[1] == 51


def test_what_can_not_be_read_may_have_been_a_row() -> None:
    script = Script(FILLS)
    script.confirmed()
    script.receive(fills(7, 8, snapshot=True))
    script.receive({"user": USER, "fills": [{"time": "?"}]})
    assert held(script) == ([7, 8], SKEW_MS)


def test_a_snapshot_after_an_outage_that_says_nothing_begins_anew() -> None:
    script = Script(FILLS)
    script.confirmed()
    script.receive(fills(snapshot=True))
    script.memory.lost()
    script.now = Now(100.0, T0 + 100_000)
    script.confirmed()
    script.receive(fills(snapshot=True))
    assert held(script) == ([], 100_000 + SKEW_MS)


def test_trades_are_whole_from_the_first_ones_that_came() -> None:
    script = Script(TRADES)
    script.confirmed()
    assert held(script) is None
    script.receive([trade(3), trade(4)])
    script.receive([trade(5)])
    assert held(script) == ([3, 4, 5], 4)


def test_events_are_no_list() -> None:
    script = Script(EVENTS)
    script.confirmed()
    script.receive({"fills": [fill(3)]})
    whole = held(script)
    assert whole is None or whole[0] == []
