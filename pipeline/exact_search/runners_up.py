"""Who else might win: configurations within the latency table's error, for `deploy` to measure whole."""

import math
import threading
import time
from dataclasses import replace

from device_profiler.errors import InputError
from pipeline.exact_search.adaptive import single_exits
from pipeline.exact_search.configuration import Candidate, Configuration
from pipeline.exact_search.coverage import cover
from pipeline.exact_search.goal import Found, Goal
from pipeline.exact_search.objective import Objective
from pipeline.exact_search.solver import candidate_of, check_unit, goal_of, solve
from pipeline.exact_search.space import SearchSpace, build_space
from pipeline.exit_statistics import ExitStatistics
from pipeline.latency_table import LatencyTable


def runners_up(
    statistics: ExitStatistics,
    table: LatencyTable,
    objective: Objective,
    winner: Configuration,
    *,
    error: float,
    count: int = 2,
) -> tuple[Candidate, ...]:
    """Up to `count` other choices of exits and heads (each with its best thresholds) that may beat the winner.

    error: relative error of the table's latencies, at least 0 (0.1: a true latency lies within a factor of 1.1).
    Cheapest over an mIoU bound: those whose latency may be below the winner's. Most accurate within a latency: the
    most accurate whose latency may meet the bound, and last the best that meets it even if the table is that far too
    low. Budgeted and adaptive; an anytime configuration has none.
    """
    if not (math.isfinite(error) and error >= 0):
        raise InputError(f"error {error} must be a fraction of at least 0")
    check_unit(table, objective)
    if objective.setting == "anytime":
        return ()
    space = build_space(statistics, table, objective.threshold_grid, ends_with_full=objective.ends_with_full)
    goal, taken = goal_of(statistics, objective), (winner.exits, winner.heads)
    found = _shortlist(space, objective, _widened(space, objective, goal, error), count, taken)
    if not goal.cheapest and goal.max_cost < math.inf:
        safe, _ = solve(space, objective, replace(goal, max_cost=goal.max_cost / (1 + error)))
        if safe is not None and safe.key[1:] not in {taken, *(point.key[1:] for point in found)}:
            found = [*found[: count - 1], safe]
    return tuple(candidate_of(statistics, table, space, objective, point) for point in found)


class _Shortlist:
    """The best few choices of exits and heads so far."""

    of_every_choice = True

    def __init__(self, goal: Goal, count: int, taken: tuple[tuple[int, ...], tuple[str, ...]]) -> None:
        self.goal, self._count, self._taken = goal, count, taken
        self.points: list[Found] = []
        self._lock = threading.Lock()

    @property
    def best(self) -> Found | None:
        """The first of the list."""
        return self.points[0] if self.points else None

    def offer(self, found: Found) -> None:
        """Keep `found` where it is among the best few choices, with its best thresholds."""
        if found.key[1:] == self._taken:
            return
        with self._lock:
            same = next((point for point in self.points if point.key == found.key), None)
            if same is None or found.beats(same, cheapest=self.goal.cheapest):
                self._place(found, [point for point in self.points if point is not same])

    def bounds(self) -> tuple[float, float]:
        points = self.points
        if len(points) < self._count:
            return self.goal.max_cost, self.goal.min_miou
        last = points[-1]
        return (last.cost, self.goal.min_miou) if self.goal.cheapest else (self.goal.max_cost, last.miou)

    def _place(self, found: Found, others: list[Found]) -> None:
        at = len(others)
        while at and found.beats(others[at - 1], cheapest=self.goal.cheapest):
            at -= 1
        self.points = [*others[:at], found, *others[at:]][: self._count]


def _widened(space: SearchSpace, objective: Objective, goal: Goal, error: float) -> Goal:
    """The goal as it would be if the table erred in the candidates' favour."""
    if not goal.cheapest:
        return replace(goal, max_cost=goal.max_cost * (1 + error))
    best, _ = solve(space, objective, goal)
    return goal if best is None else replace(goal, max_cost=best.cost * (1 + error) ** 2)


def _shortlist(
    space: SearchSpace,
    objective: Objective,
    goal: Goal,
    count: int,
    taken: tuple[tuple[int, ...], tuple[str, ...]],
) -> list[Found]:
    shortlist = _Shortlist(goal, count, taken)
    for found in single_exits(space, goal):
        shortlist.offer(found)
    if objective.setting == "adaptive" and count > 0:
        cover(space, objective.max_exits, shortlist, time.monotonic() + objective.time_limit_s)
    return shortlist.points
