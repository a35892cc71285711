"""What the composition root says of itself."""

import socket

import pytest

from replica import MirrorSettings
from server.app import info_settings, listen, replica_settings, url_of
from server.settings import Settings, SettingsError


def test_the_mirrors_settings_are_the_users() -> None:
    theirs = Settings(
        stream_linger_s=1.0,
        stream_rows=2,
        heal_within_s=3.0,
        heal_rows=4,
        heal_requests=5,
        heal_concurrency=6,
        universe_refresh_s=7.0,
    )
    made = replica_settings(theirs, "http://h", ())
    assert made.mirror == MirrorSettings(
        linger_s=1.0, keep_rows=2, heal_within_s=3.0, waiting_rows=4, heal_pages=5, healings=6
    )
    assert made.universe_refresh_s == 7.0


def test_by_default_they_are_the_mirrors_own() -> None:
    made = replica_settings(Settings(), "http://h", ())
    assert made.mirror == MirrorSettings()


def test_times_are_of_types_whose_answers_are_kept() -> None:
    rows = info_settings(Settings(ttl_s=("meta=5",))).rows
    assert rows["meta"].ttl_s == 5.0
    with pytest.raises(SettingsError, match=r"ttl_s: allmids is no type"):
        info_settings(Settings(ttl_s=("allmids=5",)))


@pytest.mark.parametrize(("host", "shown"), [("127.0.0.1", "127.0.0.1"), ("::1", "[::1]")])
def test_the_url_it_prints_works_as_pasted(host: str, shown: str) -> None:
    try:
        listener = listen(host, 0)
    except (OSError, socket.gaierror):
        pytest.skip(f"no {host} on this machine")
    with listener:
        assert url_of(listener) == f"http://{shown}:{listener.getsockname()[1]}"
