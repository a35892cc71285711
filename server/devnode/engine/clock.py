"""What a block does by itself: scheduled cancels, prices, funding, triggers, slices, liquidations."""

from __future__ import annotations

from server.devnode.engine.fees import assess
from server.devnode.engine.funding import HOUR_MS, fund
from server.devnode.engine.lifecycle import cancel_all
from server.devnode.engine.liquidation import liquidate_all
from server.devnode.engine.makers import Makers, walk
from server.devnode.engine.order_actions import DAY_MS, MAX_SCHEDULED, Look
from server.devnode.engine.state import Ground
from server.devnode.engine.triggers import fire_all
from server.devnode.engine.twaps import slice_all


def block(ground: Ground, makers: Makers, look: Look) -> None:
    """Everything that is due at `state.now`, in a fixed order."""
    assess(ground.state)
    _scheduled_cancels(ground)
    walk(ground, makers)
    fund(ground)
    fire_all(ground, look)
    slice_all(ground, look)
    liquidate_all(ground, look)


def _scheduled_cancels(ground: Ground) -> None:
    now = ground.state.now
    for account in ground.state.accounts.values():
        if account.cancel_at is not None and account.cancel_at <= now:
            account.cancel_at = None
            day, count = account.cancels_on
            count = count if day == now // DAY_MS else 0
            if count < MAX_SCHEDULED:
                account.cancels_on = (now // DAY_MS, count + 1)
                cancel_all(ground, account, "scheduledCancel")


def sleep(ground: Ground, ms: int) -> None:
    """Let time pass in which nothing happens: what was to come in some time still comes in as much."""
    state = ground.state
    state.now += ms
    state.oracle_ms += ms
    state.hour = max(state.hour, state.now // HOUR_MS)
    for twap in state.twaps.values():
        twap.next_ms += ms
    for account in state.accounts.values():
        account.whole_until += ms
        if account.cancel_at is not None:
            account.cancel_at += ms
