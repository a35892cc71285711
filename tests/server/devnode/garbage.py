"""What clients send that nobody asked for: junk values, and good things with something wrong in them."""

import json
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

Path = tuple[Any, ...]
ADDRESS = "0x" + "5c" * 20

VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 7, 2**31, 2**32, 2**53, 2**63 - 1, 2**63, 2**64 - 1, 2**64, 10**30, -(2**63),
    0.5, -0.0, 1e308, 1e-300, "", "0", "1", "-1", "+1", "1e5", "1E400", "NaN", "inf", ".5", "5.", "1.5.5",
    "9" * 30, "9" * 31, "0." + "0" * 27 + "1", "٠", "\x00", "é" * 50, "a" * 5000, "0x", "0x" + "0" * 40,
    ADDRESS, ADDRESS.upper(), "0x" + "0" * 32, "0x" + "f" * 64, f"1 subaccount:{ADDRESS}",
    "a valid_until 99999999999999999", "101%", "USDC", "PURR:0xc4", "spot", "xyz",
    "BTC", 10_000, 110_000, [], {}, [[]], [None], {"": {}},
    {"limit": None}, {"limit": {"tif": "Fok"}}, {"market": {}},
)  # fmt: skip
"""Huge and odd numbers (above 64 bits JSON readers make doubles of them), texts that are almost something."""


def nested(depth: int) -> Any:
    value: Any = 1
    for level in range(depth):
        value = [value] if level % 2 else {"": value}
    return value


_atoms = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**64), 2**64),
    st.floats(allow_nan=False),
    st.text(max_size=9),
)
junk = st.one_of(
    st.sampled_from(VALUES),
    st.integers(1, 60).map(nested),
    st.recursive(
        _atoms,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=6,
    ),
)


@st.composite
def spoilt(draw: st.DrawFn, whole: Any, most: int = 3) -> Any:
    """`whole` with up to so many values replaced, left out, added or repeated."""
    for _ in range(draw(st.integers(0, most))):
        places = list(_places(whole))
        if not places:
            break
        place = draw(st.sampled_from(places))
        how = draw(st.sampled_from(["replace", "replace", "replace", "drop", "add", "repeat"]))
        whole = _changed(whole, place, how, draw(junk))
    return whole


def _places(value: Any, path: Path = ()) -> Iterator[Path]:
    rows = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    if len(path) < 8:
        for key, inner in rows:
            yield (*path, key)
            yield from _places(inner, (*path, key))


def _changed(value: Any, path: Path, how: str, new: Any) -> Any:
    key, *rest = path
    twin = dict(value) if isinstance(value, dict) else list(value)
    if rest:
        twin[key] = _changed(twin[key], tuple(rest), how, new)
    elif how == "replace":
        twin[key] = new
    elif how == "drop":
        del twin[key]
    elif isinstance(twin, dict):
        twin["extra"] = new
    else:
        twin.extend([new] if how == "add" else [twin[key]] * 200)
    return twin


def spoilt_text(value: Any) -> st.SearchStrategy[bytes]:
    """JSON of a value that is no JSON any more, or no text."""
    whole = json.dumps(value).encode()
    cut = st.integers(0, len(whole) - 1).map(lambda place: whole[:place])
    replaced = st.tuples(st.integers(0, len(whole) - 1), st.binary(min_size=1, max_size=3)).map(
        lambda change: whole[: change[0]] + change[1] + whole[change[0] + 1 :]
    )
    deep = st.sampled_from([b"[" * 5000, b"[" * 200 + b"]" * 200, b'{"a":' * 130 + b"1" + b"}" * 130])
    return st.one_of(cut, replaced, deep, st.binary(max_size=40))
