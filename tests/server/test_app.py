"""What the composition root says of itself."""

import socket

import pytest

from server.app import listen, url_of


@pytest.mark.parametrize(("host", "shown"), [("127.0.0.1", "127.0.0.1"), ("::1", "[::1]")])
def test_the_url_it_prints_works_as_pasted(host: str, shown: str) -> None:
    try:
        listener = listen(host, 0)
    except (OSError, socket.gaierror):
        pytest.skip(f"no {host} on this machine")
    with listener:
        assert url_of(listener) == f"http://{shown}:{listener.getsockname()[1]}"
