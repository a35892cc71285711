"""The rooms and the arrows between them: who may import whom, who may touch the network or a clock.

The rules are the data below; a new rule or a new exception is one line there, with its reason. Names are
modules, `*` stands for anything, the first row whose left side matches an importer is the row that counts.
"""

import ast
import sys
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("replica", "server")
FOLDERS = {*PACKAGES, "tests", "scripts"}
"""Top-level folders that may hold Python."""

WORDS = (
    "replica.events",
    "replica.clock",
    "replica.errors",
    "replica.subscription",
    "replica.catalogue",
    "replica._*",
)
"""The vocabulary that the two halves of the replica share. It knows neither of them."""

MAY_IMPORT: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("replica.upstream*", (*WORDS, "replica.upstream*")),
    ("replica.state*", (*WORDS, "replica.state*")),
    ("replica.streams*", (*WORDS, "replica.streams*")),
    ("replica.universe", WORDS),
    *((word, WORDS) for word in WORDS),
    ("replica*", ("replica.*",)),  # never server, never its own door
    ("server.signing*", ("server.signing*",)),  # a formula book: it knows nobody
    # A program of its own: it must not share our mistakes. Signatures alone are proved from outside, by the
    # official SDK, so both may take them from the one door.
    ("server.devnode*", ("server.devnode*", "server.signing")),
    ("server.app", ("server*", "replica*")),  # the composition root, the only file that knows everyone
    ("server.__main__", ("server.settings", "server.app", "server.devnode")),
    # of the replica and of signing the door alone
    ("server*", ("!server.devnode*", "!server.signing.*", "server*", "replica")),
)

BOTH_HALVES = ("replica", "replica.replica")
"""Modules that may import from replica.upstream and from replica.state."""

NETWORK = (
    "aiohttp",
    "anyio",
    "asyncio",
    "concurrent",
    "http",
    "httptools",
    "requests",
    "selectors",
    "socket",
    "ssl",
    "starlette",
    "threading",
    "urllib.request",
    "uvicorn",
    "uvloop",
    "websockets",
)
SHELLS = (
    "replica.replica",
    "replica.mirror",  # heals streams with answers of /info, which it waits for
    "replica.healer",
    "replica.universe_reader",  # who asks meanwhile waits for the same answers
    "replica.composed",  # a timer keeps what it composes from being told too often
    "replica.upstream.feed",
    "replica.upstream.fleet",  # a task per connection; what goes where is decided in pure rooms
    "replica.upstream.rest",
    "replica.upstream.budget",
    "replica.upstream.forwarder",  # a write that is given up midway has an outcome to name
    # The disk is slow too: what is recorded is written on a thread.
    "replica.recording.backlog",
    "replica.recording.recorder",
    "server.app",
    # These four wait for the upstream on behalf of readers; what they answer is decided by pure rooms.
    "server.accounts",
    "server.batch",
    "server.coalesce",
    "server.documents",
    "server.recording",  # waits for the seconds to be over
    "server.http",
    "server.fastpath",
    "server.upgrades",
    "server.health",
    "server.__main__",
    "server.ws.connection",
    "server.ws.endpoint",
    "server.ws.posts",  # names of HTTP statuses
    "server.devnode*",
)
"""Modules that may import NETWORK. All others take bytes and a clock reading and return values."""

AMBIENT = (
    "time.time",
    "time.time_ns",
    "time.monotonic*",
    "time.perf_counter*",
    "time.process_time*",
    "time.sleep",
    "datetime.datetime.now",
    "datetime.datetime.utcnow",
    "datetime.datetime.today",
    "datetime.date.today",
    "random.*",
    "secrets.*",
    "os.urandom",
    "uuid.uuid1",
    "uuid.uuid4",
)
GIVEN = ("random.Random",)  # the type, and a generator with a seed
COMPOSITION = ("server.app", "server.__main__", "server.devnode*")
"""Modules that may reach for AMBIENT clocks and chance. All others are handed theirs."""

Sources = Mapping[str, str]
"""Dotted module name -> its text. A package's name stands for its __init__."""


def test_no_arrow_runs_the_wrong_way() -> None:
    assert "\n".join(wrong_arrows(tree())) == ""


def test_no_cycle() -> None:
    assert "\n".join(cycles(tree())) == ""


def test_only_shells_touch_the_network() -> None:
    assert "\n".join(network_outside_shells(tree())) == ""


def test_clocks_and_chance_are_handed_down() -> None:
    assert "\n".join(ambient_outside_composition(tree())) == ""


def test_no_other_source_folder() -> None:
    folders = {path.relative_to(ROOT).parts[0] for path in ROOT.glob("[!.]*/**/*.py")}
    assert folders - {"build", "dist"} <= FOLDERS


# How the rules are applied


