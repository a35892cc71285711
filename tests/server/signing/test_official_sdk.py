"""Round trips: the official SDK signs every kind of action it knows, we recover its key."""

from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from hyperliquid.utils import signing as sdk
from hyperliquid.utils.types import Cloid

from server.signing import inner_nonce, is_user_signed, recover
from tests.server.signing.sdk import NOW, Bot, address, body, freeze_clock, shuffled, wallet

SOMEONE = address(91)
CLOID = Cloid.from_int(0x1234)
LIMIT = {"limit": {"tif": "Gtc"}}
STOP = {"trigger": {"isMarket": True, "triggerPx": 103.5, "tpsl": "sl"}}

USER_SIGNED: dict[str, Callable[[Bot], Any]] = {
    "usdSend": lambda bot: bot.usd_transfer(1.5, wallet(91).address),  # as given: checksum case
    "spotSend": lambda bot: bot.spot_transfer(2.0, SOMEONE, "PURR:0xc4bf3f870c0e9465323c0b6ed28096c2"),
    "withdraw3": lambda bot: bot.withdraw_from_bridge(10, SOMEONE),
    "usdClassTransfer": lambda bot: bot.usd_class_transfer(7, True),
    "sendAsset": lambda bot: bot.send_asset(SOMEONE, "", "spot", "USDC", 1),
    "approveAgent": lambda bot: bot.approve_agent("bot")[0],
    "approveAgent without a name": lambda bot: bot.approve_agent()[0],
    "approveBuilderFee": lambda bot: bot.approve_builder_fee(wallet(91).address, "0.001%"),
    "tokenDelegate": lambda bot: bot.token_delegate(SOMEONE, 10**8, False),
    "convertToMultiSigUser": lambda bot: bot.convert_to_multi_sig_user([SOMEONE, address(92)], 1),
    "userDexAbstraction": lambda bot: bot.user_dex_abstraction(SOMEONE, True),
    "userSetAbstraction": lambda bot: bot.user_set_abstraction(SOMEONE, "unifiedAccount"),
}
L1: dict[str, Callable[[Bot], Any]] = {
    "order": lambda bot: bot.order("ETH", True, 0.0147, 1670.1, LIMIT),
    "order cloid": lambda bot: bot.order("BTC", False, 0.1, 100_000, {"limit": {"tif": "Alo"}}, True, CLOID),
    "order trigger": lambda bot: bot.order("ETH", True, 100, 100, STOP),
    "order builder": lambda bot: bot.order(
        "PURR/USDC", True, 25, 0.5, LIMIT, cloid=CLOID, builder={"b": wallet(91).address, "f": 10}
    ),
    "order grouped": lambda bot: bot.bulk_orders(
        [
            {
                "coin": "ETH",
                "is_buy": i == 0,
                "sz": 1,
                "limit_px": 100 + i,
                "order_type": kind,
                "reduce_only": i > 0,
            }
            for i, kind in enumerate([LIMIT, STOP, STOP])
        ],
        grouping="normalTpsl",
    ),
    "order prioritised": lambda bot: bot.bulk_orders(
        [
            {
                "coin": "ETH",
                "is_buy": True,
                "sz": 1,
                "limit_px": 1,
                "order_type": LIMIT,
                "reduce_only": False,
            }
        ],
        grouping={"p": 50_000},
    ),
    "batchModify": lambda bot: bot.modify_order(12_345_678_901, "ETH", True, 1, 99, LIMIT, cloid=CLOID),
    "batchModify by cloid": lambda bot: bot.modify_order(CLOID, "ETH", True, 1, 99, STOP),
    "cancel": lambda bot: bot.bulk_cancel([{"coin": "ETH", "oid": 1}, {"coin": "BTC", "oid": 2**33}]),
    "cancelByCloid": lambda bot: bot.cancel_by_cloid("BTC", CLOID),
    "scheduleCancel": lambda bot: bot.schedule_cancel(NOW + 10_000),
    "scheduleCancel off": lambda bot: bot.schedule_cancel(None),
    "updateLeverage": lambda bot: bot.update_leverage(21, "ETH", False),
    "updateIsolatedMargin": lambda bot: bot.update_isolated_margin(-1.5, "ETH"),
    "setReferrer": lambda bot: bot.set_referrer("CODE"),
    "createSubAccount": lambda bot: bot.create_sub_account("älter"),
    "subAccountTransfer": lambda bot: bot.sub_account_transfer(SOMEONE, True, 10_000_000),
    "subAccountSpotTransfer": lambda bot: bot.sub_account_spot_transfer(SOMEONE, False, "PURR:0xc4", 1.0),
    "vaultTransfer": lambda bot: bot.vault_usd_transfer(SOMEONE, True, 5_000_000),
    "evmUserModify": lambda bot: bot.use_big_blocks(True),
    "agentEnableDexAbstraction": lambda bot: bot.agent_enable_dex_abstraction(),
    "agentSetAbstraction": lambda bot: bot.agent_set_abstraction("u"),
    "noop": lambda bot: bot.noop(NOW),
    "gossipPriorityBid": lambda bot: bot.gossip_priority_bid(0, "1.2.3.4", 100),
    "CSignerAction": lambda bot: bot.c_signer_unjail_self(),
    "CValidatorAction register": lambda bot: bot.c_validator_register(
        "1.2.3.4", "name", "what", False, 100, SOMEONE, True, 10**12
    ),
    "CValidatorAction change": lambda bot: bot.c_validator_change_profile(
        None, "name", None, True, None, None, None
    ),
    "CValidatorAction unregister": lambda bot: bot.c_validator_unregister(),
    "perpDeploy asset": lambda bot: bot.perp_deploy_register_asset(
        "dex",
        None,
        "dex:A",
        2,
        "1.5",
        10,
        True,
        {"fullName": "D", "collateralToken": 0, "oracleUpdater": None},
    ),
    "perpDeploy oracle": lambda bot: bot.perp_deploy_set_oracle("dex", {"A": "1"}, [{"A": "1"}], {"A": "1"}),
    "spotDeploy token": lambda bot: bot.spot_deploy_register_token("T", 0, 2, 10**6, "Token"),
    "spotDeploy genesis": lambda bot: bot.spot_deploy_genesis(1, "1000", True),
    "spotDeploy users": lambda bot: bot.spot_deploy_user_genesis(1, [(SOMEONE, "1")], [(0, "2")]),
    "spotDeploy freeze": lambda bot: bot.spot_deploy_freeze_user(1, SOMEONE, True),
    "spotDeploy quote": lambda bot: bot.spot_deploy_enable_quote_token(1),
    "spotDeploy pair": lambda bot: bot.spot_deploy_register_spot(1, 0),
    "spotDeploy liquidity": lambda bot: bot.spot_deploy_register_hyperliquidity(1, 1.0, 2.0, 3, None),
    "spotDeploy share": lambda bot: bot.spot_deploy_set_deployer_trading_fee_share(1, "50%"),
}
CALLS = L1 | USER_SIGNED


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    freeze_clock(monkeypatch)


