"""Exact search over exits, heads and thresholds of adaptive configurations (budgeted is its one-exit case).

Up to three exits the enumeration is complete: a task is one first candidate x (or none) with a block of candidates
y and z behind it, and the kernel looks at every threshold pair of every (x, y, z). Beyond three exits a depth-first
search fixes the first candidates and their thresholds and cuts what admissible bounds exclude (branch.py).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.exact_search.configuration import LATENCY_TOLERANCE, TIE_MIOU
from pipeline.exact_search.goal import Collector, Found, Goal
from pipeline.exact_search.space import SearchSpace
from pipeline.exact_search.surrogate import Surrogate

CELLS_PER_TASK = 20_000_000  # threshold pairs: about a third of a second, so that a time limit is kept
Z_BLOCK = 16  # candidates z whose class sums stay in the second-level cache together


@dataclass(frozen=True, eq=False)
class Prefix:
    """The first exits of a configuration, thresholds fixed: what has left, and who is still there."""

    chosen: tuple[int, ...]
    levels: tuple[int, ...]
    remaining: NDArray[np.bool_]  # [I]
    sums: NDArray[np.generic]  # [2P] class sums of the images that left (padding lanes: union 1)
    cost: float  # summed over the images that left


@dataclass(frozen=True)
class Task:
    """One call of the kernel: a prefix, a first free candidate x (or none), candidates y and z by exit."""

    prefix: Prefix
    x: int | None
    ys: tuple[int, ...]
    zs: tuple[int, ...]
    surrogate: Surrogate | None = None  # covers the prefix's exits too


def root(space: SearchSpace) -> Prefix:
    """Nothing chosen yet: every image is there."""
    sums = np.zeros(2 * space.lanes, dtype=space.totals.dtype)
    sums[space.lanes + space.classes :] = 1  # padding: 0 / 1
    return Prefix((), (), np.ones(space.images, dtype=bool), sums, 0.0)


def extend(space: SearchSpace, prefix: Prefix, candidate: int, level: int) -> Prefix:
    """The prefix with one more exit; it is never the last, so its cost includes a boundary."""
    leaving = prefix.remaining & (space.rank[candidate] > level)
    chosen = (*prefix.chosen, candidate)
    heads = float(space.head_cost[list(chosen)].sum())
    cost = float(space.depth_cost[candidate]) + heads + len(chosen) * space.boundary
    return Prefix(
        chosen,
        (*prefix.levels, level),
        prefix.remaining & ~leaving,
        prefix.sums + space.packed[candidate][leaving].sum(axis=0, dtype=space.totals.dtype),
        prefix.cost + int(leaving.sum()) * cost,
    )


def single_exits(space: SearchSpace, goal: Goal) -> list[Found]:
    """Every one-exit network that meets the goal's bounds."""
    found = []
    for c in (c for (e,) in space.exit_sets(1) for c in space.by_exit[e]):
        miou, cost = single_exit_miou(space, c), space.route_costs((c,))[0]
        affordable = cost <= min(goal.max_cost, goal.max_worst) + LATENCY_TOLERANCE
        if affordable and miou >= goal.min_miou - 1e-9:
            found.append(Found(miou, cost, (c,), (), tie_key_of(space, (c,))))
    return found


def single_exit_miou(space: SearchSpace, candidate: int) -> float:
    """mIoU of one candidate over all images."""
    sums = space.totals[candidate]
    inter, union = sums[: space.classes], sums[space.lanes : space.lanes + space.classes]
    return float(np.mean(inter[union > 0] / union[union > 0])) if (union > 0).any() else 0.0


def tie_key_of(space: SearchSpace, chosen: tuple[int, ...]) -> tuple[int, tuple[int, ...], tuple[str, ...]]:
    """What decides between equals: fewer exits, then shallower, then names."""
    return len(chosen), tuple(int(space.exit_of[c]) for c in chosen), tuple(space.names[c] for c in chosen)


