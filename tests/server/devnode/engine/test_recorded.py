"""Requests recorded from the exchange, asked of the engine: the same shapes, the same words."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from server.devnode.engine import Engine, Makers
from server.devnode.engine.reads import Reads
from tests.server.devnode.engine.exchange import ANN, BOB, BTC, NOW, QUOTED, USD, Hand, cloid, row

pytestmark = pytest.mark.recorded

TRX = 22  # 0 decimals in size and a price like the recorded coin's, testnet's asset 173


def load(folder: Path, kind: str) -> list[Any]:
    return [json.loads(path.read_bytes()) for path in sorted((folder / "exchange").glob(f"{kind}__*.json"))]


def shape(value: Any) -> Any:
    """Types and keys in place of values; texts without the numbers and addresses in them."""
    if isinstance(value, dict):
        return [(key, shape(one)) for key, one in value.items()]
    if isinstance(value, list):
        return [shape(one) for one in value]
    if isinstance(value, str):
        return (
            re.sub(r"0x[0-9a-f]+|\d+", "#", value) if " " in value else value if value.isalpha() else "text"
        )
    return type(value).__name__


def ask(request: Any, signer: str, resting: bool = False) -> Any:
    """A recorded action for an engine that knows no asset 173: TRX stands in, at its own prices."""
    text = json.dumps(request["action"]).replace("173", str(TRX))
    # The recordings of 2025-08 predate the $10 minimum of 2025-10 on that net.
    action = json.loads(text.replace('"0.1233"', '"0.2"').replace('"45"', '"100"'))
    engine = Engine(makers=Makers(quote=False))
    engine.credit(ANN, 1_000 * USD, NOW)
    if resting:
        order = {"type": "order", "orders": [row(TRX, True, "0.2", "100")], "grouping": "na"}
        engine.apply(order, signer=ANN, now_ms=NOW)
    return engine.apply(action, signer=signer, now_ms=NOW)


def test_recorded_orders(recorded_dir: Path) -> None:
    files = load(recorded_dir, "order")
    assert len(files) >= 8
    for file in files:
        refused = file["response"]["status"] == "err"
        answer = ask(file["request"], BOB if refused else ANN)
        assert shape(answer) == shape(file["response"]), file["meta"]["path"]


def test_recorded_cancels(recorded_dir: Path) -> None:
    files = load(recorded_dir, "cancel") + load(recorded_dir, "cancelByCloid")
    assert len(files) >= 6
    for file in files:
        request = file["request"]
        succeeded = file["response"]["response"]["data"]["statuses"] == ["success"]
        if succeeded:
            request["action"]["cancels"][0]["o"] = 1
        assert shape(ask(request, ANN, succeeded)) == shape(file["response"]), file["meta"]["path"]


def test_documented_answers(recorded_dir: Path) -> None:
    """The documented examples, which have no ` asset=` yet: each shape is one of ours."""
    file = json.loads((recorded_dir / "exchange" / "documented__exchange.json").read_bytes())
    hand = Hand(QUOTED)
    twap = {"a": BTC, "b": True, "s": "0.01", "r": False, "m": 5, "t": False}
    actions: list[dict[str, Any]] = [
        {"type": "order", "orders": [row(BTC, True, "97000", "0.01")], "grouping": "na"},
        {"type": "order", "orders": [row(BTC, True, "97000", "0.0001")], "grouping": "na"},
        {"type": "order", "orders": [row(BTC, True, "97300", "0.01")], "grouping": "na"},
        {"type": "cancel", "cancels": [{"a": BTC, "o": 1}]},
        {"type": "cancel", "cancels": [{"a": BTC, "o": 1}]},
        {"type": "twapOrder", "twap": twap},
        {"type": "twapOrder", "twap": twap | {"m": 1}},
        {"type": "twapCancel", "a": BTC, "t": 1},
        {"type": "twapCancel", "a": BTC, "t": 1},
    ]
    for action, example in zip(actions, file["examples"], strict=True):
        answer = hand.engine.apply(action, signer=ANN, now_ms=NOW)
        text = json.dumps(shape(answer)).replace(" asset=#", "")
        assert text == json.dumps(shape(example["example"])), action["type"]


def keys(value: Any) -> Any:
    return [*value]


def first(folder: Path, name: str) -> Any:
    found = json.loads((folder / "info" / name).read_bytes())["response"]
    return found[0] if isinstance(found, list) else found


def test_rows_have_the_recorded_keys_in_the_recorded_order(recorded_dir: Path) -> None:
    hand = Hand(QUOTED)
    hand.engine.advance(NOW)
    hand.buy(ANN, "97000", "0.01", cloid=cloid(1))
    hand.buy(ANN, "97400", "0.01")
    hand.act(ANN, "usdClassTransfer", amount="1", toPerp=False, nonce=1)
    hand.advance(3_600_000)
    read: Reads = hand.engine
    resting = read.open_orders(ANN)[0]
    assert keys(resting) == keys(first(recorded_dir, "frontendOpenOrders__jkorf_one.json"))
    status = first(recorded_dir, "orderStatus__gohl_query_order_by_oid_7.json")
    assert keys(read.order_status(ANN, cloid(1))["order"]) == keys(status["order"])
    assert keys(read.order_status(ANN, resting["oid"])["order"]["order"]) == keys(status["order"]["order"])
    assert read.order_status(BOB, resting["oid"]) == first(
        recorded_dir, "orderStatus__gohl_query_order_by_oid.json"
    )
    data = first(recorded_dir, "activeAssetData__gohl_user_active_asset_data.json")
    assert keys(read.active_asset_data(ANN, "BTC")) == keys(data)
    ledger = first(recorded_dir, "userNonFundingLedgerUpdates__jkorf_ledger.json")
    assert keys(read.ledger_updates(ANN)[-1]["delta"]) == keys(ledger["delta"])
    funding = first(recorded_dir, "userFunding__jkorf_one.json")
    assert keys(read.fundings(ANN)[0]) == keys(funding)
    assert keys(read.fundings(ANN)[0]["delta"]) == keys(funding["delta"])
    balances = first(recorded_dir, "spotClearinghouseState__gareth_a.json")["balances"]
    assert keys(read.spot_balances(ANN)[0]) == keys(balances[0])
    lines = (recorded_dir / "ws" / "user__jkorf_session.jsonl").read_text().splitlines()
    fill = json.loads(lines[2])["msg"]["data"]["fills"][0]
    assert keys(read.fills(ANN)[0]) == keys(fill)
