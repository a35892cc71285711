"""Prices and contexts of all markets. Source: spec/websocket.md 8. Pure.

`metaAndAssetCtxs` and its spot twin begin with a list that no stream has. It is taken from an answer of the
upstream: of the list alone, or an earlier one of the same type, not older than `LISTED_S`.
"""

import math

import msgspec

from replica import Document
from server.queries.streams import NOT_READ, Found, Memory, Params, query, stream

LISTED_S = 60.0
"""So long a list of markets is good where no listing was noticed: as the table keeps such lists."""


class _Mids(msgspec.Struct):
    mids: msgspec.Raw


class _AllDexs(msgspec.Struct):
    ctxs: list[tuple[str, msgspec.Raw]]


class _Meta(msgspec.Struct):
    universe: list[msgspec.Raw]


class _SpotContext(msgspec.Struct):
    coin: str


_mids = msgspec.json.Decoder(_Mids).decode
_all_dexs = msgspec.json.Decoder(_AllDexs).decode
_rows = msgspec.json.Decoder(list[msgspec.Raw]).decode
_pair = msgspec.json.Decoder(tuple[msgspec.Raw, msgspec.Raw]).decode
_meta = msgspec.json.Decoder(_Meta).decode
_spot_context = msgspec.json.Decoder(_SpotContext).decode


def mids(data: bytes) -> bytes:
    """allMids -> allMids."""
    return bytes(_mids(data).mids)


def perps(data: bytes, dex: str, meta: bytes) -> bytes | None:
    """allDexsAssetCtxs and `meta` of a dex -> its metaAndAssetCtxs. None: they do not belong together.

    Contexts are by position: a list that one of them does not have yet would give each the next one's.
    """
    contexts = dict(_all_dexs(data).ctxs).get(dex)
    if contexts is None or len(_rows(contexts)) != len(_meta(meta).universe):
        return None
    return b"[%s,%s]" % (meta, bytes(contexts))


def spots(data: bytes, earlier: bytes) -> bytes | None:
    """spotAssetCtxs and an earlier spotMetaAndAssetCtxs -> that of now. None: the coins are others by now.

    The answer lists contexts in an order of its own, which is not that of the universe: it is kept.
    """
    meta, then = _pair(earlier)
    now = {_spot_context(context).coin: context for context in _rows(data)}
    coins = [_spot_context(context).coin for context in _rows(then)]
    if now.keys() != set(coins) or len(now) != len(coins):
        return None
    return b"[%s,[%s]]" % (bytes(meta), b",".join([bytes(now[coin]) for coin in coins]))


def _listed(document: Document | None, now: float) -> bytes | None:
    """The body of an answer that lists markets, if it still may be relied on."""
    if document is None or document.status != 200 or document.fresh_until == -math.inf:
        return None
    return document.body if now - document.received <= LISTED_S else None


def _all_mids(memory: Memory, params: Params, earlier: Document | None) -> Found | None:
    subscription = stream("allMids", dex=params.get("dex") or None)
    latest = memory.reading.latest(subscription)
    if latest is None:
        return None
    data, age = latest

    def make() -> bytes | None:
        try:
            return mids(data)
        except NOT_READ:
            return None

    body = memory.reading.made(("allMids", subscription), (data,), make)
    return None if body is None else Found(body, age)


def _meta_and_asset_ctxs(memory: Memory, params: Params, earlier: Document | None) -> Found | None:
    latest = memory.reading.latest(stream("allDexsAssetCtxs"))
    if latest is None:
        return None
    data, age = latest
    dex = str(params.get("dex") or "")
    now = memory.reading.now()
    meta = _listed(memory.documents.get(("meta", (dex,))), now)
    then = _listed(earlier, now)

    def make() -> bytes | None:
        try:
            if meta is not None:
                return perps(data, dex, meta)
            return None if then is None else perps(data, dex, bytes(_pair(then)[0]))
        except NOT_READ:
            return None

    body = memory.reading.made(("metaAndAssetCtxs", dex), (data, meta, then), make)
    return None if body is None else Found(body, age)


def _spot_meta_and_asset_ctxs(memory: Memory, params: Params, earlier: Document | None) -> Found | None:
    latest = memory.reading.latest(stream("spotAssetCtxs"))
    then = _listed(earlier, memory.reading.now())
    if latest is None or then is None:
        return None
    data, age = latest

    def make() -> bytes | None:
        try:
            return spots(data, then)
        except NOT_READ:
            return None

    body = memory.reading.made("spotMetaAndAssetCtxs", (data, then), make)
    return None if body is None else Found(body, age)


all_mids = query(_all_mids, of_accounts=False)
meta_and_asset_ctxs = query(_meta_and_asset_ctxs, of_accounts=False)
spot_meta_and_asset_ctxs = query(_spot_meta_and_asset_ctxs, of_accounts=False)
