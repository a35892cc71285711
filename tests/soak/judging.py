"""What clients heard, held against what happened."""

import json
from itertools import pairwise
from typing import Any

from server.devnode.info import InfoRequest, parse
from server.devnode.subscriptions import Subscription
from tests.soak.clients import Client, Heard, unpacked
from tests.soak.truth import Told, Truth
from tests.upstream import Upstream

SLACK_MS = 2000
"""A gap is told by the times of rows, of which some are in whole seconds."""


def judge_log(who: str, heard: Heard, told: Told) -> int:
    """Every row once, in order, and none missing but where a gap was said. Returns how many were missing."""
    what = f"{who}: {heard.subscription}"
    numbers = []
    for row in heard.rows:
        assert row in told.number, f"{what}: never happened: {row}"
        numbers.append(told.number[row])
    for before, after in pairwise(numbers):
        assert after != before, f"{what}: twice: {told.rows[after]}"
        in_order = after > before or _at_once(told, before, after)
        assert in_order, (
            f"{what}: {told.rows[after]} ({after} at {told.at[after]}) came after {told.rows[before]} "
            f"({before} at {told.at[before]})"
        )
    # The tail of who has left may have been on its way.
    end = len(told.rows) if heard.until is None else (numbers[-1] + 1 if numbers else 0)
    first = heard.since
    if numbers and heard.snapshot:
        first = min(first, numbers[0])
    missing = sorted(set(range(first, end)) - set(numbers))
    for number in missing:
        at = told.at[number]
        assert any(since - SLACK_MS <= at <= until + SLACK_MS for since, until in heard.gaps), (
            f"{what}: missing {told.rows[number]} ({number} at {at}, heard {len(numbers)} "
            f"since {heard.since}, gaps {heard.gaps[-5:]})"
        )
    return len(missing)


def _at_once(told: Told, one: int, other: int) -> bool:
    """Whether their order is the stream's own, and nobody can tell it who has missed them there.

    `/info` has times of TWAPs in whole seconds; and a block of some seconds tells its events kind by kind.
    """
    first, second = told.rows[one], told.rows[other]
    if told.at[one] == told.at[other] and _kind(first) != _kind(second):
        return True
    coarse = '"minutes"' in first or '"minutes"' in second
    return coarse and abs(told.at[one] - told.at[other]) <= 1000


def _kind(row: str) -> str:
    return row[: row.index(":")]


def expected(upstream: Upstream, one: dict[str, Any]) -> Any:
    """The data of a state-like frame, were it sent now."""
    channels = upstream._feeds._script
    named = tuple((name, one.get(name)) for name in ("coin", "interval") if name in one)
    if one["type"] == "l2Book":
        named += (("nSigFigs", one.get("nSigFigs")), ("mantissa", None), ("fast", bool(one.get("fast"))))
    has_dex = one["type"] in ("allMids", "clearinghouseState", "openOrders", "twapStates", "assetCtxs")
    subscription = Subscription(one["type"], one.get("user"), one.get("dex", "") if has_dex else None, named)
    frame = channels.opening(subscription)
    data = json.loads(frame)["data"]
    return unpacked(data) if one["type"] == "fastAssetCtxs" else data


def judge_states(client: Client, upstream: Upstream) -> None:
    for heard in client.holds.values():
        if heard.is_log:
            continue
        one = heard.subscription
        what = f"{client.name}: {one}"
        assert heard.last is not None, f"{what}: nothing came"
        if one["type"] == "webData2":
            request = parse({"type": "webData2", "user": one["user"]})
            assert isinstance(request, InfoRequest)
            wanted = json.loads(upstream.source.info(request, upstream.now_ms()).body)
            same = ("clearinghouseState", "openOrders", "spotState", "twapStates", "assetCtxs", "user")
            for name in same:
                assert heard.last.get(name) == wanted.get(name), f"{what}: {name}"
        else:
            assert heard.last == expected(upstream, one), what


def judge_logs(client: Client, truth: Truth) -> tuple[int, int]:
    """Returns how many rows it heard and how many of them it was told that it would not hear."""
    rows = missing = 0
    for heard in client.everything:
        if heard.is_log:
            missing += judge_log(client.name, heard, truth.of(heard.subscription))
            rows += len(heard.rows)
    return rows, missing
