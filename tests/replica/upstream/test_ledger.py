"""What the ledger sends and believes. The table below says what every event does to every standing."""

from collections.abc import Callable
from itertools import pairwise, product

import pytest

from replica.subscription import Subscription, all_dexs_clearinghouse_state
from replica.upstream.ledger import Ledger, Standing, check_usage
from replica.upstream.usage import LedgerLimits
from tests.feeding import want

A, B, C, D = (all_dexs_clearinghouse_state("0x" + letter * 40) for letter in "abcd")
TRADES = Subscription({"type": "trades", "coin": "ETH"})
TOO_MANY_USERS = "Cannot track more than 10 total users."
TOO_MANY = "Cannot subscribe to more than 1000 channels."
TOO_FAST = "Cannot send more than 2000 messages per minute."


def ledger(*wanted: Subscription, **limits: float) -> Ledger:
    made = Ledger(LedgerLimits(**limits))  # type: ignore[arg-type]
    want(made, wanted, 0.0)
    made.opened(0.0)
    return made


def acknowledged(book: Ledger, *subscriptions: Subscription, now: float = 0.0) -> None:
    for subscription in subscriptions:
        assert book.answered("subscribe", subscription.wire(), now) == subscription


# -- the state table: one subscription, every event, twice -------------------------------------------------

WAIT, RETRY = 10.0, 600.0

# Standings as seen from outside: `asked` waits for an answer, `late` waits to be asked again, `ready` will go
# with the next to_send. An apostrophe: wanted once more after it has left.
GONE, WANTED, ASKED, LATE, CONFIRMED, REFUSED, LEAVING, LEFT, LEAVING_, LEFT_ = (
    "gone",
    "wanted",
    "asked",
    "late",
    "confirmed",
    "refused",
    "leaving",
    "left",
    "leaving'",
    "left'",
)


class One:
    """A ledger with one subscription in it, and the clock."""

    def __init__(self) -> None:
        self.now = 0.0
        self.book = Ledger(LedgerLimits(answer_within_s=WAIT, refused_for_s=RETRY))
        self.book.opened(self.now)

    def where(self) -> str:
        entry = self.book._entries.get(A)
        if entry is None:
            return GONE
        waits = entry.retry_at > self.now
        match entry.standing:
            case Standing.PENDING:
                return ASKED if entry.retry_at == float("inf") else LATE
            case Standing.LEAVING:
                return (LEFT if waits else LEAVING) + ("'" if entry.again else "")
            case standing:
                return standing.value


def wait(one: One) -> None:
    one.now += WAIT
    one.book.overdue(one.now)


EVENTS: dict[str, Callable[[One], object]] = {
    "want": lambda one: want(one.book, [A], one.now),
    "drop": lambda one: want(one.book, [], one.now),
    "open": lambda one: one.book.opened(one.now),
    "send": lambda one: one.book.to_send(one.now, 9),
    "wait": wait,
    "ack": lambda one: one.book.answered("subscribe", A.wire(), one.now),
    "unack": lambda one: one.book.answered("unsubscribe", A.wire(), one.now),
    "data": lambda one: one.book.data(A, one.now),
    "silent": lambda one: one.book.resubscribe(A, one.now),
    "invalid": lambda one: one.book.refused(f"Invalid subscription {as_json(A)}", one.now),
    "users": lambda one: one.book.refused(TOO_MANY_USERS, one.now),
    "channels": lambda one: one.book.refused(TOO_MANY, one.now),
    "nonsense": lambda one: one.book.refused("Something else went wrong.", one.now),
}


def as_json(subscription: Subscription) -> str:
    return "{" + ",".join(f'"{name}":"{value}"' for name, value in subscription.wire().items()) + "}"


