"""What was rendered of an account is rendered anew once it has changed, whoever acted."""

from itertools import count
from typing import Any

import orjson

from server.devnode.engine.state import INSURANCE
from server.devnode.market import Exchange
from tests.server.devnode.market.trader import BTC, row

ANN, BUILDER = "0x" + "a1" * 20, "0x" + "b0" * 20
TIMES = count(1_800_000_000_000)


def exchange() -> Exchange:
    def tick() -> int:
        return next(TIMES)

    return Exchange(accounts=0, seed=1, now_ms=tick, next_ms=tick, wall_ms=tick, impersonation=True)


def value(source: Exchange, user: str) -> float:
    state = orjson.loads(source.state(user, "", next(TIMES)))
    return float(state["marginSummary"]["accountValue"])


def act(source: Exchange, kind: str, **fields: Any) -> None:
    assert source.impersonate(ANN, {"type": kind, **fields})["status"] == "ok"


def test_a_builder_is_paid_by_the_trades_of_others() -> None:
    source = exchange()
    for user in (ANN, BUILDER):
        source.fund(user, "10000")
    act(source, "approveBuilderFee", builder=BUILDER, maxFeeRate="0.1%", nonce=1)
    assert value(source, BUILDER) == 10_000
    order = row(BTC, True, "98000", "0.1", "Ioc")
    act(source, "order", orders=[order], grouping="na", builder={"b": BUILDER, "f": 100})
    assert 10_009 < value(source, BUILDER) < 10_010


def test_insurance_pays_what_a_bankrupt_account_cannot() -> None:
    source = exchange()
    before = 0.0
    for _ in range(2):
        source.fund(ANN, "10000")
        source.set_oracle("BTC", "97000")
        act(source, "order", orders=[row(BTC, True, "98000", "1", "Ioc")], grouping="na")
        assert value(source, INSURANCE) == before and value(source, ANN) > 9_000
        source.set_oracle("BTC", "80000")
        assert value(source, INSURANCE) < before - 7_000 and value(source, ANN) == 0
        before = value(source, INSURANCE)
