"""Conversations with an upstream, as scripts: frames in, frames and events out, at their times."""

import json
from collections.abc import Iterable, Iterator

import pytest

from replica.events import (
    AccountStates,
    Confirmed,
    FeedEvent,
    FollowingEnded,
    Lost,
    Pushed,
    Refused,
    State,
)
from replica.subscription import Subscription, all_dexs_clearinghouse_state
from replica.upstream.health import Health
from replica.upstream.ledger import Ledger, Standing
from replica.upstream.session import MAX_CHANNELS_COUNTED, Counts, Session
from replica.upstream.usage import LedgerLimits
from replica.upstream.window import SlidingWindow
from tests.feeding import want
from tests.script import play

USERS = {letter: "0x" + letter.lower() * 40 for letter in "ABCDE"}
LETTERS = {user: letter for letter, user in USERS.items()}
STREAMS = {letter: all_dexs_clearinghouse_state(user) for letter, user in USERS.items()}

Said = Iterator[tuple[float, str, str]]


def request(method: str, letter: str) -> str:
    fields = {"type": "allDexsClearinghouseState", "user": USERS[letter]}
    return json.dumps({"method": method, "subscription": fields}, separators=(",", ":"))


def echo(letter: str) -> str:
    return json.dumps({"type": "allDexsClearinghouseState", "user": USERS[letter]})


def frame(what: str) -> str:
    """The text of a frame by its short name; anything else is the text itself."""
    word, _, rest = what.partition(" ")
    match word:
        case "pong":
            return '{"channel":"pong"}'
        case "ack" | "unack":
            method = {"ack": "subscribe", "unack": "unsubscribe"}[word]
            data = f'{{"method":"{method}","subscription":{echo(rest)}}}'
            return f'{{"channel":"subscriptionResponse","data":{data}}}'
        case "data":
            letter, time = rest.split()
            states = f'[["",{{"marginSummary":{{}},"time":{time}}}],["xyz",{{"time":{time}}}]]'
            data = f'{{"user":"{USERS[letter]}","clearinghouseStates":{states}}}'
            return f'{{"channel":"allDexsClearinghouseState","data":{data}}}'
        case "error":
            return json.dumps({"channel": "error", "data": rest})
    return what


def pings(first: int, last: int) -> str:
    """Pings every 30 s, each answered."""
    return "\n".join(f"{at} << ping\n{at + 0.1} >> pong" for at in range(first, last + 1, 30))


class Connection:
    """A session driven as the feed drives it: verdict, then what is due, at every wake, until it hangs up."""

    def __init__(
        self,
        *wanted: str,
        limits: LedgerLimits | None = None,
        messages: int = 0,
        silent_after_s: float = 15.0,
    ) -> None:
        self.ledger = Ledger(limits or LedgerLimits())
        want(self.ledger, [STREAMS[letter] for letter in wanted], 0.0)
        self.health = Health(silent_after_s=silent_after_s, pong_within_s=10.0)
        self.messages = SlidingWindow(messages, 60.0, reserve=1)
        self.counts = Counts()
        self.session: Session | None = None

    def step(self, now: float) -> Said:
        if (session := self.session) is None:
            return
        reason = session.verdict(now)
        if reason is not None:
            yield now, "--", f"hang up: {reason}"
            self.session = None
            return
        frames = session.due(now)
        yield from self.ended(now)
        for sent in frames:
            text = json.loads(sent)
            if "subscription" in text:
                letter = LETTERS[text["subscription"]["user"]]
                assert sent.decode() == request(text["method"], letter)
                yield now, "<<", f"{text['method']} {letter}"
            else:
                assert sent == b'{"method":"ping"}'
                yield now, "<<", "ping"
        self.ledger.check()

    def ended(self, now: float) -> Said:
        assert self.session is not None
        yield from self.told(self.session.take_events(), now)

    def told(self, events: Iterable[FeedEvent], now: float) -> Said:
        for event in events:
            match event:
                case AccountStates(user, states):
                    times = sorted({state.time for state in states})
                    yield now, "--", f"states {LETTERS[user]} {' '.join(map(str, times))}"
                case FollowingEnded(users, reason):
                    yield now, "--", f"ended {' '.join(LETTERS[user] for user in users)}: {reason}"
                case _:
                    yield now, "--", repr(event)

    def until(self, now: float) -> Said:
        while self.session is not None and self.session.wake() < now:
            yield from self.step(self.session.wake())

    def receive(self, what: str, now: float) -> Said:
        if self.session is None:
            return
        yield from self.told(self.session.receive(frame(what).encode(), now), now)
        yield from self.step(now)

    def do(self, what: str, now: float) -> Said:
        word, _, rest = what.partition(" ")
        match word:
            case "open":
                self.session = Session(
                    self.ledger, self.health, self.messages, self.counts, ping_interval_s=30.0
                )
                self.session.opened(now)
            case "want":
                want(self.ledger, [STREAMS[letter] for letter in rest.split()], now)
                if self.session is not None:
                    self.session.wanted_changed(now)
            case "wait":
                pass
            case _:
                raise AssertionError(what)
        yield from self.step(now)

    def standing(self, letter: str) -> Standing | None:
        return self.ledger.standing(STREAMS[letter])


