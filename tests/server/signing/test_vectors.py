"""Signatures made by others: the tests of the official Python and Rust SDKs and of nktkas' TypeScript one."""

import json
from pathlib import Path
from typing import Any

import pytest

from server.signing import recover
from server.signing.catalogue import canonical_action
from server.signing.l1 import connection_id
from tests.server.signing.sdk import body

KEY_0123 = "0x14791697260e4c9a71f18484c9f997b308e59325"
"""The address of the key 0x0123456789…0123, with which the official SDKs test."""

RUST = "0xcd49bbac6e85fdeb167eb7ca41a945d2b8758f6f"


def order(a: int, p: str, s: str, t: dict[str, Any], **more: Any) -> dict[str, Any]:
    row = {"a": a, "b": True, "p": p, "s": s, "r": False, "t": t, **more}
    return {"type": "order", "orders": [row], "grouping": "na"}


def test_the_hash_of_an_action_seen_in_production() -> None:
    action = order(4, "1670.1", "0.0147", {"limit": {"tif": "Ioc"}})
    hashed = connection_id(canonical_action(action), 1677777606040, None, None)
    assert hashed.hex() == "0fcbeda5ae3c4950a548021552a4fea2226858c4453571bf3f24ba017eac2908"


@pytest.mark.parametrize(
    ("action", "vault", "mainnet", "testnet"),
    [
        (
            {"type": "dummy", "num": 100_000_000_000},
            None,
            # r without its leading zero
            (
                "0x53749d5b30552aeb2fca34b530185976545bb22d0b3ce6f62e31be961a59298",
                "0x755c40ba9bf05223521753995abb2f73ab3229be8ec921f350cb447e384d8ed8",
                27,
            ),
            (
                "0x542af61ef1f429707e3c76c5293c80d01f74ef853e34b76efffcb57e574f9510",
                "0x17b8b32f086e8cdede991f1e2c529f5dd5297cbe8128500e00cbaf766204a613",
                28,
            ),
        ),
        (
            {"type": "dummy", "num": 100_000_000_000},
            "0x1719884eb866cb12b2287399b15f7db5e7d775ea",
            # two zero bytes short
            (
                "0x3c548db75e479f8012acf3000ca3a6b05606bc2ec0c29c50c515066a326239",
                "0x4d402be7396ce74fbba3795769cda45aec00dc3125a984f2a9f23177b190da2c",
                28,
            ),
            (
                "0xe281d2fb5c6e25ca01601f878e4d69c965bb598b88fac58e475dd1f5e56c362b",
                "0x7ddad27e9a238d045c035bc606349d075d5c5cd00a6cd1da23ab5c39d4ef0f60",
                27,
            ),
        ),
        (
            order(1, "100", "100", {"limit": {"tif": "Gtc"}}, c="0x00000000000000000000000000000001"),
            None,
            (
                "0x41ae18e8239a56cacbc5dad94d45d0b747e5da11ad564077fcac71277a946e3",
                "0x3c61f667e747404fe7eea8f90ab0e76cc12ce60270438b2058324681a00116da",
                27,
            ),
            (
                "0xeba0664bed2676fc4e5a743bf89e5c7501aa6d870bdb9446e122c9466c5cd16d",
                "0x7f3e74825c9114bc59086f1eebea2928c190fdfbfde144827cb02b85bbe90988",
                28,
            ),
        ),
        (
            order(1, "100", "100", {"trigger": {"isMarket": True, "triggerPx": "103", "tpsl": "sl"}}),
            None,
            (
                "0x98343f2b5ae8e26bb2587daad3863bc70d8792b09af1841b6fdd530a2065a3f9",
                "0x6b5bb6bb0633b710aa22b721dd9dee6d083646a5f8e581a20b545be6c1feb405",
                27,
            ),
            (
                "0x971c554d917c44e0e1b6cc45d8f9404f32172a9d3b3566262347d0302896a2e4",
                "0x206257b104788f80450f8e786c329daa589aa0b32ba96948201ae556d5637eac",
                28,
            ),
        ),
    ],
)
def test_l1_actions_of_the_official_sdk(
    action: dict[str, Any], vault: str | None, mainnet: tuple[str, str, int], testnet: tuple[str, str, int]
) -> None:
    for is_mainnet, (r, s, v) in ((True, mainnet), (False, testnet)):
        request = body(action, {"r": r, "s": s, "v": v}, nonce=0, vaultAddress=vault, expiresAfter=None)
        assert recover(request, mainnet=is_mainnet) == KEY_0123
        assert recover(request, mainnet=not is_mainnet) != KEY_0123


