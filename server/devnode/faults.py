"""What goes wrong, on request: rules with counts, asked at the points where something can go wrong. Sans I/O.

The points are a new connection, the head and the body of a request, the request itself, a subscription, and
every frame that is pushed. With no rule set nothing differs. Nothing here touches `/dev/`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

from server.devnode.info import JSON, MALFORMED, NOT_JSON, WRONG_TYPE, Answer, address
from server.devnode.seen import type_and_dex
from server.devnode.subscriptions import Subscription

OLDEST_KEPT = 2000  # channels whose first frame is remembered, to be repeated as a stale one

_PAGE = b"<html>\r\n<head><title>%d</title></head>\r\n<body></body>\r\n</html>\r\n"
"""What stands before the exchange says 403 and 502 with: a page, not JSON."""
_REFUSED = {one.status: one for one in (NOT_JSON, WRONG_TYPE, MALFORMED)}
_BODILESS = (204, 205, 304)  # HTTP has none there: a client would read it as the next answer


VERBS = (
    "answer", "answer_429", "answer_raw", "hang", "latency", "cut", "cut_writes", "answer_again",
    "drop_next_push", "duplicate_next_push", "reorder_next_push", "stale_next_push", "delay_next_push",
    "delay", "go_silent", "speak_again", "refuse_subscriptions", "accept_subscriptions", "go_mute",
    "no_pongs", "ignore_close", "accept_and_drop", "stay_up", "freeze_time", "thaw_time", "heal",
)  # fmt: skip
"""The faults that are also offered over HTTP."""


class Stage(Enum):
    """Where a request can be cut."""

    CONNECTED = "connected"  # a new connection, before a byte of it was read
    HEAD = "head"  # after the head
    BODY = "body"  # in the middle of the body
    READ = "read"  # after the body, before it had any effect
    DONE = "done"  # after its effect, before the answer
    ANSWER = "answer"  # in the middle of the answer


_UNREAD = (Stage.CONNECTED, Stage.HEAD, Stage.BODY)
"""Stages at which nobody knows yet what is asked."""


@dataclass(slots=True)
class Verdict:
    """What to do to one request. `answer` stands in for the truth, `raw` for the bytes of any answer."""

    answer: Answer | None = None
    raw: bytes | None = None
    hang: bool = False
    cut: Stage | None = None
    latency_s: float = 0.0


@dataclass(slots=True, eq=False)
class _Rule:
    """What to do to the next `times` things that fit; a None fits all of them."""

    text: str
    times: float
    path: str | None = None
    type: str | None = None
    user: str | None = None
    dex: str | None = None

    def __str__(self) -> str:
        given = (("path", self.path), ("type", self.type), ("user", self.user), ("dex", self.dex))
        where = "".join(f" {name}={value}" for name, value in given if value is not None)
        return self.text + where + ("" if self.times == math.inf else f", {self.times:g} more")


@dataclass(slots=True, eq=False)
class _RequestRule(_Rule):
    verdict: Verdict | None = None


@dataclass(slots=True, eq=False)
class _PushRule(_Rule):
    what: str = ""
    seconds: float = 0.0


R = TypeVar("R", bound=_Rule)


class Faults:
    """Set what shall go wrong; the rest of the devnode asks. `heal()` ends all of it.

    Of several rules that fit, the first that was set applies; latency comes on top of another one.
    """

    def __init__(self) -> None:
        self._oldest: dict[Subscription, str] = {}
        self.heal()

    def __repr__(self) -> str:
        return f"<Faults {'; '.join(self.described()) or 'none'}>"

    def heal(self) -> None:
        """Nothing is mistreated any more. A frame that was held back to be overtaken is lost."""
        self._requests: list[_RequestRule] = []
        self._pushes: list[_PushRule] = []
        self._refusals: list[_Rule] = []
        self._held: dict[tuple[object, Subscription], str] = {}
        self._silent: dict[str | None, None] = {}
        self._frozen = False
        self._frozen_ms: int | None = None
        self.mute = False
        self.pongs = True
        self.ignores_close = False
        self.flapping_s: float | None = None

    # -- requests --------------------------------------------------------------------------------------

    def answer(
        self,
        status: int,
        body: str | bytes | None = None,
        *,
        times: float | None = math.inf,
        path: str | None = None,
        type: str | None = None,
        user: str | None = None,
        dex: str | None = None,
        content_type: str | None = None,
    ) -> None:
        """Answer the next requests that fit with this, before they have any effect.

        Without a body it is the exchange's own of that status. `path` may be "/info", "/exchange", or "/ws"
        for handshakes; without one it fits the first two, also where they come as posts over a websocket.
        `dex` is that of a read, "" the main one, whether it was named or left out. `user` is one whom the
        body names: a signed action does not name its signer.
        """
        if not 200 <= status <= 599:
            raise ValueError(f"status {status} is not from 200 to 599")
        if status in _BODILESS and body:
            raise ValueError(f"status {status} has no body")
        if content_type is not None and not (content_type.isascii() and content_type.isprintable()):
            raise ValueError(f"content type {content_type[:40]!r} is none")
        own = _own_answer(status)
        content = own.body if body is None else _bytes(body, "utf-8")
        kind = content_type or (own.content_type if body is None else JSON)
        answer = Verdict(answer=Answer(status, content, kind))
        self._ask(f"answer {status}", answer, times, path, type, user, dex)

    def answer_429(self, times: float | None = math.inf) -> None:
        self.answer(429, times=times)

    def answer_raw(self, raw: str | bytes, *, path: str | None = None, times: float | None = 1) -> None:
        """Answer with these bytes, which need not be HTTP, and hang up. A str has a character per byte."""
        self._ask("answer raw bytes", Verdict(raw=_bytes(raw, "latin-1")), times, path)

    def answer_again(self) -> None:
        """No request is mistreated any more; frames and websockets still are."""
        self._requests.clear()

    def hang(
        self,
        *,
        times: float | None = math.inf,
        path: str | None = None,
        type: str | None = None,
        user: str | None = None,
        dex: str | None = None,
    ) -> None:
        """Read requests that fit, and neither heed nor answer them."""
        self._ask("hang", Verdict(hang=True), times, path, type, user, dex)

    def latency(
        self,
        seconds: float,
        *,
        times: float | None = math.inf,
        path: str | None = None,
        type: str | None = None,
        user: str | None = None,
        dex: str | None = None,
    ) -> None:
        """Answers are made at once and arrive this late. The last one set for the same requests counts."""
        _check_seconds(seconds)
        self._requests = [
            rule
            for rule in self._requests
            if not (
                _is_latency(rule)
                and (rule.path, rule.type, rule.user, rule.dex) == (path, type, _user(user), dex)
            )
        ]
        if seconds:
            self._ask(f"latency {seconds:g} s", Verdict(latency_s=seconds), times, path, type, user, dex)

    def cut(
        self,
        stage: Stage | str,
        *,
        path: str | None = "/exchange",
        times: float | None = 1,
        type: str | None = None,
        user: str | None = None,
        dex: str | None = None,
    ) -> None:
        """Drop the connection of the next requests at this point.

        At "connected" that is of any new connection; up to "body" nobody knows a type, a user or a dex yet.
        """
        try:
            stage = Stage(stage)
        except ValueError:
            stages = ", ".join(one.value for one in Stage)
            raise ValueError(f"no stage {str(stage)[:40]!r}, there are {stages}") from None
        if stage in _UNREAD and (type, user, dex) != (None, None, None):
            raise ValueError(f"at stage {stage.value!r} nobody knows a type, a user or a dex yet")
        if stage in (Stage.HEAD, Stage.BODY) and path == "/ws":
            raise ValueError(f"a handshake has no stage {stage.value!r}, cut it when 'read'")
        path = None if stage is Stage.CONNECTED else path
        self._ask(f"cut when {stage.value}", Verdict(cut=stage), times, path, type, user, dex)

    def cut_writes(self, stage: Stage | str, times: float | None = 1) -> None:
        """`cut` the next writes."""
        self.cut(stage, times=times)

    def _ask(
        self,
        text: str,
        verdict: Verdict,
        times: float | None,
        path: str | None,
        type: str | None = None,
        user: str | None = None,
        dex: str | None = None,
    ) -> None:
        if path not in (None, "/info", "/exchange", "/ws"):
            raise ValueError(f"path {str(path)[:40]!r} is none of /info, /exchange, /ws")
        self._requests.append(_RequestRule(text, _times(times), path, type, _user(user), dex, verdict))

    def cuts_here(self, stage: Stage, path: str | None = None) -> bool:
        """Whether to cut a request of which nothing is known but its path. Counts."""
        for rule in self._requests:
            assert rule.verdict is not None
            if rule.verdict.cut is stage and rule.path in (None, path):
                self._spend(self._requests, rule)
                return True
        return False

    def request(self, path: str, body: bytes) -> Verdict | None:
        """What to do to a request that was read; None if nothing is wrong. Counts."""
        if not self._requests:
            return None
        (kind, dex), content, found = type_and_dex(path, body), body.lower(), Verdict()
        late = other = False
        for rule in list(self._requests):
            verdict = rule.verdict
            assert verdict is not None
            fits = (
                verdict.cut not in _UNREAD
                and (rule.path == path or (rule.path is None and path != "/ws"))
                and rule.type in (None, kind)
                and rule.dex in (None, dex)
                and (rule.user is None or rule.user.encode() in content)
            )
            if fits and _is_latency(rule) and not late:
                late, found.latency_s = True, verdict.latency_s
                self._spend(self._requests, rule)
            elif fits and not _is_latency(rule) and not other:
                other = True
                found.answer, found.raw = verdict.answer, verdict.raw
                found.hang, found.cut = verdict.hang, verdict.cut
                self._spend(self._requests, rule)
        return found if late or other else None

    # -- frames that are pushed ------------------------------------------------------------------------

    def drop_next_push(
        self, *, times: float | None = 1, user: str | None = None, channel: str | None = None
    ) -> None:
        self._push("drop", times, user, channel)

    def duplicate_next_push(
        self, *, times: float | None = 1, user: str | None = None, channel: str | None = None
    ) -> None:
        self._push("duplicate", times, user, channel)

    def reorder_next_push(
        self, *, times: float | None = 1, user: str | None = None, channel: str | None = None
    ) -> None:
        """The next frame comes right after the one that follows it on its channel and connection."""
        self._push("reorder", times, user, channel)

    def stale_next_push(
        self, *, times: float | None = 1, user: str | None = None, channel: str | None = None
    ) -> None:
        """In place of the next frame comes the oldest one that was ever sent of its channel."""
        self._push("stale", times, user, channel)

    def delay_next_push(
        self, seconds: float, *, times: float | None = 1, user: str | None = None, channel: str | None = None
    ) -> None:
        """The next frame arrives late, so that those after it may overtake it."""
        _check_seconds(seconds)
        self._push("delay", times, user, channel, seconds)

    def delay(self, seconds: float) -> None:
        """Every push arrives this late from now on, as it was when it was rendered. 0 ends it."""
        _check_seconds(seconds)
        self._pushes = [rule for rule in self._pushes if rule.what != "delay all"]
        if seconds:
            self._push("delay all", math.inf, None, None, seconds)

    def go_silent(self, user: str | None = None) -> None:
        """No more pushes, of one account or of anything. The connections stay, and answer."""
        self._silent[_user(user)] = None

    def speak_again(self) -> None:
        self._silent.clear()

    def _push(
        self, what: str, times: float | None, user: str | None, channel: str | None, seconds: float = 0.0
    ) -> None:
        text = f"{what} pushes" + (f" by {seconds:g} s" if seconds else "")
        rule = _PushRule(text, _times(times), None, channel, _user(user), what=what, seconds=seconds)
        self._pushes.append(rule)

    def push(self, to: object, subscription: Subscription, frame: str) -> Sequence[tuple[float, str]]:
        """What to send in place of one push to one connection, as (seconds from now, frame). Counts."""
        if len(self._oldest) < OLDEST_KEPT:
            self._oldest.setdefault(subscription, frame)
        if not (self._pushes or self._silent or self._held):
            return ((0.0, frame),)
        user = subscription.user
        if None in self._silent or (user is not None and user in self._silent):
            return ()
        if self._takes("drop", subscription):
            return ()
        if self._takes("stale", subscription):
            frame = self._oldest.get(subscription, frame)
        overtaken = self._held.pop((to, subscription), None)
        if overtaken is None and self._takes("reorder", subscription):
            self._held[to, subscription] = frame
            return ()
        seconds = sum(
            rule.seconds for what in ("delay", "delay all") if (rule := self._takes(what, subscription))
        )
        frames = [frame] * 2 if self._takes("duplicate", subscription) else [frame]
        return [(seconds, one) for one in (*frames, overtaken) if one is not None]

    def left(self, to: object, subscription: Subscription) -> None:
        """A connection does not listen to this any more."""
        self._held.pop((to, subscription), None)

    def oldest(self, subscription: Subscription) -> str | None:
        return self._oldest.get(subscription)

    def _takes(self, what: str, subscription: Subscription) -> _PushRule | None:
        for rule in self._pushes:
            if (
                rule.what == what
                and rule.user in (None, subscription.user)
                and rule.type in (None, subscription.kind)
            ):
                self._spend(self._pushes, rule)
                return rule
        return None

    # -- websockets ------------------------------------------------------------------------------------

    def refuse_subscriptions(
        self,
        text: str = "Cannot track more than 10 total users.",
        *,
        times: float | None = math.inf,
        type: str | None = None,
        user: str | None = None,
    ) -> None:
        """Answer the next subscriptions that fit with this error."""
        self._refusals.append(_Rule(text, _times(times), None, type, _user(user)))

    def accept_subscriptions(self) -> None:
        self._refusals.clear()

    def refusal(self, subscription: Subscription) -> str | None:
        """The error to answer a subscription with; None to accept it. Counts."""
        for rule in self._refusals:
            if rule.type in (None, subscription.kind) and rule.user in (None, subscription.user):
                self._spend(self._refusals, rule)
                return rule.text
        return None

    def go_mute(self) -> None:
        """Not a byte more over any websocket, and nothing heard, as half-open connections do."""
        self.mute = True

    def no_pongs(self) -> None:
        """Pings of clients find no answer."""
        self.pongs = False

    def ignore_close(self) -> None:
        """A client's wish to close a websocket finds no answer."""
        self.ignores_close = True

    def accept_and_drop(self, after_s: float = 0.01) -> None:
        """Flap: every new websocket is welcomed and then dropped."""
        _check_seconds(after_s)
        self.flapping_s = after_s

    def stay_up(self) -> None:
        self.flapping_s = None

    # -- time ------------------------------------------------------------------------------------------

    def freeze_time(self) -> None:
        """Everything told from now on carries the same `time`, while the truth moves on."""
        self._frozen = True

    def thaw_time(self) -> None:
        self._frozen, self._frozen_ms = False, None

    def told_ms(self, now_ms: int) -> int:
        """The time to tell when it is `now_ms`."""
        if not self._frozen:
            return now_ms
        if self._frozen_ms is None:
            self._frozen_ms = now_ms
        return self._frozen_ms

    # -- all of them -----------------------------------------------------------------------------------

    def described(self) -> list[str]:
        """Every fault in force, a line each."""
        silent = [f"silent{'' if user is None else f' about {user}'}" for user in self._silent]
        refused = [f"refuse subscriptions: {rule}" for rule in self._refusals]
        flags = (
            ("mute", self.mute),
            ("no pongs", not self.pongs),
            ("ignore close", self.ignores_close),
            ("time frozen", self._frozen),
            (f"accept and drop after {self.flapping_s} s", self.flapping_s is not None),
        )
        rules = [str(rule) for rule in (*self._requests, *self._pushes)]
        return rules + refused + silent + [text for text, on in flags if on]

    @staticmethod
    def _spend(rules: list[R], rule: R) -> None:
        rule.times -= 1
        if rule.times <= 0:
            rules.remove(rule)


