"""Depth first over the first exits of a configuration, cutting what admissible bounds exclude."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.search.adaptive import Prefix, extend
from pipeline.search.bounds import best_mean
from pipeline.search.configuration import LATENCY_TOLERANCE
from pipeline.search.goal import Incumbent
from pipeline.search.space import SearchSpace

ROUNDING = 1e-9  # of a bound in float64, far above its error


@dataclass(frozen=True, eq=False)
class Suffix:
    """What the exits behind a prefix could do at best, whichever candidate each image and class picks."""

    intersection: NDArray[np.int64]  # [I, C] highest
    union: NDArray[np.int64]  # [I, C] lowest
    cheapest: float  # backbone and head of the cheapest candidate


def suffix_of(space: SearchSpace, exits: tuple[int, ...]) -> Suffix:
    """The best case over every candidate of these exits."""
    members = [c for e in exits for c in space.by_exit[e]]
    packed = space.packed[members]
    return Suffix(
        packed[:, :, : space.classes].max(axis=0).astype(np.int64),
        packed[:, :, space.lanes : space.lanes + space.classes].min(axis=0).astype(np.int64),
        float((space.depth_cost[members] + space.head_cost[members]).min()),
    )


def prefixes(
    space: SearchSpace, prefix: Prefix, exits: tuple[int, ...], free: int, incumbent: Incumbent
) -> Iterator[Prefix]:
    """Every prefix over the first len(exits) - free exits that the bounds don't exclude."""
    if len(exits) == free:
        yield prefix
        return
    suffix = suffix_of(space, exits[1:])
    for candidate in space.by_exit[exits[0]]:
        for level in range(int(space.levels[candidate])):
            longer = extend(space, prefix, candidate, level)
            if worthwhile(space, longer, suffix, incumbent):
                yield from prefixes(space, longer, exits[1:], free, incumbent)


def worthwhile(space: SearchSpace, prefix: Prefix, suffix: Suffix, incumbent: Incumbent) -> bool:
    """Whether some completion of the prefix may still meet the incumbent's bounds."""
    remaining = int(prefix.remaining.sum())
    if remaining == 0:
        return False  # nothing reaches the exits behind: the shorter configuration is no worse
    highest, lowest = incumbent.bounds()
    heads = float(space.head_cost[list(prefix.chosen)].sum())
    boundaries = (len(prefix.chosen) + 1) * space.boundary
    cost = (prefix.cost + remaining * (suffix.cheapest + heads + boundaries)) / space.images
    if cost > highest + LATENCY_TOLERANCE:
        return False
    return upper_miou(space, prefix, suffix) >= lowest - ROUNDING


def upper_miou(space: SearchSpace, prefix: Prefix, suffix: Suffix) -> float:
    """No completion of the prefix has a higher mIoU."""
    left = prefix.sums.astype(np.int64)
    inter = left[: space.classes] + suffix.intersection[prefix.remaining].sum(axis=0)
    union = left[space.lanes : space.lanes + space.classes] + suffix.union[prefix.remaining].sum(axis=0)
    certain = union > 0
    # A class whose lowest union is 0 may be absent, or as good as it can be.
    ratio = np.minimum(1.0, np.divide(inter, union, out=np.ones(len(union)), where=certain))
    return best_mean(ratio, certain)
