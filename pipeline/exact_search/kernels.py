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
from pipeline.exact_search.simd import add_difference, advance

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
def base_rows(pad, flat, x, y, images, members, row_start, reach):
    """[rows, 2P] class sums of every row before anything reaches z: leavers at x (in `reach`), the rest at y."""
    rows, width = len(row_start) - 1, 2 * len(pad)
    sums = np.empty((rows, width), dtype=reach.dtype)
    line = sums.reshape(-1)
    for i in range(rows):
        for q in range(width):
            sums[i, q] = reach[q] if i == 0 else sums[i - 1, q]
        for m in range(row_start[i], row_start[i + 1]):
            at = members[m] * width
            if x >= 0:
                plus, minus = y * images * width + at, x * images * width + at
                add_difference(pad, line, i * width, flat, plus, minus)  # type: ignore[call-arg]
            else:
                for q in range(width):
                    sums[i, q] += flat[y * images * width + at + q]
    return sums


@kernel
def workspace(totals, levels, lanes):
    """Zeros of totals' type on a cache line: a flat histogram of `levels` + 1 rows of class sums, and a running row."""
    line = 64 // totals.itemsize
    raw = np.zeros((levels + 2) * 2 * lanes + line, dtype=totals.dtype)
    start = (-(raw.ctypes.data // totals.itemsize)) % line
    rows = (levels + 1) * 2 * lanes
    return raw[start : start + rows], raw[start + rows : start + rows + 2 * lanes]


@kernel
def late_counts(rank, y, members, row_start, levels):
    """[rows, levels] how many of the images that stay at each row of x go on past each interval of y."""
    rows = len(row_start) - 1
    late = np.zeros((rows, levels), dtype=np.int64)
    count = np.zeros(levels + 1, dtype=np.int64)
    for i in range(rows):
        for m in range(row_start[i], row_start[i + 1]):
            count[rank[y, members[m]]] += 1
        total = 0
        for j in range(levels):
            total += count[j]
            late[i, j] = total
    return late


@kernel
def positions(rank, y, members, width):
    """[members] where each image's sums start within one candidate, and its row in the histogram over y's ranks."""
    image_at = np.empty(len(members), dtype=np.intp)
    row_at = np.empty(len(members), dtype=np.intp)
    for m in range(len(members)):
        image_at[m] = members[m] * width
        row_at[m] = rank[y, members[m]] * width
    return image_at, row_at


@kernel
def add_row(pad, histogram, row_at, flat, y_at, z_at, image_at, start, stop):
    """The images of one row stay on: each adds what z has over y to the histogram over its rank at y."""
    for m in range(start, stop):
        at = image_at[m]
        add_difference(pad, histogram, row_at[m], flat, z_at + at, y_at + at)  # type: ignore[call-arg]


@kernel
def next_total(pad, running, histogram, j, classes, always):
    """Running class sums up to interval j; their IoUs' float32 sum over the classes present, and how many those are."""
    lanes = len(pad)
    total: Any = advance(pad, running, histogram, j * 2 * lanes)  # type: ignore[call-arg]
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
    pad, flat, classes, always, y_at, z_at, image_at, row_at, row_start, base, late, reaching, images, costs, cap,
    floor, cheapest, histogram, running, best,
):  # fmt: skip
    """Best threshold pair (row i, interval j) of one y and z: best[:] = mIoU, cost sum, i, j; mIoU < 0 if none.

    costs: summed over the images that left before; of leaving at x, y and z. cap: highest cost sum. floor: lowest mIoU.
    """
    left_cost, cost_x, cost_y, cost_z = costs
    slack = MIOU if cheapest else TIE
    cost_slack = LATENCY * images
    best_miou, best_cost = -1.0, np.inf
    histogram[:] = 0
    for i in range(len(row_start) - 1):
        start, stop = row_start[i], row_start[i + 1]
        if start == stop:
            continue  # routes as the row before
        row_cost = left_cost + (reaching - stop) * cost_x + stop * cost_y
        if row_cost > cap + cost_slack:
            break  # later rows keep more images
        add_row(pad, histogram, row_at, flat, y_at, z_at, image_at, start, stop)
        for q in range(2 * len(pad)):
            running[q] = base[i, q]
        for j in range(late.shape[1]):
            cost = row_cost + late[i, j] * (cost_z - cost_y)
            if cost > cap + cost_slack:
                break  # later intervals send more images to z
            total, present = next_total(pad, running, histogram, j, classes, always)
            if late[i, j] == 0 or total < (floor - SCREEN) * present:
                continue  # late == 0: nothing reaches z, the configuration without it is no worse
            miou = exact_miou(running, len(pad), classes)
            if miou < floor - slack:
                continue
            gain = miou - best_miou if abs(miou - best_miou) > TIE else 0.0
            saving = best_cost - cost if abs(best_cost - cost) > cost_slack else 0.0
            first, second = (saving, gain) if cheapest else (gain, saving)
            if first > 0 or (first == 0 and second > 0):
                best_miou, best_cost = miou, cost
                best[2], best[3] = i, j
                if cheapest:
                    cap = cost
                else:
                    floor = miou
    best[0], best[1] = best_miou, best_cost


@kernel
def promising(
    worth, x, y, z_worth, members, row_start, rank, late, offset, reaching, costs, last, cap, needed, hopeful
):
    """Which z may still reach `needed` = classes * mIoU at some affordable threshold pair, by the surrogate; how many.

    worth: [N, I]; z_worth: [I, Z] the same of the candidates z. offset: the surrogate's, with all that left before and
    all that reach x counted there. last: [Z] cost of leaving at z. hopeful: [Z] set to 0 or 1.
    """
    left_cost, cost_x, cost_y = costs
    count = z_worth.shape[1]
    histogram = np.zeros((late.shape[1] + 1, count))
    running, best = np.empty(count), np.full(count, -np.inf)
    base = offset
    for i in range(len(row_start) - 1):
        start, stop = row_start[i], row_start[i + 1]
        row_cost = left_cost + (reaching - stop) * cost_x + stop * cost_y
        if start == stop:
            continue
        if row_cost > cap:
            break
        for m in range(start, stop):
            image = members[m]
            own = worth[y, image]
            base += own - worth[x, image] if x >= 0 else own
            r = rank[y, image]
            for n in range(count):
                histogram[r, n] += z_worth[image, n] - own
        running[:] = base
        for j in range(late.shape[1]):
            if row_cost + late[i, j] * (last.min() - cost_y) > cap:
                break
            for n in range(count):
                running[n] += histogram[j, n]
                affordable = row_cost + late[i, j] * (last[n] - cost_y) <= cap
                best[n] = max(best[n], running[n] if affordable else -np.inf)
    total = 0
    for n in range(count):
        hopeful[n] = best[n] >= needed
        total += hopeful[n]
    return total


@kernel
def scan(
    pad, tables, classes, always, x, ys, zs, members, row_start, reach, reaching, costs, bounds, cheapest, tighten,
    screen, found,
):  # fmt: skip
    """Best threshold pair of every (y, z) behind x, in found[y, z] = (mIoU, cost sum, i, j); mIoU < 0 if none.

    pad: a tuple of P zeros (P, the lanes, is then known when compiling). tables: packed, totals, rank, levels and
    head_cost of SearchSpace. x: -1 where nothing is selected before y. members, row_start: images that reach x, by
    row. reach: [2P] class sums if they all left at x. reaching: their number. costs: (sum of the images that left
    before, cost of leaving at x, [y] cost of leaving at y, [z] cost of leaving at z without y's head). bounds: highest
    cost sum, lowest mIoU, highest cost of z; the first two tighten to what is found when `tighten`. screen: the
    surrogate's worth [N, I] and [I, Z], and its offset where all that left and all that reach x are counted, and its
    number of classes; an empty worth means none.
    """
    packed, totals, rank, levels, head_cost = tables
    left_cost, cost_x, cost_y, cost_z = costs
    cap, floor, worst = bounds
    images, width = rank.shape[1], 2 * len(pad)
    flat = packed.reshape(-1)
    worth, z_worth, offset, certain = screen
    hopeful = np.ones(len(zs), dtype=np.int64)
    for yi in range(len(ys)):
        y = ys[yi]
        found[yi, :, 0] = -1.0
        if left_cost + (reaching - 1) * cost_x + cost_y[yi] > cap + LATENCY * images:
            continue
        late = late_counts(rank, y, members, row_start, levels[y])
        if len(worth) > 0 and promising(
            worth, x, y, z_worth, members, row_start, rank, late, offset, reaching, (left_cost, cost_x, cost_y[yi]),
            cost_z + head_cost[y], cap + LATENCY * images, (floor - MIOU) * certain, hopeful,
        ) == 0:  # fmt: skip
            continue
        base = base_rows(pad, flat, x, y, images, members, row_start, reach)
        image_at, row_at = positions(rank, y, members, width)
        histogram, running = workspace(totals, levels[y], len(pad))
        for zi in range(len(zs)):
            last = cost_z[zi] + head_cost[y]
            if last > worst + LATENCY or hopeful[zi] == 0:
                continue
            best = found[yi, zi]
            scan_pair(
                pad, flat, classes, always, y * images * width, zs[zi] * images * width, image_at, row_at, row_start,
                base, late, reaching, images, (left_cost, cost_x, cost_y[yi], last), cap, floor, cheapest, histogram,
                running, best,
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
    pad, tables, classes, always, x, ys, zs, members, row_start, reach, reaching, costs,
    worst, front, size, worth, where,
):  # fmt: skip
    """Points that no known point dominates, in worth[n] = (mIoU, cost sum) and where[n] = (y, z, i, j); how many.

    front: [2, capacity] cost sums and mIoUs of the known front, `size` of them; it grows with what is found. The scan
    ends early, with -1, when worth or front would overflow: call again with more room. Others as in `scan`.
    """
    packed, totals, rank, levels, head_cost = tables
    left_cost, cost_x, cost_y, cost_z = costs
    images, width = rank.shape[1], 2 * len(pad)
    flat = packed.reshape(-1)
    cost_slack = LATENCY * images
    points = 0
    for yi in range(len(ys)):
        y = ys[yi]
        base = base_rows(pad, flat, x, y, images, members, row_start, reach)
        late = late_counts(rank, y, members, row_start, levels[y])
        image_at, row_at = positions(rank, y, members, width)
        histogram, running = workspace(totals, levels[y], len(pad))
        y_at = y * images * width
        for zi in range(len(zs)):
            last = cost_z[zi] + head_cost[y]
            if last > worst + LATENCY:
                continue
            histogram[:] = 0
            for i in range(len(row_start) - 1):
                start, stop = row_start[i], row_start[i + 1]
                if start == stop:
                    continue
                add_row(pad, histogram, row_at, flat, y_at, zs[zi] * images * width, image_at, start, stop)
                for q in range(width):
                    running[q] = base[i, q]
                row_cost = left_cost + (reaching - stop) * cost_x + stop * cost_y[yi]
                for j in range(levels[y]):
                    cost = row_cost + late[i, j] * (last - cost_y[yi])
                    total, present = next_total(pad, running, histogram, j, classes, always)
                    at = step_of(front[0], size, cost + cost_slack)
                    floor = front[1, at - 1] if at > 0 else -1.0
                    if late[i, j] == 0 or total < (floor - SCREEN) * present:
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
