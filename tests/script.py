"""A conversation as a text: what goes in, what comes out, when. For machines that are told the time.

    0    .. open              something is done to the machine
    0    << subscribe A       it sends a frame
    0.2  >> ack A             a frame arrives
    0.2  -- states A 100      it tells its owner something

`>>` and `..` are played in order; everything the machine says in between must be written down, at its time.
"""

import math
from collections.abc import Iterable
from difflib import SequenceMatcher
from itertools import zip_longest
from typing import NamedTuple, Protocol


class Line(NamedTuple):
    """One line of a script: `kind` is `>>`, `..`, `<<` or `--`."""

    at: float
    kind: str
    what: str

    def __str__(self) -> str:
        return f"{self.at:<6g} {self.kind} {self.what}"


class Machine(Protocol):
    """What `play` drives. All return what the machine says as (when, `<<` or `--`, what)."""

    def until(self, now: float) -> Iterable[tuple[float, str, str]]:
        """Let time pass up to `now`, with everything the machine does by itself on the way, before `now`."""

    def receive(self, what: str, now: float) -> Iterable[tuple[float, str, str]]:
        """A frame arrives."""

    def do(self, what: str, now: float) -> Iterable[tuple[float, str, str]]:
        """Something else is done to it."""


def parse(script: str) -> list[Line]:
    lines = []
    for text in script.splitlines():
        text, _, _ = text.partition("  # ")
        if text.strip():
            at, kind, what = text.split(maxsplit=2)
            assert kind in (">>", "..", "<<", "--"), text
            lines.append(Line(float(at), kind, what.strip()))
    return lines


def play(machine: Machine, script: str) -> None:
    """Play the inputs of `script`; fails with both conversations side by side where they differ."""
    expected = parse(script)
    heard: list[Line] = []
    for line in expected:
        heard += (Line(*said) for said in machine.until(line.at))
        if line.kind in (">>", ".."):
            heard.append(line)
            act = machine.receive if line.kind == ">>" else machine.do
            heard += (Line(*said) for said in act(line.what, line.at))
    heard += (Line(*said) for said in machine.until(math.nextafter(expected[-1].at, math.inf)))
    if expected != heard:
        raise AssertionError("the conversation went otherwise\n" + side_by_side(expected, heard))


def side_by_side(expected: list[Line], heard: list[Line]) -> str:
    left, right = [str(line) for line in expected], [str(line) for line in heard]
    width = max(map(len, [*left, "expected"]))
    rows = [("expected", "heard")]
    for tag, a, b, c, d in SequenceMatcher(None, left, right, autojunk=False).get_opcodes():
        mark = " " if tag == "equal" else "!"
        rows += ((f"{mark} {x}", y) for x, y in zip_longest(left[a:b], right[c:d], fillvalue=""))
    return "\n".join(f"{x:<{width + 2}} | {y}" for x, y in rows)
