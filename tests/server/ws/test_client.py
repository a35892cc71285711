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


def test_who_leaves_holds_nothing() -> None:
    stage = Stage()
    it, _ = client(stage)
    it.receive(said("subscribe", subscription={"type": "allMids"}), stage.now)
    assert stage.mirror.held
    it.leave(stage.now)
    assert not stage.mirror.held and not it.holds
