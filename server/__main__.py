"""The command line: `hl-replica serve | record | devnode | config`.

Exit codes: 0 done, 1 could not run (the port is taken), 2 the user has to correct something. Either way the
reason is one line on stderr. What a command needs is imported inside it, so that `config` stays quick.
"""

import argparse
import asyncio
import errno
import logging
import math
import os
import socket
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import NoReturn

from server.settings import Loaded, SettingsError, described, load, one_line

PROGRAM = "hl-replica"
SETTING_FLAGS = {
    "host": "--host",
    "port": "--port",
    "network": "--network",
    "upstream": "--upstream",
    "track": "--track",
    "record_dir": "--record",
    "record_rotate_mb": "--rotate-mb",
    "record_rotate_minutes": "--rotate-minutes",
    "record_keep": "--keep",
}
"""By setting name."""
CANNOT_LISTEN = frozenset({errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EACCES})


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    try:
        options = _parser().parse_args(argv)
    except SystemExit as done:  # --help and --version: argparse printed and is finished
        return int(done.code or 0)
    except _UsageError as error:
        return _complain(str(error), 2)
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        return command(options)
    except SettingsError as error:
        return _complain(str(error), 2)
    except KeyboardInterrupt:
        return 130  # as a shell says it: 128 + SIGINT
    except BrokenPipeError:
        # Whoever read our output has seen enough (`config | head`). Python would complain once more at its
        # last flush, so that goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141  # 128 + SIGPIPE


def _serve(options: argparse.Namespace) -> int:
    settings = _load(options).settings
    from server.app import run

    return _listening(settings.host, settings.port, lambda: run(settings))


def _record(options: argparse.Namespace) -> int:
    settings = _load(options, record_dir="--out").settings
    if settings.record_dir is None:
        return _complain("--out: name a folder to record into", 2)
    from server.app import run_recorder

    return run_recorder(settings, options.seconds)


def _config(options: argparse.Namespace) -> int:
    for line in described(_load(options)):
        print(line)
    return 0


def _devnode(options: argparse.Namespace) -> int:
    if options.recorded is not None and not options.recorded.is_dir():
        return _complain(f"--recorded: no folder {one_line(str(options.recorded))}", 2)
    if options.replay is not None:
        return _replay(options)
    from server.devnode import Devnode, Limits, RecordingError, serve

    try:
        node = Devnode(
            accounts=options.accounts,
            seed=options.seed,
            limits=Limits() if options.limits else Limits.off(),
            recorded=options.recorded,
            chain=options.chain,
            faucet_usd=options.faucet_usd,
            impersonation=options.impersonation,
        )
    except RecordingError as error:
        return _complain(f"--recorded: {error}", 2)

    def run() -> int:
        asyncio.run(serve(node, options.host, options.port))
        return 0

    return _listening(options.host, options.port, run)


def _replay(options: argparse.Namespace) -> int:
    if options.recorded is not None:
        return _complain("--replay and --recorded: choose one", 2)
    from server.devnode import RecordingError, Replay, serve

    try:
        node = Replay(options.replay, speed=options.speed, drops=options.drops)
    except RecordingError as error:
        return _complain(f"--replay: {error}", 2)

    def run() -> int:
        asyncio.run(serve(node, options.host, options.port))
        return 0

    return _listening(options.host, options.port, run)


def _load(options: argparse.Namespace, **spelt: str) -> Loaded:
    given = vars(options)
    flags = {name: given[name] for name in SETTING_FLAGS if name in given}
    return load(flags, options.config, spelt={**SETTING_FLAGS, **spelt})


def _listening(host: str, port: int, run: Callable[[], int]) -> int:
    """`run()`, with a place it can't listen on told in one line. Any other failure keeps its trace."""
    log = logging.getLogger("uvicorn.error")
    log.addFilter(_is_no_bare_error)
    try:
        return run()
    except OSError as error:
        # A server may put words of its own around the system's error: that one has the number.
        cause = error.__cause__ if isinstance(error.__cause__, OSError) else error
        if cause.filename is not None:  # a file's permissions, not a port's
            raise
        if cause.errno == errno.EADDRINUSE:
            return _complain(f"port {port} on {host} is already in use", 1)
        if cause.errno in CANNOT_LISTEN or isinstance(cause, socket.gaierror):
            return _complain(f"can't listen on port {port} of {host}: {cause.strerror}", 1)
        raise
    finally:
        log.removeFilter(_is_no_bare_error)


def _is_no_bare_error(record: logging.LogRecord) -> bool:
    """uvicorn logs the system's error as it is before it gives up: we say it better, and once."""
    return not isinstance(record.msg, OSError)


def _complain(message: str, code: int) -> int:
    print(f"{PROGRAM}: {one_line(message)}", file=sys.stderr)
    return code


class _UsageError(Exception):
    """What argparse has to say about the arguments."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Without the usage block: what is wrong is one line."""
        raise _UsageError(f"{message} (see {self.prog} --help)")


