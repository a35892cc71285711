"""What a tape says happened, and what it only says because somebody asked."""

from pathlib import Path
from typing import Any

import pytest

from server.devnode.replay.script import Down, Pushed, Refused, Script, Timeline, Up, read_script
from server.devnode.replay.streams import Stays
from server.devnode.replay.tape import read_tape
from server.devnode.subscriptions import Subscription
from tests.server.devnode.replay.tapes import (
    ALICE,
    BOB,
    asked,
    came,
    closed,
    end,
    header,
    opened,
    over,
    push,
    refused,
    save,
    subscribe,
    went,
)

ACK = (
    '{"channel":"subscriptionResponse","data":{"method":"subscribe","subscription":{"type":"x","user":"%s"}}}'
)


def script(folder: Path, *lines: dict[str, Any]) -> Script:
    return read_script(read_tape(save(folder, header(), *lines, end(100))))


def test_a_timeline_has_the_newest_value_else_the_first() -> None:
    timeline: Timeline[str] = Timeline()
    for at, value in ((5.0, "b"), (2.0, "a"), (5.0, "c"), (9.0, "d")):
        timeline.put(at, value)
    found = {moment: timeline.find(moment)[1] for moment in (0.0, 2.0, 4.9, 5.0, 8.0, 9.0, 99.0)}
    assert found == {0.0: "a", 2.0: "a", 4.9: "a", 5.0: "c", 8.0: "c", 9.0: "d", 99.0: "d"}


@pytest.mark.parametrize(
    ("frame", "stream"),
    [
        (push(ALICE, 1.0), ("allDexsClearinghouseState", ALICE, None)),
        (push(ALICE.upper().replace("X", "x"), 1.0), ("allDexsClearinghouseState", ALICE, None)),
        (
            f'{{"channel":"clearinghouseState","data":{{"user":"{ALICE}","dex":"xyz"}}}}',
            ("clearinghouseState", ALICE, "xyz"),
        ),
        (
            f'{{"channel":"clearinghouseState","data":{{"user":"{ALICE}"}}}}',
            ("clearinghouseState", ALICE, ""),
        ),
        ('{"channel":"allMids","data":{"mids":{}}}', ("allMids", None, "")),
        ('{"channel":"allMids","data":{"dex":"xyz","mids":{}}}', ("allMids", None, "xyz")),
        ('{"channel":"allDexsClearinghouseState","data":{"user":7}}', None),
        ('{"channel":"news","data":[1]}', None),
        ('{"channel":"error","data":"Something is wrong."}', None),
        ("Websocket connection established.", None),
        ("[1]", None),
        ("", None),
    ],
)
def test_a_push_is_known_by_its_stream(
    tmp_path: Path, frame: str, stream: tuple[str, str | None, str | None] | None
) -> None:
    ((at, what),) = script(tmp_path, came(3, frame)).happenings
    assert at == 3
    assert what == Pushed(stream and Subscription(*stream), frame.encode())


def test_replies_do_not_happen_by_themselves(tmp_path: Path) -> None:
    lines = [
        went(1, subscribe()),
        came(1, ACK % ALICE),
        came(2, '{"channel":"pong"}'),
        came(2, '{"channel":"post","data":{}}'),
    ]
    assert script(tmp_path, *lines).happenings == []


def test_connections_come_and_go(tmp_path: Path) -> None:
    one = script(
        tmp_path,
        refused(1, 429),
        refused(2),
        opened(3),
        closed(4, code=1001, why="bye"),
        opened(5),
        closed(6, by="us"),
        opened(7),
    )
    assert one.happenings == [
        (1, Refused(429)),
        (2, Refused(None)),
        (3, Up()),
        (4, Down(True, 1001, "bye")),
        (5, Up()),
        (6, Down(False, None, "")),
        (7, Up()),
    ]


