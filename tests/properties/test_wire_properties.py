"""Whatever bytes come, reading them raises nothing; and the short way to a state's time is the long one."""

import json
from typing import Any

from hypothesis import assume, example, given
from hypothesis import strategies as st

from replica.events import AccountStates, Acknowledged, Data, ErrorText, Pong, State, Unknown, Unreadable
from replica.upstream.wire import (
    count_items,
    count_rows,
    embedded_object,
    read_answer,
    read_perp_dexs,
    read_state,
)
from tests.feeding import read

EVENTS = (AccountStates, Acknowledged, Data, ErrorText, Pong, Unknown, Unreadable)

texts = st.text(max_size=8)
keys = st.one_of(st.sampled_from(["time", "user", "dex", "xtime", 'a"time', 'a,"time', "ti\\me"]), texts)
values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(10**18), 10**18),
        texts,
        st.floats(allow_nan=False, allow_infinity=False),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(keys, inner, max_size=3)),
    max_leaves=8,
)
separators = st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", "\t:  ")])
channels = st.one_of(
    st.sampled_from(
        ["pong", "error", "subscriptionResponse", "clearinghouseState", "allDexsClearinghouseState"]
    ),
    texts,
)
addresses = st.one_of(st.sampled_from(["0x" + "ab" * 20, "0x" + "AB" * 20, "0x12"]), values)
payloads = st.one_of(
    values,
    st.fixed_dictionaries({"method": st.one_of(texts, values), "subscription": values}),
    st.fixed_dictionaries({"user": addresses, "clearinghouseState": values}, optional={"dex": values}),
    st.fixed_dictionaries(
        {"user": addresses, "clearinghouseStates": st.lists(st.tuples(texts, values), max_size=3)}
    ),
)
frames = st.fixed_dictionaries({"channel": channels}, optional={"data": payloads, "more": values})


@given(st.one_of(st.binary(), st.text(st.characters(codec=None))))
@example("\ud800")
@example(b'{"channel":"x","data":' + b"[" * 200_000)
def test_nothing_that_arrives_raises(arrived: bytes | str) -> None:
    assert isinstance(read(arrived), EVENTS)
    if isinstance(arrived, str):
        embedded_object(arrived)
    else:
        read_answer("", arrived)
        read_state("", b"{" + arrived)
        count_rows(arrived)
        count_items(arrived)
        read_perp_dexs(arrived)


@given(frames, separators, st.booleans(), st.data())
def test_nothing_that_looks_like_a_frame_raises(
    frame: dict[str, Any], separators: tuple[str, str], ascii_only: bool, data: st.DataObject
) -> None:
    text = json.dumps(frame, separators=separators, ensure_ascii=ascii_only)
    event = read(text.encode("utf-8", "surrogatepass"))
    assert isinstance(event, EVENTS)
    if isinstance(event, AccountStates):
        assert all(state.body in text.encode() for state in event.states)
    cut = data.draw(st.integers(0, len(text)))
    assert isinstance(read(text[:cut]), EVENTS)


@given(
    st.dictionaries(keys, values, max_size=4),
    st.one_of(st.none(), st.integers(0, 10**16)),
    st.integers(0, 4),
    separators,
    st.booleans(),
)
@example({'a"time': 5}, None, 0, (",", ":"), True)
@example({'a"time': 5}, 3, 0, (",", ":"), True)
@example({"position": {"time": 5}}, None, 0, (",", ":"), True)
def test_the_time_of_a_state_agrees_with_a_full_decode(
    rest: dict[str, Any],
    time: int | None,
    place: int,
    separators: tuple[str, str],
    ascii_only: bool,
) -> None:
    items = [(name, value) for name, value in rest.items() if name != "time"]
    if time is not None:
        items.insert(place, ("time", time))
    text = json.dumps(dict(items), separators=separators, ensure_ascii=ascii_only)
    try:
        body = text.encode()
    except UnicodeEncodeError:
        assume(False)
    decoded = json.loads(body)
    assert read_state("d", body) == State("d", body, decoded.get("time", 0))
    if body.endswith(b"}") and decoded:  # a second `time` at the end counts, as for every decoder
        twice = body[:-1] + b',"time":77}'
        assert json.loads(twice)["time"] == 77
        assert read_state("d", twice) == State("d", twice, 77)
