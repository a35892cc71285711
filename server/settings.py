"""Every setting in one frozen model, and where each value in force came from.

Four sources in rising order: the defaults below, a TOML file, environment variables `HL_REPLICA_<NAME>`,
flags. Names are flat and carry their unit; the text under a field is its documentation. A key nobody knows
and a value nobody can mean are refused in one line (`SettingsError`), because a misspelt limit that is
quietly ignored is found out in production.
"""

import difflib
import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, NamedTuple, NoReturn
from urllib.parse import urlsplit

from pydantic import Field, StringConstraints, ValidationError, field_validator, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

# By name here, for `config` is to start without the replica; a test holds them to its table.
AccountStream = Literal[
    "clearinghouseState",
    "allDexsClearinghouseState",
    "openOrders",
    "spotState",
    "twapStates",
    "webData3",
    "orderUpdates",
    "userEvents",
    "notification",
    "userFills",
    "userFundings",
    "userNonFundingLedgerUpdates",
    "userTwapSliceFills",
    "userTwapHistory",
    "userHistoricalOrders",
    "webData2",
]
MarketStream = Literal[
    "allMids", "assetCtxs", "spotAssetCtxs", "allDexsAssetCtxs", "fastAssetCtxs", "outcomeMetaUpdates"
]

ENV_PREFIX = "HL_REPLICA_"
NOT_SETTINGS = frozenset({"HL_REPLICA_RECORDED"})
"""Variables with our prefix that are no settings: the folder of recorded payloads, for the tests."""

PUBLIC_UPSTREAMS = MappingProxyType(
    {"mainnet": "https://api.hyperliquid.xyz", "testnet": "https://api.hyperliquid-testnet.xyz"}
)
MASK = "***"

_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")

Port = Annotated[int, Field(ge=0, le=65_535)]
Count = Annotated[int, Field(gt=0)]
CountOrZero = Annotated[int, Field(ge=0)]
Seconds = Annotated[float, Field(gt=0)]
SecondsOrZero = Annotated[float, Field(ge=0)]
Word = Annotated[str, StringConstraints(pattern=r"^\S+$")]


class SettingsError(Exception):
    """A setting the user has to correct: one line that names the key and its source, secrets left out."""


