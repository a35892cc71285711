"""What is remembered of answers: the newest of each, within bounds, until something happens."""

import math

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from replica.state.documents import OVERHEAD, Document, DocumentLimits, DocumentStore


def answer(asked: float, body: bytes = b"{}", *tags: str, ttl_s: float = 5.0) -> Document:
    return Document(body, as_of=int(asked * 1000), received=asked, fresh_until=asked + ttl_s, tags=tags)


def store(**limits: int) -> DocumentStore:
    return DocumentStore(DocumentLimits(**limits), keep_s=15.0)


def test_an_answer_is_as_old_as_its_question() -> None:
    held = store()
    later = answer(2.0)
    held.remember("k", later)
    held.remember("k", answer(1.0))
    assert held.get("k") is later
    newest = answer(2.0)
    held.remember("k", newest)
    assert held.get("k") is newest
    assert (newest.reflects, newest.as_of) == (2.0, 2000)
    assert held.get("other") is None
    held.check()


def test_what_was_not_used_for_longest_goes_first() -> None:
    held = store(count=2)
    held.remember("a", answer(1.0))
    held.remember("b", answer(2.0))
    assert held.get("a") is not None
    held.remember("c", answer(3.0))
    assert [held.get(key) is not None for key in "abc"] == [True, False, True]
    held.check()


def test_bytes_are_bounded_too() -> None:
    held = store(size=4 * OVERHEAD)
    held.remember("a", answer(1.0, b"x" * OVERHEAD), key_size=OVERHEAD)
    assert held.size == 3 * OVERHEAD
    held.remember("b", answer(2.0, b"x"))
    assert (held.get("a"), len(held)) == (None, 1)
    held.remember("c", answer(3.0, b"x" * 4 * OVERHEAD))
    assert held.get("c") is None and held.get("b") is not None
    # What is too large to be kept must not leave what it replaces.
    held.remember("b", answer(4.0, b"x" * 4 * OVERHEAD))
    assert (held.get("b"), held.size) == (None, 0)
    held.check()


def test_a_tag_that_expires_takes_all_that_bear_it() -> None:
    held = store()
    for key, tags in (("a", ("x", "y")), ("b", ("y",)), ("c", ())):
        held.remember(key, answer(1.0, b"{}", *tags))
    held.expire(["x", "nobody's"], 2.0)
    fresh = {key: document.fresh_until for key in "abc" if (document := held.get(key))}
    assert fresh == {"a": -math.inf, "b": 6.0, "c": 6.0}
    held.check()


def test_what_was_asked_before_a_tag_expired_is_not_fresh_when_it_comes() -> None:
    held = store()
    held.expire(["x"], 2.0)
    held.remember("late", answer(1.9, b"{}", "x"))
    held.remember("after", answer(2.0, b"{}", "x"))
    held.remember("other", answer(1.9, b"{}", "y"))
    late, after, other = held.get("late"), held.get("after"), held.get("other")
    assert late and after and other
    assert (late.fresh_until, after.fresh_until, other.fresh_until) == (-math.inf, 7.0, 6.9)


def test_when_too_much_has_expired_to_be_told_apart_all_has() -> None:
    held = store(tags=2)
    for at, tag in enumerate("abc"):
        held.expire([tag], 10.0 + at)
    held.remember("k", answer(9.9, b"{}", "nobody's"))
    held.remember("l", answer(10.0, b"{}", "a"))
    document, other = held.get("k"), held.get("l")
    assert document and other
    assert (document.fresh_until, other.fresh_until) == (-math.inf, 15.0)
    held.check()


def test_an_answer_that_took_longer_than_tags_are_known_is_not_fresh() -> None:
    held = store()
    held.expire(["a"], 10.0)
    held.expire(["b"], 25.0)
    assert list(held._expired) == ["b"]
    held.remember("k", answer(9.9, b"{}", "nobody's", ttl_s=60.0))
    document = held.get("k")
    assert document and document.fresh_until == -math.inf


KEYS, TAGS = st.sampled_from("abcd"), st.sets(st.sampled_from("xyz"))


class Remembering(RuleBasedStateMachine):
    """Against a plain list of all that happened: nothing is served that an event has made old."""

    def __init__(self) -> None:
        super().__init__()
        self.held = store(count=3, size=6 * OVERHEAD, tags=2)
        self.now = 100.0
        self.events: list[tuple[float, str]] = []
        self.newest: dict[str, float] = {}

    @rule(key=KEYS, tags=TAGS, took_s=st.floats(0.0, 40.0), size=st.integers(0, 2 * OVERHEAD))
    def answered(self, key: str, tags: set[str], took_s: float, size: int) -> None:
        self.held.remember(key, answer(self.now - took_s, b"x" * size, *sorted(tags), ttl_s=20.0))

    @rule(tags=TAGS)
    def happened(self, tags: set[str]) -> None:
        self.held.expire(sorted(tags), self.now)
        self.events += [(self.now, tag) for tag in tags]

    @rule(by_s=st.floats(0.0, 20.0))
    def goes_on(self, by_s: float) -> None:
        self.now += by_s

    @rule(key=KEYS)
    def forgets(self, key: str) -> None:
        self.held.forget(key)
        self.newest.pop(key, None)

    @invariant()
    def nothing_is_fresh_that_is_not(self) -> None:
        self.held.check()
        for key in "abcd":
            document = self.held.get(key)
            if document is None:
                self.newest.pop(key, None)
                continue
            assert document.received >= self.newest.get(key, -math.inf)
            self.newest[key] = document.received
            if document.fresh_until > self.now:
                assert not [at for at, tag in self.events if tag in document.tags and at > document.received]


TestRemembering = Remembering.TestCase
TestRemembering.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
