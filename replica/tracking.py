"""Which accounts are followed how. A pure planner: it decides, the reflector acts.

* **live**: pushed by a feed, as many as the upstream's user limit allows;
* **cached**: fetched when asked for, kept for a TTL.
(**tracked**, refreshed by budgeted reads, comes between the two when following thousands is built.)
"""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Plan:
    """`live` accounts get a subscription; `waiting` ones asked for it but find no room under the limit."""

    live: tuple[str, ...]
    waiting: tuple[str, ...]


def plan(pinned: Iterable[str], *, users_limit: int) -> Plan:
    """Give the first accounts of the settings' list a place each. `users_limit` 0 means no limit.

    `pinned` are lower-case addresses; the order of the settings is the order of importance.
    """
    accounts = tuple(dict.fromkeys(pinned))
    if not users_limit:
        return Plan(accounts, ())
    return Plan(accounts[:users_limit], accounts[users_limit:])
