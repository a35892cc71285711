"""What to ask `/info` for, and what the answers mean: rows that were missed. Pure.

Limits and orders of the answers: spec/info.md section 1.3.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

import msgspec

from replica.streams.rows import Row

FULL_PAGE = 500
"""A page shorter than this is the last. Some types send up to 2000, but the docs promise 500 alone."""

Convert = Callable[[msgspec.Raw], Iterable[Row]]
"""A row of an answer -> the rows of the stream that it stands for."""

_raws = msgspec.json.Decoder(list[msgspec.Raw]).decode


class Question(NamedTuple):
    """A body for `/info`, and its type, by which it is weighed."""

    type: str
    body: bytes


class Missing(NamedTuple):
    """What the answers could not tell: between two times (ms), None for as far as was asked."""

    from_ms: int | None
    to_ms: int | None
    reason: str


class Source(Protocol):
    """One list of `/info`. `rows` is what it told, `missing` what it could not."""

    rows: list[Row]
    missing: Missing | None

    def question(self) -> Question | None:
        """What to ask next; None at its end."""
        ...

    def answer(self, body: bytes) -> None:
        """Raises msgspec's errors for a body that is no list of such rows."""
        ...


def ask(type_: str, fields: Mapping[str, object]) -> Question:
    return Question(type_, msgspec.json.encode({"type": type_, **fields}))


class Window:
    """A list by time, in pages of its oldest rows: each goes on from the last row of the one before.

    An upstream that answers newest first is followed backwards. Ends at a short page or at one that brings
    nothing new; at most `pages` are asked for.
    """

    def __init__(
        self, type_: str, fields: Mapping[str, object], start_ms: int, convert: Convert, *, pages: int
    ) -> None:
        self.rows: list[Row] = []
        self.missing: Missing | None = None
        self._type = type_
        self._fields = fields
        self._start = start_ms
        self._end: int | None = None
        self._convert = convert
        self._pages = pages
        self._keys: set[object] = set()
        self._done = False

    def question(self) -> Question | None:
        if self._done:
            return None
        window: dict[str, object] = {"startTime": self._start}
        if self._end is not None:
            window["endTime"] = self._end
        return ask(self._type, {**self._fields, **window})

    def answer(self, body: bytes) -> None:
        raws = _raws(body)
        times = [_time_of(raw) for raw in raws]
        page = [row for raw in raws for row in self._convert(raw)]
        new = [row for row in page if row.key not in self._keys]
        self._keys.update(row.key for row in new)
        if times and times[0] > times[-1]:
            # What happened at one time has its order by the list alone.
            self.rows[:0] = new[::-1]
        else:
            self.rows += new
        self._pages -= 1
        if len(raws) < FULL_PAGE:
            self._done = True
            return
        forwards = times[0] <= times[-1]
        before = (self._start, self._end)
        if forwards:
            self._start = times[-1]
        else:
            self._end = times[-1]
        stuck = before == (self._start, self._end)
        if stuck or self._pages <= 0:
            self._done = True
            reason = "more rows of one time than a page holds" if stuck else "more than we may ask for"
            self.missing = Missing(self._start, self._end, reason)


class _Timed(msgspec.Struct):
    time: int = 0
    fill: "_Timed | None" = None


_timed = msgspec.json.Decoder(_Timed).decode


def _time_of(raw: msgspec.Raw) -> int:
    timed = _timed(raw)
    return timed.time or (timed.fill.time if timed.fill is not None else 0)


class Newest:
    """A list of the newest rows, newest first, whatever the window: one question. `when` reads the time
    of one (ms).

    It tells all since `since_ms` if it reaches back to there, or is shorter than the longest it can be.
    (To there and not further is enough: what happened at one time came in one frame.)
    """

    def __init__(
        self,
        type_: str,
        fields: Mapping[str, object],
        since_ms: int,
        convert: Convert,
        *,
        when: Callable[[msgspec.Raw], int],
        longest: int,
    ) -> None:
        self.rows: list[Row] = []
        self.missing: Missing | None = None
        self._question: Question | None = ask(type_, fields)
        self._since = since_ms
        self._convert = convert
        self._when = when
        self._longest = longest

    def question(self) -> Question | None:
        return self._question

    def answer(self, body: bytes) -> None:
        raws = _raws(body)
        times = [self._when(raw) for raw in raws]
        if times and times[0] >= times[-1]:
            # What happened at one time has its order by the list alone.
            raws, times = raws[::-1], times[::-1]
        # Not older than asked for: what was before, a listener of events never was to hear.
        self.rows = [
            row
            for raw, time in zip(raws, times, strict=True)
            if time >= self._since
            for row in self._convert(raw)
        ]
        if len(raws) >= self._longest and min(times) > self._since:
            self.missing = Missing(None, min(times), "more happened than the upstream's history holds")
        self._question = None


class Backfill:
    """Questions of one or more sources, one after the other. `complete` says whether nothing is missing.

    The caller asks `question` and hands in `answer`, or gives up with `fail`, until `question` is None.
    """

    def __init__(self, since_ms: int, sources: Sequence[Source]) -> None:
        self.since_ms = since_ms
        self._sources = tuple(sources)
        self._failure: str | None = None

    def question(self) -> Question | None:
        if self._failure is not None:
            return None
        for source in self._sources:
            question = source.question()
            if question is not None:
                return question
        return None

    def answer(self, status: int, body: bytes) -> bool:
        """Whether it was one: an error, or what is no list of such rows, leaves the question open."""
        if status != 200:
            return False
        for source in self._sources:
            if source.question() is not None:
                try:
                    source.answer(body)
                except (msgspec.DecodeError, UnicodeError, RecursionError, KeyError):
                    return False
                return True
        return False

    def fail(self, reason: str) -> None:
        """The questions that are left will not be answered."""
        self._failure = reason

    @property
    def rows(self) -> list[Row]:
        return [row for source in self._sources for row in source.rows]

    @property
    def missing(self) -> Missing | None:
        """What can't be told now that it is over; the widest bounds where several sources fell short."""
        found = [source.missing for source in self._sources if source.missing is not None]
        if self._failure is not None:
            return Missing(None, None, self._failure)
        if not found:
            return None
        starts = [one.from_ms for one in found]
        ends = [one.to_ms for one in found]
        return Missing(
            None if None in starts else min(start for start in starts if start is not None),
            None if None in ends else max(end for end in ends if end is not None),
            found[0].reason,
        )

    def __repr__(self) -> str:
        return f"<backfill since {self.since_ms}: {len(self.rows)} rows, next {self.question()}>"
