"""Reading a folder of recordings: request/response pairs and whole account states, each with its rank.

Layout (see `../shared/data` beside a checkout):

* `info/*.json`            `{"meta", "request", "response"}`; `documented__*` are examples, not recordings
* `clearinghouse/*.json`   account states with what was recorded beside them; `"partial": true` is skipped
* `ws/*.jsonl`             one message a line, bare or under `msg`

Bodies are compact re-serialisations with the recorded order of keys, which is what the wire has. A file that
can't be read is a `RecordingError`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import orjson

from server.devnode.info import USER_TYPES, address
from server.devnode.markets import MAIN_DEX

# Types that belong to an account, whether or not unknown accounts have an answer (info.USER_TYPES do).
# A recording of one whose request was not kept gets an invented address, so that it can be asked for.
_ACCOUNT_TYPES = USER_TYPES | {
    "activeAssetData", "borrowLendUserState", "delegatorSummary", "maxBuilderFee", "portfolio", "referral",
    "userFees", "userRateLimit", "webData2",
}  # fmt: skip
_SUMMARY = {"accountValue", "totalNtlPos", "totalRawUsd", "totalMarginUsed"}
_POSITION = {
    "coin", "szi", "leverage", "entryPx", "positionValue", "unrealizedPnl", "returnOnEquity", "liquidationPx",
    "marginUsed",
}  # fmt: skip


class RecordingError(ValueError):
    """A recording that can't be read: one line."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One recorded answer of `/info`. `request` names an address wherever its type needs one."""

    name: str  # of the file
    request: Mapping[str, Any]
    status: int
    body: bytes
    items: int  # rows, when the answer is a list
    invented_user: bool
    rank: tuple[bool, float]  # mainnet before testnet, then the newest; larger is better


@dataclass(frozen=True, slots=True)
class State:
    """One whole recorded clearinghouseState. `user` is None where the recording does not say."""

    name: str  # of the file, with a number where it holds several
    user: str | None
    dex: str
    body: bytes
    time: float  # seconds, for "newest"; 0 when nothing tells


def invented_address(name: str) -> str:
    """The address under which a recording without one is served: the same in every run."""
    return "0x" + hashlib.sha256(f"recorded/{name}".encode()).hexdigest()[:40]


def read_pairs(folder: Path) -> list[Pair]:
    """All pairs of `info/`, in the order of their file names."""
    pairs = []
    for path in _pair_files(folder):
        with _reading(path):
            pairs.append(_pair(path.name, orjson.loads(path.read_bytes())))
    return pairs


def _pair_files(folder: Path) -> list[Path]:
    found = sorted((folder / "info").glob("*.json"))
    return [path for path in found if not path.name.startswith("documented__")]


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """What goes wrong with a file, in a line that names it."""
    try:
        yield
    except OSError as error:
        raise RecordingError(f"{path.name}: {error.strerror}") from None
    except orjson.JSONDecodeError:
        raise RecordingError(f"{path.name}: no JSON") from None
    except (AttributeError, KeyError, TypeError, ValueError):
        raise RecordingError(f"{path.name}: not a recording as this folder has them") from None


def _pair(name: str, document: Mapping[str, Any]) -> Pair:
    meta, response = document["meta"], document["response"]
    request = dict(document["request"])
    invented = request["type"] in _ACCOUNT_TYPES and address(request.get("user")) is None
    if invented:
        request["user"] = invented_address(name)
    return Pair(
        name,
        request,
        meta.get("http_status") or 200,
        orjson.dumps(response),
        len(response) if isinstance(response, list) else 0,
        invented,
        (meta.get("net") != "testnet", _time(meta.get("captured"), response)),
    )


def read_states(folder: Path) -> list[State]:
    """All whole states: of `info/`, then `ws/`, then `clearinghouse/`, each by file name.

    Identical states (same dex, equal values whatever the order of keys) are listed once: the first one
    that names its user, else the first.
    """
    found: dict[tuple[str, bytes], State] = {}
    for state in _all_states(folder):
        key = (state.dex, orjson.dumps(orjson.loads(state.body), option=orjson.OPT_SORT_KEYS))
        held = found.get(key)
        if held is None or (held.user is None and state.user is not None):
            found[key] = state  # in place: a dict keeps the position of a key that it knows
    return list(found.values())


