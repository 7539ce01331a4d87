"""Compiled inner loops of the search: joint histograms of class sums with running sums over the thresholds.

One call takes a set of images that reach exit x, the candidates y behind it and the last candidates z, and looks at
every threshold pair. An image of rank r leaves at interval t iff r > t. Row t of x: images of rank <= t remain;
they are added to a histogram over their rank at y as (z's sums - y's sums); its running sum over y's intervals gives
the routed class sums of every pair. Sums are exact integers; a float32 mIoU screens, float64 decides.
"""

# mypy: allow-untyped-defs
# Types come from the arguments when a kernel is compiled; each docstring states shapes.

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import config, njit

from device_profiler.files import cache_folder

config.CACHE_DIR = str(cache_folder("numba"))  # type: ignore[attr-defined]  # set by numba at run time

SCREEN = np.float32(2e-5)  # float32's error of a mean over classes is well below this
TIE, MIOU, LATENCY = 1e-12, 1e-9, 1e-6  # as in configuration.py
_FAST = {"reassoc", "contract", "nsz"}  # infinite bounds are real: no "ninf"


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile without the interpreter lock; the machine code is cached in the project's cache folder."""
    compiled: Callable[..., Any] = njit(nogil=True, cache=True, fastmath=_FAST, error_model="numpy")(function)
    return compiled


@kernel
def exact_miou(sums, lanes, classes):
    """float64 mean over the classes with a positive union; sums: [2 * lanes] intersections, unions."""
    total, present = 0.0, 0
    for k in range(classes):
        if sums[lanes + k] > 0:
            total += sums[k] / sums[lanes + k]
            present += 1
    return total / present if present else 0.0


@kernel
def base_rows(packed, rank, x, y, members, row_start, reach, lanes):
    """[rows, 2 * lanes] class sums of every row before anything reaches z: leavers at x (in `reach`), the rest at y."""
    rows = len(row_start) - 1
    sums = np.empty((rows, 2 * lanes), dtype=packed.dtype)
    for i in range(rows):
        for q in range(2 * lanes):
            sums[i, q] = reach[q] if i == 0 else sums[i - 1, q]
        for m in range(row_start[i], row_start[i + 1]):
            image = members[m]
            for q in range(2 * lanes):
                sums[i, q] += packed[y, image, q]
            if x >= 0:
                for q in range(2 * lanes):
                    sums[i, q] -= packed[x, image, q]
    return sums


@kernel
def add_row(histogram, count, packed, rank, y, z, members, start, stop):
    """The images of one row stay on: each adds what z has over y to the histogram over its rank at y."""
    width = histogram.shape[1]
    for m in range(start, stop):
        image = members[m]
        r = rank[y, image]
        count[r] += 1
        for q in range(width):
            histogram[r, q] += packed[z, image, q] - packed[y, image, q]


@kernel
def next_total(pad, running, histogram, j, classes, always):
    """Running class sums up to interval j; their IoUs' float32 sum over the classes present, and how many those are."""
    lanes = len(pad)
    total = np.float32(0.0)
    for q in range(lanes):
        intersection = running[q] + histogram[j, q]
        union = running[lanes + q] + histogram[j, lanes + q]
        running[q] = intersection
        running[lanes + q] = union
        total += np.float32(intersection) / np.float32(union)
    if always:
        return total, classes
    present = 0
    total = np.float32(0.0)
    for q in range(classes):
        if running[lanes + q] > 0:
            present += 1
            total += np.float32(running[q]) / np.float32(running[lanes + q])
    return total, present


@kernel
def scan_pair(
    pad, packed, rank, classes, always, y, z, members, row_start, base, reaching, costs, cap, floor, cheapest,
    histogram, count, running, best,
):  # fmt: skip
    """Best threshold pair (row i, interval j) of one y and z: best[:] = mIoU, cost sum, i, j; mIoU < 0 if none.

    costs: summed over the images that left before; of leaving at x, y and z. cap: highest cost sum. floor: lowest mIoU.
    """
    left_cost, cost_x, cost_y, cost_z = costs
    slack = MIOU if cheapest else TIE
    cost_slack = LATENCY * rank.shape[1]
    best[0], best[1] = -1.0, np.inf
    histogram[:] = 0
    count[:] = 0
    for i in range(len(row_start) - 1):
        start, stop = row_start[i], row_start[i + 1]
        if start == stop:
            continue  # routes as the row before
        row_cost = left_cost + (reaching - stop) * cost_x + stop * cost_y
        if row_cost > cap + cost_slack:
            break  # later rows keep more images
        add_row(histogram, count, packed, rank, y, z, members, start, stop)
        running[:] = base[i]
        late = 0
        for j in range(len(count) - 1):
            late += count[j]
            cost = row_cost + late * (cost_z - cost_y)
            if cost > cap + cost_slack:
                break  # later intervals send more images to z
            total, present = next_total(pad, running, histogram, j, classes, always)
            if late == 0 or total < (floor - SCREEN) * present:
                continue  # late == 0: nothing reaches z, the configuration without it is no worse
            miou = exact_miou(running, len(pad), classes)
            if miou < floor - slack:
                continue
            gain = miou - best[0] if abs(miou - best[0]) > TIE else 0.0
            saving = best[1] - cost if abs(best[1] - cost) > cost_slack else 0.0
            first, second = (saving, gain) if cheapest else (gain, saving)
            if first > 0 or (first == 0 and second > 0):
                best[0], best[1], best[2], best[3] = miou, cost, i, j
                if cheapest:
                    cap = cost
                else:
                    floor = miou


