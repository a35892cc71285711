"""The rules of what goes wrong, without a socket: what fits, what counts down, what is refused."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.devnode.faults import VERBS, Faults, Stage, Verdict
from server.devnode.subscriptions import Subscription

ALICE = "0x" + "a1" * 20
BOB = "0x" + "b0" * 20
STATE = b'{"type":"clearinghouseState","user":"0x' + b"A1" * 20 + b'"}'
META = b'{"type":"meta"}'
ORDER = b'{"action":{"type":"order","orders":[]},"nonce":1}'
ALICES = Subscription("clearinghouseState", ALICE, "")
MIDS = Subscription("allMids", None, "")


def found(faults: Faults, path: str, body: bytes) -> Verdict:
    verdict = faults.request(path, body)
    assert verdict is not None
    return verdict


def test_with_no_rule_nothing_is_wrong() -> None:
    faults = Faults()
    assert faults.request("/info", META) is None
    assert faults.push("me", MIDS, "frame") == ((0.0, "frame"),)
    assert faults.refusal(ALICES) is None
    assert not any(faults.cuts_here(stage, "/info") for stage in Stage)
    assert faults.told_ms(7) == 7
    assert faults.described() == [] and repr(faults) == "<Faults none>"


def test_a_rule_fits_by_path_type_and_user_and_counts_down() -> None:
    faults = Faults()
    faults.answer(429, times=2, type="clearinghouseState", user=ALICE.upper().replace("X", "x"))
    assert faults.request("/info", META) is None
    assert faults.request("/info", STATE.replace(b"A1", b"b2")) is None
    for _ in range(2):
        answer = found(faults, "/info", STATE).answer
        assert answer is not None and (answer.status, answer.body) == (429, b"null")
    assert faults.request("/info", STATE) is None
    faults.answer(500, type="order", path="/exchange")
    assert faults.request("/info", ORDER) is None
    assert found(faults, "/exchange", ORDER).answer is not None
    faults.heal()
    assert faults.request("/exchange", ORDER) is None


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"a"', b'{"type":7}', b'{"action":[]}', b"\xff"])
@pytest.mark.parametrize("path", ["/info", "/exchange"])
def test_requests_that_are_none_have_no_type(path: str, body: bytes) -> None:
    faults = Faults()
    faults.answer(500, type="meta")
    assert faults.request(path, body) is None
    faults.answer(502)
    assert found(faults, path, body).answer is not None


@pytest.mark.parametrize(
    ("status", "body", "content_type"),
    [
        (429, b"null", "application/json"),
        (500, b"null", "application/json"),
        (502, b"<html>", "text/html"),
        (503, b"<html>", "text/html"),
        (403, b"<html>", "text/html"),
        (200, b"null", "application/json"),
        (400, b"Failed to parse the request body as JSON", "text/plain"),
        (415, b"Expected request with `Content-Type: application/json`", "text/plain"),
        (422, b"Failed to deserialize the JSON body into the target type", "text/plain"),
    ],
)
def test_an_answer_without_a_body_has_the_exchanges_own(status: int, body: bytes, content_type: str) -> None:
    faults = Faults()
    faults.answer(status)
    answer = found(faults, "/info", META).answer
    assert answer is not None and answer.body.startswith(body) and answer.content_type == content_type


@pytest.mark.parametrize("status", [204, 205, 304, 405])
def test_what_has_no_body_gets_none(status: int) -> None:
    faults = Faults()
    faults.answer(status)
    answer = found(faults, "/info", META).answer
    assert answer is not None and (answer.body, answer.content_type) == (b"", "")


def test_a_rule_for_a_dex_fits_reads_of_it() -> None:
    faults = Faults()
    faults.answer(500, dex="xyz")
    faults.hang(dex="", type="meta")
    assert faults.described() == ["answer 500 dex=xyz", "hang type=meta dex="]
    for body, told in (
        (b'{"type":"meta","dex":"xyz"}', (True, False)),
        (b'{"type":"meta","dex":""}', (False, True)),
        (b'{"type":"meta"}', (False, True)),
        (b'{"type":"meta","dex":"flx"}', None),
    ):
        verdict = faults.request("/info", body)
        assert told == (None if verdict is None else (verdict.answer is not None, verdict.hang))
    faults.heal()
    faults.latency(2.0, dex="xyz")
    faults.latency(3.0)
    faults.latency(0, dex="xyz")
    assert faults.described() == ["latency 3 s"]


def test_requests_are_answered_again_while_frames_go_missing() -> None:
    faults = Faults()
    faults.answer(500)
    faults.latency(2.0)
    faults.cut(Stage.CONNECTED)
    faults.go_silent()
    faults.answer_again()
    assert faults.request("/info", b"{}") is None
    assert not faults.cuts_here(Stage.CONNECTED)
    assert faults.described() == ["silent"]


def test_the_first_rule_counts_and_latency_comes_on_top() -> None:
    faults = Faults()
    faults.latency(2.0)
    faults.latency(3.0)  # in its place
    faults.cut("done", path="/info")
    faults.answer(500)
    verdict = found(faults, "/info", META)
    assert (verdict.latency_s, verdict.cut, verdict.answer) == (3.0, Stage.DONE, None)
    assert found(faults, "/info", META).answer is not None
    faults.latency(0)
    assert found(faults, "/info", META).latency_s == 0


def test_handshakes_are_met_by_rules_that_name_them_alone() -> None:
    faults = Faults()
    faults.answer_429()
    faults.hang(path="/info")
    assert faults.request("/ws", b"") is None
    faults.answer(503, path="/ws", times=1)
    assert found(faults, "/ws", b"").answer is not None
    assert faults.request("/ws", b"") is None


def test_what_is_not_read_yet_is_cut_by_its_path() -> None:
    faults = Faults()
    faults.cut(Stage.HEAD)
    faults.cut("connected")
    assert faults.request("/exchange", ORDER) is None
    assert not faults.cuts_here(Stage.HEAD, "/info")
    assert faults.cuts_here(Stage.HEAD, "/exchange") and not faults.cuts_here(Stage.HEAD, "/exchange")
    assert faults.cuts_here(Stage.CONNECTED) and not faults.cuts_here(Stage.CONNECTED)
    faults.cut_writes("body", times=2)
    assert [faults.cuts_here(Stage.BODY, "/exchange") for _ in range(3)] == [True, True, False]


def pushes(faults: Faults, *frames: str, to: object = "me", of: Subscription = ALICES) -> list[str]:
    return [text for frame in frames for _, text in faults.push(to, of, frame)]


def test_pushes_are_lost_doubled_overtaken_and_late() -> None:
    faults = Faults()
    faults.drop_next_push()
    assert pushes(faults, "1", "2") == ["2"]
    faults.duplicate_next_push(times=2)
    assert pushes(faults, "3", "4", "5") == ["3", "3", "4", "4", "5"]
    faults.reorder_next_push()
    assert pushes(faults, "6", "7", "8") == ["7", "6", "8"]
    faults.stale_next_push()
    assert pushes(faults, "9", "10") == ["1", "10"]
    faults.delay_next_push(2.0)
    faults.delay(1.0)
    assert faults.push("me", ALICES, "11") == [(3.0, "11")]
    assert faults.push("me", ALICES, "12") == [(1.0, "12")]
    faults.delay(0)
    assert pushes(faults, "13") == ["13"] and faults.described() == []


def test_pushes_are_chosen_by_account_and_channel_and_each_connection_has_its_order() -> None:
    faults = Faults()
    faults.drop_next_push(user=ALICE)
    faults.drop_next_push(channel="allMids")
    bobs = Subscription("clearinghouseState", BOB, "")
    assert pushes(faults, "b", of=bobs) == ["b"]
    assert pushes(faults, "m", "m", of=MIDS) == ["m"]
    assert pushes(faults, "a", "a") == ["a"]
    faults.reorder_next_push(times=2)
    assert pushes(faults, "1", to="me") == [] == pushes(faults, "1", to="you")
    assert pushes(faults, "2", to="me") == ["2", "1"]
    faults.left("you", ALICES)
    assert pushes(faults, "2", to="you") == ["2"]


def test_silence_is_about_one_account_or_everything() -> None:
    faults = Faults()
    faults.go_silent(ALICE)
    assert pushes(faults, "a") == [] and pushes(faults, "m", of=MIDS) == ["m"]
    faults.speak_again()
    assert pushes(faults, "a") == ["a"]
    faults.go_silent()
    assert pushes(faults, "a") == [] == pushes(faults, "m", of=MIDS)
    faults.heal()
    assert pushes(faults, "a") == ["a"]


def test_subscriptions_are_refused_with_a_text_and_time_stands_still() -> None:
    faults = Faults()
    faults.refuse_subscriptions("no", times=1, user=ALICE)
    faults.refuse_subscriptions(type="allMids")
    assert [faults.refusal(ALICES) for _ in range(2)] == ["no", None]
    assert faults.refusal(MIDS) == "Cannot track more than 10 total users."
    faults.accept_subscriptions()
    assert faults.refusal(MIDS) is None
    faults.freeze_time()
    assert [faults.told_ms(now) for now in (5, 6)] == [5, 5]
    faults.thaw_time()
    assert faults.told_ms(7) == 7


@pytest.mark.parametrize(
    ("verb", "fields", "text"),
    [
        ("answer", {"status": 99}, "status 99 is not from 200 to 599"),
        ("answer", {"status": 429, "times": 0}, "times 0 is no whole number from 1"),
        ("answer", {"status": 429, "times": 1.5}, "times 1.5 is no whole number from 1"),
        ("answer", {"status": 429, "times": math.nan}, "times nan is no whole number from 1"),
        ("answer", {"status": 429, "path": "/dev/x"}, "path '/dev/x' is none of /info, /exchange, /ws"),
        ("answer", {"status": 429, "user": "0x1"}, "user '0x1' is no address"),
        ("answer", {"status": 204, "body": "x"}, "status 204 has no body"),
        ("answer", {"status": 200, "content_type": "a\r\nb: c"}, "content type 'a\\r\\nb: c' is none"),
        ("answer", {"status": 200, "content_type": "ü"}, "content type 'ü' is none"),
        ("cut", {"stage": "body", "path": "/ws"}, "a handshake has no stage 'body', cut it when 'read'"),
        ("answer_raw", {"raw": "\u20ac"}, "a character of raw bytes is above U+00FF, or none at all"),
        ("latency", {"seconds": -1}, "-1 is no number of seconds"),
        ("delay", {"seconds": math.inf}, "inf is no number of seconds"),
        ("accept_and_drop", {"after_s": -1}, "-1 is no number of seconds"),
        (
            "cut",
            {"stage": "soon"},
            "no stage 'soon', there are connected, head, body, read, done, answer",
        ),
        (
            "cut",
            {"stage": "head", "type": "order"},
            "at stage 'head' nobody knows a type, a user or a dex yet",
        ),
        ("go_silent", {"user": "bob"}, "user 'bob' is no address"),
    ],
)
def test_bad_values_are_refused_in_a_line(verb: str, fields: dict[str, Any], text: str) -> None:
    faults = Faults()
    with pytest.raises(ValueError) as refused:
        getattr(faults, verb)(**fields)
    assert str(refused.value) == text
    assert faults.described() == []


def test_every_fault_in_force_is_described_and_healed() -> None:
    faults = Faults()
    faults.answer(502, times=3, type="meta", path="/info", user=ALICE)
    faults.latency(0.5)
    faults.delay(1)
    faults.reorder_next_push(channel="allMids")
    faults.refuse_subscriptions("no")
    faults.go_silent()
    faults.go_silent(ALICE)
    faults.go_mute()
    faults.no_pongs()
    faults.ignore_close()
    faults.freeze_time()
    faults.accept_and_drop()
    assert faults.described() == [
        f"answer 502 path=/info type=meta user={ALICE}, 3 more",
        "latency 0.5 s",
        "delay all pushes by 1 s",
        "reorder pushes type=allMids, 1 more",
        "refuse subscriptions: no",
        "silent",
        f"silent about {ALICE}",
        "mute",
        "no pongs",
        "ignore close",
        "time frozen",
        "accept and drop after 0.01 s",
    ]
    faults.heal()
    assert faults.described() == []


FIELDS: dict[str, Any] = {
    "status": 429,
    "stage": "done",
    "seconds": 1.0,
    "raw": "x",
    "text": "no",
    "after_s": 1.0,
}


@given(st.lists(st.sampled_from(VERBS)))
def test_healed_nothing_differs_whatever_was_wrong(verbs: list[str]) -> None:
    faults = Faults()
    for verb in verbs:
        call = getattr(faults, verb)
        names = call.__code__.co_varnames[1 : 1 + call.__code__.co_argcount - 1]
        required = names[: len(names) - len(call.__defaults__ or ())]
        call(**{name: FIELDS[name] for name in required})
        faults.push("me", ALICES, "before")
        faults.request("/info", META)
    faults.heal()
    assert faults.described() == []
    assert faults.request("/info", META) is None is faults.request("/exchange", ORDER)
    assert faults.request("/ws", b"") is None is faults.refusal(ALICES)
    assert faults.push("me", ALICES, "after") == ((0.0, "after"),)
    assert not any(faults.cuts_here(stage, "/exchange") for stage in Stage)
    assert faults.told_ms(9) == 9 and faults.pongs
    assert not (faults.mute or faults.ignores_close or faults.flapping_s is not None)
