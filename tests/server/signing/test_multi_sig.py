"""Both layers of a multi-sig action as the official SDK makes them."""

from random import Random
from typing import Any

import pytest
from hyperliquid.utils import signing as sdk

from server.signing import Malformed, Unrecoverable, inner_nonce, is_user_signed, recover, recover_inner
from tests.server.signing.sdk import NOW, Bot, address, freeze_clock, shuffled, wallet

USER = wallet(50).address  # checksum case: the SDK lowers it
SENDER = wallet(51)
SIGNERS = [wallet(51), wallet(52), wallet(53)]
ADDRESSES = tuple(address(seed) for seed in (51, 52, 53))

ORDER = {"a": 1, "b": True, "p": "1", "s": "1", "r": False, "t": {"limit": {"tif": "Ioc"}}}
L1 = {
    "order": {"type": "order", "orders": [ORDER], "grouping": "na"},
    "noop": {"type": "noop"},
    "unknown": {"type": "notYetInvented", "b": 1, "a": None},
}
USER_SIGNED = {
    "usdSend": (
        {"destination": address(54), "amount": "1", "time": NOW},
        sdk.USD_SEND_SIGN_TYPES,
        "UsdSend",
    ),
    "userSetAbstraction": (
        {"user": address(50), "abstraction": "unifiedAccount", "nonce": NOW},
        sdk.USER_SET_ABSTRACTION_SIGN_TYPES,
        "UserSetAbstraction",
    ),
    "convertToMultiSigUser": (
        {"signers": "null", "nonce": NOW},
        sdk.CONVERT_TO_MULTI_SIG_USER_SIGN_TYPES,
        "ConvertToMultiSigUser",
    ),
}


def l1(name: str, *, mainnet: bool, vault: str | None = None, expires: int | None = None) -> Any:
    action = L1[name]
    signatures = [
        sdk.sign_multi_sig_l1_action_payload(
            signer, action, mainnet, vault, NOW, expires, USER, SENDER.address
        )
        for signer in SIGNERS
    ]
    bot = Bot(SENDER, mainnet=mainnet, vault_address=vault)
    bot.set_expires_after(expires)
    return bot.multi_sig(USER, action, signatures, NOW, vault)


def user_signed(name: str, *, mainnet: bool) -> Any:
    rest, types, primary = USER_SIGNED[name]
    action = {
        "type": name,
        "signatureChainId": "0x66eee",
        "hyperliquidChain": "Mainnet" if mainnet else "Testnet",
        **rest,
    }
    primary = f"HyperliquidTransaction:{primary}"
    signatures = [
        sdk.sign_multi_sig_user_signed_action_payload(
            signer, action, mainnet, types, primary, USER, SENDER.address
        )
        for signer in SIGNERS
    ]
    return Bot(SENDER, mainnet=mainnet).multi_sig(USER, action, signatures, NOW)


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    freeze_clock(monkeypatch)


@pytest.mark.parametrize("mainnet", [True, False])
@pytest.mark.parametrize("name", L1)
def test_l1(name: str, mainnet: bool) -> None:
    request = l1(name, mainnet=mainnet)
    assert recover(request, mainnet=mainnet) == address(51)
    assert recover_inner(request, mainnet=mainnet) == ADDRESSES
    assert recover(request, mainnet=not mainnet) != address(51)
    assert not set(recover_inner(request, mainnet=not mainnet)) & set(ADDRESSES)
    assert not is_user_signed(request["action"])
    assert inner_nonce(request["action"]) is None


def test_l1_for_a_vault_until_a_time() -> None:
    request = l1("order", mainnet=True, vault=address(60), expires=NOW + 5)
    assert recover(request, mainnet=True) == address(51)
    assert recover_inner(request, mainnet=True) == ADDRESSES
    for change in ({"vaultAddress": None}, {"expiresAfter": None}, {"nonce": NOW + 1}):
        assert recover(request | change, mainnet=True) != address(51)
        assert not set(recover_inner(request | change, mainnet=True)) & set(ADDRESSES)


@pytest.mark.parametrize("mainnet", [True, False])
@pytest.mark.parametrize("name", USER_SIGNED)
def test_user_signed(name: str, mainnet: bool) -> None:
    request = user_signed(name, mainnet=mainnet)
    assert recover(request, mainnet=mainnet) == address(51)
    assert recover_inner(request, mainnet=mainnet) == ADDRESSES
    assert not set(recover_inner(request, mainnet=not mainnet)) & set(ADDRESSES)
    assert not is_user_signed(request["action"])
    assert inner_nonce(request["action"]) == NOW


@pytest.mark.parametrize(
    "request_", [l1("order", mainnet=True), user_signed("usdSend", mainnet=True)], ids=["l1", "user-signed"]
)
def test_the_order_of_keys_and_zeros_in_front_do_not_matter(request_: Any) -> None:
    for seed in range(5):
        other = shuffled(request_, Random(seed))
        for signature in other["action"]["signatures"]:
            for word in ("r", "s"):  # the exchange hashes them trimmed, however they were sent
                signature[word] = "0x" + signature[word][2:].zfill(64).upper()
        assert recover(other, mainnet=True) == address(51)
        assert recover_inner(other, mainnet=True) == ADDRESSES


def test_what_the_sender_covers() -> None:
    request = l1("order", mainnet=True)
    request["action"]["signatures"].pop()
    assert recover(request, mainnet=True) != address(51)
    assert recover_inner(request, mainnet=True) == ADDRESSES[:2]


@pytest.mark.parametrize(
    ("path", "value", "error"),
    [
        (("signatures",), None, Malformed),
        (("signatures",), [None], Malformed),
        (("signatures",), [{"r": "0x1", "s": "0x1"}], Malformed),
        (("signatures",), [{"r": 1, "s": "0x1", "v": 27}], Unrecoverable),
        (("signatureChainId",), None, Malformed),
        (("signatureChainId",), "0xfog", Malformed),
        (("payload",), [], Malformed),
        (("payload", "multiSigUser"), "0x12", Malformed),
        (("payload", "outerSigner"), None, Malformed),
        (("payload", "action"), "order", Malformed),
    ],
)
def test_malformed(path: tuple[str, ...], value: object, error: type[Exception]) -> None:
    request = l1("order", mainnet=True)
    holder = request["action"]
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = value
    with pytest.raises(error):
        recover(request, mainnet=True)


def test_only_a_multi_sig_has_inner_signatures() -> None:
    with pytest.raises(Malformed, match="multiSig"):
        recover_inner(Bot(SENDER, mainnet=True).noop(NOW), mainnet=True)


def test_a_multi_sig_within_a_multi_sig_costs_no_recursion() -> None:
    request = l1("order", mainnet=True)
    action: dict[str, Any] = {"type": "multiSig"}
    for _ in range(5000):
        action = {"type": "multiSig", "payload": {"action": action}}
    request["action"]["payload"]["action"] = action
    with pytest.raises(Malformed):
        recover(request, mainnet=True)
