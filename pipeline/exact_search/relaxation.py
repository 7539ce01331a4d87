"""Bounds on what a choice of exits allows, whole or behind a prefix: the surrogate's worth in the dual problem."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.exact_search.adaptive import Prefix, extend, root
from pipeline.exact_search.configuration import LATENCY_TOLERANCE, MIOU_TOLERANCE
from pipeline.exact_search.goal import Collector
from pipeline.exact_search.ranges import exchange_rate
from pipeline.exact_search.space import SearchSpace
from pipeline.exact_search.surrogate import Surrogate

ROOT_STEPS = 400
NODE_STEPS = 60  # a child starts from its parent's multipliers


@dataclass(frozen=True, eq=False)
class Node:
    """Every configuration of some exits that begins with `prefix`.

    score: the surrogate's offset and the worth of the images that left. reach, price: multipliers to start from (dual).
    bound: on the goal, highest mIoU or lowest cost of what the node covers.
    """

    prefix: Prefix
    score: float
    reach: NDArray[np.float64]  # [exits left, I]
    price: float
    bound: float


@dataclass(frozen=True, eq=False)
class Relaxation:
    """One choice of exits with its surrogate: bounds any node over them."""

    space: SearchSpace
    exits: tuple[int, ...]
    surrogate: Surrogate

    def root(self, collector: Collector) -> Node:
        """All configurations of these exits; its multipliers are those of the best of them that never leaves early."""
        price = self._first_price(collector)
        net = self.surrogate.worth - price * (self.space.depth_cost + self.space.head_cost)[:, None]
        late = [c for e in self.exits[1:] for c in self.space.by_exit[e]]
        best = late[int(net[late].sum(axis=1).argmax())]
        reach = np.repeat(net[best][None], len(self.exits), axis=0)
        return Node(root(self.space), self.surrogate.offset, reach, price, self._loose_bound(collector))

    def settle(self, node: Node, collector: Collector) -> Node | None:
        """The node with its own multipliers and bound; None where nothing in it meets the collector's bounds."""
        from pipeline.exact_search import dual

        need, budget = self._limits(node, collector)
        reach = node.reach.copy()
        firsts, lasts = self._members(len(node.prefix.chosen))
        images = np.flatnonzero(node.prefix.remaining)
        steps = NODE_STEPS if node.prefix.chosen else ROOT_STEPS
        priced = math.isfinite(budget)
        found, price = dual.dual_bound(
            self._tables, firsts, lasts, images, budget if priced else 0.0, need, steps, False, priced,
            reach, node.price if priced else 0.0,
        )  # fmt: skip
        if found < need:
            return None
        return Node(node.prefix, node.score, reach, price, self._goal_bound(found - need, price, collector))

    def children(self, node: Node, collector: Collector) -> list["Branch"]:
        """Every head and threshold of the next exit that the node's multipliers do not exclude, best first."""
        from pipeline.exact_search import dual

        need, budget = self._limits(node, collector)
        firsts, lasts = self._members(len(node.prefix.chosen))
        members = slice(int(firsts[0]), int(lasts[0]))
        bounds = np.empty((int(lasts[0] - firsts[0]), int(self.space.levels[members].max())))
        images = np.flatnonzero(node.prefix.remaining)
        budget = budget if math.isfinite(budget) else 0.0
        dual.child_bounds(self._tables, firsts, lasts, images, budget, node.reach, node.price, bounds)
        alive = np.argwhere(bounds >= need)
        excess = bounds[alive[:, 0], alive[:, 1]] - need
        return [
            Branch(self, node, int(firsts[0] + alive[n, 0]), int(alive[n, 1]),
                   self._goal_bound(float(excess[n]), node.price, collector))
            for n in np.argsort(-excess, kind="stable")
        ]  # fmt: skip

    @cached_property
    def _tables(self) -> tuple[Any, ...]:
        """The dual's view of the space."""
        space = self.space
        return (
            self.surrogate.worth, space.rank, space.levels, space.head_cost, space.depth_cost, float(space.boundary)
        )  # fmt: skip

    def _members(self, position: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """First candidate of every exit left, and one past its last."""
        members = [self.space.by_exit[e] for e in self.exits[position:]]
        return np.array([m[0] for m in members]), np.array([m[-1] + 1 for m in members])

    def _limits(self, node: Node, collector: Collector) -> tuple[float, float]:
        """Least worth of the images that remain, and most that they may cost, to meet the collector's bounds."""
        highest, lowest = collector.bounds()
        prefix, images = node.prefix, self.space.images
        heads = float(self.space.head_cost[list(prefix.chosen)].sum()) + len(prefix.chosen) * self.space.boundary
        spent = prefix.cost + heads * int(prefix.remaining.sum())
        need = (lowest - MIOU_TOLERANCE) * self.surrogate.classes - node.score
        return need, (highest + LATENCY_TOLERANCE) * images - spent

    def _goal_bound(self, excess: float, price: float, collector: Collector) -> float:
        """What a dual value `excess` above the needed one allows: highest mIoU, or lowest cost."""
        highest, lowest = collector.bounds()
        if not collector.goal.cheapest:
            return min(1.0, lowest + excess / self.surrogate.classes) if self.surrogate.classes else 1.0
        if price == 0.0 or not math.isfinite(highest):
            return self._least_cost()
        return max(self._least_cost(), highest - excess / (price * self.space.images))

    def _loose_bound(self, collector: Collector) -> float:
        """A bound on the goal at no effort: a head of its own for every image, whatever it costs; or the least cost."""
        if collector.goal.cheapest:
            return self._least_cost()
        members = [c for e in self.exits for c in self.space.by_exit[e]]
        score = self.surrogate.offset + float(self.surrogate.worth[members].max(axis=0).sum())
        return min(1.0, score / self.surrogate.classes) if self.surrogate.classes else 1.0

    def _least_cost(self) -> float:
        """All leave at the first exit, by its cheapest head."""
        members = list(self.space.by_exit[self.exits[0]])
        return float((self.space.depth_cost[members] + self.space.head_cost[members]).min()) + self.space.boundary

    def _first_price(self, collector: Collector) -> float:
        """Where the price starts to move."""
        if not math.isfinite(collector.bounds()[0]):
            return 0.0
        members = [c for e in self.exits for c in self.space.by_exit[e]]
        costs = self.space.depth_cost + self.space.head_cost
        return exchange_rate(self.surrogate.worth[members], costs[members])


@dataclass(frozen=True, eq=False)
class Branch:
    """A child that was not looked into yet: the node's prefix with one more candidate and threshold interval."""

    relaxation: Relaxation
    parent: Node
    candidate: int
    level: int
    bound: float

    def node(self) -> Node:
        """The child, with the parent's multipliers to start from."""
        parent = self.parent
        prefix = extend(self.relaxation.space, parent.prefix, self.candidate, self.level)
        left = parent.prefix.remaining & ~prefix.remaining
        worth = float(self.relaxation.surrogate.worth[self.candidate][left].sum())
        return Node(prefix, parent.score + worth, parent.reach[1:], parent.price, self.bound)

    def hopeful(self, collector: Collector) -> bool:
        """Whether its bound still meets what the collector asks for by now."""
        highest, lowest = collector.bounds()
        if collector.goal.cheapest:
            return self.bound <= highest + LATENCY_TOLERANCE
        return self.bound >= lowest - MIOU_TOLERANCE
