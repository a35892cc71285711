"""`portfolio`: values and PnL of the past, as an account's events and the kept marks have them."""

import itertools
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from server.devnode import Devnode
from server.devnode.clearinghouse import fmt
from server.devnode.engine import Makers
from server.devnode.engine import events as e
from server.devnode.engine.account import Account
from server.devnode.market import Exchange
from server.devnode.market.course import Course, spot_value
from server.devnode.market.past_marks import DAY_MS, PERIODS, STEP_MS, PastMarks
from server.devnode.market.tape import Tape
from tests.server.devnode.client import http
from tests.server.devnode.engine.exchange import ANN, BOB, CAT, NOW
from tests.server.devnode.engine.test_histories import BUILDER, PLACES, Histories
from tests.server.devnode.market.trader import Trader

Start = Callable[..., Awaitable[Devnode]]
T0 = 1_700_000_000_000
HOUR_MS = 3_600_000
WATCHED = (ANN, BOB, CAT, BUILDER)
NAMES = ["day", "week", "month", "allTime", "perpDay", "perpWeek", "perpMonth", "perpAllTime"]


def perps_of(account: Account | None, marks: Any) -> int:
    pools = account.pools.values() if account else ()
    return sum(
        pool.cash + sum((one.raw or 0) + one.lots * marks[asset] for asset, one in pool.holdings.items())
        for pool in pools
    )


