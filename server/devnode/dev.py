"""`/dev/`: the controls over HTTP. `POST /dev/<verb>` with a JSON object of the method's own parameters.

For this machine alone: whoever is not on the loopback is refused, and so is a web page that a browser shows.
"""

from __future__ import annotations

import inspect
import ipaddress
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import orjson

from server.devnode.abilities import Unsupported
from server.devnode.info import TEXT, Answer, load

_KINDS: Mapping[type, tuple[str, tuple[type, ...]]] = {
    # What a parameter of this type takes from JSON; an enum is its value, bytes are text.
    bool: ("true or false", (bool,)),
    int: ("a whole number", (int,)),
    float: ("a number", (int, float)),
    NoneType: ("null", (NoneType,)),
    dict: ("an object", (dict,)),
    list: ("a list", (list,)),
}
_TEXT: tuple[str, tuple[type, ...]] = ("text", (str,))


@dataclass(frozen=True, slots=True)
class Verb:
    """One control: what it calls and what its parameters take."""

    call: Callable[..., Any]
    hints: Mapping[str, tuple[type, ...]]
    required: frozenset[str]


class Dev:
    """`verbs` are bound methods, documented by their signatures; `looks` answer `GET /dev/<name>`."""

    def __init__(
        self, verbs: Iterable[Callable[..., Any]], looks: Mapping[str, Callable[[], object]]
    ) -> None:
        self.verbs = {call.__name__: _verb(call) for call in verbs}
        self._looks = looks

    def refusal(self, ips: Iterable[str], headers: Iterable[tuple[bytes, bytes]]) -> Answer | None:
        """The answer to who is not let in, whatever they want; None for those who are.

        `ips` are the addresses of the client: the socket's, and the one that a proxy names.
        """
        for ip in ips:
            if not is_loopback(ip):
                return _said(403, f"/dev/ is for this machine alone, not for {ip[:60]}")
        if any(header == b"origin" for header, _ in headers):
            return _said(403, "/dev/ is not for web pages")
        return None

    async def answer(self, method: str, name: str, body: bytes) -> Answer:
        """Answer `/dev/<name>`. What a verb returns is in `result`."""
        if name in self._looks:
            if method != "GET":
                return _said(405, f"/dev/{name} is for GET")
            return Answer(200, orjson.dumps(self._looks[name](), option=orjson.OPT_NON_STR_KEYS))
        verb = self.verbs.get(name)
        if verb is None:
            known = ", ".join(sorted([*self.verbs, *self._looks]))
            return _said(404, f"no /dev/{name[:60]}, there are {known}")
        if method != "POST":
            return _said(405, f"/dev/{name} is for POST")
        try:
            result = verb.call(**_fields(name, verb, body))
            if isinstance(result, Awaitable):
                result = await result
        except Unsupported as error:
            return _said(501, str(error))
        except ValueError as error:
            return _said(400, f"{name}: {error}")
        except OSError as error:
            return _said(409, f"{name}: {error}")
        return Answer(200, orjson.dumps({"result": result}))


def is_loopback(ip: str) -> bool:
    try:
        found = ipaddress.ip_address(ip)
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None)
    return bool((mapped or found).is_loopback)


def _verb(call: Callable[..., Any]) -> Verb:
    parameters = inspect.signature(call).parameters
    hints = get_type_hints(call)
    return Verb(
        call,
        {name: _alternatives(hints[name]) for name in parameters},
        frozenset(name for name, one in parameters.items() if one.default is one.empty),
    )


def _alternatives(hint: Any) -> tuple[type, ...]:
    """The types in a union, or the one type; without their parameters."""
    alternatives = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    return tuple(get_origin(one) or one for one in alternatives)


def _fields(name: str, verb: Verb, body: bytes) -> Mapping[str, Any]:
    """The parameters in a body. Raises `ValueError`, saying what is wrong with them."""
    try:
        given = load(body) if body.strip() else {}
    except ValueError:
        raise ValueError("the body is no JSON") from None
    if not isinstance(given, dict):
        raise ValueError("the body is no JSON object")
    for field, value in given.items():
        if field not in verb.hints:
            raise ValueError(f"no field {field[:40]!r}, it takes {', '.join(verb.hints) or 'none'}")
        kinds = [_KINDS.get(hint, _TEXT) for hint in verb.hints[field]]
        # JSON's true is no number, though Python's is an int.
        if not any(type(value) in types for _, types in kinds):
            wanted = " or ".join(dict.fromkeys(text for text, _ in kinds))
            raise ValueError(f"{field} wants {wanted}, got {orjson.dumps(value).decode()[:40]}")
    if missing := sorted(verb.required - set(given)):
        raise ValueError(f"{', '.join(missing)} missing")
    return given


def _said(status: int, text: str) -> Answer:
    return Answer(status, text.encode(), TEXT)
