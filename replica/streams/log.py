"""Streams of rows, each of which counts: fills, fundings, order updates, trades, ...

What is promised to a listener: every row the upstream told, and every row that happened while it could not
tell us, comes once, or a `Gap` says what is missing. As to order:

* rows of one frame stay in their order, frames go out in the order in which they came;
* what happened during an outage goes out in the order of time, before anything that came after it: from the
  reconnect to the end of the back-fill live rows wait;
* a frame that gets lost on a healthy connection (TCP does not lose one; a wrong upstream may) can't be
  noticed at once. Its rows are told late, after newer ones, when a snapshot or a back-fill shows them: at the
  next reconnect, as far back as that snapshot or back-fill reaches. Lost further back they stay unnoticed.
"""

from collections import deque
from collections.abc import Sequence
from enum import Enum
from itertools import chain, islice

import msgspec

from replica.streams.backfill import Backfill
from replica.streams.healing import backfill
from replica.streams.memory import Gap, Now, Out, Tally, Whole
from replica.streams.rows import Batch, Key, Opening, Row, layout_of
from replica.subscription import Subscription

SURELY_ALL = 20
"""Rows: a snapshot shorter than this was not cut. How long they may get is not known."""

SKEW_MS = 2000
"""How far our clock may be ahead of the upstream's where only ours says since when somebody listens."""

COARSE_MS = 1000
"""Times of TWAPs are in whole seconds."""


class Phase(Enum):
    """What the next frame means."""

    OPENING = "opening"  # nothing was shown yet: the snapshot goes out as it comes
    SETTLED = "settled"  # nothing is missing: new rows go out
    RETURNING = "returning"  # a new connection: its first rows show whether something is missing
    HEALING = "healing"  # something is: rows wait until it is back
    AWAY = "away"  # no connection


