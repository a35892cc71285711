"""Who has been silent for how long, and what follows."""

from hypothesis import given
from hypothesis import strategies as st

from replica.upstream.health import Health


def health(*streams: str, now: float = 0.0) -> Health:
    made = Health(silent_after_s=15.0, pong_within_s=10.0)
    made.opened(now)
    for stream in streams:
        made.expected(stream, now)
    return made


def test_a_stream_is_silent_after_its_bound_and_not_at_it() -> None:
    made = health("a", "b")
    made.received(10.0, "a")
    assert made.silent(15.0) == []
    assert made.silent(15.001) == ["b"]
    assert made.silent(25.0) == ["b"]
    assert made.silent(25.001) == ["b", "a"]


def test_a_stream_that_was_heard_already_is_not_set_back_by_its_acknowledgement() -> None:
    made = health()
    made.received(0.0, "a")
    made.expected("a", 10.0)
    assert made.silent(15.001) == ["a"]


def test_nothing_is_expected_of_what_has_ended_or_was_never_promised() -> None:
    made = health("a")
    made.ended("a")
    made.ended("b")
    made.received(0.0)
    assert made.silent(1e9) == []
    assert made.verdict(1e9) is None


def test_a_new_connection_knows_no_streams_and_owes_no_pong() -> None:
    made = health("a")
    made.pinged(0.0)
    made.opened(100.0)
    assert made.received_at == 100.0
    assert made.silent(1000.0) == []
    assert made.verdict(1000.0) is None


def test_half_the_streams_silent_is_not_most_of_them() -> None:
    made = health("a", "b", "c", "d")
    made.received(10.0, "a")
    made.received(10.0, "b")
    assert made.verdict(16.0) is None
    made.ended("b")
    assert made.verdict(16.0) == "2 of 3 streams silent for 15 s"


def test_the_first_unanswered_ping_counts() -> None:
    made = health()
    made.pinged(0.0)
    made.pinged(9.0)
    assert made.verdict(10.0) is None
    assert made.verdict(10.001) == "no pong for 10 s"
    made.ponged()
    assert made.verdict(10.001) is None
    made.pinged(11.0)
    assert made.verdict(21.0) is None
    assert made.verdict(21.001) == "no pong for 10 s"


def test_each_stream_has_its_own_time_of_silence() -> None:
    made = health("a", "b")
    made.expected("slow", 0.0, 45.0)
    for stream in ("a", "slow"):
        made.received(10.0, stream)
    assert made.silent(20.0) == ["b"]
    assert made.verdict(20.0) is None
    assert made.silent(55.0) == ["b", "a"]
    assert made.verdict(55.1) == "3 of 3 streams silent for 15 s"
    made.ended("slow")
    assert not made.expects("slow")
    assert made.expects("a")
    assert made.silent(1e9) == ["b", "a"]


def test_a_connection_is_not_given_up_while_others_speak_on_it() -> None:
    made = health("a")
    made.lively(10.0)
    assert made.received_at == 10.0
    assert made.silent(16.0) == ["a"]
    assert made.verdict(25.0) is None
    assert made.verdict(25.001) == "1 of 1 streams silent for 15 s"
    made.opened(30.0)
    made.expected("a", 30.0)
    assert made.verdict(45.001) is not None


def test_everything_received_is_remembered() -> None:
    made = health("a")
    made.received(3.0)
    assert made.received_at == 3.0
    made.received(4.0, "a")
    assert made.received_at == 4.0


events = st.lists(
    st.tuples(
        st.floats(0.0, 20.0), st.sampled_from(["received", "expected", "ended"]), st.sampled_from("abcde")
    )
)


@given(events)
def test_the_silent_are_exactly_those_last_heard_too_long_ago(happened: list[tuple[float, str, str]]) -> None:
    made, last, now = health(), {}, 0.0
    for gap, what, stream in happened:
        now += gap
        if what == "received":
            made.received(now, stream)
            last[stream] = now
        elif what == "expected":
            made.expected(stream, now)
            last.setdefault(stream, now)
        else:
            made.ended(stream)
            last.pop(stream, None)
        silent = {stream for stream, heard in last.items() if now - heard > 15.0}
        assert set(made.silent(now)) == silent
        assert (made.verdict(now) is not None) == (2 * len(silent) > len(last))