def _parser() -> _Parser:
    parser = _Parser(prog=PROGRAM, description="A self-hosted API for Hyperliquid.", allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {version(PROGRAM)}")
    commands = parser.add_subparsers(metavar="serve | record | devnode | config", required=True)

    serve = commands.add_parser("serve", allow_abbrev=False, help="serve the API")
    _add_server_settings(serve)
    serve.set_defaults(command=_serve)

    record = commands.add_parser(
        "record", allow_abbrev=False, help="record what the upstream says, to replay it with devnode --replay"
    )
    _add_settings(record)
    record.add_argument(
        "--out", dest="record_dir", default=argparse.SUPPRESS, metavar="DIR", help="folder to record into"
    )
    record.add_argument(
        "--for", dest="seconds", type=_positive, metavar="SECONDS", help="stop after this time"
    )
    _add_rotation(record)
    record.set_defaults(command=_record)

    config = commands.add_parser("config", allow_abbrev=False, help="print the settings in force")
    _add_server_settings(config)
    config.set_defaults(command=_config)

    node = commands.add_parser("devnode", allow_abbrev=False, help="run the simulated exchange alone")
    node.add_argument("--host", default="127.0.0.1", metavar="H", help="address to listen on (127.0.0.1)")
    node.add_argument(
        "--port", default=3002, type=_whole(0, 65_535), metavar="P", help="port, 0 = any (3002)"
    )
    node.add_argument("--seed", default=1, type=_whole(0), metavar="N", help="same seed, same accounts (1)")
    node.add_argument("--accounts", default=100, type=_whole(1), metavar="N", help="how many accounts (100)")
    node.add_argument("--recorded", type=Path, metavar="DIR", help="folder of recorded payloads")
    node.add_argument(
        "--replay", type=Path, metavar="FILE|DIR", help="be the upstream that hl-replica record recorded"
    )
    node.add_argument("--speed", default=1.0, type=_positive, metavar="N", help="of the replay (1)")
    node.add_argument(
        "--no-drops", dest="drops", action="store_false", help="replay no connection that was cut or refused"
    )
    node.add_argument(
        "--chain", choices=("testnet", "mainnet"), default="testnet", help="what signatures are for (testnet)"
    )
    node.add_argument(
        "--faucet-usd", default=10_000, type=_whole(0), metavar="N", help="for new signers (10000)"
    )
    node.add_argument("--impersonation", action="store_true", help="let /dev/impersonate act for anybody")
    node.add_argument("--no-limits", dest="limits", action="store_false", help="enforce no limits")
    node.set_defaults(command=_devnode)
    return parser


def _add_server_settings(parser: argparse.ArgumentParser) -> None:
    absent = argparse.SUPPRESS
    parser.add_argument("--host", default=absent, metavar="H", help="address to listen on")
    parser.add_argument("--port", default=absent, metavar="P", help="port to listen on, 0 picks a free one")
    _add_settings(parser)
    parser.add_argument(
        "--record", dest="record_dir", default=absent, metavar="DIR", help="record the upstream while serving"
    )
    _add_rotation(parser)


def _add_rotation(parser: argparse.ArgumentParser) -> None:
    for flag, metavar, said in (
        ("--rotate-mb", "MB", "begin a new file of the recording at this size (64)"),
        ("--rotate-minutes", "MINUTES", "and at this age (60)"),
        ("--keep", "FILES", "most files kept in its folder (24)"),
    ):
        name = "record_" + flag.strip("-").replace("-", "_")
        parser.add_argument(flag, dest=name, default=argparse.SUPPRESS, metavar=metavar, help=said)


def _add_settings(parser: argparse.ArgumentParser) -> None:
    """Flags of `SETTING_FLAGS`. Values go on as text: the settings judge them."""
    absent = argparse.SUPPRESS
    parser.add_argument("--config", type=Path, metavar="FILE", help="TOML file of settings")
    parser.add_argument("--network", default=absent, metavar="mainnet|testnet|dev", help="exchange to mirror")
    parser.add_argument("--upstream", default=absent, metavar="URL", help="base URL of another upstream")
    parser.add_argument(
        "--track",
        default=absent,
        action="extend",
        nargs="+",
        metavar="ADDRESS|@FILE",
        help="accounts to follow",
    )


def _whole(least: int, most: int | None = None) -> Callable[[str], int]:
    """A whole number in these bounds, as an argparse type."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if value < least or (most is not None and value > most):
            bounds = f"of at least {least}" if most is None else f"from {least} to {most}"
            raise argparse.ArgumentTypeError(f"wants a whole number {bounds}, got {text[:40]!r}")
        return value

    return parse


def _positive(text: str) -> float:
    """A number above 0, as an argparse type."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"wants a number above 0, got {text[:40]!r}")
    return value


if __name__ == "__main__":
    sys.exit(main())
