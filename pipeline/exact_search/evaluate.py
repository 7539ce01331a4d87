"""The worth of one configuration, plainly computed: the reference that every faster path must agree with."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from device_profiler.errors import InputError
from pipeline.exact_search.configuration import Candidate, Configuration
from pipeline.exit_statistics import ExitStatistics, mean_iou
from pipeline.latency_table import LatencyTable


def route_costs(table: LatencyTable, exits: Sequence[int], heads: Sequence[int]) -> tuple[float, ...]:
    """Cost of leaving at each selected exit, in the table's unit.

    Blocks up to it (skipped exits' blocks included), the selected heads so far, and one boundary for every selected
    exit so far but the last one of the configuration (that exit's own hand-over to the host included).
    """
    costs, head_sum = [], 0.0
    for n, (e, h) in enumerate(zip(exits, heads, strict=True)):
        head_cost = table.heads[e][h]
        if head_cost is None:
            raise InputError(f"head {h} at exit {e} has no latency in the table: choose a head that has one")
        head_sum += head_cost
        boundaries = min(n + 1, len(exits) - 1)
        costs.append(sum(table.blocks[: e + 1]) + head_sum + boundaries * table.boundary_ns)
    return tuple(costs)


def routes(statistics: ExitStatistics, configuration: Configuration) -> NDArray[np.int64]:
    """[I] position, among the selected exits, at which each image leaves (budgeted: all 0; anytime: the last)."""
    heads = head_indices(statistics, configuration)
    position = np.full(len(statistics.images), len(configuration.exits) - 1)
    for n in reversed(range(len(configuration.thresholds))):
        confidence = statistics.confidence[configuration.exits[n], heads[n]]
        position[confidence >= np.float32(configuration.thresholds[n])] = n
    return position


def head_indices(statistics: ExitStatistics, configuration: Configuration) -> tuple[int, ...]:
    """Index of each selected head. Raises InputError where the configuration is not of this network."""
    _check_configuration(statistics, configuration)
    pairs = zip(configuration.exits, configuration.heads, strict=True)
    return tuple(statistics.head_index(e, name) for e, name in pairs)


def routed_overlap(
    statistics: ExitStatistics, configuration: Configuration
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Intersection and union, each [I, C] pixels, every image counted at the exit where it leaves."""
    heads = np.array(head_indices(statistics, configuration))
    position = routes(statistics, configuration)
    exits = np.array(configuration.exits)
    images = np.arange(len(statistics.images))
    chosen = (exits[position], heads[position], images)
    return statistics.intersection[chosen], statistics.union[chosen]


def evaluate_configuration(
    statistics: ExitStatistics,
    table: LatencyTable,
    configuration: Configuration,
    deadlines_ns: Sequence[float] = (),
) -> Candidate:
    """mIoU, latency and exit rates of a configuration on any split's statistics.

    deadlines_ns: anytime only. Raises InputError where table, statistics and configuration disagree.
    """
    table.matches(statistics)
    costs = route_costs(table, configuration.exits, head_indices(statistics, configuration))
    if configuration.setting == "anytime":
        return read_at_deadlines(statistics, configuration, costs, deadlines_ns)
    position = routes(statistics, configuration)
    rates = np.bincount(position, minlength=len(costs)) / len(position)
    intersection, union = routed_overlap(statistics, configuration)
    return Candidate(
        configuration,
        mean_iou(intersection.sum(axis=0), union.sum(axis=0)),
        float(np.dot(rates, costs)),
        costs[-1],
        tuple(float(rate) for rate in rates),
    )


def images_near_threshold(statistics: ExitStatistics, configuration: Configuration, parity_error: float) -> int:
    """How many images have a confidence within `parity_error` of a threshold that they meet: a device may flip them."""
    position = routes(statistics, configuration)
    near = np.zeros(len(position), dtype=bool)
    for n, (h, threshold) in enumerate(
        zip(head_indices(statistics, configuration), configuration.thresholds, strict=False)
    ):
        confidence = statistics.confidence[configuration.exits[n], h].astype(np.float64)
        near |= (position >= n) & (np.abs(confidence - np.float32(threshold)) <= parity_error)
    return int(near.sum())


def read_at_deadlines(
    statistics: ExitStatistics, configuration: Configuration, costs: Sequence[float], deadlines_ns: Sequence[float]
) -> Candidate:
    """Mean over the deadlines of the mIoU of the deepest exit reached by then (0 where none is).

    costs: when each exit's answer is there. Raises InputError without deadlines.
    """
    if not deadlines_ns:
        raise InputError("an anytime configuration is worth something at deadlines only: give at least one")
    heads = head_indices(statistics, configuration)
    mious = [statistics.miou(e, h) for e, h in zip(configuration.exits, heads, strict=True)]
    counts, total = np.zeros(len(costs)), 0.0
    for n in answering(costs, deadlines_ns):
        if n is not None:
            counts[n] += 1
            total += mious[n]
    rates = tuple(float(count) / len(deadlines_ns) for count in counts)
    return Candidate(configuration, total / len(deadlines_ns), costs[-1], costs[-1], rates)


def answering(costs: Sequence[float], deadlines_ns: Sequence[float]) -> tuple[int | None, ...]:
    """Position of the deepest exit whose answer is there at each deadline; None where there is none yet."""
    reached = ([n for n, cost in enumerate(costs) if within(cost, deadline)] for deadline in deadlines_ns)
    return tuple(positions[-1] if positions else None for positions in reached)


def within(cost: float, bound: float) -> bool:
    """Whether a cost meets its bound, within the tolerance of design's contract."""
    return cost <= bound + 1e-6


def _check_configuration(statistics: ExitStatistics, configuration: Configuration) -> None:
    exits, wanted = configuration.exits, 0
    if configuration.setting == "adaptive":
        wanted = len(exits) - 1
    if not exits or list(exits) != sorted(set(exits)) or exits[0] < 0 or exits[-1] >= len(statistics.exits):
        raise InputError(f"exits {list(exits)} must rise within 0..{len(statistics.exits) - 1}")
    if len(configuration.heads) != len(exits) or len(configuration.thresholds) != wanted:
        raise InputError(
            f"{configuration.setting} with {len(exits)} exits needs {len(exits)} heads and {wanted} thresholds, got "
            f"{len(configuration.heads)} and {len(configuration.thresholds)}"
        )