def test_the_machine_is_what_the_script_drives() -> None:
    said: Iterable[tuple[float, str, str]] = Connection("A").do("open", 0.0)
    assert list(said) == [(0.0, "<<", "subscribe A")]
    with pytest.raises(AssertionError, match=r"(?s)! 0 +<< subscribe B +\| 0 +<< subscribe A"):
        play(Connection("A"), "0 .. open\n0 << subscribe B")
    with pytest.raises(AssertionError, match=r"(?s)! +\| 1 +-- states A 5"):
        play(Connection("A"), "0 .. open\n0 << subscribe A\n1 >> data A 5")


# -- the plain course --------------------------------------------------------------------------------------


def test_subscribe_acknowledgement_data() -> None:
    connection = Connection("A", "B")
    play(
        connection,
        """
        0    .. open
        0    << subscribe A
        0    << subscribe B
        0.1  >> ack A
        0.1  >> data A 1000
        0.1  -- states A 1000
        0.2  >> ack B
        0.3  >> data B 1001
        0.3  -- states B 1001
        5.1  >> data A 1005
        5.1  -- states A 1005
        """,
    )
    assert connection.standing("A") is connection.standing("B") is Standing.CONFIRMED
    assert connection.counts.frames == 5
    assert connection.counts.states == 6
    assert connection.counts.sent == 2


def test_data_before_its_acknowledgement() -> None:
    connection = Connection("A")
    play(
        connection,
        """
        0    .. open
        0    << subscribe A
        0.1  >> data A 1000
        0.1  -- states A 1000
        0.2  >> ack A
        """,
    )
    assert connection.standing("A") is Standing.CONFIRMED


def test_a_reconnect_subscribes_to_everything_again() -> None:
    connection = Connection("A", "B")
    play(
        connection,
        """
        0    .. open
        0    << subscribe A
        0    << subscribe B
        0.1  >> ack A
        0.1  >> error Cannot track more than 1 total users.
        0.1  -- ended B: refused
        9    .. open
        9    << subscribe A
        9    << subscribe B
        9.1  >> data A 2000
        9.1  -- states A 2000
        9.2  >> ack B
        """,
    )
    assert connection.standing("B") is Standing.CONFIRMED


def test_wanted_and_not_wanted_any_more() -> None:
    play(
        Connection("A"),
        """
        0    .. open
        0    << subscribe A
        0.1  >> ack A
        3.5  .. want B
        3.5  -- ended A: given up
        3.5  << unsubscribe A
        3.5  << subscribe B
        3.6  >> data A 1000  # it crossed ours: nobody's to keep live
        3.7  >> unack A
        3.8  >> ack B
        3.9  >> data B 1001
        3.9  -- states B 1001
        """,
    )


