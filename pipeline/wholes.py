"""Configurations timed whole, and the choice among them: sums of parts rank, wholes decide."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from device_profiler.errors import InfeasibleError
from pipeline.deciding import Decision
from pipeline.deployment import TimedWhole
from pipeline.durations import format_duration
from pipeline.exact_search.configuration import Candidate, Configuration
from pipeline.exact_search.evaluate import evaluate_configuration
from pipeline.exact_search.objective import Objective
from pipeline.exact_search.runners_up import runners_up
from pipeline.exact_search.solver import search
from pipeline.exit_statistics import ExitStatistics
from pipeline.latency_table import LatencyTable
from pipeline.phone_work import PhoneWork
from pipeline.shipping import Bench

TABLE_ERROR = 0.03
"""Relative error of sums of parts against wholes that runners-up are measured for."""
ATTEMPTS = 3

# The candidates as exported, verified and timed whole.
Measure = Callable[[Sequence[Candidate]], Sequence[TimedWhole]]


def measuring(bench: Bench, phone: PhoneWork, test: ExitStatistics, table: LatencyTable) -> Measure:
    """Ships configurations side by side and times them whole one after the other, each once.

    `test`: what is reported of them.
    """
    done: dict[tuple[object, ...], TimedWhole] = {}

    def measure(candidates: Sequence[Candidate]) -> tuple[TimedWhole, ...]:
        new = {key: one for one in candidates if (key := _structure(one.configuration)) not in done}
        shipped = bench.ship_all([one.configuration for one in new.values()])
        for (key, candidate), shipment in zip(new.items(), shipped, strict=True):
            paths = bench.time_paths(shipment, phone)
            reported = evaluate_configuration(test, table, candidate.configuration)
            done[key] = TimedWhole(shipment, candidate, reported, paths)
        return tuple(done[_structure(one.configuration)] for one in candidates)

    return measure


def _structure(configuration: Configuration) -> tuple[object, ...]:
    """What is exported and how it runs, whichever setting it was found in."""
    return configuration.exits, configuration.heads, configuration.thresholds


def best_whole(
    measure: Measure, statistics: ExitStatistics, table: LatencyTable, decision: Decision, objective: Objective
) -> TimedWhole:
    """The winner after measuring: it, its runner-up and the strongest single exit are timed whole; the best one that
    keeps the bounds wins.

    Where none keeps the latency bound whole, the search is asked again for as much less as the whole took more. A
    certified winner has no rival: a certificate speaks of the one configuration that it was held for.

    Raises:
        InfeasibleError: the bound holds for sums of parts only, not for a whole.
    """
    asked, best = objective, decision.winner.candidate
    compared = (decision.strongest_single, decision.reference)  # reports want them: exported beside the others
    if decision.certificate:
        return _kept(measure((best, *compared))[0], objective)
    single = (decision.strongest_single,) if decision.single_fits else ()
    for _ in range(ATTEMPTS):
        rivals = runners_up(statistics, table, asked, best.configuration, error=TABLE_ERROR, count=1)
        wholes = measure((best, *rivals, *single, *compared))[: 1 + len(rivals) + len(single)]
        kept = [whole for whole in wholes if _keeps(whole, objective)]
        if kept:
            return min(kept, key=lambda whole: _rank(whole, objective))
        asked = _tightened(asked, wholes[0])
        try:
            best = search(statistics, table, asked).candidate
        except InfeasibleError:
            break
    return _kept(measure((best,))[0], objective)


def _kept(whole: TimedWhole, objective: Objective) -> TimedWhole:
    """The whole, where it keeps the latency bounds."""
    if _keeps(whole, objective):
        return whole
    raise InfeasibleError(
        f"nothing found keeps the latency bound when timed whole; the nearest takes "
        f"{format_duration(whole.expected_ns(whole.search.exit_rates))} expected and {format_duration(whole.worst_ns)} "
        f"at worst with mIoU {whole.search.miou:.4f}: raise the bound"
    )


def _keeps(whole: TimedWhole, objective: Objective) -> bool:
    expected, worst = objective.max_latency_ns, objective.max_worst_latency_ns
    return (expected is None or whole.expected_ns(whole.search.exit_rates) <= expected) and (
        worst is None or whole.worst_ns <= worst
    )


def _rank(whole: TimedWhole, objective: Objective) -> tuple[float, float]:
    latency = whole.expected_ns(whole.search.exit_rates)
    return (latency, -whole.search.miou) if objective.cheapest else (-whole.search.miou, latency)


def _tightened(objective: Objective, whole: TimedWhole) -> Objective:
    """The objective with its bounds lowered by as much as the whole took more than its parts."""
    excess = (
        max(
            whole.expected_ns(whole.search.exit_rates) / whole.search.latency_ns,
            whole.worst_ns / whole.search.worst_latency_ns,
            1.0,
        )
        * 1.001
    )
    latency, worst = objective.max_latency_ns, objective.max_worst_latency_ns
    return replace(
        objective,
        max_latency_ns=None if latency is None else latency / excess,
        max_worst_latency_ns=None if worst is None else worst / excess,
    )
