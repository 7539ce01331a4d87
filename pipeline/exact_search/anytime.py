"""Exact search of the anytime setting: exits that refine a result, read out at deadlines."""

import math
import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.exact_search.adaptive import single_exit_miou, tie_key_of
from pipeline.exact_search.configuration import LATENCY_TOLERANCE, MIOU_TOLERANCE
from pipeline.exact_search.goal import Found, Goal, Incumbent
from pipeline.exact_search.space import SearchSpace


@dataclass(frozen=True, eq=False)
class _Problem:
    """Candidates, what each is worth alone, and when the result is read."""

    space: SearchSpace
    miou: NDArray[np.float64]  # [N]
    deadlines: NDArray[np.float64]  # [D] rising
    max_exits: int
    stop: float  # time.monotonic()


def search_anytime(
    space: SearchSpace, deadlines_ns: tuple[float, ...], max_exits: int, goal: Goal, stop: float
) -> tuple[Found | None, float | None]:
    """The best anytime configuration: mean over deadlines of the mIoU of the deepest exit reached by then.

    Refinement is monotone on the split that is searched: an exit no more accurate than the one before would only cost,
    so no best configuration has it.

    Depth first, cut by an admissible bound: at every deadline the best candidate that could be reached by then. The
    second value is None when the whole space was covered, else a bound (mIoU, or cost when the goal is the cheapest).
    """
    miou = np.array([single_exit_miou(space, c) for c in range(len(space.names))])
    problem = _Problem(space, miou, np.array(sorted(deadlines_ns)), max_exits, stop)
    incumbent = Incumbent(goal)
    bound = _value_bound(problem, (), np.zeros(len(deadlines_ns)))
    if _descend(problem, (), np.zeros(len(deadlines_ns)), incumbent):
        return incumbent.best, None
    return incumbent.best, 0.0 if goal.cheapest else bound


def _descend(problem: _Problem, chosen: tuple[int, ...], read: NDArray[np.float64], incumbent: Incumbent) -> bool:
    """Try every way to go on behind `chosen` (none of which is the last); False when the time was up.

    read: [D] mIoU read at each deadline from the exits chosen so far.
    """
    behind = _behind(problem, chosen)
    if len(behind) == 0:
        return True
    _offer_last(problem, chosen, read, behind, incumbent)
    if len(chosen) + 1 >= problem.max_exits:
        return True
    costs = _costs(problem, chosen, behind, more=True)
    for candidate, cost in zip(behind, costs, strict=True):
        if time.monotonic() >= problem.stop:
            return False
        longer = (*chosen, int(candidate))
        now = np.where(problem.deadlines + LATENCY_TOLERANCE >= cost, problem.miou[candidate], read)
        if _worthwhile(problem, longer, now, incumbent) and not _descend(problem, longer, now, incumbent):
            return False
    return True


def _offer_last(
    problem: _Problem,
    chosen: tuple[int, ...],
    read: NDArray[np.float64],
    behind: NDArray[np.int64],
    incumbent: Incumbent,
) -> None:
    """Offer every configuration that ends right behind `chosen`."""
    costs = _costs(problem, chosen, behind, more=False)
    reached = problem.deadlines[None, :] + LATENCY_TOLERANCE >= costs[:, None]
    value = np.where(reached, problem.miou[behind][:, None], read[None, :]).mean(axis=1)
    goal = incumbent.goal
    highest, lowest = incumbent.bounds()
    legal = costs <= min(highest, goal.max_worst) + LATENCY_TOLERANCE
    legal &= value >= lowest - MIOU_TOLERANCE
    for n in np.flatnonzero(legal):
        longer = (*chosen, int(behind[n]))
        incumbent.offer(Found(float(value[n]), float(costs[n]), longer, (), tie_key_of(problem.space, longer)))


def _worthwhile(problem: _Problem, chosen: tuple[int, ...], read: NDArray[np.float64], incumbent: Incumbent) -> bool:
    highest, lowest = incumbent.bounds()
    behind = _behind(problem, chosen)
    if len(behind) == 0:
        return False
    if _costs(problem, chosen, behind, more=False).min() > min(highest, incumbent.goal.max_worst) + LATENCY_TOLERANCE:
        return False
    return _value_bound(problem, chosen, read) >= lowest - MIOU_TOLERANCE


def _value_bound(problem: _Problem, chosen: tuple[int, ...], read: NDArray[np.float64]) -> float:
    """No way to go on behind `chosen` is worth more than this."""
    behind = _behind(problem, chosen)
    costs = _costs(problem, chosen, behind, more=False)
    best = read.copy()
    for n, deadline in enumerate(problem.deadlines):
        reachable = costs <= deadline + LATENCY_TOLERANCE
        if reachable.any():
            best[n] = max(best[n], float(problem.miou[behind][reachable].max()))
    return float(best.mean())


def _behind(problem: _Problem, chosen: tuple[int, ...]) -> NDArray[np.int64]:
    exit_of = problem.space.exit_of
    last = exit_of[chosen[-1]] if chosen else -1
    return np.flatnonzero(exit_of > last)


def _costs(problem: _Problem, chosen: tuple[int, ...], behind: NDArray[np.int64], *, more: bool) -> NDArray[np.float64]:
    """Cost of reaching each candidate right behind `chosen`; `more`: it is not the last selected exit."""
    space = problem.space
    heads = math.fsum(space.head_cost[list(chosen)])
    boundaries = (len(chosen) + int(more)) * space.boundary
    costs = space.depth_cost[behind] + space.head_cost[behind] + heads + boundaries
    return np.asarray(costs, dtype=np.float64)