class Settings(BaseSettings):
    """All settings. `Settings(port=0)` takes the rest from the defaults and looks nowhere else: `load` does.

    Raises pydantic's `ValidationError`; `load` turns that into a `SettingsError`.
    """

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        allow_inf_nan=False,
        hide_input_in_errors=True,
    )

    host: Word = "127.0.0.1"
    """Address to listen on."""
    port: Port = 3001
    """Port to listen on; 0 picks a free one."""
    network: Literal["mainnet", "testnet", "dev"] = "mainnet"
    """Which exchange is mirrored; dev starts a simulated one inside."""
    upstream: str | None = Field(default=None, repr=False)
    """Base URL to use instead of the network's own, websocket at its /ws; "" for none. May hold a key."""
    track: tuple[str, ...] = ()
    """Accounts to follow from the start: addresses, or @FILE with one a line or a JSON list."""

    # Contract limits
    batch_max_users: Count = 1000
    """Most users in one batch of a single dex."""
    batch_max_users_all_dexes: Count = 100
    """Most users in one batch over all dexes."""
    max_dexes: Count = 32
    """Most dexes that an answer over all dexes covers; the first ones do."""
    batch_deadline_s: Seconds = 5.0
    """A batch is answered within this, with the users it could not get named as failed."""
    batch_concurrency: Count = 32
    """Upstream reads one batch may have in flight."""
    batch_official: bool = False
    """Answer batchClearinghouseStates as the exchange's own server does: a plain array, or an error."""
    max_body_bytes: Count = 1_048_576
    """Largest request body that is read."""
    denied_types: tuple[Word, ...] = ("fileSnapshot",)
    """Types of /info that are refused."""

    # Freshness
    account_live_s: Seconds = 6.0
    """What a feed last told of an account answers reads up to this age."""
    market_live_s: SecondsOrZero = 6.0
    """What a feed last told of the market answers reads up to this age; 0 = never."""
    contexts_live_s: SecondsOrZero = 6.0
    """The same for the contexts of all coins, which are pushed every 14 s; 15 = always from memory."""
    account_ttl_s: SecondsOrZero = 5.0
    """A fetched account state answers reads up to this age."""
    perp_dexs_ttl_s: SecondsOrZero = 60.0
    """The list of dexes is asked for again after this."""
    ttl_s: tuple[Word, ...] = ()
    """How long answers of a type of /info are kept, where the table's time is not wanted: TYPE=SECONDS."""
    error_ttl_s: SecondsOrZero = 3.0
    """A refusal that the upstream would repeat (422, 500 null) is not asked for again within this."""
    stale_if_error_s: SecondsOrZero = 60.0
    """When the upstream fails, an answer up to this age is served, marked stale."""
    not_before_wait_s: SecondsOrZero = 3.0
    """How long a read waits for a state as new as it demands."""
    write_floor_margin_ms: CountOrZero = 250
    """Added to the time of a write when its sender's next reads are held to it."""
    cache_max_states: Count = 100_000
    """Most account states kept in memory."""
    documents_max: Count = 20_000
    """Most other answers kept in memory."""
    documents_max_bytes: Count = 256 * 1024 * 1024
    """Most bytes of them."""
    frozen_after_s: SecondsOrZero = 15.0
    """A state whose own time stands still this long is not live; 0 = times are not judged (a recording)."""

    # The upstream's limits, 0 = no limit
    upstream_users: CountOrZero = 10
    """Distinct users the upstream lets one address subscribe to; 0 = no limit."""
    upstream_subscriptions: CountOrZero = 1000
    """Websocket subscriptions the upstream allows; 0 = no limit."""
    upstream_messages_per_minute: CountOrZero = 2000
    """Websocket messages the upstream accepts; 0 = no limit."""
    upstream_connections: CountOrZero = 10
    """Websocket connections the upstream allows at a time; 0 = no limit."""
    upstream_connections_per_minute: CountOrZero = 30
    """New websocket connections the upstream accepts; 0 = no limit."""
    upstream_weight_per_minute: CountOrZero = 1200
    """Request weight the upstream allows; 0 = no limit."""
    write_reserve_weight: CountOrZero = 120
    """Part of the weight that reads leave to writes."""

    # Streams that are kept for reads
    keep_account_streams: tuple[AccountStream, ...] = (
        "openOrders",
        "spotState",
        "userFills",
        "userTwapSliceFills",
        "userNonFundingLedgerUpdates",
        "userHistoricalOrders",
        "userTwapHistory",
    )
    """Subscriptions kept of each followed account; empty = none."""
    keep_market_streams: tuple[MarketStream, ...] = (
        "allMids",
        "allDexsAssetCtxs",
        "spotAssetCtxs",
        "outcomeMetaUpdates",
    )
    """Subscriptions kept of the market; empty = none."""
    keep_subscriptions: CountOrZero = 400
    """Most subscriptions that are kept: the rest of the upstream's are for clients; 0 = no limit."""

    # Feed
    ping_interval_s: Seconds = 30.0
    """Time between two pings."""
    pong_timeout_s: Seconds = 10.0
    """A connection whose pong takes longer is given up."""
    silent_after_s: Seconds = 15.0
    """An account pushed nothing this long is subscribed again; when most are, we dial again."""
    subscribe_timeout_s: Seconds = 10.0
    """A subscription not acknowledged within this is asked for again."""
    reconnect_min_s: Seconds = 0.5
    """First wait before dialling again; doubles each time."""
    reconnect_max_s: Seconds = 30.0
    """Longest wait before dialling again."""
    healthy_after_s: Seconds = 60.0
    """A connection that lived this long starts the waits over."""
    feed_empty_s: Seconds = 30.0
    """A connection opened for clients is closed when nobody needed it this long."""
    feed_max_frame_bytes: Count = 64 * 1024 * 1024
    """Largest websocket frame taken from the upstream."""

    # Streams for websocket clients
    stream_linger_s: SecondsOrZero = 60.0
    """A subscription is kept up this long after its last client has left, warm for the next one."""
    stream_rows: Count = 2000
    """Most rows of one subscription (fills, fundings ...) that are kept for clients that join later."""
    heal_within_s: Seconds = 60.0
    """What an outage took is looked for this long, then clients are told of a gap."""
    heal_rows: Count = 5000
    """Most new rows of one subscription that wait meanwhile; beyond it clients are told of a gap."""
    heal_requests: Count = 10
    """Most requests for one list of what was missed."""
    heal_concurrency: Count = 4
    """Most subscriptions for which is looked at a time."""
    universe_refresh_s: Seconds = 60.0
    """For a coin that is not known the exchange's lists are read again, at most this often."""

    # Requests to the upstream
    connect_timeout_s: Seconds = 3.0
    """For opening a connection."""
    read_timeout_s: Seconds = 10.0
    """For the answer to a read."""
    write_timeout_s: Seconds = 20.0
    """For the answer to a write; past it the outcome is unknown."""
    budget_wait_s: SecondsOrZero = 1.0
    """How long a read waits for weight before it is refused with Retry-After."""
    read_connections: Count = 64
    """Most connections for reads."""
    write_connections: Count = 32
    """Most connections for writes; reads never use them."""

    # Websocket clients
    ws_connections: Count = 10_000
    """Most websocket clients at a time; one more is refused with 503."""
    ws_connections_per_address: CountOrZero = 0
    """Most of them from one address, the next is refused with 429; 0 = no limit."""
    ws_subscriptions: CountOrZero = 1000
    """Subscriptions one client may hold; 0 = no limit."""
    ws_new_subscriptions_per_minute: CountOrZero = 100
    """Of those that no client has yet, beyond the first `ws_subscriptions` of each client; 0 = none."""
    ws_messages_per_minute: CountOrZero = 2000
    """Messages one client may send; at twice as many it is closed; 0 = no limit."""
    ws_posts: CountOrZero = 100
    """Posts one client may have in flight; 0 = no limit."""
    ws_max_frame_bytes: Count = 1_048_576
    """Largest message that is read from a client."""
    ws_ack_wait_s: SecondsOrZero = 3.0
    """A subscription the upstream leaves unanswered this long is acknowledged without it."""
    ws_idle_s: Seconds = 60.0
    """A client is closed after this long without a word either way, after twice that without one from it."""
    ws_outbox_messages: Count = 1000
    """Most messages that wait for a slow client; beyond it is closed."""
    ws_outbox_bytes: Count = 8 * 1024 * 1024
    """Most bytes that wait for a slow client; beyond it is closed."""
    ws_behind_s: Seconds = 30.0
    """Longest a message waits for a slow client; beyond it is closed."""
    ws_write_buffer_bytes: Count = 256 * 1024
    """What is handed to a client's socket ahead of its reading; the rest waits where it can be replaced."""
    ws_close_s: Seconds = 5.0
    """A client that does not answer a close within this is cut off."""
    ws_resume_s: SecondsOrZero = 60.0
    """How long numbered frames are kept for clients that come back to a subscription nobody else holds."""
    ws_resume_messages: Count = 1000
    """Most numbered frames kept of one subscription."""
    ws_resume_bytes: Count = 64 * 1024 * 1024
    """Most bytes of numbered frames kept of all subscriptions."""

    # Policy for writes
    read_only: bool = False
    """Refuse every write."""
    allowed_actions: tuple[Word, ...] = ()
    """Types of action that are forwarded; empty = all."""
    kill_switch_file: str | None = None
    """While this file exists every write is refused; "" for none."""

    # Recording
    record_dir: str | None = None
    """Folder into which all that is exchanged with the upstream is recorded; "" for none."""
    record_rotate_mb: Count = 64
    """A recording goes on in a new file at this size, compressed."""
    record_rotate_minutes: Count = 60
    """A recording goes on in a new file at this age."""
    record_keep: Count = 24
    """Most recording files the folder keeps; the oldest go."""
    record_backlog_mb: Count = 64
    """Most that may wait to be written; what comes beyond is lost, and the recording says so."""
    record_writes: bool = False
    """Record the bodies of /exchange too, signatures included."""

    # Process
    shutdown_grace_s: SecondsOrZero = 10.0
    """How long requests in flight may take to finish on shutdown."""
    log_level: Literal["debug", "info", "warning", "error", "critical"] = "info"
    """Least severe log line that is written."""

    # Network dev
    dev_accounts: Count = 1000
    """Accounts of the embedded exchange."""
    dev_seed: CountOrZero = 1
    """Seed of the embedded exchange: same seed, same accounts."""
    dev_limits: bool = False
    """Whether the embedded exchange enforces the public one's limits."""

    @property
    def upstream_url(self) -> str | None:
        """Base URL without trailing slash. None for network dev: known once its devnode listens."""
        return self.upstream or PUBLIC_UPSTREAMS.get(self.network)

    def ttls(self) -> dict[str, float]:
        """`ttl_s` by type, in seconds."""
        return dict(_ttl(word) for word in self.ttl_s)

    def tracked_addresses(self) -> tuple[str, ...]:
        """`track` with files read (now), lower-case, first mention kept. Raises `SettingsError`."""
        found = (address for entry in self.track for address in _addresses(entry))
        return tuple(dict.fromkeys(found))

    @field_validator("*", mode="before")
    @classmethod
    def _plain(cls, value: object, info: Any) -> object:
        """Refuse true for a number, which pydantic reads as 1; "" is none, because TOML has no null."""
        annotation = cls.model_fields[info.field_name].annotation
        if isinstance(value, bool) and annotation in (int, float):
            raise ValueError("input should be a number")
        return None if value == "" and annotation == str | None else value

    @field_validator("upstream")
    @classmethod
    def _base_url(cls, value: str | None) -> str | None:
        return None if value is None else _base_url(value)

    @field_validator("track")
    @classmethod
    def _entries(cls, entries: tuple[str, ...]) -> tuple[str, ...]:
        for entry in entries:
            if not entry.startswith("@"):
                _address(entry)
            elif entry == "@":
                raise ValueError("@ wants a file name after it")
        return entries

    @field_validator("ttl_s")
    @classmethod
    def _times(cls, words: tuple[str, ...]) -> tuple[str, ...]:
        for word in words:
            _ttl(word)
        return words

    @model_validator(mode="after")
    def _fit_together(self) -> "Settings":
        if self.network == "dev" and self.upstream is not None:
            _conflict(
                "network dev brings its own upstream: choose another network or no upstream",
                "network",
                "upstream",
            )
        if self.reconnect_min_s > self.reconnect_max_s:
            _conflict("reconnect_min_s is above reconnect_max_s", "reconnect_min_s", "reconnect_max_s")
        if 0 < self.upstream_weight_per_minute <= self.write_reserve_weight:
            _conflict(
                "write_reserve_weight leaves nothing of upstream_weight_per_minute to reads",
                "write_reserve_weight",
                "upstream_weight_per_minute",
            )
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        # `load` asks the sources one by one, to know which of them each value came from.
        return (init_settings,)


