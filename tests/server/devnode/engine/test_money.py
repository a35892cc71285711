"""Spot, transfers, sub-accounts, agents, builders: money and authority."""

import pytest

from server.devnode.engine.invariants import check
from server.devnode.engine.state import FEES
from tests.server.devnode.engine.exchange import ANN, BOB, BTC, CAT, HYPE, NOW, USD, Hand, row

AGENT, OTHER = "0x" + "99" * 20, "0x" + "98" * 20
BOB_IN_CAPITALS = "0x" + BOB[2:].upper()


@pytest.fixture
def hand() -> Hand:
    hand = Hand()
    hand.engine.credit_spot(ANN, "HYPE", 100 * 10**8)
    hand.engine.credit_spot(BOB, "USDC", 1_000 * 10**8)
    return hand


def spot(hand: Hand, user: str, coin: str) -> tuple[str, str]:
    found = {row["coin"]: row for row in hand.engine.spot_balances(user)}
    return (found[coin]["total"], found[coin]["hold"]) if coin in found else ("0.0", "0.0")


def test_spot_trades_hold_and_settle(hand: Hand) -> None:
    hand.sell(ANN, "45", "10", HYPE)
    assert spot(hand, ANN, "HYPE") == ("100.0", "10.0")
    assert hand.buy(BOB, "45.5", "4", HYPE) == {"filled": {"totalSz": "4.0", "avgPx": "45.0", "oid": 2}}
    assert spot(hand, ANN, "HYPE") == ("96.0", "6.0") and spot(hand, ANN, "USDC") == ("179.928", "0.0")
    assert spot(hand, BOB, "HYPE") == ("3.9972", "0.0") and spot(hand, BOB, "USDC") == ("820.0", "0.0")
    (bought,), (sold,) = hand.engine.fills(BOB), hand.engine.fills(ANN)
    assert (bought["dir"], bought["feeToken"], bought["fee"]) == ("Buy", "HYPE", "0.0028")
    assert (sold["dir"], sold["feeToken"], sold["fee"]) == ("Sell", "USDC", "0.072")
    assert sold["startPosition"] == "100.0"
    hand.buy(BOB, "40", "10", HYPE)
    assert spot(hand, BOB, "USDC") == ("820.0", "400.0")
    check(hand.engine.ground)


def test_transfers_between_accounts_and_classes(hand: Hand) -> None:
    default = {"type": "default"}
    assert hand.act(ANN, "usdSend", destination=BOB_IN_CAPITALS, amount="12.5", time=1) == default
    assert hand.act(ANN, "usdClassTransfer", amount="100", toPerp=False, nonce=1) == default
    assert hand.act(ANN, "spotSend", destination=BOB, token="HYPE", amount="1.5", time=1) == default
    assert hand.act(ANN, "withdraw3", destination=ANN, amount="11", time=5) == default
    assert hand.engine.core(BOB).cross_raw == 10_012_500_000
    assert hand.engine.core(ANN).cross_raw == (10_000 * USD - 12_500_000 - 100 * USD - 11 * USD)
    assert spot(hand, ANN, "USDC") == ("100.0", "0.0") and spot(hand, BOB, "HYPE") == ("1.5", "0.0")
    deltas = [row["delta"] for row in hand.engine.ledger_updates(ANN)]
    assert [delta["type"] for delta in deltas] == [
        "deposit", "spotGenesis", "internalTransfer", "accountClassTransfer", "spotTransfer", "withdraw",
    ]  # fmt: skip
    assert deltas[-1] == {"type": "withdraw", "usdc": "10.0", "nonce": 5, "fee": "1.0"}
    assert deltas[3] == {"type": "accountClassTransfer", "usdc": "100.0", "toPerp": False}
    check(hand.engine.ground)


def test_a_destination_is_born_by_a_transfer(hand: Hand) -> None:
    assert hand.engine.role(OTHER) == {"role": "missing"}
    hand.act(ANN, "usdSend", destination=OTHER, amount="1", time=1)
    assert hand.engine.role(OTHER) == {"role": "user"} and hand.engine.core(OTHER).cross_raw == USD


