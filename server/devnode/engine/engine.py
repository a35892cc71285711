"""The engine: signed actions and time in, responses and events out.

Sans I/O and deterministic: the same seed and the same calls give the same bytes. The mutable state is the
ground (state and history) and the journal of calls, from which another engine gets to the same state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from server.devnode.engine import (
    clock,
    order_actions,
    referrals,
    refusals,
    settings_actions,
    snapshots,
    transfers,
    twaps,
)
from server.devnode.engine.account import Account
from server.devnode.engine.events import Event
from server.devnode.engine.listing import Listing
from server.devnode.engine.makers import Makers, forget_looks, requote, set_price, visit
from server.devnode.engine.reads import Reads
from server.devnode.engine.refusals import Refused
from server.devnode.engine.state import Ground
from server.devnode.engine.units import exact, is_number
from server.devnode.markets import Markets

Response = dict[str, Any]
Handler = Callable[[Ground, Account, Mapping[str, Any]], Response]
Call = snapshots.Call

# Signed by the account itself, never by an agent: exchange.md section 4.
USER_SIGNED = frozenset(
    {
        "usdSend",
        "spotSend",
        "withdraw3",
        "usdClassTransfer",
        "sendAsset",
        "approveAgent",
        "approveBuilderFee",
        "userSetAbstraction",
        "userDexAbstraction",
    }
)
DEFAULT: Response = {"type": "default"}
# Accepted and without effect here.
_IDLE = (
    "noop",
    "setDisplayName",
    "evmUserModify",
    "spotUser",
    "userSetAbstraction",
    "userDexAbstraction",
    "agentSetAbstraction",
    "agentEnableDexAbstraction",
)


class Engine(Reads):
    """A local exchange.

    `faucet` is the micro-USD that an unknown signer is born with when it first acts; 0 refuses it, as the
    exchange does. Nonces are the affair of who verifies signatures: here they are only kept in the journal.
    """

    def __init__(
        self,
        *,
        seed: int = 1,
        markets: Markets | None = None,
        makers: Makers = Makers(),  # noqa: B008 - frozen, and the default is part of the interface
        faucet: int = 0,
    ) -> None:
        self.listing = Listing(markets or Markets())
        self.ground = Ground(self.listing, seed)
        super().__init__(self.ground, makers)
        self.journal: list[Call] = []
        self._faucet = faucet
        self._look: Callable[[int], None] = lambda asset: visit(self.ground, makers, asset)
        self._handlers: Mapping[str, Handler] = {
            "order": lambda g, account, action: order_actions.order(g, account, action, self._look),
            "modify": lambda g, account, action: order_actions.modify(g, account, action, self._look),
            "batchModify": lambda g, account, action: order_actions.batch_modify(
                g, account, action, self._look
            ),
            "cancel": order_actions.cancels,
            "cancelByCloid": order_actions.cancels,
            "twapOrder": lambda g, account, action: twaps.order(g, account, action, self._look),
            "twapCancel": twaps.cancel,
            "scheduleCancel": order_actions.schedule_cancel,
            "updateLeverage": settings_actions.update_leverage,
            "updateIsolatedMargin": settings_actions.update_isolated_margin,
            "topUpIsolatedOnlyMargin": settings_actions.top_up,
            "approveAgent": settings_actions.approve_agent,
            "approveBuilderFee": settings_actions.approve_builder_fee,
            "createSubAccount": settings_actions.create_sub_account,
            "subAccountModify": settings_actions.modify_sub_account,
            "setReferrer": referrals.set_referrer,
            "registerReferrer": referrals.register_referrer,
            "reserveRequestWeight": transfers.reserve_request_weight,
            "usdSend": transfers.usd_send,
            "spotSend": transfers.spot_send,
            "usdClassTransfer": transfers.usd_class_transfer,
            "sendAsset": transfers.send_asset,
            "agentSendAsset": transfers.agent_send_asset,
            "withdraw3": transfers.withdraw,
            "subAccountTransfer": transfers.sub_account_transfer,
            "subAccountSpotTransfer": transfers.sub_account_spot_transfer,
            **dict.fromkeys(_IDLE, lambda *_: DEFAULT),
        }

    def __repr__(self) -> str:
        return f"<Engine at {self.ground.state.now}, {self.ground!r}>"

    @property
    def now(self) -> int:
        """The time of the last block, ms. Never goes back."""
        return self.ground.state.now

    @property
    def events(self) -> list[Event]:
        """The log, from sequence number `ground.history.base` on."""
        return self.ground.history.events

    @property
    def seq(self) -> int:
        """The sequence number that the next event will have."""
        return self.ground.history.seq

    def events_since(self, seq: int) -> list[Event]:
        """The events from a sequence number on. Raises `LookupError` for events that were forgotten."""
        return self.ground.history.since(seq)

    # What changes the state. Every call is journalled.

    def apply(
        self,
        action: Mapping[str, Any],
        *,
        signer: str,
        vault_address: str | None = None,
        nonce: int = 0,
        now_ms: int,
    ) -> Response:
        """Execute a signed action in a block of `now_ms`. The answer is the body of an HTTP 200.

        The action must be well-formed: what does not deserialise is refused before, as HTTP 422.
        """
        self._note("apply", action, signer, vault_address, nonce, now_ms)
        self._tick(now_ms)
        self.ground.begin()
        try:
            return {"status": "ok", "response": self._apply(action, signer, vault_address)}
        except Refused as refused:
            return {"status": "err", "response": str(refused)}
        finally:
            self.ground.end()

    def _apply(self, action: Mapping[str, Any], signer: str, vault_address: str | None) -> Response:
        kind = action["type"]
        account = self._principal(signer.lower(), kind)
        if vault_address is not None and kind not in USER_SIGNED:
            vault = vault_address.lower()
            if vault not in account.subs:
                raise Refused(refusals.NO_VAULT.format(vault))
            account = self.ground.state.accounts[vault]
        handler = self._handlers.get(kind)
        if handler is None:
            if kind == "vaultTransfer":
                raise Refused(refusals.NO_VAULT.format(action["vaultAddress"].lower()))
            raise Refused(refusals.UNKNOWN_ACTION.format(kind))
        return handler(self.ground, account, action)

    def _principal(self, signer: str, kind: str) -> Account:
        """The account that a signature speaks for."""
        state = self.ground.state
        if kind not in USER_SIGNED and (master := state.agents.get(signer)) is not None:
            account = state.accounts[master]
            if any(
                a.address == signer and a.valid_until and a.valid_until < state.now
                for a in account.agents.values()
            ):
                raise Refused(refusals.NO_WALLET.format(signer))
            return account
        found = state.accounts.get(signer)
        if found is not None and not found.exempt:
            return found
        if self._faucet and signer not in state.agents and found is None:
            transfers.deposit(self.ground, signer, self._faucet)
            return state.accounts[signer]
        text = refusals.NO_DEPOSIT if kind in USER_SIGNED else refusals.NO_WALLET
        raise Refused(text.format(signer))

    def advance(self, now_ms: int) -> None:
        """A block without an action: everything that has come due by `now_ms` happens."""
        self._note("advance", now_ms)
        self._tick(now_ms)
        clock.block(self.ground, self._makers, self._look)

    def sleep(self, ms: int) -> None:
        """Let time pass in which nothing happens and nothing comes due, as after a revert."""
        self._note("sleep", ms)
        clock.sleep(self.ground, ms)

    def credit(self, address: str, usd: int, now_ms: int | None = None) -> None:
        """Put micro-USD into an account's perps, which is born if it is new."""
        self._note("credit", address, usd, now_ms)
        self._tick(now_ms)
        transfers.deposit(self.ground, address.lower(), usd)

    def credit_spot(self, address: str, token: str, wei: int, now_ms: int | None = None) -> None:
        """Put wei of a token into an account's spot balance. Raises `KeyError` for an unknown token."""
        self._note("credit_spot", address, token, wei, now_ms)
        self._tick(now_ms)
        found = self.listing.token(token)
        if found is None:
            raise KeyError(token)
        transfers.deposit_spot(self.ground, address.lower(), found, wei)

    def set_oracle(self, coin: str, px: str, now_ms: int | None = None) -> None:
        """Move a market's oracle, its mark and its makers. Raises `KeyError` or `ValueError`."""
        self._set_price("set_oracle", coin, px, now_ms, oracle=True)

    def set_mark(self, coin: str, px: str, now_ms: int | None = None) -> None:
        """Move a market's mark and its makers away from the oracle. Raises `KeyError` or `ValueError`."""
        self._set_price("set_mark", coin, px, now_ms, oracle=False)

    def _set_price(self, name: str, coin: str, px: str, now_ms: int | None, *, oracle: bool) -> None:
        inst = self.listing.by_coin[coin]
        ticks = exact(px, inst.px_decimals) if is_number(px) else None
        if not ticks:
            raise ValueError(f"{px} is no price of {coin}: at most {inst.px_decimals} decimals")
        self._note(name, coin, px, now_ms)
        self._tick(now_ms)
        set_price(self.ground, inst, ticks, oracle=oracle)
        requote(self.ground, self._makers)

    def _note(self, name: str, *arguments: Any) -> None:
        self.journal.append((name, arguments))

    def _tick(self, now_ms: int | None) -> None:
        state = self.ground.state
        if now_ms is not None and now_ms > state.now:
            state.now = now_ms

    def forget(self, before: int) -> None:
        """Drop the events before a sequence number. Fills, orders, ledgers stay readable per account."""
        self._note("forget", before)
        self.ground.history.forget(before)

    # Going back, and proving where we are

    def snapshot(self) -> snapshots.Snapshot:
        return snapshots.take(self.ground, self.journal)

    def revert(self, snapshot: snapshots.Snapshot) -> None:
        """Go back to a snapshot, which stays good for another time."""
        self.journal = snapshots.put_back(self.ground, snapshot)

    def digest(self) -> str:
        """A hash over everything, the log of events included. Equal exactly where the states are."""
        forget_looks(self.ground, self._makers)
        return snapshots.digest(self.ground)

    def replay(self, journal: Iterable[Call]) -> None:
        """Make the calls of another engine's journal. On a fresh engine of its seed: its state again."""
        for name, arguments in journal:
            if name == "apply":
                action, signer, vault, nonce, now_ms = arguments
                self.apply(action, signer=signer, vault_address=vault, nonce=nonce, now_ms=now_ms)
            else:
                getattr(self, name)(*arguments)