class Loaded(NamedTuple):
    """The settings in force and, per name: `default`, `file PATH`, `env NAME` or `flag --name`."""

    settings: Settings
    sources: Mapping[str, str]


def load(
    flags: Mapping[str, object],
    config: Path | None = None,
    *,
    spelt: Mapping[str, str] = MappingProxyType({}),
) -> Loaded:
    """Combine defaults, the file `config`, the environment and `flags` (by setting name, only those given).

    `spelt` has the flags that are not named like their setting.

    Relative file names become absolute: those in `config` start from its folder, others from the working
    directory. Raises `SettingsError`, also for a tracked file that can't be read.
    """
    values: dict[str, Any] = {}
    sources = dict.fromkeys(Settings.model_fields, "default")
    cwd = Path.cwd()
    for name, value, source in _from_file(config) if config is not None else ():
        values[name], sources[name] = _anchored(name, value, cwd / Path(config or "").parent), source
    for name, value, source in (
        *_from_environment(),
        *((n, v, f"flag {spelt.get(n, f'--{n}')}") for n, v in flags.items()),
    ):
        values[name], sources[name] = _anchored(name, value, cwd), source
    try:
        settings = Settings(**values)
    except ValidationError as error:
        raise SettingsError(_told(error, sources)) from None
    try:
        settings.tracked_addresses()
    except SettingsError as error:
        raise SettingsError(f"track: {error} ({sources['track']})") from None
    return Loaded(settings, sources)


