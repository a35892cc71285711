"""Any history: money, books, holds and margin hold after every call; the events alone lead to the same state;
a revert and a replay lead back.
"""

import json
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from server.devnode.clearinghouse import render
from server.devnode.engine import Engine, Makers
from server.devnode.engine.account import Pool
from server.devnode.engine.invariants import check
from server.devnode.engine.margin import free
from server.devnode.engine.snapshots import Snapshot
from server.devnode.engine.units import number
from server.devnode.prices import legal
from tests.server.devnode.engine.exchange import ANN, BOB, CAT, NOW, USD, cloid, row
from tests.server.devnode.engine.reducer import Reducer, check_follows

PEOPLE = (ANN, BOB, CAT)
BUILDER = "0x" + "b0" * 20
# Few coins a history, so that its orders meet.
PLACES = (("BTC", "ETH"), ("BTC", "PURR/USDC"), ("vntl:SPACEX", "xyz:TSLA"), ("ATOM", "@2"), ("BTC",))
MAKERS = Makers(depth=4, level_usd=500)
users = st.sampled_from(PEOPLE)
coins = st.integers(0, 1)
flags = st.booleans()
shares = st.sampled_from((-300, -50, -5, 0, 5, 50, 300))  # of a price, in 10^-4
backgrounds = st.sampled_from((MAKERS, Makers(walk=False, quote=False)))
groupings = st.sampled_from(("na", "positionTpsl"))
sizes = st.sampled_from((1, 12, 30, 900, 9_000, 40_000, 90_000, 150_000))  # USD
tifs = st.sampled_from(("Gtc", "Gtc", "Ioc", "Alo", "FrontendMarket"))


