"""`/info` of a replay at a moment."""

from pathlib import Path
from typing import Any

import pytest

from server.devnode.info import FAILED, MALFORMED, Answer
from server.devnode.replay.answers import Answers, Outcome, states_in
from server.devnode.replay.script import read_script
from server.devnode.replay.tape import read_tape
from tests.server.devnode.replay.tapes import ALICE, BOB, asked, came, end, header, push, save, state

CAROL = "0x" + "ca" * 20
META = {"type": "meta"}
STATE = {"type": "clearinghouseState", "user": ALICE}


def answers(folder: Path, *lines: dict[str, Any]) -> Answers:
    return Answers(read_script(read_tape(save(folder, header(), *lines, end(100)))))


def body(outcome: Outcome) -> str:
    assert outcome.answer is not None
    assert outcome.answer.status == 200
    return outcome.answer.body.decode()


def test_the_newest_answer_up_to_now_else_the_first_later_one(tmp_path: Path) -> None:
    one = answers(
        tmp_path,
        asked(10, META, "[10]", took=0.5),
        asked(20, META, "null", status=500, content_type="text/html"),
        asked(30, META, None, took=9),
    )
    assert one.find(META, 0, 0) == one.find(META, 19.9, 0) == Outcome(Answer(200, b"[10]"), 0.5)
    assert one.find({"dex": None, **META}, 20, 0) == Outcome(Answer(500, b"null", "text/html"), 0)
    assert one.find(META, 99, 0) == Outcome(None, 9)


@pytest.mark.parametrize(
    ("moment", "value"),
    [(0, 5), (4.9, 5), (5, 5), (11.9, 5), (12, 12), (14.9, 12), (15, 15), (19.9, 15), (20, 20), (99, 20)],
)
def test_an_account_state_is_the_newest_that_was_answered_or_pushed(
    tmp_path: Path, moment: float, value: float
) -> None:
    one = answers(
        tmp_path,
        came(5, push(ALICE, 5)),
        asked(12, STATE, state(12)),
        came(15, push(ALICE, 15)),
        asked(20, STATE, state(20)),
    )
    assert body(one.find(STATE, moment, 0)) == state(value)


def test_a_read_that_failed_fails_whatever_was_pushed_since(tmp_path: Path) -> None:
    one = answers(
        tmp_path,
        came(5, push(ALICE, 5)),
        asked(12, STATE, "null", status=500),
        came(15, push(ALICE, 15)),
        asked(20, STATE, state(20)),
        asked(30, STATE, None, took=4),
        came(35, push(ALICE, 35)),
    )
    assert one.find(STATE, 16, 0).answer == FAILED
    assert body(one.find(STATE, 21, 0)) == state(20)
    assert one.find(STATE, 36, 0) == Outcome(None, 4)


def test_states_of_a_push_are_found_by_dex(tmp_path: Path) -> None:
    one = answers(tmp_path, came(5, push(ALICE, 5, "xyz", "abc")))
    assert body(one.find({**STATE, "user": ALICE.upper().replace("X", "x"), "dex": "xyz"}, 9, 0)) == state(5)
    assert one.dexes == ("", "xyz", "abc")
    assert one.find({**STATE, "dex": "nope"}, 9, 0).answer == FAILED


def test_what_nobody_asked_is_as_for_an_unknown_account(tmp_path: Path) -> None:
    dexs = '[null,{"name":"xyz"}]'
    one = answers(
        tmp_path, asked(0, {"type": "perpDexs"}, dexs), came(5, push(ALICE, 5)), asked(6, META, "[]")
    )
    assert one.dexes == ("", "xyz")
    assert body(one.find({"type": "openOrders", "user": BOB}, 9, 0)) == "[]"
    assert '"time":77' in body(one.find({**STATE, "user": BOB, "dex": "xyz"}, 9, 77))
    assert one.find({"type": "allMids"}, 9, 0).answer == FAILED
    assert one.find({"type": "no such type"}, 9, 0).answer == MALFORMED
    assert one.find({**STATE, "user": "0x1"}, 9, 0).answer == MALFORMED


def test_a_refusal_that_was_recorded_comes_before_our_own(tmp_path: Path) -> None:
    one = answers(tmp_path, asked(1, {"type": "odd"}, "No.", status=418, content_type="text/plain"))
    assert one.find({"type": "odd"}, 9, 0).answer == Answer(418, b"No.", "text/plain")


def test_it_knows_whom_the_recording_is_about(tmp_path: Path) -> None:
    lines = [came(5, push(BOB, 5)), asked(6, {**STATE, "user": CAROL}, state(6)), asked(7, META, "[]")]
    assert answers(tmp_path, *lines).addresses == (BOB, CAROL)


def test_a_list_of_dexes_that_is_none_leaves_the_main_one(tmp_path: Path) -> None:
    for text in ("null", "[1]", "", '[{"name":7}]', '[{"nome":1}]'):
        assert answers(tmp_path, asked(0, {"type": "perpDexs"}, text)).dexes[0] == ""


@pytest.mark.parametrize(
    "frame", [b"", b"{}", b"\xff", b'{"data":{"clearinghouseStates":[["a"]]}}', b"[" * 9999]
)
def test_frames_without_states_have_none(frame: bytes) -> None:
    assert states_in(frame) == {}


def test_the_other_form_of_a_frame() -> None:
    assert states_in(b'{"data":{"user":"x","clearinghouseState": {"a" : 1.50} }}') == {"": b'{"a" : 1.50}'}
