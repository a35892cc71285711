"""Whom a write names beside its signer."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.signing import named_accounts

A, B, C = ("0x" + digit * 40 for digit in "abc")


@pytest.mark.parametrize(
    ("action", "vault", "named"),
    [
        ({"type": "order", "orders": [], "builder": {"b": A, "f": 1}}, None, set()),
        ({"type": "order", "orders": []}, A, {A}),
        ({"type": "order", "orders": []}, A[2:].upper(), {A}),
        ({"type": "usdSend", "destination": "0x" + "A" * 40, "amount": "1"}, None, {A}),
        ({"type": "spotSend", "destination": A, "token": "X:0xb", "amount": "1"}, None, {A}),
        ({"type": "withdraw3", "destination": A, "amount": "1"}, None, {A}),
        ({"type": "usdClassTransfer", "amount": "1", "toPerp": True}, None, set()),
        ({"type": "usdClassTransfer", "amount": f"1 subaccount:{A}", "toPerp": True}, None, {A}),
        ({"type": "sendAsset", "destination": A, "fromSubAccount": "", "amount": "1"}, None, {A}),
        ({"type": "sendAsset", "destination": A, "fromSubAccount": B, "amount": "1"}, None, {A, B}),
        ({"type": "agentSendAsset", "destination": A, "fromSubAccount": B}, C, {A, B, C}),
        ({"type": "subAccountTransfer", "subAccountUser": A, "isDeposit": True, "usd": 1}, None, {A}),
        ({"type": "vaultTransfer", "vaultAddress": A, "isDeposit": True, "usd": 1}, B, {A, B}),
        ({"type": "userSetAbstraction", "user": A, "abstraction": "u"}, None, {A}),
        ({"type": "linkStakingUser", "user": A, "isFinalize": True}, None, {A}),
        ({"type": "stakingLinkDisableTradingUser", "tradingUser": A}, None, {A}),
        ({"type": "approveAgent", "agentAddress": A}, None, {A}),
        ({"type": "approveBuilderFee", "builder": A}, None, set()),
        ({"type": "tokenDelegate", "validator": A, "wei": 1}, None, set()),
        (
            {
                "type": "multiSig",
                "payload": {"multiSigUser": A, "outerSigner": B, "action": {"type": "x", "destination": C}},
            },
            None,
            {A, B, C},
        ),
        ({"type": "notYetInvented", "user": A}, None, {A}),
        ({}, None, set()),
    ],
    ids=lambda value: value.get("type") if isinstance(value, dict) else None,
)
def test_who_is_named(action: dict[str, Any], vault: str | None, named: set[str]) -> None:
    assert named_accounts(action, vault) == named


@pytest.mark.parametrize("wrong", ["", "0x", "0x12", A + "1", "Z" * 40, 5, None, [A], {"a": A}, A + "\n"])
def test_what_is_no_address_names_nobody(wrong: Any) -> None:
    action = dict.fromkeys(("user", "destination", "vaultAddress", "payload"), wrong)
    assert named_accounts(action, wrong) == set()


def test_payloads_in_payloads_cost_no_recursion() -> None:
    action: dict[str, Any] = {"user": A}
    for _ in range(5000):
        action = {"payload": {"action": action}}
    assert named_accounts(action, None) == set()


@given(st.text(), st.sampled_from(["destination", "user", "amount"]))
def test_any_text(text: str, field: str) -> None:
    assert named_accounts({field: text}, text) in (set(), {"0x" + text.lower()[-40:]})
