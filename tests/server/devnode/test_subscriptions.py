"""Reading what clients say: never anything but a message, whatever the bytes."""

import json

from hypothesis import given
from hypothesis import strategies as st

from server.devnode.subscriptions import Change, Invalid, Ping, Post, Subscription, error, parse_message

USER = "0x" + "Ab" * 20
DEXES = ("", "xyz")
JSONS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
FRAMES = st.fixed_dictionaries(
    {},
    optional={
        "method": st.sampled_from(["subscribe", "unsubscribe", "ping", "post", "x", 5]),
        "subscription": JSONS
        | st.fixed_dictionaries(
            {},
            optional={
                "type": st.sampled_from(
                    ["allMids", "clearinghouseState", "allDexsClearinghouseState", "trades", 1]
                ),
                "user": st.sampled_from([USER, "0x1", 5]),
                "dex": st.sampled_from(["", "xyz", "nope", None, 5]),
            },
        ),
        "id": JSONS,
        "request": JSONS | st.fixed_dictionaries({"type": JSONS, "payload": JSONS}),
    },
)


@given(st.text() | JSONS.map(json.dumps) | FRAMES.map(json.dumps))
def test_every_frame_is_read_as_something(raw: str) -> None:
    message = parse_message(raw, DEXES)
    if isinstance(message, Invalid):
        prefixes = (f"Error parsing JSON into valid websocket request: {raw}", "Invalid subscription {")
        assert message.error.startswith(prefixes)
        assert json.loads(error(message.error)) == {"channel": "error", "data": message.error}
    elif isinstance(message, Change):
        assert message.subscription.dex in (*DEXES, None)
        assert json.loads(message.subscription.wire)["type"] == message.subscription.kind
    else:
        assert isinstance(message, Ping | Post)


def test_spellings_of_one_subscription_are_equal() -> None:
    forms = [
        {"type": "clearinghouseState", "user": USER},
        {"type": "clearinghouseState", "user": USER.lower(), "dex": ""},
        {"dex": None, "user": USER, "type": "clearinghouseState", "more": [1]},
    ]
    read = [parse_message(json.dumps({"method": "subscribe", "subscription": form}), DEXES) for form in forms]
    subscriptions = {one.subscription for one in read if isinstance(one, Change)}
    assert subscriptions == {Subscription("clearinghouseState", USER.lower(), "")}


def test_an_echo_holds_every_field_that_clients_send() -> None:
    # A common client resolves subscribe() only when each field it sent comes back with an equal value.
    for form in (
        {"type": "clearinghouseState", "user": USER.lower(), "dex": ""},
        {"type": "clearinghouseState", "user": USER.lower(), "dex": "xyz"},
        {"type": "allDexsClearinghouseState", "user": USER.lower()},
        {"type": "allMids"},
        {"type": "allMids", "dex": ""},
        {"type": "allMids", "dex": "xyz"},
    ):
        message = parse_message(json.dumps({"method": "subscribe", "subscription": form}), DEXES)
        assert isinstance(message, Change)
        assert form.items() <= json.loads(message.echo).items()
