"""What every test stands on: virtual time, a quiet environment, recorded payloads where there are any."""

import asyncio
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import async_solipsism
import hypothesis
import pytest

ROOT = Path(__file__).resolve().parent.parent
SOCKETS = ROOT / "tests" / "sockets"
RECORDED = "HL_REPLICA_RECORDED"

hypothesis.settings.register_profile(
    "hl-replica",
    deadline=None,  # the first example pays for imports and caches
    derandomize=bool(os.environ.get("CI")),  # CI repeats itself; a desk explores
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("hl-replica")


def pytest_configure(config: pytest.Config) -> None:
    """Forget the caller's settings: no test depends on what was exported in the shell that runs it."""
    for name in [name for name in os.environ if name.upper().startswith("HL_REPLICA_")]:
        if name != RECORDED:
            del os.environ[name]


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Virtual time for everyone: an hour of sleep takes no time, a wait for nothing is an error.

    Only `tests/sockets/` runs on the kernel's time and sockets.
    """
    if SOCKETS in item.path.parents:
        return {"real": asyncio.new_event_loop}
    return {"virtual": async_solipsism.EventLoop}


@pytest.fixture(scope="session")
def recorded_dir() -> Path:
    """The folder of payloads recorded from the exchange, or a skip that says how to point at one."""
    folder = Path(os.environ.get(RECORDED) or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no recorded payloads at {folder}: name their folder in {RECORDED}")
    return folder
