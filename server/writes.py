"""What a forwarded action changes, and whose: which remembered answers it makes old. Pure.

Source: spec/exchange.md, sections 4 (the actions), 5 (who the account is) and 7 (what each changes).
"""

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

import orjson

from replica import LISTINGS, OUTCOMES
from server.capabilities import Writes, tag
from server.signing import SigningError, named_accounts, recover

_TRADE = (Writes.TRADE,)
_LEVERAGE = (Writes.LEVERAGE,)
_MONEY = (Writes.MONEY,)
_ACCOUNT = (Writes.ACCOUNT,)
_STAKING = (Writes.STAKING,)

EFFECTS: Mapping[str, tuple[Writes, ...]] = MappingProxyType(
    {
        "noop": (),
        **dict.fromkeys(
            (
                "order",
                "modify",
                "batchModify",
                "cancel",
                "cancelByCloid",
                "scheduleCancel",
                "twapOrder",
                "twapCancel",
            ),
            _TRADE,
        ),
        **dict.fromkeys(("updateLeverage", "updateIsolatedMargin", "topUpIsolatedOnlyMargin"), _LEVERAGE),
        **dict.fromkeys(
            (
                "usdSend",
                "spotSend",
                "sendAsset",
                "agentSendAsset",
                "sendToEvmWithData",
                "usdClassTransfer",
                "withdraw3",
                "vaultTransfer",
                "vaultDistribute",
                "subAccountTransfer",
                "subAccountSpotTransfer",
                "borrowLend",
                "hip3LiquidatorTransfer",
                "userOutcome",
            ),
            _MONEY,
        ),
        **dict.fromkeys(
            (
                "approveAgent",
                "approveBuilderFee",
                "setReferrer",
                "registerReferrer",
                "setDisplayName",
                "spotUser",
                "evmUserModify",
                "reserveRequestWeight",
                "createSubAccount",
                "subAccountModify",
                "vaultModify",
                "userDexAbstraction",
                "userSetAbstraction",
                "userPortfolioMargin",
                "agentEnableDexAbstraction",
                "agentSetAbstraction",
                "convertToMultiSigUser",
            ),
            _ACCOUNT,
        ),
        **dict.fromkeys(("createVault", "claimRewards"), (Writes.MONEY, Writes.ACCOUNT)),
        **dict.fromkeys(
            (
                "cDeposit",
                "cWithdraw",
                "tokenDelegate",
                "linkStakingUser",
                "stakingLinkDisableTradingUser",
                "CSignerAction",
                "CValidatorAction",
            ),
            _STAKING,
        ),
    }
)
"""Action type -> what it does to the accounts it names. Any other type may do anything."""

DEPLOYS = frozenset({"perpDeploy", "spotDeploy", "activateOutcomeDeployer", "userOutcome"})
"""What may change the lists of coins, dexes and outcomes."""


class Agents:
    """For which account an agent signs, as far as it was seen passing by; `limit` of them.

    Only makes answers old too soon where it is wrong: an agent that was revoked still counts as one.
    """

    def __init__(self, limit: int = 10_000) -> None:
        self._limit = limit
        self._masters: OrderedDict[str, str] = OrderedDict()

    def master_of(self, agent: str) -> str | None:
        return self._masters.get(agent)

    def learn(self, agent: str, master: str) -> None:
        self._masters[agent.lower()] = master.lower()
        self._masters.move_to_end(agent.lower())
        if len(self._masters) > self._limit:
            self._masters.popitem(last=False)

    def learn_from(self, type_: str, accounts: tuple[str, ...], body: bytes) -> None:
        """Look into an answer of `userRole` or `extraAgents` about these accounts."""
        if type_ not in ("userRole", "extraAgents"):
            return
        try:
            answer = orjson.loads(body)
        except orjson.JSONDecodeError:
            return
        for account in accounts:
            if type_ == "userRole" and isinstance(answer, dict) and answer.get("role") == "agent":
                data = answer.get("data")
                if isinstance(data, dict) and isinstance(master := data.get("user"), str):
                    self.learn(account, master)
            elif type_ == "extraAgents" and isinstance(answer, list):
                for row in answer:
                    if isinstance(row, dict) and isinstance(agent := row.get("address"), str):
                        self.learn(agent, account)

    def __len__(self) -> int:
        return len(self._masters)


def changed_by(request: Mapping[str, Any], agents: Agents, *, mainnet: bool) -> Iterator[str]:
    """The tags of all remembered answers that a write may have changed; `request` is its decoded body.

    Whom it is about: the accounts it names, and who signed it, or for whom. What can't be recovered is left
    out: the client that wrote is held to its write in any case.
    """
    action = request["action"]
    accounts = set(named_accounts(action, request.get("vaultAddress")))
    type_ = _type_of(action)
    try:
        signer = recover(request, mainnet=mainnet)
    except SigningError:
        pass
    else:
        accounts.add(signer)
        if (master := agents.master_of(signer)) is not None:
            accounts.add(master)
        agent = action.get("agentAddress")
        if type_ == "approveAgent" and isinstance(agent, str):
            agents.learn(agent, signer)
    if type_ in DEPLOYS:
        yield from (LISTINGS, OUTCOMES)
    for what in EFFECTS.get(type_, tuple(Writes)):
        for account in accounts:
            yield tag(what, account)


def _type_of(action: Mapping[str, Any]) -> str:
    if action.get("type") == "multiSig":
        payload = action.get("payload")
        inner = payload.get("action") if isinstance(payload, dict) else None
        return str(inner.get("type")) if isinstance(inner, dict) else ""
    return str(action.get("type"))
