"""`webData2`, which the exchange took off its websocket in July 2026, put together from what it still sends.

Source: spec/info.md, `webData2` (the shape, which `/info` still answers), spec/websocket.md section 8. Every
value is a slice of what came; only the two envelopes that hold several things are opened.
"""

from collections.abc import Mapping

import msgspec

from replica.subscription import Subscription

MARKET = ("allDexsAssetCtxs", "spotAssetCtxs")
"""Parts that are everybody's."""

OF_USER = ("clearinghouseState", "openOrders", "spotState", "twapStates", "webData3")
"""Parts that are the user's: all of them cost one user slot together."""


def parts_of(user: str) -> tuple[Subscription, ...]:
    """The subscriptions that one `webData2` is made of."""
    return (
        *(Subscription({"type": name, "user": user}) for name in OF_USER),
        *(Subscription({"type": name}) for name in MARKET),
    )


class _State(msgspec.Struct):
    state: msgspec.Raw = msgspec.field(name="clearinghouseState")


class _Orders(msgspec.Struct):
    orders: msgspec.Raw


class _Spot(msgspec.Struct):
    state: msgspec.Raw = msgspec.field(name="spotState")


class _Twaps(msgspec.Struct):
    states: msgspec.Raw


class _UserState(msgspec.Struct, rename="camel"):
    agent_address: msgspec.Raw
    agent_valid_until: msgspec.Raw
    cum_ledger: msgspec.Raw
    server_time: msgspec.Raw
    is_vault: msgspec.Raw
    user: msgspec.Raw
    opt_out_of_spot_dusting: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class _DexState(msgspec.Struct, rename="camel"):
    total_vault_equity: msgspec.Raw
    perps_at_open_interest_cap: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    leading_vaults: list[msgspec.Raw] = []


class _WebData3(msgspec.Struct, rename="camel"):
    user_state: _UserState
    perp_dex_states: tuple[_DexState, ...]


class _Contexts(msgspec.Struct):
    ctxs: tuple[tuple[str, msgspec.Raw], ...]


class _Meta(msgspec.Struct):
    universe: list[msgspec.Raw]


_rows = msgspec.json.Decoder(list[msgspec.Raw]).decode


def compose(parts: Mapping[str, bytes], meta: bytes) -> bytes | None:
    """The frame, or None where the parts don't make one.

    `parts` is the latest `data` of each of `OF_USER` and `MARKET`, `meta` the answer of that `/info` type.
    None while a part has not come, while contexts and `meta` differ in length (a listing that one of them
    does not have yet: they are positional), or where a part is not what it promises.
    """
    try:
        web = msgspec.json.decode(parts["webData3"], type=_WebData3)
        main = web.perp_dex_states[0]
        contexts = dict(msgspec.json.decode(parts["allDexsAssetCtxs"], type=_Contexts).ctxs)[""]
        if len(_rows(contexts)) != len(msgspec.json.decode(meta, type=_Meta).universe):
            return None
        state = msgspec.json.decode(parts["clearinghouseState"], type=_State).state
        orders = msgspec.json.decode(parts["openOrders"], type=_Orders).orders
        spot = msgspec.json.decode(parts["spotState"], type=_Spot).state
        twaps = msgspec.json.decode(parts["twapStates"], type=_Twaps).states
        spot_contexts = parts["spotAssetCtxs"]
    except (msgspec.DecodeError, UnicodeError, RecursionError, KeyError, IndexError):
        return None
    user = web.user_state
    values: list[tuple[bytes, bytes | msgspec.Raw | msgspec.UnsetType]] = [
        (b"clearinghouseState", state),
        (b"leadingVaults", _leading_vaults(web.perp_dex_states)),
        (b"totalVaultEquity", main.total_vault_equity),
        (b"openOrders", orders),
        (b"agentAddress", user.agent_address),
        (b"agentValidUntil", user.agent_valid_until),
        (b"cumLedger", user.cum_ledger),
        (b"meta", meta),
        (b"assetCtxs", contexts),
        (b"serverTime", user.server_time),
        (b"isVault", user.is_vault),
        (b"user", user.user),
        (b"twapStates", twaps),
        (b"spotState", spot),
        (b"spotAssetCtxs", spot_contexts),
        (b"optOutOfSpotDusting", user.opt_out_of_spot_dusting),
        (b"perpsAtOpenInterestCap", main.perps_at_open_interest_cap),
    ]
    body = b",".join(
        b'"%s":%s' % (name, bytes(value))
        for name, value in values
        if not isinstance(value, msgspec.UnsetType)
    )
    return b'{"channel":"webData2","data":{%s}}' % body


def _leading_vaults(dexes: tuple[_DexState, ...]) -> bytes:
    """Those of all dexes: one was recorded under a builder's. Where there are none webData3 says nothing."""
    vaults = dict.fromkeys(bytes(vault) for dex in dexes for vault in dex.leading_vaults)
    return b"[%s]" % b",".join(vaults)
