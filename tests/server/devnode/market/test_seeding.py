"""The synthetic accounts: they came to what they have as everybody does."""

from collections import Counter

from server.devnode.engine import Engine, Makers
from server.devnode.engine.invariants import check
from server.devnode.market.seeding import seed_accounts
from tests.server.devnode.engine.reducer import Reducer, check_follows

NOW = 1_800_000_000_000


def test_what_synthetic_accounts_have_follows_from_their_events() -> None:
    engine = Engine(seed=2, makers=Makers(walk=False))
    engine.advance(NOW)
    addresses = seed_accounts(engine, 12, 2, engine.listing.markets)
    check(engine.ground)
    found = Reducer(engine.listing)
    found.fold(engine.events)
    # Drawn, and nobody's event: what their spot balances cost. And their trades are none of today's prices.
    found.cost = Counter(
        {
            (user, token): balance.entry
            for user, account in engine.ground.state.accounts.items()
            for token, balance in account.spot.items()
        }
    )
    found.last = {}
    check_follows(found, engine.ground)
    assert any(one.pocket is not None for (user, _), one in found.positions.items() if user in addresses)
