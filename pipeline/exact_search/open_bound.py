"""What a search that ran out of time may claim: a bound over everything that it did not cover, best first."""

import heapq
import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import count

import numpy as np

from pipeline.exact_search.adaptive import Prefix, extend
from pipeline.exact_search.branch import Relaxation
from pipeline.exact_search.goal import Incumbent


@dataclass(frozen=True, eq=False)
class _Open:
    """A node that was not expanded: the child of `parent` by (candidate, level), or the parent itself (None)."""

    relaxation: Relaxation
    parent: Prefix
    score: float  # offset and contributions of the images that left in the parent
    child: tuple[int, int] | None = None

    def settled(self) -> tuple[Prefix, float]:
        """The node's prefix and its own score."""
        if self.child is None:
            return self.parent, self.score
        prefix = extend(self.relaxation.space, self.parent, *self.child)
        return prefix, self.score + self.relaxation.contribution(prefix)


def open_bound(relaxations: Iterable[Relaxation], start: Prefix, incumbent: Incumbent, stop: float) -> float:
    """Bound (highest mIoU, or lowest cost when the goal is the cheapest) over all configurations of these exits.

    The node with the most promising bound is split until `stop` (time.monotonic()); whatever is left bounds the rest.
    Nothing left: what the incumbent has can't be beaten, and infinity of the harmless sign comes back.
    """
    sign = 1.0 if incumbent.goal.cheapest else -1.0
    order = count()  # heap entries never compare nodes
    heap: list[tuple[float, int, _Open]] = []
    for relaxation in relaxations:
        root, score = _Open(relaxation, start, relaxation.surrogate.offset), relaxation.root_score()
        if score >= relaxation.needed(incumbent):
            heapq.heappush(heap, (sign * relaxation.bound(score, incumbent), next(order), root))
    while heap and time.monotonic() < stop:
        node = heap[0][2]
        prefix, score = node.settled()
        if len(prefix.chosen) >= len(node.relaxation.exits) - 1:
            break  # thresholds are all fixed: the top can't be split further
        heapq.heappop(heap)
        for child_score, child in _children(node.relaxation, prefix, score, incumbent):
            bound = sign * node.relaxation.bound(child_score, incumbent)
            heapq.heappush(heap, (bound, next(order), _Open(node.relaxation, prefix, score, child)))
    return sign * heap[0][0] if heap else sign * math.inf


def _children(
    relaxation: Relaxation, prefix: Prefix, score: float, incumbent: Incumbent
) -> Iterator[tuple[float, tuple[int, int]]]:
    """Every child that the incumbent's bounds don't exclude, with its score."""
    position = len(prefix.chosen)
    scores = relaxation.child_scores(prefix, score)
    members = relaxation.space.by_exit[relaxation.exits[position]]
    for m, level in np.argwhere(scores >= relaxation.needed(incumbent)):
        yield float(scores[m, level]), (members[int(m)], int(level))
