"""`portfolio`: what an account was worth, and what it won and lost, over a day, a week, a month and ever.

PnL is the change of the account's value less what came in, plus what went out (spec/info.md). Values of the
past are worked out when somebody asks: from the account's events, and the marks that the tape has kept.
"""

from __future__ import annotations

from typing import Any

from server.devnode.engine.units import usd
from server.devnode.market.course import NOTHING, Moment
from server.devnode.market.past_marks import PERIODS
from server.devnode.market.truth import Truth

Points = list[tuple[int, Moment]]


def portfolio(truth: Truth, user: str, now_ms: int) -> list[Any]:
    """Pairs of a period's name and its row, those of the perps alone last."""
    now = max(truth.stamp(now_ms), truth.engine.now)
    drawn = _drawn(truth, user, now)
    return [
        [f"perp{name[0].upper()}{name[1:]}" if of_perps else name, _row(points, of_perps)]
        for of_perps in (False, True)
        for name, points in drawn.items()
    ]


def _drawn(truth: Truth, user: str, now: int) -> dict[str, Points]:
    """The points of each period: its first one, or the account's, then those between, then now."""
    course, history, marks = truth.course(user), truth.engine.ground.history, truth.engine.ground.state.marks
    born = course.born(history)
    if born is None:
        return {period.name: [(now, NOTHING)] for period in PERIODS}
    # What is dated from now on is no earlier than the last block: what was before that is the past.
    wanted = {period: list(period.points(truth.engine.now, born)) for period in PERIODS}
    kept = {}
    for point in sorted({point for points in wanted.values() for point in points}):
        if point not in course.points:
            course.read(history, point)
            course.points[point] = course.moment(truth.tape.past.at(point) or marks)
        kept[point] = course.points[point]
    course.points = kept
    course.read(history)
    last = now, course.moment(marks)
    found = {}
    for period, points in wanted.items():
        first: Points = [(born, NOTHING)] if period.start(truth.engine.now) <= born else []
        found[period.name] = [*first, *((point, kept[point]) for point in points if point < now), last]
    return found


def _row(points: Points, of_perps: bool) -> dict[str, Any]:
    values = [(time, one.perp if of_perps else one.perp + one.spot) for time, one in points]
    won = [
        value - (one.into_perps if of_perps else one.into_perps + one.into_spot)
        for (_, value), (_, one) in zip(values, points, strict=True)
    ]
    volumes = [one.perp_volume if of_perps else one.perp_volume + one.spot_volume for _, one in points]
    return {
        "accountValueHistory": [[time, usd(value)] for time, value in values],
        "pnlHistory": [[time, usd(one - won[0])] for (time, _), one in zip(values, won, strict=True)],
        "vlm": usd(volumes[-1] - volumes[0]),
    }
