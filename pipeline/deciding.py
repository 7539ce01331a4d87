"""What the search says for one run: the winner, the full network, the strongest single exit, the fronts, the doubts."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from device_profiler.errors import InfeasibleError
from device_profiler.prediction import DeviceModel, Parameter, scaled
from mobile_export.manifest import Certificate
from pipeline.certifying import certified, most_promising
from pipeline.durations import format_duration
from pipeline.exact_search.configuration import Candidate, Configuration, Front, SearchResult
from pipeline.exact_search.evaluate import evaluate_configuration, head_indices, route_costs, within
from pipeline.exact_search.front import front
from pipeline.exact_search.objective import Objective
from pipeline.exact_search.solver import search, strongest_single_exit
from pipeline.exit_statistics import ExitStatistics
from pipeline.latency_table import LatencyTable
from pipeline.model import ModelCost
from pipeline.promise import Promise


@dataclass(frozen=True, eq=False)
class SplitStatistics:
    """What was chosen on (`search`), what is reported once (`test`), and what a certificate is held on (`certify`)."""

    search: ExitStatistics
    test: ExitStatistics
    certify: ExitStatistics | None = None


@dataclass(frozen=True, eq=False)
class Decision:
    """The winner with what it is compared to; every candidate's figures are those of the search split.

    single_fits: the strongest single exit meets the objective (else none does, and it is the most accurate one).
    certificate: where one was asked for; the winner's thresholds are then the certified ones.
    """

    winner: SearchResult
    reference: Candidate
    strongest_single: Candidate
    single_fits: bool
    fronts: tuple[Front, ...]
    winner_by_macs: Configuration
    certificate: Certificate | None = None


def decide(
    splits: SplitStatistics,
    table: LatencyTable,
    objective: Objective,
    cost: ModelCost,
    promise: Promise | None = None,
) -> Decision:
    """Search the table for the objective and for what it is compared to; with a promise, the winner is certified.

    The reference of a speed-up is the strongest single-exit network under the same objective: exit and head chosen by
    the same search, never a needlessly heavy last head.

    Raises:
        InfeasibleError: nothing meets the objective; the nearest feasible points are named.
        VerificationError: the certify split does not carry the promise.
    """
    statistics = splits.search
    winner, certificate = winning(splits, table, objective, promise), None
    if objective.setting == "anytime":
        chosen = winner.configuration
        first = route_costs(table, chosen.exits, head_indices(statistics, chosen))[0]
        check_first_answer(first, "by the sum of its parts", objective)
    if promise is not None and splits.certify is not None:
        winner, certificate = certified(statistics, splits.certify, table, objective, promise, winner)
    single, single_fits = _single(statistics, table, objective)
    e, h = statistics.reference
    full = Configuration("budgeted", (e,), (statistics.heads[e][h],))
    settings = dict.fromkeys(("budgeted", objective.setting))
    reference = evaluate_configuration(statistics, table, full)
    return Decision(
        winner=winner,
        reference=reference,
        strongest_single=single,
        single_fits=single_fits,
        fronts=tuple(front(statistics, table, objective.under(setting)) for setting in settings),
        winner_by_macs=_by_macs(statistics, macs_table(table, cost), objective, winner, reference),
        certificate=certificate,
    )


def check_first_answer(first_ns: float, how: str, objective: Objective) -> None:
    """Hold an anytime configuration's first answer against the first deadline; `how` its time is known.

    Raises:
        InfeasibleError: it comes too late, so that there is nothing to read at that deadline.
    """
    deadline = min(objective.deadlines_ns)
    if not within(first_ns, deadline):
        raise InfeasibleError(
            f"the deadline {format_duration(deadline)} passes before the first answer is there "
            f"({format_duration(first_ns)}, {how}): leave it out, give a later one, or allow more exits by --max-exits"
        )


def winning(
    splits: SplitStatistics, table: LatencyTable, objective: Objective, promise: Promise | None
) -> SearchResult:
    """The search's choice: the best under the objective, or the most promising one to certify."""
    if promise is None or splits.certify is None:
        return search(splits.search, table, objective)
    return most_promising(splits.search, table, objective, promise, len(splits.certify.images))


def _single(statistics: ExitStatistics, table: LatencyTable, objective: Objective) -> tuple[Candidate, bool]:
    """The best single exit under the objective, and that it meets it; where none does, the most accurate one."""
    if objective.setting == "anytime":
        return search(statistics, table, replace(objective, max_exits=1)).candidate, True
    try:
        return strongest_single_exit(statistics, table, objective).candidate, True
    except InfeasibleError:
        return strongest_single_exit(statistics, table).candidate, False


def macs_table(table: LatencyTable, cost: ModelCost, last: int | None = None) -> LatencyTable:
    """The same network costed in multiply-adds; nothing judges the answer of exit `last`."""
    macs = cost.judged(last)
    rows = enumerate(table.heads)
    heads = tuple(tuple(None if ns is None else float(macs[e][h]) for h, ns in enumerate(row)) for e, row in rows)
    return LatencyTable(
        target=table.target,
        provenance="predicted",
        blocks=tuple(float(macs) for macs in cost.blocks),
        heads=heads,
        unit="multiply-adds",
        exits=table.exits,
        head_names=table.head_names,
        precision=table.precision,
    )


def _by_macs(
    statistics: ExitStatistics, macs: LatencyTable, objective: Objective, winner: SearchResult, full: Candidate
) -> Configuration:
    """What would win if cost were counted in multiply-adds: the cheapest that is as accurate as the winner.

    Deadlines become those shares of the full network's multiply-adds that they are of its latency.
    """
    work = evaluate_configuration(statistics, macs, full.configuration).latency_ns
    asked = Objective(
        setting=objective.setting,
        min_miou=max(0.0, winner.miou - 1e-9) if objective.setting != "anytime" else None,
        deadlines_ns=tuple(deadline / full.latency_ns * work for deadline in objective.deadlines_ns),
        max_exits=objective.max_exits,
        threshold_grid=objective.threshold_grid,
        time_limit_s=objective.time_limit_s,
        unit="table",
    )
    return search(statistics, macs, asked).configuration


@dataclass(frozen=True)
class Doubt:
    """Who wins when an assumed parameter of a device model is halved and doubled; None: nothing meets the objective."""

    parameter: str
    value: float
    unit: str
    source: str
    at_half: Configuration | None
    at_double: Configuration | None


def doubts(model: DeviceModel, choose: Callable[[DeviceModel], Configuration]) -> tuple[Doubt, ...]:
    """Choose again with every assumed parameter of a device model at half and at twice its value."""

    def win(name: str, factor: float) -> Configuration | None:
        try:
            return choose(scaled(model, name, factor))
        except InfeasibleError:
            return None

    found = []
    for name in model.assumed:
        parameter: Parameter = getattr(model.parameters, name)
        at_half, at_double = win(name, 0.5), win(name, 2.0)
        found.append(Doubt(name, parameter.value, parameter.unit, parameter.source, at_half, at_double))
    return tuple(found)
