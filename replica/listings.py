"""Notices from pushes that something was listed, so that lists asked for before are not relied on. Pure.

No push says it of coins and dexes: their contexts are by position, and there are more of them, or fewer. Of
outcomes a stream of its own does. Source: spec/websocket.md 6.
"""

import msgspec

from replica.events import Pushed
from replica.state.documents import LISTINGS, OUTCOMES


class _AllDexs(msgspec.Struct):
    ctxs: list[tuple[str, list[msgspec.Raw]]]


_all_dexs = msgspec.json.Decoder(_AllDexs).decode
_rows = msgspec.json.Decoder(list[msgspec.Raw]).decode


class Listings:
    """How many of what there were in the last push of each stream that tells."""

    def __init__(self) -> None:
        self._counts: dict[str, dict[str, int]] = {}

    def changed_by(self, pushed: Pushed) -> tuple[str, ...]:
        """The tags of documents that this push makes old."""
        type_ = pushed.subscription.type
        if type_ == "outcomeMetaUpdates":
            return (OUTCOMES,)
        try:
            if type_ == "allDexsAssetCtxs":
                counts = {dex: len(contexts) for dex, contexts in _all_dexs(pushed.data).ctxs}
            elif type_ == "spotAssetCtxs":
                counts = {"": len(_rows(pushed.data))}
            else:
                return ()
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            return ()
        before = self._counts.get(type_, counts)
        self._counts[type_] = counts
        return (LISTINGS,) if counts != before else ()
