"""The official SDK as the other side: it signs, and what it would post is kept. No network, no clock."""

from random import Random
from typing import Any

import orjson
from eth_account import Account
from eth_account.signers.local import LocalAccount
from hyperliquid import exchange as sdk_exchange
from hyperliquid.exchange import Exchange
from hyperliquid.utils.constants import MAINNET_API_URL, TESTNET_API_URL

NOW = 1_790_000_000_000

META = {"universe": [{"name": "BTC", "szDecimals": 5}, {"name": "ETH", "szDecimals": 4}], "marginTables": []}
SPOT_META = {
    "tokens": [
        {"name": "USDC", "index": 0, "szDecimals": 8},
        {"name": "PURR", "index": 1, "szDecimals": 0},
    ],
    "universe": [{"name": "PURR/USDC", "index": 0, "tokens": [1, 0]}],
}


def wallet(seed: int) -> LocalAccount:
    """The same key for the same seed."""
    return Account.from_key(Random(seed).randbytes(32))


def address(seed: int) -> str:
    """The lower-case address of `wallet(seed)`."""
    return wallet(seed).address.lower()


class Bot(Exchange):
    """The SDK's client, whose `_post_action` sends nothing: every call returns the body as JSON has it."""

    def __init__(self, key: LocalAccount, *, mainnet: bool, vault_address: str | None = None) -> None:
        url = MAINNET_API_URL if mainnet else TESTNET_API_URL
        super().__init__(key, url, meta=META, spot_meta=SPOT_META, vault_address=vault_address)

    def post(self, url_path: str, payload: Any = None) -> Any:
        assert url_path == "/exchange"
        return orjson.loads(orjson.dumps(payload))


def freeze_clock(monkeypatch: Any) -> None:
    """Let the SDK's nonces be NOW."""
    monkeypatch.setattr(sdk_exchange, "get_timestamp_ms", lambda: NOW)


def body(action: dict[str, Any], signature: dict[str, Any], nonce: int = NOW, **more: Any) -> dict[str, Any]:
    """A request as it reaches a server, for what the SDK's client has no method for."""
    request = {"action": action, "nonce": nonce, "signature": signature, **more}
    return orjson.loads(orjson.dumps(request))


def shuffled(value: Any, random: Random) -> Any:
    """The same JSON with the keys of every object in another order."""
    if isinstance(value, dict):
        keys = list(value)
        random.shuffle(keys)
        return {key: shuffled(value[key], random) for key in keys}
    if isinstance(value, list):
        return [shuffled(item, random) for item in value]
    return value
