"""Configurations timed whole, and the choice among them: sums of parts rank, wholes decide."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from device_profiler.errors import InfeasibleError
from device_profiler.measurement import Measurement
from pipeline.deciding import Decision, SplitStatistics, check_first_answer
from pipeline.deployment import TimedWhole
from pipeline.durations import format_duration
from pipeline.exact_search.configuration import TIE_MIOU, Candidate, Configuration
from pipeline.exact_search.evaluate import evaluate_configuration, head_indices, read_at_deadlines, route_costs
from pipeline.exact_search.objective import Objective
from pipeline.exact_search.runners_up import runners_up
from pipeline.exact_search.solver import search
from pipeline.exit_statistics import ExitStatistics
from pipeline.latency_table import LatencyTable
from pipeline.phone_work import PhoneWork
from pipeline.shipping import Bench, Shipment

TABLE_ERROR = 0.03
"""Relative error of sums of parts against wholes that runners-up are measured for."""
ATTEMPTS = 3

# The candidates as exported, verified and timed whole.
Measure = Callable[[Sequence[Candidate]], Sequence[TimedWhole]]


def measuring(
    bench: Bench, phone: PhoneWork, splits: SplitStatistics, table: LatencyTable, deadlines_ns: Sequence[float]
) -> Measure:
    """Ships configurations side by side and times them whole one after the other, each once.

    `splits`: the test split is what is reported of them. `deadlines_ns`: of anytime ones, which are worth what their
    paths, as timed whole, answer by then.
    """
    done: dict[tuple[object, ...], TimedWhole] = {}

    def measure(candidates: Sequence[Candidate]) -> tuple[TimedWhole, ...]:
        new = {key: one for one in candidates if (key := _structure(one.configuration)) not in done}
        shipped = bench.ship_all([one.configuration for one in new.values()])
        for (key, candidate), shipment in zip(new.items(), shipped, strict=True):
            paths = bench.time_paths(shipment, phone)
            done[key] = _timed(shipment, candidate, paths, splits, table, deadlines_ns)
        return tuple(done[_structure(one.configuration)] for one in candidates)

    return measure


def _structure(configuration: Configuration) -> tuple[object, ...]:
    """What is exported and how it runs; budgeted or adaptive is one to a single exit, an anytime one is read else."""
    return configuration.setting == "anytime", configuration.exits, configuration.heads, configuration.thresholds


def _timed(
    shipment: Shipment,
    candidate: Candidate,
    paths: tuple[Measurement, ...],
    splits: SplitStatistics,
    table: LatencyTable,
    deadlines_ns: Sequence[float],
) -> TimedWhole:
    chosen = candidate.configuration
    if chosen.setting != "anytime":
        return TimedWhole(shipment, candidate, evaluate_configuration(splits.test, table, chosen), paths)
    times = [path.median_ns for path in paths]
    search, test = (read_at_deadlines(split, chosen, times, deadlines_ns) for split in (splits.search, splits.test))
    return TimedWhole(shipment, search, test, paths)


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
    if objective.setting == "anytime":
        return _best_anytime(measure, statistics, table, decision, objective)
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


def _best_anytime(
    measure: Measure, statistics: ExitStatistics, table: LatencyTable, decision: Decision, objective: Objective
) -> TimedWhole:
    """The anytime configuration that is worth most at the deadlines as timed whole.

    Where a whole misses a deadline that its parts kept, the search is asked again with deadlines as much sooner as the
    whole took longer, and what it then finds is timed as well.
    """
    asked, best = objective, decision.winner.candidate
    timed: list[TimedWhole] = []
    for _ in range(ATTEMPTS):
        timed += measure((best, decision.strongest_single, decision.reference))[:2]
        if timed[-2].search.miou >= best.miou - TIE_MIOU:
            break
        asked = _sooner(asked, statistics, table, timed[-2])
        try:
            best = search(statistics, table, asked).candidate
        except InfeasibleError:
            break
    least = objective.miou_bound(decision.reference.miou) if objective.cheapest else 0.0
    kept = [whole for whole in timed if _keeps(whole, objective) and whole.search.miou >= least]
    if not kept:
        raise _nothing_kept(timed[0])
    best_whole = min(kept, key=lambda whole: _rank(whole, objective))
    check_first_answer(best_whole.paths[0].median_ns, "timed whole", objective)
    return best_whole


def _sooner(objective: Objective, statistics: ExitStatistics, table: LatencyTable, whole: TimedWhole) -> Objective:
    """The objective with its deadlines as much sooner as the whole's slowest path took longer than its parts."""
    chosen = whole.shipment.configuration
    parts = route_costs(table, chosen.exits, head_indices(statistics, chosen))
    excess = max(1.0, *(path.median_ns / cost for path, cost in zip(whole.paths, parts, strict=True))) * 1.001
    return replace(objective, deadlines_ns=tuple(deadline / excess for deadline in objective.deadlines_ns))


def _kept(whole: TimedWhole, objective: Objective) -> TimedWhole:
    """The whole, where it keeps the latency bounds."""
    if _keeps(whole, objective):
        return whole
    raise _nothing_kept(whole)


def _nothing_kept(nearest: TimedWhole) -> InfeasibleError:
    return InfeasibleError(
        f"nothing found keeps its bounds when timed whole; the nearest takes "
        f"{format_duration(_bounded_ns(nearest))} expected and {format_duration(nearest.worst_ns)} "
        f"at worst with mIoU {nearest.search.miou:.4f}: loosen them"
    )


def _keeps(whole: TimedWhole, objective: Objective) -> bool:
    expected, worst = objective.max_latency_ns, objective.max_worst_latency_ns
    return (expected is None or _bounded_ns(whole) <= expected) and (worst is None or whole.worst_ns <= worst)


def _bounded_ns(whole: TimedWhole) -> float:
    """What --max-latency bounds: the mean over the images, or the full path where none leaves before a deadline."""
    anytime = whole.search.configuration.setting == "anytime"
    return whole.worst_ns if anytime else whole.expected_ns(whole.search.exit_rates)


def _rank(whole: TimedWhole, objective: Objective) -> tuple[float, float]:
    latency = _bounded_ns(whole)
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
