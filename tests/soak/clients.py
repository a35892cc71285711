"""Clients of our /ws, with the `websockets` library: they note what they hear, and come and go."""

import asyncio
import base64
import contextlib
import json
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from tests.soak.truth import LOGS, Place, Truth, place_in, place_of, rows_in


@dataclass(slots=True)
class Heard:
    """One holding of a subscription, from acknowledgement to end; with `seq` over several connections.

    `since` is how many rows there were in truth when it was acknowledged, `until` when it ended (None: not
    yet).
    """

    subscription: dict[str, Any]
    since: int = 0
    until: int | None = None
    rows: list[str] = field(default_factory=list)
    snapshot: int | None = None
    frames: int = 0
    last: Any = None
    gaps: list[tuple[int, int]] = field(default_factory=list)
    epoch: str = ""
    seq: int = 0

    @property
    def is_log(self) -> bool:
        return self.subscription["type"] in LOGS


@dataclass(frozen=True, slots=True, kw_only=True)
class Habits:
    """How a client behaves. Seconds; 0 for never."""

    stays_s: float = 0.0
    away_s: float = 5.0
    reads_slowly: float = 0.0  # the share of frames after which it rests
    rests_s: float = 0.0
    resumes: bool = False
    changes_s: float = 0.0  # unsubscribes from something and takes it again, so often


