"""What a client says, and the exact texts it is answered with."""

import json

import hypothesis
import hypothesis.strategies as st
import pytest

from server.ws.messages import (
    Bad,
    Ping,
    Post,
    Subscribe,
    Unsubscribe,
    acknowledged,
    action_answer,
    error,
    failed_post,
    info_answer,
    invalid_subscription,
    read,
    refused_upstream,
    too_many_posts,
)

SIGNED = b'{ "action": {"type":"order","p":"1.0","n":1e2},\n "nonce":1,"signature":{}, "x":"\\u00e9" }'


def test_each_method() -> None:
    assert read(b' {"method": "ping"} ') == Ping()
    subscribe = b'{"method":"subscribe","subscription":{"type":"l2Book","nSigFigs":null}}'
    assert read(subscribe) == Subscribe({"type": "l2Book", "nSigFigs": None}, subscribe)
    unsubscribe = b'{"method":"unsubscribe","id":"x","subscription":{"type":"l2Book"}}'
    assert read(unsubscribe) == Unsubscribe({"type": "l2Book"}, unsubscribe)
    post = b'{"method":"post","id":7,"request":{"type":"info","payload":{"type":"meta"}}}'
    assert read(post) == Post(b"7", "info", b'{"type":"meta"}')


def test_a_signed_body_goes_on_as_the_bytes_it_came_in() -> None:
    raw = b'{"method":"post","id": 1771587392123 ,"request":{"type":"action","payload":%s}}' % SIGNED
    assert read(raw) == Post(b"1771587392123", "action", SIGNED)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"null",
        b"[]",
        b"hello",
        b'{"method":"ping"',
        b'{"method":1}',
        b'{"method":"pong"}',
        b'{"subscription":{"type":"allMids"}}',
        b'{"method":"subscribe"}',
        b'{"method":"subscribe","subscription":"allMids"}',
        b'{"method":"subscribe","subscription":{"coin":"BTC"}}',
        b'{"method":"subscribe","subscription":{"type":["allMids"]}}',
        b'{"method":"subscribe","subscription":{"type":"\\ud800"}}',
        b'{"method":"post","request":{"type":"info","payload":{}}}',
        b'{"method":"post","id":null,"request":{"type":"info","payload":{}}}',
        b'{"method":"post","id":"1","request":{"type":"info","payload":{}}}',
        b'{"method":"post","id":1.5,"request":{"type":"info","payload":{}}}',
        b'{"method":"post","id":1}',
        b'{"method":"post","id":1,"request":{"type":"explorer","payload":{}}}',
        b'{"method":"post","id":1,"request":{"type":"info","payload":[]}}',
        b'{"method":"post","id":1,"request":{"type":"info"}}',
        b"[" * 100_000,
        b'{"method":"subscribe","subscription":' + b"[" * 50_000,
    ],
)
def test_what_can_t_be_meant_comes_back_behind_the_exact_words(raw: bytes) -> None:
    message = read(raw)
    assert message == Bad("Error parsing JSON into valid websocket request: " + raw.decode())
    assert json.loads(error(message.text)) == {"channel": "error", "data": message.text}


@hypothesis.given(st.text().map(str.encode) | st.binary())
def test_no_message_is_too_odd(raw: bytes) -> None:
    read(raw)


def test_texts_that_clients_match() -> None:
    echo = b'{"type":"trades","coin":"X"}'
    assert invalid_subscription(echo) == 'Invalid subscription {"type":"trades","coin":"X"}'
    assert too_many_posts(b"12") == "too many pending post requests id=12"
    assert json.loads(acknowledged("subscribe", echo, b',"replica":{"seq":1}')) == {
        "channel": "subscriptionResponse",
        "data": {"method": "subscribe", "subscription": {"type": "trades", "coin": "X"}},
        "replica": {"seq": 1},
    }


@pytest.mark.parametrize(
    ("upstream", "told"),
    [
        ("Cannot track more than 15 total users.", "Cannot track more than 15 total users."),
        ('Invalid subscription {"type":"x"}', 'Invalid subscription {"type":"x","dex":null}'),
        ('Already subscribed: {"type":"x"}', 'Already subscribed: {"type":"x","dex":null}'),
        (
            'Error parsing JSON into valid websocket request: {"method": "subscribe", ...',
            "Error parsing JSON into valid websocket request: "
            '{"method":"subscribe","subscription":{"type":"x","dex":null}}',
        ),
    ],
)
def test_a_refusal_repeats_the_subscription_as_the_client_wrote_it(upstream: str, told: str) -> None:
    assert refused_upstream(upstream, b'{"type":"x","dex":null}') == told


def test_answers_to_posts() -> None:
    assert json.loads(info_answer(b"7", "l2Book", b"null")) == {
        "channel": "post",
        "data": {"id": 7, "response": {"type": "info", "payload": {"type": "l2Book", "data": None}}},
    }
    assert json.loads(action_answer(b"7", b'{"status":"ok","response":{}}'))["data"]["response"] == {
        "type": "action",
        "payload": {"status": "ok", "response": {}},
    }
    assert json.loads(failed_post(b"7", 'no "x"'))["data"] == {
        "id": 7,
        "response": {"type": "error", "payload": 'no "x"'},
    }
