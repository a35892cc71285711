"""`/info` about accounts: states, orders, fills, settings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from server.devnode.info import EMPTY, Answer, InfoRequest, ok
from server.devnode.market.accounting import rate_limit, user_fees, web_data
from server.devnode.market.asking import flag_of, text_of, user_of, window_of
from server.devnode.market.fills import aggregated, fill_rows
from server.devnode.market.market_answers import Answers, rows_answer
from server.devnode.market.portfolio import portfolio
from server.devnode.market.truth import Truth

FILLS = 2000
ROWS = 500

Rows = Callable[[Truth, str], list[Any]]


def _listed(rows: Rows) -> Callable[[Truth, InfoRequest, int], Answer]:
    return lambda truth, request, _: rows_answer(rows(truth, user_of(request)))


def _said(value: Callable[[Truth, str], Any]) -> Callable[[Truth, InfoRequest, int], Answer]:
    return lambda truth, request, _: ok(orjson.dumps(value(truth, user_of(request))))


def _order_status(truth: Truth, request: InfoRequest, now_ms: int) -> Answer:
    return ok(orjson.dumps(truth.engine.order_status(request.user, request.fields["oid"])))


def _fills(truth: Truth, request: InfoRequest, now_ms: int) -> Answer:
    fills = truth.engine.ground.history.fills.get(user_of(request), [])
    if flag_of(request, "aggregateByTime"):
        fills = aggregated(fills)
    return rows_answer(fill_rows(truth, fills[-FILLS:])[::-1])


def _fills_by_time(truth: Truth, request: InfoRequest, now_ms: int) -> Answer:
    first, last = window_of(request.fields, start=True)
    found = truth.engine.ground.history.fills.get(user_of(request), [])
    fills = [fill for fill in found if first <= fill.time <= last]
    if flag_of(request, "aggregateByTime"):
        fills = aggregated(fills)
    if flag_of(request, "reversed"):
        return rows_answer(fill_rows(truth, fills[-FILLS:])[::-1])
    return rows_answer(fill_rows(truth, fills[:FILLS]))


def _slices_by_time(truth: Truth, request: InfoRequest, now_ms: int) -> Answer:
    first, last = window_of(request.fields, start=True)
    rows = [
        row for row in truth.engine.twap_slice_fills(user_of(request)) if first <= row["fill"]["time"] <= last
    ]
    return rows_answer(rows[::-1][:FILLS])


def _windowed(rows: Rows, most: int | None) -> Callable[[Truth, InfoRequest, int], Answer]:
    """Oldest first, and of too many the oldest."""

    def answer(truth: Truth, request: InfoRequest, now_ms: int) -> Answer:
        first, last = window_of(request.fields)
        found = [row for row in rows(truth, user_of(request)) if first <= row["time"] <= last]
        return rows_answer(found[:most])

    return answer


def _sub_accounts(truth: Truth, request: InfoRequest, now_ms: int) -> Answer:
    master = user_of(request)
    subs = truth.engine.sub_accounts(master)
    if subs is None:
        return ok("null")
    rows = (
        f'{{"name":{orjson.dumps(name).decode()},"subAccountUser":"{sub}","master":"{master}"'
        f',"clearinghouseState":{truth.state(sub, "", now_ms)},"spotState":{spot_state(truth, sub)}}}'
        for name, sub in subs
    )
    return ok(f"[{','.join(rows)}]")


def _sub_accounts_2(truth: Truth, request: InfoRequest, now_ms: int) -> Answer:
    master = user_of(request)
    subs = truth.engine.sub_accounts(master)
    if subs is None:
        return ok("null")
    accounts = truth.engine.ground.state.accounts
    rows = []
    for name, sub in subs:
        dexes = [dex for dex in truth.dexes if not dex or dex in accounts[sub].pools]
        states = ",".join(f'["{dex}",{truth.state(sub, dex, now_ms)}]' for dex in dexes)
        rows.append(
            f'{{"name":{orjson.dumps(name).decode()},"subAccountUser":"{sub}","master":"{master}"'
            f',"dexToClearinghouseState":[{states}],"spotState":{spot_state(truth, sub)}}}'
        )
    return ok(f"[{','.join(rows)}]")


def spot_state(truth: Truth, user: str) -> str:
    return truth.once(
        user, "spot", lambda: orjson.dumps({"balances": truth.engine.spot_balances(user)}).decode()
    )


def open_orders(truth: Truth, user: str, dex: str) -> str:
    """FrontendOpenOrders."""
    return truth.once(
        user, ("orders", dex), lambda: orjson.dumps(truth.engine.open_orders(user, dex)).decode()
    )


def _active_asset_data(truth: Truth, request: InfoRequest, now_ms: int) -> Answer:
    row = truth.engine.active_asset_data(user_of(request), text_of(request.fields, "coin"))
    return Answer(500, b"null") if row is None else ok(orjson.dumps(row))


def _max_builder_fee(truth: Truth, request: InfoRequest, now_ms: int) -> Answer:
    return ok(str(truth.engine.max_builder_fee(user_of(request), user_of(request, "builder"))))


def _referral(truth: Truth, user: str) -> dict[str, Any]:
    return {
        "referredBy": truth.engine.referred(user),
        "cumVlm": rate_limit(truth, user)["cumVlm"],
        "unclaimedRewards": "0.0",
        "claimedRewards": "0.0",
        "builderRewards": "0.0",
        "referrerState": truth.engine.referrer_state(user),
        "rewardHistory": [],
        "tokenToState": [],
    }


def _pre_transfer_check(truth: Truth, request: InfoRequest, now_ms: int) -> Answer:
    user, accounts = user_of(request), truth.engine.ground.state.accounts
    user_of(request, "source")
    said = {
        "fee": "0.0",
        "isSanctioned": False,
        "userExists": user in accounts,
        "userHasSentTx": truth.signed.allowance.used[user] > 0,
    }
    return ok(orjson.dumps(said))


def _state(truth: Truth, request: InfoRequest, now_ms: int) -> Answer:
    return ok(truth.state(request.user, request.dex, now_ms))


def _nothing(kind: str) -> Callable[[Truth, InfoRequest, int], Answer]:
    text = EMPTY[kind]

    def answer(truth: Truth, request: InfoRequest, now_ms: int) -> Answer:
        user_of(request)
        return ok(text)

    return answer


# What nothing here can have: vaults, stakes, signers of a multi-sig, abstractions.
_NOTHING = (
    "delegations",
    "delegatorHistory",
    "delegatorRewards",
    "userAbstraction",
    "userDexAbstraction",
    "userToMultiSigSigners",
    "userVaultEquities",
)

ACCOUNT_ANSWERS: Answers = {
    **{kind: _nothing(kind) for kind in _NOTHING},
    "activeAssetData": _active_asset_data,
    "allBorrowLendReserveStates": lambda *_: ok("[]"),
    "approvedBuilders": _said(lambda truth, user: truth.engine.approved_builders(user)),
    "borrowLendUserState": _said(lambda *_: {"tokenToState": [], "health": "healthy", "healthFactor": None}),
    "clearinghouseState": _state,
    "delegatorSummary": _said(
        lambda *_: {
            "delegated": "0.0",
            "undelegated": "0.0",
            "totalPendingWithdrawal": "0.0",
            "nPendingWithdrawals": 0,
        }
    ),
    "extraAgents": _said(lambda truth, user: truth.engine.extra_agents(user)),
    "frontendOpenOrders": lambda truth, request, _: ok(open_orders(truth, request.user, request.dex)),
    "historicalOrders": _listed(lambda truth, user: truth.engine.historical_orders(user)),
    "isVip": _said(lambda *_: False),
    "leadingVaults": _said(lambda *_: []),
    "legalCheck": _said(lambda *_: {"acceptedTerms": True, "userAllowed": True, "restrictions": "n"}),
    "maxBuilderFee": _max_builder_fee,
    "openOrders": lambda truth, request, _: ok(
        orjson.dumps(truth.engine.plain_open_orders(request.user, request.dex))
    ),
    "orderStatus": _order_status,
    "portfolio": lambda truth, request, now_ms: ok(orjson.dumps(portfolio(truth, user_of(request), now_ms))),
    "preTransferCheck": _pre_transfer_check,
    "referral": _said(_referral),
    "spotClearinghouseState": lambda truth, request, _: ok(spot_state(truth, request.user)),
    "subAccounts": _sub_accounts,
    "subAccounts2": _sub_accounts_2,
    "twapHistory": _listed(lambda truth, user: truth.engine.twap_history(user)[:FILLS]),
    "userBorrowLendInterest": _listed(lambda *_: []),
    "userFees": lambda truth, request, now_ms: ok(
        orjson.dumps(user_fees(truth, user_of(request), truth.stamp(now_ms)))
    ),
    "userFills": _fills,
    "userFillsByTime": _fills_by_time,
    "userFunding": _windowed(lambda truth, user: truth.engine.fundings(user), ROWS),
    "userNonFundingLedgerUpdates": _windowed(lambda truth, user: truth.engine.ledger_updates(user), None),
    "userRateLimit": _said(rate_limit),
    "userRole": _said(lambda truth, user: truth.engine.role(user)),
    "userTwapSliceFills": _listed(lambda truth, user: truth.engine.twap_slice_fills(user)),
    "userTwapSliceFillsByTime": _slices_by_time,
    "webData2": lambda truth, request, now_ms: ok(
        web_data(
            truth,
            user_of(request),
            truth.stamp(now_ms),
            open_orders(truth, user_of(request), ""),
            spot_state(truth, user_of(request)),
        )
    ),
}
