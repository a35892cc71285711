"""`orderStatus`, of orders that are over: from the log of what became of each. Source: websocket.md 8. Pure.

What an order is like while it rests the log does not say (of a partial fill it may not tell), and of one that
it does not have nothing follows at all: both are the upstream's to say.
"""

import msgspec

from replica import Document, Row, Whole
from server.queries.streams import NOT_READ, Found, Memory, Params, query, stream

_OVER = ("filled", "canceled", "Canceled", "rejected", "Rejected", "scheduledCancel")
"""How the names of the statuses end after which nothing happens to an order any more."""


class _Order(msgspec.Struct):
    oid: int
    cloid: str | None = None


class _Row(msgspec.Struct):
    order: _Order
    status: str


_row = msgspec.json.Decoder(_Row).decode


def over(whole: Whole, oid: object) -> Row | None:
    """The row with which the newest order of this number, or cloid, was over; None: not known that it is."""
    said = (b'"cloid":"%s"' if isinstance(oid, str) else b'"oid":%s') % str(oid).encode()
    for row in reversed(whole.rows):
        if row.time < whole.since_ms:
            return None
        # A child of another order may have it too: read, whose it is.
        if said in row.raw:
            read = _row(row.raw)
            if (read.order.cloid if isinstance(oid, str) else read.order.oid) == oid:
                return row if read.status.endswith(_OVER) else None
    return None


def _order_status(memory: Memory, params: Params, earlier: Document | None) -> Found | None:
    read = memory.reading.whole(stream("userHistoricalOrders", params["user"]))
    if read is None:
        return None
    whole, age = read
    try:
        row = over(whole, params["oid"])
    except NOT_READ:
        return None
    return None if row is None else Found(b'{"status":"order","order":%s}' % row.raw, age)


order_status = query(_order_status, of_accounts=True)
