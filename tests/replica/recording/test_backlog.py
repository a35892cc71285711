"""What finds no room is counted, one stretch at a time, and told in its place."""

from replica.recording.backlog import Backlog, Loss
from replica.recording.format import OVERHEAD, Entry, entry

ROOM = 10 * (OVERHEAD + 100)


def frame(at: float, size: int = 100) -> Entry:
    return entry(at, 1000.0 + at, "in", bytes=b"x" * size)


def kinds(batch: list[Entry]) -> list[str]:
    return [one.kind for one in batch]


def test_what_was_put_is_taken_once_and_in_order() -> None:
    backlog = Backlog(ROOM)
    for at in range(3):
        assert not backlog.put(frame(at))
    assert [one.at for one in backlog.take()] == [0, 1, 2]
    assert backlog.take() == []


def test_half_full_asks_to_be_taken() -> None:
    backlog = Backlog(ROOM)
    assert [backlog.put(frame(at)) for at in range(7)] == [False] * 5 + [True] * 2


def test_a_loss_is_one_stretch_told_after_what_came_before_it() -> None:
    backlog = Backlog(ROOM)
    for at in range(10):
        backlog.put(frame(at))
    assert backlog.put(frame(10, 500))
    backlog.put(frame(11, 0))  # would find room, but must not come before what was lost
    batch = backlog.take()
    assert kinds(batch) == ["in"] * 10 + ["gap"]
    gap = batch[-1]
    assert gap.at == 11
    assert gap.members == {"since": 10, "records": 2, "bytes": 2 * OVERHEAD + 500}
    # Taken is not written: the room is not free yet.
    backlog.put(frame(12))
    backlog.wrote()
    assert kinds(backlog.take()) == ["gap"]
    backlog.wrote()
    backlog.put(frame(13))
    assert kinds(backlog.take()) == ["in"]


def test_one_entry_larger_than_all_room_is_a_gap_too() -> None:
    backlog = Backlog(ROOM)
    backlog.put(frame(1, 2 * ROOM))
    (gap,) = backlog.take()
    assert gap.members["records"] == 1


def test_the_loss_of_what_told_of_a_loss_counts_both() -> None:
    loss = Loss()
    loss.add(frame(2))
    inner = Loss()
    inner.add(frame(1, 7))
    inner.add(frame(4, 7))
    loss.add(inner.told())
    assert loss.told().members == {"since": 1, "records": 3, "bytes": 3 * OVERHEAD + 114}
    assert loss.told().at == 4
