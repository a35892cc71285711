"""Memory per mirrored state: resident bytes a held state costs, against the bytes of the state itself.

Measured: growth of VmRSS of a fresh process, all imports done, by 100,000 states of one account each applied
through `Store.apply`, first when each was pushed once and then after each was pushed twice more with a newer
time (what the row shows is the larger). Not measured: subscriptions and ledger entries of the accounts
(the row `flat` notes what a whole server takes).

    python -m scripts.benches.memory STATES     (the fresh process)
"""

import sys
from collections.abc import Iterator

from scripts.benches import states
from scripts.benches.plan import Plan
from scripts.benches.processes import child, module, rss_bytes
from scripts.benches.table import Row

STATES = 100_000
TARGETS = {"memory": 2.5}


def run(plan: Plan) -> Iterator[Row]:
    row = Row(
        name="memory",
        what=f"memory per mirrored state, {STATES:,} held",
        other_is="bytes of the state",
        unit="B",
        target=TARGETS["memory"],
        bound="<=",
    )
    first = 0.0
    for _ in range(1 if plan.quick else min(3, plan.rounds)):
        with child("memory", module("memory", STATES), plan.folder) as process:
            seen = process.wait_for(r"^bytes (\S+) first (\S+) later (\S+)", within_s=180)
        size, first, later = map(float, seen.groups())
        row.add(max(first, later), size, max(first, later) / size)
    row.notes.append(f"after one push each {first:,.0f} B a state, after three {later:,.0f} B")
    yield row


def fill(count: int) -> None:
    """Hold `count` states and say what they cost."""
    import server.app
    from replica.events import AccountStates, State
    from replica.state.store import Bounds, Store

    server.app.tune_process()
    store = Store(Bounds())
    # What making the states needs is made before the baseline: their heads, and one of everything.
    size = sum(len(states.state(n, 0, 10**12, states.USUAL_BYTES)) for n in range(states.KINDS))
    before = rss_bytes()
    grown = []
    for push in range(3):
        for n in range(count):
            time_ms = 10**12 + push
            body = states.state(n, 0, time_ms, states.USUAL_BYTES)
            event = AccountStates(states.address(n), (State("", body, time_ms),))
            store.apply(event, 1000.0 + push + n / count)
        assert len(store) == count, f"{len(store)} states held"
        grown.append((rss_bytes() - before) / count)
    print(f"bytes {size / states.KINDS} first {grown[0]} later {grown[-1]}", flush=True)


if __name__ == "__main__":
    fill(int(sys.argv[1]))
