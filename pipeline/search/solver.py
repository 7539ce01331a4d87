"""The search: from the two files and an objective to the best configuration, with its proof or its bound."""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

from device_profiler.errors import InfeasibleError, InputError
from pipeline.latency_table import LatencyTable
from pipeline.search.adaptive import Task, root, run_task, single_exits, tasks_behind
from pipeline.search.anytime import search_anytime
from pipeline.search.bounds import least_cost, oracle_miou
from pipeline.search.branch import prefixes
from pipeline.search.configuration import Candidate, SearchResult, result_from
from pipeline.search.evaluate import evaluate_configuration
from pipeline.search.goal import Found, Goal, Incumbent
from pipeline.search.infeasible import describe_infeasible
from pipeline.search.objective import Objective
from pipeline.search.space import SearchSpace, build_space
from pipeline.search.surrogate import Linearisation, class_iou
from pipeline.search.workers import run_until
from pipeline.statistics import ExitStatistics

FREE_EXITS = 3  # exits that one kernel call enumerates completely; more are fixed in front of it


def search(statistics: ExitStatistics, table: LatencyTable, objective: Objective) -> SearchResult:
    """The best configuration under the objective; `optimal` only where the whole space was covered.

    Raises InputError where the files or the objective disagree, InfeasibleError (naming the nearest feasible points)
    where no configuration meets the constraints.
    """
    started = time.monotonic()
    check_unit(table, objective)
    space = build_space(statistics, table, objective.threshold_grid)
    goal = goal_of(statistics, objective)
    found, unexplored = solve(space, objective, goal)
    if found is None:
        raise InfeasibleError(_why_infeasible(space, table, objective, goal, complete=unexplored is None))
    candidate = candidate_of(statistics, table, space, objective, found)
    own = candidate.latency_ns if goal.cheapest else candidate.miou
    bound = own if unexplored is None else (min if goal.cheapest else max)(own, unexplored)
    return result_from(
        candidate,
        optimal=bound == own,
        bound=bound,
        configurations=space.size(objective.setting, objective.max_exits),
        seconds=time.monotonic() - started,
    )


def strongest_single_exit(
    statistics: ExitStatistics, table: LatencyTable, objective: Objective | None = None
) -> SearchResult:
    """The honest reference of every speed-up: the best one-exit network, exit and head chosen by the same search.

    Without an objective the most accurate one (the cheapest among equals); else the best under that objective.
    """
    chosen = Objective(max_worst_latency_ns=math.inf) if objective is None else objective
    return search(statistics, table, replace(chosen, setting="budgeted", deadlines_ns=()))


def goal_of(statistics: ExitStatistics, objective: Objective) -> Goal:
    """The objective's bounds as the enumerations read them."""
    worst = math.inf if objective.max_worst_latency_ns is None else objective.max_worst_latency_ns
    if objective.cheapest:
        return Goal(True, max_worst=worst, min_miou=objective.miou_bound(statistics.miou(*statistics.reference)))
    latency = math.inf if objective.max_latency_ns is None else objective.max_latency_ns
    return Goal(False, max_cost=latency, max_worst=worst)


def solve(space: SearchSpace, objective: Objective, goal: Goal) -> tuple[Found | None, float | None]:
    """The best configuration (None: there is none) and what the unexplored rest of the space allows.

    The second value is None when everything was covered; else an admissible bound on mIoU, or on cost (`cheapest`).
    """
    stop = time.monotonic() + objective.time_limit_s
    if objective.setting == "anytime":
        return search_anytime(space, objective.deadlines_ns, objective.max_exits, goal, stop)
    incumbent = Incumbent(goal)
    for found in single_exits(space, goal):
        incumbent.offer(found)
    if objective.setting == "budgeted":
        return incumbent.best, None

    def work(task: Task) -> None:
        for found in run_task(space, task, goal, incumbent.bounds()):
            incumbent.offer(found)

    progress = AdaptiveTasks(space, objective.max_exits, incumbent)
    finished = run_until(iter(progress), work, stop)
    return incumbent.best, None if finished else unexplored_bound(space, progress.unfinished(), goal)


class AdaptiveTasks:
    """Tasks that cover every adaptive configuration of two to `max_exits` exits, one choice of exits after another."""

    def __init__(self, space: SearchSpace, max_exits: int, incumbent: Incumbent) -> None:
        largest = min(max_exits, len(space.by_exit))
        self._space, self._incumbent = space, incumbent
        self._exit_sets = [exits for count in range(2, largest + 1) for exits in space.exit_sets(count)]
        self._current = 0

    def __iter__(self) -> Iterator[Task]:
        start, count, linearisation = root(self._space), 0, None
        for position, exits in enumerate(self._exit_sets):
            self._current = position
            if len(exits) > count:  # around the best of the smaller configurations
                count, linearisation = len(exits), self._linearisation()
            surrogate = None if linearisation is None else linearisation.surrogate(exits)
            free = min(FREE_EXITS, len(exits))
            for prefix in prefixes(self._space, start, exits, free, self._incumbent):
                yield from tasks_behind(self._space, prefix, exits[-free:], surrogate)
        self._current = len(self._exit_sets)

    def _linearisation(self) -> Linearisation | None:
        best = self._incumbent.best
        if best is None or not self._space.always_present:
            return None
        return Linearisation(self._space, class_iou(self._space, best.chosen, best.levels))

    def unfinished(self) -> Sequence[tuple[int, ...]]:
        """The choices of exits that were not covered to the end."""
        return self._exit_sets[self._current :]


def unexplored_bound(space: SearchSpace, exit_sets: Sequence[tuple[int, ...]], goal: Goal) -> float:
    """Best value that any configuration over these choices of exits could have."""
    if goal.cheapest:
        return min(least_cost(space, exits) for exits in exit_sets)
    unions = {tuple(exits) for exits in exit_sets}
    return max(oracle_miou(space, [c for e in exits for c in space.by_exit[e]]) for exits in unions)


def candidate_of(
    statistics: ExitStatistics, table: LatencyTable, space: SearchSpace, objective: Objective, found: Found
) -> Candidate:
    """The found configuration, evaluated plainly."""
    configuration = space.configuration(objective.setting, found.chosen, found.levels)
    return evaluate_configuration(statistics, table, configuration, objective.deadlines_ns)


def check_unit(table: LatencyTable, objective: Objective) -> None:
    """Raises InputError where the bounds are not in the table's unit."""
    bounded = objective.max_latency_ns is not None or objective.max_worst_latency_ns not in (None, math.inf)
    if bounded and (objective.unit == "ns") != (table.unit == "ns"):
        flags = "--max-latency 30ms" if table.unit == "ns" else "--max-cost 3.2e9"
        raise InputError(f"the latency table is in {table.unit}: state its bounds as {flags}")


def _why_infeasible(
    space: SearchSpace, table: LatencyTable, objective: Objective, goal: Goal, *, complete: bool
) -> str:
    def nearest(relaxed: Goal) -> tuple[Found, float] | None:
        found, _ = solve(space, objective, relaxed)
        return None if found is None else (found, space.route_costs(found.chosen)[-1])

    return describe_infeasible(goal, nearest, table.unit, complete=complete)
