"""Who is told what: acknowledgements, snapshots, refusals, numbers, coming back."""

from collections.abc import Hashable
from typing import Any

import orjson
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from replica import Subscription
from tests.server.ws.fakes import ALICE, Ear, Span, Stage, acknowledgement, wanted

MIDS = wanted("allMids").subscription
TRADES = wanted("trades", coin="BTC").subscription
FILLS = wanted("userFills", user=ALICE).subscription
SEQ = {"seq": True}


def frame(channel: str, value: Any, seq: int | None = None) -> dict[str, Any]:
    return {"channel": channel, "data": value} | ({} if seq is None else {"replica": {"seq": seq}})


# Acknowledgements


def test_the_first_is_acknowledged_when_the_upstream_has_accepted() -> None:
    stage, ear = Stage(), Ear()
    assert stage.subscribe(ear) is None
    assert ear.heard == []
    stage.mirror.confirm(MIDS)
    stage.mirror.push(MIDS, 1)
    assert ear.heard == [acknowledgement(), frame("allMids", 1)]


def test_the_next_gets_acknowledgement_and_snapshot_at_once_and_one_subscription_serves_both() -> None:
    stage, first, second = Stage(), Ear(), Ear()
    stage.subscribe(first)
    stage.mirror.confirm(MIDS)
    stage.mirror.push(MIDS, 1)
    stage.subscribe(second, dex="")
    assert second.heard == [acknowledgement(dex=""), frame("allMids", 1)]
    stage.mirror.push(MIDS, 2)
    assert second.heard == [frame("allMids", 2)] and first.heard[-1] == frame("allMids", 2)
    assert stage.mirror.held_in_all == 1


def test_a_reconnect_upstream_is_no_second_acknowledgement() -> None:
    stage, ear = Stage(), Ear()
    stage.subscribe(ear)
    stage.mirror.confirm(MIDS)
    stage.mirror.confirm(MIDS)
    assert ear.heard == [acknowledgement()]


def test_without_the_upstream_it_comes_after_a_while_for_what_we_know() -> None:
    stage, ear = Stage(ack_wait_s=3.0), Ear()
    stage.subscribe(ear)
    stage.later(2.9)
    assert ear.heard == [] == stage.mirror.owed
    stage.later(0.1)
    assert ear.heard == [acknowledgement()]
    assert stage.mirror.owed == [MIDS]
    stage.mirror.confirm(MIDS)
    stage.mirror.push(MIDS, 1)
    assert ear.heard == [frame("allMids", 1)]


def test_without_the_upstream_nothing_is_promised_of_what_we_do_not_know() -> None:
    stage, ear = Stage(ack_wait_s=3.0), Ear()
    stage.subscribe(ear, "nextYears")
    stage.later(3.0)
    (told,) = ear.heard
    assert told["channel"] == "error"
    assert told["data"].startswith('Invalid subscription {"type":"nextYears"}')
    assert not ear.holds and not stage.mirror.held


def test_twice_is_an_error_with_the_normalised_subscription_in_it() -> None:
    stage, ear = Stage(), Ear()
    assert stage.subscribe(ear, "trades", coin="BTC") is None
    told = stage.subscribe(ear, "trades", coin="BTC", extra=None)
    assert told == 'Already subscribed: {"type":"trades","coin":"BTC","extra":null}'
    assert stage.unsubscribe(ear) == 'Already unsubscribed: {"type":"allMids"}'


def test_giving_up_before_the_acknowledgement_answers_both_in_order() -> None:
    stage, ear = Stage(), Ear()
    stage.subscribe(ear)
    assert stage.unsubscribe(ear) is None
    assert ear.heard == [acknowledgement(), acknowledgement("unsubscribe")]
    assert not stage.mirror.held


