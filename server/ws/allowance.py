"""How many subscriptions that nobody has one client may have the upstream asked for. Pure.

The upstream's subscriptions and messages are everybody's. Who subscribes to one thing after the other would
use them up, also if it holds little at any time: each stays warm upstream for a while, and a type that the
upstream does not know costs a question, too.
"""


class Allowance:
    """`most` at once, and then `per_minute`; 0 of `most` for no limit. `now` is the monotonic clock.

    The mutable state: how many were left, and when.
    """

    __slots__ = ("_left", "_most", "_per_minute", "_when")

    def __init__(self, most: int, per_minute: int) -> None:
        self._most = most
        self._per_minute = per_minute
        self._left = float(most)
        self._when = 0.0

    def take(self, now: float) -> bool:
        """Use one up. False: none is left."""
        if not self._most:
            return True
        earned = max(0.0, now - self._when) * self._per_minute / 60.0
        self._left = min(float(self._most), self._left + earned)
        self._when = now
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True

    def __repr__(self) -> str:
        return f"<Allowance {self._left:.0f} of {self._most} left>"
