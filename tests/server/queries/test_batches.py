"""Batches without a server: what is looked for, what a row is made of, what the answer says of itself."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.freshness import MEMORY
from server.queries.batches import (
    KINDS,
    BatchLimits,
    BatchRequest,
    Held,
    Key,
    Look,
    Scope,
    is_address,
    read_array,
    read_batch,
    read_official,
    read_one,
    read_portfolio,
    read_row,
    read_rows,
    wanted,
)
from server.reply import NOT_DESERIALIZED, Reply

ALICE, BOB, CAROL = ("0x" + pair * 20 for pair in ("a1", "b0", "ca"))
MAIN = Scope(("",), by_name=False)
XYZ = Scope(("xyz",), by_name=False)
ALL = Scope(("", "xyz", 'q"uote'), by_name=True)


class Doc(NamedTuple):
    """What answers one read."""

    body: bytes
    as_of: int = 0
    received: float = 0.0
    fresh_until: float = 0.0
    reflects: float = 0.0


def looking(held: Mapping[Key, Held]) -> Look:
    return held.get


def said(key: Key) -> bytes:
    return orjson.dumps(list(key))


def everything(kind: str, users: list[str], scope: Scope) -> dict[Key, Held]:
    return {key: Held(Doc(said(key)), stale=False) for key in wanted(KINDS[kind], users, scope)}


def told(reply: Reply) -> dict[str, bytes]:
    return {name.decode(): value for name, value in reply.headers}


# The request


@pytest.mark.parametrize(
    "request_",
    [{}, {"users": None}, {"users": "x"}, {"users": [1]}, {"users": ["x"]}, {"users": [ALICE], "dex": 1}],
)
def test_the_official_flavour_refuses_what_does_not_deserialize(request_: dict[str, Any]) -> None:
    assert read_official(request_, BatchLimits()) is NOT_DESERIALIZED


def test_the_official_flavour_has_our_bound_and_no_lower_one() -> None:
    limits = BatchLimits(max_users=2)
    assert read_official({"users": []}, limits) == BatchRequest([], "")
    assert read_official({"users": [ALICE] * 2, "dex": None}, limits) == BatchRequest([ALICE] * 2, "")
    refused = read_official({"users": [ALICE] * 3}, limits)
    assert isinstance(refused, Reply) and refused.status == 413


@pytest.mark.parametrize(
    "request_",
    [{}, {"user": None}, {"user": [ALICE]}, {"user": ALICE[:-1]}, {"user": ALICE, "dex": 1}],
)
def test_a_portfolio_of_nobody_is_refused_as_native_types_are(request_: dict[str, Any]) -> None:
    assert read_portfolio(request_) is NOT_DESERIALIZED


def test_where_there_are_no_dexes_a_dex_is_superfluous() -> None:
    limits = BatchLimits(max_users=2, max_users_all_dexes=1)
    request = {"users": [ALICE, BOB], "dex": "ALL_DEXES"}
    assert read_batch(request, limits, per_dex=False) == BatchRequest([ALICE, BOB], "")
    assert isinstance(read_batch(request, limits), Reply)


# What is looked for


@pytest.mark.parametrize(
    ("kind", "scope", "keys"),
    [
        ("batchClearinghouseStates", XYZ, [("clearinghouseState", "xyz")]),
        ("batchSpotClearinghouseStates", MAIN, [("spotClearinghouseState", "")]),
        ("batchOpenOrders", ALL, [("openOrders", dex) for dex in ALL.dexes]),
        (
            "batchPortfolioStates",
            XYZ,
            [("spotClearinghouseState", ""), ("userAbstraction", ""), ("clearinghouseState", "xyz")],
        ),
    ],
)
def test_every_part_of_every_user_is_looked_for(kind: str, scope: Scope, keys: list[tuple[str, str]]) -> None:
    expected = [Key(type_, user, dex) for user in (ALICE, BOB) for type_, dex in keys]
    assert list(wanted(KINDS[kind], [ALICE, BOB], scope)) == expected


# A row


def test_a_row_of_one_part_is_that_document_to_the_byte() -> None:
    body = b' {"odd" : 1.50}'
    key = Key("openOrders", ALICE, "")
    held = Held(Doc(body), stale=False)
    row = read_row(KINDS["batchOpenOrders"], ALICE, MAIN, looking({key: held}))
    assert row == (body, (held,))


def test_a_portfolio_names_its_parts_in_the_vendors_order() -> None:
    look = looking(everything("portfolioState", [ALICE], XYZ))
    reply = read_one(KINDS["portfolioState"], ALICE.upper().replace("0X", "0x"), XYZ, look, MEMORY, 1.0)
    assert isinstance(reply, Reply)
    assert reply.body == (
        b'{"clearinghouseState":["clearinghouseState","%s","xyz"],'
        b'"spotClearinghouseState":["spotClearinghouseState","%s",""],'
        b'"userAbstraction":["userAbstraction","%s",""]}' % ((ALICE.encode(),) * 3)
    )


@pytest.mark.parametrize("missing", list(wanted(KINDS["batchPortfolioStates"], [ALICE], MAIN)))
def test_a_portfolio_without_a_part_is_none(missing: Key) -> None:
    held = everything("batchPortfolioStates", [ALICE], MAIN)
    del held[missing]
    kind = KINDS["batchPortfolioStates"]
    assert read_row(kind, ALICE, MAIN, looking(held)) == missing
    assert orjson.loads(read_rows(kind, [ALICE], MAIN, looking(held), MEMORY, 0.0).body) == {
        "successful_states": [],
        "failed_wallets": [ALICE],
    }


@given(st.sets(st.sampled_from(ALL.dexes)), st.sampled_from(["batchOpenOrders", "batchPortfolioStates"]))
def test_of_all_dexes_those_that_answered_count(gone: set[str], type_: str) -> None:
    kind = KINDS[type_]
    part = kind.parts[0].type
    held = everything(type_, [ALICE], ALL)
    for dex in gone:
        del held[Key(part, ALICE, dex)]
    row = read_row(kind, ALICE, ALL, looking(held))
    if gone == set(ALL.dexes):
        assert row == Key(part, ALICE, "")
        return
    assert not isinstance(row, Key)
    body = orjson.loads(row.body)
    by_dex = body[part] if len(kind.parts) > 1 else body
    left = [dex for dex in ALL.dexes if dex not in gone]
    assert list(by_dex.items()) == [(dex or "native", [part, ALICE, dex]) for dex in left]


# An answer

users = st.lists(st.sampled_from([ALICE, BOB, CAROL, CAROL.upper().replace("0X", "0x"), "x", ""]), min_size=1)
scopes = st.sampled_from([MAIN, XYZ, ALL])


@given(users, scopes, st.sampled_from([*KINDS]), st.sets(st.sampled_from([ALICE, BOB, CAROL])))
def test_every_user_is_answered_once_where_it_stood(
    users: list[str], scope: Scope, type_: str, known: set[str]
) -> None:
    kind = KINDS[type_]
    look = looking(everything(type_, sorted(known), scope))
    body = orjson.loads(read_rows(kind, users, scope, look, MEMORY, 0.0).body)
    good = [user for user in users if user.lower() in known]
    assert [row[0] for row in body["successful_states"]] == good
    assert body["failed_wallets"] == [user for user in users if user.lower() not in known]
    for user, state in body["successful_states"]:
        row = read_row(kind, user.lower(), scope, look)
        assert not isinstance(row, Key)
        assert state == orjson.loads(row.body)


@given(users.map(lambda them: [user for user in them if is_address(user)]), st.sampled_from([ALICE, None]))
def test_an_array_is_whole_or_says_what_it_lacks(users: list[str], gone: str | None) -> None:
    kind = KINDS["batchClearinghouseStates"]
    look = looking(
        everything("batchClearinghouseStates", [who for who in (ALICE, BOB, CAROL) if who != gone], XYZ)
    )
    reply = read_array(kind, users, XYZ, look, MEMORY, 0.0)
    if gone in users:
        assert reply == Key("clearinghouseState", ALICE, "xyz")
    else:
        assert isinstance(reply, Reply)
        assert orjson.loads(reply.body) == [["clearinghouseState", user.lower(), "xyz"] for user in users]


def test_the_headers_tell_of_every_part() -> None:
    parts = everything("portfolioState", [ALICE], MAIN)
    keys = list(parts)
    for number, key in enumerate(keys):
        parts[key] = Held(Doc(b"{}", as_of=100 + number, received=10.0 - number), stale=False)
    kind = KINDS["portfolioState"]
    reply = read_one(kind, ALICE, MAIN, looking(parts), MEMORY, 11.0)
    assert isinstance(reply, Reply)
    headers = told(reply)
    assert headers["x-replica-source"] == MEMORY
    assert [headers[f"x-replica-as-of{end}"] for end in ("", "-min", "-max")] == [b"100", b"100", b"102"]
    assert (headers["x-replica-age-ms"], headers["age"]) == (b"3000", b"3")
    parts[keys[1]] = Held(parts[keys[1]].document, stale=True)
    stale = read_one(kind, ALICE, MAIN, looking(parts), MEMORY, 11.0)
    assert isinstance(stale, Reply)
    assert told(stale)["x-replica-source"] == b"stale"


def test_a_failed_user_does_not_make_the_others_older() -> None:
    parts = everything("batchPortfolioStates", [BOB], MAIN)
    parts[Key("spotClearinghouseState", ALICE, "")] = Held(Doc(b"{}", as_of=1, received=-50.0), stale=True)
    reply = read_rows(KINDS["batchPortfolioStates"], [ALICE, BOB], MAIN, looking(parts), MEMORY, 1.0)
    assert told(reply)["x-replica-source"] == MEMORY
    assert told(reply)["x-replica-age-ms"] == b"1000"
