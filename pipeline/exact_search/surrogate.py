"""A linear upper bound on mIoU: one number per candidate and image, so that whole head pairs fall without class sums.

For a class with routed sums I and U and any lambda, I / U = lambda + d / U with d = I - lambda * U. Over routings that
use certain candidates, U lies in [Ul, Uh] and d in [-dn, dp] (each image at its extreme, or tighter: ranges.py). Then
d / U <= c * d + e, with c = (dp / Ul + dn / Uh) / (dp + dn) and e = dp * dn * (1 / Ul - 1 / Uh) / (dp + dn):
exact where U is certain, and c * d adds up image by image. It is tight near the configuration whose class IoUs serve as
lambda, which is where the search has to decide. A class that some routing may lack counts with its best possible IoU,
and not in the number of classes: mIoU >= m implies (sum over the certain classes) + (those bests) >= m * certain.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.exact_search.goal import Collector
from pipeline.exact_search.space import SearchSpace

SAFETY = 1e-7  # of mIoU, far above float64's error in these sums


@dataclass(frozen=True, eq=False)
class Surrogate:
    """mIoU * classes <= offset + sum over images of worth[candidate where it leaves, image]."""

    offset: float
    worth: NDArray[np.float64]  # [N, I]; only the rows of the covered candidates are filled
    classes: int  # those present whatever the routing


@dataclass(frozen=True, eq=False)
class Ranges:
    """Between what the class sums of a routing lie, [C] each: unions, and differences d = I - lambda * U."""

    lowest: NDArray[np.float64]
    highest: NDArray[np.float64]
    below: NDArray[np.float64]
    above: NDArray[np.float64]

    def within(self, other: "Ranges") -> "Ranges":
        """What both allow."""
        return Ranges(
            np.maximum(self.lowest, other.lowest),
            np.minimum(self.highest, other.highest),
            np.maximum(self.below, other.below),
            np.minimum(self.above, other.above),
        )


class Linearisation:
    """Surrogates around one configuration's class IoUs, for any choice of exits.

    certain: the classes that every routing has. differences: [N, I, certain] d of every candidate.
    """

    def __init__(self, space: SearchSpace, class_iou: NDArray[np.float64]) -> None:
        unions = space.packed[:, :, space.lanes : space.lanes + space.classes]
        certain = (unions.min(axis=0) > 0).any(axis=0)
        self.certain = np.flatnonzero(certain)
        self._space, self._iou = space, class_iou[self.certain]
        self._uncertain = float(sum(_best_ratio(space, int(k)) for k in np.flatnonzero(~certain)))
        self.differences = np.empty((len(space.names), space.images, len(self.certain)))
        self._ranges = [self._exit_ranges(members) for members in space.by_exit]

    def ranges(self, exits: Sequence[int]) -> Ranges:
        """Every image at its extreme over the candidates of these exits."""
        ranges = [self._ranges[e] for e in exits]
        return Ranges(
            np.min([r[0] for r in ranges], axis=0).sum(axis=0),
            np.max([r[1] for r in ranges], axis=0).sum(axis=0),
            np.min([r[2] for r in ranges], axis=0).sum(axis=0),
            np.max([r[3] for r in ranges], axis=0).sum(axis=0),
        )

    def surrogate(self, exits: Sequence[int], ranges: Ranges | None = None) -> Surrogate:
        """The bound over every candidate of these exits, for routings in `ranges` (every image at its extreme)."""
        known = self.ranges(exits) if ranges is None else ranges
        below, above = np.maximum(-known.below, 0.0), np.maximum(known.above, 0.0)
        spread = np.maximum(above + below, 1e-30)
        slope = np.where(above + below > 0, (above / known.lowest + below / known.highest) / spread, 1 / known.highest)
        error = above * below * np.maximum(1 / known.lowest - 1 / known.highest, 0.0) / spread
        worth = np.zeros((len(self._space.names), self._space.images))
        for e in exits:
            members = list(self._space.by_exit[e])
            worth[members] = self.differences[members] @ slope
        offset = float(self._iou.sum() + error.sum() + self._uncertain) + SAFETY * self._space.classes
        return Surrogate(offset, worth, len(self.certain))

    def _exit_ranges(self, members: tuple[int, ...]) -> tuple[NDArray[np.float64], ...]:
        """[I, C] each: lowest and highest union, lowest and highest difference, over the candidates of one exit."""
        space = self._space
        shape = (space.images, len(self.certain))
        lowest, highest = np.full(shape, np.inf), np.zeros(shape)
        below, above = np.full(shape, np.inf), np.full(shape, -np.inf)
        for c in members:
            union = space.packed[c][:, space.lanes + self.certain].astype(np.float64)
            difference = space.packed[c][:, self.certain] - self._iou * union
            self.differences[c] = difference
            np.minimum(lowest, union, out=lowest)
            np.maximum(highest, union, out=highest)
            np.minimum(below, difference, out=below)
            np.maximum(above, difference, out=above)
        return lowest, highest, below, above


def around_best(space: SearchSpace, collector: Collector) -> Linearisation:
    """Around the best found, else around the deepest candidate: any choice is admissible, a good one is tight."""
    best = collector.best
    chosen, levels = (best.chosen, best.levels) if best is not None else ((len(space.names) - 1,), ())
    return Linearisation(space, class_iou(space, routing(space, chosen, levels)))


def routing(space: SearchSpace, chosen: Sequence[int], levels: Sequence[int]) -> NDArray[np.int64]:
    """[I] the candidate at which every image leaves, of chosen candidates and threshold intervals."""
    leaves_at = np.full(space.images, chosen[-1], dtype=np.int64)
    for candidate, level in reversed(list(zip(chosen, levels, strict=False))):
        leaves_at[space.rank[candidate] > level] = candidate
    return leaves_at


def class_iou(space: SearchSpace, leaves_at: NDArray[np.int64]) -> NDArray[np.float64]:
    """[C] IoU of every class where every image leaves at the given candidate."""
    sums = space.packed[leaves_at, np.arange(space.images)].sum(axis=0, dtype=np.int64)
    union = sums[space.lanes : space.lanes + space.classes]
    return np.asarray(sums[: space.classes] / np.maximum(union, 1))


def _best_ratio(space: SearchSpace, k: int) -> float:
    """Highest IoU of class k over all routings (a ratio of sums, maximised by Dinkelbach's iteration), rounded up."""
    first = space.packed[:, :, k].astype(np.float64)
    second = space.packed[:, :, space.lanes + k].astype(np.float64)
    columns, ratio = np.arange(space.images), 0.0
    for _ in range(100):  # converges superlinearly: ten rounds are many
        picked = np.argmax(first - ratio * second, axis=0)
        numerator, denominator = first[picked, columns].sum(), second[picked, columns].sum()
        following = float(numerator / denominator) if denominator > 0 else ratio
        if following <= ratio + 1e-13:
            return min(1.0, max(ratio, following) + 1e-12)
        ratio = following
    return 1.0
