"""Branch and bound over the first exits of a configuration; the last three are enumerated behind every survivor.

A node fixes the first exits with heads and thresholds. Its bound is a Lagrangian one: the images that are still there
do the best that they can behind (behind.py) in surrogate worth minus `price` * cost. A configuration that reaches the
wanted mIoU within the cost cap satisfies  offset + sum(worth) - price * (sum(cost) - cap * I) >= wanted * classes  for
every price >= 0, so a node whose best case violates it can't hold one.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.exact_search.adaptive import Prefix, extend
from pipeline.exact_search.behind import Behind, best_behind
from pipeline.exact_search.configuration import LATENCY_TOLERANCE, MIOU_TOLERANCE
from pipeline.exact_search.goal import Incumbent
from pipeline.exact_search.space import SearchSpace
from pipeline.exact_search.surrogate import Surrogate

PRICE_STEPS = 12  # of the golden-section search for the price: near the best is as good


@dataclass(frozen=True, eq=False)
class Relaxation:
    """One choice of exits with its surrogate and its price; bounds any node over them."""

    space: SearchSpace
    exits: tuple[int, ...]
    surrogate: Surrogate
    price: float  # classes * mIoU per unit of cost and image

    def root_score(self) -> float:
        """Upper bound on offset + sum(worth) - price * sum(cost) over every configuration of these exits."""
        everyone = np.ones(self.space.images, dtype=bool)
        whole = best_behind(self._values(0), everyone)
        images = np.arange(self.space.images, dtype=np.int32)
        return self.surrogate.offset + float(whole.totals(images, np.array([len(images)]))[0])

    def loose_root_score(self) -> float:
        """The same, looser and faster: a head of its own for every image."""
        members = [c for e in self.exits for c in self.space.by_exit[e]]
        return self.surrogate.offset + float(np.max(self._net_worth(members), axis=0).sum())

    def child_scores(self, prefix: Prefix, score: float) -> NDArray[np.float64]:
        """[members, levels] upper bound on the same sum for the prefix with one more exit.

        score: offset and what the images that left contribute.
        """
        position = len(prefix.chosen)
        members = self.space.by_exit[self.exits[position]]
        heads = float(self.space.head_cost[list(prefix.chosen)].sum()) + (position + 1) * self.space.boundary
        behind = best_behind(self._values(position + 1), prefix.remaining)
        rows = [self._candidate_scores(c, prefix.remaining, heads, behind) for c in members]
        widest = max(len(row) for row in rows)
        return score + np.array([np.pad(row, (0, widest - len(row)), constant_values=-np.inf) for row in rows])

    def _values(self, position: int) -> list[NDArray[np.float64]]:
        """[heads, I] worth less price * (backbone and own head) at every exit from exits[position] on."""
        return [self._net_worth(list(self.space.by_exit[e])) for e in self.exits[position:]]

    def _net_worth(self, members: list[int]) -> NDArray[np.float64]:
        costs = self.price * (self.space.depth_cost[members] + self.space.head_cost[members])
        return np.asarray(self.surrogate.worth[members] - costs[:, None])

    def _candidate_scores(
        self, candidate: int, remaining: NDArray[np.bool_], heads: float, behind: Behind
    ) -> NDArray[np.float64]:
        space, levels = self.space, int(self.space.levels[candidate])
        common = self.price * (heads + float(space.head_cost[candidate]))
        order = space.order[candidate]
        order = order[remaining[order]]
        # Images of rank <= t go on from level t.
        going_on = np.searchsorted(space.rank[candidate][order], np.arange(levels), side="right")
        leaving = self.surrogate.worth[candidate] - self.price * float(space.depth_cost[candidate]) - common
        staying = np.concatenate([[0.0], np.cumsum(leaving[order])])
        scores = staying[-1] - staying[going_on] + behind.totals(order, going_on) - common * going_on
        scores[going_on == 0] = -np.inf  # nothing goes on: the shorter configuration is no worse
        return np.asarray(scores)

    def contribution(self, prefix: Prefix) -> float:
        """Worth minus price * cost of the images that left at the prefix's last exit."""
        *before, last = prefix.chosen
        came = np.ones(self.space.images, dtype=bool)
        for c, level in zip(before, prefix.levels, strict=False):
            came &= self.space.rank[c] <= level
        left = came & ~prefix.remaining
        heads = float(self.space.head_cost[list(prefix.chosen)].sum()) + len(prefix.chosen) * self.space.boundary
        cost = self.price * (float(self.space.depth_cost[last]) + heads)
        return float((self.surrogate.worth[last][left] - cost).sum())

    def needed(self, incumbent: Incumbent) -> float:
        """What a score must reach for a configuration within the incumbent's bounds to be possible."""
        highest, lowest = incumbent.bounds()
        allowance = 0.0
        if self.price > 0:
            allowance = self.price * (highest + LATENCY_TOLERANCE) * self.space.images
        return (lowest - MIOU_TOLERANCE) * self.surrogate.classes - allowance

    def bound(self, score: float, incumbent: Incumbent) -> float:
        """The score as a bound on the goal: highest mIoU, or lowest cost, of what it covers."""
        highest, lowest = incumbent.bounds()
        if not incumbent.goal.cheapest:
            allowance = self.price * highest * self.space.images if self.price > 0 else 0.0
            return min(1.0, (score + allowance) / self.surrogate.classes) if self.surrogate.classes else 1.0
        missing = (lowest - MIOU_TOLERANCE) * self.surrogate.classes - score
        if self.price == 0:
            return math.inf if missing > 0 else self._least_cost()
        return max(self._least_cost(), missing / (self.price * self.space.images))

    def _least_cost(self) -> float:
        """All leave at the first exit, by its cheapest head."""
        members = list(self.space.by_exit[self.exits[0]])
        return float((self.space.depth_cost[members] + self.space.head_cost[members]).min()) + self.space.boundary