def test_sockets_are_told_apart(tmp_path: Path) -> None:
    fills = f'{{"channel":"userFills","data":{{"isSnapshot":true,"user":"{ALICE}","fills":[]}}}}'
    orders = '{"channel":"orderUpdates","data":[]}'
    one = script(
        tmp_path,
        opened(0),
        *over(1, opened(1)),
        *over(2, opened(1), went(2, subscribe(BOB, "orderUpdates"))),
        *over(1, went(2, subscribe(ALICE, "orderUpdates")), went(2, subscribe(ALICE, "userFills"))),
        *over(1, came(3, orders), came(4, fills)),
        # Nobody asked for fills over that one.
        *over(2, came(5, orders), came(6, fills), closed(7, code=1000)),
        *over(1, closed(8, by="us")),
        closed(9, by="us"),
    )

    def stream(kind: str, user: str, *more: tuple[str, object]) -> Subscription:
        return Subscription(kind, user, None, more)

    all_fills = stream("userFills", ALICE, ("aggregateByTime", False))
    assert one.happenings == [
        (0, Up()),
        (1, Up(1)),
        (1, Up(2)),
        (3, Pushed(stream("orderUpdates", ALICE), orders.encode(), 1, Stays.NOT)),
        (4, Pushed(all_fills, fills.encode(), 1, Stays.ALONE)),
        (5, Pushed(stream("orderUpdates", BOB), orders.encode(), 2, Stays.NOT)),
        (7, Down(True, 1000, "", 2)),
    ]


def test_the_recorders_own_goodbye_is_none_of_the_upstreams(tmp_path: Path) -> None:
    ours = script(tmp_path, opened(3), closed(4, by="us"), came(4, "late"))
    assert [type(what) for _, what in ours.happenings] == [Up, Pushed]
    theirs = script(tmp_path, opened(3), closed(4))
    assert [type(what) for _, what in theirs.happenings] == [Up, Down]


@pytest.mark.parametrize(
    ("error", "whose"),
    [
        ("Cannot track more than 1 total users.", ALICE),
        (f"Invalid subscription {{'type':'x','user':'{BOB}'}}".replace("'", '"'), BOB),
        (f"Already subscribed: {{'subscription':{{'user':'{BOB}'}}}}".replace("'", '"'), BOB),
    ],
)
def test_a_refusal_belongs_to_whoever_asked(tmp_path: Path, error: str, whose: str) -> None:
    text = error.replace('"', '\\"')
    one = script(
        tmp_path,
        opened(0),
        went(1, subscribe(ALICE)),
        went(1, subscribe(BOB)),
        came(2, f'{{"channel":"error","data":"{text}"}}'),
        came(2, ACK % (BOB if whose == ALICE else ALICE)),
        opened(5),
        went(6, subscribe(whose)),
        came(7, ACK % whose),
    )
    assert {user: timeline.find(1)[1] for user, timeline in one.refusals.items()} == {
        whose: error,
        (BOB if whose == ALICE else ALICE): None,
    }
    assert one.refusals[whose].find(6)[1] is None
    assert [what for _, what in one.happenings] == [Up(), Up()]


def test_answers_are_kept_by_when_they_were_asked_for(tmp_path: Path) -> None:
    one = script(
        tmp_path,
        asked(1, {"type": "meta"}, "[1]", took=3),
        asked(2, {"dex": "", "type": "meta"}, None, took=10),
        asked(3, {"type": "meta"}, "[3]", path="/exchange", took=20),
        {**asked(30, {"type": "meta"}, None), "failure": "CancelledError"},
        {**asked(30, {"type": "meta"}, "x"), "answer": {"withheld": 3}},
        {**asked(30, {"type": "meta"}, "x"), "request": {"withheld": 3}},
        asked(30, [1], "x"),
    )
    ((_, timeline),) = one.answers.items()
    assert len(timeline) == 2
    assert timeline.find(1.5)[1] == (3, 200, "application/json", b"[1]")
    assert timeline.find(99)[1] == (10, None, "", b"")