def test_an_unsubscribe_may_leave_out_what_makes_no_other_stream() -> None:
    stage, ear = Stage(), Ear()
    stage.mirror.at_once = True
    stage.subscribe(ear, "spotState", user=ALICE, isPortfolioMargin=True)
    stage.subscribe(ear, "l2Book", coin="BTC", nSigFigs=5)
    ear.texts.clear()
    assert stage.unsubscribe(ear, "spotState", user=ALICE) is None
    assert ear.heard == [acknowledgement("unsubscribe", "spotState", user=ALICE)]
    assert (stage.unsubscribe(ear, "spotState", user=ALICE) or "").startswith("Already unsubscribed: {")
    assert (stage.unsubscribe(ear, "l2Book", coin="BTC") or "").startswith("Already unsubscribed: {")
    for more in ({"isPortfolioMargin": True}, {"ignorePortfolioMargin": True}):
        stage.subscribe(ear, "spotState", user=ALICE, **more)
    assert stage.unsubscribe(ear, "spotState", user=ALICE), "which of the two, it does not say"
    assert stage.unsubscribe(ear, "spotState", user=ALICE, isPortfolioMargin=True) is None
    stage.hub.check()


def test_the_last_one_out_gives_it_up() -> None:
    stage, first, second = Stage(), Ear(), Ear()
    stage.subscribe(first)
    stage.subscribe(second)
    stage.unsubscribe(first)
    assert MIDS in stage.mirror.held
    stage.hub.leave(second.holds, stage.now)
    assert not stage.mirror.held and len(stage.hub) == 0


# Refusals


def test_a_refusal_at_once() -> None:
    stage, ear = Stage(), Ear()
    stage.mirror.refusals["userFills"] = "Cannot track more than 10 total users."
    assert stage.subscribe(ear, "userFills", user=ALICE) == "Cannot track more than 10 total users."
    assert not ear.holds and len(stage.hub) == 0


@pytest.mark.parametrize("acknowledged", [False, True])
def test_a_refusal_later_ends_it_for_everybody(acknowledged: bool) -> None:
    stage, ears = Stage(), [Ear(), Ear()]
    for ear in ears:
        stage.subscribe(ear, "userFills", user=ALICE, aggregateByTime=False)
    if acknowledged:
        stage.later(5.0)
    stage.mirror.refuse(FILLS, 'Invalid subscription {"type":"userFills"}')
    for ear in ears:
        told = ear.heard[-1]
        text = f'Invalid subscription {{"type":"userFills","user":"{ALICE}","aggregateByTime":false}}'
        assert told == {"channel": "error", "data": text}
        assert not ear.holds
    assert len(stage.hub) == 0
    stage.subscribe(ears[0], "userFills", user=ALICE)
    assert FILLS in stage.mirror.held


def test_a_mirror_that_tells_while_it_is_asked() -> None:
    stage, ear = Stage(), Ear()
    hold = stage.mirror.hold

    def confirms(subscription: Subscription) -> str | None:
        refusal = hold(subscription)
        stage.mirror.confirm(subscription)
        stage.mirror.push(subscription, 1)
        return refusal

    def refuses(subscription: Subscription) -> str | None:
        hold(subscription)
        stage.mirror.refuse(subscription, "no")
        return None

    stage.mirror.hold = confirms  # type: ignore[method-assign]
    stage.subscribe(ear)
    assert ear.heard == [acknowledgement(), frame("allMids", 1)]
    stage.mirror.hold = refuses  # type: ignore[method-assign]
    stage.subscribe(ear, "trades", coin="BTC")
    assert ear.heard == [{"channel": "error", "data": "no"}]
    assert set(ear.holds) == {MIDS}
    stage.hub.check()


def test_more_than_a_client_may_have() -> None:
    stage, ear = Stage(subscriptions=2), Ear()
    assert stage.subscribe(ear) is None
    assert stage.subscribe(ear, "trades", coin="BTC") is None
    assert stage.subscribe(ear, "trades", coin="ETH") == "Cannot subscribe to more than 2 channels."
    stage.unsubscribe(ear)
    assert stage.subscribe(ear, "trades", coin="ETH") is None


# Coins


