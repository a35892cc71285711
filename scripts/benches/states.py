"""Synthetic accounts: addresses, states with the wire's keys in the wire's order, feed frames.

A state is `HEAD` + its time + `}`. Heads repeat after `KINDS` accounts, so that 100,000 accounts cost the
bench upstream no memory; the receiver gets its own copy of every one all the same.
"""

import hashlib
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from random import Random

KINDS = 1000
DEXES = ("", "xyz", "flx", "vntl")
"""The dexes of an account, the main one first; a bench takes the first so many."""

USUAL_BYTES = (1000, 1800)
"""Size of a state, from and to, evenly spread: 1.4 kB on average, about three positions."""
LARGE_BYTES = (4000, 8000)

_TIME = re.compile(rb'"time":\d{13}}')


def address(account: int) -> str:
    return "0x" + hashlib.sha256(b"%d" % account).hexdigest()[:40]


@lru_cache(maxsize=8 * KINDS)
def _head(kind: int, sizes: tuple[int, int]) -> bytes:
    random = Random(kind)

    def money() -> str:
        return f"{random.uniform(1, 1e6):.6f}"

    def margins() -> str:
        names = ("accountValue", "totalNtlPos", "totalRawUsd", "totalMarginUsed")
        return "{" + ",".join(f'"{name}":"{money()}"' for name in names) + "}"

    def position() -> str:
        return (
            '{"type":"oneWay","position":{"coin":"BTC",'
            f'"szi":"{random.uniform(-9, 9):.5f}","leverage":{{"type":"cross","value":20}},'
            f'"entryPx":"{random.uniform(9e4, 1e5):.1f}","positionValue":"{money()}",'
            f'"unrealizedPnl":"{random.uniform(-9e3, 9e3):.6f}",'
            f'"returnOnEquity":"{random.uniform(-1, 1):.10f}","liquidationPx":"{money()}",'
            f'"marginUsed":"{money()}","maxLeverage":40,"cumFunding":{{"allTime":"{money()}",'
            f'"sinceOpen":"{money()}","sinceChange":"{money()}"}}}}}}'
        )

    start = (
        f'{{"marginSummary":{margins()},"crossMarginSummary":{margins()},'
        f'"crossMaintenanceMarginUsed":"{money()}","withdrawable":"{money()}","assetPositions":['
    )
    # Half a position too many on average makes up for the half that the last one falls short.
    wanted = random.uniform(*sizes)
    positions = [position()]
    while len(start) + sum(map(len, positions)) + 200 < wanted:
        positions.append(position())
    return f'{start}{",".join(positions)}],"time":'.encode()


def state(account: int, dex: int, time_ms: int, sizes: tuple[int, int]) -> bytes:
    """The clearinghouseState of one account on its `dex`-th dex. `time_ms` has 13 digits."""
    return b"%s%d}" % (_head((account + 7 * dex) % KINDS, sizes), time_ms)


def frame(account: int, user: str, dexes: int, time_ms: int, sizes: tuple[int, int]) -> bytes:
    """The `allDexsClearinghouseState` frame of one account."""
    states = b",".join(
        b'["%s",%s]' % (DEXES[dex].encode(), state(account, dex, time_ms, sizes)) for dex in range(dexes)
    )
    return b'{"channel":"allDexsClearinghouseState","data":{"user":"%s","clearinghouseStates":[%s]}}' % (
        user.encode(),
        states,
    )


def batch_request(users: Sequence[str]) -> bytes:
    return b'{"type":"batchClearinghouseStates","users":["%s"]}' % '","'.join(users).encode()


def single_request(user: str) -> bytes:
    return b'{"type":"clearinghouseState","user":"%s"}' % user.encode()


def batch_answer(accounts: Iterable[int], sizes: tuple[int, int]) -> bytes:
    """What a batch of these accounts must be answered, with every time `timeless`."""
    rows = (b'["%s",%s]' % (address(a).encode(), state(a, 0, 10**12, sizes)) for a in accounts)
    return timeless(b'{"successful_states":[%s],"failed_wallets":[]}' % b",".join(rows))


def timeless(body: bytes) -> bytes:
    """`body` with the time of every state made one: all that differs between two pushes of an account."""
    return _TIME.sub(b'"time":0000000000000}', body)
