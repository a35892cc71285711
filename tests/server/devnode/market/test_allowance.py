"""The limit of an account's own: what it counts, whom it refuses, in which words."""

from collections.abc import Awaitable, Callable

from server.devnode import Devnode, Limits
from server.devnode.market.allowance import Allowance
from tests.server.devnode.market.trader import BTC, Trader, row

Start = Callable[..., Awaitable[Devnode]]
ANN, BOB = "0xa", "0xb"
NOOP, CANCEL = {"type": "noop"}, {"type": "cancel", "cancels": [{}, {}]}
USD = 1_000_000


def test_a_batch_counts_as_many_as_it_has_and_is_refused_whole() -> None:
    allowance = Allowance(5)
    assert allowance.take(ANN, {"type": "order", "orders": [{}] * 4}, 0, 0) is None
    assert allowance.take(ANN, NOOP, 0, 0) is None
    allowance.take(ANN, NOOP, 0, 1)  # the one in ten seconds
    text = "Too many cumulative requests sent (8 > 6) for cumulative volume traded $1.5. "
    text += "Place taker orders to free up 1 request per USDC traded."
    assert allowance.take(ANN, {"type": "order", "orders": [{}] * 2}, 3 * USD // 2, 2) == text
    assert allowance.used[ANN] == 6
    assert allowance.take(ANN, NOOP, 2 * USD, 3) is None  # it has traded
    assert allowance.take(BOB, NOOP, 0, 3) is None


def test_who_has_used_up_all_may_send_one_in_ten_seconds() -> None:
    allowance = Allowance(0)
    let_through = [now for now in range(0, 40_000, 500) if allowance.take(ANN, NOOP, 0, now) is None]
    assert let_through == [0, 10_000, 20_000, 30_000] and allowance.used[ANN] == 4


def test_more_may_be_cancelled_than_placed() -> None:
    allowance = Allowance(2)
    allowance.take(ANN, NOOP, 0, 0)
    allowance.take(ANN, NOOP, 0, 0)
    assert allowance.take(ANN, CANCEL, 0, 0) is None
    allowance.take(ANN, CANCEL, 0, 0)
    assert "(8 > 4)" in str(allowance.take(ANN, CANCEL, 0, 0))


async def test_it_is_counted_always_and_enforced_where_it_is_asked_for(devnode: Start) -> None:
    for limits, refused in ((Limits(), False), (Limits(actions_per_account=3), True)):
        node = await devnode(limits=limits, paused=True, time_ms=1_700_000_000_000)
        bot, number = Trader(node), node.snapshot()
        for _ in range(2):
            said = [await bot.order(*[row(BTC, True, "90000", "0.001")] * 2) for _ in range(4)]
            assert [isinstance(one, str) for one in said] == [False, False, refused, refused]
            limit = await bot.ask("userRateLimit")
            assert limit["nRequestsUsed"] == (4 if refused else 8)
            assert limit["nRequestsCap"] == (3 if refused else 10_000)
            node.revert(number)


async def test_what_comes_too_late_counts_five_times(devnode: Start) -> None:
    node = await devnode(paused=True, time_ms=1_700_000_000_000)
    bot = Trader(node)
    await bot.send(NOOP)
    await bot.send(NOOP, expires=1_600_000_000_000)
    assert (await bot.ask("userRateLimit"))["nRequestsUsed"] == 6


async def test_what_was_paid_for_is_used_up_first(devnode: Start) -> None:
    node = await devnode(limits=Limits(actions_per_account=2), paused=True, time_ms=1_700_000_000_000)
    bot = Trader(node)
    await bot.send({"type": "reserveRequestWeight", "weight": 3})
    limit = await bot.ask("userRateLimit")
    assert list(limit.values()) == ["0.0", 0, 2, 2]
    for _ in range(4):
        assert (await bot.send(NOOP))["status"] == "ok"
    limit = await bot.ask("userRateLimit")
    assert list(limit.values()) == ["0.0", 2, 2, 0]
    await bot.send(NOOP)  # the one in ten seconds
    assert (await bot.send(NOOP))["response"].startswith("Too many cumulative requests sent (7 > 5)")
    assert (await bot.ask("clearinghouseState"))["withdrawable"] == "9999.9985"
