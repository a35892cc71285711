"""What can be asked of the engine: everything `/info` and the subscriptions are made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from server.devnode.clearinghouse import Core, Funding, Position
from server.devnode.engine.account import Account, Pool
from server.devnode.engine.book import LevelView
from server.devnode.engine.events import OrderStatus
from server.devnode.engine.funding import rate
from server.devnode.engine.listing import Instrument
from server.devnode.engine.makers import Makers, best, look
from server.devnode.engine.margin import free, leverage_of
from server.devnode.engine.matching import reducible
from server.devnode.engine.referrals import VOLUME
from server.devnode.engine.render import Renderer
from server.devnode.engine.state import Ground
from server.devnode.engine.units import number, usd

Row = dict[str, Any]
EMPTY = Core(0)


class Reads:
    """Questions: nothing here changes what is told. Unknown accounts are empty, never an error."""

    def __init__(self, ground: Ground, makers: Makers) -> None:
        self._ground = ground
        self._makers = makers
        self.wire = Renderer(ground.listing)

    def core(self, user: str, dex: str = "") -> Core:
        """The account on a dex, ready for `clearinghouse.render` with `marks(dex)`."""
        account = self._ground.state.accounts.get(user)
        pool = account.pools.get(dex) if account else None
        if account is None or pool is None:
            return EMPTY
        positions = []
        for asset in sorted(pool.holdings):
            holding, perp = pool.holdings[asset], self._ground.instruments[asset].perp
            assert perp is not None  # a pool holds perps only
            funding = Funding(pool.all_time.get(asset, 0), holding.since_open, holding.since_change)
            positions.append(
                Position(perp, holding.lots, holding.entry, holding.leverage, holding.raw, funding)
            )
        return Core(pool.cash, tuple(positions), pool.hold)

    def marks(self, dex: str = "") -> Mapping[str, int]:
        """Mark prices of a dex in ticks, by coin."""
        state = self._ground.state
        return {
            inst.coin: state.marks[asset]
            for asset, inst in self._ground.instruments.items()
            if inst.dex == dex and not inst.is_spot
        }

    def oracles(self, dex: str = "") -> Mapping[str, int]:
        state = self._ground.state
        return {
            inst.coin: state.oracles[asset]
            for asset, inst in self._ground.instruments.items()
            if inst.dex == dex and not inst.is_spot
        }

    def funding_rate(self, coin: str) -> str:
        """What the next hour would cost a long, were it now. Raises `KeyError`."""
        asset = self._ground.listing.by_coin[coin].asset
        state = self._ground.state
        return number(rate(state.marks[asset], state.oracles[asset]), 10)

    def mid(self, coin: str) -> str | None:
        """The middle of a market's book, one decimal more than a price; the last trade's price, or the
        mark, where a side is empty."""
        inst = self._ground.listing.by_coin.get(coin)
        if inst is None:
            return None
        bid, ask = self.best(inst.asset)
        if bid is not None and ask is not None:
            return number((bid + ask) * 5, inst.px_decimals + 1)
        book = self._ground.state.books.get(inst.asset)
        last = book.last if book else 0
        return number(last or self._ground.state.marks[inst.asset], inst.px_decimals)

    def best(self, asset: int) -> tuple[int | None, int | None]:
        """Best bid and ask in ticks, as who looks at the book finds them; None for an empty side."""
        return best(self._ground, self._makers, asset)

    def addresses(self) -> tuple[str, ...]:
        """Every account but the engine's own."""
        return tuple(a for a, account in self._ground.state.accounts.items() if not account.exempt)

    def spot_balances(self, user: str) -> list[Row]:
        """The rows of `spotClearinghouseState.balances`."""
        account = self._ground.state.accounts.get(user)
        if account is None:
            return []
        rows = []
        for index in sorted(account.spot):
            balance, token = account.spot[index], self._ground.listing.tokens[index]
            if balance.total:
                rows.append(
                    {
                        "coin": token.name,
                        "token": index,
                        "total": number(balance.total, token.wei_decimals),
                        "hold": number(balance.hold, token.wei_decimals),
                        "entryNtl": usd(balance.entry),
                    }
                )
        return rows

    def open_orders(self, user: str, dex: str = "") -> list[Row]:
        """FrontendOpenOrders, newest first; children that wait for a parent show only inside it."""
        return [self.wire.frontend_order(order.terms, order.left) for order in self._live(user, dex)]

    def plain_open_orders(self, user: str, dex: str = "") -> list[Row]:
        """OpenOrders, newest first."""
        return [self.wire.open_order(order.terms, order.left) for order in self._live(user, dex)]

    def _live(self, user: str, dex: str) -> list[Any]:
        account = self._ground.state.accounts.get(user)
        if account is None:
            return []
        instruments = self._ground.instruments
        return [
            order
            for _, order in sorted(account.orders.items(), reverse=True)
            if order.place != "parent" and instruments[order.terms.asset].dex == dex
        ]

    def order_status(self, user: str, name: int | str) -> Row:
        """By oid or cloid; the latest order of a cloid."""
        found = self._find(user, name)
        if found is None:
            return {"status": "unknownOid"}
        return {"status": "order", "order": self.wire.status(found)}

    def _find(self, user: str, name: int | str) -> OrderStatus | None:
        history = self._ground.history
        if isinstance(name, int):
            latest = history.latest.get(name)
            return latest if latest is not None and latest.terms.user == user else None
        return history.by_cloid.get((user, name))

    def historical_orders(self, user: str, limit: int = 2000) -> list[Row]:
        """One row per change of status, newest first."""
        rows = self._ground.history.statuses.get(user, [])
        return [self.wire.status(event) for event in reversed(rows[-limit:])]

    def fills(self, user: str, limit: int = 2000) -> list[Row]:
        """Newest first."""
        return [self.wire.fill(fill) for fill in reversed(self._ground.history.fills.get(user, [])[-limit:])]

    def twap_slice_fills(self, user: str, limit: int = 2000) -> list[Row]:
        found = [fill for fill in self._ground.history.fills.get(user, []) if fill.twap_id is not None]
        return [
            {"fill": {**self.wire.fill(fill), "twapId": None}, "twapId": fill.twap_id}
            for fill in reversed(found[-limit:])
        ]

    def twap_states(self, user: str) -> list[list[Any]]:
        """The running ones, as [id, state] pairs."""
        return [
            [number_, self.wire.twap_state(twap.state)]
            for number_, twap in self._ground.state.twaps.items()
            if twap.state.user == user
        ]

    def twap_history(self, user: str) -> list[Row]:
        return [self.wire.twap_status(event) for event in reversed(self._ground.history.twaps.get(user, []))]

    def fundings(self, user: str) -> list[Row]:
        """Oldest first, as all that follow."""
        return [self.wire.funding(event) for event in self._ground.history.fundings.get(user, [])]

    def ledger_updates(self, user: str) -> list[Row]:
        return [self.wire.ledger(event) for event in self._ground.history.ledger.get(user, [])]

    def recent_trades(self, coin: str, limit: int = 10) -> list[Row]:
        """Newest first."""
        found = self._ground.history.trades.get(coin, [])
        return [self.wire.trade(trade) for trade in reversed(found[-limit:])]

    def levels(
        self, coin: str, depth: int = 20, sig_figs: int | None = None, mantissa: int | None = None
    ) -> tuple[list[LevelView], list[LevelView]] | None:
        """Bids and asks in ticks and lots; None for a coin there is not."""
        inst = self._ground.listing.by_coin.get(coin)
        if inst is None:
            return None
        look(self._ground, self._makers, inst.asset)
        book = self._ground.state.books.get(inst.asset)
        return book.levels(depth, sig_figs, mantissa) if book else ([], [])

    def book(
        self, coin: str, sig_figs: int | None = None, mantissa: int | None = None, depth: int = 20
    ) -> Row | None:
        """`l2Book` without what was never aggregated: `spread` comes with `sig_figs` only."""
        inst, levels = self._ground.listing.by_coin.get(coin), self.levels(coin, depth, sig_figs, mantissa)
        if inst is None or levels is None:
            return None
        row: Row = {
            "coin": coin,
            "time": self._ground.state.now,
            "levels": [[self._level(inst, level) for level in side] for side in levels],
        }
        bid, ask = self.best(inst.asset)
        if sig_figs is not None and bid is not None and ask is not None:
            # Recorded: of the true best prices, whatever the levels are merged to.
            row["spread"] = number(ask - bid, inst.px_decimals)
        return row

    def _level(self, inst: Instrument, level: LevelView) -> Row:
        return {
            "px": number(level.px, inst.px_decimals),
            "sz": number(level.lots, inst.sz_decimals),
            "n": level.n,
        }

    def active_asset_data(self, user: str, coin: str) -> Row | None:
        """None for a coin that is no perp. Sizes are what margin allows at the mark, buys first."""
        inst = self._ground.listing.by_coin.get(coin)
        if inst is None or inst.is_spot:
            return None
        account = self._ground.state.accounts.get(user) or Account(user)
        mark = self._ground.state.marks[inst.asset]
        setting, pool = leverage_of(account, inst), account.pools.get(inst.dex, Pool())
        holding = pool.holdings.get(inst.asset)
        leverage: Row = {"type": "cross" if setting.is_cross else "isolated", "value": setting.value}
        if holding is not None and holding.raw is not None:
            leverage["rawUsd"] = usd(holding.raw)
        spare = max(0, free(pool, self._ground.state.marks, self._ground.instruments))
        closing = (reducible(pool, inst.asset, is_buy) for is_buy in (True, False))
        available = [spare + 2 * (lots * mark // setting.value) for lots in closing]
        sizes = [margin * setting.value // mark for margin in available]
        return {
            "user": user,
            "coin": coin,
            "leverage": leverage,
            "maxTradeSzs": [number(lots, inst.sz_decimals) for lots in sizes],
            "availableToTrade": [usd(micro) for micro in available],
            "markPx": number(mark, inst.px_decimals),
        }

    def sub_accounts(self, user: str) -> list[tuple[str, str]] | None:
        """(name, address) of each; None for an account without any, as the wire says null."""
        account = self._ground.state.accounts.get(user)
        if account is None or not account.subs:
            return None
        return [(self._ground.state.accounts[sub].name, sub) for sub in account.subs]

    def extra_agents(self, user: str) -> list[Row]:
        """The named agents; the unnamed one does not show."""
        account = self._ground.state.accounts.get(user)
        agents = account.agents.values() if account else ()
        return [
            {"name": agent.name, "address": agent.address, "validUntil": agent.valid_until}
            for agent in agents
            if agent.name
        ]

    def referred(self, user: str) -> Row | None:
        """By whose code an account came: `referredBy`."""
        account = self._ground.state.accounts.get(user)
        if account is None or account.referred is None:
            return None
        return {"referrer": account.referred.referrer, "code": account.referred.code}

    def referrer_state(self, user: str) -> Row:
        """`referrerState`: what is still to be done for a code, or the code and who came by it."""
        accounts = self._ground.state.accounts
        account = accounts.get(user)
        if account is None or account.volume < VOLUME:
            return {"stage": "needToTrade", "data": {"required": usd(VOLUME)}}
        if account.code is None:
            return {"stage": "needToCreateCode"}
        rows = []
        for other in account.referrals:
            since = accounts[other].referred
            assert since is not None  # both are written at once
            rows.append(
                {
                    "cumVlm": usd(accounts[other].volume - since.volume),
                    "cumRewardedFeesSinceReferred": "0.0",
                    "cumFeesRewardedToReferrer": "0.0",
                    "timeJoined": since.time,
                    "user": other,
                    "tokenToState": [],
                }
            )
        data = {"code": account.code, "nReferrals": len(rows), "referralStates": rows}
        return {"stage": "ready", "data": data}

    def max_builder_fee(self, user: str, builder: str) -> int:
        account = self._ground.state.accounts.get(user)
        return account.builders.get(builder, 0) if account else 0

    def approved_builders(self, user: str) -> list[str]:
        account = self._ground.state.accounts.get(user)
        return [builder for builder, rate in account.builders.items() if rate] if account else []

    def role(self, user: str) -> Row:
        state = self._ground.state
        if user in state.agents:
            return {"role": "agent", "data": {"user": state.agents[user]}}
        account = state.accounts.get(user)
        if account is None:
            return {"role": "missing"}
        if account.master is not None:
            return {"role": "subAccount", "data": {"master": account.master}}
        return {"role": "user"}

    def reserved(self, user: str) -> int:
        """Actions that were paid for."""
        account = self._ground.state.accounts.get(user)
        return account.reserved if account else 0

    def volume(self, user: str) -> int:
        """Traded ever, micro-USD: what the address limits count by."""
        account = self._ground.state.accounts.get(user)
        return account.volume if account else 0