def test_a_place_given_up_goes_to_the_next_at_once() -> None:
    play(
        Connection("A", limits=LedgerLimits(users=1)),
        """
        0    .. open
        0    << subscribe A
        0.1  >> ack A
        3.5  .. want B
        3.5  -- ended A: given up
        3.5  << unsubscribe A
        3.6  >> unack A
        3.6  << subscribe B
        """,
    )


@pytest.mark.parametrize(
    "nothing",
    [
        "data E 1000",
        "ack E",
        "unack E",
        '{"channel":"allMids","data":{"mids":{}}}',
        '{"channel":"fromTheFuture","data":[]}',
        "Websocket connection established.",
        "not JSON",
        '{"channel":"allDexsClearinghouseState","data":{"user":"A"}}',
        "error Something nobody has heard of.",
        "pong",
    ],
)
def test_what_is_not_for_us_changes_nothing(nothing: str) -> None:
    connection = Connection("A")
    play(
        connection,
        f"""
        0    .. open
        0    << subscribe A
        0.1  >> ack A
        1.5  >> {nothing}
        """,
    )
    assert connection.ledger.confirmed() == [STREAMS["A"]]
    assert connection.health.received_at == 1.5
    play(connection, "2.5 >> data A 1000\n2.5 -- states A 1000")
    assert connection.health.received_at == 2.5


def test_what_is_not_for_us_is_counted() -> None:
    connection = Connection("A")
    play(
        connection,
        """
        0    .. open
        0    << subscribe A
        1    >> data E 1000
        1    >> ack E
        1    >> {"channel":"allMids","data":{}}
        1    >> {"channel":"allMids","data":{}}
        1    >> Websocket connection established.
        1    >> nonsense
        1    >> {"channel":"error","data":7}
        1    >> error Oh dear.
        """,
    )
    counts = connection.counts
    assert (counts.frames, counts.unknown, counts.unreadable, counts.errors) == (8, 5, 2, 1)
    assert counts.unknown_channels == {"allMids": 2, "(greeting)": 1}
    assert counts.last_error == "Oh dear."
    assert counts.states == counts.refused == 0


def test_what_comes_from_outside_is_kept_within_bounds() -> None:
    connection = Connection("A")
    list(connection.do("open", 0.0))
    for number in range(500):
        list(connection.receive(f'{{"channel":"{number}{"x" * 9999}"}}', 1.0))
    list(connection.receive("error " + "y" * 99_999, 1.0))
    counts = connection.counts
    assert counts.unknown == 500
    assert len(counts.unknown_channels) == MAX_CHANNELS_COUNTED
    assert max(map(len, counts.unknown_channels)) <= 64
    assert len(counts.last_error) <= 200


# -- error texts -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        f"Invalid subscription {echo('A')}",
        f"Invalid subscription: {echo('A')}",
        f"Error parsing JSON into valid websocket request: {request('subscribe', 'A')}",
        "Cannot track more than 10 total users.",
        "Cannot track more than 15 total users.",
        "Cannot subscribe to more than 1000 channels.",
    ],
)
def test_an_error_text_that_refuses_the_subscription(text: str) -> None:
    connection = Connection("A")
    play(
        connection,
        f"""
        0      .. open
        0      << subscribe A
        0.1    >> error {text}
        0.1    -- ended A: refused
        {pings(30, 300)}
        """,
    )
    assert connection.standing("A") is Standing.REFUSED
    assert connection.counts.refused == 1
    assert connection.counts.last_error == text


