"""A hand to trade with: short calls for the actions that the tests send again and again."""

from typing import Any, ClassVar

from server.devnode.engine import Engine, Makers

NOW = 1_800_000_000_000
HOUR = 3_600_000
USD = 1_000_000
BTC, ETH, SOL = 0, 1, 4
SPACEX = 130_000  # isolated only
PURR, HYPE = 10_000, 10_002
ANN, BOB, CAT = ("0x" + pair * 20 for pair in ("a1", "b2", "c3"))
STILL = Makers(walk=False, quote=False)  # no prices move, no orders but those of the test
QUOTED = Makers(walk=False)


def cloid(n: int) -> str:
    return f"0x{n:032x}"


def row(
    asset: int,
    is_buy: bool,
    px: str,
    sz: str,
    *,
    tif: str = "Gtc",
    reduce_only: bool = False,
    cloid: str | None = None,
    trigger: tuple[str, str, bool] | None = None,
) -> dict[str, Any]:
    """An order as the SDK sends it. `trigger` is (triggerPx, tpsl, isMarket)."""
    kind: dict[str, Any] = {"limit": {"tif": tif}}
    if trigger is not None:
        kind = {"trigger": {"isMarket": trigger[2], "triggerPx": trigger[0], "tpsl": trigger[1]}}
    order = {"a": asset, "b": is_buy, "p": px, "s": sz, "r": reduce_only, "t": kind}
    return order if cloid is None else order | {"c": cloid}


class Hand:
    """An engine with three funded accounts, at a clock of its own.

    After each test the events of all its engines must lead to their states (`conftest.py`), unless it reached
    into a state by itself: then it says `tampered`.
    """

    made: ClassVar[list["Hand"]] = []

    def __init__(self, makers: Makers = STILL, usd: int = 10_000, **options: Any) -> None:
        self.engine = Engine(seed=7, makers=makers, **options)
        self.tampered = False
        self.made.append(self)
        self.now = NOW
        for user in (ANN, BOB, CAT):
            self.engine.credit(user, usd * USD, self.now)

    def act(self, user: str, kind: str, vault: str | None = None, **fields: Any) -> Any:
        """Send an action; the `response` inside, whatever its status."""
        action = {"type": kind, **fields}
        answer = self.engine.apply(action, signer=user, vault_address=vault, now_ms=self.now)
        assert answer["status"] == ("err" if isinstance(answer["response"], str) else "ok")
        return answer["response"]

    def orders(self, user: str, *rows: dict[str, Any], grouping: str = "na", **fields: Any) -> Any:
        answer = self.act(user, "order", orders=list(rows), grouping=grouping, **fields)
        if isinstance(answer, str):
            return answer
        assert answer["type"] == "order"
        return answer["data"]["statuses"]

    def order(self, user: str, asset: int, is_buy: bool, px: str, sz: str, **fields: Any) -> Any:
        found = self.orders(user, row(asset, is_buy, px, sz, **fields))
        return found if isinstance(found, str) else found[0]

    def buy(self, user: str, px: str, sz: str, asset: int = BTC, **fields: Any) -> Any:
        return self.order(user, asset, True, px, sz, **fields)

    def sell(self, user: str, px: str, sz: str, asset: int = BTC, **fields: Any) -> Any:
        return self.order(user, asset, False, px, sz, **fields)

    def oid(self, status: Any) -> int:
        (found,) = status.values()
        number: int = found["oid"]
        return number

    def cancel(self, user: str, asset: int, oid: int) -> Any:
        return self.act(user, "cancel", cancels=[{"a": asset, "o": oid}])["data"]["statuses"][0]

    def advance(self, ms: int) -> None:
        self.now += ms
        self.engine.advance(self.now)

    def mark(self, coin: str, px: str) -> None:
        """Set a mark and let a block pass, so that everything reacts."""
        self.engine.set_mark(coin, px, self.now)
        self.advance(1)

    def szi(self, user: str, coin: str = "BTC", dex: str = "") -> int:
        """Lots held."""
        return next((p.lots for p in self.engine.core(user, dex).positions if p.asset.name == coin), 0)

    def statuses(self, user: str) -> list[str]:
        """Every status change of an account's orders, oldest first."""
        return [r["status"] for r in reversed(self.engine.historical_orders(user))]
