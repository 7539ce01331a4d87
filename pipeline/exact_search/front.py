"""The whole Pareto front of one setting: every configuration that no other beats in both latency and mIoU."""

import math
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pipeline.exact_search.adaptive import Task, run_front_task, single_exits
from pipeline.exact_search.configuration import LATENCY_TOLERANCE, MIOU_TOLERANCE, TIE_MIOU, Front
from pipeline.exact_search.coverage import enumerate_whole, exit_sets, explore
from pipeline.exact_search.goal import Found, Goal
from pipeline.exact_search.objective import Objective
from pipeline.exact_search.solver import candidate_of, goal_of, solve
from pipeline.exact_search.space import SearchSpace, build_space
from pipeline.exit_statistics import ExitStatistics
from pipeline.latency_table import LatencyTable

SLABS = 16  # more: tighter bounds, and each has its relaxations to settle


def front(statistics: ExitStatistics, table: LatencyTable, objective: Objective) -> Front:
    """Every Pareto point of the objective's setting within its bound on the full path, by rising latency.

    Bounds on expected latency and mIoU are left out of account. Raises InputError where the files disagree.
    """
    started = time.monotonic()
    space = build_space(statistics, table, objective.threshold_grid, ends_with_full=objective.ends_with_full)
    goal = Goal(cheapest=True, max_worst=goal_of(statistics, objective).max_worst)
    points, complete = (
        _anytime_front(space, objective, goal)
        if objective.setting == "anytime"
        else _routed_front(space, objective, goal)
    )
    candidates = tuple(candidate_of(statistics, table, space, objective, point) for point in points)
    size = space.size(objective.setting, objective.max_exits)
    return Front(objective.setting, candidates, complete, size, time.monotonic() - started)


def undominated(points: Iterable[Found]) -> list[Found]:
    """The Pareto set by rising cost; of equals the one that the tie rules prefer."""
    kept: list[Found] = []
    for point in sorted(points, key=lambda p: (p.cost, -p.miou, p.key)):
        if not kept or point.miou > kept[-1].miou + TIE_MIOU:
            if kept and point.cost <= kept[-1].cost + LATENCY_TOLERANCE:
                kept.pop()  # as cheap and more accurate
            kept.append(point)
        elif _equal(point, kept[-1]) and point.key < kept[-1].key:
            kept[-1] = point
    return kept


class _Archive:
    """The front so far, shared between threads."""

    def __init__(self) -> None:
        self.points: list[Found] = []
        self._lock = threading.Lock()

    def offer(self, points: list[Found]) -> None:
        with self._lock:
            self.points = undominated([*self.points, *points])

    def known(self) -> NDArray[np.float64]:
        points = self.points
        return np.array([[p.cost for p in points], [p.miou for p in points]])

    def upto(self, cost: float) -> Found | None:
        """The most accurate point that costs at most this."""
        affordable = [point for point in self.points if point.cost <= cost + LATENCY_TOLERANCE]
        return affordable[-1] if affordable else None


@dataclass(frozen=True)
class _Slab:
    """What of a front's points may cost more than `above` and at most the goal's bound: a collector's bounds."""

    archive: _Archive
    above: float
    goal: Goal
    of_every_choice: bool = True

    @property
    def best(self) -> Found | None:
        return self.archive.upto(self.goal.max_cost)

    def bounds(self) -> tuple[float, float]:
        cheaper = self.archive.upto(self.above)
        return self.goal.max_cost, -1.0 if cheaper is None else cheaper.miou

    def offer(self, found: Found) -> None:
        self.archive.offer([found])


def _routed_front(space: SearchSpace, objective: Objective, goal: Goal) -> tuple[list[Found], bool]:
    archive = _Archive()
    archive.offer(single_exits(space, goal))
    if objective.setting == "budgeted":
        return archive.points, True
    stop = time.monotonic() + objective.time_limit_s

    def work(task: Task) -> None:
        found = run_front_task(space, task, goal.max_worst, archive.known())
        if found:
            archive.offer(found)

    few, many = exit_sets(space, objective.max_exits)
    anything = _Slab(archive, -math.inf, replace(goal, cheapest=False))
    if enumerate_whole(space, few, anything, work, stop):
        return archive.points, False
    slabs = _slabs(archive, anything.goal) if many else []
    left = [explore(space, many, slab, work, stop) for slab in slabs]
    return archive.points, not any(left)


def _slabs(archive: _Archive, goal: Goal) -> list[_Slab]:
    """The costs of the front so far, cut into a few ranges: within a short one, cost and mIoU are both known well."""
    costs = [point.cost for point in archive.points]
    ends = sorted({costs[len(costs) * n // SLABS] for n in range(SLABS)}) if costs else []
    above, upto = [-math.inf, *ends], [*ends, math.inf]
    return [_Slab(archive, low, replace(goal, max_cost=high)) for low, high in zip(above, upto, strict=True)]


def _anytime_front(space: SearchSpace, objective: Objective, goal: Goal) -> tuple[list[Found], bool]:
    """The cheapest configuration, then again and again the cheapest that is more accurate than the last."""
    points: list[Found] = []
    stop = time.monotonic() + objective.time_limit_s
    while True:
        left = stop - time.monotonic()
        if left <= 0:
            return points, False
        found, unexplored = solve(space, replace(objective, time_limit_s=left), goal)
        if unexplored is not None:
            return points, False
        if found is None:
            return points, True
        points.append(found)
        goal = replace(goal, min_miou=found.miou + 2 * MIOU_TOLERANCE)


def _equal(first: Found, second: Found) -> bool:
    return abs(first.miou - second.miou) <= TIE_MIOU and abs(first.cost - second.cost) <= LATENCY_TOLERANCE
