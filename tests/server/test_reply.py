"""Refusals in words every client survives."""

import json

import pytest

from replica import BudgetExhausted, ReplicaError, UpstreamTimeout, UpstreamUnavailable
from server import reply
from server.reply import Reply, not_there_yet, refusal, too_many_requests, upstream_failed


def header(answer: Reply, name: bytes) -> bytes | None:
    return dict(answer.headers).get(name)


def python_client(answer: Reply) -> object:
    """What the official Python client does with a 4xx body, before it raises its own error."""
    try:
        error = json.loads(answer.body)
    except json.JSONDecodeError:
        return None
    return None if error is None else (error.get("data"), error["code"], error["msg"])


def test_our_refusals_have_what_clients_index() -> None:
    answer = refusal(403, "no", outcome="not sent")
    assert json.loads(answer.body) == {"error": "no", "code": 403, "msg": "no", "outcome": "not sent"}
    assert header(answer, b"content-type") == b"application/json"


@pytest.mark.parametrize(
    "name", [name for name, value in vars(reply).items() if isinstance(value, Reply) and name.isupper()]
)
def test_every_constant_refusal_survives_the_python_client(name: str) -> None:
    answer = getattr(reply, name)
    assert 400 <= answer.status < 600
    if answer.status < 500 and not name.startswith("BATCH"):
        # The batch's bodies are the contract's to the letter; that client has no batch call.
        python_client(answer)
    assert answer.status == 405 or header(answer, b"content-type")


@pytest.mark.parametrize(
    ("wait_s", "says"), [(-1.0, b"1"), (0.0, b"1"), (0.2, b"1"), (1.0, b"1"), (1.01, b"2"), (59.9, b"60")]
)
def test_retry_after_is_whole_seconds_and_never_too_early(wait_s: float, says: bytes) -> None:
    answer = too_many_requests(wait_s)
    assert (answer.status, answer.body) == (429, b"null")
    assert header(answer, b"retry-after") == says


def test_not_there_yet() -> None:
    answer = not_there_yet(123)
    assert (answer.status, header(answer, b"retry-after")) == (503, b"1")
    assert json.loads(answer.body)["not_before"] == 123
    # Made anew each time: a header added to one is not in the next.
    assert len(not_there_yet(1).headers) == len(not_there_yet(1).headers)


@pytest.mark.parametrize(
    ("error", "status", "body"),
    [
        (BudgetExhausted(3.2), 429, b"null"),
        (UpstreamTimeout("x"), 504, b'{"error":"upstream timeout"}'),
        (UpstreamUnavailable("secret host"), 502, b'{"error":"upstream unavailable"}'),
        (ReplicaError("x"), 502, b'{"error":"upstream unavailable"}'),
    ],
    ids=repr,
)
def test_a_failed_upstream_is_said_without_internals(error: ReplicaError, status: int, body: bytes) -> None:
    answer = upstream_failed(error)
    assert (answer.status, answer.body) == (status, body)


def test_no_reply_shares_its_headers_with_a_constant() -> None:
    answer = upstream_failed(BudgetExhausted(1))
    assert answer.headers is not upstream_failed(BudgetExhausted(1)).headers
