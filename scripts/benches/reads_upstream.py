"""The upstream of the read bench: one account, the market, pushed every 5 s, and how often it was asked.

Sizes are those of the exchange in 2026: 1,100 mids, 200 perps; the account has 10 orders and 8 tokens.
Every push is another `variant`, so that whoever makes an answer of it has to make it again.

    python -m scripts.benches.reads_upstream
"""

import asyncio
import functools
import time
from collections import Counter

import orjson
import uvloop

from scripts.benches import states
from scripts.benches.upstream import Connection, serve, text_frame

VARIANTS = 8
PUSH_S = 5.0
SLOW_S = 0.5
"""How long `userRole` takes: whoever asks meanwhile could share its answer."""

USER = states.address(0)


def _price(number: int, variant: int) -> str:
    return f"{97000 + number}.{variant}"


def mids(variant: int) -> bytes:
    """`allMids`."""
    names = [f"C{n}" for n in range(200)] + [f"@{n}" for n in range(600)] + [f"#{n}" for n in range(300)]
    return orjson.dumps({name: _price(number, variant) for number, name in enumerate(names)})


META = orjson.dumps(
    {
        "universe": [
            {"szDecimals": 2, "name": f"C{n}", "maxLeverage": 10, "marginTableId": 10} for n in range(200)
        ],
        "marginTables": [
            [10, {"description": "", "marginTiers": [{"lowerBound": "0.0", "maxLeverage": 10}]}]
        ],
        "collateralToken": 0,
    }
)


def contexts(variant: int) -> bytes:
    """Of the perps of the main dex."""
    rows = [
        {
            "funding": "0.0000125",
            "openInterest": "12345.67",
            "prevDayPx": _price(n, 0),
            "dayNtlVlm": "123456789.01",
            "premium": "0.00012",
            "oraclePx": _price(n, variant),
            "markPx": _price(n, variant),
            "midPx": _price(n, variant),
            "impactPxs": [_price(n, variant), _price(n, variant)],
            "dayBaseVlm": "1234.5",
        }
        for n in range(200)
    ]
    return orjson.dumps(rows)


def _order(number: int, variant: int) -> dict[str, object]:
    return {
        "coin": f"C{number}",
        "side": "B",
        "limitPx": _price(number, variant),
        "sz": "0.01",
        "oid": 10**11 + number,
        "timestamp": 1_770_000_000_000 + number,
        "origSz": "0.01",
    }


def open_orders(variant: int) -> bytes:
    """`openOrders`."""
    return orjson.dumps([_order(n, variant) | {"reduceOnly": True} for n in range(10)])


def frontend_orders(variant: int) -> bytes:
    more = {
        "triggerCondition": "N/A",
        "isTrigger": False,
        "triggerPx": "0.0",
        "children": [],
        "isPositionTpsl": False,
        "reduceOnly": True,
        "orderType": "Limit",
        "tif": "Gtc",
        "cloid": None,
    }
    return orjson.dumps([_order(n, variant) | more for n in range(10)])


def balances(variant: int) -> bytes:
    """`spotClearinghouseState`."""
    rows = [
        {"coin": f"T{n}", "token": n, "total": _price(n, variant), "hold": "0.0", "entryNtl": "123.45"}
        for n in range(8)
    ]
    return orjson.dumps({"balances": rows})


def both(variant: int) -> bytes:
    """`metaAndAssetCtxs`."""
    return b"[%s,%s]" % (META, contexts(variant))


@functools.cache
def frame(type_: str, variant: int) -> bytes:
    """What is pushed on a subscription, as it goes over the wire."""
    user = USER.encode()
    if type_ == "allMids":
        data = b'{"mids":%s}' % mids(variant)
    elif type_ == "allDexsAssetCtxs":
        data = b'{"ctxs":[["",%s]]}' % contexts(variant)
    elif type_ == "openOrders":
        data = b'{"dex":"","user":"%s","orders":%s}' % (user, frontend_orders(variant))
    else:
        data = b'{"user":"%s","spotState":%s}' % (user, balances(variant))
    return text_frame(b'{"channel":"%s","data":%s}' % (type_.encode(), data))


def state_frame() -> bytes:
    return text_frame(states.frame(0, USER, 1, int(time.time() * 1000), states.USUAL_BYTES))


class Reads(Connection):
    """One connection."""

    def __init__(self, world: "World") -> None:
        super().__init__(world)  # type: ignore[arg-type]
        self._asked = world.asked
        self._types: list[str] = []

    def _answer(self, head: bytes, body: bytes) -> None:
        type_ = str(orjson.loads(body).get("type"))
        if type_ == "asked":  # not of the exchange: how often it was asked for what
            self._send(orjson.dumps(self._asked))
            return
        self._asked[type_] += 1
        if type_ == "userRole":
            self._loop.call_later(SLOW_S, self._send, b'{"role":"user"}')
        else:
            self._send({"meta": META, "metaAndAssetCtxs": both(0), "perpDexs": b"[null]"}.get(type_, b"null"))

    def _send(self, answer: bytes) -> None:
        self._transport.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s"
            % (len(answer), answer)
        )

    def _heard(self, message: dict[str, object]) -> None:
        subscription = message.get("subscription")
        if not isinstance(subscription, dict):
            self._transport.write(text_frame(b'{"channel":"pong"}'))
            return
        type_ = str(subscription["type"])
        self._types.append(type_)
        echo = text_frame(orjson.dumps({"channel": "subscriptionResponse", "data": message}))
        self._transport.write(echo + self._frame(type_, 0))

    def _frame(self, type_: str, variant: int) -> bytes:
        return state_frame() if type_ == "allDexsClearinghouseState" else frame(type_, variant)

    async def _push(self) -> None:
        turn = 0
        while True:
            turn += 1
            await asyncio.sleep(PUSH_S / 8)
            # Each stream at a time of its own, every `PUSH_S`.
            for place, type_ in enumerate(self._types):
                if place % 8 == turn % 8:
                    self._transport.write(self._frame(type_, turn // 8 % VARIANTS))


class World:
    """How often it was asked for what."""

    delay_s = 0.0

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.options = self
        self.flood = False


def main() -> None:
    world = World()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(lambda: Reads(world)))


if __name__ == "__main__":
    main()
