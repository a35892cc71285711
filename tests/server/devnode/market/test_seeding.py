"""The synthetic accounts: they came to what they have as everybody does."""

from collections import Counter

import pytest

from server.devnode.engine import Engine, Makers
from server.devnode.engine.invariants import check
from server.devnode.engine.units import usd
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


def test_what_they_paid_for_their_positions_is_there_to_be_read() -> None:
    engine = Engine(seed=2, makers=Makers(walk=False))
    engine.advance(NOW)
    paid = 0
    for user in seed_accounts(engine, 12, 2, engine.listing.markets):
        rows = {row["delta"]["coin"]: row["delta"] for row in engine.fundings(user)}
        for dex in engine.listing.dexes:
            oracles = engine.oracles(dex)
            for position in engine.core(user, dex).positions:
                coin, row = position.asset.name, rows.pop(position.asset.name)
                assert usd(-position.funding.since_open) == row["usdc"]
                assert (
                    position.funding.all_time == position.funding.since_change == position.funding.since_open
                )
                owed = position.lots * oracles[coin] / 1e6 * float(row["fundingRate"])
                assert float(row["usdc"]) == pytest.approx(-owed, abs=2e-6)
                paid += position.funding.since_open != 0
        assert not rows
    assert paid > 20
