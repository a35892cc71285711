"""The weight ledger with a waiting room: whoever may not go yet waits here, in the order of the lanes."""

import asyncio
import math
from collections import deque

from replica.clock import Clock
from replica.errors import BudgetExhausted
from replica.upstream.weight import Charge, Lane, WeightLedger

REFUSED_HOLD_S = 5.0
"""Clients of the exchange back off 1 to 10 s after a 429."""


class Budget:
    """Shell around `WeightLedger`: `take` waits until the request may go, or says at once that it can't.

    Within a lane first come, first served; a lane waits while a lane before it has somebody waiting.
    """

    def __init__(self, ledger: WeightLedger, clock: Clock) -> None:
        self.ledger = ledger
        self._clock = clock
        self._waiting: dict[Lane, deque[tuple[int, int, asyncio.Future[Charge]]]] = {
            lane: deque() for lane in Lane
        }
        self._queues = tuple(self._waiting[lane] for lane in sorted(Lane))
        self._timer: asyncio.TimerHandle | None = None

    def affordable(self, lane: Lane, within_s: float) -> int:
        """How much weight `lane` can surely spend within `within_s` seconds, were nobody else to come."""
        now = self._clock.monotonic()
        ahead = sum(cost for other in Lane if other <= lane for cost, _, _ in self._waiting[other])
        return max(0, self.ledger.room_by(lane, now, now + within_s) - ahead)

    async def take(self, cost: int, lane: Lane, *, wait_s: float, least: int | None = None) -> Charge:
        """Charge `cost` as soon as it fits, at the latest in `wait_s` seconds.

        `least`: what the request costs at the least, where `cost` is the most it may turn out to cost.
        Raises `BudgetExhausted` with the seconds to wait; at once when it is known that it can't fit in time.
        """
        now = self._clock.monotonic()
        if not self._ahead(lane) and self.ledger.room(lane, now) >= cost:
            return self.ledger.take(cost, now, least=least)
        earliest = self.ledger.earliest(cost, lane, now)
        if earliest > now + wait_s:
            raise BudgetExhausted(min(earliest - now, 60.0))
        turn: asyncio.Future[Charge] = asyncio.get_running_loop().create_future()
        place = (cost, cost if least is None else least, turn)
        self._waiting[lane].append(place)
        self._pump()
        try:
            async with asyncio.timeout(wait_s):
                return await turn
        except TimeoutError:
            if turn.done() and not turn.cancelled():
                return turn.result()
            now = self._clock.monotonic()
            wait = self.ledger.earliest(cost, lane, now) - now
            raise BudgetExhausted(max(1.0, min(wait, 60.0))) from None
        except asyncio.CancelledError:
            # The turn may have come in the same step as the cancellation: nobody will use it.
            if turn.done() and not turn.cancelled():
                self.ledger.cancel(turn.result())
            raise
        finally:
            if place in self._waiting[lane]:
                self._waiting[lane].remove(place)
            self._pump()

    def settle(self, charge: Charge, cost: int | None = None) -> None:
        """The request ended; see `WeightLedger.settle`."""
        self.ledger.settle(charge, self._clock.monotonic(), cost)
        self._pump()

    def cancel(self, charge: Charge) -> None:
        """The request never left; see `WeightLedger.cancel`."""
        self.ledger.cancel(charge)
        self._pump()

    def refused(self) -> None:
        """The upstream answered 429 although we kept to its limit: hold reads back for a while."""
        self.ledger.refused(self._clock.monotonic(), REFUSED_HOLD_S)
        self._pump()

    def _ahead(self, lane: Lane) -> bool:
        return any(self._queues[: lane + 1])

    def _pump(self) -> None:
        """Let everyone go who may, then set the timer for the next."""
        if not any(self._queues) and self._timer is None:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        now = self._clock.monotonic()
        for lane, queue in self._waiting.items():
            while queue:
                cost, least, turn = queue[0]
                if turn.done():
                    queue.popleft()
                elif self.ledger.room(lane, now) >= cost:
                    queue.popleft()
                    turn.set_result(self.ledger.take(cost, now, least=least))
                else:
                    # Whoever stands behind it, in this lane or a later one, waits too.
                    # No wait: one under way may make room any moment, and `settle` pumps.
                    wait = self.ledger.earliest(cost, lane, now) - now
                    if 0 < wait < math.inf:
                        self._timer = asyncio.get_running_loop().call_later(max(wait, 0.01), self._pump)
                    return
