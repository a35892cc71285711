"""What a client asks to subscribe to -> the subscription upstream and the echo of its acknowledgement. Pure.

The exchange drops a whole connection, with every other subscription on it, for a parameter that it can't mean
(spec/websocket.md, 1.3): so parameters are judged here, before anything goes up. What needs the universe, the
coin and the dex, is left to the hub.
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

import orjson

from replica import INTERVALS, SUBSCRIPTION_TYPES, Param, StreamType, Subscription
from server.ws.messages import Bad, invalid_subscription, unparsable

_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")

OPTIONS = "replica"
"""The field with which a client asks for more than the exchange has. It never goes up."""


class Options(NamedTuple):
    """What a client asked for beyond the wire. `resume`: (epoch, the last number it has), None for none."""

    gaps: bool = False
    numbered: bool = False
    resume: tuple[str, int] | None = None


NATIVE = Options()


class Wanted(NamedTuple):
    """A subscription that may go up once what it names is found in the universe.

    `said` is the JSON of every field that the client sent, addresses in lower case, and `echo` that with the
    defaults. A refusal has the former: some clients know their request by nothing more and nothing less.
    `known` is false for a type that is not in the catalogue: the upstream will say what it is.
    """

    subscription: Subscription
    echo: bytes
    said: bytes
    options: Options
    known: bool


def read(fields: dict[str, object], raw: bytes) -> Wanted | Bad:
    """The subscription in a message that was `raw` as a whole; `fields` has a `type` that is a text."""
    name = str(fields["type"])
    row = SUBSCRIPTION_TYPES.get(name)
    given = {key: value for key, value in fields.items() if key != OPTIONS}
    if row is not None:
        verdict = _mistyped(row, given)
        if verdict:
            return unparsable(raw)
        fields = {
            key: value.lower() if row.params.get(key) is Param.ADDRESS and isinstance(value, str) else value
            for key, value in fields.items()
        }
    fields = {"type": name, **fields}
    added = {key: value for key, value in row.defaults.items() if key not in fields} if row else {}
    try:
        said = _written(fields)
        echo = _written(fields | added) if added else said
    except orjson.JSONEncodeError:  # nested deeper than it is written again
        return unparsable(raw)
    options = _options(fields.get(OPTIONS))
    if options is None or (row is not None and not _meant(row, given)):
        return Bad(invalid_subscription(said))
    if row is None:
        return Wanted(Subscription(given), echo, said, options, False)
    upstream = {key: value for key, value in given.items() if key == "type" or key in row.params}
    return Wanted(Subscription(upstream), echo, said, options, True)


def _written(fields: dict[str, object]) -> bytes:
    # A copy: the library gives the bytes that it wrote with the room for kilobytes that it didn't need, and
    # these are kept as long as the subscription.
    return memoryview(orjson.dumps(fields)).tobytes()


def _mistyped(row: StreamType, given: dict[str, object]) -> bool:
    """Whether a parameter has not even the JSON type it is to have: the exchange can't parse that."""
    if any(given.get(name) is None for name in row.required):
        return True
    for name, param in row.params.items():
        value = given.get(name)
        if value is None:
            continue
        match param:
            case Param.FLAG:
                right = isinstance(value, bool)
            case Param.SIG_FIGS | Param.MANTISSA:
                right = isinstance(value, int) and not isinstance(value, bool)
            case _:
                right = isinstance(value, str)
        if not right:
            return True
    return False


def _meant(row: StreamType, given: dict[str, object]) -> bool:
    """Whether every value is one that the exchange can mean, by its looks."""
    for name, param in row.params.items():
        value = given.get(name)
        if value is None:
            continue
        match param:
            case Param.ADDRESS:
                meant = _ADDRESS.fullmatch(str(value)) is not None
            case Param.COIN | Param.PERP:
                meant = value != ""
            case Param.INTERVAL:
                meant = value in INTERVALS
            case Param.SIG_FIGS:
                meant = value in (2, 3, 4, 5)
            case Param.MANTISSA:
                meant = value in (2, 5) and given.get("nSigFigs") == 5
            case Param.DEX | Param.FLAG:
                meant = True
        if not meant:
            return False
    return True


def _options(value: object) -> Options | None:
    """None where it is not what it is to be."""
    if value is None:
        return NATIVE
    if not isinstance(value, dict):
        return None
    gaps, numbered = value.get("gaps", False), value.get("seq", False)
    if not isinstance(gaps, bool) or not isinstance(numbered, bool):
        return None
    resume = value.get("resume")
    if resume is None:
        return Options(gaps, numbered)
    if not isinstance(resume, dict) or not numbered:
        return None
    epoch, number = resume.get("epoch"), resume.get("seq")
    if not isinstance(epoch, str) or not isinstance(number, int) or isinstance(number, bool):
        return None
    return Options(gaps, numbered, (epoch, number))


def meant(subscription: Subscription, holds: Iterable[Subscription]) -> Subscription:
    """The one that is held and differs in nothing but `asides`, if there is exactly one; else the same.

    ccxt subscribes to `spotState` of a unified account with `isPortfolioMargin`, unsubscribes without it, and
    ends every stream of its connection at an error.
    """
    row = SUBSCRIPTION_TYPES.get(subscription.type)
    if row is None or not row.asides:
        return subscription
    told = _without(row.asides, subscription)
    alike = [one for one in holds if one.type == row.name and _without(row.asides, one) == told]
    return alike[0] if len(alike) == 1 else subscription


def _without(names: tuple[str, ...], subscription: Subscription) -> dict[str, object]:
    return {name: value for name, value in subscription.fields if name not in names}
