"""Which prices are legal, and how they print."""

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from server.devnode.markets import ticks
from server.devnode.prices import legal, price_text, step_at


@given(st.integers(1, 10**9), st.integers(0, 6))
def test_legal_prices_have_five_figures_unless_they_are_whole(price: int, decimals: int) -> None:
    rounded = legal(price, decimals)
    digits = str(rounded).rstrip("0")
    assert len(digits) <= 5 or rounded % 10**decimals == 0
    assert abs(rounded - price) <= max(1, step_at(price, decimals))
    assert legal(rounded, decimals) == rounded
    assert legal(rounded + step_at(rounded, decimals), decimals) == rounded + step_at(rounded, decimals)


@given(st.integers(0, 10**12), st.integers(0, 8))
def test_prices_print_exactly(price: int, decimals: int) -> None:
    text = price_text(price, decimals)
    assert Decimal(text) == Decimal(price).scaleb(-decimals)
    assert "." in text and (not text.endswith("0") or text.endswith(".0"))
    assert ticks(text, decimals) == price or decimals == 0