def test_a_coin_that_is_not_known_waits_for_the_universe() -> None:
    stage, ear = Stage(), Ear()
    stage.coins["NEW"] = None
    stage.subscribe(ear, "trades", coin="NEW")
    stage.subscribe(ear, "trades", coin="NONE")
    assert not stage.mirror.held and len(stage.hub.unchecked) == 2
    stage.hub.judge()
    assert ear.heard == [{"channel": "error", "data": 'Invalid subscription {"type":"trades","coin":"NONE"}'}]
    stage.later(3.0)
    assert ear.heard == [acknowledgement(type_="trades", coin="NEW")]
    assert not stage.mirror.owed
    stage.coins["NEW"] = True
    stage.hub.judge()
    assert [s.wire() for s in stage.mirror.held] == [{"type": "trades", "coin": "NEW"}]
    assert stage.mirror.owed == [*stage.mirror.held]
    assert not stage.hub.unchecked


def test_a_dex_that_there_is_not_goes_up_as_little_as_such_a_coin() -> None:
    stage, ear = Stage(), Ear()
    stage.subscribe(ear, "allMids", dex="nope")
    assert not stage.mirror.held and len(stage.hub.unchecked) == 1
    stage.hub.judge()
    (told,) = ear.heard
    assert told == {"channel": "error", "data": 'Invalid subscription {"type":"allMids","dex":"nope"}'}
    assert len(stage.hub) == 0 and not stage.mirror.held_in_all


def test_a_refusal_has_the_subscription_as_it_was_sent() -> None:
    # @nktkas/hyperliquid 0.32 finds its request by exactly what it sent: with defaults in it, it would wait
    # for ten seconds.
    stage, ear = Stage(), Ear()
    stage.subscribe(ear, "l2Book", coin="NONE", nSigFigs=None, mantissa=None)
    stage.hub.judge()
    stage.mirror.refusals["l2Book"] = "Invalid subscription {}"
    told = stage.subscribe(ear, "l2Book", coin="BTC", nSigFigs=None, mantissa=None)
    text = 'Invalid subscription {"type":"l2Book","coin":"%s","nSigFigs":null,"mantissa":null}'
    assert ear.heard == [{"channel": "error", "data": text % "NONE"}] and told == text % "BTC"


def test_a_coin_that_turns_out_to_be_known_may_be_refused_for_something_else() -> None:
    stage, ear = Stage(), Ear()
    stage.subscribe(ear, "trades", coin="NEW")
    stage.coins["NEW"] = True
    stage.mirror.refusals["trades"] = "Cannot subscribe to more than 1000 channels."
    stage.hub.judge()
    assert ear.heard == [{"channel": "error", "data": "Cannot subscribe to more than 1000 channels."}]
    assert not ear.holds


def test_a_coin_that_is_found_where_the_mirror_is_still_warm() -> None:
    stage, ear = Stage(), Ear()
    stage.mirror.at_once = True
    stage.subscribe(ear, "trades", coin="NEW")
    stage.coins["NEW"] = True
    stage.hub.judge()
    assert ear.heard == [acknowledgement(type_="trades", coin="NEW")]


def test_who_leaves_before_the_universe_is_read_leaves_nothing() -> None:
    stage, ear = Stage(), Ear()
    stage.subscribe(ear, "trades", coin="NEW")
    stage.hub.leave(ear.holds, stage.now)
    assert not stage.hub.unchecked and len(stage.hub) == 0


# Places in a slow client's line


def test_only_states_take_each_others_place() -> None:
    stage, ear = Stage(), Ear()
    candles = {"type": "candle", "coin": "BTC", "interval": "1m"}
    stage.subscribe(ear)
    stage.subscribe(ear, "trades", coin="BTC")
    stage.subscribe(ear, "candle", coin="BTC", interval="1m")
    stage.mirror.confirm_all()
    ear.keys.clear()
    for subscription, value in (
        (MIDS, 1),
        (MIDS, 2),
        (TRADES, [1]),
        (TRADES, [2]),
        (Subscription(candles), {"t": 60}),
        (Subscription(candles), {"t": 60}),
        (Subscription(candles), {"t": 120}),
        (Subscription(candles), "no candle"),
    ):
        stage.mirror.push(subscription, value)
    mids, mids_too, trades, trades_too, one, one_too, two, odd = ear.keys
    assert mids is not None and mids == mids_too
    assert (trades, trades_too, odd) == (None, None, None)
    assert one is not None and one == one_too and one != two and one != mids


