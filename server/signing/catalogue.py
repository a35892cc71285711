"""The structures of the L1 actions, as data: field order, what is omitted when unset, where addresses are.

Sources: pages "Exchange endpoint", "Deploying HIP-1 and HIP-2 assets" and "Deploying HIP-3 assets", and what
the official SDK signs. One line for a new action; a type that is not here is hashed in its JSON's order.
A null stays a null, except in a field with a question mark: that one is omitted when it is null or false.
"""

from typing import Any

from server.signing.canonical import Fields, canonical, fields, lower
from server.signing.user_signed import STRUCTURES

_LIMIT = fields("tif")
_TRIGGER = fields("isMarket triggerPx tpsl")
_ORDER = fields("a b p s r t c?", t=fields("limit trigger", limit=_LIMIT, trigger=_TRIGGER))

_PROFILE = fields("node_ip name description delegations_disabled commission_bps signer", signer=lower)
_ASSET = fields("coin szDecimals oraclePx marginTableId onlyIsolated")
_SCHEMA = fields("fullName collateralToken oracleUpdater", oracleUpdater=lower)
_ASSET_OF_DEX = fields("maxGas assetRequest dex schema", assetRequest=_ASSET, schema=_SCHEMA)

L1: dict[str, Fields] = {
    # orders
    "order": fields("type orders grouping builder?", orders=_ORDER, builder=fields("b f", b=lower)),
    "modify": fields("type oid order a?", order=_ORDER),
    "batchModify": fields("type modifies a?", modifies=fields("oid order", order=_ORDER)),
    "cancel": fields("type cancels f?", cancels=fields("a o")),
    "cancelByCloid": fields("type cancels f?", cancels=fields("asset cloid")),
    "scheduleCancel": fields("type time?"),
    "twapOrder": fields(
        "type twap details?", twap=fields("a b s r m t"), details=fields("t s", t=fields("p a"))
    ),
    "twapCancel": fields("type a t"),
    "noop": fields("type"),
    # margin
    "updateLeverage": fields("type asset isCross leverage"),
    "updateIsolatedMargin": fields("type asset isBuy ntli"),
    "topUpIsolatedOnlyMargin": fields("type asset leverage"),
    "borrowLend": fields("type operation token amount"),
    "agentEnableDexAbstraction": fields("type"),
    "agentSetAbstraction": fields("type abstraction"),
    "hip3LiquidatorTransfer": fields("type dex ntl isDeposit"),
    # transfers, sub-accounts, vaults
    "agentSendAsset": fields(
        "type destination sourceDex destinationDex token amount fromSubAccount nonce",
        destination=lower,
        fromSubAccount=lower,
    ),
    "createSubAccount": fields("type name"),
    "subAccountModify": fields("type subAccountUser name", subAccountUser=lower),
    "subAccountTransfer": fields("type subAccountUser isDeposit usd", subAccountUser=lower),
    "subAccountSpotTransfer": fields("type subAccountUser isDeposit token amount", subAccountUser=lower),
    "createVault": fields("type name description initialUsd nonce"),
    "vaultModify": fields("type vaultAddress allowDeposits alwaysCloseOnWithdraw", vaultAddress=lower),
    "vaultTransfer": fields("type vaultAddress isDeposit usd", vaultAddress=lower),
    "vaultDistribute": fields("type vaultAddress usd", vaultAddress=lower),
    # the account itself
    "setReferrer": fields("type code"),
    "registerReferrer": fields("type code"),
    "setDisplayName": fields("type displayName"),
    "claimRewards": fields("type"),
    "spotUser": fields("type toggleSpotDusting"),
    "reserveRequestWeight": fields("type weight destination?", destination=lower),
    "evmUserModify": fields("type usingBigBlocks"),
    "gossipPriorityBid": fields("type slotId ip maxGas"),
    "authorizeAqav2Role": fields("type token role"),
    # deployers and validators: the variants whose order is known, any other one follows its JSON
    "finalizeEvmContract": fields("type token input"),
    "validatorL1Stream": fields("type riskFreeRate"),
    "CSignerAction": fields("type jailSelf unjailSelf"),
    "CValidatorAction": fields(
        "type register changeProfile unregister",
        register=fields("profile unjailed initial_wei", profile=_PROFILE),
        changeProfile=fields(
            "node_ip name description unjailed disable_delegations commission_bps signer", signer=lower
        ),
    ),
    "perpDeploy": fields(
        "type registerAsset setOracle haltTrading",
        registerAsset=_ASSET_OF_DEX,
        setOracle=fields("dex oraclePxs markPxs externalPerpPxs"),
        haltTrading=fields("coin isHalted"),
    ),
    "spotDeploy": fields(
        "type registerToken2 userGenesis freezeUser enableFreezePrivilege revokeFreezePrivilege"
        " enableQuoteToken genesis registerSpot registerHyperliquidity setDeployerTradingFeeShare",
        registerToken2=fields("spec maxGas fullName", spec=fields("name szDecimals weiDecimals")),
        userGenesis=fields("token userAndWei existingTokenAndWei"),
        freezeUser=fields("token user freeze", user=lower),
        genesis=fields("token maxSupply noHyperliquidity?"),
        registerHyperliquidity=fields("spot startPx orderSz nOrders nSeededLevels?"),
        setDeployerTradingFeeShare=fields("token share"),
    ),
}


def canonical_action(action: dict[str, Any]) -> Any:
    """Return an action in the form that is hashed; as it is if its type is unknown."""
    kind = action.get("type")
    structure = _ALL.get(kind) if isinstance(kind, str) else None
    return action if structure is None else canonical(action, structure)


_ALL = L1 | STRUCTURES
