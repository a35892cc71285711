"""Four sources in rising order, one clear line for what is wrong, no secret on the way."""

import os
import tomllib
from pathlib import Path
from typing import get_args

import hypothesis
import hypothesis.strategies as st
import pytest
from pydantic import ValidationError

from replica.catalogue import TYPES
from replica.keeping import ACCOUNT_STREAMS, MARKET_STREAMS
from server.settings import AccountStream, MarketStream, Settings, SettingsError, described, load, mask_url

A = "0x" + "a1" * 20
B = "0x" + "b2" * 20
SECRET = "sUpErSeCrEt"


@pytest.fixture
def at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def toml(folder: Path, text: str) -> Path:
    path = folder / "hl.toml"
    path.write_text(text, "utf-8")
    return path


def refusal(flags: dict[str, object] | None = None, config: Path | None = None) -> str:
    with pytest.raises(SettingsError) as caught:
        load(flags or {}, config)
    text = str(caught.value)
    assert "\n" not in text
    return text


# Where values come from


def test_defaults_are_the_documented_ones() -> None:
    settings, sources = load({})
    assert set(sources.values()) == {"default"}
    assert list(sources) == list(Settings.model_fields)
    assert (settings.host, settings.port, settings.network) == ("127.0.0.1", 3001, "mainnet")
    assert settings.upstream_url == "https://api.hyperliquid.xyz"
    assert settings.feed_max_frame_bytes == 64 * 1024 * 1024
    assert settings.denied_types == ("fileSnapshot",)


def test_every_setting_says_in_one_line_what_it_is() -> None:
    for name, field in Settings.model_fields.items():
        assert field.description, name
        assert "\n" not in field.description, name


@pytest.mark.parametrize(
    ("in_file", "in_env", "in_flag", "value", "source"),
    [
        (False, False, False, 3001, "default"),
        (True, False, False, 1, "file {file}"),
        (False, True, False, 2, "env HL_REPLICA_PORT"),
        (True, True, False, 2, "env HL_REPLICA_PORT"),
        (False, False, True, 3, "flag --port"),
        (True, False, True, 3, "flag --port"),
        (False, True, True, 3, "flag --port"),
        (True, True, True, 3, "flag --port"),
    ],
)
def test_the_higher_source_wins_and_is_named(
    at: Path,
    monkeypatch: pytest.MonkeyPatch,
    in_file: bool,
    in_env: bool,
    in_flag: bool,
    value: int,
    source: str,
) -> None:
    file = toml(at, "port = 1\nlog_level = 'debug'\n" if in_file else "")
    if in_env:
        monkeypatch.setenv("HL_REPLICA_PORT", "2")
    settings, sources = load({"port": "3"} if in_flag else {}, file)
    assert settings.port == value
    assert sources["port"] == source.format(file=file)
    assert settings.log_level == ("debug" if in_file else "info")


def test_a_list_from_a_higher_source_replaces_the_lower_one(
    at: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = toml(at, f"track = ['{A}']\ndenied_types = ['x']\nallowed_actions = ['order']\n")
    monkeypatch.setenv("HL_REPLICA_TRACK", B)
    monkeypatch.setenv("HL_REPLICA_DENIED_TYPES", "")
    settings, _ = load({}, file)
    assert settings.track == (B,)
    assert settings.denied_types == ()
    assert settings.allowed_actions == ("order",)


@pytest.mark.parametrize("text", ["a,b,c", "a b c", " a, b\n\tc ,"])
def test_the_environment_separates_by_comma_or_blank(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("HL_REPLICA_DENIED_TYPES", text)
    assert load({}).settings.denied_types == ("a", "b", "c")


def test_times_by_type() -> None:
    settings = load({"ttl_s": ["meta=5", "allMids=0.5", "meta=6"]}).settings
    assert settings.ttls() == {"meta": 6.0, "allMids": 0.5}


@pytest.mark.parametrize(("text", "value"), [("true", True), ("1", True), ("no", False), ("off", False)])
def test_the_environment_spells_truth_in_several_ways(
    monkeypatch: pytest.MonkeyPatch, text: str, value: bool
) -> None:
    monkeypatch.setenv("HL_REPLICA_READ_ONLY", text)
    assert load({}).settings.read_only is value


def test_a_model_made_by_hand_looks_nowhere_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HL_REPLICA_PORT", "9")
    assert Settings().port == 3001
    with pytest.raises(ValidationError):
        Settings().port = 1  # type: ignore[misc]


def test_the_variable_of_the_tests_is_no_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HL_REPLICA_RECORDED", "anywhere")
    load({})


# What is refused


@pytest.mark.parametrize(
    ("variable", "said"),
    [
        ("HL_REPLICA_PROT", "HL_REPLICA_PROT in the environment: did you mean HL_REPLICA_PORT?"),
        ("HL_REPLICA_ACCOUNT_TTL", "did you mean HL_REPLICA_ACCOUNT_TTL_S?"),
        ("HL_REPLICA_ZZZZZ", "unknown setting HL_REPLICA_ZZZZZ in the environment"),
        ("HL_REPLICA_", "unknown setting HL_REPLICA_ in the environment"),
    ],
)
def test_an_unknown_variable_is_refused(monkeypatch: pytest.MonkeyPatch, variable: str, said: str) -> None:
    monkeypatch.setenv(variable, "1")
    assert said in refusal()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("prot = 1", "unknown setting prot in {file}: did you mean port?"),
        ("zzzzz = 1", "unknown setting zzzzz in {file}"),
        ("[server]\nport = 1", "unknown setting server in {file}"),
        ('"po\\nrt" = 1', "unknown setting po\\nrt in {file}: did you mean port?"),
        ("port = ", "settings file {file} is not TOML: "),
        ("port = " + "[" * 100_000, "settings file {file} is not TOML: "),
        ("port = 1\nport = 2", "settings file {file} is not TOML: "),
    ],
)
def test_an_unknown_key_or_a_broken_file_is_refused(at: Path, text: str, said: str) -> None:
    file = toml(at, text)
    assert refusal(config=file).startswith(said.format(file=file))


