"""Nonces against a model that is the documentation's sentences and nothing else."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.signing import InvalidNonce, Nonces, SigningError

NOW = 1_790_000_000_000
DAY = 86_400_000
SIGNER = "0x" + "a" * 40
OTHER = "0x" + "b" * 40


def refusal(nonces: Nonces, signer: str, nonce: int, now: int = NOW) -> str | None:
    """Use a nonce; what was said against it."""
    try:
        nonces.check(signer, nonce, now)
    except InvalidNonce as error:
        checked = str(error)
    else:
        checked = None
    try:
        nonces.use(signer, nonce, now)
    except InvalidNonce as error:
        assert str(error) == checked
        return checked
    assert checked is None
    return None


def test_duplicate() -> None:
    nonces = Nonces()
    assert refusal(nonces, SIGNER, NOW) is None
    assert refusal(nonces, SIGNER, NOW) == f"Invalid nonce: duplicate nonce {NOW}"
    assert refusal(nonces, OTHER, NOW) is None  # each signer has its own
    assert refusal(nonces, SIGNER, NOW + 1) is None


def test_the_window() -> None:
    nonces = Nonces()
    low, high = NOW - 2 * DAY, NOW + DAY
    assert refusal(nonces, SIGNER, low) == f"Invalid nonce: nonce too low {low} < {low}"
    assert refusal(nonces, SIGNER, 0) == f"Invalid nonce: nonce too low 0 < {low}"
    assert refusal(nonces, SIGNER, high) == f"Invalid nonce: nonce too high {high} > {high}"
    assert refusal(nonces, SIGNER, low + 1) is None
    assert refusal(nonces, SIGNER, high - 1) is None


def test_only_the_hundred_highest_count() -> None:
    nonces = Nonces()
    for i in range(0, 200, 2):
        assert refusal(nonces, SIGNER, NOW + i) is None
    assert refusal(nonces, SIGNER, NOW + 1) is None  # between: pushes out the smallest
    assert refusal(nonces, SIGNER, NOW) == f"Invalid nonce: nonce too low {NOW} < {NOW + 1}"
    assert refusal(nonces, SIGNER, NOW + 1) == f"Invalid nonce: duplicate nonce {NOW + 1}"


def test_the_error_carries_its_numbers() -> None:
    nonces = Nonces()
    nonces.use(SIGNER, NOW, NOW)
    with pytest.raises(InvalidNonce) as caught:
        nonces.use(SIGNER, NOW, NOW)
    assert isinstance(caught.value, SigningError)
    assert (caught.value.nonce, caught.value.bound) == (NOW, None)
    with pytest.raises(InvalidNonce) as caught:
        nonces.use(SIGNER, NOW - 1, NOW)
    assert (caught.value.nonce, caught.value.bound) == (NOW - 1, NOW)


def test_a_signer_long_gone_is_forgotten_and_the_memory_is_bounded() -> None:
    nonces = Nonces()
    for i in range(100_000):
        now = NOW + i * 60_000
        nonces.use(f"0x{i:040x}", now, now)
        assert len(nonces) <= 2 * 2 * 24 * 60 + 1024  # twice those of the window
    assert repr(nonces) == f"<Nonces of {len(nonces)} signers>"


def test_a_signer_is_forgotten_the_moment_its_last_nonce_leaves_the_window() -> None:
    for last, floor in ((NOW - 2 * DAY, True), (NOW - 2 * DAY + 1, False)):
        nonces = Nonces()
        nonces.use(SIGNER, last, NOW - 2 * DAY)
        nonces.use(SIGNER, NOW, NOW)
        # The first nonce of a signer is a floor for the next ones, unless an older one is remembered.
        assert (refusal(nonces, SIGNER, NOW - 1) is not None) is floor


class Model:
    """A set per signer."""

    def __init__(self) -> None:
        self.sets: dict[str, set[int]] = {}

    def said(self, signer: str, nonce: int, now: int) -> str | None:
        kept = self.sets.setdefault(signer, set())
        if kept and max(kept) <= now - 2 * DAY:
            kept.clear()
        if nonce <= now - 2 * DAY:
            return "too low"
        if nonce >= now + DAY:
            return "too high"
        if nonce in kept:
            return "duplicate"
        if kept and nonce < min(kept):
            return "too low"
        kept.add(nonce)
        if len(kept) > 100:
            kept.remove(min(kept))
        return None


STEPS = st.lists(
    st.tuples(
        st.sampled_from([SIGNER, OTHER]),
        st.integers(-20, 300) | st.integers(-3 * DAY, 2 * DAY),
        st.sampled_from([0, 0, 0, 0, 1, 50, DAY]),
    ),
    max_size=400,
)


@settings(max_examples=100)
@given(STEPS, st.integers(1, 120))
def test_against_the_model(steps: list[tuple[str, int, int]], filled: int) -> None:
    nonces, model, now = Nonces(), Model(), NOW
    steps = [(SIGNER, i, 0) for i in range(filled)] + steps
    for signer, offset, later in steps:
        now += later
        nonce = now + offset
        expected = model.said(signer, nonce, now)
        said = refusal(nonces, signer, nonce, now)
        assert (said is None) == (expected is None)
        assert expected is None or expected in str(said)
