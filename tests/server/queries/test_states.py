"""Answers cut out of the last frame of a stream."""

import json
from typing import Any

from server.queries.accounts import abstraction, balances, frontend_orders, plain_orders
from server.queries.candles import with_forming
from server.queries.market import mids, perps, spots

ODD = b'{"coin": "BTC", "px":1.50}'


def text(value: Any) -> bytes:
    return json.dumps(value).encode()


def order(oid: int, **more: Any) -> dict[str, Any]:
    always = {"coin": "BTC", "side": "B", "limitPx": "1.0", "sz": "2.0", "oid": oid, "timestamp": 7}
    return {**always, "triggerCondition": "N/A", "origSz": "3.0", "reduceOnly": False, "cloid": None, **more}


def test_what_is_cut_out_stays_as_it_came() -> None:
    assert balances(b'{"user":"0x","spotState": %s }' % ODD) == ODD
    assert frontend_orders(b'{"dex":"","user":"0x","orders":[%s, %s]}' % (ODD, ODD)) == b"[%s, %s]" % (
        ODD,
        ODD,
    )
    assert mids(b'{"dex":"xyz","mids": %s}' % ODD) == ODD


def test_plain_orders_have_fewer_fields_and_say_less_where_there_is_nothing_to_say() -> None:
    orders = [order(1), order(2, cloid="0xab", reduceOnly=True), order(3, reduceOnly=True)]
    always = {"coin": "BTC", "side": "B", "limitPx": "1.0", "sz": "2.0"}
    more = {"timestamp": 7, "origSz": "3.0"}
    assert json.loads(plain_orders(text({"orders": orders}))) == [
        {**always, "oid": 1, **more},
        {**always, "oid": 2, **more, "cloid": "0xab", "reduceOnly": True},
        {**always, "oid": 3, **more, "reduceOnly": True},
    ]
    assert plain_orders(b'{"orders":[]}') == b"[]"


def test_the_mode_is_default_where_nothing_is_said() -> None:
    assert abstraction(b'{"userState":{"user":"0x"}}') == b'"default"'
    assert abstraction(b'{"userState":{"abstraction":"unifiedAccount"}}') == b'"unifiedAccount"'


def test_contexts_belong_to_a_universe_of_their_length() -> None:
    meta = b'{"universe":[ {},{} ],"odd" : 1.50}'
    data = text({"ctxs": [["", [{"markPx": "1"}, {"markPx": "2"}]], ["xyz", [{}]]]})
    answer = perps(data, "", meta)
    assert answer is not None
    assert answer.startswith(b"[" + meta)
    assert json.loads(answer)[1] == [{"markPx": "1"}, {"markPx": "2"}]
    assert perps(data, "xyz", meta) is None
    assert perps(data, "flx", meta) is None


def test_spot_contexts_are_joined_by_coin_in_the_order_of_the_answer() -> None:
    meta = b'{"universe":[1] ,"tokens":[]}'
    earlier = b"[%s,%s]" % (meta, text([{"coin": "@2", "px": "1"}, {"coin": "PURR/USDC"}, {"coin": "@1"}]))
    now = [{"coin": coin, "px": "9"} for coin in ("@1", "@2", "PURR/USDC")]
    answer = spots(text(now), earlier)
    assert answer is not None
    assert answer.startswith(b"[" + meta)
    assert json.loads(answer)[1] == [now[1], now[2], now[0]]
    for others in (now[:2], [*now, {"coin": "@3"}], [*now[:2], {"coin": "@3"}]):
        assert spots(text(others), earlier) is None


def candle(t: int, n: int) -> dict[str, Any]:
    return {"t": t, "T": t + 59_999, "n": n}


def test_only_the_candle_that_forms_is_taken_from_the_stream() -> None:
    then = text([candle(0, 9), candle(60_000, 3)])
    assert json.loads(with_forming(then, text(candle(60_000, 4)), None) or b"") == [
        candle(0, 9),
        candle(60_000, 4),
    ]
    # The stream lags behind; a candle has closed, how, only the upstream knows; it is not asked for.
    assert json.loads(with_forming(then, text(candle(60_000, 2)), None) or b"") == json.loads(then)
    assert with_forming(then, text(candle(120_000, 1)), None) is None
    assert with_forming(then, text(candle(60_000, 4)), 59_999) is None
    assert with_forming(b"[]", text(candle(60_000, 4)), None) is None
