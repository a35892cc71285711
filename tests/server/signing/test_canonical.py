"""The form that is hashed: order of keys, what is left out, what stays, and that msgpack is everyone's."""

import math
from typing import Any

import msgpack
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.signing import Malformed
from server.signing.canonical import canonical, fields, lower
from server.signing.catalogue import L1, canonical_action
from server.signing.ecrecover import keccak256
from server.signing.l1 import connection_id
from server.signing.user_signed import STRUCTURES

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=20,
)
ORDER = {"a": 1, "b": True, "p": "1", "s": "1", "r": False, "t": {"limit": {"tif": "Ioc"}}}


def same(ours: Any, theirs: Any) -> bool:
    """Equal with the order of keys."""
    return msgpack.packb(ours) == msgpack.packb(theirs)


@given(JSON)
def test_our_msgpack_is_the_official_sdks(value: object) -> None:
    assert msgspec.msgpack.encode(value) == msgpack.packb(value)


@pytest.mark.parametrize(
    "edge", [0, 127, 128, 255, 256, 65535, 65536, 2**32 - 1, 2**32, 2**64 - 1, -1, -32, -33]
)
def test_whole_numbers_are_packed_as_short_as_they_can_be(edge: int) -> None:
    assert msgspec.msgpack.encode(edge) == msgpack.packb(edge)


def test_floats_stay_floats() -> None:
    assert msgspec.msgpack.encode(1.0) == b"\xcb" + bytes.fromhex("3ff0000000000000") != msgpack.packb(1)


@given(JSON, JSON, JSON)
def test_a_structure_takes_any_value(a: object, b: object, c: object) -> None:
    structure = fields("a b? c", a=fields("x y?"), b=lower, c=fields("z", z=fields("w")))
    for value in (a, {"c": c, "b": b, "a": a}, {"q": a, "a": b}, [{"c": a, "a": b}, c]):
        before = msgpack.packb(value)
        once = canonical(value, structure)
        assert same(canonical(once, structure), once)
        assert msgpack.packb(value) == before


def test_known_fields_come_in_order_and_lists_of_objects_are_entered() -> None:
    shuffled = dict(reversed(ORDER.items()))
    given = {"grouping": "na", "orders": [shuffled, shuffled], "type": "order"}
    assert same(canonical_action(given), {"type": "order", "orders": [ORDER, ORDER], "grouping": "na"})


@pytest.mark.parametrize(
    ("given", "hashed"),
    [
        ({"type": "scheduleCancel", "time": None}, {"type": "scheduleCancel"}),
        ({"type": "cancel", "cancels": [], "f": False}, {"type": "cancel", "cancels": []}),
        (
            {"type": "order", "orders": [{**ORDER, "c": None}], "grouping": "na", "builder": None},
            {"type": "order", "orders": [ORDER], "grouping": "na"},
        ),
        # a null that is part of the structure stays
        (
            {"type": "borrowLend", "operation": "supply", "token": 0, "amount": None},
            {"type": "borrowLend", "operation": "supply", "token": 0, "amount": None},
        ),
        ({"unjailSelf": None, "type": "CSignerAction"}, {"type": "CSignerAction", "unjailSelf": None}),
        # false is a value where the field is not optional
        (
            {"leverage": 1, "isCross": False, "asset": 0, "type": "updateLeverage"},
            {"type": "updateLeverage", "asset": 0, "isCross": False, "leverage": 1},
        ),
    ],
    ids=lambda value: value["type"],
)
def test_unset(given: dict[str, Any], hashed: dict[str, Any]) -> None:
    assert same(canonical_action(given), hashed)


def test_addresses_are_lower_case() -> None:
    action = {"type": "order", "orders": [], "grouping": "na", "builder": {"f": 1, "b": "0xABcd"}}
    assert same(canonical_action(action)["builder"], {"b": "0xabcd", "f": 1})
    assert canonical_action({"type": "vaultTransfer", "vaultAddress": 5}) == {
        "type": "vaultTransfer",
        "vaultAddress": 5,
    }