def test_transfers_that_are_refused(hand: Hand) -> None:
    poor = "Insufficient balance for withdrawal"
    assert hand.act(ANN, "usdSend", destination=BOB, amount="10000.000001", time=1) == poor
    assert hand.act(ANN, "withdraw3", destination=ANN, amount="20000", time=1) == poor
    assert hand.act(ANN, "usdClassTransfer", amount="1", toPerp=True, nonce=1) == (
        "Insufficient balance for token transfer"
    )
    assert hand.act(ANN, "spotSend", destination=BOB, token="HYPE", amount="101", time=1) == (
        "Insufficient balance for token transfer"
    )
    sent = {"destination": BOB, "sourceDex": "spot", "destinationDex": "", "fromSubAccount": "", "nonce": 1}
    assert hand.act(BOB, "sendAsset", token="USDC", amount="1.12345678", **sent) == "Invalid send"
    assert hand.act(ANN, "sendAsset", token="HYPE", amount="1", **sent) == "Invalid send"


def test_money_on_hold_does_not_leave(hand: Hand) -> None:
    hand.act(ANN, "updateLeverage", asset=BTC, isCross=True, leverage=1)
    hand.buy(ANN, "90000", "0.1")
    assert hand.act(ANN, "usdSend", destination=BOB, amount="1000.01", time=1) == (
        "Insufficient balance for withdrawal"
    )
    assert hand.act(ANN, "usdSend", destination=BOB, amount="1000", time=1) == {"type": "default"}


def test_dexes_have_their_own_cash(hand: Hand) -> None:
    hand.act(
        ANN, "sendAsset", destination=ANN, sourceDex="", destinationDex="xyz",
        token="USDC:0xeb62eee3685fc4c43992febcd9e75443", amount="250", fromSubAccount="", nonce=1,
    )  # fmt: skip
    assert hand.engine.core(ANN, "xyz").cross_raw == 250 * USD
    assert hand.engine.ledger_updates(ANN)[-1]["delta"]["destinationDex"] == "xyz"
    assert hand.order(ANN, 110_001, True, "412", "1")["resting"]
    assert [order["coin"] for order in hand.engine.open_orders(ANN, "xyz")] == ["xyz:TSLA"]
    assert hand.engine.open_orders(ANN) == []


def test_sub_accounts(hand: Hand) -> None:
    answer = hand.act(ANN, "createSubAccount", name="second")
    sub = answer["data"]
    assert answer["type"] == "createSubAccount" and hand.engine.sub_accounts(ANN) == [("second", sub)]
    assert hand.engine.role(sub) == {"role": "subAccount", "data": {"master": ANN}}
    hand.act(ANN, "subAccountTransfer", subAccountUser=sub, isDeposit=True, usd=500 * USD)
    hand.act(ANN, "subAccountSpotTransfer", subAccountUser=sub, isDeposit=True, token="HYPE", amount="2")
    assert hand.engine.core(sub).cross_raw == 500 * USD and spot(hand, sub, "HYPE") == ("2.0", "0.0")
    order = {"orders": [row(BTC, True, "97000", "0.01")], "grouping": "na"}
    assert hand.act(ANN, "order", vault=sub, **order)["data"]["statuses"][0]["resting"]
    assert len(hand.engine.open_orders(sub)) == 1 and hand.engine.open_orders(ANN) == []
    assert hand.act(BOB, "order", vault=sub, **order) == f"Vault not registered: {sub}"
    assert hand.act(BOB, "subAccountTransfer", subAccountUser=sub, isDeposit=False, usd=5) == (
        f"Invalid sub-account transfer from {sub} to {BOB}"
    )
    hand.act(ANN, "usdClassTransfer", amount=f"100 subaccount:{sub}", toPerp=False, nonce=1)
    assert spot(hand, sub, "USDC") == ("100.0", "0.0")
    check(hand.engine.ground)


def test_agents(hand: Hand) -> None:
    default = {"type": "default"}
    until = NOW + 3_600_000
    name = f"bot valid_until {until}"
    assert hand.act(ANN, "approveAgent", agentAddress=AGENT, agentName=name, nonce=1) == default
    assert hand.engine.extra_agents(ANN) == [{"name": "bot", "address": AGENT, "validUntil": until}]
    assert hand.engine.role(AGENT) == {"role": "agent", "data": {"user": ANN}}
    hand.buy(AGENT, "97000", "0.01")
    assert len(hand.engine.open_orders(ANN)) == 1
    assert hand.act(AGENT, "usdSend", destination=BOB, amount="1", time=1) == (
        f"Must deposit before performing actions. User: {AGENT}"
    )
    sides = {"sourceDex": "", "destinationDex": "spot"}
    send = {**sides, "token": "USDC", "amount": "1", "fromSubAccount": "", "nonce": 1}
    assert hand.act(AGENT, "agentSendAsset", destination=ANN, **send) == default
    assert hand.act(AGENT, "agentSendAsset", destination=BOB, **send) == (
        "Agent can only send asset to same user or their sub-accounts."
    )
    assert hand.act(ANN, "approveAgent", agentAddress=AGENT, nonce=1) == "Extra agent already used."
    assert hand.act(ANN, "approveAgent", agentAddress=OTHER, agentName="bot", nonce=1) == default
    assert hand.act(AGENT, "noop") == f"User or API Wallet {AGENT} does not exist."
    assert hand.act(OTHER, "noop") == default
    hand.act(ANN, "approveAgent", agentAddress="0x" + "0" * 40, agentName="bot", nonce=1)
    assert hand.act(OTHER, "noop") == f"User or API Wallet {OTHER} does not exist."