def test_a_settings_file_that_is_not_there_is_refused(at: Path) -> None:
    assert refusal(config=at / "none.toml") == f"no settings file {at}/none.toml"
    assert refusal(config=at) == f"no settings file {at}"
    (at / "latin.toml").write_bytes(b"host = '\xff'")
    assert refusal(config=at / "latin.toml").startswith(f"settings file {at}/latin.toml is not TOML")


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("port", "70000", "port: input should be less than or equal to 65535, got '70000'"),
        ("port", "-1", "port: input should be greater than or equal to 0"),
        ("port", "x", "port: input should be a valid integer"),
        ("port", True, "port: input should be a number"),
        ("port", 1.5, "port: input should be a valid integer"),
        ("host", "", "host: "),
        ("host", "a b", "host: "),
        ("network", "mian", "network: input should be 'mainnet', 'testnet' or 'dev', got 'mian'"),
        ("batch_max_users", 0, "batch_max_users: input should be greater than 0, got 0"),
        ("batch_deadline_s", 0, "batch_deadline_s: input should be greater than 0"),
        ("account_ttl_s", -0.1, "account_ttl_s: input should be greater than or equal to 0"),
        ("account_live_s", "nan", "account_live_s: input should be a finite number"),
        ("account_live_s", float("inf"), "account_live_s: input should be a finite number"),
        ("account_live_s", False, "account_live_s: input should be a number"),
        ("upstream_users", -1, "upstream_users: input should be greater than or equal to 0"),
        ("read_only", "perhaps", "read_only: input should be a valid boolean"),
        ("denied_types", ["a b"], "denied_types: "),
        ("denied_types", "a", "denied_types: input should be a valid tuple"),
        ("ttl_s", ["meta"], "ttl_s: 'meta' is no TYPE=SECONDS"),
        ("ttl_s", ["meta=-1"], "ttl_s: 'meta=-1' is no TYPE=SECONDS"),
        ("ttl_s", ["meta=inf"], "ttl_s: 'meta=inf' is no TYPE=SECONDS"),
        ("log_level", "loud", "log_level: input should be 'debug'"),
        ("track", ["0x12"], "track: '0x12' is no address"),
        ("track", [A + "0"], "is no address"),
        ("track", ["@"], "track: @ wants a file name after it"),
        ("reconnect_min_s", 31, "reconnect_min_s is above reconnect_max_s"),
        ("write_reserve_weight", 1200, "write_reserve_weight leaves nothing"),
    ],
)
def test_a_bad_value_is_refused_with_its_key_and_source(name: str, value: object, said: str) -> None:
    text = refusal({name: value})
    assert said in text
    assert f"flag --{name}" in text


def test_a_long_bad_value_is_cut() -> None:
    assert len(refusal({"port": "9" * 100_000 + "x\n"})) < 250


@pytest.mark.parametrize(
    "good", [{"upstream_weight_per_minute": 0}, {"frozen_after_s": 0}, {"account_ttl_s": 0}, {"port": 0}]
)
def test_zero_is_a_value_where_it_has_a_meaning(good: dict[str, object]) -> None:
    load(good)