class Portfolios(Histories):
    """Any history of the engine, with a tape beside it; what accounts are worth is noted as time goes by."""

    @initialize(
        makers=st.sampled_from((Makers(depth=4, level_usd=500), Makers(walk=False, quote=False))),
        places=st.sampled_from(PLACES),
    )
    def begin(self, makers: Makers, places: tuple[str, ...]) -> None:
        super().begin(makers, places)
        self.tape = Tape(self.engine.listing, NOW)
        self.courses = {user: Course(self.engine.listing, user) for user in WATCHED}
        self.worth: dict[tuple[str, int], tuple[int, int]] = {}
        self.absorbed = 0

    def values(self, user: str) -> tuple[int, int]:
        """Perps and spot, as the engine's own books have them."""
        state = self.engine.ground.state
        account = state.accounts.get(user)
        wei = {token: one.total for token, one in account.spot.items()} if account else {}
        return perps_of(account, state.marks), spot_value(self.engine.listing, wei, state.marks)

    def absorb(self) -> None:
        self.tape.absorb(self.engine.events_since(self.absorbed))
        self.absorbed = self.engine.seq

    @rule(ms=st.sampled_from((1, 100, 3_000, 30_000, 3_600_000, 5 * HOUR_MS)))
    def advance(self, ms: int) -> None:
        first = (self.now // STEP_MS + 1) * STEP_MS
        for point in range(first, self.now + ms + 1, STEP_MS):
            for user in WATCHED:
                self.worth[user, point] = self.values(user)
        super().advance(ms)

    @precondition(lambda self: self.snapshots)
    @rule(data=st.data())
    def revert(self, data: st.DataObject) -> None:
        super().revert(data)
        self.tape, self.absorbed = Tape(self.engine.listing, NOW), 0
        self.courses = {user: Course(self.engine.listing, user) for user in WATCHED}
        now = self.engine.now
        for user, point in self.worth:
            if point > now:
                self.worth[user, point] = self.values(user)

    @rule(user=st.sampled_from(WATCHED))
    def the_past_is_as_it_was(self, user: str) -> None:
        self.absorb()
        course, ground = self.courses[user], self.engine.ground
        for (whose, point), worth in sorted(self.worth.items()):
            if whose == user and point <= self.engine.now and point not in course.points:
                course.read(ground.history, point)
                found = course.moment(self.tape.past.at(point) or ground.state.marks)
                assert (found.perp, found.spot) == worth, point
                course.points[point] = found

    @invariant()
    def pnl_is_what_was_realised_and_what_is_not_yet(self) -> None:
        """By the second bookkeeper, who shares nothing with either."""
        if not hasattr(self, "courses"):
            return
        self.the_events_lead_here()  # the bookkeeper has read them all
        ground, marks = self.engine.ground, self.reducer.marks
        realised: Counter[str] = Counter()
        for event in self.engine.events:
            if isinstance(event, e.Fill) and not self.engine.listing.by_asset[event.asset].is_spot:
                realised[event.user] += event.closed_pnl - event.fee
                if event.builder is not None:
                    realised[event.builder] += event.builder_fee
            elif isinstance(event, e.Funding):
                realised[event.user] += event.usdc
            elif isinstance(event, e.Collateral):
                realised[event.source] -= event.usd
                realised[event.target] += event.usd
        for user in WATCHED:
            course = Course(self.engine.listing, user)
            course.read(ground.history)
            found = course.moment(marks)
            assert (found.perp, found.spot) == self.values(user)
            assert found.perp_volume + found.spot_volume == self.reducer.volume[user]
            unrealised = sum(
                one.lots * marks[asset] - one.entry
                for (owner, asset), one in self.reducer.positions.items()
                if owner == user
            )
            assert found.perp - found.into_perps == realised[user] + unrealised


TestPortfolios = Portfolios.TestCase
TestPortfolios.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


def test_marks_are_kept_where_a_period_asks_for_them_and_nowhere_else() -> None:
    past, everything = PastMarks(T0), {}
    now, sizes = T0, []
    for block in range(4_000):
        now += (block % 7) * 30 * 60_000 + 1
        marks = {0: block}
        for point in range((now - 1) // STEP_MS * STEP_MS, T0, -STEP_MS):
            if point in everything:
                break
            everything[point] = marks
        past.changing(now, marks)
        sizes.append(len(past))
        if block % 400 == 399:
            for period in PERIODS:
                for point in period.points(now, T0):
                    assert (past.at(point) or marks) == everything.get(point, marks), (period, point)
    assert now - T0 > 200 * DAY_MS
    assert max(sizes) <= 13 + 43 + 61 + (now - T0) // (7 * DAY_MS) + 2


async def test_a_portfolio_is_drawn_at_the_recorded_distances(devnode: Start) -> None:
    node = await devnode(paused=True, time_ms=T0)
    bot = Trader(node)
    assert [name for name, _ in await bot.ask("portfolio")] == NAMES
    assert all(row["accountValueHistory"][0][1] == "0.0" for _, row in await bot.ask("portfolio"))
    await bot.buy("98000", "0.05", tif="Ioc")
    born = (await bot.ask("userNonFundingLedgerUpdates"))[0]["time"]
    node.advance(45 * 86_400)
    node.set_oracle("BTC", 97_000)
    bot._nonce = node.clock.now_ms()
    assert "filled" in await bot.buy("98000", "0.01", tif="Ioc")
    rows = dict(await bot.ask("portfolio"))
    assert list(rows) == NAMES
    for name, step, least in (("Day", 2, 12), ("Week", 4, 42), ("Month", 12, 60), ("AllTime", 168, 6)):
        row = rows[f"perp{name}"]
        times = [time for time, _ in row["accountValueHistory"]]
        assert [time for time, _ in row["pnlHistory"]] == times
        assert row["pnlHistory"][0][1] == "0.0"
        assert least <= len(times) - 2 <= least + 1
        inner = times[1:-1] if name == "AllTime" else times[:-1]
        assert {b - a for a, b in itertools.pairwise(inner)} == {step * HOUR_MS}
        assert times[-1] == (await bot.ask("clearinghouseState"))["time"]
    ever = rows["perpAllTime"]
    assert ever["accountValueHistory"][0] == ever["pnlHistory"][0] == [born, "0.0"]
    value = (await bot.ask("clearinghouseState"))["marginSummary"]["accountValue"]
    assert ever["accountValueHistory"][-1][1] == value
    assert float(ever["pnlHistory"][-1][1]) == round(float(value) - 10_000, 6)
    fills = await bot.ask("userFills")
    assert float(ever["vlm"]) == round(sum(float(one["px"]) * float(one["sz"]) for one in fills), 6)
    assert float(rows["day"]["vlm"]) == round(float(fills[0]["px"]) * float(fills[0]["sz"]), 6)


async def test_money_that_comes_or_goes_is_no_pnl(devnode: Start) -> None:
    node = await devnode(paused=True, time_ms=T0, impersonation=True)
    bot, other = Trader(node, 1), Trader(node, 2)
    await bot.usd_send(other.address, "2500")
    node.impersonate(bot.address, {"type": "usdClassTransfer", "amount": "1000", "toPerp": False, "nonce": 1})
    node.advance(3 * 3600)
    for user, perps, whole in ((bot.address, "6500.0", "7500.0"), (other.address, "2500.0", "2500.0")):
        said = dict((await http(node.port, {"type": "portfolio", "user": user})).json)
        for name, value, count in (("perpDay", perps, 2), ("allTime", whole, 1)):
            assert [one for _, one in said[name]["accountValueHistory"]] == ["0.0", *[value] * count]
            assert {one for _, one in said[name]["pnlHistory"]} == {"0.0"}
    nobody = (await http(node.port, {"type": "portfolio", "user": "0x" + "5c" * 20})).json
    assert [row["pnlHistory"] for _, row in nobody] == [[[node.now_ms(), "0.0"]]] * 8


async def test_a_portfolio_goes_back_and_is_loaded_with_the_world(devnode: Start) -> None:
    one = await devnode(paused=True, time_ms=T0, accounts=4)
    bot = Trader(one)
    await bot.buy("98000", "0.05", tif="Ioc")
    one.advance(9 * 3600)
    number, before = one.snapshot(), await bot.ask("portfolio")
    one.set_oracle("BTC", 60000)
    one.advance(30 * 3600)
    assert [row for _, row in await bot.ask("portfolio")][3]["vlm"] == before[3][1]["vlm"]
    assert await bot.ask("portfolio") != before
    again = await bot.ask("portfolio")
    saved = one.save()
    other = await devnode(paused=True, time_ms=T0, accounts=1)
    other.load(saved)
    loaded = await Trader(other).ask("portfolio")
    assert [row["pnlHistory"][:-1] for _, row in loaded] == [row["pnlHistory"][:-1] for _, row in again]
    one.revert(number)
    back = await bot.ask("portfolio")  # time has gone on
    for name in ("allTime", "perpAllTime"):
        was, is_ = dict(before)[name], dict(back)[name]
        assert was["vlm"] == is_["vlm"]
        for line in ("accountValueHistory", "pnlHistory"):
            assert (was[line][0], was[line][-1][1]) == (is_[line][0], is_[line][-1][1])


async def test_the_synthetic_accounts_have_portfolios_too(devnode: Start) -> None:
    node = await devnode(paused=True, time_ms=T0, accounts=12, seed=4)
    assert isinstance(node.source, Exchange)
    node.advance(26 * 3600)
    state = node.source.engine.ground.state
    for user in node.addresses:
        course = Course(node.source.engine.listing, user)
        course.read(node.source.engine.ground.history)
        account = state.accounts[user]
        wei = {token: one.total for token, one in account.spot.items()}
        found = course.moment(state.marks)
        assert found.perp == perps_of(account, state.marks)
        assert found.spot == spot_value(node.source.engine.listing, wei, state.marks)
        said = dict((await http(node.port, {"type": "portfolio", "user": user})).json)
        assert said["perpDay"]["accountValueHistory"][-1][1] == fmt(found.perp)
        assert len(said["day"]["pnlHistory"]) == 14
