"""What a write changes, and whose."""

from typing import Any

import pytest
from hyperliquid.utils.signing import sign_agent, sign_l1_action, sign_usd_transfer_action

from server.capabilities import TABLE, Writes, tag
from server.signing.catalogue import L1
from server.signing.user_signed import STRUCTURES
from server.writes import EFFECTS, Agents, changed_by
from tests.server.signing.sdk import wallet

ACCOUNT, AGENT = wallet(3), wallet(4)
ME, MY_AGENT = ACCOUNT.address.lower(), AGENT.address.lower()
VAULT = "0x" + "fa" * 20
ORDER = {
    "type": "order",
    "orders": [{"a": 0, "b": True, "p": "1", "s": "1", "r": False, "t": {"limit": {"tif": "Gtc"}}}],
    "grouping": "na",
}


def signed(action: dict[str, Any], by: Any = ACCOUNT, vault: str | None = None) -> dict[str, Any]:
    signature = sign_l1_action(by, action, vault, 1, None, False)
    return {"action": action, "nonce": 1, "signature": signature, "vaultAddress": vault}


def tags(request: dict[str, Any], agents: Agents | None = None) -> set[str]:
    return set(changed_by(request, Agents() if agents is None else agents, mainnet=False))


def test_an_order_changes_what_its_signer_trades() -> None:
    assert tags(signed(ORDER)) == {tag(Writes.TRADE, ME)}


def test_for_a_vault_it_changes_the_vault_too() -> None:
    assert tags(signed(ORDER, vault=VAULT)) == {tag(Writes.TRADE, ME), tag(Writes.TRADE, VAULT)}


def test_an_agent_acts_for_whom_it_was_seen_to() -> None:
    agents = Agents()
    assert tags(signed(ORDER, AGENT), agents) == {tag(Writes.TRADE, MY_AGENT)}
    agents.learn_from("userRole", (MY_AGENT,), b'{"role":"agent","data":{"user":"%s"}}' % ME.encode())
    assert tags(signed(ORDER, AGENT), agents) == {tag(Writes.TRADE, MY_AGENT), tag(Writes.TRADE, ME)}


def test_an_approval_names_the_agent() -> None:
    agents = Agents()
    action = {"type": "approveAgent", "agentAddress": AGENT.address, "agentName": "a", "nonce": 1}
    request = {"action": action, "nonce": 1, "signature": sign_agent(ACCOUNT, action, False)}
    assert tags(request, agents) == {tag(Writes.ACCOUNT, ME), tag(Writes.ACCOUNT, MY_AGENT)}
    assert agents.master_of(MY_AGENT) == ME


def test_money_is_of_both_sides() -> None:
    action = {"type": "usdSend", "destination": VAULT, "amount": "1", "time": 1}
    request = {"action": action, "nonce": 1, "signature": sign_usd_transfer_action(ACCOUNT, action, False)}
    assert tags(request) == {tag(Writes.MONEY, ME), tag(Writes.MONEY, VAULT)}


def test_what_can_not_be_recovered_changes_whom_it_names() -> None:
    request = {"action": ORDER, "nonce": 1, "signature": {}, "vaultAddress": VAULT}
    assert tags(request) == {tag(Writes.TRADE, VAULT)}


def test_within_a_multi_sig_counts_what_is_inside() -> None:
    inner = {"type": "multiSig", "payload": {"multiSigUser": ME, "outerSigner": VAULT, "action": ORDER}}
    assert tags({"action": inner, "nonce": 1, "signature": {}}) == {
        tag(Writes.TRADE, ME),
        tag(Writes.TRADE, VAULT),
    }


@pytest.mark.parametrize("payload", [None, [], {}, {"action": 1}])
def test_a_multi_sig_of_nothing_may_be_anything(payload: object) -> None:
    request = {"action": {"type": "multiSig", "payload": payload}, "nonce": 1, "signature": {}}
    assert tags(request | {"vaultAddress": VAULT}) == {tag(what, VAULT) for what in Writes}


def test_a_type_that_nobody_knows_may_change_anything() -> None:
    assert tags(signed({"type": "tomorrow"})) == {tag(what, ME) for what in Writes}
    assert tags(signed({"type": "noop"})) == set()


def test_deployments_change_the_lists() -> None:
    assert "listings" in tags(signed({"type": "perpDeploy", "haltTrading": {"coin": "x", "isHalted": True}}))
    assert "listings" not in tags(signed(ORDER))


def test_every_action_we_can_read_is_one_whose_effects_are_known() -> None:
    # These do anything: to the lists, to validators, to contracts.
    anything = {
        "perpDeploy",
        "spotDeploy",
        "finalizeEvmContract",
        "validatorL1Stream",
        "gossipPriorityBid",
        "authorizeAqav2Role",
    }
    assert (set(L1) | set(STRUCTURES)) - set(EFFECTS) <= anything
    done = {what for effects in EFFECTS.values() for what in effects}
    assert done == set(Writes) == {what for row in TABLE.values() for what in row.writes}


@pytest.mark.parametrize(
    ("type_", "body"),
    [
        ("userRole", b'{"role":"agent"}'),
        ("userRole", b'{"role":"agent","data":{"user":1}}'),
        ("userRole", b'{"role":"user"}'),
        ("userRole", b"null"),
        ("userRole", b"{"),
        ("extraAgents", b'{"address":"x"}'),
        ("extraAgents", b'[1,{"name":"a"}]'),
        ("openOrders", b'[{"address":"x"}]'),
    ],
)
def test_answers_that_tell_of_no_agent(type_: str, body: bytes) -> None:
    agents = Agents()
    agents.learn_from(type_, (ME,), body)
    assert len(agents) == 0


def test_agents_are_bounded() -> None:
    agents = Agents(limit=2)
    agents.learn_from("extraAgents", (ME,), b'[{"address":"0xA"},{"address":"0xb"},{"address":"0xc"}]')
    assert [agents.master_of(agent) for agent in ("0xa", "0xb", "0xc")] == [None, ME, ME]
