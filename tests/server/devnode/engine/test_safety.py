"""What liquidation need not look at is exactly what it would find nothing in."""

from random import Random

import pytest

from server.devnode.clearinghouse import maintenance
from server.devnode.engine import Engine, Makers
from server.devnode.engine.invariants import check
from server.devnode.engine.margin import cross, equity
from server.devnode.market.seeding import seed_accounts

NOW = 1_800_000_000_000


@pytest.mark.parametrize("seed", range(4))
def test_nobody_is_below_the_maintenance_after_a_block(seed: int) -> None:
    random, engine = Random(seed), Engine(seed=seed, makers=Makers(step_ms=1000))
    engine.advance(NOW)
    seed_accounts(engine, 20, seed, engine.listing.markets)
    coins = list(engine.listing.by_coin)
    skipped = 0
    for i in range(1, 200):
        if random.random() < 0.3:
            coin = random.choice(coins)
            inst = engine.listing.by_coin[coin]
            mark = engine.ground.state.marks[inst.asset]
            px = max(1, round(mark * random.uniform(0.93, 1.07)))
            engine.set_oracle(coin, f"{px / 10**inst.px_decimals:.{inst.px_decimals}f}", NOW + i * 1000)
        engine.advance(NOW + i * 1000)
        state = engine.ground.state
        for account in state.accounts.values():
            for pool in account.pools.values():
                if account.exempt or pool.safe is None:
                    continue
                skipped += 1
                whole = cross(pool, state.marks, engine.ground.instruments)
                assert whole.value >= whole.maintenance
                for asset, holding in pool.holdings.items():
                    if holding.raw is not None:
                        mark = state.marks[asset]
                        tiers = engine.ground.instruments[asset].tiers
                        assert equity(holding, mark) >= maintenance(abs(holding.lots) * mark, tiers)
    assert skipped > 1000
    check(engine.ground)
