"""What a request of `/info` may say: its parameters, read or refused."""

from __future__ import annotations

from typing import Any

from server.devnode.info import InfoRequest, address, is_natural

END_OF_TIME = 1 << 62


class Unreadable(Exception):
    """A parameter is missing or of the wrong kind: the exchange's 422."""


def user_of(request: InfoRequest, field: str = "user") -> str:
    found = address(request.fields.get(field))
    if found is None:
        raise Unreadable
    return found


def text_of(fields: Any, field: str) -> str:
    value = fields.get(field) if isinstance(fields, dict) else None
    if not isinstance(value, str):
        raise Unreadable
    return value


def flag_of(request: InfoRequest, field: str) -> bool:
    value = request.fields.get(field)
    if value is not None and not isinstance(value, bool):
        raise Unreadable
    return bool(value)


def window_of(fields: Any, *, start: bool = False) -> tuple[int, int]:
    """(startTime, endTime), both inclusive. `start` insists on the first."""
    first, last = fields.get("startTime"), fields.get("endTime")
    if (first is None and start) or not all(one is None or is_natural(one) for one in (first, last)):
        raise Unreadable
    return first or 0, END_OF_TIME if last is None else last