def described(loaded: Loaded) -> Iterator[str]:
    """Lines `name = value   # source`: TOML that `load` takes back, but for a masked upstream."""
    for name, value in loaded.settings:
        shown = mask_url(value) if name == "upstream" and value else value
        yield f"{name} = {_toml(shown)}   # {one_line(loaded.sources[name])}"


def mask_url(url: str) -> str:
    """`https://host/***`: scheme, host and port stay, all that may hold a key goes. Never raises."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return MASK
    if not parts.scheme or not host:
        return MASK
    user = f"{MASK}@" if "@" in parts.netloc else ""
    place = f"[{host}]" if ":" in host else host
    rest = f"/{MASK}" if parts.path.strip("/") or parts.query or parts.fragment else ""
    return f"{parts.scheme}://{user}{place}{'' if port is None else f':{port}'}{rest}"


def one_line(text: str) -> str:
    """Escape what would break a line or a terminal."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


class _Environment(EnvSettingsSource):
    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        """Lists are words between commas or blanks, where the library would have JSON."""
        return value.replace(",", " ").split()


def _from_environment() -> Iterator[tuple[str, Any, str]]:
    names = {}
    for variable in os.environ:
        if variable.upper().startswith(ENV_PREFIX) and variable not in NOT_SETTINGS:
            name = variable[len(ENV_PREFIX) :].lower()
            if name not in Settings.model_fields:
                guess = _nearest(name)
                hint = f": did you mean {ENV_PREFIX}{guess.upper()}?" if guess else ""
                raise SettingsError(f"unknown setting {one_line(variable)} in the environment{hint}")
            names[name] = variable
    for name, value in _Environment(Settings)().items():
        yield name, value, f"env {names[name]}"