@pytest.mark.parametrize(
    ("action", "signature", "mainnet", "address"),
    [
        (
            {
                "type": "usdSend",
                "destination": "0x5e9ee1089755c3435139848e47e6635505d5a13a",
                "amount": "1",
                "time": 1687816341423,
            },
            (
                "0x637b37dd731507cdd24f46532ca8ba6eec616952c56218baeff04144e4a77073",
                "0x11a6a24900e6e314136d2592e2f8d502cd89b7c15b198e1bee043c9589f9fad7",
                27,
            ),
            False,
            KEY_0123,
        ),
        (
            {  # of the Rust SDK: the destination is a string, its case is signed
                "type": "withdraw3",
                "destination": "0x0D1d9635D0640821d15e323ac8AdADfA9c111414",
                "amount": "1",
                "time": 1690393044548,
            },
            (
                "0xb3172e33d2262dac2b4cb135ce3c167fda55dafa6c62213564ab728b9f9ba76b",
                "0x769a938e9f6d603dae7154c83bf5a4c3ebab81779dc2db25463a3ed663c82ae4",
                28,
            ),
            False,
            RUST,
        ),
        (
            {
                "type": "approveBuilderFee",
                "maxFeeRate": "0.001%",
                "builder": "0x1234567890123456789012345678901234567890",
                "nonce": 1583838,
            },
            (
                "0x343c9078af7c3d6683abefd0ca3b2960de5b669b716863e6dc49090853a4a3cd",
                "0x6c016301239461091a8ca3ea5ac783362526c4d9e9e624ffc563aea93d6ac239",
                27,
            ),
            True,
            RUST,
        ),
    ],
    ids=lambda value: value["type"] if isinstance(value, dict) else "",
)
def test_user_signed_actions_of_the_official_sdks(
    action: dict[str, Any], signature: tuple[str, str, int], mainnet: bool, address: str
) -> None:
    r, s, v = signature
    action = {
        **action,
        "signatureChainId": "0x66eee",
        "hyperliquidChain": "Mainnet" if mainnet else "Testnet",
    }
    request = body(action, {"r": r, "s": s, "v": v})
    assert recover(request, mainnet=mainnet) == address
    assert recover(request, mainnet=not mainnet) != address


def vectors(recorded_dir: Path, name: str) -> Any:
    path = recorded_dir / "exchange" / f"signing_vectors_{name}.json"
    if not path.is_file():
        pytest.skip(f"no {path.name} among the recorded payloads: {path.parent}")
    return json.loads(path.read_text("utf-8"))


@pytest.mark.recorded
def test_collected_l1_vectors(recorded_dir: Path) -> None:
    for vector in vectors(recorded_dir, "l1_a"):
        vault, expires = vector["vaultAddress"], vector["expiresAfter"]
        hashed = connection_id(canonical_action(vector["action"]), vector["nonce"], vault, expires)
        assert "0x" + hashed.hex() == vector["connectionId"], vector["name"]
        for mainnet, signature in (
            (True, vector["signature_mainnet"]),
            (False, vector["signature_testnet"]),
        ):
            if signature is not None:
                request = {**vector, "signature": signature}
                assert recover(request, mainnet=mainnet) == vector["address"], vector["name"]


@pytest.mark.recorded
def test_collected_user_signed_vectors(recorded_dir: Path) -> None:
    for vector in vectors(recorded_dir, "user_signed"):
        message = vector["message"]
        kind = vector["name"].partition("_")[0]
        action = {"type": kind, "signatureChainId": vector["signatureChainId"], **message}
        request = {"action": action, "signature": vector["signature"]}
        mainnet = message["hyperliquidChain"] == "Mainnet"
        assert recover(request, mainnet=mainnet) == vector["address"], vector["name"]
