"""From a promise to a certified configuration. Which one to certify is chosen on the search split alone: the certify
split is looked at once.
"""

from contextlib import suppress
from dataclasses import replace

import msgspec

from device_profiler.errors import InfeasibleError
from mobile_export.manifest import Certificate
from pipeline.certificate import STEPS, boldest_step, certify, error_increase, path_losses, threshold_path
from pipeline.durations import format_duration
from pipeline.exact_search.configuration import (
    LATENCY_TOLERANCE,
    MIOU_TOLERANCE,
    Candidate,
    Configuration,
    SearchResult,
    better,
    result_from,
)
from pipeline.exact_search.evaluate import evaluate_configuration
from pipeline.exact_search.objective import Objective
from pipeline.exact_search.solver import search
from pipeline.exit_statistics import ExitStatistics
from pipeline.latency_table import LatencyTable
from pipeline.promise import Promise


def certified(
    search_split: ExitStatistics,
    certify_split: ExitStatistics,
    table: LatencyTable,
    objective: Objective,
    promise: Promise,
    chosen: SearchResult,
) -> tuple[SearchResult, Certificate]:
    """The chosen configuration with the thresholds that carry the promise, and its certificate.

    `optimal` stays only where no threshold had to be raised.

    Raises:
        VerificationError: too few images (says how many are needed), or the risk is too high at every step.
        InfeasibleError: with the thresholds that the promise needs, the objective's bounds don't hold.
    """
    configuration, certificate = certify(search_split, certify_split, chosen.configuration, promise)
    candidate = evaluate_configuration(search_split, table, configuration)
    missed = _missed(candidate, search_split, objective)
    if missed:
        raise InfeasibleError(
            f"with the thresholds that {promise} needs, the configuration has {missed}: relax the bound or promise less"
        )
    result = result_from(
        candidate,
        optimal=chosen.optimal and not certificate.raised,
        bound=chosen.bound,
        configurations=chosen.configurations,
        seconds=chosen.seconds,
    )
    return result, certificate


def most_promising(
    statistics: ExitStatistics, table: LatencyTable, objective: Objective, promise: Promise, images: int
) -> SearchResult:
    """Which configuration to certify on `images` images, by what the search split foretells.

    Rivals are the search's winner and the best cascade that ends with the full network (whose safest step has no
    risk): the one that is better with its thresholds raised as far as the promise seems to need.

    Raises:
        InfeasibleError: nothing meets the objective.
    """
    rivals = [search(statistics, table, objective)]
    with suppress(InfeasibleError):  # the full network itself may be beyond the bounds
        rivals.append(_within_its_space(search(statistics, table, replace(objective, ends_with_full=True))))
    foretold = [(rival, _foretold(statistics, table, rival.configuration, promise, images)) for rival in rivals]
    fitting = [(rival, f) for rival, f in foretold if f is not None and not _missed(f, statistics, objective)]
    if not fitting:
        return rivals[-1]
    best = fitting[0]
    for pair in fitting[1:]:
        if better(pair[1], best[1], cheapest=objective.cheapest):
            best = pair
    return best[0]


def _within_its_space(result: SearchResult) -> SearchResult:
    """The result without its claim: it was proven among the cascades that end with the full network alone."""
    return msgspec.structs.replace(result, optimal=False)


def _foretold(
    statistics: ExitStatistics, table: LatencyTable, configuration: Configuration, promise: Promise, images: int
) -> Candidate | None:
    """What a certificate on `images` images like these would leave of a configuration; None: nothing."""
    path = threshold_path(statistics, configuration, STEPS)
    step = boldest_step(path_losses(statistics, path, error_increase), promise, images)
    return None if step is None else evaluate_configuration(statistics, table, path[step])


def _missed(candidate: Candidate, statistics: ExitStatistics, objective: Objective) -> str:
    """Which bound of the objective the candidate misses, in words; empty where it keeps all."""
    for bound, value, what in (
        (objective.max_latency_ns, candidate.latency_ns, "expected"),
        (objective.max_worst_latency_ns, candidate.worst_latency_ns, "at worst"),
    ):
        if bound is not None and value > bound + LATENCY_TOLERANCE:
            return f"{format_duration(value)} {what}, above the bound {format_duration(bound)}"
    lowest = objective.miou_bound(statistics.miou(*statistics.reference)) if objective.cheapest else 0.0
    if candidate.miou < lowest - MIOU_TOLERANCE:
        return f"mIoU {candidate.miou:.4f}, below the bound {lowest:.4f}"
    return ""