@kernel
def scan(
    pad, packed, rank, levels, classes, always, x, ys, zs, members, row_start, reach, reaching, costs, head_cost,
    bounds, cheapest, tighten, found,
):  # fmt: skip
    """Best threshold pair of every (y, z) behind x, in found[y, z] = (mIoU, cost sum, i, j); mIoU < 0 if none.

    pad: a tuple of P zeros (P, the lanes, is then known when compiling). x: -1 where nothing is selected before y.
    members, row_start: images that reach x, by row. reach: [2P] class sums if they all left at x. reaching: their
    number. costs: (sum of the images that left before, cost of leaving at x, [y] cost of leaving at y, [z] cost of
    leaving at z without y's head). bounds: highest cost sum, lowest mIoU, highest cost of z; the first two tighten to
    what is found when `tighten`.
    """
    left_cost, cost_x, cost_y, cost_z = costs
    cap, floor, worst = bounds
    running = np.zeros(2 * len(pad), dtype=packed.dtype)
    for yi in range(len(ys)):
        y = ys[yi]
        found[yi, :, 0] = -1.0
        if left_cost + (reaching - 1) * cost_x + cost_y[yi] > cap + LATENCY * rank.shape[1]:
            continue
        base = base_rows(packed, rank, x, y, members, row_start, reach, len(pad))
        histogram = np.zeros((levels[y] + 1, 2 * len(pad)), dtype=packed.dtype)
        count = np.zeros(levels[y] + 1, dtype=np.int64)
        for zi in range(len(zs)):
            last = cost_z[zi] + head_cost[y]
            if last > worst + LATENCY:
                continue
            best = found[yi, zi]
            scan_pair(
                pad, packed, rank, classes, always, y, zs[zi], members, row_start, base, reaching,
                (left_cost, cost_x, cost_y[yi], last), cap, floor, cheapest, histogram, count, running, best,
            )  # fmt: skip
            if tighten and best[0] >= 0 and cheapest:
                cap = min(cap, best[1])
            elif tighten:
                floor = max(floor, best[0])


@kernel
def step_of(front_cost, size, cost):
    """How many of the front's rising costs are at most `cost`."""
    low, high = 0, size
    while low < high:
        middle = (low + high) // 2
        if front_cost[middle] <= cost:
            low = middle + 1
        else:
            high = middle
    return low


@kernel
def insert(front, size, cost, miou):
    """Put a point that beats its step into the front [2, capacity] (costs, mIoUs, both rising); the new size."""
    at = step_of(front[0], size, cost)
    stop = at
    while stop < size and front[1, stop] <= miou:
        stop += 1  # dominated
    shift = at + 1 - stop
    if shift > 0:
        for n in range(size - 1, stop - 1, -1):
            front[0, n + shift], front[1, n + shift] = front[0, n], front[1, n]
    elif shift < 0:
        for n in range(stop, size):
            front[0, n + shift], front[1, n + shift] = front[0, n], front[1, n]
    front[0, at], front[1, at] = cost, miou
    return size + shift


@kernel
def scan_front(
    pad, packed, rank, levels, classes, always, x, ys, zs, members, row_start, reach, reaching, costs, head_cost,
    worst, front, size, worth, where,
):  # fmt: skip
    """Points that no known point dominates, in worth[n] = (mIoU, cost sum) and where[n] = (y, z, i, j); how many.

    front: [2, capacity] cost sums and mIoUs of the known front, `size` of them; it grows with what is found. The scan
    ends early, with -1, when worth or front would overflow: call again with more room. Others as in `scan`.
    """
    left_cost, cost_x, cost_y, cost_z = costs
    running = np.zeros(2 * len(pad), dtype=packed.dtype)
    cost_slack = LATENCY * rank.shape[1]
    points = 0
    for yi in range(len(ys)):
        y = ys[yi]
        base = base_rows(packed, rank, x, y, members, row_start, reach, len(pad))
        histogram = np.zeros((levels[y] + 1, 2 * len(pad)), dtype=packed.dtype)
        count = np.zeros(levels[y] + 1, dtype=np.int64)
        for zi in range(len(zs)):
            last = cost_z[zi] + head_cost[y]
            if last > worst + LATENCY:
                continue
            histogram[:] = 0
            count[:] = 0
            for i in range(len(row_start) - 1):
                start, stop = row_start[i], row_start[i + 1]
                if start == stop:
                    continue
                add_row(histogram, count, packed, rank, y, zs[zi], members, start, stop)
                running[:] = base[i]
                row_cost = left_cost + (reaching - stop) * cost_x + stop * cost_y[yi]
                late = 0
                for j in range(levels[y]):
                    late += count[j]
                    cost = row_cost + late * (last - cost_y[yi])
                    total, present = next_total(pad, running, histogram, j, classes, always)
                    at = step_of(front[0], size, cost + cost_slack)
                    floor = front[1, at - 1] if at > 0 else -1.0
                    if late == 0 or total < (floor - SCREEN) * present:
                        continue
                    miou = exact_miou(running, len(pad), classes)
                    if miou < floor - TIE:
                        continue
                    if points == len(worth) or size + 1 >= front.shape[1]:
                        return -1
                    worth[points, 0], worth[points, 1] = miou, cost
                    where[points, 0], where[points, 1], where[points, 2], where[points, 3] = yi, zi, i, j
                    points += 1
                    if miou > floor:
                        size = insert(front, size, cost, miou)
    return points