def _from_file(path: Path) -> Iterator[tuple[str, Any, str]]:
    shown = one_line(str(path))
    try:
        if not path.is_file():  # the library takes a missing file for an empty one
            raise SettingsError(f"no settings file {shown}")
        values = TomlConfigSettingsSource(Settings, path)()
    except OSError as error:
        raise SettingsError(f"can't read settings file {shown}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SettingsError(f"settings file {shown} is not TOML: {one_line(str(error))}") from None
    for name, value in values.items():
        if name not in Settings.model_fields:
            guess = _nearest(name)
            hint = f": did you mean {guess}?" if guess else ""
            raise SettingsError(f"unknown setting {one_line(name)} in {shown}{hint}")
        yield name, value, f"file {path}"


def _nearest(name: str) -> str | None:
    return next(iter(difflib.get_close_matches(name.lower(), Settings.model_fields, 1)), None)


def _anchored(name: str, value: Any, folder: Path) -> Any:
    """File names made absolute; whatever has the wrong shape is left for validation to refuse."""
    if name in ("kill_switch_file", "record_dir") and isinstance(value, str) and value:
        return os.path.abspath(folder / value)
    if name == "track" and isinstance(value, list | tuple):
        return [
            "@" + os.path.abspath(folder / entry[1:])
            if isinstance(entry, str) and entry.startswith("@") and entry != "@"
            else entry
            for entry in value
        ]
    return value


def _told(error: ValidationError, sources: Mapping[str, str]) -> str:
    """One line for the first thing wrong; the rest shows once that is right."""
    first = error.errors(include_url=False)[0]
    context = first.get("ctx", {})
    if "fields" in context:
        given = (f"{name}: {sources[name]}" for name in context["fields"])
        return f"{first['msg']} ({', '.join(given)})"
    name = str(first["loc"][0])
    if "error" in context:  # a ValueError of ours: says enough, and nothing secret
        return f"{name}: {context['error']} ({one_line(sources[name])})"
    why = first["msg"][0].lower() + first["msg"][1:]
    got = "" if name == "upstream" else f", got {_short(first['input'])}"
    return f"{name}: {why}{got} ({one_line(sources[name])})"


def _conflict(message: str, *fields: str) -> NoReturn:
    raise PydanticCustomError("conflict", "{message}", {"message": message, "fields": fields})


def _base_url(text: str) -> str:
    """`text` without trailing slash. Raises ValueError that does not repeat it: it may hold a key."""
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ValueError("not a URL") from None
    if parts.scheme not in ("http", "https"):
        raise ValueError("wants an http:// or https:// base URL (the websocket is at its /ws)")
    if not host or not text.isprintable() or " " in text:
        raise ValueError("not a URL")
    if parts.query or parts.fragment or text[-1] in "?#":
        raise ValueError("a base URL ends before any ? or #")
    if MASK in text:
        raise ValueError(f"holds {MASK} where a secret was masked: put the real URL")
    base = text.rstrip("/")
    for path in ("/info", "/exchange", "/ws"):
        if base.endswith(path):
            raise ValueError(f"wants the base URL, without {path} at its end")
    return base


def _ttl(word: str) -> tuple[str, float]:
    """Type and seconds of `TYPE=SECONDS`. Raises ValueError."""
    type_, _, seconds = word.partition("=")
    if not re.fullmatch(r"[0-9]+(\.[0-9]+)?", seconds):
        raise ValueError(f"{_short(word)} is no TYPE=SECONDS")
    return type_, float(seconds)


def _address(text: str) -> str:
    if not _ADDRESS.fullmatch(text):
        raise ValueError(f"{_short(text)} is no address: 0x and 40 hex digits")
    return text.lower()


def _addresses(entry: str) -> Iterator[str]:
    """The addresses of one `track` entry. Raises `SettingsError` naming the file and the line."""
    if not entry.startswith("@"):
        yield _address(entry)
        return
    path = Path(entry[1:])
    shown = one_line(str(path))
    try:
        text = path.read_text("utf-8-sig")
    except OSError as error:
        raise SettingsError(f"can't read {shown}: {error.strerror}") from None
    except ValueError:  # not UTF-8, or a name with a NUL
        raise SettingsError(f"can't read {shown}: not a text file") from None
    for place, word in _words(text, shown):
        try:
            yield _address(word)
        except ValueError as error:
            raise SettingsError(f"{place}: {error}") from None


def _words(text: str, shown: str) -> Iterator[tuple[str, str]]:
    """(place, word) of a file of addresses: a JSON list, or one a line with # comments and blank lines."""
    if text.lstrip().startswith("["):
        try:
            items = json.loads(text)
        except (ValueError, RecursionError):
            raise SettingsError(f"{shown} starts as a JSON list and is none") from None
        for index, item in enumerate(items):
            yield f"{shown} item {index}", item if isinstance(item, str) else json.dumps(item)
        return
    for number, line in enumerate(text.splitlines(), 1):
        if word := line.partition("#")[0].strip():
            yield f"{shown} line {number}", word


def _short(value: object) -> str:
    text = one_line(repr(value))
    return text if len(text) <= 60 else text[:57] + "..."


def _toml(value: object) -> str:
    match value:
        case None:
            return '""'
        case bool():
            return "true" if value else "false"
        case str():
            # A JSON string is a TOML one, but for DEL, which TOML wants escaped.
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        case tuple():
            return "[" + ", ".join(_toml(item) for item in value) + "]"
    return repr(value)
