"""Requests that are not what they should be: one family of errors, and each names its field."""

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.signing import Malformed, SigningError, inner_nonce, is_user_signed, recover, recover_inner
from server.signing.typed_data import transaction_domain
from server.signing.user_signed import STRUCTURES
from tests.server.signing.sdk import NOW, Bot, address, wallet

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("0x" + "1" * 40),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


def usd_send() -> dict[str, Any]:
    return Bot(wallet(70), mainnet=True).usd_transfer(1, address(71))


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("action", None, "action"),
        ("action", "usdSend", "action"),
        ("action", [], "action"),
        ("signature", None, "signature"),
        ("signature", {"r": "0x1", "s": "0x1"}, "signature.v"),
    ],
)
def test_the_envelope(field: str, value: object, said: str) -> None:
    for request in (usd_send(), Bot(wallet(70), mainnet=True).noop(1)):
        with pytest.raises(Malformed, match=f"^{said}"):
            recover(request | {field: value}, mainnet=True)
        del request[field]
        with pytest.raises(Malformed, match=f"^{said.partition('.')[0]}"):
            recover(request, mainnet=True)


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("signatureChainId", [None, 421614, "66eee", "0x", "0xg", "0x" + "1" * 65, ""]),
        ("hyperliquidChain", [None, 1]),
        ("destination", [None, 1, "\ud800"]),
        ("amount", [None, 1, 1.0]),
        ("time", [None, "1", 1.0, -1, 2**64, True]),
    ],
)
def test_the_fields_of_typed_data(field: str, values: list[object]) -> None:
    request = usd_send()
    action = request["action"]
    for value in values:
        action[field] = value
        with pytest.raises(Malformed, match=field):
            recover(request, mainnet=True)
    del action[field]
    with pytest.raises(Malformed, match=field):
        recover(request, mainnet=True)


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        ("usdClassTransfer", "toPerp", 1),
        ("userSetAbstraction", "user", address(1)[2:]),
        ("userSetAbstraction", "abstraction", None),
        ("approveAgent", "agentAddress", "0x1"),
        ("approveAgent", "agentName", 5),
        ("sendToEvmWithData", "data", "0x1"),
        ("sendToEvmWithData", "data", "abcd"),
        ("sendToEvmWithData", "destinationChainId", 2**32),
    ],
)
def test_the_kinds_of_typed_data(kind: str, field: str, value: object) -> None:
    atoms = {"toPerp": True, "data": "0x", "destinationChainId": 1, "nonce": 1, "gasLimit": 1}
    atoms |= dict.fromkeys(("user", "agentAddress"), address(1))
    action = {name: atoms.get(name, "x") for name, _, _ in STRUCTURES[kind].rows}
    action |= {"type": kind, "signatureChainId": "0x1", "hyperliquidChain": "Mainnet"}
    request = {"action": action, "signature": usd_send()["signature"]}
    recover(request, mainnet=True)
    action[field] = value
    with pytest.raises(Malformed, match=field):
        recover(request, mainnet=True)


@settings(max_examples=150)
@given(st.data())
def test_nothing_else_is_raised(data: st.DataObject) -> None:
    bot = Bot(wallet(70), mainnet=True)
    requests = [
        usd_send(),
        bot.noop(1),
        bot.cancel("ETH", 1),
        bot.multi_sig(address(1), {"type": "noop"}, [], 1),
    ]
    request = copy.deepcopy(data.draw(st.sampled_from(requests)))
    for _ in range(data.draw(st.integers(1, 3))):
        holder: Any = request
        while True:
            key = data.draw(st.sampled_from(list(holder)))
            if not isinstance(holder[key], dict) or not holder[key] or data.draw(st.booleans()):
                break
            holder = holder[key]
        if data.draw(st.booleans()):
            holder[key] = data.draw(JSON)
        elif len(holder) > 1:
            del holder[key]
    for function in (recover, recover_inner):
        try:
            function(request, mainnet=True)
        except SigningError as error:
            assert str(error)
    action = request.get("action")
    if isinstance(action, dict):
        is_user_signed(action)
        inner_nonce(action)


@pytest.mark.parametrize("kind", [None, 5, [], "order", "multiSig", "HyperliquidTransaction:UsdSend"])
def test_what_is_not_user_signed(kind: object) -> None:
    assert not is_user_signed({"type": kind})
    assert inner_nonce({"type": kind, "nonce": 5}) is None


def test_the_inner_nonce_is_the_last_field() -> None:
    assert inner_nonce(usd_send()["action"] | {"time": NOW, "nonce": 1}) == NOW
    assert inner_nonce({"type": "cDeposit", "nonce": 7}) == 7
    for wrong in (None, "7", 7.0, True):
        assert inner_nonce({"type": "cDeposit", "nonce": wrong}) is None
    assert inner_nonce({"type": "cDeposit"}) is None


def test_chains_that_clients_make_up_fill_no_memory() -> None:
    for i in range(200):
        transaction_domain(hex(i))
    assert transaction_domain.cache_info().currsize <= 64
