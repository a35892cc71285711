"""The upstream of the stories: a devnode without accounts of its own, whose truths are set one by one.

The truth of an account is one amount per dex, its `accountValue`: money comes from the faucet, and from there
to a builder dex or back to the bank as it does on the exchange. What is compared is the devnode's own answer.
Prices stay where they are, unless the options say otherwise.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

from hyperliquid.utils.signing import sign_usd_transfer_action

from server.devnode import Devnode, Limits
from server.devnode.info import InfoRequest, parse
from server.devnode.market import Exchange
from server.devnode.seen import Request
from server.devnode.subscriptions import Subscription
from tests.server.signing.sdk import wallet

BANK, TRADER = wallet(1), wallet(2)
FEED = "allDexsClearinghouseState"


class Upstream(Devnode):
    """`clock` is the exchange's own, seconds since 1970. No limits but `users_limit`; options as ever."""

    def __init__(self, clock: Callable[[], float], *, users_limit: int | None = None, **options: Any) -> None:
        limits = replace(Limits.off(), users=users_limit)
        born = {"accounts": 0, "faucet_usd": 0, "impersonation": True, "walk": False}
        super().__init__(**born | {"clock": clock, "limits": limits} | options)
        self._nonce = 0
        self._frames: dict[str, list[bytes]] = {}
        self._mistreat, self.faults.push = self.faults.push, self._noted  # type: ignore[method-assign]
        assert isinstance(self.source, Exchange)
        for key in (BANK, TRADER):
            self.source.fund(key.address, "1000000")

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def says(self, type_: str, **fields: str) -> bytes:
        """The body of an answer, as it is right now."""
        request = parse({"type": type_, **fields})
        assert isinstance(request, InfoRequest)
        return self.source.info(request, self.now_ms()).body

    # -- the truth -------------------------------------------------------------------------------------

    def state(self, user: str, dex: str = "") -> bytes:
        """What the exchange says right now."""
        return self.source.state(user, dex, self.now_ms()).encode()

    def value(self, user: str, dex: str = "") -> float:
        return float(json.loads(self.state(user, dex))["marginSummary"]["accountValue"])

    def change_quietly(self, user: str, value: float, dex: str = "") -> None:
        """The truth moves; nobody is told before the next push."""
        more = Decimal(str(value)) - Decimal(str(self.value(user, dex)))
        if more > 0:
            self.fund(user, str(more), quietly=True)
        if more and (dex or more < 0):
            to, where = (user, ("", dex)) if more > 0 else (BANK.address.lower(), (dex, ""))
            self._send(user, to, *where, str(abs(more)))
        assert self.value(user, dex) == value

    def set_state(self, user: str, value: float, dex: str = "") -> None:
        """The truth moves and is pushed at once, to those who follow the account."""
        self.change_quietly(user, value, dex)
        self.push(user)

    def _send(self, user: str, to: str, source: str, destination: str, amount: str) -> None:
        chain = {"signatureChainId": "0x66eee", "hyperliquidChain": "Testnet", "nonce": self.clock.now_ms()}
        what = {"type": "sendAsset", "token": "USDC", "amount": amount, "fromSubAccount": ""}
        where = {"destination": to, "sourceDex": source, "destinationDex": destination}
        assert self.impersonate(user, what | where | chain, quietly=True)["status"] == "ok"

    def transfer(self, user: str, usd: float) -> bytes:
        """A write that raises the account's value by so much, signed by the bank. No two are the same."""
        self._nonce = max(self._nonce + 1, self.clock.now_ms())
        action = {"type": "usdSend", "destination": user, "amount": str(usd), "time": self._nonce}
        signature = sign_usd_transfer_action(BANK, action, False)
        return json.dumps({"action": action, "nonce": self._nonce, "signature": signature}).encode()

    # -- what it saw and said --------------------------------------------------------------------------

    @property
    def requests(self) -> Sequence[Request]:
        return list(self.seen.requests)

    def calls(self, type_: str | None = None, path: str = "/info") -> int:
        """How many requests were read, all or of one type."""
        return sum(r.path == path and type_ in (None, r.type) for r in self.seen.requests)

    @property
    def writes(self) -> list[bytes]:
        return [request.body for request in self.seen.requests if request.path == "/exchange"]

    @property
    def messages(self) -> list[dict[str, Any]]:
        """What the replica said over the websocket."""
        return [json.loads(text) for text in self.seen.messages]

    @property
    def pushes(self) -> int:
        return self.stats.frames[FEED]

    def frames(self, user: str) -> list[bytes]:
        """The account's frames, as they were before any fault."""
        return self._frames.get(user, [])

    def _noted(self, to: object, subscription: Subscription, frame: str) -> Sequence[tuple[float, str]]:
        if subscription.kind == FEED:
            self._frames.setdefault(subscription.user or "", []).append(frame.encode())
        return self._mistreat(to, subscription, frame)
