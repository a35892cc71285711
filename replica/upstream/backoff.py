"""How long to wait before dialling again: a series that starts over only after a healthy spell.

A successful handshake is not health. An upstream that accepts and drops would be dialled thousands of times
a minute by a delay that resets on connect, and its per-IP limit (30 new connections a minute) would ban us.
"""

from random import Random


class Backoff:
    """Delays double from `first_s` to `longest_s`, each cut by up to a quarter at random.

    The jitter keeps many replicas that lost one upstream from coming back in step. Call `ended(lived_s)`
    after each connection with how long it was healthy, then wait for what it returns.
    """

    def __init__(self, *, first_s: float, longest_s: float, healthy_after_s: float, random: Random) -> None:
        self._first = first_s
        self._longest = longest_s
        self._healthy_after = healthy_after_s
        self._random = random
        self._next = first_s

    def ended(self, healthy_s: float) -> float:
        """Seconds to wait now that a connection (or an attempt, `healthy_s` 0) is over."""
        if healthy_s >= self._healthy_after:
            self._next = self._first
        delay = self._next * (1 - 0.25 * self._random.random())
        self._next = min(self._next * 2, self._longest)
        return delay
