"""What every test of the engine proves besides: its events, alone, lead to its state."""

from collections.abc import Iterator

import pytest

from server.devnode.engine.invariants import check
from tests.server.devnode.engine.exchange import Hand
from tests.server.devnode.engine.reducer import Reducer, check_follows


@pytest.fixture(autouse=True)
def the_events_lead_to_the_state() -> Iterator[None]:
    Hand.made.clear()
    yield
    for hand in Hand.made:
        check(hand.engine.ground)
        if not (hand.tampered or hand.engine.ground.history.base):
            found = Reducer(hand.engine.listing)
            found.fold(hand.engine.events)
            check_follows(found, hand.engine.ground)
