"""Tighter ranges of the class sums, so that the surrogate is tight: what one configuration can reach, class by class.

With every image at its extreme over all candidates, a class's union and difference span far more than one head per exit
can. The dual problem bounds each of them over whole configurations instead, and of those only the ones that meet the
collector's bounds count (optimality-based bound tightening): where  sum(worth) >= needed  has the multiplier m,
    sum(value) <= dual(value + m * worth) - m * needed.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.exact_search.configuration import LATENCY_TOLERANCE, MIOU_TOLERANCE
from pipeline.exact_search.goal import Collector
from pipeline.exact_search.space import SearchSpace
from pipeline.exact_search.surrogate import Linearisation, Ranges, Surrogate, routing
from pipeline.exact_search.workers import run_until

ROUNDS = ((0.0,), (0.5, 2.0))  # multipliers m, as shares of how far value and worth spread over the candidates
STEPS = 150
ROUNDING = 1e-9  # of a range: far above float64's error in these sums

End = Literal["lowest", "highest", "below", "above"]


@dataclass(frozen=True, eq=False)
class _Quantity:
    """One end of one class's range."""

    end: End
    position: int  # among the certain classes
    values: NDArray[np.float64]  # [N, I], to be maximised over configurations
    sign: float  # of the range's end in them


def tightened(space: SearchSpace, around: Linearisation, collector: Collector, stop: float) -> Ranges:
    """Ranges over every configuration that meets the collector's bounds, over any of the exits.

    Both cores work on it until `stop` (time.monotonic()): what was not tightened by then keeps its looser range.
    """
    exits = [e for e, members in enumerate(space.by_exit) if members]
    known, in_time = around.ranges(exits), True
    for multipliers in ROUNDS:
        problem = _Problem(space, around.surrogate(exits, known), collector)
        known, in_time = _round(problem, around, known, multipliers, stop)
        if not in_time:
            break
    return known


def _round(
    problem: "_Problem", around: Linearisation, known: Ranges, multipliers: tuple[float, ...], stop: float
) -> tuple[Ranges, bool]:
    """The ranges with every end bounded anew, and whether there was time for all."""
    ends = {end: getattr(known, end).copy() for end in ("lowest", "highest", "below", "above")}

    def work(quantity: _Quantity) -> None:
        bound = min(problem.highest(quantity.values, multiplier) for multiplier in multipliers)
        bound += ROUNDING * abs(bound)
        ends[quantity.end][quantity.position] = quantity.sign * bound

    in_time = run_until(_quantities(problem.space, around), work, stop)
    return known.within(Ranges(**ends)), in_time


def _quantities(space: SearchSpace, around: Linearisation) -> Iterator[_Quantity]:
    for position, k in enumerate(around.certain):
        union = space.packed[:, :, space.lanes + k].astype(np.float64)
        difference = np.ascontiguousarray(around.differences[:, :, position])
        yield _Quantity("highest", position, union, 1.0)
        yield _Quantity("lowest", position, -union, -1.0)
        yield _Quantity("above", position, difference, 1.0)
        yield _Quantity("below", position, -difference, -1.0)


class _Problem:
    """The dual problem over any of the exits, for any values of leaving."""

    def __init__(self, space: SearchSpace, surrogate: Surrogate, collector: Collector) -> None:
        highest, lowest = collector.bounds()
        best = collector.best
        self.space, self._worth = space, surrogate.worth
        self._need = (lowest - MIOU_TOLERANCE) * surrogate.classes - surrogate.offset
        self._budget = (highest + LATENCY_TOLERANCE) * space.images
        self._leaves_at = None if best is None else routing(space, best.chosen, best.levels)
        members = [m for m in space.by_exit if m]
        self._firsts, self._lasts = np.array([m[0] for m in members]), np.array([m[-1] + 1 for m in members])
        self._costs = space.depth_cost + space.head_cost

    def highest(self, values: NDArray[np.float64], share: float) -> float:
        """Upper bound on the sum of `values` [N, I] over every configuration that meets the collector's bounds.

        share: of the multiplier that makes worth and values spread alike over the candidates; 0: bounds don't count.
        """
        from pipeline.exact_search import dual

        space = self.space
        multiplier = share * _ratio(float(np.ptp(values.sum(axis=1))), float(np.ptp(self._worth.sum(axis=1))))
        combined = values + multiplier * self._worth
        priced = bool(multiplier > 0 and np.isfinite(self._budget))
        price = exchange_rate(combined, self._costs) if priced else 0.0
        net = (combined - price * self._costs[:, None]).sum(axis=1)
        reach = np.repeat((combined - price * self._costs[:, None])[int(net.argmax())][None], len(self._firsts), axis=0)
        tables = (combined, space.rank, space.levels, space.head_cost, space.depth_cost, float(space.boundary))
        found, _ = dual.dual_bound(
            tables, self._firsts, self._lasts, np.arange(space.images), self._budget if priced else 0.0,
            self._at_least(combined), STEPS, True, priced, reach, price,
        )  # fmt: skip
        return float(found) - (multiplier * self._need if multiplier else 0.0)

    def _at_least(self, values: NDArray[np.float64]) -> float:
        """What some configuration reaches: the dual's steps aim there."""
        if self._leaves_at is None:
            return float(values.sum(axis=1).max())
        return float(values[self._leaves_at, np.arange(self.space.images)].sum())


def exchange_rate(worth: NDArray[np.float64], costs: NDArray[np.float64]) -> float:
    """Worth [n, I] per unit of cost [n] between the least and the most costly candidate: a price to start from."""
    low, high = int(costs.argmin()), int(costs.argmax())
    gained, paid = float(worth[high].sum() - worth[low].sum()), float(costs[high] - costs[low]) * worth.shape[1]
    return max(0.0, _ratio(gained, paid))


def _ratio(numerator: float, denominator: float) -> float:
    return numerator / denominator if denominator > 0 else 0.0
