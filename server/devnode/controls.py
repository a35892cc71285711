"""What can be done to a devnode's world and its time, whatever source is behind it. Sans I/O."""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Iterator
from typing import Any

from server.devnode.abilities import (
    Funds,
    Impersonates,
    Resets,
    Reverts,
    Saves,
    SetsMarks,
    SetsOracles,
    Source,
    Unsupported,
)
from server.devnode.clock import Clock
from server.devnode.faults import Faults
from server.devnode.feeds import Feeds

MOST_SNAPSHOTS = 100  # each is a copy of accounts and books and lists what happened: a MB, more with time
MOST_BLOCKS = 100_000  # in one call, some 0.3 ms each
TICK_BLOCKS = 3_600  # of `advance`: one that is longer makes blocks of several ticks
LONGEST_BLOCK_MS = 3_600_000  # so that every hour is funded at a time of its own

SEAL_BYTES = 8

VERBS = (
    "pause", "resume", "step", "advance", "set_mark", "set_oracle", "fund", "faucet", "impersonate", "reset",
    "snapshot", "revert", "save", "load", "push", "stale_push",
)  # fmt: skip
"""The controls that are also offered over HTTP."""


class Controls:
    """The base of a devnode. The mutable state is the clock, the snapshots, and what `advance` left over.

    A block is one tick of the source. What changes the truth takes a millisecond at least, so that no two
    truths have the same `time`, and is pushed at once to those who listen; with `quietly` they learn of it
    when the next push is due. Bad values are `ValueError`s; what the source can't do is `Unsupported`.
    """

    def __init__(
        self, source: Source, clock: Clock, faults: Faults, feeds: Feeds, *, tick_s: float, paused: bool
    ) -> None:
        self.source = source
        self.clock = clock
        self.faults = faults
        self._feeds = feeds
        self._tick_ms = max(1, round(tick_s * 1000))
        self._left_ms = 0
        self._snapshots: dict[int, tuple[object, int]] = {}  # each with what `advance` had left over
        self._taken = 0
        if paused:
            clock.pause()

    # -- time ------------------------------------------------------------------------------------------

    def pause(self) -> None:
        """Stop making blocks; `time` stands still. Requests are answered and pushes go on."""
        self.clock.pause()

    def resume(self) -> None:
        """Make blocks again. `time` is then what it would have been without the pause."""
        self.clock.resume()

    def step(self, blocks: int = 1, quietly: bool = False) -> None:
        """Make this many blocks now, paused or not; `time` moves along."""
        for _ in self.stepping(blocks, quietly):
            pass

    def advance(self, seconds: float, quietly: bool = False) -> None:
        """Move `time` forward, and make the blocks that fall due in it: one a tick for the length of
        `TICK_BLOCKS`, as many longer ones where it is more."""
        for _ in self.advancing(seconds, quietly):
            pass

    def stepping(self, blocks: int = 1, quietly: bool = False) -> Iterator[None]:
        """`step` block by block, for who has something else to do in between."""
        yield from self._make(blocks, 1, 0, least=1)
        self._tell(quietly)

    def advancing(self, seconds: float, quietly: bool = False) -> Iterator[None]:
        """`advance` block by block."""
        if not 0 <= seconds * 1000 < math.inf:
            raise ValueError(f"{seconds} is no number of seconds")
        waited = self._left_ms
        ticks, left = divmod(waited + round(seconds * 1000), self._tick_ms)
        length = min(-(-ticks // TICK_BLOCKS), max(1, LONGEST_BLOCK_MS // self._tick_ms)) or 1
        yield from self._make(ticks, length, waited)
        self.clock.advance(left if ticks else left - waited)
        self._left_ms = left
        self._tell(quietly)

    def _make(self, ticks: int, length: int, waited_ms: int, least: int = 0) -> Iterator[None]:
        """Blocks of so many ticks each, the last one of those that are left."""
        blocks = -(-ticks // length)
        if not least <= blocks <= MOST_BLOCKS:
            raise ValueError(f"{blocks} blocks at once, from {least} to {MOST_BLOCKS} can be made")
        for block in range(blocks):
            # Each at its own time: what a block is dated can't be taken back.
            self.clock.advance(min(length, ticks - block * length) * self._tick_ms - waited_ms)
            waited_ms = 0
            self.source.tick()
            yield

    # -- the truth -------------------------------------------------------------------------------------

    def set_mark(self, coin: str, px: str | float, quietly: bool = False) -> None:
        """Move the mark of one coin to the legal price nearest to `px`. It goes on from there."""
        since = self.clock.now_ms()
        self._able(SetsMarks, "set a mark").set_mark(coin, _plain(px))
        self._changed(quietly, since)

    def set_oracle(self, coin: str, px: str | float, quietly: bool = False) -> None:
        since = self.clock.now_ms()
        self._able(SetsOracles, "set an oracle price").set_oracle(coin, _plain(px))
        self._changed(quietly, since)

    def fund(self, user: str, usd: str | float, quietly: bool = False) -> None:
        """Credit USDC to an account."""
        since = self.clock.now_ms()
        self._able(Funds, "fund an account").fund(user, _plain(usd))
        self._changed(quietly, since)

    def faucet(self, user: str, usd: str | float, quietly: bool = False) -> None:
        """The same as `fund`."""
        self.fund(user, usd, quietly)

    def impersonate(
        self,
        user: str,
        action: dict[str, Any],
        nonce: int | None = None,
        vault: str | None = None,
        quietly: bool = False,
    ) -> dict[str, Any]:
        """Let an account act without its key. Returns what `/exchange` answers to its signed action."""
        since = self.clock.now_ms()
        source = self._able(Impersonates, "act for anybody")
        answer = dict(source.impersonate(user, action, nonce, vault))
        self._changed(quietly, since)
        return answer

    def reset(self, seed: int | None = None, quietly: bool = False) -> None:
        """Begin anew with this seed, or the same. `time` goes on; faults and snapshots stay."""
        since = self.clock.now_ms()
        self._able(Resets, "be reset").reset(seed)
        self._left_ms = 0
        self._changed(quietly, since)

    def snapshot(self) -> int:
        """Keep the world as it is now, and forget the oldest of many. Returns the number to revert to."""
        source = self._able(Reverts, "take a snapshot")
        self._taken += 1
        self._snapshots[self._taken] = source.snapshot(), self._left_ms
        self._snapshots.pop(self._taken - MOST_SNAPSHOTS, None)
        return self._taken

    def revert(self, snapshot: int, quietly: bool = False) -> None:
        """Make the world what it was at a snapshot, as often as wanted. `time` goes on."""
        source = self._able(Reverts, "take a snapshot")
        if snapshot not in self._snapshots:
            if 0 < snapshot <= self._taken:
                raise ValueError(f"snapshot {snapshot} is gone, the newest {MOST_SNAPSHOTS} are kept")
            raise ValueError(f"no snapshot {snapshot}, {self._taken} were taken")
        # Time goes on before, not after: what was to come in some time comes in as much from then on.
        self.clock.next_ms()
        taken, self._left_ms = self._snapshots[snapshot]
        source.revert(taken)
        self._tell(quietly)

    def save(self) -> str:
        """The whole world as text (base64), for `load`."""
        content = self._able(Saves, "be saved").save()
        return base64.b64encode(_seal(content) + content).decode()

    def load(self, saved: str, quietly: bool = False) -> None:
        """Be the world that was saved, as it was saved to the last letter."""
        source = self._able(Saves, "be saved")
        try:
            sealed = base64.b64decode(saved, validate=True)
        except ValueError:  # no base64, or no ASCII at all
            sealed = b""
        seal, content = sealed[:SEAL_BYTES], sealed[SEAL_BYTES:]
        # What was cut or edited would be found out halfway through, with the old world gone.
        if seal != _seal(content):
            raise ValueError("that was not saved by a devnode")
        since = self.clock.now_ms()
        source.load(content)
        self._changed(quietly, since)

    # -- what listeners are told -----------------------------------------------------------------------

    def push(self, user: str | None = None) -> None:
        """Send everyone what they listen to, or what they do of one account; the faults apply."""
        self._feeds.push(user)

    def stale_push(self, user: str | None = None) -> None:
        """Repeat the oldest frames that were ever sent of what is listened to, or of one account."""
        self._feeds.stale_push(user)

    # -- looking ---------------------------------------------------------------------------------------

    def now_ms(self) -> int:
        """The `time` that is told."""
        return self.faults.told_ms(self.clock.now_ms())

    def status(self) -> dict[str, Any]:
        return {
            "source": repr(self.source),
            "time": self.now_ms(),
            "paused": self.clock.paused,
            "snapshots": len(self._snapshots),
            "faults": self.faults.described(),
        }

    def _able(self, ability: type[Any], what: str) -> Any:
        if not isinstance(self.source, ability):
            raise Unsupported(f"this source can't {what}: {self.source!r}")
        return self.source

    def _changed(self, quietly: bool, since: int) -> None:
        if self.clock.now_ms() <= since:  # unless the source has taken a moment of its own
            self.clock.next_ms()
        self._tell(quietly)

    def _tell(self, quietly: bool) -> None:
        if not quietly:
            self._feeds.push(None)


def _plain(amount: str | float) -> str:
    """An amount in the wire's words. Of a float at most ten decimals, and never an exponent."""
    if isinstance(amount, str) or not math.isfinite(amount):
        return str(amount)
    text = f"{amount:.10f}"
    return text.rstrip("0").rstrip(".")


def _seal(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()[:SEAL_BYTES]
