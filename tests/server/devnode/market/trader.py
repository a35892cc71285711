"""A trader who signs with the official SDK's functions and posts to a devnode over HTTP."""

from typing import Any

from hyperliquid.utils.signing import sign_l1_action, sign_usd_transfer_action

from server.devnode import Devnode
from tests.server.devnode.client import http
from tests.server.signing.sdk import wallet

BTC, ETH, SOL, PURR = 0, 1, 4, 10_000


def row(asset: int, is_buy: bool, px: str, sz: str, tif: str = "Gtc", **more: Any) -> dict[str, Any]:
    return {"a": asset, "b": is_buy, "p": px, "s": sz, "r": False, "t": {"limit": {"tif": tif}}, **more}


class Trader:
    """`seed` makes the key; `chain` is what it signs for."""

    def __init__(self, node: Devnode, seed: int = 1, *, mainnet: bool = False) -> None:
        self.node = node
        self.key = wallet(seed)
        self.address = self.key.address.lower()
        self.mainnet = mainnet
        self._nonce = node.clock.now_ms()

    def nonce(self) -> int:
        self._nonce += 1
        return self._nonce

    def signed(
        self,
        action: dict[str, Any],
        vault: str | None = None,
        expires: int | None = None,
        nonce: int | None = None,
    ) -> dict[str, Any]:
        nonce = self.nonce() if nonce is None else nonce
        signature = sign_l1_action(self.key, action, vault, nonce, expires, self.mainnet)
        return {
            "action": action,
            "nonce": nonce,
            "signature": signature,
            "vaultAddress": vault,
            "expiresAfter": expires,
        }

    async def send(self, action: dict[str, Any], **more: Any) -> Any:
        """What the exchange says to an L1 action."""
        reply = await http(self.node.port, self.signed(action, **more), path="/exchange")
        assert reply.status == 200, reply
        return reply.json

    async def order(self, *rows: dict[str, Any], **more: Any) -> Any:
        """The statuses of some orders, or the text of their refusal."""
        answer = await self.send({"type": "order", "orders": list(rows), "grouping": "na"}, **more)
        said = answer["response"]
        return said if isinstance(said, str) else said["data"]["statuses"]

    async def buy(self, px: str, sz: str, asset: int = BTC, **more: Any) -> Any:
        return (await self.order(row(asset, True, px, sz, **more)))[0]

    async def sell(self, px: str, sz: str, asset: int = BTC, **more: Any) -> Any:
        return (await self.order(row(asset, False, px, sz, **more)))[0]

    async def usd_send(self, to: str, amount: str) -> Any:
        nonce = self.nonce()
        action = {"type": "usdSend", "destination": to, "amount": amount, "time": nonce}
        signature = sign_usd_transfer_action(self.key, action, self.mainnet)
        body = {"action": action, "nonce": nonce, "signature": signature}
        return (await http(self.node.port, body, path="/exchange")).json

    async def ask(self, kind: str, **fields: Any) -> Any:
        """`/info` about this trader."""
        return (await http(self.node.port, {"type": kind, "user": self.address, **fields})).json