def _own_answer(status: int) -> Answer:
    """What the exchange says with a status."""
    if status in _BODILESS or status == 405:
        return Answer(status, b"", "")
    if status == 403 or status > 500:
        return Answer(status, _PAGE % status, "text/html")
    return _REFUSED.get(status, Answer(status, b"null"))


def _is_latency(rule: _RequestRule) -> bool:
    return rule.verdict is not None and rule.verdict.latency_s > 0


def _bytes(value: str | bytes, encoding: str) -> bytes:
    try:
        return value.encode(encoding) if isinstance(value, str) else value
    except UnicodeEncodeError:
        raise ValueError("a character of raw bytes is above U+00FF, or none at all") from None


def _times(times: float | None) -> float:
    """A count of times; None, which JSON has, is as often as it comes, like infinity, which it lacks."""
    if times is None:
        return math.inf
    if times != math.inf and not (times >= 1 and times == int(times)):
        raise ValueError(f"times {times} is no whole number from 1")
    return times


def _check_seconds(seconds: float) -> None:
    if not 0 <= seconds < math.inf:
        raise ValueError(f"{seconds} is no number of seconds")


def _user(user: str | None) -> str | None:
    if user is None:
        return None
    named = address(user)
    if named is None:
        raise ValueError(f"user {user[:60]!r} is no address")
    return named
