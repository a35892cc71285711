"""The pytest plugin of hl-replica: the fixture `hl_devnode`, a simulated Hyperliquid for one test.

A module of its own, and next to empty: pytest imports it in every run of everyone who has hl-replica
installed, so nothing else of it is imported before a test asks for the fixture.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from server.devnode.client import DevnodeClient

MARKER = "hl_devnode(**options): options of the simulated exchange behind the fixture `hl_devnode`"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", MARKER)


@pytest.fixture
def hl_devnode(request: pytest.FixtureRequest) -> Iterator[DevnodeClient]:
    """A simulated Hyperliquid on a free port, anew for each test, and its controls.

    20 accounts, seed 1, no rate limits; `@pytest.mark.hl_devnode(accounts=5, seed=7, paused=True)` and other
    options of `Devnode` change that.
    """
    try:
        from server.devnode import Limits
        from server.devnode.background import running
    except ImportError:
        import server

        pytest.fail(f"{server.__file__} hides hl-replica's package of that name", pytrace=False)

    options: dict[str, Any] = {"accounts": 20, "limits": Limits.off()}
    for marker in reversed(list(request.node.iter_markers("hl_devnode"))):  # the closest one counts
        if marker.args:
            pytest.fail(f"the marker hl_devnode takes options by name, got {marker.args!r}", pytrace=False)
        options |= marker.kwargs
    with running(**options) as client:
        yield client