def test_after_an_unsubscribe_nothing_takes_the_place_of_what_was_before() -> None:
    stage, ear = Stage(), Ear()
    stage.mirror.at_once = True
    stage.subscribe(ear)
    stage.mirror.push(MIDS, 1)
    stage.unsubscribe(ear)
    stage.subscribe(ear)
    stage.mirror.push(MIDS, 2)
    before, after = (key for key in ear.keys if key is not None)
    assert before != after


# Numbers, gaps, coming back


def test_numbers_are_for_those_who_asked() -> None:
    stage, plain, numbered = Stage(), Ear(), Ear()
    stage.mirror.at_once = True
    stage.subscribe(plain, "trades", coin="BTC")
    stage.mirror.push(TRADES, [1])
    stage.subscribe(numbered, "trades", coin="BTC", replica=SEQ)
    told, snapshot = numbered.heard
    assert told["data"]["subscription"]["replica"] == SEQ
    assert told["replica"] == {"epoch": "run-1", "seq": 1, "resumed": False}
    assert snapshot == frame("trades", [1], 1)
    stage.mirror.push(TRADES, [2])
    assert numbered.heard == [frame("trades", [2], 2)]
    assert plain.heard == [
        acknowledgement(type_="trades", coin="BTC"),
        frame("trades", [1]),
        frame("trades", [2]),
    ]


def test_a_frame_that_is_no_object_stays_as_it_is() -> None:
    stage, ear = Stage(), Ear()
    stage.mirror.at_once = True
    stage.subscribe(ear, "explorerBlock", replica=SEQ)
    ear.texts.clear()
    stage.hub.frame(wanted("explorerBlock").subscription, b"[]")
    assert ear.texts == [b"[]"]


def test_a_gap_is_said_to_those_who_asked() -> None:
    stage, plain, told = Stage(), Ear(), Ear()
    stage.mirror.at_once = True
    stage.subscribe(plain, "trades", coin="BTC")
    stage.subscribe(told, "trades", coin="BTC", replica={"gaps": True})
    plain.texts.clear()
    told.texts.clear()
    stage.hub.gap(TRADES, Span(None, 9, "cut off"))
    assert plain.heard == []
    assert told.heard == [
        {
            "channel": "replica",
            "data": {
                "type": "gap",
                "subscription": {"type": "trades", "coin": "BTC", "replica": {"gaps": True}},
                "from": None,
                "to": 9,
                "reason": "cut off",
            },
        }
    ]


def come_back(stage: Stage, seq: int, epoch: str = "run-1", **options: Any) -> list[Any]:
    ear = Ear()
    resume = {"epoch": epoch, "seq": seq}
    stage.subscribe(ear, "trades", coin="BTC", replica={**SEQ, "resume": resume, **options})
    return ear.heard


def left_at(pushed: int, **limits: Any) -> Stage:
    """A stage whose only client has left with numbers 1..pushed."""
    stage, ear = Stage(**limits), Ear()
    stage.mirror.at_once = True
    stage.subscribe(ear, "trades", coin="BTC", replica=SEQ)
    for number in range(1, pushed + 1):
        stage.mirror.push(TRADES, [number])
    stage.hub.leave(ear.holds, stage.now)
    return stage


def test_who_comes_back_gets_what_it_missed_and_no_more() -> None:
    stage = left_at(3)
    stage.mirror.push(TRADES, [4])
    told, *missed = come_back(stage, 2)
    assert told["replica"] == {"epoch": "run-1", "seq": 4, "resumed": True}
    assert missed == [frame("trades", [3], 3), frame("trades", [4], 4)]
    assert stage.mirror.held_in_all == 1


def test_a_gap_while_away_is_said_on_coming_back() -> None:
    stage = left_at(1)
    stage.hub.gap(TRADES, Span(1, 2, "cut off"))
    stage.mirror.push(TRADES, [2])
    _, *missed = come_back(stage, 1, gaps=True)
    assert [frame.get("replica", frame["channel"]) for frame in missed] == ["replica", {"seq": 2}]


