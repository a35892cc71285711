"""The client for the controls has the devnode's methods, name for name. How it talks is in tests/sockets/."""

import inspect
from collections.abc import Callable
from typing import Any

import pytest

from server.devnode import controls, devnode, faults
from server.devnode.client import DevnodeClient, FaultsClient
from server.devnode.devnode import Devnode
from server.devnode.faults import Faults

PAIRS = [
    *((Devnode, DevnodeClient, verb) for verb in (*controls.VERBS, *devnode.VERBS)),
    *((Faults, FaultsClient, verb) for verb in faults.VERBS),
]


def shape(call: Callable[..., Any]) -> list[tuple[str, Any, Any]]:
    parameters = inspect.signature(call).parameters.values()
    return [(one.name, one.kind, one.default) for one in parameters]


@pytest.mark.parametrize(
    ("real", "client", "verb"), PAIRS, ids=lambda value: getattr(value, "__name__", value)
)
def test_the_methods_are_the_devnodes(real: type, client: type, verb: str) -> None:
    assert shape(getattr(client, verb)) == shape(getattr(real, verb))
    sent: list[dict[str, object]] = []
    target = object.__new__(client)

    def call(name: str, /, **fields: object) -> int:
        sent.append({"verb": name, **fields})
        return 1

    setattr(target, "_call" if client is FaultsClient else "call", call)
    fields = {name: object() for name, *_ in shape(getattr(client, verb)) if name != "self"}
    if verb == "answer":
        fields["body"] = "text"
    getattr(target, verb)(**fields)
    # Every parameter is handed on, under its own name.
    assert sent == [{"verb": verb, **fields}]


@pytest.mark.parametrize("url", ["", "127.0.0.1:3002", "https://api.example", "http://"])
def test_a_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="http://HOST:PORT"):
        DevnodeClient(url)


def test_it_says_where_it_points() -> None:
    client = DevnodeClient("http://localhost:3002/")
    assert (client.url, client.ws_url) == ("http://localhost:3002", "ws://localhost:3002/ws")
    assert repr(client) == "<DevnodeClient http://localhost:3002>"
    client.close()
