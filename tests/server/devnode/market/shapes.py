"""The shape of JSON values: their keys in order, and what kind of thing every leaf is."""

import re
from dataclasses import dataclass, field
from typing import Any

DECIMAL = re.compile(r"-?\d+\.\d+")


@dataclass
class Shape:
    """Of the values seen in one place: their `kinds`, the `keys` of objects, the `items` of lists."""

    kinds: set[str] = field(default_factory=set)
    keys: "dict[str, Shape]" = field(default_factory=dict)
    orders: list[list[str]] = field(default_factory=list)
    items: "Shape | None" = None

    def see(self, value: Any) -> "Shape":
        self.kinds.add(kind(value))
        if isinstance(value, dict):
            names = list(value)
            if names not in self.orders:
                self.orders.append(names)
            for name, one in value.items():
                self.keys.setdefault(name, Shape()).see(one)
        elif isinstance(value, list):
            self.items = self.items or Shape()
            for one in value:
                self.items.see(one)
        return self

    @property
    def always(self) -> set[str]:
        return set.intersection(*map(set, self.orders)) if self.orders else set()


def kind(value: Any) -> str:
    if isinstance(value, str):
        return "decimal" if DECIMAL.fullmatch(value) else "text"
    return type(value).__name__


def differences(ours: Shape, recorded: Shape, where: str = "", *, ordered: bool = True) -> list[str]:
    """What of ours the recorded has not: kinds, keys, their order; and what it always has and ours lacks.

    Each begins with the place where it is.
    """
    found = []
    if extra := ours.kinds - recorded.kinds - {"NoneType", "list"}:
        found.append(f"{where or '.'}: {sorted(extra)} where {sorted(recorded.kinds)} was recorded")
    found += [
        f"{where}.{name}: not recorded" for name in ours.keys if recorded.keys and name not in recorded.keys
    ]
    if ours.orders:
        found += [f"{where}.{name}: missing" for name in sorted(recorded.always - ours.always)]
    for mine in ours.orders:
        if ordered and recorded.orders and not any(_fits(mine, theirs) for theirs in recorded.orders):
            found.append(f"{where}: {mine} is not the order of {recorded.orders[0]}")
    for name in ours.keys.keys() & recorded.keys.keys():
        found += differences(ours.keys[name], recorded.keys[name], f"{where}.{name}", ordered=ordered)
    if ours.items and recorded.items and recorded.items.kinds:
        found += differences(ours.items, recorded.items, f"{where}[]", ordered=ordered)
    return found


def _fits(mine: list[str], theirs: list[str]) -> bool:
    common = [name for name in mine if name in theirs]
    return common == [name for name in theirs if name in mine]
