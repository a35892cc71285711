"""The devnode in a thread, its client and the fixture `hl_devnode`, on the kernel's sockets."""

import http.client
import json
import math
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import websockets.sync.client

from server.devnode import faults
from server.devnode.background import running
from server.devnode.client import ControlError, DevnodeClient

ROOT = Path(__file__).resolve().parent.parent.parent
T0 = 1_800_000_000_000


@pytest.fixture
def node() -> Iterator[DevnodeClient]:
    with running(accounts=4, paused=True, time_ms=T0) as client:
        yield client


def test_a_thread_comes_and_goes_with_it() -> None:
    before = set(threading.enumerate())
    with running(accounts=2) as one, running(accounts=2, seed=2) as other:
        assert one.url != other.url and one.addresses != other.addresses
        assert len(set(threading.enumerate()) - before) == 2
    assert set(threading.enumerate()) == before
    with pytest.raises(ConnectionRefusedError):
        one.status()
    one.close()


def test_an_address_that_is_taken_and_an_option_that_is_none_are_said(node: DevnodeClient) -> None:
    before = threading.active_count()
    with pytest.raises(OSError, match="cannot listen"), running(port=int(node.url.rpartition(":")[2])):
        pass
    with pytest.raises(TypeError, match="colour"), running(colour="red"):
        pass
    assert threading.active_count() == before


def test_the_world_does_as_told(node: DevnodeClient) -> None:
    user = node.addresses[1]
    assert node.status()["time"] == T0 and node.status()["paused"]
    number = node.snapshot()
    node.set_mark("BTC", "50000")
    assert node.info("allMids")["BTC"] == "50000.0"
    node.step(3)
    node.advance(1.5)
    assert node.info("clearinghouseState", user=user)["time"] == T0 + 4501  # of the last block
    node.revert(number)
    assert node.info("allMids")["BTC"] != "50000.0"
    node.reset(seed=9)
    assert user not in node.addresses
    node.resume()
    assert not node.status()["paused"]
    node.fund(user, 10)
    assert node.info("clearinghouseState", user=user)["withdrawable"] == "10.0"
    with pytest.raises(ControlError, match="no address: nobody") as refused:
        node.fund("nobody", 10)
    assert refused.value.status == 400
    with pytest.raises(ControlError, match="no market NOPE") as refused:
        node.set_mark("NOPE", 1)
    assert refused.value.status == 400


