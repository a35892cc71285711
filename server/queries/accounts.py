"""States of one account: balances, resting orders, leverage, its mode. Source: spec/websocket.md 8. Pure."""

from collections.abc import Callable

import msgspec

from replica import Document
from server.queries.streams import NOT_READ, Find, Found, Memory, Params, query, stream

NULL = msgspec.Raw(b"null")


class _Spot(msgspec.Struct):
    state: msgspec.Raw = msgspec.field(name="spotState")


class _Orders(msgspec.Struct):
    orders: msgspec.Raw


class _Order(msgspec.Struct, rename="camel"):
    """A FrontendOpenOrder, of which openOrders has these fields alone."""

    coin: msgspec.Raw
    side: msgspec.Raw
    limit_px: msgspec.Raw
    sz: msgspec.Raw
    oid: msgspec.Raw
    timestamp: msgspec.Raw
    orig_sz: msgspec.Raw
    cloid: msgspec.Raw = NULL
    reduce_only: bool = False


class _UserState(msgspec.Struct):
    abstraction: msgspec.Raw = msgspec.Raw(b'"default"')


class _WebData3(msgspec.Struct):
    user: _UserState = msgspec.field(name="userState")


_spot = msgspec.json.Decoder(_Spot).decode
_orders = msgspec.json.Decoder(_Orders).decode
_plain = msgspec.json.Decoder(list[_Order]).decode
_web_data3 = msgspec.json.Decoder(_WebData3).decode


def _of_state(type_: str, cut: Callable[[bytes], bytes], *fields: str) -> Find:
    """An answer that is cut out of the last frame of one stream of the account."""

    def find(memory: Memory, params: Params, earlier: Document | None) -> Found | None:
        more = {name: params.get(name) or None for name in fields}
        subscription = stream(type_, params["user"], **more)
        latest = memory.reading.latest(subscription)
        if latest is None:
            return None
        data, age = latest

        def make() -> bytes | None:
            try:
                return cut(data)
            except NOT_READ:
                return None

        body = memory.reading.made((cut, subscription), (data,), make)
        return None if body is None else Found(body, age)

    return find


_ALWAYS = b'{"coin":%s,"side":%s,"limitPx":%s,"sz":%s,"oid":%s,"timestamp":%s,"origSz":%s'


def balances(data: bytes) -> bytes:
    """spotState -> spotClearinghouseState."""
    return bytes(_spot(data).state)


def frontend_orders(data: bytes) -> bytes:
    """openOrders -> frontendOpenOrders."""
    return bytes(_orders(data).orders)


def plain_orders(data: bytes) -> bytes:
    """openOrders -> openOrders of `/info`: fewer fields; `cloid` and `reduceOnly` where they say something.

    That both list the same orders (untriggered ones, children) is not verified (spec/websocket.md 8).
    """
    rows = []
    for order in _plain(_orders(data).orders):
        values = (order.coin, order.side, order.limit_px, order.sz, order.oid, order.timestamp, order.orig_sz)
        row = _ALWAYS % tuple(map(bytes, values))
        if order.cloid != NULL:
            row += b',"cloid":%s' % bytes(order.cloid)
        rows.append(row + (b',"reduceOnly":true}' if order.reduce_only else b"}"))
    return b"[%s]" % b",".join(rows)


def as_it_is(data: bytes) -> bytes:
    """activeAssetData: the same object."""
    return data


def abstraction(data: bytes) -> bytes:
    """webData3 -> userAbstraction; the stream leaves the usual mode out."""
    return bytes(_web_data3(data).user.abstraction)


spot_clearinghouse_state = query(_of_state("spotState", balances), of_accounts=True)
frontend_open_orders = query(_of_state("openOrders", frontend_orders, "dex"), of_accounts=True)
open_orders = query(_of_state("openOrders", plain_orders, "dex"), of_accounts=True)
active_asset_data = query(_of_state("activeAssetData", as_it_is, "coin"), of_accounts=True)
user_abstraction = query(_of_state("webData3", abstraction), of_accounts=True)
