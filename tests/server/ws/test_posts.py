"""HTTP answers as posts over a websocket."""

import json

import pytest

from server.reply import JSON, NOT_DESERIALIZED, Reply, refusal, too_many_requests
from server.ws.messages import Post
from server.ws.posts import wrapped

INFO = Post(b"7", "info", b'{"type":"l2Book","coin":"X"}')
ACTION = Post(b"8", "action", b'{"action":{"type":"order"}}')


def said(post: Post, reply: Reply) -> object:
    answer = json.loads(wrapped(post, reply))
    assert answer["channel"] == "post" and answer["data"]["id"] == int(post.id)
    return answer["data"]["response"]


def good(body: bytes) -> Reply:
    return Reply(200, [(b"content-type", JSON)], body)


def test_an_answer_is_wrapped_as_it_came() -> None:
    assert b'"data":{ "odd" : 1.50 }' in wrapped(INFO, good(b'{ "odd" : 1.50 }'))
    assert said(INFO, good(b"null")) == {"type": "info", "payload": {"type": "l2Book", "data": None}}
    refused = {"status": "err", "response": "no"}
    assert said(ACTION, good(json.dumps(refused).encode())) == {"type": "action", "payload": refused}


@pytest.mark.parametrize(
    ("reply", "text"),
    [
        (too_many_requests(1.0), "429 Too Many Requests"),
        (
            NOT_DESERIALIZED,
            "422 Unprocessable Entity: Failed to deserialize the JSON body into the target type",
        ),
        (Reply(500, [], b"null"), "500 Internal Server Error"),
        (Reply(599, [], b"odd"), "599: odd"),
        (good(b"<html>"), "502 Bad Gateway: the upstream's answer is no JSON"),
        (good(b'{"cut":'), "502 Bad Gateway: the upstream's answer is no JSON"),
        (good(b'"\xff"'), "502 Bad Gateway: the upstream's answer is no JSON"),
    ],
)
def test_everything_else_is_an_error_that_names_the_status(reply: Reply, text: str) -> None:
    assert said(INFO, reply) == said(ACTION, reply) | {"type": "error"} == {"type": "error", "payload": text}  # type: ignore[operator]


def test_an_unknown_outcome_is_said() -> None:
    reply = refusal(504, "upstream timeout", outcome="unknown")
    assert '"outcome":"unknown"' in str(said(ACTION, reply))
