"""What all connections together take of the upstream's limits, which count per address and not per socket.

Pure. The mutable state: what is held, and the two ceilings that refusals have taught us.
"""

from collections import Counter
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LedgerLimits:
    """0 means no limit. Times in seconds."""

    users: int = 10
    subscriptions: int = 1000
    answer_within_s: float = 10.0
    refused_for_s: float = 600.0


class Usage:
    """Shared by the ledgers of all connections; each takes and gives back what its own entries hold.

    A ceiling is what the upstream let us have when it refused one more. It holds for `refused_for_s`, or
    until the last connection is lost.
    """

    def __init__(self, limits: LedgerLimits) -> None:
        self._limits = limits
        self.users: Counter[str] = Counter()
        """How many subscriptions on the wire name each user; the keys are the slots taken."""
        self.on_wire = 0
        self.leaving = 0
        """How many of those on the wire the upstream was asked to let go, and may have."""
        self._ceilings_until = 0.0
        self.forget()

    def forget(self) -> None:
        """Take the ceilings for what the settings say."""
        self.users_ceiling = self._limits.users
        self.subscriptions_ceiling = self._limits.subscriptions
        self.users_text: str | None = None
        """How the upstream put it, while a ceiling of its own is in force."""

    def forget_in_time(self, now: float) -> None:
        if now >= self._ceilings_until:
            self.forget()

    def take(self, user: str | None) -> None:
        self.on_wire += 1
        if user:
            self.users[user] += 1

    def give_back(self, user: str | None) -> None:
        self.on_wire -= 1
        if user:
            self.users[user] -= 1
            if not self.users[user]:
                del self.users[user]

    def fits(self, user: str | None) -> bool:
        """Whether one more, for this user, stays within what the settings allow."""
        return self._fits(user, self._limits.users, self._limits.subscriptions)

    def fits_by_now(self, user: str | None) -> bool:
        """Whether it stays within the ceilings too."""
        return self._fits(user, self.users_ceiling, self.subscriptions_ceiling)

    def no_user_more(self, user: str | None) -> bool:
        """Whether this user would need a slot, and none is left."""
        return bool(user) and user not in self.users and 0 < self.users_ceiling <= len(self.users)

    def users_refused(self, text: str, now: float) -> None:
        """The upstream takes no user more than those now held."""
        self.users_ceiling = max(1, len(self.users))
        self.users_text = text
        self._ceilings_until = now + self._limits.refused_for_s

    def subscriptions_refused(self, now: float) -> None:
        """The upstream takes no subscription more than those now held."""
        self.subscriptions_ceiling = max(1, self.on_wire - self.leaving)
        self._ceilings_until = now + self._limits.refused_for_s

    def check(self, held: Counter[str], on_wire: int, leaving: int) -> None:
        """Compare with what the ledgers count, and with the settings."""
        assert held == self.users, f"users held {self.users}, counted {held}"
        assert all(count > 0 for count in self.users.values()), "empty slot"
        assert (on_wire, leaving) == (self.on_wire, self.leaving), f"{self!r}, counted {on_wire}, {leaving}"
        if self._limits.users:
            assert len(self.users) <= self._limits.users, f"{self!r}: too many users"
        if self._limits.subscriptions:
            assert self.on_wire <= self._limits.subscriptions, f"{self!r}: too many subscriptions"

    def __repr__(self) -> str:
        return f"<Usage {len(self.users)} users, {self.on_wire} subscriptions, {self.leaving} leaving>"

    def _fits(self, user: str | None, users: int, subscriptions: int) -> bool:
        if 0 < subscriptions <= self.on_wire:
            return False
        return not user or user in self.users or not 0 < users <= len(self.users)
