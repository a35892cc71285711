"""`batchClearinghouseStates` of one dex where memory has all of it: the hot path. Pure.

Whatever needs more than a look goes the general way, by `queries.batches`; both give the same bytes.
"""

from collections.abc import Mapping, Sequence

from replica import HeldState
from server.freshness import MEMORY, batch_provenance
from server.queries.batches import NONE_FAILED, OPENING
from server.reply import JSON, Reply


def from_memory(
    table: Mapping[str, HeldState], users: Sequence[str], now: float, *, since: float
) -> Reply | None:
    """The whole batch of one dex, or None if some user of it needs more than a look.

    This is the hot path: one look-up per user and one join, and nothing else. `since`: a state received
    before that is too old for the request (our monotonic clock, like `now`).
    """
    rows: list[bytes] = []
    append = rows.append
    oldest = 1 << 62
    newest = 0
    first = 1e18
    try:
        for user in users:
            # A user in any spelling but the canonical one is no key: the long way finds it.
            held = table[user]
            if held.fresh_until <= now:
                return None
            as_of = held.as_of
            if as_of < oldest:
                oldest = as_of
            if as_of > newest:
                newest = as_of
            if held.received < first:
                first = held.received
            append(held.piece)
    except (KeyError, TypeError):
        return None
    if first < since:
        return None
    # The frame goes into the first and last row: the megabyte is joined once and not copied again.
    rows[0] = OPENING + rows[0]
    rows[-1] += NONE_FAILED
    headers = batch_provenance(MEMORY, oldest, newest, now - first)
    headers.append((b"content-type", JSON))
    return Reply(200, headers, b",".join(rows))
