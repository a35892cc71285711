"""What waits for a slow client: by hand, and against a plain list with arbitrary schedules."""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from server.ws.outbox import Outbox, OutboxLimits


def drained(outbox: Outbox) -> list[bytes]:
    frames = []
    while (frame := outbox.pop()) is not None:
        frames.append(frame)
    return frames


def test_the_newest_state_takes_the_place_of_the_older_one() -> None:
    outbox = Outbox(OutboxLimits(), 0.0)
    for frame, key in ((b"book 1", "book"), (b"fill 1", None), (b"book 2", "book"), (b"fill 1", None)):
        outbox.put(frame, key, 1.0)
    assert (len(outbox), outbox.size) == (3, 18)
    assert drained(outbox) == [b"book 2", b"fill 1", b"fill 1"]
    assert (len(outbox), outbox.size, outbox.pop()) == (0, 0, None)


def test_one_too_many_is_too_many() -> None:
    outbox = Outbox(OutboxLimits(messages=2), 0.0)
    for _ in range(2):
        outbox.put(b"x", None, 0.0)
        assert outbox.verdict(0.0) is None
    outbox.put(b"x", None, 0.0)
    assert outbox.verdict(0.0) == "3 messages behind"
    outbox.pop()
    assert outbox.verdict(0.0) is None


def test_one_large_message_is_not_behind_two_are() -> None:
    outbox = Outbox(OutboxLimits(size=10), 0.0)
    outbox.put(b"x" * 11, None, 0.0)
    assert outbox.verdict(0.0) is None
    outbox.put(b"x", None, 0.0)
    assert outbox.verdict(0.0) == "12 bytes behind"


def test_behind_by_the_time_its_oldest_message_has_waited() -> None:
    outbox = Outbox(OutboxLimits(behind_s=30.0), 0.0)
    outbox.put(b"old", "state", 10.0)
    outbox.put(b"new", "state", 30.0)
    outbox.moved(35.0)  # something went, but not this
    assert outbox.verdict(40.0) is None
    assert outbox.verdict(41.0) == "31 s behind"


def test_behind_by_the_time_its_socket_took_nothing() -> None:
    outbox = Outbox(OutboxLimits(behind_s=30.0), 100.0)
    assert outbox.verdict(130.0) is None
    assert outbox.verdict(130.5) == "30 s behind"
    outbox.moved(130.0)
    assert outbox.verdict(160.0) is None


class Schedules(RuleBasedStateMachine):
    """Against a list: (key, frame) in order, keyed ones in the place of their first."""

    LIMITS = OutboxLimits(messages=6, size=40, behind_s=10.0)

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.outbox = Outbox(self.LIMITS, self.now)
        self.model: list[tuple[str | None, bytes]] = []
        self.kept_in: list[bytes] = []
        self.kept_out: list[bytes] = []
        self.last: dict[str, bytes] = {}

    @rule(frame=st.binary(max_size=12))
    def keep(self, frame: bytes) -> None:
        self.outbox.put(frame, None, self.now)
        self.model.append((None, frame))
        self.kept_in.append(frame)

    @rule(key=st.sampled_from("abc"), frame=st.binary(max_size=12))
    def replace(self, key: str, frame: bytes) -> None:
        self.outbox.put(frame, key, self.now)
        self.last[key] = frame
        for at, (other, _) in enumerate(self.model):
            if other == key:
                self.model[at] = (key, frame)
                return
        self.model.append((key, frame))

    @precondition(lambda self: self.model)
    @rule()
    def take(self) -> None:
        key, frame = self.model.pop(0)
        assert self.outbox.pop() == frame
        if key is None:
            self.kept_out.append(frame)
        else:
            assert frame == self.last[key], "an older state was sent behind a newer one"

    @rule()
    def move(self) -> None:
        self.outbox.moved(self.now)

    @rule(seconds=st.floats(0.0, 12.0))
    def wait(self, seconds: float) -> None:
        over = self.outbox.verdict(self.now) is not None
        self.now += seconds
        assert not over or self.outbox.verdict(self.now) is not None, "forgiven for waiting longer"

    @rule(frame=st.binary(max_size=12))
    def more_is_never_better(self, frame: bytes) -> None:
        over = self.outbox.verdict(self.now) is not None
        self.keep(frame)
        assert not over or self.outbox.verdict(self.now) is not None, "forgiven for falling further behind"

    @invariant()
    def counts_are_what_waits(self) -> None:
        assert len(self.outbox) == len(self.model)
        assert self.outbox.size == sum(len(frame) for _, frame in self.model)
        assert self.kept_out == self.kept_in[: len(self.kept_out)]

    def teardown(self) -> None:
        assert drained(self.outbox) == [frame for _, frame in self.model]


TestSchedules = Schedules.TestCase
