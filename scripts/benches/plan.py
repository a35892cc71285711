"""What one run of the bench does: how long, how often, where, with which tools."""

import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from scripts.benches.processes import BenchError

PACKAGES = {"nginx": "nginx-light", "wrk": "wrk"}
"""Tool -> the Debian package that has it."""


@dataclass(frozen=True)
class Plan:
    """`seconds` of load (`requests` where latency is measured) per side and round; `rounds` of both in turn.

    `only`: names of rows, empty for all.
    """

    folder: Path
    seconds: float
    rounds: int
    requests: int
    quick: bool
    only: frozenset[str]

    def chosen(self, names: Iterable[str]) -> list[str]:
        """Those of `names` that this run measures. (A bench none of whose rows is wanted is not run.)"""
        return [name for name in names if not self.only or name in self.only]

    def tool(self, name: str) -> str:
        """The path of a tool. Raises `BenchError` where it is missing."""
        found = find_tool(name)
        if found is None:
            raise BenchError(f"missing: {name} (apt-get install {PACKAGES[name]})")
        return found


def find_tool(name: str) -> str | None:
    """The path of a tool, also where a user's PATH does not lead (`/usr/sbin`)."""
    return shutil.which(
        name, path=os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"))
    )
