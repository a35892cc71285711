"""The background makers: their ladders are there for who looks, and looking changes nothing that is told."""

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.devnode.engine import Engine, Makers
from server.devnode.engine.state import HOUSE
from tests.server.devnode.engine.exchange import ANN, BOB, BTC, HYPE, NOW, QUOTED, USD, Hand, row

SMALL = Makers(depth=4, level_usd=2_000)
COINS = {BTC: "BTC", HYPE: "@107"}
acts = st.one_of(
    st.tuples(
        st.just("order"),
        st.sampled_from((ANN, BOB)),
        st.booleans(),
        st.sampled_from((-200, -20, -2, 0, 2, 20, 200)),  # 10^-4 of the price
        st.sampled_from(("Gtc", "Gtc", "Ioc", "Alo")),
    ),
    st.tuples(st.just("mark"), st.sampled_from((-150, -30, -1, 1, 30, 150))),
    st.tuples(st.just("wait"), st.sampled_from((1, 3_000, 60_000))),
    st.tuples(st.just("look")),
)


def play(acts: Iterable[tuple[object, ...]], *, looks: bool) -> tuple[Engine, list[object]]:
    """What an engine says to some acts; with `looks`, every market's book is read after each."""
    engine, now, said = Engine(seed=3, makers=SMALL), NOW, list[object]()
    for user in (ANN, BOB):
        engine.credit(user, 50_000 * USD, now)
    for kind, *how in acts:
        mark = engine.ground.state.marks[BTC]
        if kind == "order":
            user, is_buy, share, tif = how
            assert isinstance(user, str) and isinstance(is_buy, bool)
            assert isinstance(share, int) and isinstance(tif, str)
            px = str(mark * (10_000 + share) // 100_000)
            action = {"type": "order", "orders": [row(BTC, is_buy, px, "0.05", tif=tif)], "grouping": "na"}
            said.append(engine.apply(action, signer=user, now_ms=now))
        elif kind == "mark":
            (share,) = how
            assert isinstance(share, int)
            engine.set_mark("BTC", str(mark * (10_000 + share) // 100_000), now)
        elif kind == "wait":
            (ms,) = how
            assert isinstance(ms, int)
            now += ms
            engine.advance(now)
        if looks or kind == "look":
            for coin in engine.listing.by_coin:
                engine.book(coin)
        said.append((engine.mid("BTC"), engine.mid("ETH")))
    said += [engine.events, engine.book("BTC"), engine.book("ETH"), engine.digest()]
    return engine, said


@given(st.lists(acts, max_size=12))
def test_it_does_not_matter_who_looked_when(found: list[tuple[object, ...]]) -> None:
    (_, seldom), (_, always) = play(found, looks=False), play(found, looks=True)
    assert seldom == always


@given(st.lists(acts, max_size=12))
def test_the_best_prices_are_those_that_who_looks_finds(found: list[tuple[object, ...]]) -> None:
    engine, _ = play(found, looks=False)
    told = [engine.best(asset) for asset in engine.listing.by_asset]
    levels = [engine.levels(coin, 1) or ([], []) for coin in engine.listing.by_coin]
    assert told == [tuple(side[0].px if side else None for side in one) for one in levels]


def test_a_ladder_is_only_put_up_for_who_looks_or_whom_it_meets() -> None:
    hand = Hand(QUOTED)
    hand.buy(ANN, "97000", "0.01")
    hand.engine.book("ETH")
    state = hand.engine.ground.state
    quoted = dict(state.quoted)
    for coin, px in (("BTC", "97500"), ("ETH", "3500")):
        hand.engine.set_oracle(coin, px)
    assert state.quoted == quoted  # the marks have moved, and nobody needs to know
    assert [hand.engine.mid(coin) for coin in ("BTC", "ETH")] == ["97500.0", "3500.0"]
    hand.engine.set_oracle("BTC", "96900")
    assert hand.szi(ANN) == 1_000 and state.quoted[BTC] > quoted[BTC]
    assert {order.terms.asset for order in state.accounts[HOUSE].orders.values()} == {BTC, 1}


def test_a_trigger_meets_the_ladder_of_its_own_price() -> None:
    hand = Hand(QUOTED)
    hand.buy(ANN, "97400", "0.01", tif="Ioc")
    hand.sell(ANN, "80000", "0.01", reduce_only=True, trigger=("96000", "sl", True))
    hand.mark("BTC", "95900")
    fill = hand.engine.fills(ANN)[0]
    assert hand.szi(ANN) == 0 and float(fill["px"]) == pytest.approx(95_900, rel=1e-3)


def test_the_houses_orders_have_numbers_of_their_own() -> None:
    """What a trader's orders are called does not depend on what others look at."""
    hand = Hand(QUOTED)
    first = hand.oid(hand.buy(ANN, "90000", "0.01"))
    for coin in hand.engine.listing.by_coin:
        hand.engine.book(coin)
    assert hand.oid(hand.buy(ANN, "90000", "0.01")) == first + 1
    house = hand.engine.ground.state.accounts[HOUSE].orders
    assert len(house) > 3_000 and all(1 << 52 <= oid < 1 << 53 for oid in house)
