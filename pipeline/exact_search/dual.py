"""The best that images can do over the exits behind, bounded from above: one dual problem, its compiled loops.

A configuration of K exits is a path of every image: it reaches exit 1; at exit k it leaves, worth v[k], or pays for the
head and goes on. What ties the exits to each other is that the images which reach exit k + 1 are those that went on at
k. Give that tie a multiplier r[k, i], what reaching exit k is worth to image i (Lagrangian decomposition), and every
exit is alone: one head and one threshold for all its images, each of which may come or stay away,
    bound = max over (head, threshold) at exit 1 of sum_i w[1, i]  +  sum_{k > 1} max of sum_i max(0, w[k, i] - r[k, i])
with w[k, i] = v - price * cost where image i leaves, r[k + 1, i] - price * cost where it goes on. The budget has a
multiplier of its own, the price. Any multipliers give a bound; subgradient steps (Polyak) bring it down.
Guignard and Kim, Lagrangean decomposition, Mathematical Programming 39, 1987; Polyak's step: Held, Wolfe, Crowder 1974.
"""

# mypy: allow-untyped-defs
# Types come from the arguments when a kernel is compiled; each docstring states shapes.

import numpy as np

from pipeline.exact_search.kernels import kernel

PATIENCE = 10  # steps without a better bound before steps get shorter
SHORTER = 0.6
SHORTEST = 1e-3  # of Polyak's step: the bound has settled
NOTICED = 1e-7  # a gain below this share of the bound counts as none


@kernel
def exit_at_its_best(tables, price, reach, k, first, last, final, loose, images, histogram):
    """(value, candidate, level) of the best choice at exit k: level -1: all leave, candidate -1: all pass it.

    tables: worth [N, I], rank [N, I], levels, head_cost, depth_cost [N], boundary. reach: [K, I], row 0 is not read:
    every image reaches the first exit. first, last: its candidates. final: the last exit of all, where every image
    leaves. loose: any exit may be passed or be the last. images: [n]. histogram: [levels + 1] room.
    """
    worth, _, levels, head_cost, depth_cost, _ = tables
    best, candidate, level = -np.inf, -1, -1
    if loose and not final:
        best = 0.0
        for i in images:
            best += reach[k + 1, i] if k == 0 else max(0.0, reach[k + 1, i] - reach[k, i])
    for c in range(first, last):
        if final or loose:
            value, cost = 0.0, price * (depth_cost[c] + head_cost[c])
            for i in images:
                value += worth[c, i] - cost if k == 0 else max(0.0, worth[c, i] - cost - reach[k, i])
            if value > best:
                best, candidate, level = value, c, -1
        if final:
            continue
        value = leave_or_stay(tables, price, reach, k, c, images, histogram)
        for t in range(levels[c]):
            value += histogram[t]
            if value > best:
                best, candidate, level = value, c, t
    return best, candidate, level


@kernel
def leave_or_stay(tables, price, reach, k, c, images, histogram):
    """What candidate c of exit k gives if all leave; histogram[t]: what images of rank t give more by going on."""
    worth, rank, levels, head_cost, depth_cost, boundary = tables
    histogram[: levels[c] + 1] = 0.0
    value, stay_cost = 0.0, price * (head_cost[c] + boundary)
    leave_cost = stay_cost + price * depth_cost[c]
    for i in images:
        leave, stay = worth[c, i] - leave_cost, reach[k + 1, i] - stay_cost
        if k > 0:
            leave, stay = max(0.0, leave - reach[k, i]), max(0.0, stay - reach[k, i])
        value += leave
        histogram[rank[c, i]] += stay - leave
    return value


@kernel
def follow(tables, price, reach, k, candidate, level, images, slope):
    """Add to slope [K, I] how the bound changes with the multipliers at this choice; the cost of what images come."""
    worth, rank, _, head_cost, depth_cost, boundary = tables
    spent = 0.0
    for i in images:
        stays, cost = candidate < 0, 0.0
        if candidate >= 0 and level < 0:
            cost = head_cost[candidate] + depth_cost[candidate]
        elif candidate >= 0:
            stays = rank[candidate, i] <= level
            cost = head_cost[candidate] + boundary + (0.0 if stays else depth_cost[candidate])
        value = (reach[k + 1, i] if stays else worth[candidate, i]) - price * cost
        if k == 0 or value > reach[k, i]:
            spent += cost
            if k > 0:
                slope[k, i] -= 1.0
            if stays:
                slope[k + 1, i] += 1.0
    return spent


@kernel
def dual_bound(tables, firsts, lasts, images, budget, enough, steps, loose, priced, reach, price):
    """(bound, price) on the sum of worth of any configuration of these exits that costs at most `budget`.

    firsts, lasts: [K] candidates of every exit. images: [n] that reach the first. budget: cost summed over them.
    enough: steps aim at this value, and end below it. priced: the price moves too (else it stays). reach: [K, I] the
    multipliers to start from; it holds those of the bound afterwards. Others as in `exit_at_its_best`.
    """
    exits = len(firsts)
    histogram = np.empty(tables[2].max() + 1)
    slope, here = np.zeros_like(reach), reach.copy()
    lowest, lowest_price, share, stalled = np.inf, price, 1.0, 0
    scale = len(images) ** 0.5 / max(budget, 1.0)  # the whole budget weighs as much as one multiplier an image
    for _ in range(steps):
        slope[:] = 0.0
        bound, left = price * budget, budget
        for k in range(exits):
            value, candidate, level = exit_at_its_best(
                tables, price, here, k, firsts[k], lasts[k], k == exits - 1, loose, images, histogram
            )  # fmt: skip
            bound += value
            left -= follow(tables, price, here, k, candidate, level, images, slope)
        stalled = 0 if bound < lowest - NOTICED * abs(lowest) else stalled + 1
        if bound < lowest:
            lowest, lowest_price = bound, price
            reach[:] = here
            if lowest < enough:
                break
        if stalled >= PATIENCE:
            stalled, share = 0, share * SHORTER
            here[:] = reach
            price = lowest_price
            if share < SHORTEST:
                break
            continue
        length = (slope**2).sum() + ((left * scale) ** 2 if priced else 0.0)
        if length == 0.0:
            break
        step = share * max(bound - enough, 1e-9) / length
        here -= step * slope
        if priced:
            price = max(0.0, price - step * left * scale**2)
    return lowest, lowest_price


@kernel
def child_bounds(tables, firsts, lasts, images, budget, reach, price, bounds):
    """Bound of every (candidate, level) of the first exit, by given multipliers, in bounds [members, levels].

    A level at which no other images go on than at the one before is left at -inf; so is one past a candidate's own.
    """
    rank, levels = tables[1], tables[2]
    histogram = np.empty(levels.max() + 1)
    behind = price * budget
    for k in range(1, len(firsts)):
        behind += exit_at_its_best(
            tables, price, reach, k, firsts[k], lasts[k], k == len(firsts) - 1, False, images, histogram
        )[0]  # fmt: skip
    bounds[:] = -np.inf
    seen = np.zeros(len(histogram), dtype=np.bool_)
    for c in range(firsts[0], lasts[0]):
        value = behind + leave_or_stay(tables, price, reach, 0, c, images, histogram)
        seen[:] = False
        for i in images:
            seen[rank[c, i]] = True
        for t in range(levels[c]):
            value += histogram[t]
            if seen[t]:
                bounds[c - firsts[0], t] = value