def test_a_learned_user_limit_is_tried_again_after_ten_minutes() -> None:
    connection = Connection("A", "B", "C", silent_after_s=1e9)
    play(
        connection,
        f"""
        0      .. open
        0      << subscribe A
        0      << subscribe B
        0      << subscribe C
        0.1    >> ack A
        0.5    >> error Cannot track more than 1 total users.
        0.5    -- ended B: refused
        0.5    >> error Cannot track more than 1 total users.
        0.5    -- ended C: refused
        {pings(30, 600)}
        601    << subscribe B
        601    << subscribe C
        601.1  >> ack B
        601.1  >> error Cannot track more than 2 total users.
        601.1  -- ended C: refused
        """,
    )
    assert connection.standing("B") is Standing.CONFIRMED
    assert connection.standing("C") is Standing.REFUSED


def test_already_subscribed_is_an_acknowledgement() -> None:
    connection = Connection("A")
    play(
        connection,
        f"""
        0     .. open
        0     << subscribe A
        10    -- ended A: unanswered
        20    << subscribe A
        20.1  >> error Already subscribed: {echo("A")}
        {pings(30, 30)}
        36    -- hang up: 1 of 1 streams silent for 15 s
        """,
    )
    assert connection.standing("A") is Standing.CONFIRMED
    assert connection.counts.errors == 1
    assert connection.counts.refused == 0


def test_already_unsubscribed_is_an_acknowledgement() -> None:
    play(
        Connection("A", limits=LedgerLimits(users=1)),
        f"""
        0    .. open
        0    << subscribe A
        0.1  >> ack A
        1    .. want B
        1    -- ended A: given up
        1    << unsubscribe A
        1.1  >> error Already unsubscribed: {echo("A")}
        1.1  << subscribe B
        """,
    )


def test_too_many_posts_is_none_of_our_business() -> None:
    connection = Connection("A")
    play(connection, "0 .. open\n0 << subscribe A\n1 >> error too many pending post requests id=7")
    assert connection.standing("A") is Standing.PENDING


# -- silence -----------------------------------------------------------------------------------------------


def test_a_ping_every_half_minute() -> None:
    connection = Connection()
    play(connection, f"0 .. open\n{pings(30, 300)}")
    assert connection.counts.pings == 10


def test_no_pong() -> None:
    play(
        Connection(),
        """
        0     .. open
        30    << ping
        41    -- hang up: no pong for 10 s
        60    .. wait
        """,
    )


def test_data_flows_and_no_pong_comes_all_the_same() -> None:
    play(
        Connection("A"),
        """
        0     .. open
        0     << subscribe A
        0.1   >> ack A
        10    >> data A 1
        10    -- states A 1
        20    >> data A 2
        20    -- states A 2
        30    << ping
        30.5  >> data A 3
        30.5  -- states A 3
        38    >> data A 4
        38    -- states A 4
        41    -- hang up: no pong for 10 s
        """,
    )


def test_a_late_pong_within_its_time_will_do() -> None:
    play(Connection(), "0 .. open\n30 << ping\n39.9 >> pong\n60 << ping\n60.1 >> pong")


def test_a_silent_stream_is_taken_down_and_up_again() -> None:
    connection = Connection("A", "B", "C")
    play(
        connection,
        """
        0     .. open
        0     << subscribe A
        0     << subscribe B
        0     << subscribe C
        0.1   >> ack A
        0.1   >> ack B
        0.1   >> ack C
        10    >> data A 1
        10    -- states A 1
        10    >> data B 1
        10    -- states B 1
        16    -- ended C: silent
        16    << unsubscribe C
        16.1  >> unack C
        16.1  << subscribe C
        16.2  >> ack C
        16.3  >> data C 2
        16.3  -- states C 2
        """,
    )
    assert connection.counts.resubscribed == 1


def test_a_connection_is_given_up_when_most_streams_are_silent() -> None:
    play(
        Connection("A", "B", "C"),
        """
        0     .. open
        0     << subscribe A
        0     << subscribe B
        0     << subscribe C
        0.1   >> ack A
        0.1   >> ack B
        0.1   >> ack C
        10    >> data A 1
        10    -- states A 1
        16    -- hang up: 2 of 3 streams silent for 15 s
        """,
    )