# Everything that is not in a row leaves the standing as it is.
TABLE: dict[str, dict[str, str]] = {
    GONE: {"want": WANTED},
    WANTED: {"drop": GONE, "send": ASKED},
    ASKED: {
        "drop": LEAVING,
        "open": WANTED,
        "wait": LATE,
        "ack": CONFIRMED,
        "data": CONFIRMED,
        "invalid": REFUSED,
        "users": REFUSED,
        "channels": REFUSED,
    },
    LATE: {
        "drop": LEAVING,
        "open": WANTED,
        # "send": after one more wait, see `LATE and due`
        "ack": CONFIRMED,
        "data": CONFIRMED,
        "invalid": REFUSED,
        "users": REFUSED,
        "channels": REFUSED,
    },
    CONFIRMED: {"drop": LEAVING, "open": WANTED, "silent": LEAVING_},
    REFUSED: {"drop": GONE, "open": WANTED, "ack": CONFIRMED, "data": CONFIRMED},
    LEAVING: {"want": LEAVING_, "open": GONE, "send": LEFT, "unack": GONE},
    LEAVING_: {"drop": LEAVING, "open": WANTED, "send": LEFT_, "unack": WANTED},
    LEFT: {"want": LEFT_, "open": GONE, "wait": LEAVING, "unack": GONE},
    LEFT_: {"drop": LEFT, "open": WANTED, "wait": LEAVING_, "unack": WANTED},
}

PATHS: dict[str, tuple[str, ...]] = {
    GONE: (),
    WANTED: ("want",),
    ASKED: ("want", "send"),
    LATE: ("want", "send", "wait"),
    CONFIRMED: ("want", "send", "ack"),
    REFUSED: ("want", "send", "invalid"),
    LEAVING: ("want", "send", "ack", "drop"),
    LEAVING_: ("want", "send", "ack", "silent"),
    LEFT: ("want", "send", "ack", "drop", "send"),
    LEFT_: ("want", "send", "ack", "silent", "send"),
}


@pytest.mark.parametrize("start", TABLE)
def test_every_two_steps_go_where_the_table_says(start: str) -> None:
    for first, second in product(EVENTS, repeat=2):
        one = One()
        for event in PATHS[start]:
            EVENTS[event](one)
        assert one.where() == start
        expected = start
        waited = False
        for event in (first, second):
            EVENTS[event](one)
            one.book.check()
            check_usage(one.book.usage, [one.book])
            if expected == LATE and event == "send" and waited:
                expected = ASKED  # it waited as long as it should
            else:
                expected = TABLE[expected].get(event, expected)
            waited = event == "wait" and start == LATE
            assert one.where() == expected, f"{start}: {first}, {second}"


@pytest.mark.parametrize("start", TABLE)
@pytest.mark.parametrize("event", EVENTS)
def test_the_held_users_are_those_on_the_wire(start: str, event: str) -> None:
    one = One()
    for step in (*PATHS[start], event):
        EVENTS[step](one)
    on_wire = one.where() not in (GONE, WANTED, REFUSED)
    assert dict(one.book.usage.users) == ({A.user: 1} if on_wire else {})
    one.book.check()
    check_usage(one.book.usage, [one.book])


@pytest.mark.parametrize(
    ("event", "answers"),
    [
        ("ack", A),
        ("unack", A),
        ("data", True),
        ("invalid", A),
        ("users", A),
        ("channels", A),
        ("nonsense", None),
    ],
)
def test_what_is_said_of_an_asked_subscription(event: str, answers: object) -> None:
    one = One()
    for step in PATHS[ASKED]:
        EVENTS[step](one)
    assert EVENTS[event](one) == answers
    nobody = One()
    assert EVENTS[event](nobody) == (False if event == "data" else None)


def test_data_is_ours_only_while_it_is_held() -> None:
    for start in TABLE:
        one = One()
        for step in PATHS[start]:
            EVENTS[step](one)
        assert one.book.data(A, one.now) is (start in (ASKED, LATE, CONFIRMED, REFUSED)), start


# -- what is sent, and in which order ----------------------------------------------------------------------


def test_the_first_wanted_go_first_and_no_more_than_there_is_room_for() -> None:
    book = ledger(C, A, B)
    assert book.to_send(0.0, 0) == []
    assert book.to_send(0.0, -1) == []
    assert book.to_send(0.0, 2) == [("subscribe", C), ("subscribe", A)]
    assert book.to_send(0.0, 2) == [("subscribe", B)]
    assert book.to_send(0.0, 2) == []


