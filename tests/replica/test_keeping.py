"""Which streams are kept, and which are left out where they are too many."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from replica.keeping import ACCOUNT_STREAMS, MARKET_STREAMS, KeepSettings, streams_to_keep

USERS = tuple(f"0x{number:040x}" for number in range(30))
DEXES = ("", "xyz", "flx")


def test_the_market_then_every_account_then_their_other_dexes() -> None:
    wanted = streams_to_keep(USERS[:2], DEXES, KeepSettings(account=("spotState", "openOrders"), most=0))
    assert [one.wire() for one in wanted[: len(MARKET_STREAMS)]] == [
        {"type": name} for name in MARKET_STREAMS
    ]
    assert [tuple(one.wire().values()) for one in wanted[len(MARKET_STREAMS) :]] == [
        ("spotState", USERS[0]),
        ("openOrders", USERS[0]),
        ("spotState", USERS[1]),
        ("openOrders", USERS[1]),
        ("openOrders", "xyz", USERS[0]),
        ("openOrders", "flx", USERS[0]),
        ("openOrders", "xyz", USERS[1]),
        ("openOrders", "flx", USERS[1]),
    ]


def test_nothing_is_nothing() -> None:
    assert streams_to_keep(USERS, DEXES, KeepSettings(account=(), market=())) == []


@given(st.integers(0, 30), st.integers(0, 3), st.integers(1, 120))
def test_never_too_many_and_of_an_account_all_or_none(users: int, dexes: int, most: int) -> None:
    wanted = streams_to_keep(USERS[:users], DEXES[:dexes], KeepSettings(most=most))
    assert len(wanted) == len(set(wanted)) <= most
    unlimited = streams_to_keep(USERS[:users], DEXES[:dexes], KeepSettings(most=0))
    assert set(wanted) <= set(unlimited)
    of = Counter(one.user for one in wanted if one.user and "dex" not in one.wire())
    assert set(of.values()) <= {len(ACCOUNT_STREAMS)}
    assert list(of) == list(USERS[: len(of)])
    if len(unlimited) <= most:
        assert wanted == unlimited
    elif of and len(of) < users:
        assert most - len(wanted) < len(ACCOUNT_STREAMS)
