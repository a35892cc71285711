"""Which coins and dexes there are, read out of the answers that list them. Pure.

A subscription to a coin that does not exist makes the upstream cut the whole connection (spec/websocket.md
1.3), so coins and dexes are looked up here before anything is sent. Names (spec/info.md section 1): a perp is
its name in its dex's `meta` (`BTC`, `xyz:XYZ100`), a spot pair its name in `spotMeta` (`PURR/USDC`, `@107`),
a side of an outcome `#{10 * outcome + side}`. Delisted ones are listed still, and may be subscribed to.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

import msgspec

from replica.catalogue import TYPES, Param
from replica.subscription import Subscription

MAIN_DEX = ""


class _Named(msgspec.Struct):
    name: str


class _Meta(msgspec.Struct):
    universe: list[_Named]


class _Outcome(msgspec.Struct):
    outcome: int
    sides: list[msgspec.Raw] = msgspec.field(name="sideSpecs")


class _OutcomeMeta(msgspec.Struct):
    outcomes: list[_Outcome]


_NOT_READ = (msgspec.DecodeError, UnicodeError, RecursionError)


@dataclass(frozen=True, slots=True)
class Universe:
    """What was read so far; None for a part that was not. Each `with_` returns a new value.

    An answer that is not what it should be changes nothing: what was known stays known.
    """

    PARTS: ClassVar = ("dexes", "perps", "spots", "outcomes")

    dexes: tuple[str, ...] | None = None
    perps: frozenset[str] | None = None
    spots: frozenset[str] | None = None
    outcomes: frozenset[str] | None = None

    def knows(self, subscription: Subscription) -> bool | None:
        """Whether there are the coin and the dex that it names; None: a list that would have them lacks.

        Of a type that is not in the catalogue nothing is said: True.
        """
        row = TYPES.get(subscription.type)
        fields = dict(subscription.fields)
        known: bool | None = True
        for name, param in row.params.items() if row is not None else ():
            value = str(fields.get(name, ""))
            if param is Param.COIN:
                known = self.knows_coin(value)
            elif param is Param.PERP:
                known = self.knows_coin(value) if _is_perp(value) else False
            elif param is Param.DEX:
                known = self.knows_dex(value)
            if not known:
                break
        return known

    def knows_coin(self, coin: str) -> bool | None:
        """None: the list that would have it was not read yet."""
        part = self.perps if _is_perp(coin) else self.outcomes if coin.startswith("#") else self.spots
        return None if part is None else coin in part

    def knows_dex(self, dex: str) -> bool | None:
        """None: the list of dexes was not read yet. The main one is always there."""
        if dex == MAIN_DEX:
            return True
        return None if self.dexes is None else dex in self.dexes

    def with_dexes(self, names: tuple[str, ...] | None) -> "Universe":
        return self if names is None else replace(self, dexes=names)

    def with_all_perp_metas(self, body: bytes) -> "Universe":
        """The answer of `allPerpMetas`: one meta a dex."""
        try:
            metas = msgspec.json.decode(body, type=list[_Meta])
        except _NOT_READ:
            return self
        return replace(self, perps=frozenset(row.name for meta in metas for row in meta.universe))

    def with_metas(self, bodies: list[bytes | None]) -> "Universe":
        """The answers of `meta`, one a dex, for an upstream without `allPerpMetas`. None: could not be had.

        Without all of them nothing changes: the coins of the one that is lacking would seem not to exist.
        """
        had = [body for body in bodies if body is not None]
        return self if len(had) < len(bodies) else self.with_all_perp_metas(b"[%s]" % b",".join(had))

    def with_spot_meta(self, body: bytes) -> "Universe":
        try:
            meta = msgspec.json.decode(body, type=_Meta)
        except _NOT_READ:
            return self
        return replace(self, spots=frozenset(row.name for row in meta.universe))

    def with_outcome_meta(self, body: bytes) -> "Universe":
        try:
            meta = msgspec.json.decode(body, type=_OutcomeMeta)
        except _NOT_READ:
            return self
        names = (f"#{10 * row.outcome + side}" for row in meta.outcomes for side in range(len(row.sides)))
        return replace(self, outcomes=frozenset(names))

    def without_outcomes(self) -> "Universe":
        """This upstream does not know the type `outcomeMeta`: it has none."""
        return self if self.outcomes else replace(self, outcomes=frozenset())

    @property
    def missing(self) -> tuple[str, ...]:
        """The parts that were not read yet."""
        return tuple(name for name in self.PARTS if getattr(self, name) is None)

    def __repr__(self) -> str:
        parts = ((name, getattr(self, name)) for name in self.PARTS)
        said = (f"{name} {'?' if part is None else len(part)}" for name, part in parts)
        return f"<Universe {', '.join(said)}>"


def _is_perp(coin: str) -> bool:
    """By the look of it; a name of neither kind is looked for among the perps."""
    return not coin.startswith(("#", "@")) and "/" not in coin