def test_an_unanswered_subscribe_is_repeated_and_its_late_answer_is_taken() -> None:
    connection = Connection("A", "B", limits=LedgerLimits(users=1))
    play(
        connection,
        """
        0     .. open
        0     << subscribe A
        10    -- ended A: unanswered
        20    << subscribe A
        20.5  >> data A 1
        20.5  -- states A 1
        """,
    )
    assert connection.standing("A") is Standing.CONFIRMED


def test_unsubscribes_that_stay_unanswered_end_the_connection() -> None:
    play(
        Connection("A", limits=LedgerLimits(users=1)),
        f"""
        0     .. open
        0     << subscribe A
        0.1   >> ack A
        5     .. want B
        5     -- ended A: given up
        5     << unsubscribe A
        15    -- ended A: unanswered
        15    << unsubscribe A
        25    -- ended A: unanswered
        25    << unsubscribe A
        {pings(30, 30)}
        35    -- ended A: unanswered
        35    << unsubscribe A
        36    -- hang up: unsubscribes go unanswered
        """,
    )


def text(channel: str, data: object) -> bytes:
    return json.dumps({"channel": channel, "data": data}, separators=(",", ":")).encode()


def acknowledgement(method: str, stream: Subscription) -> bytes:
    return text("subscriptionResponse", {"method": method, "subscription": stream.wire()})


class Held:
    """A session with streams that clients hold, driven by hand."""

    def __init__(self, *streams: Subscription) -> None:
        self.connection = Connection()
        self.ledger, self.held = self.connection.ledger, dict.fromkeys(streams)
        self.ledger.add(streams, 0.0, trusted=False)
        self.open(0.0)

    def open(self, now: float) -> None:
        one = self.connection
        self.session = Session(
            self.ledger, one.health, one.messages, one.counts, ping_interval_s=30.0, held=self.held
        )
        self.session.opened(now)

    def said(self, now: float) -> list[str]:
        """What it sends when it is due: `ping`, or the type that it subscribes to."""
        messages = [json.loads(sent) for sent in self.session.due(now)]
        return [message.get("subscription", {"type": "ping"})["type"] for message in messages]

    def receive(self, frame: bytes, now: float) -> list[FeedEvent]:
        return list(self.session.receive(frame, now))


BOOK = Subscription({"type": "l2Book", "coin": "ETH", "nSigFigs": 3})
ORDERS = Subscription({"type": "orderUpdates", "user": USERS["A"]})
FUTURE = Subscription({"type": "fromTheFuture", "coin": "ETH"})


def test_streams_are_confirmed_once_and_then_pushed_as_they_came() -> None:
    one = Held(BOOK, ORDERS)
    assert one.said(0.0) == ["l2Book", "orderUpdates"]
    book = text("l2Book", {"coin": "ETH", "time": 5, "levels": [[], []]})
    data = b'{"coin":"ETH","time":5,"levels":[[],[]]}'
    # Data may come before its acknowledgement.
    assert one.receive(book, 0.1) == [Confirmed(BOOK), Pushed(BOOK, book, data)]
    assert one.receive(acknowledgement("subscribe", BOOK), 0.2) == []
    assert one.receive(acknowledgement("subscribe", ORDERS), 0.2) == [Confirmed(ORDERS)]
    assert one.receive(book, 0.3) == [Pushed(BOOK, book, data)]
    orders = b'{"data": [ {"status":"open"}], "channel":"orderUpdates"}'
    assert one.receive(orders, 0.4) == [Pushed(ORDERS, orders, b'[ {"status":"open"}]')]
    assert one.receive(text("l2Book", {"coin": "BTC"}), 0.5) == []
    assert (one.connection.counts.pushed, one.connection.counts.unknown) == (3, 1)


def test_a_bare_list_is_of_the_type_that_we_do_not_know() -> None:
    one = Held(FUTURE)
    one.said(0.0)
    assert one.receive(acknowledgement("subscribe", FUTURE), 0.1) == [Confirmed(FUTURE)]
    for frame_ in (b"[]", b'[{"height":1}]'):
        assert one.receive(frame_, 0.2) == [Pushed(FUTURE, frame_, frame_)]
    assert one.receive(b"[1", 0.3) == []
    assert (one.connection.counts.unreadable, one.connection.counts.unknown) == (1, 0)


