"""One client's messages and limits, with a hub but without a socket."""

import json
from typing import Any

from server.ws.client import Client, ClientLimits, Rate
from server.ws.messages import Post
from tests.server.ws.fakes import Ear, Stage, acknowledgement


def client(stage: Stage, **limits: Any) -> tuple[Client, Ear]:
    ear = Ear()
    return Client(stage.hub, ear, ClientLimits(**limits)), ear


def said(method: str, **more: Any) -> bytes:
    return json.dumps({"method": method, **more}).encode()


def test_what_it_says_is_done() -> None:
    stage = Stage()
    stage.mirror.at_once = True
    it, ear = client(stage)
    subscription = {"type": "allMids"}
    for message in (
        said("ping"),
        said("subscribe", subscription=subscription),
        said("subscribe", subscription=subscription),
        said("unsubscribe", subscription=subscription, id="as ccxt has it"),
        said("unsubscribe", subscription=subscription),
        said("subscribe", subscription={"type": "candle", "coin": "BTC", "interval": "2m"}),
        b"?",
    ):
        assert it.receive(message, stage.now) is None
    assert ear.heard == [
        {"channel": "pong"},
        acknowledgement(),
        {"channel": "error", "data": 'Already subscribed: {"type":"allMids"}'},
        acknowledgement("unsubscribe"),
        {"channel": "error", "data": 'Already unsubscribed: {"type":"allMids"}'},
        {
            "channel": "error",
            "data": 'Invalid subscription {"type":"candle","coin":"BTC","interval":"2m"}',
        },
        {"channel": "error", "data": "Error parsing JSON into valid websocket request: ?"},
    ]


def test_a_post_is_for_others_while_there_is_room() -> None:
    it, ear = client(Stage(), posts=1)
    post = said("post", id=3, request={"type": "info", "payload": {"type": "meta"}})
    assert it.receive(post, 0.0) == Post(b"3", "info", b'{"type": "meta"}')
    it.posts = 1
    assert it.receive(post, 0.0) is None
    assert ear.heard == [{"channel": "error", "data": "too many pending post requests id=3"}]


def test_the_minute_begins_with_its_first_message() -> None:
    it, ear = client(Stage(), messages_per_minute=2)
    rates = [it.count(at) for at in (10.0, 10.0, 30.0, 69.9, 69.9, 70.0, 70.0, 130.0)]
    over = [Rate.OVER, Rate.OVER, Rate.FLOOD]
    assert rates == [Rate.OK, Rate.OK, *over, Rate.OK, Rate.OK, Rate.OK]
    it.refuse_rate()
    assert ear.heard == [{"channel": "error", "data": "Cannot send more than 2 messages per minute."}]


def test_without_a_limit_nothing_is_a_flood() -> None:
    it, _ = client(Stage(), messages_per_minute=0)
    assert {it.count(0.0) for _ in range(10_000)} == {Rate.OK}


def test_one_thing_after_the_other_is_asked_for_only_so_often() -> None:
    stage = Stage()
    stage.mirror.at_once = True
    it, ear = client(stage, new_subscriptions=2, new_per_minute=6)
    other, _ = client(stage)
    other.receive(said("subscribe", subscription={"type": "allMids"}), stage.now)

    def churn(type_: str) -> str:
        ear.texts.clear()
        for method in ("subscribe", "unsubscribe"):
            it.receive(said(method, subscription={"type": type_}), stage.now)
        return str(ear.heard[0]["channel"])

    assert [churn(f"type{number}") for number in range(2)] == ["subscriptionResponse"] * 2
    assert stage.mirror.held_in_all == 3
    assert churn("type2") == "error"
    assert stage.mirror.held_in_all == 3
    assert churn("allMids") == "subscriptionResponse", "others have it: that costs nothing"
    stage.later(10.0)
    assert churn("type3") == "subscriptionResponse"
    it.receive(said("subscribe", subscription={"type": "type4"}), stage.now)
    assert ear.heard[-1]["data"] == "Cannot subscribe to more than 6 new channels per minute."


def test_who_leaves_holds_nothing() -> None:
    stage = Stage()
    it, _ = client(stage)
    it.receive(said("subscribe", subscription={"type": "allMids"}), stage.now)
    assert stage.mirror.held
    it.leave(stage.now)
    assert not stage.mirror.held and not it.holds
