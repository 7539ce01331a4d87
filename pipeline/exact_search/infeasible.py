"""What to say when nothing meets the constraints: the nearest feasible points on either side, in one line."""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace

from pipeline.durations import format_duration
from pipeline.exact_search.goal import Found, Goal

# Best configuration under a relaxed goal, with its full path's cost; None where even that is infeasible.
Nearest = Callable[[Goal], tuple[Found, float] | None]


def describe_infeasible(goal: Goal, nearest: Nearest, unit: str, *, complete: bool) -> str:
    """One line: what was asked for, then the best that each relaxation of it allows."""
    asked = " and ".join(_constraints(goal, unit))
    start = f"no configuration has {asked}" if complete else f"no configuration found in time has {asked}"
    sides: dict[str, str] = {}  # by point, so that none is named twice
    for label, relaxed in _relaxations(goal):
        point = nearest(relaxed)
        if point is not None:
            found, worst = point
            costs = f"{format_cost(found.cost, unit)} (full path {format_cost(worst, unit)})"
            sides.setdefault(f"mIoU {found.miou:.4f} at {costs}", label)
    return f"{start}; nearest feasible: {'; '.join(f'{label} is {point}' for point, label in sides.items())}"


def format_cost(cost: float, unit: str) -> str:
    """'30.5 ms', or '3.2e+09 multiply-adds' for a table in another unit."""
    return format_duration(cost) if unit == "ns" else f"{cost:.4g} {unit}"


def _constraints(goal: Goal, unit: str) -> Iterator[str]:
    if goal.cheapest:
        yield f"mIoU at least {goal.min_miou:.4f}"
    if goal.max_cost < math.inf:
        yield f"latency at most {format_cost(goal.max_cost, unit)}"
    if goal.max_worst < math.inf:
        yield f"full path at most {format_cost(goal.max_worst, unit)}"


def _relaxations(goal: Goal) -> Iterator[tuple[str, Goal]]:
    """Each constraint given up in turn; every goal without constraints left is feasible."""
    if goal.max_worst < math.inf and (goal.cheapest or goal.max_cost < math.inf):
        yield "with a longer full path the best", replace(goal, max_worst=math.inf)
    unbounded = replace(goal, max_cost=math.inf, min_miou=-1.0)
    for label, cheapest in (("the cheapest", True), ("the most accurate", False)):
        yield label, replace(unbounded, cheapest=cheapest)
        if goal.max_worst < math.inf:
            yield f"{label} of any full path", replace(unbounded, cheapest=cheapest, max_worst=math.inf)