def test_a_bare_list_is_nobodys_where_all_types_are_known() -> None:
    one = Held(ORDERS)
    one.said(0.0)
    one.receive(acknowledgement("subscribe", ORDERS), 0.1)
    assert one.receive(b"[]", 0.2) == []
    assert one.connection.counts.unknown_channels == {"(no channel)": 1}


def test_what_nobody_holds_is_not_told() -> None:
    one = Held(BOOK)
    one.said(0.0)
    del one.held[BOOK]
    assert one.receive(text("l2Book", {"coin": "ETH"}), 0.1) == []


def test_states_of_an_account_go_before_the_frame_that_brought_them() -> None:
    one = Held(STREAMS["A"])
    one.said(0.0)
    came = frame("data A 7").encode()
    confirmed, states, pushed = one.receive(came, 0.1)
    assert confirmed == Confirmed(STREAMS["A"])
    assert isinstance(states, AccountStates)
    assert isinstance(pushed, Pushed)
    assert pushed.frame == came
    assert json.loads(pushed.data)["user"] == USERS["A"]


def test_one_dex_of_an_account_brings_its_state() -> None:
    stream = Subscription({"type": "clearinghouseState", "user": USERS["A"], "dex": "xyz"})
    one = Held(stream)
    one.said(0.0)
    data = {"dex": "xyz", "user": USERS["A"], "clearinghouseState": {"time": 3}}
    confirmed, states, pushed = one.receive(text("clearinghouseState", data), 0.1)
    assert confirmed == Confirmed(stream)
    assert states == AccountStates(USERS["A"], (State("xyz", b'{"time":3}', 3),))
    assert isinstance(pushed, Pushed)
    assert one.receive(text("clearinghouseState", {**data, "dex": ""}), 0.2) == []


def test_a_type_we_do_not_know_gets_what_is_nobody_elses() -> None:
    one = Held(FUTURE)
    assert one.said(0.0) == ["fromTheFuture"]
    assert one.receive(acknowledgement("subscribe", FUTURE), 0.1) == [Confirmed(FUTURE)]
    for came in (text("futures", [1]), text("l2Book", {"coin": "ETH"}), text("user", {})):
        (pushed,) = one.receive(came, 0.2)
        assert isinstance(pushed, Pushed)
        assert pushed.subscription == FUTURE
    assert one.receive(frame("data A 7").encode(), 0.3) != []
    assert one.connection.counts.states == 0


@pytest.mark.parametrize(
    "why",
    [
        "Invalid subscription " + json.dumps(BOOK.wire()),
        "Cannot subscribe to more than 7 channels.",
    ],
)
def test_a_refusal_is_told_in_the_upstreams_words(why: str) -> None:
    one = Held(BOOK)
    one.said(0.0)
    assert one.receive(text("error", why), 0.1) == [Refused(BOOK, why)]
    assert one.ledger.refusal(BOOK) == why


def test_what_was_held_before_is_not_refused_for_a_limit_but_asked_for_again_soon() -> None:
    one = Held(ORDERS)
    one.said(0.0)
    one.receive(acknowledgement("subscribe", ORDERS), 0.1)
    assert one.session.closed(5.0, "cut", cut=True) == [Lost((ORDERS,), "cut")]
    one.open(6.0)
    assert one.said(6.0) == ["orderUpdates"]
    # The upstream still counts the connection that is gone.
    assert one.receive(text("error", "Cannot track more than 10 total users."), 6.1) == []
    assert one.said(15.0) == []
    assert one.said(16.2) == ["orderUpdates"]
    assert one.receive(acknowledgement("subscribe", ORDERS), 16.3) == [Confirmed(ORDERS)]


