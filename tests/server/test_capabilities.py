"""The table against the spec, and what of it clients are told."""

import re
from pathlib import Path

import pytest

from replica import ROWS_PER_WEIGHT, info_cost
from scripts.info_types import page
from server.capabilities import TABLE, Question, Served, Writes, question, report, table, tag
from server.params import Kind
from tests.virtual import ALICE, running

USER = "0x" + "ab" * 20


@pytest.fixture
def spec(recorded_dir: Path) -> str:
    path = recorded_dir.parent / "spec" / "info.md"
    if not path.is_file():
        pytest.skip(f"no spec at {path}")
    return path.read_text("utf-8")


def catalogue(spec: str) -> dict[str, list[str]]:
    """type -> the cells of its row: request, response, weight, node, websocket."""
    section = spec[spec.index("\n## 2. Catalogue") : spec.index("\n## 3.")]
    rows = {}
    for line in section.splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if len(cells) == 6 and re.fullmatch(r"[a-z][A-Za-z0-9]+", cells[0]) and cells[0] != "type":
            rows[cells[0]] = cells[1:]
    return rows


def test_every_type_of_the_spec_has_a_row(spec: str) -> None:
    types = catalogue(spec)
    assert len(types) > 75
    assert sorted(set(types) - set(TABLE)) == []


def test_what_the_spec_has_of_each_row(spec: str) -> None:
    for type_, (request, _, weight, *_) in catalogue(spec).items():
        row = TABLE[type_]
        if row.served is Served.DENIED or type_ in ("alignedQuoteTokenInfo", "batchClearinghouseStates"):
            continue
        params = [inside for param in row.params for inside in (param.inside or (param,))]
        required = {param.name for param in params if param.required}
        named = set(re.findall(r"\b(?:dex|coin|user|startTime|endTime|oid|tokenId|builder|id)\b", request))
        assert named - {"user"} <= {param.name for param in params}, type_
        if re.match(r"u\b", request):
            # Of one the spec says that a node does without.
            assert "user" in required or type_ == "leadingVaults", type_
        for name in re.findall(r"\b(dex|startTime|endTime|aggregateByTime|reversed)\?", request):
            assert name not in required, type_
        if re.fullmatch(r"[0-9]+\+?", weight):
            assert info_cost(type_) == int(weight.rstrip("+")), type_
            assert (type_ in ROWS_PER_WEIGHT) is weight.endswith("+"), type_


def test_nothing_changes_faster_than_it_is_kept() -> None:
    for row in TABLE.values():
        kinds = {param.kind for param in row.params}
        if row.of_accounts:
            assert row.ttl_s <= 10.0, row.type
        if Writes.TRADE in row.writes and Writes.ACCOUNT not in row.writes and row.type != "portfolio":
            assert row.ttl_s <= 1.0, row.type
        if Kind.COIN in kinds and row.kept.name == "market":
            assert row.ttl_s <= 0.5, row.type
        assert (row.ttl_s == 0.0) == (row.kept.name == "never"), row.type


def test_the_page_is_that_of_the_table() -> None:
    path = Path(__file__).resolve().parents[2] / "docs" / "info-types.md"
    assert path.read_text("utf-8") == page(), "python -m scripts.info_types > docs/info-types.md"


def test_what_no_account_does_bears_no_account() -> None:
    for row in TABLE.values():
        assert row.of_accounts or not row.writes, row.type


def test_other_times() -> None:
    rows = table({"allMids": 2.0, "vaultSummaries": 3.0, "userFees": 0.0, "legalCheck": 1.0})
    assert (rows["allMids"].ttl_s, rows["allMids"].served) == (2.0, Served.MEMORY)
    assert (rows["vaultSummaries"].ttl_s, rows["vaultSummaries"].served) == (3.0, Served.TTL)
    assert (rows["userFees"].ttl_s, rows["userFees"].served) == (0.0, Served.PASS)
    assert rows["legalCheck"].served is Served.TTL
    assert rows["meta"] is TABLE["meta"]
    for type_ in ("allmids", "clearinghouseState", "batchClearinghouseStates", "fileSnapshot"):
        with pytest.raises(ValueError, match=type_):
            table({type_: 1.0})


