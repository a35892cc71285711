"""What is sent on each channel: the first frame, the frame of every period, the frames of an event.

Absolute states come once a period, each channel at a phase of its own, so that many are never one stretch.
What events tell is sent when their block is over (`news.py`). The periods are settings; where the exchange's
own was measured (by third parties, 2026) it is the default, where it was not, that of the account states.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence

import orjson

from server.devnode.clearinghouse import fmt
from server.devnode.engine.events import Event
from server.devnode.market.account_answers import open_orders, spot_state
from server.devnode.market.accounting import agent_of, cum_ledger
from server.devnode.market.contexts import perp_context, perp_contexts, spot_context, spot_contexts
from server.devnode.market.market_answers import book_text
from server.devnode.market.news import EVENT_KINDS, SNAPSHOTS, News
from server.devnode.market.truth import Truth
from server.devnode.subscriptions import Subscription

STATE = "state"  # the name under which the period of all unmeasured account states is set
PERIODS: Mapping[str, float] = {
    STATE: 5.0,
    "allMids": 5.0,
    "l2Book": 5.36,
    "l2Book fast": 0.54,
    "bbo": 1.0,  # and at every order and trade in it
    "candle": 1.0,
    "activeAssetCtx": 1.0,
    "assetCtxs": 15.0,
    "spotAssetCtxs": 15.0,
    "allDexsAssetCtxs": 13.6,
    "fastAssetCtxs": 1.0,
}
FAST_LEVELS = 5
REPLAY_MS = 20_000  # of trades, for who joins
REPLAYED = 100
EXPLORER_KINDS = ("explorerBlock", "explorerTxs")  # fed elsewhere; here they are one empty list, bare
EVENTLESS = frozenset({*EXPLORER_KINDS, "outcomeMetaUpdates"})  # nothing happens to outcomes here

Make = Callable[[Subscription], str | None]


class Channels:
    """The mutable state is what was last sent where only what is new is sent, and who listens to what."""

    def __init__(
        self, truth: Truth, now_ms: Callable[[], int], push_s: float, periods: Mapping[str, float]
    ) -> None:
        if unknown := sorted(set(periods) - set(PERIODS)):
            raise ValueError(f"no cadence {unknown[0]!r}, there are {', '.join(PERIODS)}")
        self._truth = truth
        self._now_ms = now_ms
        self._periods = {**PERIODS, STATE: push_s, "allMids": push_s, **periods}
        self._news = News(truth)
        self._last: dict[Subscription, str] = {}
        self._contexts: dict[str, tuple[str, str]] = {}  # coin -> (markPx, midPx) of the last fast frame
        self._bbos: set[str] = set()
        self._made: Mapping[str, Make] = {
            "activeAssetCtx": self._active_asset_ctx,
            "activeAssetData": self._active_asset_data,
            "allDexsAssetCtxs": self._all_dexs_asset_ctxs,
            "allDexsClearinghouseState": self._all_dexs_state,
            "allMids": self._all_mids,
            "assetCtxs": self._asset_ctxs,
            "bbo": self._bbo,
            "candle": self._candle,
            "clearinghouseState": self._state,
            "fastAssetCtxs": self._fast_asset_ctxs,
            "l2Book": self._book,
            "openOrders": self._open_orders,
            "spotAssetCtxs": lambda _: f'"data":{spot_contexts(truth)}',
            "spotState": lambda one: (
                f'"data":{{"user":"{one.user}","spotState":{spot_state(truth, one.user or "")}}}'
            ),
            "twapStates": self._twap_states,
            "webData3": self._web_data,
        }

    # -- the interface of a script ---------------------------------------------------------------------

    def period(self, subscription: Subscription) -> float | None:
        """Seconds between two frames, or None where only events are told."""
        kind = subscription.kind
        if kind in EVENT_KINDS or kind in EVENTLESS:
            return None
        if kind == "l2Book" and subscription.get("fast"):
            kind = "l2Book fast"
        return self._periods.get(kind, self._periods[STATE])

    def opened(self, subscription: Subscription) -> None:
        """Somebody listens to a channel to which nobody did."""
        self._news.opened(subscription)
        if subscription.kind == "bbo":
            self._bbos.add(subscription.coin)

    def closed(self, subscription: Subscription) -> None:
        self._news.closed(subscription)
        self._last.pop(subscription, None)
        if subscription.kind == "bbo":
            self._bbos.remove(subscription.coin)
        elif subscription.kind == "fastAssetCtxs":
            self._contexts.clear()

    def opening(self, subscription: Subscription) -> str | None:
        """The first frame of a listener, if there is one."""
        self._truth.told()
        kind = subscription.kind
        if kind in SNAPSHOTS:
            return self._news.snapshot(subscription)
        if kind == "trades":
            return self._replay(subscription)
        if kind in EXPLORER_KINDS:
            return "[]"
        if kind == "fastAssetCtxs":
            return self._framed(subscription, self._all_fast())
        make = self._made.get(kind)
        return None if make is None else self._framed(subscription, make(subscription))

    def frame(self, subscription: Subscription) -> str | None:
        """The frame of a period; None where there is nothing to tell."""
        make = self._made.get(subscription.kind)
        frame = None if make is None else self._framed(subscription, make(subscription))
        if frame is not None and subscription.kind in ("bbo", "candle"):
            if self._last.get(subscription) == frame:
                return None
            self._last[subscription] = frame
        return frame

    def heard(self, events: Sequence[Event]) -> Iterable[tuple[Subscription, str]]:
        """The frames that the events of a block cause."""
        self._truth.told()
        if self._bbos:  # recorded: within a block they come before the trades
            for coin in self._news.coins_of(events):
                if coin in self._bbos:
                    subscription = Subscription("bbo", None, None, (("coin", coin),))
                    frame = self.frame(subscription)
                    if frame is not None:
                        yield subscription, frame
        yield from self._news.told(events)

    # -- frames ----------------------------------------------------------------------------------------

    def _framed(self, subscription: Subscription, data: str | None) -> str | None:
        if data is None:
            return None
        channel = subscription.kind
        if channel == "activeAssetCtx" and self._truth.coins[subscription.coin].is_spot:
            channel = "activeSpotAssetCtx"
        return f'{{"channel":"{channel}",{data}}}'

    def _all_mids(self, one: Subscription) -> str:
        # The frame of the main dex has no `dex` key; clients drop one that does.
        head = f'"dex":"{one.dex}",' if one.dex else ""
        return f'"data":{{{head}"mids":{self._truth.mids(one.dex or "")}}}'

    def _state(self, one: Subscription) -> str:
        state = self._truth.state(one.user or "", one.dex or "", self._now_ms())
        return f'"data":{{"dex":"{one.dex}","user":"{one.user}","clearinghouseState":{state}}}'

    def _all_dexs_state(self, one: Subscription) -> str:
        truth, now_ms = self._truth, self._now_ms()
        states = ",".join(f'["{dex}",{truth.state(one.user or "", dex, now_ms)}]' for dex in truth.dexes)
        return f'"data":{{"user":"{one.user}","clearinghouseStates":[{states}]}}'

    def _open_orders(self, one: Subscription) -> str:
        orders = open_orders(self._truth, one.user or "", one.dex or "")
        return f'"data":{{"dex":"{one.dex}","user":"{one.user}","orders":{orders}}}'

    def _twap_states(self, one: Subscription) -> str:
        states = [
            row
            for row in self._truth.engine.twap_states(one.user or "")
            if self._truth.coins[row[1]["coin"]].dex == one.dex
        ]
        text = orjson.dumps(states).decode()
        return f'"data":{{"dex":"{one.dex}","user":"{one.user}","states":{text}}}'

    def _active_asset_data(self, one: Subscription) -> str:
        row = self._truth.engine.active_asset_data(one.user or "", one.coin)
        return f'"data":{orjson.dumps(row).decode()}'

    def _web_data(self, one: Subscription) -> str:
        truth, user = self._truth, one.user or ""
        agent, until = agent_of(truth, user)
        state = {
            "agentAddress": agent,
            "agentValidUntil": until,
            "cumLedger": fmt(cum_ledger(truth, user)),
            "serverTime": truth.stamp(self._now_ms()),
            "isVault": False,
            "user": user,
        }
        dexes = [{"totalVaultEquity": "0.0"} for _ in truth.dexes]
        return '"data":' + orjson.dumps({"userState": state, "perpDexStates": dexes}).decode()

    def _book(self, one: Subscription) -> str:
        fast = bool(one.get("fast"))
        depth = FAST_LEVELS if fast else 20
        text = book_text(self._truth, one.coin, one.get("nSigFigs"), one.get("mantissa"), depth)
        return f'"data":{text[:-1]},"fast":true}}' if fast else f'"data":{text}'

    def _bbo(self, one: Subscription) -> str:
        book = self._truth.book(one.coin, depth=1)
        best = [side[0] if side else None for side in book["levels"]]
        last = self._last.get(one)
        text = orjson.dumps(best).decode()
        if last is not None and f'"bbo":{text}}}}}' in last:
            return last[len('{"channel":"bbo",') : -1]  # unchanged: the same frame, with its time
        return f'"data":{{"coin":"{one.coin}","time":{book["time"]},"bbo":{text}}}'

    def _candle(self, one: Subscription) -> str:
        row = self._truth.tape.forming(one.coin, str(one.get("interval")))
        return f'"data":{orjson.dumps(row).decode()}'

    def _active_asset_ctx(self, one: Subscription) -> str:
        spot = self._truth.coins[one.coin].is_spot
        ctx = (spot_context if spot else perp_context)(self._truth, one.coin)
        return f'"data":{{"coin":"{one.coin}","ctx":{ctx}}}'

    def _asset_ctxs(self, one: Subscription) -> str:
        return f'"data":{{"dex":"{one.dex}","ctxs":{perp_contexts(self._truth, one.dex or "")}}}'

    def _all_dexs_asset_ctxs(self, one: Subscription) -> str:
        truth = self._truth
        rows = ",".join(f'["{dex}",{perp_contexts(truth, dex)}]' for dex in truth.dexes)
        return f'"data":{{"ctxs":[{rows}]}}'

    def _fast_now(self) -> dict[str, tuple[str, str]]:
        truth = self._truth
        marks = truth.engine.ground.state.marks
        return {
            coin: (truth.engine.wire.px(inst.asset, marks[inst.asset]), truth.engine.mid(coin) or "0.0")
            for coin, inst in truth.coins.items()
        }

    def _all_fast(self) -> str:
        found = self._fast_now()
        if not self._contexts:
            self._contexts = found
        return _deflated({coin: {"markPx": mark, "midPx": mid} for coin, (mark, mid) in found.items()})

    def _fast_asset_ctxs(self, one: Subscription) -> str | None:
        """Changed coins, and of them the changed fields."""
        found, changes = self._fast_now(), {}
        for coin, (mark, mid) in found.items():
            old = self._contexts.get(coin, ("", ""))
            change = {"markPx": mark} if mark != old[0] else {}
            if mid != old[1]:
                change["midPx"] = mid
            if change:
                changes[coin] = change
        self._contexts = found
        return _deflated(changes) if changes else None

    def _replay(self, one: Subscription) -> str | None:
        """The trades of the last seconds, oldest first; no frame at all where there were none."""
        since = self._now_ms() - REPLAY_MS
        rows = [row for row in self._truth.recent_trades(one.coin, REPLAYED) if row["time"] >= since]
        return self._framed(one, f'"data":{orjson.dumps(rows[::-1]).decode()}') if rows else None


def _deflated(value: object) -> str:
    """Base64 of raw DEFLATE: no header, no checksum."""
    packer = zlib.compressobj(wbits=-15)
    raw = packer.compress(orjson.dumps(value)) + packer.flush()
    return f'"data":"{base64.b64encode(raw).decode()}"'
