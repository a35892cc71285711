"""Whatever deserialises is answered, in either of two shapes, and leaves everything in order."""

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from server.devnode.clearinghouse import render
from server.devnode.engine.invariants import check
from server.devnode.engine.shapes import ACTIONS, deserialises
from tests.server.devnode.engine.exchange import ANN, BOB, BTC, HYPE, QUOTED, SPACEX, Hand, cloid, row

naturals = st.sampled_from((0, 1, 2, 5, 20, 42, 10**7, 2**63))
assets = st.sampled_from((BTC, HYPE, SPACEX, 110_001, 999, 2**40))
texts = st.sampled_from(
    ("0", "1", "0.01", "20", "97240", "44.8", "-1", "", ".", "1.", "abc", "1e5", "9" * 50, "0.0000000001",
     "٣", "USDC", "HYPE", "spot", "xyz", f"1 subaccount:{BOB}", "a valid_until 1800000000001", "0.05%")
)  # fmt: skip
addresses = st.sampled_from((ANN, BOB, "0x" + "0" * 40, "0x" + "Ab" * 20))
tokens = st.sampled_from(("USDC", "HYPE", "PURR:0x1", "nothing"))
tifs = st.sampled_from(("Gtc", "Ioc", "Alo", "FrontendMarket"))
orders = st.fixed_dictionaries(
    {
        "a": assets,
        "b": st.booleans(),
        "p": texts,
        "s": texts,
        "r": st.booleans(),
        "t": st.one_of(
            st.fixed_dictionaries(
                {
                    "limit": st.fixed_dictionaries(
                        {"tif": st.sampled_from(("Gtc", "Ioc", "Alo", "FrontendMarket"))}
                    )
                }
            ),
            st.fixed_dictionaries(
                {
                    "trigger": st.fixed_dictionaries(
                        {"isMarket": st.booleans(), "triggerPx": texts, "tpsl": st.sampled_from(("tp", "sl"))}
                    )
                }
            ),
        ),
        "c": st.sampled_from((None, cloid(1))),
    }
)
oids = st.one_of(naturals, st.just(cloid(1)))
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "orders": st.lists(orders, max_size=3),
    "order": orders,
    "grouping": st.sampled_from(("na", "normalTpsl", "positionTpsl", {"p": 3})),
    "builder": addresses,
    "oid": oids,
    "modifies": st.lists(st.fixed_dictionaries({"oid": oids, "order": orders}), max_size=2),
    "twap": st.fixed_dictionaries(
        {"a": assets, "b": st.booleans(), "s": texts, "r": st.booleans(), "m": naturals, "t": st.booleans()}
    ),
    "details": st.sampled_from(
        (None, {"t": {"p": "97300", "a": True}, "s": "90000"}, {"s": ""}, {"t": None})
    ),
    "a": assets,
    "t": naturals,
    "asset": assets,
    "time": naturals,
    "leverage": st.one_of(naturals, texts),
    "ntli": st.sampled_from((0, 5, -5, 10**9, -(2**70))),
    "usd": naturals,
    "token": tokens,
    "sourceDex": st.sampled_from(("", "spot", "xyz", "no")),
    "destinationDex": st.sampled_from(("", "spot", "vntl")),
    "fromSubAccount": st.sampled_from(("", ANN, "x")),
    **dict.fromkeys(("isCross", "isBuy", "isDeposit", "toPerp"), st.booleans()),
    **dict.fromkeys(("agentName", "maxFeeRate", "name", "code", "amount"), texts),
    **dict.fromkeys(("agentAddress", "subAccountUser", "destination", "vaultAddress"), addresses),
}


@st.composite
def actions(draw: st.DrawFn) -> dict[str, Any]:
    kind = draw(st.sampled_from(sorted(ACTIONS)))
    action = {name: draw(values) for name, values in FIELDS.items()}
    if kind == "cancel":
        action["cancels"] = [{"a": draw(assets), "o": draw(naturals)}]
    elif kind == "cancelByCloid":
        action["cancels"] = [{"asset": draw(assets), "cloid": cloid(1)}]
    elif kind == "order":
        action["builder"] = draw(st.sampled_from((None, {"b": BOB, "f": 10})))
    return {"type": kind, **action}


@settings(max_examples=150)
@given(st.lists(actions().filter(deserialises), max_size=12))
def test_what_deserialises_is_answered(found: list[dict[str, Any]]) -> None:
    hand = Hand(QUOTED)
    hand.buy(ANN, "97400", "0.01")
    for action in found:
        answer = hand.engine.apply(action, signer=ANN, now_ms=hand.now)
        assert isinstance(answer["response"], str if answer["status"] == "err" else dict)
        json.dumps(answer)
    hand.advance(60_000)
    check(hand.engine.ground)
    for user in (ANN, BOB):
        render(hand.engine.core(user), hand.engine.marks(), hand.now)
        for read in ("open_orders", "plain_open_orders", "fills", "historical_orders", "ledger_updates",
                     "twap_states", "twap_history", "twap_slice_fills", "spot_balances", "role"):  # fmt: skip
            json.dumps(getattr(hand.engine, read)(user))


def test_what_does_not_deserialise() -> None:
    good = {"type": "order", "orders": [row(BTC, True, "1", "1")], "grouping": "na"}
    assert deserialises(good) and deserialises(good | {"orders": []}) and deserialises({"type": "whatever"})
    bad = row(BTC, True, "1", "1")
    for wrong in (
        bad | {"p": 1},
        bad | {"a": True},
        bad | {"t": {"market": {}}},
        bad | {"t": {"limit": {"tif": "Fok"}}},
        bad | {"c": "0x1"},
    ):
        assert not deserialises(good | {"orders": [wrong]})
    for action in (
        {},
        [],
        {"type": 3},
        good | {"grouping": "no"},
        {"type": "updateLeverage", "leverage": 1.5},
    ):
        assert not deserialises(action)