def tasks_behind(
    space: SearchSpace, prefix: Prefix, exits: tuple[int, ...], surrogate: Surrogate | None
) -> Iterator[Task]:
    """Tasks that cover every head and threshold of the two or three `exits` behind the prefix."""
    *first, y_exit, z_exit = exits
    xs: tuple[int | None, ...] = space.by_exit[first[0]] if first else (None,)
    for zs in _blocks(space.by_exit[z_exit], Z_BLOCK):
        for x in xs:
            for ys in _blocks(space.by_exit[y_exit], _y_block(space, x, space.by_exit[y_exit], len(zs))):
                yield Task(prefix, x, ys, zs, surrogate)


def run_task(space: SearchSpace, task: Task, collector: Collector) -> list[Found]:
    """What of the task the collector wants: the best configuration, or the best of every (y, z)."""
    from pipeline.exact_search import kernels

    goal, bounds, tighten = collector.goal, collector.bounds(), not collector.of_every_choice
    members, row_start, reach, costs = _kernel_inputs(space, task)
    found = np.full((len(task.ys), len(task.zs), 4), -1.0)
    limits = (float(bounds[0]) * space.images, float(bounds[1]), float(goal.max_worst))
    kernels.scan(
        (0,) * space.lanes, _tables(space), space.classes, space.always_present,
        -1 if task.x is None else task.x, np.array(task.ys), np.array(task.zs), members, row_start, reach,
        int(task.prefix.remaining.sum()), costs, limits, goal.cheapest, tighten,
        _screen(space, task), found,
    )  # fmt: skip
    return _found(space, task, goal, found, tighten=tighten)


def run_front_task(space: SearchSpace, task: Task, max_worst: float, known: NDArray[np.float64]) -> list[Found]:
    """Every configuration of the task that no known point dominates (and some that others of the task dominate).

    known: [2, n] costs and mIoUs of the front so far, both rising.
    """
    from pipeline.exact_search import kernels

    members, row_start, reach, costs = _kernel_inputs(space, task)
    room = 1024
    while True:
        worth, where = np.empty((room, 2)), np.empty((room, 4), dtype=np.int64)
        front = np.zeros((2, known.shape[1] + room))
        front[:, : known.shape[1]] = known * np.array([[space.images], [1.0]])
        points = kernels.scan_front(
            (0,) * space.lanes, _tables(space), space.classes, space.always_present,
            -1 if task.x is None else task.x, np.array(task.ys), np.array(task.zs), members, row_start, reach,
            int(task.prefix.remaining.sum()), costs, float(max_worst), front, known.shape[1],
            worth, where,
        )  # fmt: skip
        if points >= 0:
            return [_found_at(space, task, tuple(int(v) for v in where[n]), worth[n]) for n in range(points)]
        room *= 8


def _tables(space: SearchSpace) -> tuple[NDArray[Any], ...]:
    """The kernels' view of the space."""
    return space.packed, space.totals, space.rank, space.levels, space.head_cost


def _screen(space: SearchSpace, task: Task) -> tuple[NDArray[np.float64], NDArray[np.float64], float, int]:
    """The surrogate as the kernel reads it: its offset counts the images that left, and those that reach x at x."""
    if task.surrogate is None:
        return np.zeros((0, 0)), np.zeros((0, 0)), 0.0, 0
    worth, remaining = task.surrogate.worth, np.ones(space.images, dtype=bool)
    offset = task.surrogate.offset
    for candidate, level in zip(task.prefix.chosen, task.prefix.levels, strict=True):
        leaving = remaining & (space.rank[candidate] > level)
        offset += float(worth[candidate, leaving].sum())
        remaining &= ~leaving
    if task.x is not None:
        offset += float(worth[task.x, remaining].sum())
    return worth, np.ascontiguousarray(worth[list(task.zs)].T), offset, task.surrogate.classes


