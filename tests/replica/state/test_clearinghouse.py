"""One held state: its bytes, its row of a batch, and how long it may be trusted."""

import json
import math

import pytest

from replica.state.clearinghouse import PIECE_HEAD, HeldState

USER = "0x" + "ab" * 20


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b'{"time":1}',
        b'{ "marginSummary" : {"accountValue":"7434835.0399999993"},\n"time":1 }',
        '{"coin":"\u00e9\u4e2d"}'.encode(),
        b'{"brackets":"]}\\"","deep":[[1],{"a":"]"}]}',
    ],
)
def test_the_bytes_are_kept_once_and_given_back_as_they_came(body: bytes) -> None:
    held = HeldState(USER, body, 1)
    assert held.body == body
    assert held.piece == b'["' + USER.encode() + b'",' + body + b"]"
    assert held.piece[:PIECE_HEAD] == b'["' + USER.encode() + b'",'
    assert json.loads(held.piece) == [USER, json.loads(body)]


def test_a_new_one_is_neither_live_nor_fresh_and_reflects_nothing() -> None:
    held = HeldState(USER, b"{}", 17)
    assert held.as_of == 17
    assert not held.live(0.0) and not held.fresh(0.0)
    assert held.reflects == -math.inf
    assert not held.fetched


def test_trusted_up_to_a_moment_and_not_at_it() -> None:
    held = HeldState(USER, b"{}", 17)
    held.live_until, held.fresh_until = 5.0, 7.0
    assert held.live(4.999) and not held.live(5.0)
    assert held.fresh(6.999) and not held.fresh(7.0)


def test_nothing_else_can_be_hung_on_it() -> None:
    with pytest.raises(AttributeError):
        HeldState(USER, b"{}", 17).other = 1  # type: ignore[attr-defined]


def test_repr() -> None:
    held = HeldState(USER, b"{}", 17)
    assert repr(held) == "<HeldState 0xabababab.. as of 17 fed>"
    held.fetched = True
    assert repr(held) == "<HeldState 0xabababab.. as of 17 fetched>"
