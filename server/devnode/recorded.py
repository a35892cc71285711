"""A folder of recordings as an upstream: what was recorded is served, byte for byte.

How a request finds its recording:

1. The same request: type, user in any case, and all other fields; a field that is null and an empty
   `dex` count as left out. Of several answers to one request, mainnet's newest is served.
2. A recording whose request was not kept: its type under the address invented for its file.
3. Without a recording, an account's type is answered as the exchange answers for an account that it has
   never seen; everything else is a 422, except `exchangeStatus`, which only tells the time.

Account states are served, and pushed, from `states` alone. Of several states of one account and dex the
newest keeps the address, the others are served under addresses invented from their files, so that every
recorded state can be asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from server.devnode.clearinghouse import render_zero
from server.devnode.info import DEX_TYPES, EMPTY, FAILED, MALFORMED, Answer, InfoRequest, address, ok
from server.devnode.markets import MAIN_DEX
from server.devnode.recordings import (
    Pair,
    RecordingError,
    State,
    invented_address,
    read_pairs,
    read_states,
)


class Recorded:
    """Immutable once it is read, but for the last `time` given to an unknown account.

    Raises `RecordingError` when the folder holds no recording at all, or one that can't be read.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pairs: Sequence[Pair] = read_pairs(folder)
        self.states: Mapping[tuple[str, str], bytes] = _assign(read_states(folder))
        if not self.pairs and not self.states:
            raise RecordingError(
                f"no recordings in {folder}: it needs info/*.json, ws/*.jsonl or clearinghouse/*.json"
            )
        # Worst first, so that the best of several answers to one request is the one that stays; of two
        # equals, the first by file name.
        backwards = list(reversed(self.pairs))
        ranked = sorted(backwards, key=lambda pair: pair.rank)
        self._exact = {canonical(pair.request): pair for pair in ranked}
        self._invented = {
            (pair.request["type"], pair.request["user"]): pair for pair in ranked if pair.invented_user
        }
        self._texts = {key: body.decode() for key, body in self.states.items()}
        self._dexes = self._known_dexes()
        self._last_ms = 0

    def __repr__(self) -> str:
        return (
            f"<Recorded {self.folder}: {len(self.states)} states of {len(self.addresses)} accounts,"
            f" {len(self.pairs)} answers>"
        )

    @property
    def addresses(self) -> Sequence[str]:
        return tuple(dict.fromkeys(user for user, _ in self.states))

    @property
    def dexes(self) -> Sequence[str]:
        return self._dexes

    def tick(self) -> None:
        """Recordings stand still."""

    def state(self, user: str, dex: str, now_ms: int) -> str:
        text = self._texts.get((user, dex))
        return render_zero(self._stamp(now_ms)) if text is None else text

    def mids(self, dex: str) -> str | None:
        pair = self._exact.get(canonical({"type": "allMids", "dex": dex}))
        return None if pair is None else pair.body.decode()

    def info(self, request: InfoRequest, now_ms: int) -> Answer:
        kind = request.kind
        if kind in DEX_TYPES and request.dex not in self._dexes:
            return FAILED
        if kind == "clearinghouseState":
            return ok(self.state(request.user, request.dex, now_ms))
        pair = (
            self._exact.get(canonical(request.fields))
            or self._invented.get((kind, request.user))
            # Superfluous fields are ignored, as the exchange does: only the dex selects market data.
            or self._exact.get(canonical({"type": kind, "dex": request.dex}))
        )
        if pair is not None:
            return Answer(pair.status, pair.body, items=pair.items)
        return unrecorded(kind, self._stamp(now_ms))

    def _known_dexes(self) -> tuple[str, ...]:
        listed = self._exact.get(canonical({"type": "perpDexs"}))
        names = [MAIN_DEX]
        if listed is not None:
            names += [dex["name"] for dex in orjson.loads(listed.body) if dex is not None]
        return tuple(dict.fromkeys(names + sorted(dex for _, dex in self.states)))

    def _stamp(self, now_ms: int) -> int:
        self._last_ms = max(self._last_ms, now_ms)
        return self._last_ms


def unrecorded(kind: str, now_ms: int) -> Answer:
    """The answer to a well-formed request of which there is no recording."""
    if kind == "exchangeStatus":
        return ok(f'{{"specialStatuses":null,"time":{now_ms}}}')
    if kind == "batchClearinghouseStates" or (kind in DEX_TYPES and kind not in EMPTY):
        return FAILED  # a dex that is known by its states alone
    empty = EMPTY.get(kind)
    return MALFORMED if empty is None else ok(empty)


def _assign(states: Sequence[State]) -> dict[tuple[str, str], bytes]:
    """Give every state an address of its own on its dex."""
    newest: dict[tuple[str, str], State] = {}
    for state in states:
        if state.user is not None:
            held = newest.get((state.user, state.dex))
            if held is None or state.time > held.time:
                newest[state.user, state.dex] = state
    assigned: dict[tuple[str, str], bytes] = {}
    for state in states:
        user = state.user
        if user is None or newest[user, state.dex] is not state:
            user = invented_address(state.name)
        assigned[user, state.dex] = state.body
    if len(assigned) != len(states):
        raise AssertionError("two states of one file share a number: names are unique by construction")
    return assigned


def canonical(request: Mapping[str, Any]) -> bytes:
    """Equal for requests that mean the same."""
    fields = {key: value for key, value in request.items() if value is not None}
    if fields.get("dex") == "":
        del fields["dex"]
    if (user := address(fields.get("user"))) is not None:
        fields["user"] = user
    return orjson.dumps(fields, option=orjson.OPT_SORT_KEYS)