def test_a_conflict_names_both_sources(at: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HL_REPLICA_UPSTREAM", "http://localhost:1")
    said = "network dev brings its own upstream"
    text = refusal({"network": "dev"})
    assert text.startswith(said)
    assert "(network: flag --network, upstream: env HL_REPLICA_UPSTREAM)" in text
    # "" takes the upstream back, as TOML and flags have no null
    assert load({"network": "dev", "upstream": ""}).settings.upstream_url is None


# The upstream and its secrets


@pytest.mark.parametrize(
    ("given", "base"),
    [
        ("https://h.example", "https://h.example"),
        ("https://h.example/", "https://h.example"),
        ("http://127.0.0.1:3002", "http://127.0.0.1:3002"),
        ("http://[::1]:3002/", "http://[::1]:3002"),
        ("https://h.example/key//", "https://h.example/key"),
        ("https://user:pass@h.example/key", "https://user:pass@h.example/key"),
    ],
)
def test_the_upstream_is_a_base_url(given: str, base: str) -> None:
    assert Settings(upstream=given).upstream_url == base


def test_networks_have_their_upstreams() -> None:
    assert Settings(network="testnet").upstream_url == "https://api.hyperliquid-testnet.xyz"
    assert Settings(network="dev").upstream_url is None
    assert Settings(network="testnet", upstream="http://h").upstream_url == "http://h"


@pytest.mark.parametrize(
    "bad",
    [
        f"wss://h/{SECRET}",
        f"h/{SECRET}",
        f"https:///{SECRET}",
        f"https://h/{SECRET}?a=b",
        f"https://h/{SECRET}#",
        f"https://h/{SECRET} ",
        f"https://h/{SECRET}\n",
        f"https://{SECRET}@h:99999/",
        f"https://[{SECRET}/",
        f"https://h/{SECRET}/info",
        f"https://h/{SECRET}/ws/",
        f"https://h/{SECRET}/***",
        f"\udcff{SECRET}",
    ],
)
def test_a_bad_upstream_is_refused_without_repeating_it(bad: str) -> None:
    text = refusal({"upstream": bad})
    assert text.startswith("upstream: ")
    assert SECRET not in text


def test_no_secret_in_a_repr_or_an_error() -> None:
    settings = Settings(upstream=f"https://h/{SECRET}")
    assert SECRET not in f"{settings!r} {settings}"
    with pytest.raises(ValidationError) as caught:
        Settings(upstream=f"https://h/{SECRET}/info")
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("https://h", "https://h"),
        ("https://h/", "https://h"),
        ("https://h:8443/", "https://h:8443"),
        ("https://h/key", "https://h/***"),
        ("https://h/key/more?x=y#z", "https://h/***"),
        ("https://h?key", "https://h/***"),
        ("https://me:key@h", "https://***@h"),
        ("wss://me@h:1/key", "wss://***@h:1/***"),
        ("http://[::1]:3001", "http://[::1]:3001"),
        ("https://h:port/key", "***"),
        ("key", "***"),
        ("", "***"),
    ],
)
def test_mask_url(url: str, masked: str) -> None:
    assert mask_url(url) == masked


@hypothesis.given(st.text(), st.sampled_from(["https://h/{}", "https://{}@h", "https://h?{}", "x{}"]))
def test_masking_never_raises_and_never_tells(noise: str, form: str) -> None:
    masked = mask_url(form.format(SECRET + noise.replace("/", "").replace("?", "").replace("#", "")))
    assert SECRET.lower() not in masked.lower()


# Accounts to track


def test_tracked_addresses_are_lower_case_once_and_in_order() -> None:
    settings = Settings(track=(B.upper().replace("X", "x"), A, B))
    assert settings.tracked_addresses() == (B, A)


@pytest.mark.parametrize(
    "text",
    [
        f"{A}\n{B}\n",
        f"# ours\n\n  {A}  # the first\r\n{B}",
        f'["{A}", "{B}"]',
        f'\n [\n"{A}",\n"{B}"]\n',
        f"\ufeff{A}\n{B}\n",
    ],
)
def test_a_file_of_addresses(at: Path, text: str) -> None:
    (at / "mine.txt").write_text(text, "utf-8")
    assert load({"track": [B, "@mine.txt"]}).settings.tracked_addresses() == (B, A)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"{A}\nnope\n".encode(), "mine.txt line 2: 'nope' is no address"),
        (f"{A} {B}".encode(), "mine.txt line 1: "),
        (f'["{A}", 5]'.encode(), "mine.txt item 1: '5' is no address"),
        (b"[1", "mine.txt starts as a JSON list and is none"),
        (b"[" * 100_000, "mine.txt starts as a JSON list and is none"),
        (b"\xff\xfe", "mine.txt: not a text file"),
    ],
)
def test_a_bad_file_of_addresses_is_refused_by_place(at: Path, text: bytes, said: str) -> None:
    (at / "mine.txt").write_bytes(text)
    message = refusal({"track": ["@mine.txt"]})
    assert said in message
    assert message.startswith("track: ")
    assert message.endswith("(flag --track)")