def test_no_more_users_than_the_limit_and_any_number_of_streams_of_one_user() -> None:
    fills = Subscription({"type": "userFills", "user": A.user})
    book = ledger(A, B, C, fills, TRADES, users=2)
    assert [s for _, s in book.to_send(0.0, 99)] == [A, B, fills, TRADES]
    acknowledged(book, A, B, fills, TRADES)
    assert book.to_send(0.0, 99) == []
    # One of two streams given up keeps the user; both given up free the place once the upstream said so.
    want(book, [B, C, fills], 1.0)
    assert book.to_send(1.0, 99) == [("unsubscribe", A), ("unsubscribe", TRADES)]
    book.answered("unsubscribe", A.wire(), 1.0)
    assert book.to_send(1.0, 99) == []
    want(book, [B, C], 2.0)
    assert book.to_send(2.0, 99) == [("unsubscribe", fills)]
    book.answered("unsubscribe", fills.wire(), 2.0)
    assert book.to_send(2.0, 99) == [("subscribe", C)]
    book.check()


def test_no_more_subscriptions_than_the_limit() -> None:
    book = ledger(A, B, C, subscriptions=2)
    assert [s for _, s in book.to_send(0.0, 99)] == [A, B]
    acknowledged(book, A, B)
    want(book, [A, C], 1.0)
    assert book.to_send(1.0, 99) == [("unsubscribe", B)]
    book.answered("unsubscribe", B.wire(), 1.0)
    assert book.to_send(1.0, 99) == [("subscribe", C)]


def test_no_limit() -> None:
    many = [all_dexs_clearinghouse_state(f"0x{n:040x}") for n in range(1500)]
    book = ledger(*many, users=0, subscriptions=0)
    assert len(book.to_send(0.0, 9999)) == 1500
    book.check()


def test_unsubscribes_go_before_the_subscribes_they_make_room_for() -> None:
    book = ledger(A, B, users=2)
    book.to_send(0.0, 99)
    acknowledged(book, A, B)
    want(book, [D, B], 1.0)
    assert book.to_send(1.0, 99) == [("unsubscribe", A)]
    book.answered("unsubscribe", A.wire(), 1.0)
    assert book.to_send(1.0, 99) == [("subscribe", D)]


# -- answers that never come, or come late -----------------------------------------------------------------


def test_an_unanswered_one_goes_again_after_longer_and_longer() -> None:
    book = ledger(A, answer_within_s=10.0)
    sent = []
    for second in range(700):
        now = float(second)
        for late in book.overdue(now):
            assert late == A
        sent += [now for _ in book.to_send(now, 9)]
    gaps = [later - earlier for earlier, later in pairwise(sent)]
    assert gaps[:6] == [20.0, 30.0, 40.0, 50.0, 60.0, 70.0]
    assert set(gaps[6:]) == {70.0}


def test_an_unanswered_one_keeps_its_place_for_the_upstream_may_hold_it() -> None:
    book = ledger(A, B, users=1, subscriptions=1, answer_within_s=10.0)
    assert book.to_send(0.0, 9) == [("subscribe", A)]
    assert book.overdue(10.0) == [A]
    assert book.to_send(10.0, 9) == []  # B, in its place, would be one user too many at the upstream
    acknowledged(book, A, now=11.0)
    book.check()
    assert book.confirmed() == [A]


def test_an_unsubscribe_that_is_never_answered_keeps_its_place_and_condemns_the_connection() -> None:
    book = ledger(A, B, users=1, answer_within_s=10.0)
    book.to_send(0.0, 9)
    acknowledged(book, A)
    want(book, [B], 0.0)
    assert book.to_send(0.0, 9) == [("unsubscribe", A)]
    assert book.overdue(9.9) == []
    assert book.to_send(9.9, 9) == []
    for late in (10.0, 20.0, 30.0):
        assert book.overdue(late) == [A]
        assert not book.unheard()
        # B, in its place, would be one user too many at an upstream that is only slow.
        assert book.to_send(late, 9) == [("unsubscribe", A)]
    assert book.unheard()
    book.opened(31.0)
    assert not book.unheard()
    assert book.to_send(31.0, 9) == [("subscribe", B)]


def test_a_silent_stream_goes_down_and_up_again_and_keeps_its_user() -> None:
    book = ledger(A, B, users=1)
    book.to_send(0.0, 9)
    acknowledged(book, A)
    book.resubscribe(A, 20.0)
    assert book.to_send(20.0, 9) == [("unsubscribe", A)]
    assert not book.data(A, 20.1)  # a push that crossed it
    book.answered("unsubscribe", A.wire(), 20.2)
    assert book.to_send(20.2, 9) == [("subscribe", A)]
    assert book.data(A, 20.3)
    assert book.standing(A) is Standing.CONFIRMED


