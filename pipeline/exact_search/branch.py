"""Branch and bound over choices of many exits: prefixes by their bounds, what is small enumerated whole."""

import heapq
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from math import prod

from pipeline.exact_search.adaptive import Task, tasks_behind
from pipeline.exact_search.goal import Collector
from pipeline.exact_search.ranges import tightened
from pipeline.exact_search.relaxation import Branch, Node, Relaxation
from pipeline.exact_search.space import SearchSpace
from pipeline.exact_search.surrogate import around_best

LEAST_LEFT = 2  # exits: one threshold and two heads are always enumerated
MOST_LEFT = 3  # exits that the kernel can enumerate
LEAF_SIZE = 2_000_000  # configurations that are enumerated sooner than their bounds are settled


@dataclass(frozen=True, eq=False)
class DeepSearch:
    """Explores subtrees until `stop` (time.monotonic()), by what still meets the collector's bounds.

    work: enumerates what is small enough, from several threads.
    """

    collector: Collector
    work: Callable[[Task], None]
    stop: float

    def branches(self, relaxation: Relaxation) -> Iterator[Branch]:
        """The children of a choice of exits that are worth exploring: work that can be shared out."""
        root = relaxation.settle(relaxation.root(self.collector), self.collector)
        if root is not None:
            yield from relaxation.children(root, self.collector)

    def explore(self, branch: Branch) -> bool:
        """Cover everything in a subtree, depth first; False where the time was up before."""
        if not branch.hopeful(self.collector):
            return True
        if time.monotonic() >= self.stop:
            return False
        relaxation, node = branch.relaxation, branch.node()
        left = relaxation.exits[len(node.prefix.chosen) :]
        if is_leaf(relaxation.space, left):
            for task in tasks_behind(relaxation.space, node.prefix, left, relaxation.surrogate):
                self.work(task)
            return True
        settled = relaxation.settle(node, self.collector)
        return settled is None or all(self.explore(child) for child in relaxation.children(settled, self.collector))


def is_leaf(space: SearchSpace, left: tuple[int, ...]) -> bool:
    """Whether what is left of a choice of exits is to be enumerated."""
    if len(left) <= LEAST_LEFT:
        return True
    early = prod(int(space.levels[list(space.by_exit[e])].sum()) for e in left[:-1])
    return len(left) <= MOST_LEFT and early * len(space.by_exit[left[-1]]) <= LEAF_SIZE


def relaxations(
    space: SearchSpace, sets: Sequence[tuple[int, ...]], collector: Collector, stop: float
) -> Iterator[Relaxation]:
    """The relaxation of each choice of exits, within ranges that are tightened until `stop`."""
    if not sets:
        return
    around = around_best(space, collector)
    known = tightened(space, around, collector, stop)
    for exits in sets:
        yield Relaxation(space, exits, around.surrogate(exits, around.ranges(exits).within(known)))


def open_bound(space: SearchSpace, sets: Sequence[tuple[int, ...]], collector: Collector, stop: float) -> float:
    """Bound (highest mIoU, or lowest cost when the goal is the cheapest) over all configurations of these exits.

    The subtree with the most promising bound is split until `stop` (time.monotonic()); whatever is left bounds the
    rest. Nothing left: what the collector has can't be beaten, and infinity of the harmless sign comes back.
    """
    sign = 1.0 if collector.goal.cheapest else -1.0
    order = count()  # heap entries never compare branches
    heap: list[tuple[float, int, Branch | tuple[Relaxation, Node]]] = []
    for relaxation in relaxations(space, sets, collector, (time.monotonic() + stop) / 2):
        root = relaxation.root(collector)
        heap.append((sign * root.bound, next(order), (relaxation, root)))
    heapq.heapify(heap)
    while heap and time.monotonic() < stop:
        top = heap[0][2]
        relaxation, node = (top.relaxation, top.node()) if isinstance(top, Branch) else top
        if len(relaxation.exits) - len(node.prefix.chosen) < LEAST_LEFT:
            break  # thresholds are all fixed: the top can't be split further
        heapq.heappop(heap)
        settled = relaxation.settle(node, collector)
        for child in relaxation.children(settled, collector) if settled is not None else ():
            heapq.heappush(heap, (sign * child.bound, next(order), child))
    return sign * heap[0][0] if heap else sign * math.inf
