"""The engine as a whole: time, prices, the log, going back, the same bytes twice."""

import pytest

from server.devnode.engine import Engine, Makers
from server.devnode.engine.events import AccountBorn, LedgerUpdate, PriceMoves
from tests.server.devnode.engine.exchange import ANN, BOB, BTC, NOW, QUOTED, USD, Hand, row


def play(engine: Engine) -> None:
    engine.credit(ANN, 10_000 * USD, NOW)
    for minute in range(60):
        order = row(BTC, minute % 3 == 0, str(97_240 + minute % 7 - 3), "0.01")
        engine.apply(
            {"type": "order", "orders": [order], "grouping": "na"}, signer=ANN, now_ms=NOW + 60_000 * minute
        )
        engine.advance(NOW + 60_000 * minute + 500)


def test_the_same_seed_and_calls_give_the_same_bytes() -> None:
    one, two, other = Engine(seed=5), Engine(seed=5), Engine(seed=6)
    for engine in (one, two, other):
        play(engine)
    assert one.digest() == two.digest() != other.digest()
    assert one.fills(ANN) == two.fills(ANN) and one.book("BTC") == two.book("BTC")
    assert one.marks() != Engine(seed=5).marks()


def test_a_replayed_journal_leads_to_the_same_state() -> None:
    one, two = Engine(seed=5), Engine(seed=5)
    play(one)
    one.book("ETH")
    two.replay(one.journal)
    assert two.digest() == one.digest()


def test_reads_change_nothing() -> None:
    engine = Engine(seed=5)
    play(engine)
    before = engine.digest()
    for user in (ANN, BOB):
        for dex in ("", "xyz"):
            engine.core(user, dex)
            engine.open_orders(user, dex)
        engine.active_asset_data(user, "SOL")
        engine.spot_balances(user)
        engine.order_status(user, 1)
    engine.book("SOL")
    engine.mid("SOL")
    assert engine.digest() == before


def test_snapshots_are_left_whole_by_what_comes_after() -> None:
    hand = Hand(QUOTED)
    first, digest = hand.engine.snapshot(), hand.engine.digest()
    for _ in range(2):
        hand.buy(ANN, "97400", "0.01")
        second, later = hand.engine.snapshot(), hand.engine.digest()
        hand.engine.revert(first)
        assert hand.engine.digest() == digest and hand.engine.fills(ANN) == []
        hand.engine.revert(second)
        assert hand.engine.digest() == later and len(hand.engine.fills(ANN)) == 1
        hand.engine.revert(first)


def test_what_was_to_come_still_comes_in_as_much_after_a_sleep() -> None:
    """And who makes the calls again sleeps as well."""
    one, two = Engine(seed=5), Engine(seed=5)
    play(one)
    twap = {"a": BTC, "b": True, "s": "0.1", "r": False, "m": 5, "t": True}
    now = one.now
    one.apply({"type": "twapOrder", "twap": twap}, signer=ANN, now_ms=now)
    one.apply({"type": "scheduleCancel", "time": now + 10_000}, signer=ANN, now_ms=now)
    one.advance(now + 2_000)
    snapshot, before = one.snapshot(), one.marks()
    one.advance(now + 100_000)
    one.revert(snapshot)
    one.sleep(7_200_000)
    awake = now + 7_202_000
    one.advance(awake)
    fills, account = one.twap_slice_fills(ANN), one.ground.state.accounts[ANN]
    assert one.marks() == before and one.fundings(ANN) == [] and len(fills) == 1
    assert account.cancel_at == awake + 8_000
    one.advance(awake + 28_000)
    assert len(one.twap_slice_fills(ANN)) > 1 and account.cancel_at is None and one.marks() != before
    two.replay(one.journal)
    assert two.digest() == one.digest()


def test_events_are_numbered_and_may_be_forgotten() -> None:
    hand = Hand(QUOTED)
    born, deposit = hand.engine.events[:2]
    assert isinstance(born, AccountBorn) and isinstance(deposit, LedgerUpdate)
    seq = hand.engine.seq
    hand.buy(ANN, "97400", "0.01")
    assert [type(event).__name__ for event in hand.engine.events_since(seq)] == [
        "Fill", "Fill", "Trade", "OrderStatus", "OrderStatus",
    ]  # fmt: skip
    hand.engine.forget(seq)
    assert len(hand.engine.events) == 5 and hand.engine.seq == seq + 5
    assert len(hand.engine.ledger_updates(ANN)) == 1
    with pytest.raises(LookupError):
        hand.engine.events_since(0)


def test_oracles_walk_and_the_books_follow() -> None:
    engine = Engine(seed=5)
    engine.advance(NOW)
    seq = engine.seq
    engine.advance(NOW + 3_000)
    (moves,) = engine.events_since(seq)
    assert isinstance(moves, PriceMoves) and len(moves.marks) > 60
    bids, asks = engine.levels("BTC") or ([], [])
    assert bids[0].px < engine.marks()["BTC"] < asks[0].px
    assert engine.marks() == engine.oracles()


def test_a_mark_set_apart_keeps_its_distance() -> None:
    engine = Engine(seed=5)
    engine.advance(NOW)
    engine.set_mark("BTC", "87516", NOW)  # 10% below
    bids, asks = engine.levels("BTC") or ([], [])
    assert bids[0].px < 875_160 < asks[0].px
    engine.advance(NOW + 30_000)
    assert engine.marks()["BTC"] == pytest.approx(engine.oracles()["BTC"] * 0.9, rel=1e-4)
    assert engine.funding_rate("BTC").startswith("-")
    engine.set_oracle("BTC", "90000")
    assert engine.marks()["BTC"] == engine.oracles()["BTC"] == 900_000


def test_the_house_takes_what_its_ladder_meets() -> None:
    """How a resting order is filled: the price comes to it."""
    hand = Hand(QUOTED)
    hand.buy(ANN, "97000", "0.01")
    hand.engine.set_oracle("BTC", "96900")
    assert hand.szi(ANN) == 1_000 and hand.engine.fills(ANN)[0]["crossed"] is False
    assert hand.engine.fills(ANN)[0]["px"] == "97000.0"


def test_prices_that_are_none() -> None:
    engine = Engine(makers=Makers(walk=False))
    with pytest.raises(KeyError):
        engine.set_mark("NONE", "1")
    for px in ("", "-1", "0", "1.00000001", "x"):
        with pytest.raises(ValueError, match="price"):
            engine.set_oracle("BTC", px)


def test_time_never_goes_back() -> None:
    engine = Engine()
    engine.advance(NOW)
    engine.advance(NOW - 5)
    assert engine.now == NOW
