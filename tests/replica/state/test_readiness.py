"""PENDING, READY, STOPPED, and a generation for those who looked away."""

from itertools import product

from replica.state.readiness import Phase, Readiness


def test_it_starts_pending() -> None:
    readiness = Readiness()
    assert readiness.phase is Phase.PENDING
    assert readiness.reasons == ("starting",)
    assert readiness.generation == 0


def test_ready_without_reasons_against_and_pending_with_any() -> None:
    readiness = Readiness()
    readiness.assess(())
    assert (readiness.phase, readiness.reasons, readiness.generation) == (Phase.READY, (), 1)
    readiness.assess(("feed down",))
    assert (readiness.phase, readiness.reasons) == (Phase.PENDING, ("feed down",))
    readiness.assess(())
    assert (readiness.phase, readiness.generation) == (Phase.READY, 2)


def test_the_generation_grows_when_ready_is_entered_not_while_it_lasts() -> None:
    readiness = Readiness()
    for _ in range(5):
        readiness.assess(())
    assert readiness.generation == 1


def test_the_reasons_are_those_of_now() -> None:
    readiness = Readiness()
    readiness.assess(("one", "two"))
    readiness.assess(("two",))
    assert readiness.reasons == ("two",)


def test_stopping_is_for_good() -> None:
    for before in product([(), ("a",)], repeat=2):
        readiness = Readiness()
        for reasons in before:
            readiness.assess(reasons)
        generation = readiness.generation
        readiness.stop()
        for reasons in ((), ("a",), ()):
            readiness.assess(reasons)
            assert (readiness.phase, readiness.reasons) == (Phase.STOPPED, ("stopping",))
        readiness.stop()
        assert readiness.generation == generation


def test_repr() -> None:
    assert repr(Readiness()) == "<Readiness pending generation 0>"
