"""Bringing an action into the one form that is hashed.

The exchange reads the JSON into its own structures and hashes what those write (page "Signing": "the
payload for recover signer is constructed based on the action and does not necessarily match"). So the order
of keys is the structure's, whatever the client's JSON had; optional fields that are unset are left out;
addresses are lower-case. What the structures look like is data: `catalogue.py`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

Rewrite = Callable[[Any], Any]
_ABSENT = object()


class Fields(NamedTuple):
    """The structure of one JSON object: each field's name, whether it is omitted when unset, its inside."""

    rows: tuple[tuple[str, bool, "Fields | Rewrite | None"], ...]


def fields(names: str, **inside: "Fields | Rewrite") -> Fields:
    """Write a structure down: names in canonical order, `name?` for one that is omitted when unset.

    `inside` says of a field what its value is: a structure, a list of such structures, or a function.
    """
    return Fields(
        tuple((name.rstrip("?"), name.endswith("?"), inside.get(name.rstrip("?"))) for name in names.split())
    )


def lower(value: Any) -> Any:
    """Write an address as the exchange does. Other things than strings are left alone."""
    return value.lower() if isinstance(value, str) else value


def canonical(value: Any, structure: Fields) -> Any:
    """Return `value`, an object or a list of them, in the form that is hashed. Never changes its argument.

    A field that the structure does not know keeps its place if the rest is in order already (it may be new,
    and its client right about it), and goes behind the known ones otherwise. A value of another kind than
    expected stays as it is: it is not for a hash to judge it.
    """
    if type(value) is dict:
        return _object(value, structure)
    if type(value) is list:  # lists in it are left alone: what a client nests must not cost us recursion
        return [_object(item, structure) if type(item) is dict else item for item in value]
    return value


def _object(value: dict[Any, Any], structure: Fields) -> dict[Any, Any]:
    out = {}
    left = len(value)
    for name, optional, inside in structure.rows:
        held = value.get(name, _ABSENT)
        if held is _ABSENT:
            continue
        left -= 1
        if optional and (held is None or held is False):
            continue
        if inside is not None:
            held = canonical(held, inside) if isinstance(inside, Fields) else inside(held)
        out[name] = held
    return _with_unknown(value, out, structure) if left else out


def _with_unknown(value: dict[Any, Any], known: dict[Any, Any], structure: Fields) -> dict[Any, Any]:
    names = {name for name, _, _ in structure.rows}
    if next(iter(value)) in known and [key for key in value if key in known] == list(known):
        return {key: known.get(key, held) for key, held in value.items() if key in known or key not in names}
    return known | {key: held for key, held in value.items() if key not in names}
