"""What pushes tell of listings."""

import pytest

from replica.events import Pushed
from replica.listings import Listings
from replica.subscription import Subscription


def pushed(type_: str, data: bytes) -> Pushed:
    return Pushed(Subscription({"type": type_}), b"", data)


def test_more_contexts_than_before_are_a_listing() -> None:
    listings = Listings()
    two = pushed("allDexsAssetCtxs", b'{"ctxs":[["",[{},{}]],["xyz",[{}]]]}')
    more = pushed("allDexsAssetCtxs", b'{"ctxs":[["",[{},{}]],["xyz",[{},{}]]]}')
    fewer = pushed("allDexsAssetCtxs", b'{"ctxs":[["",[{},{}]]]}')
    told = [listings.changed_by(push) for push in (two, two, more, more, fewer, two)]
    assert told == [(), (), ("listings",), (), ("listings",), ("listings",)]
    # Each stream is compared with itself.
    told = [listings.changed_by(pushed("spotAssetCtxs", data)) for data in (b"[]", b"[]", b"[{}]")]
    assert told == [(), (), ("listings",)]


def test_outcomes_have_a_stream_that_says_so() -> None:
    assert Listings().changed_by(pushed("outcomeMetaUpdates", b'{"updates":[]}')) == ("outcomes",)


@pytest.mark.parametrize("data", [b"", b"{}", b'{"ctxs":[[1,[]]]}', b"\xff", b"[" * 5000])
def test_what_can_not_be_read_tells_nothing(data: bytes) -> None:
    listings = Listings()
    assert listings.changed_by(pushed("allDexsAssetCtxs", data)) == ()
    assert listings.changed_by(pushed("trades", data)) == ()
