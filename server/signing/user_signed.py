"""User-signed actions: those that move money out or give power away, readable in the wallet that signs.

Typed data of type `HyperliquidTransaction:<name>`, on the chain that the wallet was connected to (the
action's `signatureChainId`: any chain, it only has to be the one that was signed for). Sources: pages
"Exchange endpoint" and "Multi-sig", and what the official SDK signs.
"""

from collections.abc import Mapping
from typing import Any

from server.signing.canonical import Fields, fields, lower
from server.signing.errors import Malformed
from server.signing.typed_data import Structure, digest, transaction_domain

_TABLE: dict[str, tuple[str, str]] = {
    "usdSend": ("UsdSend", "string destination, string amount, uint64 time"),
    "spotSend": ("SpotSend", "string destination, string token, string amount, uint64 time"),
    "withdraw3": ("Withdraw", "string destination, string amount, uint64 time"),
    "usdClassTransfer": ("UsdClassTransfer", "string amount, bool toPerp, uint64 nonce"),
    "sendAsset": (
        "SendAsset",
        "string destination, string sourceDex, string destinationDex, string token, string amount,"
        " string fromSubAccount, uint64 nonce",
    ),
    "sendToEvmWithData": (
        "SendToEvmWithData",
        "string token, string amount, string sourceDex, string destinationRecipient, string addressEncoding,"
        " uint32 destinationChainId, uint64 gasLimit, bytes data, uint64 nonce",
    ),
    "approveAgent": ("ApproveAgent", "address agentAddress, string agentName, uint64 nonce"),
    "approveBuilderFee": ("ApproveBuilderFee", "string maxFeeRate, address builder, uint64 nonce"),
    "cDeposit": ("CDeposit", "uint64 wei, uint64 nonce"),
    "cWithdraw": ("CWithdraw", "uint64 wei, uint64 nonce"),
    "tokenDelegate": ("TokenDelegate", "address validator, uint64 wei, bool isUndelegate, uint64 nonce"),
    "linkStakingUser": ("LinkStakingUser", "address user, bool isFinalize, uint64 nonce"),
    "stakingLinkDisableTradingUser": (
        "StakingLinkDisableTradingUser",
        "address tradingUser, uint64 nonce",
    ),
    "convertToMultiSigUser": ("ConvertToMultiSigUser", "string signers, uint64 nonce"),
    "userDexAbstraction": ("UserDexAbstraction", "address user, bool enabled, uint64 nonce"),
    "userPortfolioMargin": ("UserPortfolioMargin", "address user, bool enabled, uint64 nonce"),
    "userSetAbstraction": ("UserSetAbstraction", "address user, string abstraction, uint64 nonce"),
}
"""Action type -> (name in the typed data, its fields after `hyperliquidChain`)."""


def _structure(name: str, rows: str) -> Structure:
    pairs = (row.split() for row in rows.split(","))
    return Structure(f"HyperliquidTransaction:{name}", *((field, kind) for kind, field in pairs))


_CHAIN = "string hyperliquidChain, "
_FOR_MULTI_SIG = _CHAIN + "address payloadMultiSigUser, address outerSigner, "
_ALONE = {kind: _structure(name, _CHAIN + rows) for kind, (name, rows) in _TABLE.items()}
_INNER = {kind: _structure(name, _FOR_MULTI_SIG + rows) for kind, (name, rows) in _TABLE.items()}
_OUTER = _structure("SendMultiSig", _CHAIN + "bytes32 multiSigActionHash, uint64 nonce")

STRUCTURES: dict[str, Fields] = {
    kind: fields(
        "type signatureChainId hyperliquidChain " + " ".join(field for field, _ in structure.rows[1:]),
        **{field: lower for field, solidity in structure.rows if solidity == "address"},
    )
    for kind, structure in _ALONE.items()
}
"""How they are hashed where they are the payload of a `multiSig`."""

_ABSTRACTIONS = {"i": "disabled", "u": "unifiedAccount", "p": "portfolioMargin"}


def is_user_signed(action: Mapping[str, Any]) -> bool:
    """Whether the account itself must sign it, never an agent. False for a `multiSig`, whatever is inside."""
    kind = action.get("type")
    return isinstance(kind, str) and kind in _TABLE


def inner_nonce(action: Mapping[str, Any]) -> int | None:
    """The nonce or time in a user-signed action, which must equal the request's. None where there is none.

    Looks into the payload of a `multiSig`.
    """
    if action.get("type") == "multiSig":
        payload = action.get("payload")
        inner = payload.get("action") if isinstance(payload, dict) else None
        action = inner if isinstance(inner, dict) else {}
    if not is_user_signed(action):
        return None
    nonce = action.get(_ALONE[action["type"]].rows[-1][0])  # the last field of each: `nonce` or `time`
    return nonce if type(nonce) is int else None


def user_digest(action: Mapping[str, Any], *, mainnet: bool) -> bytes:
    """What the account signs for an action of the table. Raises `Malformed`.

    The chain's name is this network's whatever the action says, as in the official SDK: an action that was
    signed for the other network recovers a stranger, as an L1 action does.
    """
    return _digest(_ALONE[action["type"]], _message(action, mainnet), action.get("signatureChainId"))


def inner_digest(action: Mapping[str, Any], user: str, outer_signer: str, *, mainnet: bool) -> bytes:
    """What each signer within a `multiSig` of `user` signs for an action of the table. Raises `Malformed`."""
    message = _message(action, mainnet)
    message |= {"payloadMultiSigUser": user, "outerSigner": outer_signer}
    abstraction = action.get("abstraction")
    if action["type"] == "userSetAbstraction" and isinstance(abstraction, str):
        # The payload has the short form (the official SDK puts it there), the signers signed the word.
        message["abstraction"] = _ABSTRACTIONS.get(abstraction, abstraction)
    return _digest(_INNER[action["type"]], message, action.get("signatureChainId"))


def outer_digest(signature_chain_id: object, action_hash: bytes, nonce: int, *, mainnet: bool) -> bytes:
    """What the sender of a `multiSig` signs; `action_hash` is that of the action. Raises `Malformed`."""
    message = {"hyperliquidChain": _network(mainnet), "multiSigActionHash": action_hash, "nonce": nonce}
    return _digest(_OUTER, message, signature_chain_id)


def _message(action: Mapping[str, Any], mainnet: bool) -> dict[str, Any]:
    if not isinstance(action.get("hyperliquidChain"), str):
        raise Malformed("hyperliquidChain: a string is needed")
    message = {**action, "hyperliquidChain": _network(mainnet)}
    if action["type"] == "approveAgent" and action.get("agentName") is None:
        message["agentName"] = ""  # an agent without a name is sent without the field, and signed with ""
    return message


def _network(mainnet: bool) -> str:
    return "Mainnet" if mainnet else "Testnet"


def _digest(structure: Structure, message: Mapping[str, Any], chain_id: object) -> bytes:
    if not isinstance(chain_id, str):
        raise Malformed("signatureChainId: a hex number is needed")
    return digest(transaction_domain(chain_id), structure.hash(message))
