"""`POST /exchange` up to the signature: the shape of a request. Sans I/O.

What fails to deserialise is a 422, before any signature is looked at. What a well-formed action is answered
with is the affair of a source that trades; where none does, every signer is unknown.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import orjson

from server.devnode.engine import shapes
from server.devnode.info import MALFORMED, Answer, address, is_natural


def answer(request: Mapping[str, Any], body: bytes) -> Answer:
    """Refuse a signed action where nobody trades. Raises nothing, whatever the shape."""
    if not deserialises(request):
        return MALFORMED
    text = f"User or API Wallet {_signer(body)} does not exist."
    return Answer(200, orjson.dumps({"status": "err", "response": text}))


def _signer(body: bytes) -> str:
    # The exchange names the address that it recovers from the signature. Here the bytes of the request stand
    # in for it: the same request names the same address.
    return "0x" + hashlib.sha256(body).hexdigest()[:40]


FREE_FORM = frozenset(
    {
        "CSignerAction", "CValidatorAction", "activateOutcomeDeployer", "agentEnableDexAbstraction",
        "agentSetAbstraction", "authorizeAqav2Role", "borrowLend", "cDeposit", "cWithdraw", "claimRewards",
        "convertToMultiSigUser", "createVault", "evmUserModify", "finalizeEvmContract", "gossipPriorityBid",
        "hip3LiquidatorTransfer", "linkStakingUser", "multiSig", "noop", "perpDeploy",
        "sendToEvmWithData", "setDisplayName", "spotDeploy", "spotUser",
        "stakingLinkDisableTradingUser", "tokenDelegate", "userDexAbstraction", "userOutcome",
        "userPortfolioMargin", "userSetAbstraction", "validatorL1Stream", "vaultDistribute", "vaultModify",
    }
)  # fmt: skip
"""The types of action without a row in `shapes`: nothing of their fields is looked at."""


def deserialises(request: Mapping[str, Any]) -> bool:
    """Has a request the shape of a signed action?"""
    signature, vault = request.get("signature"), request.get("vaultAddress")
    expires = request.get("expiresAfter")
    return (
        _is_action(request.get("action"))
        and is_natural(request.get("nonce"))
        and isinstance(signature, dict)
        and _is_word(signature.get("r"))
        and _is_word(signature.get("s"))
        and is_natural(signature.get("v"))
        # One common client sends the vault's address without its 0x, and the exchange takes it.
        and (vault is None or address(vault) is not None or address(f"0x{vault}") is not None)
        and (expires is None or is_natural(expires))
    )


def _is_action(action: Any) -> bool:
    return shapes.deserialises(action) and (action["type"] in shapes.ACTIONS or action["type"] in FREE_FORM)


def _is_word(value: object) -> bool:
    """A word of a signature: leading zeros may be trimmed."""
    return (
        isinstance(value, str)
        and value.startswith("0x")
        and len(value) <= 66
        and all(c in "0123456789abcdefABCDEF" for c in value[2:])
    )
