"""The book: priority against a naive model, levels, aggregation as recorded, many orders."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from server.devnode.engine.account import Order
from server.devnode.engine.book import Book, LevelView
from server.devnode.engine.events import Terms
from tests.server.devnode.engine.exchange import ANN, BOB, BTC, CAT, NOW, USD, Hand


@dataclass
class Resting:
    oid: int
    is_buy: bool
    px: int
    lots: int


def naive(orders: list[tuple[bool, int, int]]) -> tuple[list[tuple[int, int, int]], list[Resting]]:
    """Match by sorting a plain list for every order: (maker oid, lots, price) in order, and what rests."""
    resting: list[Resting] = []
    fills = []
    for oid, (is_buy, px, lots) in enumerate(orders, 1):
        against = [r for r in resting if r.is_buy != is_buy and (r.px <= px if is_buy else r.px >= px)]
        for maker in sorted(against, key=lambda r: (r.px if is_buy else -r.px, r.oid)):
            size = min(lots, maker.lots)
            if size:
                fills.append((maker.oid, size, maker.px))
                maker.lots -= size
                lots -= size
        resting = [r for r in resting if r.lots]
        if lots:
            resting.append(Resting(oid, is_buy, px, lots))
    return fills, resting


@given(st.lists(st.tuples(st.booleans(), st.integers(97_000, 97_006), st.integers(11, 60)), max_size=40))
def test_orders_match_as_in_a_naive_model(orders: list[tuple[bool, int, int]]) -> None:
    hand = Hand()
    for number, (is_buy, px, lots) in enumerate(orders):
        user = f"0x{number + 1:040x}"  # everybody orders once: nobody meets himself
        hand.engine.credit(user, 1_000_000 * USD)
        hand.order(user, BTC, is_buy, str(px), f"{lots / 10**5:.5f}")
    made = [e for e in hand.engine.events if type(e).__name__ == "Fill" and not e.crossed]
    fills, resting = naive([(is_buy, px * 10, lots) for is_buy, px, lots in orders])
    assert [(e.oid, e.lots, e.px) for e in made] == fills
    book = hand.engine.ground.book(BTC)
    levels = [*book.bids, *book.asks]
    found = [(order.terms.oid, order.left) for level in levels for order in level.orders.values()]
    assert sorted(found) == sorted((r.oid, r.lots) for r in resting)


def order(oid: int, is_buy: bool, px: int, lots: int) -> Order:
    return Order(Terms(oid, "0x", 0, "BTC", is_buy, px, lots, False, "Gtc", None, NOW), lots)


def test_levels_are_summed_and_counted() -> None:
    book = Book()
    for oid, (px, lots) in enumerate(((100, 5), (99, 1), (100, 7))):
        book.bids.add(order(oid, True, px, lots))
    assert book.levels()[0] == [LevelView(100, 12, 2), LevelView(99, 1, 1)]
    assert book.levels(depth=1)[0] == [LevelView(100, 12, 2)]
    book.check()


def test_aggregation_rounds_away_from_the_middle() -> None:
    """As in the recorded books of BTC at 64900: bids down, asks up, to figures and to a mantissa."""
    book = Book()
    for oid, px in enumerate((64_900, 64_899, 64_896, 64_894, 64_889)):
        book.bids.add(order(oid, True, px, 1))
    for oid, px in enumerate((64_901, 64_904, 64_905, 64_906)):
        book.asks.add(order(10 + oid, False, px, 1))
    bids, asks = book.levels(sig_figs=5, mantissa=5)
    assert [(v.px, v.n) for v in bids] == [(64_900, 1), (64_895, 2), (64_890, 1), (64_885, 1)]
    assert [(v.px, v.n) for v in asks] == [(64_905, 3), (64_910, 1)]
    bids, asks = book.levels(sig_figs=4)
    assert [v.px for v in bids] == [64_900, 64_890, 64_880] and [v.px for v in asks] == [64_910]


@given(
    st.lists(st.tuples(st.integers(1, 2_500), st.integers(1, 9)), unique_by=lambda one: one[0], max_size=60),
    st.sampled_from([(2, None), (3, None), (4, None), (5, None), (5, 2), (5, 5)]),
    st.integers(1, 30),
    st.booleans(),
)
def test_merged_levels_are_those_of_each_price_rounded_by_itself(
    prices: list[tuple[int, int]], figures: tuple[int, int | None], depth: int, is_buy: bool
) -> None:
    book, merged = Book(), dict[int, tuple[int, int]]()
    for oid, (px, lots) in enumerate(prices):
        px += 98_500  # on both sides of where a figure more begins
        book.side(is_buy).add(order(oid, is_buy, px, lots))
        step = 10 ** max(0, len(str(px)) - figures[0]) * (figures[1] or 1)
        rounded = px // step * step if is_buy else -(-px // step) * step
        total, n = merged.get(rounded, (0, 0))
        merged[rounded] = total + lots, n + 1
    wanted = [(px, *merged[px]) for px in sorted(merged, reverse=is_buy)[:depth]]
    assert book.levels(depth, *figures)[0 if is_buy else 1] == wanted


def test_a_book_of_ten_thousand_orders_stays_in_order() -> None:
    hand = Hand(usd=100_000_000)
    for number in range(10_000):
        hand.buy((ANN, BOB, CAT)[number % 3], str(90_000 + number % 2_000), "0.001")
    book = hand.engine.book("BTC")
    assert book is not None and [level["n"] for level in book["levels"][0]] == [5] * 20
    hand.engine.ground.book(BTC).check()