@pytest.fixture(params=[True, False], ids=["mainnet", "testnet"])
def mainnet(request: pytest.FixtureRequest) -> bool:
    return request.param


@pytest.mark.parametrize("name", CALLS)
def test_the_key_is_recovered(name: str, mainnet: bool) -> None:
    for seed in range(3):
        request = CALLS[name](Bot(wallet(seed), mainnet=mainnet))
        assert recover(request, mainnet=mainnet) == address(seed)
        assert recover(request, mainnet=not mainnet) != address(seed)


@pytest.mark.parametrize("name", CALLS)
def test_the_order_of_keys_is_ours_to_find(name: str) -> None:
    request = CALLS[name](Bot(wallet(5), mainnet=True))
    for seed in range(10):
        assert recover(shuffled(request, Random(seed)), mainnet=True) == address(5)


@pytest.mark.parametrize("name", CALLS)
def test_any_change_gives_another_address(name: str) -> None:
    request = CALLS[name](Bot(wallet(6), mainnet=True))
    request["nonce"] += 1
    action = request["action"]
    if is_user_signed(action):  # the outer nonce is not covered: that is why the inner one must equal it
        assert recover(request, mainnet=True) == address(6)
        assert inner_nonce(action) == NOW
        action["time" if "time" in action else "nonce"] += 1
    assert recover(request, mainnet=True) != address(6)


