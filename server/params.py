"""The parameters of an `/info` request: what the exchange insists on, and one form of each for a key. Pure.

Judged here is only what is certain (spec/info.md 1.1): a field that is missing, of the wrong JSON type, no
address, no interval, or negative where a time or a count belongs. All else is the exchange's to judge.
"""

import re
from collections.abc import Callable, Hashable, Mapping
from enum import Enum
from typing import Any, NamedTuple

import orjson

from replica import INTERVALS

Params = Mapping[str, object]
"""The known parameters by the wire's names, in one form; those that were left out or null are not in it."""


class Kind(Enum):
    """How a value is to look on the wire."""

    ADDRESS = "address"  # 0x and 40 hex digits, in any case
    COIN = "coin"  # in its case
    DEX = "dex"  # "" or left out for the main one
    TEXT = "string"
    NATURAL = "integer"  # a time in ms, an id, an index: never negative
    FLAG = "boolean"
    INTERVAL = "interval"  # of candles
    OID = "oid"  # an order's number, or its cloid: 0x and 32 hex digits
    OBJECT = "object"  # with parameters of its own


class Param(NamedTuple):
    """One field. `account`: it names an account that the answer is about. `inside` of an OBJECT."""

    name: str
    kind: Kind
    required: bool = True
    account: bool = False
    inside: tuple["Param", ...] = ()


class Wrong(Exception):
    """The exchange answers this with 422."""


class Odd(Exception):
    """Only the exchange can say what it makes of this."""


class Read(NamedTuple):
    """A well-formed request. `key`: equal for all that ask the same. `accounts`: lower-case addresses."""

    key: Hashable
    params: Params
    accounts: tuple[str, ...]


def read(params: tuple[Param, ...], request: Mapping[str, object]) -> Read:
    """Check a decoded request against the parameters of its type. Raises `Wrong` and `Odd`."""
    values: dict[str, object] = {}
    accounts: list[str] = []
    return Read(_key(params, request, values, accounts, _ENVELOPE), values, tuple(accounts))


def is_plain(body: bytes, request: Mapping[str, object]) -> bool:
    """Whether `request` is all that `body` says. Not so where a key comes twice: only the last one is read.

    Every member that was dropped had quotes around its key, and without a backslash no quote is anything but
    an end of a string; so the count tells. A body with a backslash is not looked into.
    """
    if b"\\" in body:
        return False
    try:
        return body.count(b'"') == orjson.dumps(request).count(b'"')
    except orjson.JSONEncodeError:
        return False  # nested deeper than it can be written again


def _key(
    params: tuple[Param, ...],
    request: Mapping[str, object],
    values: dict[str, object],
    accounts: list[str],
    beside: frozenset[str] = frozenset(),
) -> Hashable:
    key: list[Hashable] = []
    known = sum(name in request for name in beside)
    for param in params:
        name, kind = param.name, param.kind
        if name not in request:
            if param.required:
                raise Wrong
            key.append("" if kind is Kind.DEX else _LEFT_OUT)
            continue
        known += 1
        value = request[name]
        if value is None:
            # What null is for a field that may be left out is for the exchange to say.
            if param.required:
                raise Wrong
            key.append(None)
        elif kind is Kind.OBJECT:
            if not isinstance(value, dict):
                raise Wrong
            key.append(_key(param.inside, value, values, accounts))
        else:
            value = _CHECKS[kind](value)
            values[name] = value
            key.append(value)
            if param.account:
                accounts.append(value)
    if len(request) > known:
        # Superfluous fields are ignored by the exchange, as far as anybody knows: kept apart, to be sure.
        names = beside.union(param.name for param in params)
        extra = {name: value for name, value in request.items() if name not in names}
        key.append(orjson.dumps(extra, option=orjson.OPT_SORT_KEYS))
    return tuple(key)


_ENVELOPE = frozenset({"type"})
_LEFT_OUT = ()


# -- one value: the form it has in a key, or Wrong, or Odd ---------------------------------------------

_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}").fullmatch
_ALMOST_AN_ADDRESS = re.compile(r"(0[xX])?[0-9a-fA-F]{40}").fullmatch
_CLOID = re.compile(r"0x[0-9a-fA-F]{32}").fullmatch


def _address(value: object) -> str:
    if not isinstance(value, str):
        raise Wrong
    if _ADDRESS(value):
        return value.lower()
    raise Odd if _ALMOST_AN_ADDRESS(value) else Wrong


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise Wrong
    return value


def _natural(value: object) -> int:
    if type(value) is int and value >= 0:
        return value
    # 1.0, or an integer too large for the parser, which made a float of it.
    raise Odd if isinstance(value, float) else Wrong


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise Wrong
    return value


def _interval(value: object) -> str:
    if value not in INTERVALS:
        raise Wrong
    return str(value)


def _oid(value: object) -> int | str:
    if not isinstance(value, str):
        return _natural(value)
    if not _CLOID(value):
        raise Odd
    return value.lower()


_CHECKS: Mapping[Kind, Callable[[object], Any]] = {
    Kind.ADDRESS: _address,
    Kind.COIN: _text,
    Kind.DEX: _text,
    Kind.TEXT: _text,
    Kind.NATURAL: _natural,
    Kind.FLAG: _flag,
    Kind.INTERVAL: _interval,
    Kind.OID: _oid,
}
