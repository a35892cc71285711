"""What a source must be able to do to be served, and what it may be able to do beyond that.

A source has an ability by having its methods. A control that the present source has no ability for is
answered with `Unsupported`. Refused values are `ValueError`s whose text is one clear line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from server.devnode.info import Answer, InfoRequest


class Source(Protocol):
    """What is served: the local exchange or a folder of recordings. All methods are synchronous."""

    @property
    def addresses(self) -> Sequence[str]:
        """Accounts worth asking for, lower-case."""

    @property
    def dexes(self) -> Sequence[str]:
        """Every perp dex, the main one ("") first, in the order of `perpDexs`."""

    def tick(self) -> None:
        """Let the prices move once."""

    def state(self, user: str, dex: str, now_ms: int) -> str:
        """The clearinghouseState of any account on a known dex: zeros for who holds nothing there."""

    def mids(self, dex: str) -> str | None:
        """The object of mids of a dex; None when there is none to serve."""

    def info(self, request: InfoRequest, now_ms: int) -> Answer:
        """Answer one `/info` request that deserialises."""


class Unsupported(Exception):
    """The present source can't do that."""


@runtime_checkable
class SetsMarks(Protocol):
    def set_mark(self, coin: str, px: str) -> None: ...


@runtime_checkable
class SetsOracles(Protocol):
    def set_oracle(self, coin: str, px: str) -> None: ...


@runtime_checkable
class Funds(Protocol):
    def fund(self, user: str, usd: str) -> None:
        """Credit USDC to an account, which need not exist yet."""


@runtime_checkable
class Impersonates(Protocol):
    def impersonate(
        self, user: str, action: dict[str, Any], nonce: int | None = None, vault: str | None = None
    ) -> Mapping[str, Any]:
        """The exchange's answer to an action of `user` that nobody signed."""


@runtime_checkable
class Resets(Protocol):
    def reset(self, seed: int | None = None) -> None:
        """Begin anew, with the seed there was when `seed` is None."""


@runtime_checkable
class Reverts(Protocol):
    def snapshot(self) -> object:
        """Everything but the clock. It stays as it is, whatever happens afterwards."""

    def revert(self, snapshot: Any) -> None:
        """Be again as `snapshot` says, which may be done more than once."""


@runtime_checkable
class Saves(Protocol):
    def save(self) -> bytes: ...

    def load(self, saved: bytes) -> None: ...


@runtime_checkable
class Trades(Protocol):
    def exchange(self, request: Mapping[str, Any]) -> Answer:
        """Answer a `POST /exchange`."""
