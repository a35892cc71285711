"""A subscription as a value: one canonical key however it is spelt, and the form it has on the wire."""

import re
from collections.abc import Mapping

_HEX = re.compile(r"0x[0-9a-fA-F]+")


def _canonical(value: object) -> object:
    # Hex is lower-cased, nothing else is: coins are case-sensitive (kPEPE).
    return value.lower() if isinstance(value, str) and _HEX.fullmatch(value) else value


class Subscription:
    """Immutable. Equal when the upstream would hold them for the same: `dex` omitted or `""` is one key.

    The upstream's acknowledgement fills in defaults (null, false, ""), so those say the same as absence.
    """

    __slots__ = ("_hash", "fields", "type", "user")

    def __init__(self, fields: Mapping[str, object]) -> None:
        kept = {
            name: _canonical(value)
            for name, value in sorted(fields.items())
            if value is not None and value is not False and value != ""
        }
        self.type = str(kept.get("type", ""))
        user = kept.get("user")
        self.user: str | None = user if isinstance(user, str) else None
        self.fields: tuple[tuple[str, object], ...] = tuple(kept.items())
        # Through repr: a value of a hostile echo may be a list.
        self._hash = hash(repr(self.fields))

    def wire(self) -> dict[str, object]:
        """The `subscription` object to send, `type` first as every client has it."""
        return {"type": self.type, **{name: value for name, value in self.fields if name != "type"}}

    def answered_by(self, echo: "Subscription") -> bool:
        """Whether an echo answers this: every field we sent is in it with an equal value."""
        return all(field in echo.fields for field in self.fields)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Subscription) and self.fields == other.fields

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        return f"<{self.type} {' '.join(str(value) for name, value in self.fields if name != 'type')}>"


def all_dexs_clearinghouse_state(user: str) -> Subscription:
    """Every dex of one account for one user slot, pushed about every 5 s."""
    return Subscription({"type": "allDexsClearinghouseState", "user": user})