def test_who_keeps_a_cadence_is_missed_and_who_has_none_is_not() -> None:
    one = Held(BOOK, ORDERS, Subscription({"type": "trades", "coin": "ETH"}))
    one.said(0.0)
    for stream in one.held:
        one.receive(acknowledgement("subscribe", stream), 0.1)
    trades = text("trades", [{"coin": "ETH"}])
    for at in (1.0, 6.0):
        one.receive(text("l2Book", {"coin": "ETH"}), at)
        one.receive(trades, at)
    assert one.session.verdict(26.0) is None
    assert one.session.verdict(26.1) == "1 of 1 streams silent for 20 s"


def test_who_spoke_once_has_no_cadence() -> None:
    one = Held(BOOK)
    one.said(0.0)
    one.receive(text("l2Book", {"coin": "ETH"}), 0.1)
    assert one.session.verdict(1e6) is None


def test_a_silent_stream_is_lost_until_it_is_confirmed_again() -> None:
    more = [Subscription({"type": "l2Book", "coin": coin}) for coin in ("BTC", "SOL")]
    one = Held(BOOK, *more)
    one.said(0.0)
    for at in (0.1, 5.0, 20.0):
        for coin in ("BTC", "SOL", *(["ETH"] if at < 10 else [])):
            one.receive(text("l2Book", {"coin": coin}), at)
    assert one.said(25.1) == ["l2Book"]
    assert one.session.take_events() == [Lost((BOOK,), "silent")]
    one.receive(acknowledgement("unsubscribe", BOOK), 25.2)
    assert one.said(25.2) == ["l2Book"]
    assert one.receive(acknowledgement("subscribe", BOOK), 25.3) == [Confirmed(BOOK)]


# -- cut without a word ------------------------------------------------------------------------------------


BAD = Subscription({"type": "bbo", "coin": "nope"})
INVALID = 'Invalid subscription {"type":"bbo","coin":"nope"}'


def test_what_is_unanswered_at_a_cut_goes_last_and_alone_and_is_refused_at_the_next() -> None:
    one = Held(BOOK, BAD, ORDERS)
    assert one.said(0.0) == ["l2Book", "bbo", "orderUpdates"]
    one.receive(acknowledgement("subscribe", BOOK), 0.1)
    assert one.session.closed(0.2, "cut", cut=True) == [Lost((BOOK,), "cut")]
    one.open(1.0)
    # A pong shows that the connection works, should nothing else do.
    assert one.said(1.0) == ["ping", "l2Book"]
    one.receive(acknowledgement("subscribe", BOOK), 1.1)
    assert one.session.hurries(1.1)
    assert one.said(1.1) == ["bbo"]
    assert one.session.closed(1.2, "cut", cut=True) == [Lost((BOOK,), "cut"), Refused(BAD, INVALID)]
    assert one.ledger.standing(BAD) is None
    one.open(2.0)
    assert one.said(2.0) == ["l2Book", "orderUpdates"]


@pytest.mark.parametrize("answer", ["ack", "data", "refused"])
def test_a_suspect_that_is_answered_is_none_any_more(answer: str) -> None:
    one = Held(BOOK, ORDERS)
    one.said(0.0)
    one.session.closed(0.2, "cut", cut=True)
    one.open(1.0)
    assert one.said(1.0) == ["ping"]
    one.receive(frame("pong").encode(), 1.1)
    assert one.said(1.1) == ["l2Book"]
    one.receive(
        {
            "ack": acknowledgement("subscribe", BOOK),
            "data": text("l2Book", {"coin": "ETH"}),
            "refused": text("error", "Invalid subscription " + json.dumps(BOOK.wire())),
        }[answer],
        1.2,
    )
    assert one.said(1.2) == ["orderUpdates"]
    assert one.ledger.suspects == 1


def test_nobody_is_suspected_for_a_connection_that_was_closed_in_words_or_by_us() -> None:
    one = Held(BOOK)
    one.said(0.0)
    assert list(one.session.closed(0.2, "Expired", cut=False)) == []
    assert one.ledger.suspects == 0


