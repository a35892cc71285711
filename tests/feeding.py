"""Rooms of the upstream side as most tests use them: a whole wish at once, a frame down to its states."""

from collections.abc import Iterable

from replica.events import AccountStates, Data, Frame
from replica.subscription import Subscription
from replica.upstream.ledger import Ledger
from replica.upstream.wire import ACCOUNT_STATES, read_frame, read_states


def want(ledger: Ledger, wanted: Iterable[Subscription], now: float) -> None:
    """Make exactly `wanted` what it wants."""
    keep = dict.fromkeys(wanted)
    ledger.drop([subscription for subscription in ledger.wanted() if subscription not in keep], now)
    ledger.add(keep, now)


def read(frame: bytes | str) -> Frame | AccountStates:
    """Read a frame, and its account states where it has some."""
    event = read_frame(frame)
    return read_states(*event) if isinstance(event, Data) and event.channel in ACCOUNT_STATES else event