def relax(space: SearchSpace, exits: tuple[int, ...], surrogate: Surrogate, incumbent: Incumbent) -> Relaxation:
    """The relaxation with the price that makes its bound tightest under the incumbent's bounds."""
    highest, _ = incumbent.bounds()
    if not math.isfinite(highest):
        return Relaxation(space, exits, surrogate, 0.0)
    members = [c for e in exits for c in space.by_exit[e]]
    spread = float(np.ptp(space.depth_cost[members] + space.head_cost[members]))
    widest = float(np.ptp(surrogate.worth[members], axis=0).max()) / spread if spread > 0 else 0.0

    def excess(price: float) -> float:
        relaxation = Relaxation(space, exits, surrogate, price)
        return relaxation.loose_root_score() - relaxation.needed(incumbent)

    return Relaxation(space, exits, surrogate, _lowest(excess, widest))


def prefixes(relaxation: Relaxation, start: Prefix, free: int, incumbent: Incumbent) -> Iterator[Prefix]:
    """Every prefix over all but the last `free` exits that the bounds don't exclude, the most promising first."""
    if relaxation.root_score() >= relaxation.needed(incumbent):
        yield from _descend(relaxation, start, relaxation.surrogate.offset, free, incumbent)


def _descend(relaxation: Relaxation, prefix: Prefix, score: float, free: int, incumbent: Incumbent) -> Iterator[Prefix]:
    position = len(prefix.chosen)
    if position == len(relaxation.exits) - free:
        yield prefix
        return
    members = relaxation.space.by_exit[relaxation.exits[position]]
    scores = relaxation.child_scores(prefix, score)
    for flat in np.argsort(-scores, axis=None, kind="stable"):
        m, level = (int(v) for v in np.unravel_index(flat, scores.shape))
        if scores[m, level] < relaxation.needed(incumbent):
            return  # and so do all that follow
        longer = extend(relaxation.space, prefix, members[m], level)
        left = score + relaxation.contribution(longer)
        yield from _descend(relaxation, longer, left, free, incumbent)


def _lowest(function: Callable[[float], float], high: float) -> float:
    """Where a convex function on [0, high] is lowest (golden section); any answer is a valid price."""
    ratio, low = (math.sqrt(5) - 1) / 2, 0.0
    for _ in range(PRICE_STEPS):
        first, second = high - ratio * (high - low), low + ratio * (high - low)
        if function(first) <= function(second):
            high = second
        else:
            low = first
    return min((0.0, low), key=function)