class Client:
    """`live` until it is told to `leave`. `past` has what it heard before, `holds` what it hears now."""

    def __init__(
        self,
        name: str,
        port: Callable[[], int],
        truth: Truth,
        wanted: Sequence[dict[str, Any]],
        habits: Habits,
        random: Random,
    ) -> None:
        self.name = name
        self.past: list[Heard] = []
        self.holds: dict[Place, Heard] = {}
        self.errors: list[str] = []
        self.closes: list[tuple[int | None, str]] = []
        self._port = port
        self._truth = truth
        self._wanted = {place_of(one): one for one in wanted}
        assert len(self._wanted) == len(wanted), "frames of two of them could not be told apart"
        self._habits = habits
        self._random = random
        self._resumable: dict[Place, Heard] = {}
        self._leaving = False
        self._connection: ClientConnection | None = None

    # -- life ------------------------------------------------------------------------------------------

    async def live(self) -> None:
        habits = self._habits
        while not self._leaving:
            try:
                async with connect(
                    f"ws://127.0.0.1:{self._port()}/ws", ping_interval=None, compression=None, max_queue=4
                ) as connection:
                    self._connection = connection
                    for one in self._wanted.values():
                        await self._ask(one)
                    async with asyncio.TaskGroup() as group:
                        others = [group.create_task(self._stir(connection))]
                        if habits.stays_s:
                            others.append(group.create_task(self._go_after(connection)))
                        await self._read(connection)
                        for other in others:
                            other.cancel()
            except (InvalidHandshake, OSError) as error:
                raise AssertionError(f"{self.name} could not connect") from error
            self._connection = None
            self._end_all()
            if not self._leaving:
                await asyncio.sleep(self._random.uniform(0, 2 * habits.away_s))

    async def leave(self) -> None:
        self._leaving = True
        if self._connection is not None:
            await self._connection.close()

    async def _go_after(self, connection: ClientConnection) -> None:
        await asyncio.sleep(self._random.expovariate(1 / self._habits.stays_s))
        if self._habits.resumes or self._random.random() < 0.5:
            connection.transport.abort()
        else:
            await connection.close()

    async def _stir(self, connection: ClientConnection) -> None:
        """Say something now and then."""
        changes_s = self._habits.changes_s
        with contextlib.suppress(ConnectionClosed):
            while True:
                await asyncio.sleep(self._random.expovariate(1 / changes_s) if changes_s else 45.0)
                missing = [one for place, one in self._wanted.items() if place not in self.holds]
                if missing:
                    await self._ask(self._random.choice(missing))
                elif changes_s:
                    place = self._random.choice(tuple(self.holds))
                    one = self.holds[place].subscription
                    await connection.send(json.dumps({"method": "unsubscribe", "subscription": one}))
                await connection.send('{"method":"ping"}')

    async def _ask(self, one: dict[str, Any]) -> None:
        before = self._resumable.get(place_of(one))
        if before is not None:
            more = {**one["replica"], "resume": {"epoch": before.epoch, "seq": before.seq}}
            one = {**one, "replica": more}
        assert self._connection is not None
        with contextlib.suppress(ConnectionClosed):
            await self._connection.send(json.dumps({"method": "subscribe", "subscription": one}))

    async def _read(self, connection: ClientConnection) -> None:
        try:
            while True:
                self._hear(json.loads(await connection.recv()))
                if self._habits.reads_slowly and self._random.random() < self._habits.reads_slowly:
                    await asyncio.sleep(self._random.expovariate(1 / self._habits.rests_s))
        except ConnectionClosed:
            self.closes.append((connection.close_code, connection.close_reason or ""))

    # -- what it hears ---------------------------------------------------------------------------------

    def _hear(self, frame: dict[str, Any]) -> None:
        channel, data = frame["channel"], frame.get("data")
        if channel == "pong":
            return
        if channel == "error":
            self.errors.append(data)
        elif channel == "subscriptionResponse":
            self._answered(data, frame.get("replica") or {})
        elif channel == "replica":
            heard = self.holds[place_of(data["subscription"])]
            heard.gaps.append((data["from"] or 0, data["to"]))
        else:
            self._take(channel, data, frame.get("replica"))

    def _answered(self, data: dict[str, Any], said: dict[str, Any]) -> None:
        one = data["subscription"]
        place = place_of(one)
        if data["method"] == "unsubscribe":
            self._end(self.holds.pop(place))
            return
        assert place not in self.holds, f"{self.name}: acknowledged twice: {one}"
        heard = self._resumable.pop(place, None)
        if not said.get("resumed"):
            if heard is not None:
                self.past.append(heard)
            heard = Heard(self._wanted[place], seq=said.get("seq", 0))
            heard.since = len(self._truth.of(one).rows) if heard.is_log else 0
        assert heard is not None, f"{self.name} resumes what it never had: {data}"
        heard.until = None
        heard.epoch = said.get("epoch", "")
        self.holds[place] = heard

    def _take(self, channel: str, data: Any, said: dict[str, Any] | None) -> None:
        heard = self.holds.get(place_in(channel, data))
        assert heard is not None, f"{self.name} never asked for this: {channel} {str(data)[:200]}"
        heard.frames += 1
        snapshot = isinstance(data, dict) and data.get("isSnapshot") is True
        if said is not None:
            new = said["seq"] - heard.seq
            if heard.is_log:
                first = (
                    heard.frames == 1 and new == 0
                )  # a snapshot: all up to the number of the acknowledgement
                assert first or new == 1, (
                    f"{self.name}: {heard.seq}, then {said['seq']} of {heard.subscription}"
                )
            assert new >= 0
            heard.seq = said["seq"]
        if heard.is_log:
            rows = rows_in(channel, data)
            if snapshot:
                assert heard.snapshot is None and not heard.rows, f"{self.name}: a second snapshot: {channel}"
                heard.snapshot = len(rows)
                number = self._truth.of(heard.subscription).number
                if rows and number[rows[0]] > number[rows[-1]]:
                    rows.reverse()
            heard.rows += rows
        elif channel == "fastAssetCtxs":
            merged = heard.last or {}
            for coin, fields in unpacked(data).items():
                merged.setdefault(coin, {}).update(fields)
            heard.last = merged
        else:
            heard.last = data

    def _end(self, heard: Heard) -> None:
        heard.until = len(self._truth.of(heard.subscription).rows) if heard.is_log else 0
        self.past.append(heard)

    def _end_all(self) -> None:
        for place, heard in self.holds.items():
            if self._habits.resumes and not self._leaving:
                heard.until = 0
                self._resumable[place] = heard
            else:
                self._end(heard)
        self.holds.clear()

    @property
    def everything(self) -> list[Heard]:
        return [*self.past, *self._resumable.values(), *self.holds.values()]


def unpacked(data: str) -> Any:
    return json.loads(zlib.decompress(base64.b64decode(data), wbits=-15))