def test_every_leaf_of_an_order_is_covered() -> None:
    request = L1["order builder"](Bot(wallet(7), mainnet=True))

    def leaves(value: Any) -> Any:
        for key, held in value.items() if isinstance(value, dict) else enumerate(value):
            if isinstance(held, dict | list):
                yield from leaves(held)
            else:
                yield value, key

    found = list(leaves(request["action"]))
    assert len(found) == 11
    for holder, key in found:
        before = holder[key]
        if isinstance(before, str):
            holder[key] = ("1" if before[0] != "1" else "2") + before[1:]
        else:
            holder[key] = (not before) if isinstance(before, bool) else before + 1
        assert recover(request, mainnet=True) != address(7), key
        holder[key] = before
    assert recover(request, mainnet=True) == address(7)


@pytest.mark.parametrize("expires", [None, NOW + 1])
@pytest.mark.parametrize("vault", [None, SOMEONE])
def test_vault_and_expiry_are_covered(vault: str | None, expires: int | None, mainnet: bool) -> None:
    bot = Bot(wallet(8), mainnet=mainnet, vault_address=vault)
    bot.set_expires_after(expires)
    request = bot.cancel("ETH", 1)
    assert recover(request, mainnet=mainnet) == address(8)
    if vault is not None:
        assert recover(request | {"vaultAddress": vault[2:].upper()}, mainnet=mainnet) == address(8)
        assert recover(request | {"vaultAddress": None}, mainnet=mainnet) != address(8)
    if expires is not None:
        assert recover(request | {"expiresAfter": expires + 1}, mainnet=mainnet) != address(8)
        assert recover(request | {"expiresAfter": None}, mainnet=mainnet) != address(8)
    bare = {key: held for key, held in request.items() if held is not None}
    assert recover(bare, mainnet=mainnet) == address(8)


def test_a_sub_account_in_an_amount() -> None:
    request = Bot(wallet(9), mainnet=True, vault_address=SOMEONE).usd_class_transfer(1, False)
    assert request["action"]["amount"] == f"1 subaccount:{SOMEONE}"
    assert recover(request, mainnet=True) == address(9)


ORDER = {"a": 1, "b": True, "p": "1", "s": "1", "r": False, "t": {"limit": {"tif": "Ioc"}}}


@pytest.mark.parametrize(
    "action",
    [
        {"type": "modify", "oid": 7, "order": ORDER},
        {"type": "modify", "oid": CLOID.to_raw(), "order": {**ORDER, "c": CLOID.to_raw()}, "a": True},
        {"type": "batchModify", "modifies": [{"oid": 7, "order": ORDER}], "a": True},
        {"type": "cancel", "cancels": [{"a": 0, "o": 1}], "f": True},
        {"type": "twapOrder", "twap": {"a": 0, "b": True, "s": "1", "r": False, "m": 30, "t": False}},
        {
            "type": "twapOrder",
            "twap": {"a": 0, "b": True, "s": "1", "r": False, "m": 30, "t": False},
            "details": {"t": {"p": "1", "a": True}, "s": None},
        },
        {"type": "twapCancel", "a": 0, "t": 5},
        {"type": "topUpIsolatedOnlyMargin", "asset": 0, "leverage": "1.5"},
        {"type": "borrowLend", "operation": "supply", "token": 0, "amount": None},
        {"type": "reserveRequestWeight", "weight": 100},
        {"type": "reserveRequestWeight", "weight": 100, "destination": SOMEONE},
        {"type": "subAccountModify", "subAccountUser": SOMEONE, "name": "n"},
        {"type": "createVault", "name": "n", "description": "d", "initialUsd": 10**8, "nonce": NOW},
        {
            "type": "vaultModify",
            "vaultAddress": SOMEONE,
            "allowDeposits": None,
            "alwaysCloseOnWithdraw": True,
        },
        {"type": "vaultDistribute", "vaultAddress": SOMEONE, "usd": 1},
        {"type": "spotUser", "toggleSpotDusting": {"optOut": True}},
        {"type": "registerReferrer", "code": "C"},
        {"type": "setDisplayName", "displayName": "D"},
        {"type": "claimRewards"},
        {
            "type": "agentSendAsset",
            "destination": SOMEONE,
            "sourceDex": "",
            "destinationDex": "spot",
            "token": "USDC",
            "amount": "1",
            "fromSubAccount": "",
            "nonce": NOW,
        },
    ],
    ids=lambda action: action["type"],
)
def test_l1_actions_the_client_lacks(action: dict[str, Any], mainnet: bool) -> None:
    signature = sdk.sign_l1_action(wallet(10), action, None, NOW, None, mainnet)
    request = body(action, signature)
    assert recover(request, mainnet=mainnet) == address(10)
    assert recover(shuffled(request, Random(1)), mainnet=mainnet) == address(10)