# -- refusals ----------------------------------------------------------------------------------------------


def test_a_refusal_without_an_echo_means_the_oldest_unanswered_one() -> None:
    book = ledger(TRADES, A, B, C)
    book.to_send(0.0, 9)
    acknowledged(book, A)
    assert book.refused(TOO_MANY_USERS, 0.0) == B  # trades has no user and can't be meant
    assert book.refused(TOO_MANY, 0.0) == TRADES
    assert book.refused(TOO_MANY_USERS, 0.0) == C
    assert book.refused(TOO_MANY_USERS, 0.0) is None
    assert book.confirmed() == [A]


def test_the_oldest_one_is_the_one_asked_first_whatever_its_place_in_the_list() -> None:
    book = ledger(A, B, C)
    assert book.to_send(0.0, 1) == [("subscribe", A)]
    acknowledged(book, A)
    book.resubscribe(A, 0.0)
    assert book.to_send(0.0, 2) == [("unsubscribe", A), ("subscribe", B)]
    book.answered("unsubscribe", A.wire(), 0.0)
    assert book.to_send(0.0, 1) == [("subscribe", A)]
    assert book.refused(TOO_MANY_USERS, 0.0) == B


def test_a_late_refusal_means_the_late_one() -> None:
    book = ledger(A, B, answer_within_s=10.0)
    assert book.to_send(0.0, 1) == [("subscribe", A)]
    assert book.to_send(5.0, 1) == [("subscribe", B)]
    assert book.overdue(10.0) == [A]
    assert book.refused(TOO_MANY_USERS, 11.0) == A


def test_the_user_limit_is_learned_kept_and_tried_again_later() -> None:
    book = ledger(A, B, C, D, users=10, refused_for_s=600.0)
    book.to_send(0.0, 9)
    acknowledged(book, A, B)
    assert book.refused("Cannot track more than 2 total users.", 1.0) == C
    assert book.refused("Cannot track more than 2 total users.", 2.0) == D
    for now in (2.0, 100.0, 600.9):
        assert book.to_send(now, 9) == []
    # Another user is no better off before the ceiling is forgotten; one more stream of a held user is.
    extra = all_dexs_clearinghouse_state("0x" + "e" * 40)
    fills = Subscription({"type": "userFills", "user": A.user})
    want(book, [A, B, C, D, extra, fills], 100.0)
    assert book.to_send(100.0, 9) == [("subscribe", fills)]
    assert book.to_send(601.9, 9) == []
    assert book.to_send(602.0, 9) == [("subscribe", C), ("subscribe", D), ("subscribe", extra)]


def test_the_subscription_limit_is_learned_and_tried_again_later() -> None:
    book = ledger(A, TRADES, B, refused_for_s=600.0)
    book.to_send(0.0, 2)
    acknowledged(book, A)
    assert book.refused("Cannot subscribe to more than 1 channels.", 1.0) == TRADES
    assert book.to_send(1.0, 9) == []
    assert book.to_send(600.9, 9) == []
    assert book.to_send(601.0, 9) == [("subscribe", TRADES), ("subscribe", B)]


def test_a_new_connection_starts_without_what_the_old_one_taught() -> None:
    book = ledger(A, B)
    book.to_send(0.0, 9)
    acknowledged(book, A)
    assert book.refused("Cannot track more than 1 total users.", 1.0) == B
    book.opened(2.0)
    assert book.confirmed() == []
    assert book.to_send(2.0, 9) == [("subscribe", A), ("subscribe", B)]


def test_a_refused_one_that_is_acknowledged_all_the_same_was_not_the_one_meant() -> None:
    book = ledger(A, B, users=1, answer_within_s=10.0)
    book.to_send(0.0, 9)
    assert book.refused(TOO_MANY_USERS, 1.0) == A
    book.answered("subscribe", A.wire(), 2.0)
    assert book.standing(A) is Standing.CONFIRMED
    # But not above our own limit: what has taken its place stays.
    book = ledger(A, B, users=1)
    book.to_send(0.0, 9)
    book.refused(f"Invalid subscription {as_json(A)}", 1.0)
    assert book.to_send(1.0, 9) == [("subscribe", B)]
    assert not book.data(A, 2.0)
    assert book.standing(A) is Standing.REFUSED
    book.check()


