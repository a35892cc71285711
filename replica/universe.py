"""Which coins and dexes there are, read out of the answers that list them. Pure.

A subscription to a coin that does not exist makes the upstream cut the whole connection (spec/websocket.md
1.3), so coins are looked up here before anything is sent. Names (spec/info.md section 1): a perp is its name
in its dex's `meta` (`BTC`, `xyz:XYZ100`), a spot pair its name in `spotMeta` (`PURR/USDC`, `@107`), a side of
an outcome `#{10 * outcome + side}`. Delisted ones are listed still, and may be subscribed to.
"""

from dataclasses import dataclass, replace

import msgspec

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

    dexes: tuple[str, ...] | None = None
    perps: frozenset[str] | None = None
    spots: frozenset[str] | None = None
    outcomes: frozenset[str] | None = None

    def knows_coin(self, coin: str) -> bool | None:
        """None: the list that would have it was not read yet."""
        if coin.startswith("#"):
            part = self.outcomes
        elif coin.startswith("@") or "/" in coin:
            part = self.spots
        else:
            part = self.perps
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
    def complete(self) -> bool:
        return None not in (self.dexes, self.perps, self.spots, self.outcomes)

    def __repr__(self) -> str:
        parts = {"dexes": self.dexes, "perps": self.perps, "spots": self.spots, "outcomes": self.outcomes}
        said = (f"{name} {'?' if part is None else len(part)}" for name, part in parts.items())
        return f"<Universe {', '.join(said)}>"