@pytest.mark.parametrize(
    ("action", "name", "rows"),
    [
        ({"type": "cDeposit", "wei": 5, "nonce": NOW}, "CDeposit", "wei:uint64 nonce:uint64"),
        ({"type": "cWithdraw", "wei": 2**64 - 1, "nonce": NOW}, "CWithdraw", "wei:uint64 nonce:uint64"),
        (
            {"type": "linkStakingUser", "user": SOMEONE, "isFinalize": True, "nonce": NOW},
            "LinkStakingUser",
            "user:address isFinalize:bool nonce:uint64",
        ),
        (
            {"type": "stakingLinkDisableTradingUser", "tradingUser": SOMEONE, "nonce": NOW},
            "StakingLinkDisableTradingUser",
            "tradingUser:address nonce:uint64",
        ),
        (
            {"type": "userPortfolioMargin", "user": SOMEONE, "enabled": False, "nonce": NOW},
            "UserPortfolioMargin",
            "user:address enabled:bool nonce:uint64",
        ),
        (
            {
                "type": "sendToEvmWithData",
                "token": "USDC",
                "amount": "1",
                "sourceDex": "",
                "destinationRecipient": SOMEONE,
                "addressEncoding": "hex",
                "destinationChainId": 42161,
                "gasLimit": 200_000,
                "data": "0x00ff",
                "nonce": NOW,
            },
            "SendToEvmWithData",
            "token:string amount:string sourceDex:string destinationRecipient:string addressEncoding:string"
            " destinationChainId:uint32 gasLimit:uint64 data:bytes nonce:uint64",
        ),
    ],
    ids=lambda value: value["type"] if isinstance(value, dict) else "",
)
def test_user_signed_actions_the_client_lacks(
    action: dict[str, Any], name: str, rows: str, mainnet: bool
) -> None:
    types = [{"name": "hyperliquidChain", "type": "string"}]
    types += [{"name": row.partition(":")[0], "type": row.partition(":")[2]} for row in rows.split()]
    action = dict(action)  # the SDK writes the chains into it
    signature = sdk.sign_user_signed_action(
        wallet(11), action, types, f"HyperliquidTransaction:{name}", mainnet
    )
    assert recover(body(action, signature), mainnet=mainnet) == address(11)


@pytest.mark.parametrize("chain", ["0x1", "0xa4b1", "0xA4B1", hex(2**256 - 1)])
def test_any_chain_may_sign(chain: str) -> None:
    action = {"type": "cDeposit", "signatureChainId": chain, "hyperliquidChain": "Mainnet"}
    action |= {"wei": 5, "nonce": NOW}
    rows = [("hyperliquidChain", "string"), ("wei", "uint64"), ("nonce", "uint64")]
    types = [{"name": name, "type": kind} for name, kind in rows]
    payload = sdk.user_signed_payload("HyperliquidTransaction:CDeposit", types, action)
    request = body(action, sdk.sign_inner(wallet(12), payload))
    assert recover(request, mainnet=True) == address(12)
    request["action"]["signatureChainId"] = "0x2"
    assert recover(request, mainnet=True) != address(12)