def tree() -> Sources:
    """Every module under the packages as it is on disk."""
    found = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path.read_text("utf-8")
    assert found, "no modules: the rules would pass on nothing"
    return found


def matches(name: str, patterns: tuple[str, ...]) -> bool:
    """Whether the first pattern that fits `name` is one without `!`."""
    for pattern in patterns:
        if fnmatchcase(name, pattern.removeprefix("!")):
            return not pattern.startswith("!")
    return False


def is_ours(name: str) -> bool:
    return name.partition(".")[0] in PACKAGES


def imports(module: str, sources: Sources) -> Iterator[str]:
    """Everything `module` imports, wherever in its text, as dotted names: modules where we know them."""
    text = sources[module]
    is_package = any(other.startswith(module + ".") for other in sources)
    for node in ast.walk(ast.parse(text, module)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = module.split(".")
                up = parts[: len(parts) - node.level + is_package]
                base = ".".join([*up, base] if base else up)
            for alias in node.names:
                full = f"{base}.{alias.name}"
                # of a third party `from urllib import request` says as much as `import urllib.request`
                yield base if is_ours(base) and full not in sources else full


def wrong_arrows(sources: Sources) -> Iterator[str]:
    for module in sources:
        allowed = next(may for pattern, may in MAY_IMPORT if fnmatchcase(module, pattern))
        ours = [name for name in imports(module, sources) if is_ours(name)]
        yield from (f"{module} imports {name}" for name in ours if not matches(name, allowed))
        halves = {
            half
            for name in ours
            for half in ("upstream", "state")
            if f"{name}.".startswith(f"replica.{half}.")
        }
        if len(halves) == 2 and module not in BOTH_HALVES and not module.startswith("server"):
            yield f"{module} imports both halves of the replica"


def cycles(sources: Sources) -> Iterator[str]:
    """Each import that leads back to its importer, by the shortest way."""
    arrows = {module: [n for n in imports(module, sources) if n in sources] for module in sources}
    for start in sources:
        ways, seen = [[start]], set()
        for way in ways:  # grows while it is walked: breadth first
            for name in arrows[way[-1]]:
                if name == start:
                    yield " -> ".join([*way, name])
                elif name not in seen:
                    seen.add(name)
                    ways.append([*way, name])


def network_outside_shells(sources: Sources) -> Iterator[str]:
    for module in sources:
        if not matches(module, SHELLS):
            for name in imports(module, sources):
                if any(f"{name}.".startswith(f"{network}.") for network in NETWORK):
                    yield f"{module} imports {name}"


def ambient_outside_composition(sources: Sources) -> Iterator[str]:
    """Uses of AMBIENT, called or handed on, under whatever name they were imported."""
    for module, text in sources.items():
        if matches(module, COMPOSITION):
            continue
        nodes = list(ast.walk(ast.parse(text, module)))
        names: dict[str, str] = {}
        for node in nodes:
            if isinstance(node, ast.Import):
                names |= {
                    a.asname or a.name.partition(".")[0]: a.name if a.asname else a.name.partition(".")[0]
                    for a in node.names
                }
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
        for node in nodes:
            used = dotted(node, names)
            if used and matches(used, AMBIENT) and not matches(used, GIVEN):
                yield f"{module}:{getattr(node, 'lineno', 0)} uses {used}"
            bare = isinstance(node, ast.Call) and not node.args and not node.keywords
            if bare and matches(dotted(node.func, names) or "", GIVEN):
                yield f"{module}:{node.lineno} seeds a generator by chance"


def dotted(node: ast.AST, names: Mapping[str, str]) -> str | None:
    """`datetime.datetime.now` for an expression that means it, None for what was not imported."""
    match node:
        case ast.Name(id=name):
            return names.get(name)
        case ast.Attribute(value=value, attr=attr):
            base = dotted(value, names)
            return None if base is None else f"{base}.{attr}"
    return None


# The rules bite


@pytest.mark.parametrize(
    ("module", "text", "said"),
    [
        ("replica.events", "import server.settings", "replica.events imports server.settings"),
        ("replica.replica", "def f():\n from server import app", "replica.replica imports server.app"),
        (
            "replica.upstream.wire",
            "import replica.state.store",
            "replica.upstream.wire imports replica.state.store",
        ),
        (
            "replica.upstream.wire",
            "from ..state import store",
            "replica.upstream.wire imports replica.state.store",
        ),
        ("replica.state.store", "from replica.upstream import wire", "imports replica.upstream.wire"),
        ("replica.state.store", "from replica import Replica", "replica.state.store imports replica"),
        ("replica.events", "from . import state", "replica.events imports replica.state"),
        ("replica.tracking", "import replica.state.store, replica.upstream.wire", "imports both halves"),
        ("server.info", "from replica.state.store import Store", "server.info imports replica.state.store"),
        ("server.info", "from server.devnode import Devnode", "server.info imports server.devnode"),
        ("server.devnode.ws", "from server import settings", "server.devnode.ws imports server.settings"),
        ("server.devnode", "from ..settings import Settings", "server.devnode imports server.settings"),
        ("server.devnode.ws", "from replica import Replica", "server.devnode.ws imports replica"),
        ("server.__main__", "import replica", "server.__main__ imports replica"),
        ("server.signing", "from server.settings import Settings", "server.signing imports server.settings"),
        ("server.signing.l1", "from replica import Replica", "server.signing.l1 imports replica"),
        ("server.devnode", "from server.signing import l1", "server.devnode imports server.signing.l1"),
        ("server.exchange", "from server.signing.l1 import x", "server.exchange imports server.signing.l1"),
    ],
)
def test_a_wrong_arrow_is_seen(module: str, text: str, said: str) -> None:
    assert [line for line in wrong_arrows(sample(module, text)) if said in line]


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("replica.upstream.wire", "from replica.events import State\nfrom replica._x import y"),
        ("replica.replica", "from replica.state import store\nfrom replica.upstream import wire"),
        ("server.info", "from replica import Replica\nfrom server.settings import Settings"),
        ("server.app", "import replica.state.store, server.devnode"),
        ("server.devnode.ws", "from . import node\nimport asyncio, orjson"),
        ("server.devnode.ws", "from server.signing import recover"),
        ("server.exchange", "from server.signing import recover"),
        ("server.signing", "from server.signing.l1 import connection_id\nfrom coincurve import PublicKey"),
    ],
)
def test_a_right_arrow_passes(module: str, text: str) -> None:
    assert list(wrong_arrows(sample(module, text))) == []