def test_too_many_messages_delays_what_was_asked_and_refuses_nothing() -> None:
    book = ledger(A, B, users=1)
    book.to_send(0.0, 9)
    assert book.refused(TOO_FAST, 1.0) is None
    assert book.overdue(30.0) == []
    assert book.to_send(60.9, 9) == []  # and B does not take its place: whose message it was is not known
    assert book.to_send(61.0, 9) == [("subscribe", A)]
    acknowledged(book, A, now=61.0)
    want(book, [B], 62.0)
    assert book.to_send(62.0, 9) == [("unsubscribe", A)]
    assert book.refused(TOO_FAST, 62.0) is None
    assert book.overdue(80.0) == []
    assert book.to_send(121.9, 9) == []
    assert book.to_send(122.0, 9) == [("unsubscribe", A)]


def test_a_message_too_many_is_not_waited_for_when_another_is_refused() -> None:
    book = ledger(A, B)
    book.to_send(0.0, 9)
    book.refused(TOO_FAST, 0.0)
    assert book.refused(TOO_MANY_USERS, 0.0) == B


@pytest.mark.parametrize(
    "text",
    [
        f"Invalid subscription {as_json(A)}",
        f"Invalid subscription: {as_json(A)}",
        "Error parsing JSON into valid websocket request: "
        f'{{"method":"subscribe","subscription":{as_json(A)}}}',
    ],
)
def test_a_refusal_with_an_echo_means_the_echoed_one(text: str) -> None:
    book = ledger(B, A)
    book.to_send(0.0, 9)
    assert book.refused(text, 0.0) == A
    assert book.standing(B) is Standing.PENDING
    assert book.refused(text, 0.0) is None  # it is refused already


@pytest.mark.parametrize(
    "text",
    [
        "",
        "too many pending post requests id=7",
        "Error parsing JSON into valid websocket request: {not json}",
        'Error parsing JSON into valid websocket request: {"subscription":["trades"]}',
        'Invalid subscription {"type":"trades","coin":"BTC"}',
    ],
)
def test_a_text_that_refuses_none_of_ours(text: str) -> None:
    book = ledger(A, TRADES)
    book.to_send(0.0, 9)
    assert book.refused(text, 0.0) is None
    assert book.count(Standing.PENDING) == 2


# -- echoes ------------------------------------------------------------------------------------------------


def test_an_echo_with_defaults_filled_in_answers_the_one_it_names_most_closely() -> None:
    book = Subscription({"type": "l2Book", "coin": "ETH"})
    aggregated = Subscription({"type": "l2Book", "coin": "ETH", "nSigFigs": 5})
    held = ledger(book, aggregated)
    held.to_send(0.0, 9)
    echo = {"coin": "ETH", "type": "l2Book", "nSigFigs": 5, "mantissa": None, "fast": False, "depth": 20}
    assert held.answered("subscribe", echo, 0.0) == aggregated
    assert held.answered("subscribe", {**echo, "nSigFigs": None}, 0.0) == book
    assert held.answered("subscribe", {**echo, "coin": "BTC"}, 0.0) is None
    assert held.answered("subscribe", {}, 0.0) is None
    assert held.confirmed() == [book, aggregated]


def test_repr_says_how_it_stands() -> None:
    book = ledger(A, B)
    assert repr(book) == "<Ledger 2 wanted>"
    book.to_send(0.0, 1)
    assert repr(book) == "<Ledger 1 wanted, 1 pending>"
    assert repr(Ledger(LedgerLimits())) == "<Ledger empty>"


def test_refused_with_nobody_let_in_one_user_at_a_time_is_tried() -> None:
    book = ledger(A, B, C)
    assert book.to_send(0.0, 1) == [("subscribe", A)]
    assert book.refused(TOO_MANY_USERS, 0.0) == A
    assert book.to_send(0.0, 9) == [("subscribe", B)]
    assert book.refused(TOO_MANY_USERS, 0.0) == B
    assert book.to_send(0.0, 9) == [("subscribe", C)]
