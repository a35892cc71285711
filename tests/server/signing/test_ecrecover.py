"""Words of a signature, and recovery against an independent implementation in pure Python."""

import hashlib
from typing import Any

import pytest
from eth_keys.backends.native import NativeECCBackend
from eth_keys.datatypes import PrivateKey
from eth_keys.datatypes import Signature as TheirSignature
from hypothesis import given, settings
from hypothesis import strategies as st

from server.signing import Malformed, SigningError, Unrecoverable
from server.signing.ecrecover import Signature, keccak256, signer, trimmed
from tests.server.signing.sdk import wallet

N = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
"""The order of the curve: r and s are below it."""

DIGEST = keccak256(b"digest")
PURE = NativeECCBackend()


def signed(seed: int, digest: bytes = DIGEST) -> Signature:
    done = wallet(seed).unsafe_sign_hash(digest)
    return Signature(hex(done.r), hex(done.s), done.v)


def theirs(signature: Signature, digest: bytes = DIGEST) -> str | None:
    vrs = (signature.v - 27, int(signature.r, 16), int(signature.s, 16))
    try:
        return PURE.ecdsa_recover(digest, TheirSignature(vrs=vrs, backend=PURE)).to_address()
    except Exception:
        return None


def test_keccak_is_not_the_standardised_sha3() -> None:
    assert keccak256(b"").hex() == "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"
    assert keccak256(b"") != hashlib.sha3_256(b"").digest()


@settings(max_examples=30)
@given(st.integers(1, 10**9), st.binary(min_size=32, max_size=32))
def test_the_key_that_signed(seed: int, digest: bytes) -> None:
    signature = signed(seed, digest)
    assert signer(digest, signature) == wallet(seed).address.lower() == theirs(signature, digest)


@settings(max_examples=30)
@given(st.integers(1, 10**9))
def test_the_other_s_recovers_as_well(seed: int) -> None:
    low = signed(seed)
    assert int(low.s, 16) <= N // 2
    high = Signature(low.r, hex(N - int(low.s, 16)), 55 - low.v)
    assert signer(DIGEST, high) == signer(DIGEST, low) == theirs(high)
    assert signer(DIGEST, low._replace(v=55 - low.v)) != signer(DIGEST, low)


@settings(max_examples=60)
@given(st.integers(0, 2**256 - 1) | st.integers(0, 9), st.integers(0, 2**256 - 1), st.sampled_from([27, 28]))
def test_whatever_r_and_s(r: int, s: int, v: int) -> None:
    """Half of all r are on the curve, and then somebody is recovered: the same as pure Python finds."""
    signature = Signature(hex(r), hex(s), v)
    found = theirs(signature) if 0 < r < N and 0 < s < N else None
    if found is None:
        with pytest.raises(Unrecoverable):
            signer(DIGEST, signature)
    else:
        assert signer(DIGEST, signature) == found


@given(st.integers(0, 2**256 - 1), st.integers(0, 64), st.booleans())
def test_zeros_in_front_may_be_there_or_not(number: int, zeros: int, upper: bool) -> None:
    digits = f"{number:x}"
    padded = digits.zfill(min(64, len(digits) + zeros))
    assert trimmed("0x" + (padded.upper() if upper else padded)) == hex(number)


def test_short_words_recover() -> None:
    # A tenth of all signatures has a zero nibble in front of r or s; these seeds have it.
    short = [signed(seed) for seed in range(200)]
    short = [signature for signature in short if min(len(signature.r), len(signature.s)) < 66]
    assert len(short) > 5
    for signature in short:
        full = Signature("0x" + signature.r[2:].zfill(64), "0x" + signature.s[2:].zfill(64), signature.v)
        assert signer(DIGEST, full) == signer(DIGEST, signature)


GOOD = signed(1)


@pytest.mark.parametrize(
    "change",
    [
        *(
            {"r": word}
            for word in ("", "0x", "0", "0x0", "12", "0xg", "0x 1", "0x1_0", "-0x1", "0x" + "1" * 65)
        ),
        *({"s": word} for word in (None, 1, b"0x1", ["0x1"], "0X1", "0x1\n", "0x0", hex(N), hex(2**256 - 1))),
        *({"v": v} for v in (0, 1, 26, 29, 35, 36, -1, None, "27", "0x1b", 27.0, True, [], 2**70)),
    ],
    ids=str,
)
def test_what_is_no_signature(change: dict[str, Any]) -> None:
    with pytest.raises(Unrecoverable, match=r"^Unable to recover signer\.$") as caught:
        signer(DIGEST, GOOD._replace(**change))
    assert isinstance(caught.value, SigningError)


@pytest.mark.parametrize("value", [None, "0x", [], {}, {"r": "0x1", "s": "0x1"}, {"r": "0x1", "v": 27}])
def test_a_signature_that_is_incomplete(value: object) -> None:
    with pytest.raises(Malformed, match="signature"):
        Signature.of(value)


def test_an_independent_signer() -> None:
    key = PrivateKey(b"\x07" * 32, backend=PURE)
    v, r, s = key.sign_msg_hash(DIGEST).vrs
    assert signer(DIGEST, Signature(hex(r), hex(s), v + 27)) == key.public_key.to_address()
