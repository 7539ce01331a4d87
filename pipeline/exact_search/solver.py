"""The search: from the two files and an objective to the best configuration, with its proof or its bound."""

import math
import time
from dataclasses import replace

from device_profiler.errors import InfeasibleError, InputError
from pipeline.exact_search.adaptive import single_exits
from pipeline.exact_search.anytime import search_anytime
from pipeline.exact_search.branch import open_bound
from pipeline.exact_search.configuration import Candidate, SearchResult, result_from
from pipeline.exact_search.coverage import cover
from pipeline.exact_search.evaluate import evaluate_configuration
from pipeline.exact_search.goal import Found, Goal, Incumbent
from pipeline.exact_search.infeasible import describe_infeasible
from pipeline.exact_search.objective import Objective
from pipeline.exact_search.space import SearchSpace, build_space
from pipeline.exit_statistics import ExitStatistics
from pipeline.latency_table import LatencyTable

BOUND_SHARE = 0.1  # of a time limit, spent on the bound of what was not covered


def search(statistics: ExitStatistics, table: LatencyTable, objective: Objective) -> SearchResult:
    """The best configuration under the objective; `optimal` only where the whole space was covered.

    Raises InputError where the files or the objective disagree, InfeasibleError (naming the nearest feasible points)
    where no configuration meets the constraints.
    """
    started = time.monotonic()
    check_unit(table, objective)
    space = build_space(statistics, table, objective.threshold_grid, ends_with_full=objective.ends_with_full)
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
    enumerate_until = stop - BOUND_SHARE * objective.time_limit_s
    if objective.setting == "anytime":
        return search_anytime(space, objective.deadlines_ns, objective.max_exits, goal, stop)
    incumbent = Incumbent(goal)
    for found in single_exits(space, goal):
        incumbent.offer(found)
    if objective.setting == "budgeted":
        return incumbent.best, None
    left = cover(space, objective.max_exits, incumbent, enumerate_until)
    return incumbent.best, open_bound(space, left, incumbent, stop) if left else None


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