class LogMemory:
    """The newest rows that were told, and those that wait to be told.

    `keep` bounds the rows for joiners, `most_waiting` those that wait while something is missing. The mutable
    state is `_rows` and `_seen` (told), `_waiting` (not told yet), `_phase`, and the times: something may be
    missing from `_since_ms` on, but not after `_whole_ms`, the oldest row of the present connection. Of what
    was told nothing is missing in `_rows` from `_unbroken_ms` on (None: not known since when).
    """

    def __init__(
        self,
        subscription: Subscription,
        tally: Tally,
        *,
        keep: int = 2000,
        most_waiting: int = 5000,
        pages: int = 10,
    ) -> None:
        layout = layout_of(subscription)
        assert layout is not None, subscription
        self._subscription = subscription
        self._layout = layout
        self._tally = tally
        self._keep = keep
        self._most_waiting = most_waiting
        self._pages = pages
        self._length = min(layout.most, keep)
        # Order updates and events have no snapshot, but their identities are needed as well.
        self._rows: deque[Row] = deque(maxlen=self._length)
        self._remembered = max(keep, self._length)
        self._seen: dict[Key, None] = {}
        self._waiting: list[Row] = []
        self._waiting_keys: set[Key] = set()
        self._phase = Phase.OPENING
        self._fed = False
        self._opened = layout.opening is not Opening.SNAPSHOT
        self._newest_first = False
        self._listening_ms = 0  # by our clock, if the upstream's is not known
        self._told_ms = 0  # by the upstream's
        self._whole_ms: int | None = None
        self._unbroken_ms: int | None = None
        self._wants: Backfill | None = None
        self._rendered: bytes | None = None
        self._view: Whole | None = None

    @property
    def wants(self) -> Backfill | None:
        return self._wants

    @property
    def waits(self) -> bool:
        """A market sends no replay where nothing happened lately. What did while nobody listened may be older
        than that: after an outage it is asked for as what else is overdue, so that it does not wait for the
        next trade.
        """
        return self._fed and self._phase in (Phase.OPENING, Phase.RETURNING)

    @property
    def _since_ms(self) -> int:
        """From when on something may be missing. A clock says so only while no row was told."""
        return self._told_ms or self._listening_ms

    # -- what happens ----------------------------------------------------------------------------------

    def confirmed(self, now: Now) -> Sequence[Out]:
        self._wants = None
        self._whole_ms = None
        first, self._fed = not self._listening_ms, True
        if first:
            told = now.upstream_ms
            self._listening_ms = now.wall_ms - SKEW_MS if told is None else told
        if not self._opened:
            self._phase = Phase.OPENING
        elif first:
            self._phase = Phase.SETTLED
        elif self._layout.opening is Opening.NOTHING:
            self._heal()
        else:
            self._phase = Phase.RETURNING
        return ()

    def lost(self) -> None:
        self._fed = False
        self._wants = None
        if self._opened:
            # What waits was not told yet: it goes on waiting.
            self._phase = Phase.AWAY
        else:
            # The next connection's snapshot is where this stream begins.
            self._phase = Phase.OPENING
            self._forget_waiting()

    def receive(self, frame: bytes, data: bytes, now: Now) -> Sequence[Out]:
        try:
            batch = self._layout.read(data)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            # Not what its channel promises: whoever listens may know better.
            self._tally.unreadable += 1
            self._break(now.wall_ms + SKEW_MS)
            return (frame,)
        if batch.snapshot and not self._opened:
            # A snapshot says how far back it goes by its oldest row alone, and of that one's time there may
            # have been more.
            self._break(min((row.time + 1 for row in batch.rows), default=now.wall_ms + SKEW_MS))
            return self._first(frame, batch)
        if self._unbroken_ms is None and self._layout.opening is Opening.REPLAY and batch.rows:
            self._unbroken_ms = min(row.time for row in batch.rows) + 1
        if self._phase is Phase.SETTLED:
            return self._live(frame, batch)
        begins = batch.snapshot or self._layout.opening is Opening.REPLAY
        if self._phase is Phase.RETURNING and begins:
            if not self._seen or not batch.rows:
                # Taken for all there is; but that nothing at all came in between is nowhere said.
                self._break(min((row.time + 1 for row in batch.rows), default=now.wall_ms + SKEW_MS))
            return self._returned(batch)
        return self._wait(batch.rows)

    def overdue(self, now: Now) -> Sequence[Out]:
        if not self.waits:
            return ()
        if self._opened:
            self._heal()
            return ()
        # No snapshot ever came: those who listen hear what is new at least.
        self._phase = Phase.SETTLED
        self._break(now.wall_ms + SKEW_MS)
        return self._flush(())

    def healed(self, backfill: Backfill, now: Now) -> Sequence[Out]:
        if backfill is not self._wants:
            return ()
        self._wants = None
        self._phase = Phase.SETTLED
        dated = {row.alias: row.time for row in backfill.rows}
        self._waiting = [
            row if row.time else row._replace(time=dated.get(row.alias, 0)) for row in self._waiting
        ]
        # An answer's row may say less than the same row on the stream: what they have in common decides.
        known = {row.alias for row in self._waiting}
        found = [row for row in backfill.rows if row.alias not in self._seen and not _added(known, row.alias)]
        if self._whole_ms is not None:
            # Answers run ahead of the stream. What it brings itself is left to it, or it would be too early.
            found = [row for row in found if row.time <= self._whole_ms + COARSE_MS]
        self._tally.rows_healed += len(found)
        outs: list[Out] = []
        missing = backfill.missing
        if missing is not None:
            whole_ms = now.wall_ms if self._whole_ms is None else self._whole_ms
            to_ms = whole_ms if missing.to_ms is None else missing.to_ms
            from_ms = self._since_ms if missing.from_ms is None else missing.from_ms
            outs.append(self._gap(from_ms, to_ms, missing.reason))
        liquidated = self._liquidated(found)
        if liquidated:
            reason = "there was a liquidation: its fills could be had, its event could not"
            outs.append(self._gap(liquidated[0], liquidated[-1], reason))
        outs += self._flush(found)
        return outs

    def snapshot(self) -> tuple[bytes, ...]:
        if not self._opened or self._layout.opening is Opening.NOTHING:
            return ()
        if not self._rows and self._layout.opening is Opening.REPLAY:
            return ()  # as the upstream: it replays nothing where nothing happened
        if self._rendered is None:
            # By time: rows that came late stand where they belong.
            rows = sorted(self._rows, key=_time)
            (self._rendered,) = self._layout.write(rows[::-1] if self._newest_first else rows, True)
        return (self._rendered,)

    def whole(self) -> Whole | None:
        """What is held without a hole, for readers; None while something may be missing."""
        if self._phase is not Phase.SETTLED or not self._fed or self._unbroken_ms is None:
            return None
        if self._view is None:
            self._view = Whole(tuple(sorted(self._rows, key=_time)), self._unbroken_ms)
        return self._view

    # -- inside ----------------------------------------------------------------------------------------

    def _break(self, ms: int) -> None:
        """Something before this time may be missing from what is held."""
        self._unbroken_ms = max(ms, self._unbroken_ms or 0)
        self._view = None

    def _first(self, frame: bytes, batch: Batch) -> Sequence[Out]:
        self._phase = Phase.SETTLED
        self._opened = True
        rows = _oldest_first(batch.rows)
        self._newest_first = rows is not batch.rows
        if len(rows) > self._length:
            # The upstream's own length, as it shows: who joins later gets as many.
            self._length = min(len(rows), self._keep)
            self._rows = deque(self._rows, maxlen=self._length)
        new = [row for row in rows if row.key not in self._seen]
        outs: list[Out] = []
        if len(new) < len(rows):
            # It is late, and some of its rows were told meanwhile.
            self._tally.repeated += len(rows) - len(new)
            (frame,) = self._layout.write(new[::-1] if self._newest_first else new, True)
        elif self._seen and rows:
            outs.append(
                self._gap(self._since_ms, rows[0].time, "the snapshot does not go back to what was told")
            )
        self._tell(new)
        return (*outs, frame, *self._flush(()))

    def _live(self, frame: bytes, batch: Batch) -> Sequence[Out]:
        seen = self._seen
        new = [row for row in batch.rows if row.key not in seen]
        if len(new) == len(batch.rows) and not batch.snapshot:
            self._tell(new)
            return (frame,)
        self._tally.repeated += len(batch.rows) - len(new)
        if not new:
            return ()
        self._tell(new)
        return self._layout.write(new, False)

    def _returned(self, batch: Batch) -> Sequence[Out]:
        """The first rows of a new connection are complete if they go back to what is known.

        They can't do so where nothing is known; then few rows are all there are.
        """
        new = [row for row in _oldest_first(batch.rows) if row.key not in self._seen]
        goes_back = len(new) < len(batch.rows) or not batch.rows
        if goes_back or (batch.snapshot and not self._seen and len(new) < SURELY_ALL):
            self._phase = Phase.SETTLED
            self._tally.rows_healed += len(new)
            self._tally.repeated += len(batch.rows) - len(new)
            return self._flush(new)
        self._heal()
        return self._wait(new)

    def _heal(self) -> None:
        twaps_too = self._subscription.type == "userFills" and any(_is_of_a_twap(row) for row in self._rows)
        self._wants = backfill(self._subscription, self._since_ms, pages=self._pages, twaps_too=twaps_too)
        assert self._wants is not None, "every type with rows has answers that hold them"
        self._phase = Phase.HEALING

    def _wait(self, rows: Sequence[Row]) -> Sequence[Out]:
        time = self._waiting[-1].time if self._waiting else 0
        for row in rows:
            if row.key in self._seen or _added(self._waiting_keys, row.key):
                self._tally.repeated += 1
                continue
            # An event without a time happened when the one before it did, as far as we can know. Where it
            # is the first, that is among those which are still to be found.
            time = row.time or time
            if row.time and (self._whole_ms is None or time < self._whole_ms):
                self._whole_ms = time
            self._waiting.append(row if row.time else row._replace(time=time))
        if len(self._waiting) <= self._most_waiting:
            return ()
        self._wants = None
        self._phase = Phase.SETTLED
        outs: list[Out] = []
        if self._opened:
            whole_ms = self._waiting[-1].time if self._whole_ms is None else self._whole_ms
            reason = "too much came before what was missed could be had"
            outs.append(self._gap(self._since_ms, whole_ms, reason))
        return (*outs, *self._flush(()))

    def _flush(self, found: Sequence[Row]) -> Sequence[Out]:
        """Tell what was found and what waited, in the order of time, each once."""
        known = {row.key for row in found}
        waiting = [row for row in self._waiting if row.key not in self._seen and row.key not in known]
        self._forget_waiting()
        first = next((row.time for row in waiting if row.time), None)
        before = [row.time for row in found if first is None or row.time <= first]
        undated = max(before, default=self._since_ms)
        waiting = [row if row.time else row._replace(time=undated) for row in waiting]
        rows = sorted([*found, *waiting], key=_time)
        if not rows:
            return ()
        self._tell(rows)
        return self._layout.write(rows, False)

    def _liquidated(self, found: Sequence[Row]) -> list[int]:
        """When fills among the events that were found say that this user was liquidated (ms)."""
        said = b'"liquidatedUser":"%s"' % (self._subscription.user or "").encode()
        return sorted(row.time for row in found if row.part == "fills" and said in row.raw)

    def _forget_waiting(self) -> None:
        self._waiting = []
        self._waiting_keys = set()

    def _tell(self, rows: Sequence[Row]) -> None:
        """Remember what goes out."""
        seen = self._seen
        for row in rows:
            seen[row.key] = None
            if row.alias is not row.key:
                seen[row.alias] = None
            if row.time > self._told_ms:
                self._told_ms = row.time
        while len(seen) > 2 * self._remembered:
            del seen[next(iter(seen))]
        if self._length:
            overflow = len(self._rows) + len(rows) - self._length
            if overflow > 0:
                self._break(max(row.time for row in islice(chain(self._rows, rows), overflow)) + 1)
            self._rows.extend(rows)
            self._rendered = None
            self._view = None

    def _gap(self, from_ms: int, to_ms: int, reason: str) -> Gap:
        self._tally.gaps += 1
        gap = Gap(from_ms, max(from_ms, to_ms), reason)
        self._break(gap.to_ms + 1)
        return gap

    def check(self) -> None:
        """Tests call it after each step."""
        assert len(self._waiting) <= self._most_waiting, repr(self)
        assert len(self._rows) <= self._keep, repr(self)
        assert len(self._seen) <= 2 * self._remembered, repr(self)
        assert (self._wants is not None) is (self._phase is Phase.HEALING), repr(self)
        assert self._phase is not Phase.SETTLED or not self._waiting, repr(self)
        assert self._waiting_keys == {row.key for row in self._waiting}, repr(self)
        assert not (self._waiting_keys & self._seen.keys()), repr(self)

    def __repr__(self) -> str:
        waiting = f" {len(self._waiting)} waiting" if self._waiting else ""
        return f"<log {self._phase.value} {len(self._rows)} rows{waiting}>"


def _added(keys: set[Key], key: Key) -> bool:
    """Whether it is in the set already; it is afterwards."""
    if key in keys:
        return True
    keys.add(key)
    return False


def _time(row: Row) -> int:
    return row.time


def _oldest_first(rows: list[Row]) -> list[Row]:
    """The same list where it is so already."""
    return rows[::-1] if rows and rows[0].time > rows[-1].time else rows


def _is_of_a_twap(row: Row) -> bool:
    return b'"twapId":' in row.raw and b'"twapId":null' not in row.raw
