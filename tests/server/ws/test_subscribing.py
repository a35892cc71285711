"""What a client asks for -> what goes up, what comes back as the echo, what is refused."""

import json
from typing import Any

import hypothesis
import hypothesis.strategies as st
import pytest

from replica import INTERVALS, SUBSCRIPTION_TYPES, Param, Subscription
from server.ws.messages import Bad
from server.ws.subscribing import NATIVE, Options, Wanted, read

USER = "0xAbCdEf" + "0" * 34
RAW = b'{"method":"subscribe","subscription":{}}'

GOOD: dict[Param, list[Any]] = {
    Param.ADDRESS: [USER],
    Param.COIN: ["BTC", "kPEPE", "xyz:TSLA", "@1", "PURR/USDC"],
    Param.PERP: ["BTC", "xyz:TSLA"],
    Param.DEX: ["", "xyz", None],
    Param.INTERVAL: list(INTERVALS),
    Param.FLAG: [True, False, None],
    Param.SIG_FIGS: [None, 2, 3, 4, 5],
    Param.MANTISSA: [None],
}


def asked(type_: str, **fields: Any) -> Wanted | Bad:
    return read({"type": type_, **fields}, RAW)


def right(type_: str, **fields: Any) -> Wanted:
    found = asked(type_, **fields)
    assert isinstance(found, Wanted), found
    return found


@st.composite
def subscriptions(draw: st.DrawFn) -> dict[str, Any]:
    row = SUBSCRIPTION_TYPES[draw(st.sampled_from(sorted(SUBSCRIPTION_TYPES)))]
    names = [name for name in row.params if name in row.required or draw(st.booleans())]
    fields = {"type": row.name} | {name: draw(st.sampled_from(GOOD[row.params[name]])) for name in names}
    if draw(st.booleans()):
        fields["extra"] = draw(st.none() | st.booleans() | st.text() | st.integers(-9, 9))
    return dict(draw(st.permutations(list(fields.items()))))


@hypothesis.given(subscriptions())
def test_the_echo_has_every_field_that_was_sent(fields: dict[str, Any]) -> None:
    found = read(fields, RAW)
    assert isinstance(found, Wanted)
    echo = json.loads(found.echo)
    for name, value in fields.items():
        assert name in echo
        assert echo[name] == (value.lower() if name == "user" else value)
    assert set(echo) - set(fields) <= set(SUBSCRIPTION_TYPES[fields["type"]].defaults)
    upstream = found.subscription.wire()
    assert set(upstream) <= {"type", *SUBSCRIPTION_TYPES[fields["type"]].params}
    assert found.known and found.options == NATIVE


def test_defaults_are_filled_in() -> None:
    assert json.loads(right("l2Book", coin="BTC").echo) == {
        "type": "l2Book",
        "coin": "BTC",
        "nSigFigs": None,
        "mantissa": None,
        "fast": False,
    }


def test_what_says_nothing_makes_no_difference() -> None:
    plain = right("openOrders", user=USER)
    assert right("openOrders", user=USER.lower(), dex="").subscription == plain.subscription
    assert right("openOrders", user=USER, dex=None).subscription == plain.subscription
    assert right("openOrders", user=USER, dex="xyz").subscription != plain.subscription
    assert right("openOrders", user=USER, unheard_of=1).subscription == plain.subscription
    assert right("l2Book", coin="BTC", nSigFigs=5).subscription != right("l2Book", coin="BTC").subscription


@pytest.mark.parametrize(
    ("type_", "fields"),
    [
        ("l2Book", {"coin": "BTC", "nSigFigs": 6}),
        ("l2Book", {"coin": "BTC", "nSigFigs": 1}),
        ("l2Book", {"coin": "BTC", "mantissa": 2}),
        ("l2Book", {"coin": "BTC", "mantissa": 2, "nSigFigs": 4}),
        ("l2Book", {"coin": "BTC", "mantissa": 3, "nSigFigs": 5}),
        ("candle", {"coin": "BTC", "interval": "2m"}),
        ("trades", {"coin": ""}),
        ("userFills", {"user": "0x12"}),
        ("userFills", {"user": "0x" + "g" * 40}),
        ("userFills", {"user": USER + "\n"}),
        ("allMids", {"replica": True}),
        ("allMids", {"replica": {"seq": 1}}),
        ("allMids", {"replica": {"resume": {"epoch": "x", "seq": 1}}}),
        ("allMids", {"replica": {"seq": True, "resume": {"epoch": "x"}}}),
        ("allMids", {"replica": {"seq": True, "resume": {"epoch": "x", "seq": True}}}),
    ],
)
def test_values_that_the_exchange_would_hang_up_on_are_refused(type_: str, fields: dict[str, Any]) -> None:
    found = asked(type_, **fields)
    assert isinstance(found, Bad)
    prefix, text = found.text[:21], found.text[21:]
    assert prefix == "Invalid subscription "
    sent = {name: value.lower() if name == "user" else value for name, value in fields.items()}
    assert json.loads(text) == {"type": type_, **sent}  # and nothing more: some clients compare


@pytest.mark.parametrize(
    ("type_", "fields"),
    [
        ("trades", {}),
        ("trades", {"coin": None}),
        ("trades", {"coin": ["BTC"]}),
        ("trades", {"coin": 1}),
        ("candle", {"coin": "BTC"}),
        ("candle", {"coin": "BTC", "interval": 1}),
        ("l2Book", {"coin": "BTC", "nSigFigs": "5"}),
        ("l2Book", {"coin": "BTC", "nSigFigs": True}),
        ("l2Book", {"coin": "BTC", "fast": 1}),
        ("userFills", {"user": 1}),
        ("openOrders", {"user": USER, "dex": 1}),
    ],
)
def test_what_has_the_wrong_shape_can_t_be_parsed(type_: str, fields: dict[str, Any]) -> None:
    assert asked(type_, **fields) == Bad(
        'Error parsing JSON into valid websocket request: {"method":"subscribe","subscription":{}}'
    )


def test_a_type_nobody_knows_goes_up_as_it_came() -> None:
    fields = {"type": "nextYears", "user": USER, "deep": [{"x": 1}], "none": None}
    found = read({**fields, "replica": {"seq": True}}, RAW)
    assert isinstance(found, Wanted)
    assert (found.known, found.options) == (False, Options(numbered=True))
    assert found.subscription == Subscription(fields)
    assert json.loads(found.echo) == {**fields, "replica": {"seq": True}}


def test_options_are_ours_alone() -> None:
    options = {"gaps": True, "seq": True, "resume": {"epoch": "e", "seq": 3}}
    found = right("allMids", replica=options)
    assert found.options == Options(True, True, ("e", 3))
    assert found.subscription == right("allMids").subscription
    assert json.loads(found.echo)["replica"] == options
    assert right("allMids", replica=None).options == NATIVE
    assert right("allMids", replica={}).options == NATIVE
