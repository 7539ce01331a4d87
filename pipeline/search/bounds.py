"""Admissible bounds: no configuration over these candidates is more accurate, or cheaper, than they say."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.search.space import SearchSpace


def oracle_miou(space: SearchSpace, candidates: Sequence[int]) -> float:
    """Upper bound on the mIoU of every routing over the candidates.

    Each class picks, for each image, the candidate that serves its IoU best (a ratio of sums, maximised by Dinkelbach's
    iteration); no routing can beat that in any class.
    """
    chosen = list(candidates)
    inter = space.packed[chosen, :, : space.classes]
    union = space.packed[chosen, :, space.lanes : space.lanes + space.classes]
    best = np.array([_best_ratio(inter[:, :, k], union[:, :, k]) for k in range(space.classes)])
    certain = np.asarray((union > 0).all(axis=0).any(axis=0))
    return best_mean(best, certain)


def best_mean(class_bounds: NDArray[np.float64], certain: NDArray[np.bool_]) -> float:
    """Highest mean over the classes that are certainly present and any choice of the others."""
    total, count = float(class_bounds[certain].sum()), int(certain.sum())
    best = total / count if count else 0.0
    for value in np.sort(class_bounds[~certain])[::-1]:
        total, count = total + float(value), count + 1
        best = max(best, total / count)
    return best


def least_cost(space: SearchSpace, exits: Sequence[int]) -> float:
    """Lower bound on the expected cost of every adaptive configuration over these exits: all leave at the first."""
    members = list(space.by_exit[exits[0]])
    return float((space.depth_cost[members] + space.head_cost[members]).min()) + space.boundary


def _best_ratio(inter: NDArray[np.generic], union: NDArray[np.generic]) -> float:
    """Max over one row per column of sum(inter) / sum(union), arrays [candidates, images]; rounded up."""
    first, second = inter.astype(np.float64), union.astype(np.float64)
    columns = np.arange(first.shape[1])
    ratio = 0.0
    for _ in range(100):  # Dinkelbach's iteration converges superlinearly: ten rounds are many
        picked = np.argmax(first - ratio * second, axis=0)
        numerator, denominator = first[picked, columns].sum(), second[picked, columns].sum()
        following = float(numerator / denominator) if denominator > 0 else ratio
        if following <= ratio + 1e-13:
            return min(1.0, max(ratio, following) + 1e-12)
        ratio = following
    return 1.0
