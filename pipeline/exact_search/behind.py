"""The best that images can do at the exits behind: one head per exit, any exit per image.

Choosing a head for each exit and then the best exit for each image is a facility-location problem,
max over heads of sum_i max_e v[e, head_e, i]. Its Lagrangian dual bounds it from above for any multipliers l:
sum_i l_i + sum_e max_h sum_i max(0, v[e, h, i] - l_i). With l_i = max v it is the bound in which every image has a head
of its own; a few subgradient steps bring it down to almost what one head per exit allows.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

STEPS = 40  # subgradient steps; each costs one pass over the values


@dataclass(frozen=True, eq=False)
class Behind:
    """Multipliers [I], and the surplus max(0, v - l) of every candidate of each exit, [heads, I] each."""

    multiplier: NDArray[np.float64]
    surplus: tuple[NDArray[np.float64], ...]

    def totals(self, order: NDArray[np.int32], ends: NDArray[np.int64]) -> NDArray[np.float64]:
        """Upper bound on what the first `end` images of `order` contribute, for each of `ends`."""
        total = _sums_to(self.multiplier[None, order], ends)[0]
        for rows in self.surplus:
            total = total + _sums_to(rows[:, order], ends).max(axis=0)
        return np.asarray(total)


def best_behind(values: list[NDArray[np.float64]], remaining: NDArray[np.bool_]) -> Behind:
    """Multipliers tuned for the remaining images; values: [heads, I] for every exit behind."""
    inside = [rows[:, remaining] for rows in values]
    highest = np.max([rows.max(axis=0) for rows in inside], axis=0)
    multiplier = highest if len(values) == 0 or not remaining.any() else _tuned(inside, highest)
    full = np.zeros(len(remaining))
    full[remaining] = multiplier
    return Behind(full, tuple(np.maximum(rows - full, 0.0) for rows in values))


def _tuned(values: list[NDArray[np.float64]], highest: NDArray[np.float64]) -> NDArray[np.float64]:
    """The best multipliers that a few subgradient steps find from the greedy choice of heads."""
    heads = [int(rows.sum(axis=1).argmax()) for rows in values]
    multiplier = np.max([rows[h] for rows, h in zip(values, heads, strict=True)], axis=0)
    best, lowest, feasible = highest, float(highest.sum()), -np.inf
    for _ in range(STEPS):
        surplus = [np.maximum(rows - multiplier, 0.0).sum(axis=1) for rows in values]
        heads = [int(total.argmax()) for total in surplus]
        bound = float(multiplier.sum() + sum(total.max() for total in surplus))
        chosen = np.array([rows[h] for rows, h in zip(values, heads, strict=True)])
        feasible = max(feasible, float(chosen.max(axis=0).sum()))
        if bound < lowest:
            best, lowest = multiplier, bound
        direction = (chosen > multiplier).sum(axis=0) - 1.0
        length = float((direction**2).sum())
        if length == 0 or bound - feasible <= 1e-12:
            break
        multiplier = multiplier + direction * (bound - feasible) / length
    return best


def _sums_to(rows: NDArray[np.float64], ends: NDArray[np.int64]) -> NDArray[np.float64]:
    """[rows, ends] sum of each row's first `end` entries."""
    sums = np.cumsum(rows, axis=1)
    padded = np.concatenate([np.zeros((len(rows), 1)), sums], axis=1)
    return np.asarray(padded[:, ends])
