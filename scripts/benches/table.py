"""What a bench found out: one row per promise, printed as a table or written as JSON."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Literal

HEADINGS = ("what", "ours", "other side", "ratio (min-max)", "target", "")


@dataclass(kw_only=True)
class Row:
    """One promise. `ours` and `other` hold one figure per round, `ratios` theirs round by round.

    `other_is` names the other side; `unit` goes with both. `bound`: which way the target points.
    `absolute`: the target is one of `ours`, not of the ratio, which then only says how the two compare.
    `failed`: why it could not be measured; then nothing else of it counts.
    """

    name: str
    what: str
    other_is: str = "-"
    unit: str = ""
    target: float = 0.0
    bound: Literal[">=", "<="] = ">="
    absolute: bool = False
    ours: list[float] = field(default_factory=list)
    other: list[float] = field(default_factory=list)
    ratios: list[float] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    failed: str = ""

    def add(self, ours: float, other: float, ratio: float) -> None:
        """One round."""
        self.ours.append(ours)
        self.other.append(other)
        self.ratios.append(ratio)

    @property
    def ratio(self) -> float:
        return median(self.ratios)

    @property
    def passed(self) -> bool:
        seen = median(self.ours) if self.absolute else self.ratio
        return seen >= self.target if self.bound == ">=" else seen <= self.target

    @property
    def asked(self) -> str:
        """The target as it is printed."""
        return (
            f"{self.bound} {self.target:,g} {self.unit}" if self.absolute else f"{self.bound} {self.target:g}"
        )

    def cells(self) -> tuple[str, ...]:
        if self.failed:
            return (self.what, "-", "-", "-", "-", "FAILED")
        return (
            self.what,
            f"{short(median(self.ours))} {self.unit}",
            f"{short(median(self.other))} {self.unit} ({self.other_is})",
            f"{short(self.ratio)} ({short(min(self.ratios))}-{short(max(self.ratios))})",
            self.asked,
            "pass" if self.passed else "SHORT",
        )

    def as_json(self) -> dict[str, object]:
        if self.failed:
            return {"name": self.name, "failed": self.failed}
        return {
            "name": self.name,
            "what": self.what,
            "other_is": self.other_is,
            "unit": self.unit,
            "target": self.asked,
            "ratio": self.ratio,
            "passed": self.passed,
            "rounds": {"ours": self.ours, "other": self.other, "ratios": self.ratios},
            "notes": self.notes,
        }


def short(value: float) -> str:
    """Three digits that matter, no exponent."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def table(rows: Sequence[Row]) -> str:
    """Columns as wide as they need to be; the notes of each row below all of them."""
    lines = [HEADINGS, *(row.cells() for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADINGS))]
    text = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]
    text.insert(1, "-" * max(map(len, text)))
    for row in rows:
        if row.failed or row.notes:
            text += ["", f"{row.name}:", *(f"  {note}" for note in (*filter(None, [row.failed]), *row.notes))]
    return "\n".join(text)
