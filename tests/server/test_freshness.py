"""Request directives in, floors kept, provenance out: all pure."""

import math

import pytest

from replica.state.clearinghouse import HeldState
from server.freshness import (
    NO_DIRECTIVES,
    BadDirective,
    Directives,
    Floor,
    Floors,
    batch_provenance,
    provenance,
    read_directives,
)


def held(as_of: int, reflects: float = -math.inf) -> HeldState:
    state = HeldState("0x" + "a1" * 20, b"{}", as_of)
    state.reflects = reflects
    return state


@pytest.mark.parametrize(
    ("headers", "directives"),
    [
        ([], NO_DIRECTIVES),
        ([(b"accept", b"no-cache")], NO_DIRECTIVES),
        ([(b"cache-control", b"")], NO_DIRECTIVES),
        ([(b"cache-control", b"public, tomorrow=1")], NO_DIRECTIVES),
        ([(b"cache-control", b"no-cache")], Directives(no_cache=True)),
        ([(b"cache-control", b"No-Store")], Directives(no_cache=True)),
        ([(b"cache-control", b"no-cache, only-if-cached")], Directives(no_cache=True, only_if_cached=True)),
        ([(b"cache-control", b"max-age=0")], Directives(max_age_s=0.0)),
        ([(b"cache-control", b' max-age = "7" ')], NO_DIRECTIVES),  # no blanks around =, says HTTP
        ([(b"cache-control", b'max-age="7"')], Directives(max_age_s=7.0)),
        ([(b"cache-control", b"max-age=7,max-age=5,max-age=9")], Directives(max_age_s=5.0)),
        ([(b"cache-control", b"max-age=" + b"9" * 40)], Directives(max_age_s=999_999_999_999.0)),
        (
            [(b"cache-control", b"max-age=3"), (b"cache-control", b"only-if-cached")],
            Directives(max_age_s=3.0, only_if_cached=True),
        ),
        ([(b"x-replica-not-before", b" 1771587392044 ")], Directives(not_before_ms=1_771_587_392_044)),
    ],
    ids=str,
)
def test_directives(headers: list[tuple[bytes, bytes]], directives: Directives) -> None:
    assert read_directives(headers) == directives


@pytest.mark.parametrize(
    "value", [b"max-age=", b"max-age", b"max-age=-1", b"max-age=1.5", b"max-age=\xb2", b"max-age=x"]
)
def test_a_max_age_that_cannot_be_meant(value: bytes) -> None:
    with pytest.raises(BadDirective):
        read_directives([(b"cache-control", value)])


@pytest.mark.parametrize(
    ("floor", "state", "met"),
    [
        (Floor(100, 5.0, False), held(99), False),
        (Floor(100, 5.0, False), held(100), True),
        (Floor(100, 5.0, False), held(0, reflects=4.9), False),
        (Floor(100, 5.0, False), held(0, reflects=5.0), True),
        (Floor(100, math.inf, True), held(99, reflects=1e9), False),
        (Floor(100, math.inf, True), held(100), True),
    ],
)
def test_when_a_floor_is_met(floor: Floor, state: HeldState, met: bool) -> None:
    assert floor.met_by(state) is met


def test_a_floor_is_its_writers_alone_and_the_last_one_counts() -> None:
    floors = Floors(keep_s=60)
    floors.wrote("a", 100, now=1.0)
    second = floors.wrote("a", 200, now=2.0)
    assert floors.of("a", None, now=3.0) == (second,) == (Floor(200, 2.0, False),)
    assert floors.of("b", None, now=3.0) == ()


def test_a_floor_is_kept_as_long_as_anything_older_may_be_served() -> None:
    floors = Floors(keep_s=60)
    floors.wrote("a", 100, now=1.0)
    assert floors.of("a", None, now=60.9) != ()
    assert floors.of("a", None, now=61.0) == ()


def test_a_floor_that_is_forgotten_for_room_becomes_everybodys() -> None:
    floors = Floors(keep_s=60, clients=2)
    for number, client in enumerate("abc"):
        floors.wrote(client, 100 * number, now=float(number))
    assert floors.of("a", None, now=3.0) == floors.of("stranger", None, now=3.0) == (Floor(0, 0.0, False),)
    assert set(floors.of("c", None, now=3.0)) == {Floor(200, 2.0, False), Floor(0, 0.0, False)}
    # Written again: one that was first is not the first to go.
    floors.wrote("b", 300, now=3.0)
    floors.wrote("d", 400, now=4.0)
    assert Floor(300, 3.0, False) in floors.of("b", None, now=5.0)
    assert floors.of("stranger", None, now=5.0) == (Floor(200, 2.0, False),)


def test_a_time_made_up_is_for_the_feed_to_reach() -> None:
    floors = Floors(keep_s=60)
    assert floors.of("a", 12345, now=1.0) == (Floor(12345, math.inf, True),)
    floors.wrote("b", 100, now=2.0)
    assert floors.of("a", 101, now=3.0) == (Floor(101, math.inf, True),)


def test_a_time_handed_out_with_a_write_is_known_by_its_write() -> None:
    floors = Floors(keep_s=60)
    floors.wrote("b", 100, now=2.0)
    floors.wrote("c", 200, now=4.0)
    assert floors.of("a", 100, now=5.0) == (Floor(100, 2.0, False),)
    assert floors.of("a", 150, now=5.0) == (Floor(150, 4.0, False),)
    assert floors.of("a", 200, now=65.0) == (Floor(200, math.inf, True),)


def test_provenance() -> None:
    assert dict(provenance(b"memory", 123, 1.2345)) == {
        b"x-replica-source": b"memory",
        b"x-replica-age-ms": b"1234",
        b"age": b"1",
        b"x-replica-as-of": b"123",
    }
    unknown = dict(provenance(b"upstream", 0, -0.5))
    assert b"x-replica-as-of" not in unknown
    assert (unknown[b"x-replica-age-ms"], unknown[b"age"]) == (b"0", b"0")


def test_provenance_of_a_batch() -> None:
    headers = dict(batch_provenance(b"stale", 100, 200, 3.0))
    assert headers[b"x-replica-as-of"] == headers[b"x-replica-as-of-min"] == b"100"
    assert headers[b"x-replica-as-of-max"] == b"200"
    assert not [name for name in dict(batch_provenance(b"memory", 0, 0, 0.0)) if b"as-of" in name]
