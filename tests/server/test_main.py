"""The command line: exit codes, one line on stderr, and what is handed to the parts that do the work."""

import errno
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from server.__main__ import main
from server.settings import Settings

A = "0x" + "a1" * 20
Result = tuple[int, str, str]


@pytest.fixture
def run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Result]:
    """Run the command line in an empty folder: (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def run(*argv: str) -> Result:
        code = main(argv)
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A stand-in for `server.app`: remembers the settings it was to run, raises `.error` if set."""
    seen = SimpleNamespace(settings=None, error=None, code=0)

    def run(settings: Settings) -> int:
        seen.settings = settings
        if seen.error is not None:
            raise seen.error
        return seen.code

    def run_recorder(settings: Settings, for_s: float | None) -> int:
        seen.for_s = for_s
        return run(settings)

    module: Any = ModuleType("server.app")
    module.run = run
    module.run_recorder = run_recorder
    monkeypatch.setitem(sys.modules, "server.app", module)
    return seen


@pytest.fixture
def devnode(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A stand-in for `server.devnode`: remembers how it was made and where it served."""
    seen = SimpleNamespace(made=None, served=None, error=None)

    async def serve(node: object, host: str, port: int) -> None:
        seen.served = (node, host, port)
        if seen.error is not None:
            raise seen.error

    def make(**given: object) -> str:
        seen.made = {**given, "limits": str(given["limits"])}
        if str(given["recorded"]).endswith("bad"):
            raise RecordingError("x.json: no JSON")
        return "the node"

    module: Any = ModuleType("server.devnode")

    class Limits:
        def __repr__(self) -> str:
            return "the limits"

        @classmethod
        def off(cls) -> str:
            return "no limits"

    class RecordingError(ValueError):
        pass

    def replay(path: Path, **given: object) -> str:
        seen.made = {"replay": path, **given}
        if path.name == "bad":
            raise RecordingError("bad: damaged")
        return "the replay"

    module.Devnode, module.Limits, module.serve = make, Limits, serve
    module.Replay, module.RecordingError = replay, RecordingError
    monkeypatch.setitem(sys.modules, "server.devnode", module)
    return seen


def assert_one_line(result: Result, code: int, said: str) -> None:
    assert result[0] == code
    assert result[1] == ""
    assert result[2].startswith("hl-replica: ")
    assert said in result[2]
    assert result[2].count("\n") == 1
    assert result[2].endswith("\n")


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ([], "required: serve | record | devnode | config"),
        (["sevre"], "invalid choice: 'sevre'"),
        (["serve", "--prot", "1"], "unrecognized arguments: --prot 1"),
        (["serve", "--net", "dev"], "unrecognized arguments: --net dev"),
        (["serve", "more"], "unrecognized arguments: more"),
        (["serve", "--port"], "--port: expected one argument"),
        (["serve", "--port", "70000"], "port: input should be less than or equal to 65535"),
        (["serve", "--port", "a\nb"], "got 'a\\nb' (flag --port)"),
        (["serve", "--a\nb"], "unrecognized arguments: --a\\nb"),
        (["serve", "--network", "dev", "--upstream", "http://h"], "network dev brings its own upstream"),
        (["serve", "--upstream", "h:1"], "upstream: wants an http:// or https:// base URL"),
        (["serve", "--track", A, "0x1"], "track: '0x1' is no address"),
        (["serve", "--track", "@gone"], "gone: No such file or directory (flag --track)"),
        (["serve", "--config", "gone.toml"], "no settings file gone.toml"),
        (["config", "--config", "gone.toml"], "no settings file gone.toml"),
        (["config", "--host", ""], "host: "),
        (["devnode", "--port", "65536"], "--port: wants a whole number from 0 to 65535, got '65536'"),
        (["devnode", "--accounts", "0"], "--accounts: wants a whole number of at least 1"),
        (["devnode", "--seed", "x"], "--seed: wants a whole number of at least 0"),
        (["devnode", "--recorded", "gone"], "--recorded: no folder gone"),
        (["devnode", "--replay", "x", "--recorded", "."], "--replay and --recorded: choose one"),
        (["devnode", "--replay", "x", "--speed", "0"], "--speed: wants a number above 0, got '0'"),
        (["devnode", "--replay", "x", "--speed", "inf"], "--speed: wants a number above 0, got 'inf'"),
        (["record", "--track", A], "--out: name a folder to record into"),
        (["record", "--out", "d", "--for", "x"], "--for: wants a number above 0, got 'x'"),
        (["record", "--out", "d", "--keep", "0"], "greater than 0, got '0' (flag --keep)"),
        (["record", "--out", "d", "--port", "1"], "unrecognized arguments: --port 1"),
        (["serve", "--record", "d", "--rotate-mb", "x"], "got 'x' (flag --rotate-mb)"),
    ],
)
def test_a_mistake_is_one_line_and_code_2(
    run: Callable[..., Result],
    app: SimpleNamespace,
    devnode: SimpleNamespace,
    argv: list[str],
    said: str,
) -> None:
    assert_one_line(run(*argv), 2, said)
    assert app.settings is None
    assert devnode.made is None


@pytest.mark.parametrize("command", ["serve", "config"])
def test_a_mistake_in_file_or_environment_is_one_line_and_code_2(
    run: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    (tmp_path / "hl.toml").write_text("prot = 1")
    said = "unknown setting prot in hl.toml: did you mean port?"
    assert_one_line(run(command, "--config", "hl.toml"), 2, said)
    monkeypatch.setenv("HL_REPLICA_PROT", "1")
    said = "unknown setting HL_REPLICA_PROT in the environment: did you mean HL_REPLICA_PORT?"
    assert_one_line(run(command), 2, said)


def test_version_and_help_go_to_stdout(run: Callable[..., Result]) -> None:
    code, out, err = run("--version")
    assert (code, err) == (0, "")
    assert out.startswith("hl-replica ")
    for command in ("serve", "record", "devnode", "config"):
        code, out, err = run(command, "--help")
        assert (code, err) == (0, "")
        assert out.startswith(f"usage: hl-replica {command}")


def test_serve_hands_the_settings_on_and_returns_the_code(
    run: Callable[..., Result], app: SimpleNamespace
) -> None:
    app.code = 7
    argv = ["--host", "::", "--port", "0", "--network", "testnet", "--upstream", "http://h/", "--track", A]
    assert run("serve", *argv, "--track", A.upper().replace("X", "x")) == (7, "", "")
    expected = Settings(
        host="::", port=0, network="testnet", upstream="http://h", track=(A, A.upper().replace("X", "x"))
    )
    assert app.settings == expected
    assert app.settings.tracked_addresses() == (A,)


def test_the_last_of_a_flag_said_twice_counts(run: Callable[..., Result], app: SimpleNamespace) -> None:
    # scripts/run says --network dev before what its caller says
    run("serve", "--network", "dev", "--network", "testnet")
    assert app.settings.network == "testnet"


def wrapped(cause: OSError) -> OSError:
    """As a server raises it that has words of its own."""
    error = OSError("cannot listen")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.EADDRINUSE, "address already in use"), "port 3001 on 127.0.0.1 is already in use"),
        (PermissionError(errno.EACCES, "no"), "can't listen on port 3001 of 127.0.0.1: no"),
        (wrapped(OSError(errno.EADDRINUSE, "in use")), "port 3001 on 127.0.0.1 is already in use"),
        (socket.gaierror(-2, "not known"), "can't listen on port 3001 of 127.0.0.1: not known"),
    ],
)
def test_a_place_it_can_not_listen_on_is_one_line_and_code_1(
    run: Callable[..., Result],
    app: SimpleNamespace,
    devnode: SimpleNamespace,
    error: OSError,
    said: str,
) -> None:
    app.error = devnode.error = error
    assert_one_line(run("serve"), 1, said)
    assert_one_line(run("devnode", "--port", "3001"), 1, said)


@pytest.mark.parametrize(
    "error", [RuntimeError("a bug"), OSError(errno.EMFILE, "files"), PermissionError(errno.EACCES, "no", "f")]
)
def test_any_other_failure_keeps_its_trace(
    run: Callable[..., Result], app: SimpleNamespace, error: Exception
) -> None:
    app.error = error
    with pytest.raises(type(error)):
        run("serve")


def test_an_interrupt_is_quiet(run: Callable[..., Result], app: SimpleNamespace) -> None:
    app.error = KeyboardInterrupt()
    assert run("serve") == (130, "", "")


def test_devnode_has_its_defaults(run: Callable[..., Result], devnode: SimpleNamespace) -> None:
    assert run("devnode") == (0, "", "")
    trading = {"chain": "testnet", "faucet_usd": 10_000, "impersonation": False}
    assert devnode.made == {"accounts": 100, "seed": 1, "limits": "the limits", "recorded": None} | trading
    assert devnode.served == ("the node", "127.0.0.1", 3002)


def test_devnode_takes_its_flags(
    run: Callable[..., Result], devnode: SimpleNamespace, tmp_path: Path
) -> None:
    argv = ["--host", "0.0.0.0", "--port", "0", "--seed", "5", "--accounts", "2", "--recorded", "."]
    argv += ["--chain", "mainnet", "--faucet-usd", "0", "--impersonation"]
    assert run("devnode", *argv, "--no-limits") == (0, "", "")
    trading = {"chain": "mainnet", "faucet_usd": 0, "impersonation": True}
    assert devnode.made == {"accounts": 2, "seed": 5, "limits": "no limits", "recorded": Path(".")} | trading
    assert devnode.served == ("the node", "0.0.0.0", 0)


def test_record_hands_on_settings_and_seconds(
    run: Callable[..., Result], app: SimpleNamespace, tmp_path: Path
) -> None:
    argv = ["--network", "testnet", "--track", A, "--out", "d", "--rotate-mb", "2", "--rotate-minutes", "3"]
    assert run("record", *argv, "--keep", "4", "--for", "1.5") == (0, "", "")
    assert app.settings == Settings(
        network="testnet",
        track=(A,),
        record_dir=str(tmp_path / "d"),
        record_rotate_mb=2,
        record_rotate_minutes=3,
        record_keep=4,
    )
    assert app.for_s == 1.5
    assert run("record", *argv) == (0, "", "")
    assert app.for_s is None


def test_serve_records_where_it_is_told(
    run: Callable[..., Result], app: SimpleNamespace, tmp_path: Path
) -> None:
    assert run("serve", "--record", "d", "--keep", "2") == (0, "", "")
    assert (app.settings.record_dir, app.settings.record_keep) == (str(tmp_path / "d"), 2)
    run("serve")
    assert app.settings.record_dir is None


def test_replay_takes_its_flags(run: Callable[..., Result], devnode: SimpleNamespace) -> None:
    assert run("devnode", "--replay", "d", "--speed", "2.5", "--no-drops", "--port", "0") == (0, "", "")
    assert devnode.made == {"replay": Path("d"), "speed": 2.5, "drops": False}
    assert devnode.served == ("the replay", "127.0.0.1", 0)
    assert run("devnode", "--replay", "d") == (0, "", "")
    assert devnode.made == {"replay": Path("d"), "speed": 1.0, "drops": True}
    assert_one_line(run("devnode", "--replay", "bad"), 2, "--replay: bad: damaged")


def test_config_prints_values_and_sources(
    run: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hl.toml").write_text("port = 1\nread_only = true")
    monkeypatch.setenv("HL_REPLICA_UPSTREAM", "https://h/key")
    code, out, err = run("config", "--config", "hl.toml", "--port", "2", "--track", A)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert len(lines) == len(Settings.model_fields)
    for line in (
        'host = "127.0.0.1"   # default',
        "port = 2   # flag --port",
        "read_only = true   # file hl.toml",
        'upstream = "https://h/***"   # env HL_REPLICA_UPSTREAM',
        f'track = ["{A}"]   # flag --track',
    ):
        assert line in lines


def test_config_reads_what_it_printed(run: Callable[..., Result], tmp_path: Path) -> None:
    _, first, _ = run("config", "--network", "dev", "--port", "0", "--track", A)
    (tmp_path / "printed.toml").write_text(first)
    code, second, err = run("config", "--config", "printed.toml")
    assert (code, err) == (0, "")
    assert [line.split("   # ")[0] for line in second.splitlines()] == [
        line.split("   # ")[0] for line in first.splitlines()
    ]


def test_config_starts_without_the_server(tmp_path: Path) -> None:
    """As a process of its own, through `python -m server`; nothing heavy is imported for it."""
    heavy = ("starlette", "uvicorn", "aiohttp", "websockets", "replica", "server.app", "server.devnode")
    code = (
        "import sys; from server.__main__ import main; code = main(['config']);"
        f"print([name for name in {heavy!r} if name in sys.modules], file=sys.stderr); sys.exit(code)"
    )
    root = Path(__file__).resolve().parents[2]
    environ = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environ)
    assert (done.returncode, done.stderr) == (0, "[]\n")
    done = subprocess.run(
        [sys.executable, "-m", "server", "nope"], capture_output=True, text=True, env=environ, cwd=tmp_path
    )
    assert_one_line((done.returncode, done.stdout, done.stderr), 2, "invalid choice: 'nope'")


def test_the_real_devnode_on_a_taken_port_says_one_line() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        argv = [sys.executable, "-m", "server", "devnode", "--accounts", "1", "--port", port]
        done = subprocess.run(argv, capture_output=True, text=True, cwd=Path(__file__).resolve().parents[2])
    said = f"port {port} on 127.0.0.1 is already in use"
    assert_one_line((done.returncode, done.stdout, done.stderr), 1, said)


def test_a_reader_that_has_seen_enough_is_no_fault() -> None:
    read, write = os.pipe()
    os.close(read)
    argv = [sys.executable, "-m", "server", "config"]
    root = Path(__file__).resolve().parents[2]
    with os.fdopen(write, "w") as out:
        done = subprocess.run(argv, stdout=out, stderr=subprocess.PIPE, text=True, cwd=root)
    assert (done.returncode, done.stderr) == (141, "")


def test_recorded_payloads_that_cannot_be_read_are_told_in_a_line(
    run: Callable[..., Result], devnode: SimpleNamespace, tmp_path: Path
) -> None:
    (tmp_path / "bad").mkdir()
    said = run("devnode", "--recorded", str(tmp_path / "bad"))
    assert_one_line(said, 2, "--recorded: x.json: no JSON")