class Histories(RuleBasedStateMachine):
    @initialize(
        makers=st.sampled_from((MAKERS, Makers(walk=False, quote=False))), places=st.sampled_from(PLACES)
    )
    def begin(self, makers: Makers, places: tuple[str, ...]) -> None:
        self.places = places
        self.makers = makers
        self.engine = Engine(seed=3, makers=makers)
        self.now = NOW
        self.snapshots: list[tuple[Snapshot, str]] = []
        self.reducer, self.folded = Reducer(self.engine.listing), 0
        for user in PEOPLE:
            self.engine.credit(user, 5_000 * USD, self.now)
            self.engine.credit_spot(user, "USDC", 2_000 * 10**8)
            self.engine.credit_spot(user, "PURR", 3_000 * 10**5)
            self.act(user, type="approveBuilderFee", builder=BUILDER, maxFeeRate="0.01%", nonce=1)
            for dex in ("xyz", "vntl"):
                self.act(user, type="sendAsset", destination=user, sourceDex="", destinationDex=dex,
                         token="USDC", amount="1500", fromSubAccount="", nonce=1)  # fmt: skip

    def act(self, user: str, **action: Any) -> Any:
        answer = self.engine.apply(action, signer=user, now_ms=self.now)
        json.dumps(answer)
        return answer

    def coin(self, place: int) -> str:
        return self.places[place % len(self.places)]

    def px(self, coin: str, share: int) -> str:
        inst = self.engine.listing.by_coin[coin]
        mark = self.engine.ground.state.marks[inst.asset]
        return number(legal(mark * (10_000 + share) // 10_000, inst.px_decimals), inst.px_decimals)

    def sz(self, coin: str, usd: int) -> str:
        inst = self.engine.listing.by_coin[coin]
        mark = self.engine.ground.state.marks[inst.asset]
        unit = 10 ** (inst.px_decimals + inst.sz_decimals)
        return number(max(1, usd * unit // mark), inst.sz_decimals)

    @rule(
        user=users, place=coins, is_buy=st.booleans(), share=shares, usd=sizes, tif=tifs, reduce=st.booleans()
    )
    def order(
        self, user: str, place: int, is_buy: bool, share: int, usd: int, tif: str, reduce: bool
    ) -> None:
        coin = self.coin(place)
        inst = self.engine.listing.by_coin[coin]
        one = row(
            inst.asset, is_buy, self.px(coin, share), self.sz(coin, usd), tif=tif, reduce_only=reduce,
            cloid=cloid(self.engine.ground.state.tx),
        )  # fmt: skip
        self.place(user, coin, one)

    def place(self, user: str, coin: str, order: dict[str, Any]) -> None:
        """Send one order. If it made the account hold more, there is the margin for it."""
        inst = self.engine.listing.by_coin[coin]
        before, hold = self.held(user, coin)
        builder = {"b": BUILDER, "f": 10} if self.engine.ground.state.tx % 3 == 0 else None
        self.act(user, type="order", orders=[order], grouping="na", builder=builder)
        after, held_back = self.held(user, coin)
        if not inst.is_spot and (abs(after) > abs(before) or held_back > hold):
            ground = self.engine.ground
            spare = free(ground.state.accounts[user].pools[inst.dex], ground.state.marks, ground.instruments)
            assert spare >= 0, f"{spare} of margin after an accepted order"

    def held(self, user: str, coin: str) -> tuple[int, int]:
        """Lots held of a coin, and the margin that orders hold on its dex."""
        inst = self.engine.listing.by_coin[coin]
        pool = self.engine.ground.state.accounts[user].pools.get(inst.dex, Pool())
        holding = pool.holdings.get(inst.asset)
        return holding.lots if holding else 0, pool.hold

    @rule(user=users, place=coins, is_buy=st.booleans(), share=shares, usd=sizes, data=st.data())
    def trigger(self, user: str, place: int, is_buy: bool, share: int, usd: int, data: st.DataObject) -> None:
        coin = self.coin(place)
        inst = self.engine.listing.by_coin[coin]
        market, reduce = data.draw(st.booleans()), data.draw(st.booleans())
        px, tpsl = self.px(coin, share), data.draw(st.sampled_from(("tp", "sl")))
        one = row(
            inst.asset, is_buy, self.px(coin, 200 if is_buy else -200), self.sz(coin, usd),
            reduce_only=reduce, trigger=(px, tpsl, market),
        )  # fmt: skip
        self.act(
            user, type="order", orders=[one], grouping=data.draw(st.sampled_from(("na", "positionTpsl")))
        )

    @rule(user=users, place=coins, is_buy=st.booleans(), share=shares, usd=sizes, tif=tifs)
    def bracket(self, user: str, place: int, is_buy: bool, share: int, usd: int, tif: str) -> None:
        coin = self.coin(place)
        asset, sz = self.engine.listing.by_coin[coin].asset, self.sz(coin, usd)
        far = 250 if is_buy else -250
        orders = [
            row(asset, is_buy, self.px(coin, share), sz, tif=tif),
            row(asset, not is_buy, self.px(coin, -far), sz, reduce_only=True,
                trigger=(self.px(coin, far // 2), "tp", True)),
            row(asset, not is_buy, self.px(coin, -far), sz, reduce_only=True,
                trigger=(self.px(coin, -far // 2), "sl", True)),
        ]  # fmt: skip
        self.act(user, type="order", orders=orders, grouping="normalTpsl")

    def drawn(self, user: str, data: st.DataObject) -> tuple[int, int] | None:
        orders = self.engine.ground.state.accounts[user].orders
        if not orders:
            return None
        oid = data.draw(st.sampled_from(sorted(orders)))
        return orders[oid].terms.asset, oid

    @rule(user=users, data=st.data())
    def cancel(self, user: str, data: st.DataObject) -> None:
        if found := self.drawn(user, data):
            answer = self.act(user, type="cancel", cancels=[{"a": found[0], "o": found[1]}])
            assert answer["response"]["data"]["statuses"] == ["success"]

    @rule(user=users, data=st.data(), share=shares, usd=sizes, is_buy=st.booleans(), tif=tifs)
    def modify(self, user: str, data: st.DataObject, share: int, usd: int, is_buy: bool, tif: str) -> None:
        if found := self.drawn(user, data):
            coin = self.engine.ground.instruments[found[0]].coin
            fresh = row(found[0], is_buy, self.px(coin, share), self.sz(coin, usd), tif=tif)
            self.act(user, type="batchModify", modifies=[{"oid": found[1], "order": fresh}])

    @rule(user=users, place=coins, is_buy=flags, jitter=flags, reduce=flags, share=shares, stop=shares)
    def twap(
        self, user: str, place: int, is_buy: bool, jitter: bool, reduce: bool, share: int, stop: int
    ) -> None:
        coin = self.coin(place)
        asset = self.engine.listing.by_coin[coin].asset
        order = {"a": asset, "b": is_buy, "s": self.sz(coin, 100), "r": reduce, "m": 5, "t": jitter}
        trigger = {"p": self.px(coin, share), "a": share > 0} if share else None
        details = {"t": trigger, "s": self.px(coin, stop) if stop else None}
        self.act(user, type="twapOrder", twap=order, details=details)

    @precondition(lambda self: self.engine.ground.state.twaps)
    @rule()
    def twap_cancel(self) -> None:
        number_, twap = next(iter(self.engine.ground.state.twaps.items()))
        self.act(twap.state.user, type="twapCancel", a=twap.state.asset, t=number_)

    @rule(user=users, place=coins, cross=st.booleans(), leverage=st.sampled_from((0, 1, 3, 10, 40)))
    def leverage(self, user: str, place: int, cross: bool, leverage: int) -> None:
        coin = self.coin(place)
        asset = self.engine.listing.by_coin[coin].asset
        self.act(user, type="updateLeverage", asset=asset, isCross=cross, leverage=leverage)

    @rule(user=users, place=coins, usd=st.integers(-200, 200))
    def isolated_margin(self, user: str, place: int, usd: int) -> None:
        coin = self.coin(place)
        asset = self.engine.listing.by_coin[coin].asset
        self.act(user, type="updateIsolatedMargin", asset=asset, isBuy=True, ntli=usd * USD + 7)

    @rule(user=users, to=users, amount=st.sampled_from(("0.000001", "17.5", "300", "4000", "1000000")))
    def send(self, user: str, to: str, amount: str) -> None:
        self.act(user, type="usdSend", destination=to, amount=amount, time=1)
        self.act(user, type="spotSend", destination=to, token="PURR", amount=amount[:4], time=1)
        self.act(user, type="usdClassTransfer", amount=amount, toPerp=user < to, nonce=1)

    @rule(user=users, amount=st.sampled_from(("0.5", "2", "900")))
    def withdraw(self, user: str, amount: str) -> None:
        self.act(user, type="withdraw3", destination=user, amount=amount, time=1)

    @rule(user=users, usd=st.integers(1, 900), deposit=st.booleans())
    def sub_account(self, user: str, usd: int, deposit: bool) -> None:
        subs = self.engine.sub_accounts(user)
        if subs is None:
            self.act(user, type="createSubAccount", name="sub")
        else:
            self.act(user, type="subAccountTransfer", subAccountUser=subs[0][1], isDeposit=deposit,
                     usd=usd * USD)  # fmt: skip

    @rule(place=coins, is_buy=flags, percent=st.sampled_from((30, 98, 100)), pair=st.permutations(PEOPLE))
    def meet(self, place: int, is_buy: bool, percent: int, pair: list[str]) -> None:
        """One offers at the mark, the other takes it, nearly as large as they dare."""
        coin = self.coin(place)
        inst = self.engine.listing.by_coin[coin]
        sizes = []
        for user in pair[:2]:
            data = self.engine.active_asset_data(user, coin)
            if data is not None:
                sizes.append(min(map(float, data["maxTradeSzs"])) * percent / 100)
        lots = int(min(sizes, default=0) * 10**inst.sz_decimals)
        for user, side in zip(pair[:2], (is_buy, not is_buy), strict=True):
            order = row(inst.asset, side, self.px(coin, 0), number(lots, inst.sz_decimals))
            self.place(user, coin, order)

    @rule(place=coins, share=st.sampled_from((-3_000, -900, -450, -100, 100, 450, 900, 3_000)), oracle=flags)
    def move(self, place: int, share: int, oracle: bool) -> None:
        """A price jumps, and a block goes by."""
        coin = self.coin(place)
        set_price = self.engine.set_oracle if oracle else self.engine.set_mark
        set_price(coin, self.px(coin, share), self.now)
        self.advance(1)

    @rule(ms=st.sampled_from((1, 100, 3_000, 30_000, 3_600_000)))
    def advance(self, ms: int) -> None:
        self.now += ms
        self.engine.advance(self.now)

    @rule()
    def snapshot(self) -> None:
        self.snapshots.append((self.engine.snapshot(), self.engine.digest()))

    @precondition(lambda self: self.snapshots)
    @rule(data=st.data())
    def revert(self, data: st.DataObject) -> None:
        snapshot, digest = data.draw(st.sampled_from(self.snapshots))
        self.engine.revert(snapshot)
        assert self.engine.digest() == digest
        self.reducer, self.folded = Reducer(self.engine.listing), 0

    @invariant()
    def nothing_is_out_of_order(self) -> None:
        check(self.engine.ground)

    @invariant()
    def the_events_lead_here(self) -> None:
        fresh = self.engine.events_since(self.folded)
        self.reducer.fold(fresh)
        self.folded += len(fresh)
        check_follows(self.reducer, self.engine.ground)

    @invariant()
    def states_add_up(self) -> None:
        """The invariants of every recorded state, on the rendered text."""
        for user in PEOPLE:
            for dex in ("", "xyz", "vntl"):
                state = json.loads(render(self.engine.core(user, dex), self.engine.marks(dex), self.now))
                _adds_up(state)

    def teardown(self) -> None:
        if hasattr(self, "engine"):
            digest = self.engine.digest()
            twin = Engine(seed=3, makers=self.makers)
            twin.replay(self.engine.journal)
            assert twin.digest() == digest, "a replay of the calls leads elsewhere"


def _adds_up(state: Any) -> None:
    total = state["marginSummary"]
    positions = [row["position"] for row in state["assetPositions"]]
    signed = sum(float(p["positionValue"]) * (1 if float(p["szi"]) > 0 else -1) for p in positions)
    close = 1e-5
    assert abs(float(total["accountValue"]) - float(total["totalRawUsd"]) - signed) < close
    assert abs(float(total["totalNtlPos"]) - sum(float(p["positionValue"]) for p in positions)) < close
    assert abs(float(total["totalMarginUsed"]) - sum(float(p["marginUsed"]) for p in positions)) < close
    assert float(state["withdrawable"]) >= 0


TestHistories = Histories.TestCase
TestHistories.settings = settings(max_examples=150, stateful_step_count=50, deadline=None)