def _kernel_inputs(
    space: SearchSpace, task: Task
) -> tuple[
    NDArray[np.int32],
    NDArray[np.int32],
    NDArray[np.generic],
    tuple[float, float, NDArray[np.float64], NDArray[np.float64]],
]:
    """Images by row of x, class sums if all of them left at x, and the costs of leaving at each exit."""
    prefix, ys, zs = task.prefix, list(task.ys), list(task.zs)
    heads = float(space.head_cost[list(prefix.chosen)].sum())
    early = len(prefix.chosen)
    members, row_start, reach = _rows(space, task)
    cost_x = 0.0
    if task.x is not None:
        heads += float(space.head_cost[task.x])
        early += 1
        cost_x = float(space.depth_cost[task.x]) + heads + early * space.boundary
    cost_y = space.depth_cost[ys] + space.head_cost[ys] + heads + (early + 1) * space.boundary
    cost_z = space.depth_cost[zs] + space.head_cost[zs] + heads + (early + 1) * space.boundary
    return members, row_start, reach, (prefix.cost, cost_x, cost_y, cost_z)


def _rows(space: SearchSpace, task: Task) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.generic]]:
    """Images that reach x by their rank there, where each rank starts, and the class sums if all of them left at x."""
    remaining = task.prefix.remaining
    if task.x is None:
        members = np.flatnonzero(remaining).astype(np.int32)
        return members, np.array([0, len(members)], dtype=np.int32), task.prefix.sums
    order, levels = space.order[task.x], int(space.levels[task.x])
    if remaining.all():
        return order, space.row_start[task.x, : levels + 1], task.prefix.sums + space.totals[task.x]
    members = order[remaining[order]]
    row_start = np.searchsorted(space.rank[task.x][members], np.arange(levels + 1)).astype(np.int32)
    left = space.packed[task.x][remaining].sum(axis=0, dtype=space.totals.dtype)
    return members, row_start, task.prefix.sums + left


def _found(space: SearchSpace, task: Task, goal: Goal, found: NDArray[np.float64], *, tighten: bool) -> list[Found]:
    valid = found[..., 0] >= 0
    if tighten and valid.any():
        valid &= _first_by_goal(found, valid, goal, space.images)
    return [
        _found_at(space, task, (int(yi), int(zi), *(int(v) for v in found[yi, zi, 2:])), found[yi, zi, :2])
        for yi, zi in np.argwhere(valid)
    ]


def _found_at(space: SearchSpace, task: Task, where: tuple[int, ...], worth: NDArray[np.float64]) -> Found:
    """where: positions of y and z in the task, row of x, interval of y. worth: mIoU and cost sum."""
    yi, zi, i, j = where
    middle = () if task.x is None else (task.x,)
    chosen = (*task.prefix.chosen, *middle, task.ys[yi], task.zs[zi])
    levels = (*task.prefix.levels, *((i,) if middle else ()), j)
    return Found(float(worth[0]), float(worth[1]) / space.images, chosen, levels, tie_key_of(space, chosen))


def _first_by_goal(found: NDArray[np.float64], valid: NDArray[np.bool_], goal: Goal, images: int) -> NDArray[np.bool_]:
    """Which of the valid ones are best within the tie tolerances."""
    miou = np.where(valid, found[..., 0], -np.inf)
    cost = np.where(valid, found[..., 1], np.inf)
    slack = LATENCY_TOLERANCE * images
    if goal.cheapest:
        keep = cost <= cost.min() + slack
        return np.asarray(keep & (miou >= miou[keep].max() - TIE_MIOU))
    keep = miou >= miou.max() - TIE_MIOU
    return np.asarray(keep & (cost <= cost[keep].min() + slack))


def _blocks(members: tuple[int, ...], size: int) -> Iterator[tuple[int, ...]]:
    for start in range(0, len(members), size):
        yield members[start : start + size]


def _y_block(space: SearchSpace, x: int | None, ys: tuple[int, ...], z_count: int) -> int:
    """How many y keep a task near CELLS_PER_TASK threshold pairs."""
    widest = max(int(space.levels[y]) for y in ys)
    rows = 1 if x is None else int(space.levels[x])
    return max(1, CELLS_PER_TASK // (rows * widest * z_count))