@pytest.mark.parametrize(
    ("given", "keys"),
    [
        ({"type": 1, "a": 1, "new": 1, "t": 1}, ["type", "a", "new", "t"]),  # in order: as it is
        ({"t": 1, "new": 1, "a": 1, "type": 1}, ["type", "a", "t", "new"]),
        ({"new": 1, "type": 1, "a": 1, "t": 1}, ["type", "a", "t", "new"]),  # nothing comes before the type
    ],
)
def test_a_field_that_is_new(given: dict[str, Any], keys: list[str]) -> None:
    assert list(canonical(given, L1["twapCancel"])) == keys


def test_a_new_field_beside_an_unset_one() -> None:
    assert list(canonical({"type": 1, "time": None, "new": 1}, L1["scheduleCancel"])) == ["type", "new"]
    assert list(canonical({"new": 1, "time": None, "type": 1}, L1["scheduleCancel"])) == ["type", "new"]


@pytest.mark.parametrize("kind", ["notYetInvented", None, 5, ["order"], {}])
def test_an_unknown_type_keeps_its_order(kind: object) -> None:
    assert list(canonical_action({"z": 1, "type": kind, "a": None})) == ["z", "type", "a"]


def test_the_catalogue_starts_with_the_type() -> None:
    for kind, structure in (L1 | STRUCTURES).items():
        names = [name for name, _, _ in structure.rows]
        assert names[0] == "type" and len(set(names)) == len(names), kind
    assert not L1.keys() & STRUCTURES.keys()


def test_what_the_hash_covers() -> None:
    packed = b"\x81\xa4type\xa4noop"
    nonce = (7).to_bytes(8, "big")
    vault = "0x" + "Ab" * 20
    action = {"type": "noop"}
    assert connection_id(action, 7, None, None) == keccak256(packed + nonce + b"\x00")
    with_vault = keccak256(packed + nonce + b"\x01" + b"\xab" * 20)
    assert connection_id(action, 7, vault, None) == connection_id(action, 7, vault[2:], None) == with_vault
    assert connection_id(action, 7, None, 0) == keccak256(packed + nonce + b"\x00" + b"\x00" + bytes(8))


def deep() -> Any:
    value: Any = []
    for _ in range(100_000):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("action", "nonce", "vault", "expires", "field"),
    [
        ({}, None, None, None, "nonce"),
        ({}, -1, None, None, "nonce"),
        ({}, 2**64, None, None, "nonce"),
        ({}, 1.0, None, None, "nonce"),
        ({}, True, None, None, "nonce"),
        ({}, "1", None, None, "nonce"),
        ({}, 1, "", None, "vaultAddress"),
        ({}, 1, 5, None, "vaultAddress"),
        ({}, 1, "0x12", None, "vaultAddress"),
        ({}, 1, "0x" + "1" * 41, None, "vaultAddress"),
        ({}, 1, None, 2**64, "expiresAfter"),
        ({}, 1, None, "5", "expiresAfter"),
        ({"a": 2**64}, 1, None, None, "action"),
        ({"a": -(2**63) - 1}, 1, None, None, "action"),
        ({"a": "\ud800"}, 1, None, None, "action"),
        ({"a": object()}, 1, None, None, "action"),
        ({"a": deep()}, 1, None, None, "action"),
    ],
)
def test_what_cannot_be_hashed(
    action: object, nonce: object, vault: object, expires: object, field: str
) -> None:
    with pytest.raises(Malformed, match=f"^{field}: "):
        connection_id(action, nonce, vault, expires)


def test_lists_in_lists_cost_no_recursion() -> None:
    orders = deep()
    assert canonical_action({"orders": orders, "type": "order"})["orders"] == [orders[0]]


def test_not_a_number_is_packed() -> None:
    """JSON has none, but Python's reader takes it: it is hashed like any other float."""
    assert len(connection_id({"a": math.nan}, 1, None, None)) == 32