def test_a_missing_file_of_addresses_is_refused(at: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HL_REPLICA_TRACK", "@gone")
    assert refusal() == f"track: can't read {at}/gone: No such file or directory (env HL_REPLICA_TRACK)"


def test_file_names_start_from_where_they_were_written(at: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (at / "conf").mkdir()
    (at / "conf" / "mine.txt").write_text(A)
    (at / "mine.txt").write_text(B)
    file = toml(at / "conf", "track = ['@mine.txt']\nkill_switch_file = 'stop'\n")
    relative = file.relative_to(at)

    settings, _ = load({}, relative)
    monkeypatch.setenv("HL_REPLICA_KILL_SWITCH_FILE", "stop")
    other, _ = load({"track": ["@mine.txt"]}, relative)

    monkeypatch.chdir("/")  # made absolute when they were loaded
    assert settings.tracked_addresses() == (A,)
    assert settings.kill_switch_file == str(at / "conf" / "stop")
    assert other.tracked_addresses() == (B,)
    assert other.kill_switch_file == str(at / "stop")


# What `config` prints


WORDS = st.lists(st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1), max_size=3)


@hypothesis.given(
    values=st.fixed_dictionaries(
        {},
        optional={
            "port": st.integers(0, 65_535),
            "network": st.sampled_from(["mainnet", "testnet", "dev"]),
            "account_live_s": st.floats(min_value=0, exclude_min=True, allow_infinity=False),
            "feed_max_frame_bytes": st.integers(1, 2**70),
            "read_only": st.booleans(),
            "denied_types": WORDS,
            "ttl_s": st.lists(st.sampled_from(["meta=1", "allMids=0.25"]), max_size=3),
            "kill_switch_file": st.text(st.characters(codec="utf-8"), min_size=1),
            "track": st.lists(st.sampled_from([A, B]), max_size=3),
        },
    )
)
def test_what_is_printed_loads_to_the_same(
    tmp_path_factory: pytest.TempPathFactory, values: dict[str, object]
) -> None:
    first = load(values)
    lines = list(described(first))
    assert [line.split(" = ")[0] for line in lines] == list(Settings.model_fields)
    assert all(line.isprintable() for line in (line.rpartition("   # ")[2] for line in lines))
    file = toml(tmp_path_factory.mktemp("printed"), "\n".join(lines) + "\n")
    assert len(tomllib.loads(file.read_text("utf-8"))) == len(lines)
    second = load({}, file)
    assert second.settings == first.settings
    assert set(second.sources.values()) == {f"file {file}"}


def test_a_printed_upstream_is_masked_and_not_taken_for_a_real_one(at: Path) -> None:
    lines = list(described(load({"upstream": f"https://h/{SECRET}"})))
    assert 'upstream = "https://h/***"   # flag --upstream' in lines
    assert SECRET not in "\n".join(lines)
    assert "was masked: put the real URL" in refusal(config=toml(at, "\n".join(lines)))


def test_a_file_name_can_not_break_out_of_its_comment(at: Path) -> None:
    odd = at / "a\nport = 1"
    odd.write_text("log_level = 'debug'")
    lines = list(described(load({}, odd)))
    assert len("\n".join(lines).splitlines()) == len(Settings.model_fields)
    assert any(line.endswith("a\\nport = 1") for line in lines)


def test_the_file_may_be_unreadable(at: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = toml(at, "")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, os.strerror(13), str(file))

    monkeypatch.setattr(Path, "open", refuse)
    assert refusal(config=file) == f"can't read settings file {file}: Permission denied"


def test_the_streams_that_can_be_kept_are_those_that_need_no_other_field() -> None:
    of_account = {name for name, row in TYPES.items() if row.required == ("user",)}
    of_market = {name for name, row in TYPES.items() if not row.required}
    assert set(get_args(AccountStream)) == of_account
    assert set(get_args(MarketStream)) == of_market
    defaults = Settings()
    assert (defaults.keep_account_streams, defaults.keep_market_streams) == (ACCOUNT_STREAMS, MARKET_STREAMS)
