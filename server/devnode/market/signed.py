"""Signed actions: who signed, is it fresh, and what the engine says to it.

An action of the user-signed kind names its network. Of all others the signature alone tells: it is read for
this devnode's own network, and where nobody known signed it so, for the other one, whose accounts are taken
as well. Only somebody known can be found that way: a stranger is always one of the own network.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any

from server.devnode.engine import Engine
from server.devnode.market.allowance import Allowance
from server.signing import InvalidNonce, Malformed, Nonces, SigningError, inner_nonce, is_user_signed, recover

EXPIRED = "Action already expired"
NONCE_MISMATCH = "Invalid nonce: {} in the action, {} outside"  # (ours)
CHAINS = ("testnet", "mainnet")
Response = Mapping[str, Any]


def is_known(engine: Engine, signer: str) -> bool:
    """Is it an account, or an agent of one?"""
    state = engine.ground.state
    return signer in state.accounts or signer in state.agents


def error(text: str) -> dict[str, Any]:
    return {"status": "err", "response": text}


class Signed:
    """The mutable state is the nonces, and how many actions each account has sent.

    Times are given in ms. `wall_ms` is the clock that clients live by, which `/dev/advance` does not move:
    a nonce is fresh by either of the two.
    """

    def __init__(
        self, *, chain: str, has_faucet: bool, wall_ms: Callable[[], int], free_actions: int | None = None
    ) -> None:
        if chain not in CHAINS:
            raise ValueError(f"chain is testnet or mainnet, not {chain[:40]!r}")
        self.chain = chain
        self.has_faucet = has_faucet
        self.allowance = Allowance(free_actions)
        self.actors: tuple[str, ...] = ()  # the accounts of the last action
        self._wall_ms = wall_ms
        self._nonces = Nonces()

    def act(self, engine: Engine, request: Mapping[str, Any], now_ms: int) -> Response | None:
        """The body of a 200, or None for what does not deserialise after all."""
        action = request["action"]
        try:
            signer = self._signer(engine, request)
        except Malformed:
            return None
        except SigningError as wrong:
            return error(str(wrong))
        nonce = request["nonce"]
        if is_known(engine, signer) or self.has_faucet:
            inner = inner_nonce(action)
            if inner is not None and inner != nonce:
                return error(NONCE_MISMATCH.format(inner, nonce))
            try:
                self._use(signer, nonce, now_ms)
            except InvalidNonce as refusal:
                return error(str(refusal))
            expires = request.get("expiresAfter")
            if expires is not None and not is_user_signed(action) and expires < now_ms:
                self.allowance.expired(engine.ground.state.agents.get(signer, signer), action)
                return error(EXPIRED)
        vault = request.get("vaultAddress")
        if vault is not None and not vault.startswith("0x"):
            vault = f"0x{vault}"
        return self.execute(engine, action, signer, vault, nonce, now_ms)

    def execute(
        self, engine: Engine, action: dict[str, Any], signer: str, vault: str | None, nonce: int, now_ms: int
    ) -> Response:
        """Let the engine act for a signer who is proved, or impersonated."""
        account = engine.ground.state.agents.get(signer, signer)
        self.actors = (account, vault.lower()) if vault else (account,)
        user = self.actors[-1]
        refusal = self.allowance.take(user, action, engine.volume(user), now_ms, engine.reserved(user))
        if refusal is not None:
            return error(refusal)
        return engine.apply(action, signer=signer, vault_address=vault, nonce=nonce, now_ms=now_ms)

    def snapshot(self) -> object:
        return deepcopy(self._nonces), self.allowance.snapshot()

    def revert(self, snapshot: Any) -> None:
        nonces, allowance = snapshot
        self._nonces = deepcopy(nonces)
        self.allowance.revert(allowance)

    def _signer(self, engine: Engine, request: Mapping[str, Any]) -> str:
        action, own = request["action"], self.chain == "mainnet"
        if is_user_signed(action):
            return recover(request, mainnet=action.get("hyperliquidChain") == "Mainnet")
        signer = recover(request, mainnet=own)
        if not is_known(engine, signer):
            other = recover(request, mainnet=not own)
            if is_known(engine, other):
                return other
        return signer

    def _use(self, signer: str, nonce: int, now_ms: int) -> None:
        try:
            self._nonces.use(signer, nonce, now_ms)
        except InvalidNonce as refusal:
            if refusal.bound is None:
                raise
            try:
                self._nonces.use(signer, nonce, self._wall_ms())
            except InvalidNonce:
                raise refusal from None
