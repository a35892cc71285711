"""Where subscriptions go, by example; that it is so for all of them is in tests/properties."""

from typing import Any

import pytest

from replica.subscription import Subscription, all_dexs_clearinghouse_state
from replica.upstream.packing import Packing, PackingLimits

A, B = "0x" + "a" * 40, "0x" + "b" * 40


def of(type_: str, **fields: Any) -> Subscription:
    return Subscription({"type": type_, **fields})


def packing(connections: int = 10, users: int = 0, subscriptions: int = 0) -> Packing:
    return Packing(PackingLimits(connections, users, subscriptions))


def places(made: Packing, *subscriptions: Subscription) -> list[int | str]:
    return [made.place(one) for one in subscriptions]


@pytest.mark.parametrize(
    ("together", "sockets"),
    [
        ([of("trades", coin="BTC"), of("trades", coin="ETH"), of("bbo", coin="BTC")], [1, 1, 1]),
        ([of("l2Book", coin="BTC"), of("l2Book", coin="BTC", nSigFigs=2)], [1, 2]),
        ([of("l2Book", coin="BTC"), of("l2Book", coin="BTC", nSigFigs=None, fast=False)], [1, 1]),
        ([of("userFills", user=A), of("userFills", user=A, aggregateByTime=True)], [1, 2]),
        ([of("orderUpdates", user=A), of("userEvents", user=A), of("notification", user=A)], [1, 1, 1]),
        ([of("orderUpdates", user=A), of("userEvents", user=B)], [1, 2]),
        ([of("orderUpdates", user=A), of("userFills", user=B), of("userFills", user=A)], [1, 1, 1]),
        ([of("allMids"), of("allMids", dex=""), of("allMids", dex="xyz")], [1, 1, 1]),
        ([of("trades", coin="BTC"), of("new"), of("newer"), of("bbo", coin="BTC")], [1, 2, 3, 1]),
        ([of("new"), of("trades", coin="BTC")], [1, 2]),
    ],
)
def test_what_may_share_a_socket(together: list[Subscription], sockets: list[int]) -> None:
    assert places(packing(), *together) == sockets


def test_the_plan_has_a_socket_to_itself() -> None:
    made = packing()
    stream = all_dexs_clearinghouse_state(A)
    assert made.place(stream, planned=True) == 0
    assert made.place(of("allMids")) == 1
    assert made.place(stream) == 0


def test_an_address_is_taken_until_its_last_frame_can_have_come() -> None:
    made = packing()
    coarse, fine = of("l2Book", coin="BTC", nSigFigs=2), of("l2Book", coin="BTC")
    made.place(coarse)
    made.release(coarse)
    assert made.place(fine) == 2
    made.remove(fine)
    made.remove(coarse)
    assert made.place(fine) == 1


def test_the_slot_of_a_user_is_free_at_once() -> None:
    made = packing(users=1)
    assert made.place(of("userFills", user=A)) == 1
    assert made.place(of("userFundings", user=A)) == 1
    made.release(of("userFills", user=A))
    assert made.place(of("userFills", user=B)) == "Cannot track more than 1 total users."
    made.release(of("userFundings", user=A))
    assert made.place(of("userFills", user=B)) == 1


def test_types_we_do_not_know_take_half_of_the_sockets() -> None:
    made = packing(connections=5)
    told = "Cannot open more than 5 connections."
    assert places(made, *(of(f"new{number}") for number in range(3))) == [1, 2, told]
    books = (of("l2Book", coin="BTC", nSigFigs=digits) for digits in (2, 3, 4))
    assert places(made, *books) == [3, 4, told]


def test_a_socket_that_is_being_closed_takes_nothing_more() -> None:
    made = packing(connections=2)
    made.place(of("allMids"))
    made.remove(of("allMids"))
    made.close(1)
    assert made.place(of("allMids")) == "Cannot open more than 2 connections."
    made.closed(1)
    assert made.place(of("allMids")) == 1
