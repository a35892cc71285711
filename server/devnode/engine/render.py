"""Orders, fills, trades in the wire's own keys, order of keys and number texts."""

from __future__ import annotations

from typing import Any

from server.devnode.engine.events import (
    ZERO_HASH,
    Fill,
    Funding,
    LedgerUpdate,
    OrderStatus,
    Terms,
    Trade,
    TwapState,
    TwapStatus,
)
from server.devnode.engine.listing import Instrument, Listing
from server.devnode.engine.units import number, short, usd

Row = dict[str, Any]


class Renderer:
    """Holds only the listing, which says how many decimals each market has."""

    def __init__(self, listing: Listing) -> None:
        self._by_asset = listing.by_asset
        self._tokens = listing.tokens

    def px(self, asset: int, ticks: int) -> str:
        return number(ticks, self._by_asset[asset].px_decimals)

    def sz(self, asset: int, lots: int) -> str:
        return number(lots, self._by_asset[asset].sz_decimals)

    def open_order(self, terms: Terms, left: int) -> Row:
        row: Row = {
            "coin": terms.coin,
            "side": "B" if terms.is_buy else "A",
            "limitPx": self.px(terms.asset, terms.px),
            "sz": self.sz(terms.asset, left),
            "oid": terms.oid,
            "timestamp": terms.timestamp,
            "origSz": self.sz(terms.asset, terms.lots),
        }
        if terms.cloid is not None:
            row["cloid"] = terms.cloid
        if terms.reduce_only:
            row["reduceOnly"] = True
        return row

    def frontend_order(self, terms: Terms, left: int) -> Row:
        inst = self._by_asset[terms.asset]
        condition = "N/A"
        if terms.is_trigger:
            way = "above" if terms.triggers_above else "below"
            condition = f"Price {way} {short(terms.trigger_px, inst.px_decimals)}"
        return {
            "coin": terms.coin,
            "side": "B" if terms.is_buy else "A",
            "limitPx": number(terms.px, inst.px_decimals),
            "sz": number(left, inst.sz_decimals),
            "oid": terms.oid,
            "timestamp": terms.timestamp,
            "triggerCondition": condition,
            "isTrigger": terms.is_trigger,
            "triggerPx": number(terms.trigger_px, inst.px_decimals),
            "children": [self.frontend_order(child, child.lots) for child in terms.children],
            "isPositionTpsl": terms.is_position_tpsl,
            "reduceOnly": terms.reduce_only,
            "orderType": terms.kind,
            "origSz": number(terms.lots, inst.sz_decimals),
            "tif": terms.tif,
            "cloid": terms.cloid,
        }

    def status(self, event: OrderStatus) -> Row:
        return {
            "order": self.frontend_order(event.terms, event.left),
            "status": event.status,
            "statusTimestamp": event.time,
        }

    def fill(self, fill: Fill) -> Row:
        inst = self._by_asset[fill.asset]
        row: Row = {
            "coin": fill.coin,
            "px": number(fill.px, inst.px_decimals),
            "sz": number(fill.lots, inst.sz_decimals),
            "side": "B" if fill.is_buy else "A",
            "time": fill.time,
            "startPosition": self._start(inst, fill.start),
            "dir": fill.dir,
            "closedPnl": number(fill.closed_pnl, 8) if inst.is_spot else usd(fill.closed_pnl),
            "hash": fill.hash,
            "oid": fill.oid,
            "crossed": fill.crossed,
            "fee": number(fill.fee, self._fee_decimals(inst, fill)),
            "tid": fill.tid,
        }
        if fill.cloid is not None:
            row["cloid"] = fill.cloid
        if (liquidation := fill.liquidation) is not None:
            row["liquidation"] = {
                "liquidatedUser": liquidation.user,
                "markPx": number(liquidation.mark, inst.px_decimals),
                "method": liquidation.method,
            }
        row["feeToken"] = self._tokens[fill.fee_token].name
        if fill.builder_fee:
            row["builderFee"] = number(fill.builder_fee, self._fee_decimals(inst, fill))
        row["twapId"] = fill.twap_id
        return row

    def _start(self, inst: Instrument, start: int) -> str:
        decimals = self._tokens[inst.base].wei_decimals if inst.is_spot else inst.sz_decimals
        return number(start, decimals)

    def _fee_decimals(self, inst: Instrument, fill: Fill) -> int:
        return self._tokens[fill.fee_token].wei_decimals if inst.is_spot else 6

    def trade(self, trade: Trade) -> Row:
        return {
            "coin": trade.coin,
            "side": "B" if trade.is_buy else "A",
            "px": self.px(trade.asset, trade.px),
            "sz": self.sz(trade.asset, trade.lots),
            "time": trade.time,
            "hash": trade.hash,
            "tid": trade.tid,
            "users": [trade.buyer, trade.seller],
        }

    def funding(self, event: Funding) -> Row:
        return {
            "time": event.time,
            "hash": ZERO_HASH,
            "delta": {
                "type": "funding",
                "coin": event.coin,
                "usdc": usd(event.usdc),
                "szi": self.sz(event.asset, event.lots),
                "fundingRate": number(event.rate, 10),
                "nSamples": None,
            },
        }

    def ledger(self, event: LedgerUpdate) -> Row:
        return {"time": event.time, "hash": event.hash, "delta": event.delta}

    def twap_state(self, state: TwapState) -> Row:
        inst = self._by_asset[state.asset]
        ntl_decimals = 8 if inst.is_spot else 6
        return {
            "coin": state.coin,
            "user": state.user,
            "side": "B" if state.is_buy else "A",
            "sz": number(state.lots, inst.sz_decimals),
            "executedSz": number(state.executed_lots, inst.sz_decimals),
            "executedNtl": number(state.executed_ntl, ntl_decimals),
            "minutes": state.minutes,
            "reduceOnly": state.reduce_only,
            "randomize": state.randomize,
            "timestamp": state.timestamp,
            "trigger": state.trigger
            and {"px": number(state.trigger[0], inst.px_decimals), "above": state.trigger[1]},
            "stopPx": None if state.stop_px is None else number(state.stop_px, inst.px_decimals),
        }

    def twap_status(self, event: TwapStatus) -> Row:
        """A row of `twapHistory`, whose `time` is in seconds."""
        status: Row = {"status": event.status}
        if event.description is not None:
            status["description"] = event.description
        return {
            "time": event.time // 1000,
            "state": self.twap_state(event.state),
            "status": status,
            "twapId": event.state.twap_id,
        }
