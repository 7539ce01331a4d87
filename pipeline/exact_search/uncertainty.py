"""How sure a candidate's figures are: the interval of its latency, and of its mIoU over the images."""

import numpy as np
from numpy.typing import NDArray

from pipeline.exact_search.configuration import Candidate, Configuration
from pipeline.exact_search.evaluate import head_indices, routed_overlap
from pipeline.exact_search.objective import Objective
from pipeline.exit_statistics import ExitStatistics
from pipeline.latency_table import LatencyTable, block_part, head_part


def latency_interval(statistics: ExitStatistics, table: LatencyTable, candidate: Candidate) -> tuple[float, float]:
    """Expected latency with every part at its interval's low end, and at its high end (table's unit).

    Parts without an interval in the table's details count as their point figure. The ends add up as if all parts erred
    the same way, so the interval is wide rather than narrow.
    """
    configuration = candidate.configuration
    low = high = candidate.latency_ns
    for part, share, cost in _part_shares(statistics, table, configuration, candidate.exit_rates):
        detail = table.details.get(part)
        if detail is not None and detail.interval is not None:
            low += share * (detail.interval[0] - cost)
            high += share * (detail.interval[1] - cost)
    return min(low, candidate.latency_ns), max(high, candidate.latency_ns)


def overlaps_bound(statistics: ExitStatistics, table: LatencyTable, objective: Objective, candidate: Candidate) -> bool:
    """Whether the objective's latency bound lies inside the candidate's latency interval: only measuring can tell."""
    low, high = latency_interval(statistics, table, candidate)
    return objective.max_latency_ns is not None and low <= objective.max_latency_ns < high


def miou_interval(
    statistics: ExitStatistics,
    configuration: Configuration,
    *,
    confidence: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """Bootstrap interval over images (percentiles) of the configuration's mIoU as routed."""
    intersection, union = routed_overlap(statistics, configuration)
    values = bootstrap_miou(intersection, union, draws=draws, seed=seed)
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def miou_gap_interval(
    statistics: ExitStatistics,
    configuration: Configuration,
    *,
    confidence: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """Bootstrap interval over images of (full network's mIoU - the configuration's), the same images in each draw."""
    own = bootstrap_miou(*routed_overlap(statistics, configuration), draws=draws, seed=seed)
    e, h = statistics.reference
    full = bootstrap_miou(statistics.intersection[e, h], statistics.union[e, h], draws=draws, seed=seed)
    low, high = np.quantile(full - own, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def bootstrap_miou(
    intersection: NDArray[np.int64], union: NDArray[np.int64], *, draws: int, seed: int
) -> NDArray[np.float64]:
    """[draws] mIoU of as many images drawn with replacement; intersection, union: [I, C]."""
    images = len(intersection)
    generator = np.random.default_rng(seed)
    weights = generator.multinomial(images, np.full(images, 1 / images), size=draws).astype(np.float64)
    inter, whole = weights @ intersection, weights @ union
    present = whole > 0
    ratio = np.divide(inter, whole, out=np.zeros_like(inter), where=present)
    return np.asarray(ratio.sum(axis=1) / np.maximum(present.sum(axis=1), 1))


def _part_shares(
    statistics: ExitStatistics, table: LatencyTable, configuration: Configuration, rates: tuple[float, ...]
) -> list[tuple[str, float, float]]:
    """Every part of the configuration: name, share of images that run it, cost."""
    heads = head_indices(statistics, configuration)
    reaching = 1 - np.concatenate([[0.0], np.cumsum(rates)[:-1]])
    if configuration.setting == "anytime":
        reaching = np.ones(len(rates))
    shares, first = [], 0
    for n, (e, h) in enumerate(zip(configuration.exits, heads, strict=True)):
        shares += [(block_part(k), float(reaching[n]), table.blocks[k]) for k in range(first, e + 1)]
        shares.append((head_part(e, configuration.heads[n]), float(reaching[n]), table.heads[e][h] or 0.0))
        first = e + 1
    return shares
