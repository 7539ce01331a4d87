"""`search`: the best configuration, or the whole Pareto front, from statistics.npz and latency.json alone."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from device_profiler.errors import InputError
from pipeline.exact_search.objective import add_objective_arguments, objective_from
from pipeline.promise import add_promise_arguments, promise_from

if TYPE_CHECKING:
    from mobile_export.manifest import Certificate
    from pipeline.exact_search.configuration import Candidate, SearchResult
    from pipeline.exact_search.objective import Objective
    from pipeline.exit_statistics import ExitStatistics
    from pipeline.latency_table import LatencyTable
    from pipeline.promise import Promise

HELP = "find the best exits, heads and thresholds for a latency table"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The two files, the objective, and whether the whole front is wanted."""
    parser.add_argument("--statistics", type=Path, metavar="FILE", help="statistics.npz (default: the run folder's)")
    parser.add_argument("--latency", type=Path, metavar="FILE", help="latency.json (default: the run folder's)")
    parser.add_argument("--front", action="store_true", help="print every Pareto point instead of one configuration")
    add_objective_arguments(parser)
    add_promise_arguments(parser)
    parser.add_argument(
        "--certify", type=Path, metavar="FILE", help="statistics.npz of other images, for the certificate of --risk"
    )


def handle(arguments: argparse.Namespace) -> int:
    """Search and print; see design's contract for the JSON."""
    objective, promise = objective_from(arguments), promise_from(arguments)
    if (promise is None) != (arguments.certify is None):
        raise InputError("a certificate takes a promise and images of its own: give --risk and --certify FILE together")
    if promise is not None and arguments.front:
        raise InputError("--front has many configurations, a certificate is held for one: leave --front or --risk out")
    from pipeline.exit_statistics import ExitStatistics
    from pipeline.latency_table import LatencyTable

    statistics = ExitStatistics.load(_file(arguments, "statistics", "statistics.npz"))
    table = LatencyTable.load(_file(arguments, "latency", "latency.json"))
    if arguments.front:
        _print_front(statistics, table, objective, arguments.json)
    elif promise is not None:
        certify_split = ExitStatistics.load(arguments.certify)
        _print_certified(statistics, certify_split, table, objective, promise, as_json=arguments.json)
    else:
        from pipeline.exact_search.solver import search

        _print_best(search(statistics, table, objective), statistics, table, objective, as_json=arguments.json)
    return 0


def _print_certified(
    statistics: "ExitStatistics",
    certify_split: "ExitStatistics",
    table: "LatencyTable",
    objective: "Objective",
    promise: "Promise",
    *,
    as_json: bool,
) -> None:
    from pipeline.certificate import check_enough
    from pipeline.certifying import certified, most_promising

    check_enough(len(certify_split.images), promise)
    chosen = most_promising(statistics, table, objective, promise, len(certify_split.images))
    result, certificate = certified(statistics, certify_split, table, objective, promise, chosen)
    _print_best(result, statistics, table, objective, as_json=as_json, certificate=certificate)


def _print_best(
    result: "SearchResult",
    statistics: "ExitStatistics",
    table: "LatencyTable",
    objective: "Objective",
    *,
    as_json: bool,
    certificate: "Certificate | None" = None,
) -> None:
    import msgspec

    from pipeline.certificate import certificate_text
    from pipeline.cli.output import emit, warn
    from pipeline.exact_search.infeasible import format_cost
    from pipeline.exact_search.uncertainty import latency_interval, miou_interval, overlaps_bound

    low, high = latency_interval(statistics, table, result.candidate)
    least, most = (0.0, 0.0) if as_json else miou_interval(statistics, result.configuration)
    bound = format_cost(result.bound, table.unit) if objective.cheapest else f"{result.bound:.4f}"
    proof = "optimal" if result.optimal else f"best found in time; nothing is better than {bound}"
    lines = [
        _line(result.candidate, table.unit),
        f"mIoU over images like these: {least:.4f} to {most:.4f} (bootstrap, 95 %)",
        f"latency is {table.provenance}, {format_cost(low, table.unit)} to {format_cost(high, table.unit)}",
        f"{proof}: {result.configurations} configurations in {result.seconds:.2f} s",
    ]
    extra = {}
    if certificate is not None:
        lines.append(f"certified: {certificate_text(certificate)}")
        extra = {"certificate": msgspec.to_builtins(certificate)}
    if overlaps_bound(statistics, table, objective, result.candidate):
        warn("the latency's interval reaches over the bound: measure the deployment whole before you promise it")
    emit({**msgspec.to_builtins(result), **extra}, lines, as_json)


def _print_front(statistics: "ExitStatistics", table: "LatencyTable", objective: "Objective", as_json: bool) -> None:
    from pipeline.cli.output import emit
    from pipeline.exact_search.front import front
    from pipeline.exact_search.uncertainty import overlaps_bound

    result = front(statistics, table, objective)
    lines = [
        _line(point, table.unit)
        + ("; the bound lies in its interval" if overlaps_bound(statistics, table, objective, point) else "")
        for point in result.points
    ]
    completeness = "complete" if result.optimal else "not complete: the time was up"
    lines.append(f"{completeness}: {result.configurations} configurations in {result.seconds:.2f} s")
    emit(result, lines, as_json)


def _line(candidate: "Candidate", unit: str) -> str:
    """One configuration with its worth."""
    from pipeline.exact_search.infeasible import format_cost

    chosen = candidate.configuration
    stages = []
    for n, (e, head) in enumerate(zip(chosen.exits, chosen.heads, strict=True)):
        threshold = f" >= {chosen.thresholds[n]:.4f}" if n < len(chosen.thresholds) else ""
        stages.append(f"exit {e} {head}{threshold} ({candidate.exit_rates[n]:.1%})")
    cost = f"{format_cost(candidate.latency_ns, unit)} (full path {format_cost(candidate.worst_latency_ns, unit)})"
    return f"mIoU {candidate.miou:.4f} at {cost}: {', '.join(stages)}"


def _file(arguments: argparse.Namespace, option: str, name: str) -> Path:
    """The file that was named, else the run folder's."""
    given: Path | None = getattr(arguments, option)
    if given is not None:
        return given
    if arguments.run is None:
        raise InputError(f"--{option} FILE is missing: name {name}, or the run folder that holds it by --run DIR")
    return Path(arguments.run) / name
