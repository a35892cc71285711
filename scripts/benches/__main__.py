"""`scripts/bench`: measure what the speed table promises, both sides in one run, in turns.

Every figure is the median of several rounds; each round measures one side and then the other, so that a
machine that drifts hurts both alike. Absolute figures are this machine's; the ratios are what counts.
"""

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType, ModuleType

from scripts.benches import batches, devnode, fan_out, feed, flat, forwarding, memory, mirror, reads
from scripts.benches.plan import PACKAGES, Plan, find_tool
from scripts.benches.processes import BenchError
from scripts.benches.table import Row, table

BENCHES: tuple[tuple[ModuleType, tuple[str, ...]], ...] = (
    (batches, ("nginx", "wrk")),
    (reads, ("nginx", "wrk")),
    (fan_out, ()),
    (forwarding, ("nginx",)),
    (feed, ()),
    (memory, ()),
    (flat, ()),
    (devnode, ()),
    (mirror, ()),
)
"""Each bench and the tools it needs."""
GROUPS = {bench.__name__.rpartition(".")[2]: tuple(bench.TARGETS) for bench, _ in BENCHES}
"""The rows of each bench, by its name."""
NAMES = tuple(name for bench, _ in BENCHES for name in bench.TARGETS)


def main() -> int:
    """0: everything was measured (whether or not it reached its target); 1: something could not be."""
    options = _options()
    only = frozenset(options.only or ()).union(*(GROUPS[name] for name in options.benches))
    chosen = [(bench, tools) for bench, tools in BENCHES if not only or only & set(bench.TARGETS)]
    missing = {tool for _, tools in chosen for tool in tools if find_tool(tool) is None}
    if missing:
        packages = " ".join(PACKAGES[tool] for tool in sorted(missing))
        print(f"bench: missing {', '.join(sorted(missing))}: apt-get install {packages}", file=sys.stderr)
        return 2
    # A termination unwinds like Ctrl-C: every block that started a child stops it.
    signal.signal(signal.SIGTERM, _interrupt)
    began = time.monotonic()
    load_before = os.getloadavg()[0]
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="hl-replica-bench-") as folder:
        plan = Plan(
            folder=Path(folder),
            seconds=options.seconds or (1.0 if options.quick else 4.0),
            rounds=options.rounds or (2 if options.quick else 5),
            requests=500 if options.quick else 3000,
            quick=options.quick,
            only=only,
        )
        try:
            for bench, _ in chosen:
                for row in _guarded(bench, plan):
                    rows.append(row)
                    print(f"  {time.monotonic() - began:4.0f} s  {'  '.join(row.cells())}", file=sys.stderr)
        except KeyboardInterrupt:
            print("bench: interrupted, every child is stopped", file=sys.stderr)
            return 130
    about = _about(load_before, time.monotonic() - began)
    print(table(rows))
    print("\n" + ", ".join(f"{name} {value}" for name, value in about.items()))
    if options.json is not None:
        options.json.write_text(json.dumps({"machine": about, "rows": [r.as_json() for r in rows]}, indent=1))
    return 1 if any(row.failed for row in rows) else 0


def _guarded(bench: ModuleType, plan: Plan) -> Iterator[Row]:
    """The rows of a bench; where it fails, rows that say so for all it still owes."""
    owed = plan.chosen(bench.TARGETS)
    run: Callable[[Plan], Iterator[Row]] = bench.run
    try:
        for row in run(plan):
            owed.remove(row.name)
            yield row
    except (BenchError, OSError, subprocess.SubprocessError) as error:
        for name in owed:
            why = f"{type(error).__name__}: {error}"
            yield Row(name=name, what=name, failed=why)


def _about(load_before: float, seconds: float) -> dict[str, object]:
    """What the figures were taken on."""
    return {
        "python": platform.python_version(),
        "kernel": platform.release(),
        "cores": len(os.sched_getaffinity(0)),
        "cpu": _cpu_model(),
        "load before": round(load_before, 2),
        "seconds": round(seconds),
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return "unknown"
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), "unknown")


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench", description=(__doc__ or "").partition("\n\n")[2])
    parser.add_argument("benches", nargs="*", metavar="BENCH", help=f"{', '.join(GROUPS)} (all)")
    parser.add_argument("--only", action="append", choices=NAMES, metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--seconds", type=float, help="of load per side and round (4; wrk: whole ones)")
    parser.add_argument("--rounds", type=int, help="of both sides in turn (5)")
    parser.add_argument("--quick", action="store_true", help="a minute or so: short rounds")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures of all rounds there")
    options = parser.parse_args()
    # `choices` does not go with an empty list of them in Python 3.11.
    if unknown := sorted(set(options.benches) - set(GROUPS)):
        parser.error(f"no bench {unknown[0]!r}: there are {', '.join(GROUPS)}")
    return options


if __name__ == "__main__":
    sys.exit(main())