def test_innocents_are_let_in_by_ones_twos_and_fours() -> None:
    streams = [Subscription({"type": "bbo", "coin": f"C{number}"}) for number in range(9)]
    one = Held(*streams)
    one.said(0.0)
    one.session.closed(0.2, "cut", cut=True)
    one.open(1.0)
    one.said(1.0)
    one.receive(frame("pong").encode(), 1.1)
    sizes, now = [], 1.1
    while one.ledger.suspects:
        asked = [json.loads(sent)["subscription"] for sent in one.session.due(now)]
        sizes.append(len(asked))
        now += 0.1
        for fields in asked:
            one.receive(acknowledgement("subscribe", Subscription(fields)), now)
    assert sizes == [1, 2, 4, 2]


def test_the_plan_is_never_suspected() -> None:
    connection = Connection("A")
    play(connection, "0 .. open\n0 << subscribe A")
    assert connection.session is not None
    assert list(connection.session.closed(1.0, "cut", cut=True)) == []
    assert connection.ledger.suspects == 0


# -- the message limit -------------------------------------------------------------------------------------


def test_with_the_messages_of_a_minute_spent_subscribes_wait_and_the_ping_still_goes() -> None:
    connection = Connection("A", "B", "C", "D", messages=4)
    play(
        connection,
        """
        0     .. open
        0     << subscribe A
        0     << subscribe B
        0     << subscribe C
        0.1   >> ack A
        0.1   >> ack B
        0.1   >> ack C
        12    >> data A 1
        12    -- states A 1
        12    >> data B 1
        12    -- states B 1
        12    >> data C 1
        12    -- states C 1
        24    >> data A 2
        24    -- states A 2
        24    >> data B 2
        24    -- states B 2
        24    >> data C 2
        24    -- states C 2
        30    << ping
        30.1  >> pong
        36    >> data A 3
        36    -- states A 3
        36    >> data B 3
        36    -- states B 3
        36    >> data C 3
        36    -- states C 3
        48    >> data A 4
        48    -- states A 4
        48    >> data B 4
        48    -- states B 4
        48    >> data C 4
        48    -- states C 4
        60    >> data A 5
        60    -- states A 5
        60    >> data B 5
        60    -- states B 5
        60    >> data C 5
        60    -- states C 5
        62    << ping
        62    << subscribe D
        62.1  >> pong
        """,
    )
    assert connection.counts.sent == 6


def test_the_message_limit_is_one_for_all_connections() -> None:
    connection = Connection("A", "B", messages=3)
    play(
        connection,
        """
        0     .. open
        0     << subscribe A
        0     << subscribe B
        1     .. open
        5     .. wait
        """,
    )


def test_the_upstreams_own_word_on_too_many_messages() -> None:
    connection = Connection("A")
    play(
        connection,
        f"""
        0     .. open
        0     << subscribe A
        0.1   >> error Cannot send more than 2000 messages per minute.
        {pings(30, 60)}
        61    << subscribe A
        """,
    )
    assert connection.counts.refused == 0


def test_a_subscription_nobody_pushes_accounts_for_is_none_of_the_scripts_business() -> None:
    """A stream without a user ends without a word about accounts."""
    connection = Connection()
    trades = Subscription({"type": "trades", "coin": "ETH"})
    want(connection.ledger, [trades], 0.0)
    session = Session(
        connection.ledger, connection.health, connection.messages, connection.counts, ping_interval_s=30.0
    )
    session.opened(0.0)
    assert session.due(0.0) == [b'{"method":"subscribe","subscription":{"type":"trades","coin":"ETH"}}']
    events = session.receive(
        b'{"channel":"error","data":"Invalid subscription {\\"type\\":\\"trades\\",\\"coin\\":\\"ETH\\"}"}',
        1.0,
    )
    assert connection.counts.refused == 1
    assert list(events) == []
