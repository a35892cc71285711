"""What answers of `/info` mean, whatever order they come in."""

import json
from typing import Any

import pytest

from replica.streams.backfill import FULL_PAGE, Newest, Window
from replica.streams.rows import Row, fill_row, order_row

T0 = 1_771_587_392_000


def order(number: int, time: int) -> dict[str, Any]:
    return {"order": {"oid": number, "sz": "1.0"}, "status": "open", "statusTimestamp": T0 + time}


def fill(number: int, time: int) -> dict[str, Any]:
    return {"coin": "BTC", "oid": number, "tid": number, "time": T0 + time}


def newest() -> Newest:
    return Newest(
        "historicalOrders",
        {},
        T0,
        lambda raw: (order_row(raw),),
        when=lambda raw: order_row(raw).time,
        longest=2000,
    )


def numbers(rows: list[Row]) -> list[int]:
    """In the order in which they will be told: by time, and at one time as they are."""
    found = (json.loads(bytes(row.raw)) for row in sorted(rows, key=lambda row: row.time))
    return [row["order"]["oid"] if "order" in row else row["oid"] for row in found]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ([order(4, 9), order(3, 5), order(2, 5), order(1, 5)], [1, 2, 3, 4]),
        ([order(2, 5), order(1, 5)], [1, 2]),
        ([order(1, 5), order(2, 5), order(3, 9)], [1, 2, 3]),  # an upstream with the oldest first
    ],
)
def test_what_happened_at_one_time_keeps_its_order(answer: list[Any], expected: list[int]) -> None:
    source = newest()
    source.answer(json.dumps(answer).encode())
    assert numbers(source.rows) == expected
    assert source.question() is None and source.missing is None


def test_pages_that_go_backwards_do_so_too() -> None:
    window = Window("userFillsByTime", {}, T0, lambda raw: (fill_row(raw),), pages=3)
    rows = [fill(number, number // 2) for number in range(FULL_PAGE + 3)]
    window.answer(json.dumps(rows[:2:-1]).encode())
    window.answer(json.dumps(rows[3::-1]).encode())
    assert numbers(window.rows) == list(range(FULL_PAGE + 3))
    assert window.question() is None and window.missing is None