def test_faults_are_set_counted_and_healed(node: DevnodeClient) -> None:
    node.faults.answer(429, times=2)
    for _ in range(2):
        with pytest.raises(ControlError, match="null") as refused:
            node.info("meta")
        assert refused.value.status == 429
    assert node.info("meta")["universe"]
    node.faults.cut("read", path=None, times=math.inf)
    assert node.status()["faults"] == ["cut when read"]
    with pytest.raises(http.client.RemoteDisconnected):
        node.info("meta")
    node.faults.heal()
    node.faults.answer_raw(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n\xff")
    with pytest.raises(http.client.IncompleteRead):
        node.info("meta")
    node.faults.answer(500, b"\xc3\xa9")
    with pytest.raises(ControlError, match="é"):
        node.info("meta")
    node.faults.heal()
    assert node.status()["faults"] == []
    assert node.status()["stats"]["info"]["meta"] == 6
    assert [one["body"] for one in node.requests()] == ['{"type": "meta"}'] * 6


def test_every_fault_can_be_set_from_here(node: DevnodeClient) -> None:
    required = {"answer": [429], "answer_raw": ["x"], "latency": [1], "cut": ["done"], "cut_writes": ["body"]}
    required |= {"delay_next_push": [1], "delay": [1.5]}
    for verb in faults.VERBS:
        getattr(node.faults, verb)(*required.get(verb, []))
    assert node.status()["faults"] == []  # `heal` is the last of them
    with pytest.raises(ControlError, match="no stage 'soon'"):
        node.faults.cut("soon")


def test_sockets_are_pushed_to_and_dropped_and_the_door_is_shut(node: DevnodeClient) -> None:
    with websockets.sync.client.connect(node.ws_url, proxy=None) as socket:
        socket.send(json.dumps({"method": "subscribe", "subscription": {"type": "allMids"}}))
        assert json.loads(socket.recv(5))["channel"] == "subscriptionResponse"
        before = socket.recv(5)
        assert node.say("anything") == 1
        assert socket.recv(5) == "anything"
        node.step()
        assert socket.recv(5) != before
        node.stale_push()
        assert socket.recv(5) == before
        assert node.drop_sockets() == 1
        with pytest.raises(websockets.ConnectionClosedError):
            socket.recv(5)
    node.refuse_connections()
    with pytest.raises(ConnectionRefusedError):
        websockets.sync.client.connect(node.ws_url, proxy=None)
    node.accept_connections()
    assert node.info("meta")["universe"]
    assert node.abort() == node.hang_up_idle() == 0


def test_a_proxy_on_this_machine_lets_nobody_in_from_elsewhere(node: DevnodeClient) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", int(node.url.rpartition(":")[2]), timeout=5)
    with closing(connection):
        connection.request("POST", "/dev/step", b"", {"X-Forwarded-For": "10.0.0.1"})
        assert connection.getresponse().read() == b"/dev/ is for this machine alone, not for 10.0.0.1"
    assert node.status()["time"] == T0


def test_a_connection_that_idled_out_is_opened_again(node: DevnodeClient) -> None:
    node.pause()
    with running(accounts=1) as other:
        other.status()
        assert other._connection.sock is not None
        other._connection.sock.shutdown(1)  # as if the other side had hung up meanwhile
        assert other.status()["source"].startswith("<Exchange 1 accounts")


# -- the fixture ---------------------------------------------------------------------------------------


def run_pytest(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """pytest as a user of the package runs it: in a folder of their own, without our conftest."""
    (folder / "pytest.ini").write_text("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    return subprocess.run(
        # Named as its entry point names it: it is loaded once, entry point or not.
        [sys.executable, "-m", "pytest", "-p", "hl_devnode", "-p", "no:cacheprovider", *arguments],
        cwd=folder,
        env=environment | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_the_example_of_the_readme_passes(tmp_path: Path) -> None:
    readme = (ROOT / "README.md").read_text()
    section = readme[readme.index("## Test your bot") :]
    (example,) = re.findall(r"```python\n(# test_my_bot\.py\n.*?)```", section, re.DOTALL)
    (tmp_path / "test_my_bot.py").write_text(example)
    done = run_pytest(tmp_path, "-q")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{example.count('def test_')} passed" in done.stdout


OPTIONS = """
import pytest

pytestmark = pytest.mark.hl_devnode(accounts=3)

def test_plain(hl_devnode):
    assert len(hl_devnode.addresses) == 3
    hl_devnode.faults.go_mute()

def test_anew(hl_devnode):
    assert hl_devnode.status()["faults"] == []

@pytest.mark.hl_devnode(seed=7, paused=True)
def test_closer(hl_devnode):
    status = hl_devnode.status()
    assert len(hl_devnode.addresses) == 3 and status["paused"]

@pytest.mark.hl_devnode(5)
def test_unnamed(hl_devnode):
    pass

@pytest.mark.asyncio
async def test_in_a_loop(hl_devnode):
    hl_devnode.step()
"""


def test_each_test_has_its_own_with_the_options_of_its_marker(tmp_path: Path) -> None:
    (tmp_path / "test_options.py").write_text(OPTIONS)
    done = run_pytest(tmp_path, "-q", "--strict-markers", "-W", "error")
    assert "4 passed, 1 error" in done.stdout, done.stdout + done.stderr
    assert "takes options by name, got (5,)" in done.stdout
    listed = run_pytest(tmp_path, "--markers").stdout
    assert "@pytest.mark.hl_devnode(**options)" in listed


def test_who_does_not_use_it_imports_nothing_of_it(tmp_path: Path) -> None:
    (tmp_path / "server").mkdir()
    (tmp_path / "server" / "__init__.py").write_text("MINE = True\n")
    (tmp_path / "test_mine.py").write_text(
        "import sys\n"
        "def test_nothing():\n"
        "    import server\n"
        "    assert server.MINE\n"
        "    assert not {'replica', 'uvicorn', 'orjson'} & set(sys.modules)\n"
    )
    done = run_pytest(tmp_path, "-q", "-W", "error")
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_is_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "server.py").write_text("")
    (tmp_path / "test_mine.py").write_text("def test_in_the_way(hl_devnode):\n    pass\n")
    done = run_pytest(tmp_path, "-q")
    assert f"{tmp_path / 'server.py'} hides hl-replica's package of that name" in done.stdout


def test_pytest_finds_the_plugin_by_its_entry_point() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["entry-points"]["pytest11"] == {"hl_devnode": "hl_devnode"}
    assert "hl_devnode" in project["tool"]["setuptools"]["py-modules"]