def test_a_cycle_is_seen() -> None:
    sources = {"server.a": "from server import b", "server.b": "def f():\n import server.c", "server.c": ""}
    assert list(cycles(sources)) == []
    assert "server.a -> server.b -> server.c -> server.a" in cycles(
        {**sources, "server.c": "import server.a"}
    )
    assert list(cycles({"server.a": "import server.a"})) == ["server.a -> server.a"]


@pytest.mark.parametrize(
    ("module", "text", "wrong"),
    [
        ("replica.state.store", "import asyncio", True),
        ("replica.upstream.session", "from websockets.asyncio.client import connect", True),
        ("server.outbox", "def f():\n from starlette import types", True),
        ("server.settings", "from urllib import request", True),
        ("server.settings", "from urllib.parse import urlsplit", False),
        ("server.outbox", "import asyncio_like", False),
        ("replica.upstream.feed", "import asyncio, websockets", False),
        ("server.devnode.anything", "import uvicorn", False),
    ],
)
def test_the_network_outside_a_shell_is_seen(module: str, text: str, wrong: bool) -> None:
    assert bool(list(network_outside_shells(sample(module, text)))) is wrong


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("import time\nNOW = time.time()", True),
        ("import time as t\ndef f():\n return t.monotonic_ns()", True),
        ("from time import monotonic as now\nclock = Clock(now)", True),
        ("import datetime\ndatetime.datetime.now()", True),
        ("from datetime import datetime\ndatetime.now()", True),
        ("import random\nrandom.random()", True),
        ("from random import choice\nchoice([1])", True),
        ("from random import Random\nRandom()", True),
        ("import os\nos.urandom(8)", True),
        ("from random import Random\ndef f(random: Random):\n return random.random()", False),
        ("from random import Random\nRandom(7)", False),
        ("def f(time):\n return time.time()", False),
        ("import time\ntime.strftime('%Y', moment)", False),
    ],
)
def test_an_ambient_clock_is_seen(text: str, wrong: bool) -> None:
    assert bool(list(ambient_outside_composition({"server.outbox": text}))) is wrong
    assert list(ambient_outside_composition({"server.app": text})) == []


def test_the_lists_name_nothing_twice_and_nothing_foreign() -> None:
    for names in (SHELLS, COMPOSITION, BOTH_HALVES):
        assert len(set(names)) == len(names)
        assert all(is_ours(name) for name in names)
    assert {name for name in NETWORK if "." not in name} - sys.stdlib_module_names == {
        "aiohttp",
        "anyio",
        "httptools",
        "requests",
        "starlette",
        "uvicorn",
        "uvloop",
        "websockets",
    }


def sample(module: str, text: str) -> Sources:
    """A small tree with `module` in it."""
    names = (
        "replica",
        "replica.events",
        "replica.replica",
        "replica.state",
        "replica.state.store",
        "replica.upstream",
        "replica.upstream.wire",
        "server",
        "server.app",
        "server.settings",
        "server.devnode",
        "server.devnode.node",
        "server.signing",
        "server.signing.l1",
    )
    return {**dict.fromkeys(names, ""), module: text}