def test_an_agent_expires(hand: Hand) -> None:
    hand.act(ANN, "approveAgent", agentAddress=AGENT, agentName=f"a valid_until {NOW + 10}", nonce=1)
    hand.now += 11
    assert hand.act(AGENT, "noop") == f"User or API Wallet {AGENT} does not exist."
    late = hand.act(ANN, "approveAgent", agentAddress=OTHER, agentName=f"b valid_until {NOW}", nonce=1)
    assert late == "Agent valid_until already expired."


def test_no_number_in_a_name_is_too_long_to_be_refused(hand: Hand) -> None:
    name = f"a valid_until {'9' * 5_000}"
    late = hand.act(ANN, "approveAgent", agentAddress=AGENT, agentName=name, nonce=1)
    assert late == "Agent valid_until already expired."
    rate = f"{'9' * 5_000}%"
    assert hand.act(ANN, "approveBuilderFee", builder=CAT, maxFeeRate=rate, nonce=1) == (
        "Invalid builder fee rate."
    )


def test_the_unnamed_agent_does_not_show_and_three_have_names(hand: Hand) -> None:
    hand.act(ANN, "approveAgent", agentAddress=AGENT, nonce=1)
    assert hand.engine.extra_agents(ANN) == [] and hand.act(AGENT, "noop") == {"type": "default"}
    for n in range(3):
        hand.act(ANN, "approveAgent", agentAddress=f"0x{n + 1:040x}", agentName=f"n{n}", nonce=1)
    fourth = hand.act(ANN, "approveAgent", agentAddress=OTHER, agentName="n4", nonce=1)
    assert fourth == "Too many extra agents for cumulative volume traded. Current limit is 3"


def test_builders_are_paid_what_was_approved(hand: Hand) -> None:
    builder = {"b": CAT, "f": 10}
    hand.sell(ANN, "97240", "0.1")
    order = row(BTC, True, "97240", "0.01")
    assert hand.orders(BOB, order, builder=builder) == "Builder fee has not been approved."
    assert hand.act(BOB, "approveBuilderFee", builder=CAT, maxFeeRate="0.01%", nonce=1) == {"type": "default"}
    assert hand.engine.max_builder_fee(BOB, CAT) == 10 and hand.engine.approved_builders(BOB) == [CAT]
    assert "filled" in hand.orders(BOB, order, builder=builder)[0]
    fill = hand.engine.fills(BOB)[0]
    assert (fill["builderFee"], fill["fee"]) == ("0.09724", "0.53482")
    assert hand.engine.core(CAT).cross_raw == 10_000 * USD + 97_240
    assert hand.engine.core(FEES).cross_raw == 437_580 + 145_860
    check(hand.engine.ground)


def test_what_has_no_effect_is_still_answered(hand: Hand) -> None:
    default = {"type": "default"}
    assert hand.act(ANN, "noop") == default
    assert hand.act(ANN, "vaultTransfer", vaultAddress=OTHER, isDeposit=True, usd=1) == (
        f"Vault not registered: {OTHER}"
    )


def test_more_actions_are_paid_for_from_the_perps(hand: Hand) -> None:
    default = {"type": "default"}
    assert hand.act(ANN, "reserveRequestWeight", weight=100) == default
    assert (hand.engine.core(ANN).cross_raw, hand.engine.reserved(ANN)) == (9_999_950_000, 100)
    assert hand.act(ANN, "reserveRequestWeight", weight=7, destination=BOB_IN_CAPITALS) == default
    assert (hand.engine.core(BOB).cross_raw, hand.engine.reserved(BOB)) == (10_000 * USD, 7)
    assert hand.engine.core(FEES).cross_raw == 53_500
    refused = "Insufficient balance to reserve request weight"
    assert hand.act(ANN, "reserveRequestWeight", weight=20_000_000) == refused
    assert hand.engine.reserved(ANN) == 100