@pytest.mark.parametrize(("seq", "epoch"), [(2, "run-0"), (9, "run-1"), (-1, "run-1")])
def test_who_comes_back_from_elsewhere_begins_anew(seq: int, epoch: str) -> None:
    told, *snapshot = come_back(left_at(3), seq, epoch)
    assert told["replica"]["resumed"] is False
    assert snapshot == [frame("trades", [number], 3) for number in (1, 2, 3)]


def test_the_window_is_bounded_in_messages_bytes_and_time() -> None:
    assert come_back(left_at(5, resume_messages=3), 2)[0]["replica"]["resumed"] is True
    assert come_back(left_at(5, resume_messages=3), 1)[0]["replica"]["resumed"] is False
    assert come_back(left_at(5, resume_bytes=100), 1)[0]["replica"]["resumed"] is False
    assert come_back(left_at(5, resume_bytes=0), 5)[0]["replica"]["resumed"] is True
    stage = left_at(5, resume_s=60.0)
    stage.later(59.9)
    assert stage.mirror.held
    stage.later(0.1)
    assert not stage.mirror.held and len(stage.hub) == 0
    assert come_back(stage, 5)[0]["replica"]["resumed"] is False


def test_what_is_kept_for_who_may_come_back_makes_room_for_who_is_here() -> None:
    stage = left_at(2)
    ear = Ear()
    stage.mirror.most = 1
    assert stage.subscribe(ear, "l2Book", coin="BTC") is None
    assert [one.type for one in stage.mirror.held] == ["l2Book"]
    assert stage.subscribe(ear, "l2Book", coin="ETH") == "Cannot subscribe to more than 1 channels."
    stage.hub.check()
    stage = left_at(2)
    stage.mirror.refusals["userFills"] = "Cannot track more than 10 total users."
    assert stage.subscribe(ear, "userFills", user=ALICE) == stage.mirror.refusals["userFills"]
    assert come_back(stage, 1)[0]["replica"]["resumed"] is True, "its place is of no use to them"


def test_of_a_state_only_the_last_is_missed() -> None:
    stage, ear = Stage(), Ear()
    stage.mirror.at_once = True
    stage.subscribe(ear, replica=SEQ)
    for number in (1, 2, 3):
        stage.mirror.push(MIDS, number)
    stage.hub.leave(ear.holds, stage.now)
    back = Ear()
    stage.subscribe(back, replica={**SEQ, "resume": {"epoch": "run-1", "seq": 1}})
    told, last = back.heard
    assert told["replica"]["resumed"] is True and last == frame("allMids", 3, 3)
    up_to_date = Ear()
    stage.subscribe(up_to_date, replica={**SEQ, "resume": {"epoch": "run-1", "seq": 3}})
    assert len(up_to_date.heard) == 1


# Clients that are let go for being slow, by whatever they are told


class Slow(Ear):
    """Leaves with the first frame."""

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self._stage = stage

    def send(self, frame: bytes, key: Hashable | None) -> None:
        super().send(frame, key)
        self._stage.hub.leave(self.holds, self._stage.now)


@pytest.mark.parametrize("alone", [True, False])
def test_who_is_let_go_with_its_acknowledgement_leaves_nothing(alone: bool) -> None:
    stage, other = Stage(), Ear()
    slow = Slow(stage)
    if not alone:
        stage.subscribe(other)
    stage.subscribe(slow)
    stage.mirror.confirm(MIDS)
    stage.hub.check()
    assert slow.heard == [acknowledgement()] and not slow.holds
    assert len(stage.hub) == (0 if alone else 1)
    stage.mirror.push(MIDS, 1)
    assert slow.heard == []
    assert other.heard == ([] if alone else [acknowledgement(), frame("allMids", 1)])


# Any schedule