def is_whole(state: object) -> bool:
    """Are the keys there without which it is no account state? Eras differ, trimmed ones do not pass."""
    if not isinstance(state, dict):
        return False
    summaries = [state.get("marginSummary"), state.get("crossMarginSummary")]
    if not all(isinstance(one, dict) and one.keys() >= _SUMMARY for one in summaries):
        return False
    rows = state.get("assetPositions")
    if not isinstance(rows, list):
        return False
    if not all(isinstance(row, dict) and row.get("position", {}).keys() >= _POSITION for row in rows):
        return False
    # In 2023 there was no `time` and no maintenance margin, and `withdrawable` was in the summaries.
    if "time" in state:
        return {"withdrawable", "crossMaintenanceMarginUsed"} <= state.keys()
    return "withdrawable" in state or "withdrawable" in state["marginSummary"]


def _all_states(folder: Path) -> Iterator[State]:
    for path in _pair_files(folder):
        with _reading(path):
            yield from _pair_states(path.name, orjson.loads(path.read_bytes()))
    for path in sorted((folder / "ws").glob("*.jsonl")):
        with _reading(path):
            yield from _numbered(_frame_states(path), path.name)
    for path in sorted((folder / "clearinghouse").glob("*.json")):
        with _reading(path):
            document = orjson.loads(path.read_bytes())
            if isinstance(document, dict) and not document.get("partial"):
                states = [one for one in _within(document) if is_whole(one)]
                found = (_state("", document.get("user"), document.get("dex"), one, None) for one in states)
                yield from _numbered(found, path.name)


def _pair_states(name: str, document: Mapping[str, Any]) -> Iterator[State]:
    request, response = document["request"], document["response"]
    captured = document["meta"].get("captured")
    if request["type"] == "clearinghouseState" and is_whole(response):
        yield _state(name, request.get("user"), request.get("dex"), response, captured)
    elif request["type"] == "webData2" and is_whole(response.get("clearinghouseState")):
        yield _state(name, response.get("user"), None, response["clearinghouseState"], captured)


def _frame_states(path: Path) -> Iterator[State]:
    """The states in a recorded session of a websocket."""
    for line in path.read_bytes().splitlines():
        message = orjson.loads(line)
        message = message.get("msg", message)
        data = message.get("data")
        if not isinstance(data, dict):
            continue
        user = data.get("user")
        match message.get("channel"):
            case "clearinghouseState" | "webData2":
                states = [(data.get("dex"), data.get("clearinghouseState"))]
            case "allDexsClearinghouseState":
                states = data["clearinghouseStates"]
            case _:
                continue
        for dex, state in states:
            if is_whole(state):
                yield _state("", user, dex, state, None)


def _numbered(states: Iterator[State], name: str) -> Iterator[State]:
    for number, state in enumerate(states):
        label = f"{name}#{number}" if number else name
        yield State(label, state.user, state.dex, state.body, state.time)


def _state(name: str, user: object, dex: object, state: object, captured: str | None) -> State:
    text = dex if isinstance(dex, str) else MAIN_DEX
    return State(name, address(user), text, orjson.dumps(state), _time(captured, state))


def _within(value: object) -> Iterator[dict[str, Any]]:
    """Every object that has a margin summary, however deep it is wrapped."""
    if isinstance(value, dict):
        if "marginSummary" in value:
            yield value
        else:
            for inner in value.values():
                yield from _within(inner)


def _time(captured: str | None, response: object) -> float:
    """When it was recorded, in seconds: what the payload says, else what the collector noted."""
    if isinstance(response, dict) and isinstance(response.get("time"), int):
        return float(response["time"]) / 1000
    if not captured:
        return 0.0
    parse = datetime.fromisoformat if captured[:1].isdigit() else parsedate_to_datetime
    moment = parse(captured)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return moment.timestamp()
