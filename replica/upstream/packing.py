"""Which subscription goes onto which connection, so that every frame can be told whose it is.

Two subscriptions with one address (`catalogue.address_of`) never share a socket: the variants of a coin's
book, or the anonymous channels of two users. One of a type we do not know has a socket of its own. What is
placed stays where it is until it is gone; so the upstream never feeds anything twice.

Pure. Socket 0 is for what the plan wants, and stands alone: nothing a client asks for can take it down.
"""

from collections import Counter
from dataclasses import dataclass

from replica.catalogue import ANONYMOUS, ANY, TYPES, Address, address_of
from replica.subscription import Subscription

PLAN_SOCKET = 0

_ANONYMOUS_ADDRESSES = tuple((TYPES[name].channel or name,) for name in sorted(ANONYMOUS))


@dataclass(frozen=True, slots=True)
class PackingLimits:
    """What the upstream allows over all connections together; 0 means no limit."""

    connections: int = 10
    users: int = 10
    subscriptions: int = 1000


class Packing:
    """`place`, `release` when it is wanted no more, `remove` once the upstream has let it go.

    In between its address is taken still: frames of it may be on their way. The mutable state is `_sockets`,
    `_where` and `_leaving`; the counts follow from them.
    """

    def __init__(self, limits: PackingLimits) -> None:
        self._limits = limits
        self._sockets: dict[int, dict[Address, Subscription]] = {PLAN_SOCKET: {}}
        self._closing: set[int] = set()
        self._where: dict[Subscription, int] = {}
        self._leaving: dict[Subscription, None] = {}
        self._users: Counter[str] = Counter()

    def place(self, subscription: Subscription, *, planned: bool = False) -> int | str:
        """The number of its socket, or why there is none, as the upstream would say it.

        The plan's are placed above the limits too: they wait for their turn there.
        """
        number = self._where.get(subscription)
        if number is not None and subscription not in self._leaving:
            return number
        if not planned and (text := self._over_limit(subscription)) is not None:
            return text
        if number is None:
            number = self._socket_for(subscription, planned)
            if number is None:
                return f"Cannot open more than {self._limits.connections} connections."
            self._sockets.setdefault(number, {})[address_of(subscription)] = subscription
            self._where[subscription] = number
        self._leaving.pop(subscription, None)
        if subscription.user:
            self._users[subscription.user] += 1
        return number

    def release(self, subscription: Subscription) -> None:
        """It is wanted no more, and its user's slot is free to be given away."""
        if subscription in self._where and subscription not in self._leaving:
            self._leaving[subscription] = None
            if subscription.user:
                self._users[subscription.user] -= 1
                if not self._users[subscription.user]:
                    del self._users[subscription.user]

    def remove(self, subscription: Subscription) -> None:
        """The upstream holds it no more: its address is free."""
        self.release(subscription)
        number = self._where.pop(subscription, None)
        if number is not None:
            del self._leaving[subscription]
            del self._sockets[number][address_of(subscription)]

    # -- sockets ---------------------------------------------------------------------------------------

    def close(self, number: int) -> None:
        """Put nothing more on this one, which is empty: it is being closed."""
        assert not self._sockets[number], f"{self!r}: {number} is not empty"
        self._closing.add(number)

    def closed(self, number: int) -> None:
        """It is closed, and may be opened anew."""
        self._closing.discard(number)
        del self._sockets[number]

    # -- reading ---------------------------------------------------------------------------------------

    def where(self, subscription: Subscription) -> int | None:
        """The socket it is on, also while it is leaving."""
        return self._where.get(subscription)

    def on(self, number: int) -> tuple[Subscription, ...]:
        return tuple(self._sockets.get(number, {}).values())

    @property
    def sockets(self) -> tuple[int, ...]:
        """The numbers of those in use, and of those not closed yet."""
        return tuple(self._sockets)

    @property
    def leaving(self) -> tuple[Subscription, ...]:
        return tuple(self._leaving)

    def check(self) -> None:
        """Every structural invariant; tests call it after each step."""
        placed = {s: number for number, socket in self._sockets.items() for s in socket.values()}
        assert placed == self._where, f"{self!r}: {placed}, said to be {self._where}"
        users = Counter(s.user for s in placed if s.user and s not in self._leaving)
        assert users == self._users, f"{self!r}: users {self._users}, counted {users}"
        assert self._leaving.keys() <= placed.keys(), f"{self!r}: leaving from nowhere"
        assert all(not self._sockets[number] for number in self._closing), f"{self!r}: a closing one is used"

    def __repr__(self) -> str:
        sizes = " ".join(f"{number}:{len(socket)}" for number, socket in self._sockets.items())
        return f"<Packing {sizes}, {len(self._leaving)} leaving>"

    # -- inside ----------------------------------------------------------------------------------------

    def _over_limit(self, subscription: Subscription) -> str | None:
        limits, user = self._limits, subscription.user
        if 0 < limits.subscriptions <= len(self._where) - len(self._leaving):
            return f"Cannot subscribe to more than {limits.subscriptions} channels."
        if user and user not in self._users and 0 < limits.users <= len(self._users):
            return f"Cannot track more than {limits.users} total users."
        return None

    def _socket_for(self, subscription: Subscription, planned: bool) -> int | None:
        if address_of(subscription) == ANY and self._strangers() >= self._most_strangers():
            return None
        alone = self._limits.connections == 1
        for number, socket in sorted(self._sockets.items()):
            theirs = number not in (PLAN_SOCKET, *self._closing)
            if (theirs or planned or alone) and number not in self._closing and _fits(subscription, socket):
                return number
        if 0 < self._limits.connections <= len(self._sockets):
            return None
        return next(n for n in range(len(self._sockets) + 1) if n not in self._sockets)

    def _strangers(self) -> int:
        return sum(ANY in socket for socket in self._sockets.values())

    def _most_strangers(self) -> float:
        """Half of the clients' sockets: types we do not know must not keep those we know from theirs."""
        connections = self._limits.connections
        return (connections - 1) // 2 if connections else float("inf")


def _fits(subscription: Subscription, socket: dict[Address, Subscription]) -> bool:
    address = address_of(subscription)
    if address == ANY:
        return not socket
    if address in socket or ANY in socket:
        return False
    if subscription.type not in ANONYMOUS:
        return True
    others = (socket[other] for other in _ANONYMOUS_ADDRESSES if other in socket)
    return all(other.user == subscription.user for other in others)