class Told:
    """What one client makes of what it hears: by subscription the rows or the state it has."""

    def __init__(self) -> None:
        self.ear = Ear()
        self.rows: dict[str, list[Any]] = {}
        self.seq: dict[str, int] = {}
        self.epoch: dict[str, str] = {}

    def listen(self) -> None:
        for told in self.ear.heard:
            mark = told.get("replica", {})
            if told["channel"] == "subscriptionResponse":
                type_ = told["data"]["subscription"]["type"]
                if told["data"]["method"] == "unsubscribe":
                    self.rows.pop(type_)
                elif not mark.get("resumed"):
                    self.rows[type_] = []
                if "epoch" in mark:
                    self.epoch[type_], self.seq[type_] = mark["epoch"], mark["seq"]
                continue
            type_ = told["channel"]
            assert type_ in self.rows, "data before an acknowledgement, or after an unsubscribe"
            if type_ == "allMids":
                self.rows[type_] = [told["data"]]
            else:
                self.rows[type_].append(told["data"])


class AnySchedule(RuleBasedStateMachine):
    """A snapshot plus what came after it is the state, whenever a client joins, leaves or comes back."""

    clients: Bundle[Told] = Bundle("clients")
    TYPES = ("allMids", "trades")

    @initialize()
    def begin(self) -> None:
        self.stage = Stage(ack_wait_s=3.0, resume_messages=4, resume_s=10.0)
        self.told: list[Told] = []
        self.value = 0
        self.of = {"allMids": MIDS, "trades": TRADES}

    def fields(self, type_: str) -> dict[str, Any]:
        return {"coin": "BTC"} if type_ == "trades" else {}

    @rule(target=clients)
    def connect(self) -> Told:
        told = Told()
        self.told.append(told)
        return told

    @rule(told=clients, type_=st.sampled_from(TYPES), numbered=st.booleans())
    def subscribe(self, told: Told, type_: str, numbered: bool) -> None:
        options = {"replica": SEQ} if numbered else {}
        self.stage.subscribe(told.ear, type_, **self.fields(type_), **options)

    @rule(told=clients, type_=st.sampled_from(TYPES))
    def unsubscribe(self, told: Told, type_: str) -> None:
        self.stage.unsubscribe(told.ear, type_, **self.fields(type_))

    @rule(told=consumes(clients), type_=st.sampled_from(TYPES), target=clients)
    def drop_and_come_back(self, told: Told, type_: str) -> Told:
        told.listen()
        self.stage.hub.leave(told.ear.holds, self.stage.now)
        kept = {type_: told.rows[type_]} if type_ in told.rows and type_ in told.epoch else {}
        told.rows = kept
        if kept:
            resume = {"epoch": told.epoch[type_], "seq": told.seq[type_]}
            self.stage.subscribe(told.ear, type_, **self.fields(type_), replica={**SEQ, "resume": resume})
        return told

    @rule(told=consumes(clients))
    def leave(self, told: Told) -> None:
        self.stage.hub.leave(told.ear.holds, self.stage.now)
        self.told.remove(told)

    @rule()
    def confirm(self) -> None:
        self.stage.mirror.confirm_all()

    @rule(type_=st.sampled_from(TYPES))
    def push(self, type_: str) -> None:
        self.value += 1
        self.stage.mirror.push(self.of[type_], self.value)

    @rule(seconds=st.floats(0.1, 6.0))
    def wait(self, seconds: float) -> None:
        self.stage.later(seconds)

    @rule(type_=st.sampled_from(TYPES))
    def refuse(self, type_: str) -> None:
        if self.of[type_] in self.stage.mirror.held:
            for told in self.told:
                told.listen()
                if self.of[type_] in told.ear.holds:
                    told.rows.pop(type_, None)
            self.stage.mirror.refuse(self.of[type_], "no")
            for told in self.told:
                told.ear.texts = [text for text in told.ear.texts if b'"error"' not in text]

    @invariant()
    def everybody_has_it_all(self) -> None:
        self.stage.hub.check()
        for told in self.told:
            for type_ in self.TYPES:
                member = told.ear.holds.get(self.of[type_])
                told.listen()
                if member is None or not member.acknowledged or not member.topic.held:
                    continue
                truth = [orjson.loads(text)["data"] for text in self.stage.mirror.held[self.of[type_]]]
                assert told.rows[type_] == truth
                if member.options.numbered and type_ in told.seq:
                    told.seq[type_] = member.topic.number


TestAnySchedule = AnySchedule.TestCase