def asks(type_: str, body: bytes, **fields: object) -> Question:
    asked = question(TABLE, type_, {"type": type_, **fields}, body)
    assert asked is not None
    return asked


def test_a_question_and_what_makes_its_answer_old() -> None:
    body = b'{"type":"userRole","user":"%s"}' % USER.encode()
    asked = asks("userRole", body, user=USER)
    assert asked.row is TABLE["userRole"]
    assert set(asked.tags()) == {tag(Writes.ACCOUNT, USER), tag(Writes.MONEY, USER)}
    assert list(asks("spotMeta", b'{"type":"spotMeta"}').tags()) == ["listings"]
    assert list(asks("outcomeMeta", b'{"type":"outcomeMeta"}').tags()) == ["outcomes"]
    assert list(asks("metaAndAssetCtxs", b'{"type":"metaAndAssetCtxs"}').tags()) == ["listings"]
    assert list(asks("allMids", b'{"type":"allMids"}').tags()) == []


@pytest.mark.parametrize(
    ("type_", "body", "fields"),
    [
        ("tomorrow", b'{"type":"tomorrow"}', {}),
        ("meta", b'{"type":"meta","type":"meta"}', {}),
        ("userRole", b'{"type":"userRole","user":"%s"}' % USER[2:].encode(), {"user": USER[2:]}),
    ],
)
def test_a_question_that_only_the_upstream_understands(
    type_: str, body: bytes, fields: dict[str, object]
) -> None:
    asked = asks(type_, body, **fields)
    assert (asked.row, asked.key, asked.ttl_s) == (None, (type_, body), 0.0)


def test_a_repeated_key_is_not_judged_by_its_last_value() -> None:
    body = b'{"type":"userRole","user":"%s","user":1}' % USER.encode()
    assert asks("userRole", body, user=1).row is None


def test_the_report_has_every_row() -> None:
    told = report(TABLE, frozenset({"userRole"}), {"liquidatable": 5})
    rows = {row["type"]: row for row in told["types"]}  # type: ignore[attr-defined]
    assert list(rows) == list(TABLE)
    assert rows["userRole"]["served"] == rows["fileSnapshot"]["served"] == "denied"
    assert rows["userRole"]["weight"] == 60
    assert rows["clearinghouseState"]["feed"] == "allDexsClearinghouseState"
    assert rows["clearinghouseState"]["exactness"] == "exact"
    assert rows["userFills"]["rows_per_weight"] == 20
    assert rows["liquidatable"]["refused_by_upstream_ms"] == 5
    assert rows["l2Book"]["params"][0] == {"name": "coin", "kind": "coin", "required": True}
    assert [inside["name"] for inside in rows["candleSnapshot"]["params"][0]["params"]] == [
        "coin",
        "interval",
        "startTime",
        "endTime",
    ]
    assert told["denied_types"] == ["fileSnapshot", "userRole"]


async def test_the_table_is_told_with_what_the_upstream_refused() -> None:
    async with running(denied_types=("isVip",), ttl_s=("allMids=2",)) as world:
        world.upstream.faults.answer(422, b"no", type="userRole", times=1)
        asked_ms = world.upstream.now_ms()
        assert (await world.info({"type": "userRole", "user": ALICE})).status == 422
        reply = await world.request("GET", "/capabilities")
        assert (reply.status, reply.headers["content-type"]) == (200, "application/json")
        rows = {row["type"]: row for row in reply.json["types"]}
        assert rows["allMids"]["ttl_s"] == 2.0
        assert rows["isVip"]["served"] == "denied"
        assert reply.json["refused_by_upstream"] == {"userRole": pytest.approx(asked_ms, abs=2)}
        # Another answer, and it is known to have the type after all.
        reply = await world.info({"type": "userRole", "user": ALICE}, cache_control="no-cache")
        assert reply.status == 200
        assert (await world.request("GET", "/capabilities")).json["refused_by_upstream"] == {}
