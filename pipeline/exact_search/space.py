"""The two files as arrays that the kernels read: candidates, thresholds as ranks, packed class sums, costs."""

from dataclasses import dataclass
from itertools import combinations
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device_profiler.errors import InputError
from pipeline.exact_search.configuration import Configuration
from pipeline.exit_statistics import ExitStatistics
from pipeline.latency_table import LatencyTable

CACHE_LINE = 64  # bytes
LANES = 8  # class sums are padded to a multiple of this: one SIMD register of 32-bit numbers


@dataclass(frozen=True, eq=False)
class SearchSpace:
    """N candidates (exit, head), numbered by exit, then by head name.

    packed: [N, I, 2P] pixels, intersections then unions of the classes that occur, padded with zeros to P lanes, in the
    narrowest integers that hold them; their sums are of the type of `totals`, wide enough for every routing.
    rank: [N, I] number of threshold intervals at or below the image's confidence: it leaves at interval t iff
    rank > t. levels: [N] intervals per candidate. thresholds: [N] float32 midpoints of the intervals, rising.
    order, row_start: images by rank, and where each rank starts ([N, I]; [N, levels + 2], ragged rows padded).
    """

    exit_of: NDArray[np.int64]
    head_of: NDArray[np.int64]
    names: tuple[str, ...]
    by_exit: tuple[tuple[int, ...], ...]
    packed: NDArray[np.unsignedinteger | np.signedinteger]
    totals: NDArray[np.int32] | NDArray[np.int64]  # [N, 2P] class sums over all images
    rank: NDArray[np.int32]
    levels: NDArray[np.int64]
    thresholds: tuple[NDArray[np.float32], ...]
    order: NDArray[np.int32]
    row_start: NDArray[np.int32]
    head_cost: NDArray[np.float64]
    depth_cost: NDArray[np.float64]  # [N] backbone up to the candidate's exit
    boundary: float
    classes: int
    lanes: int
    always_present: bool  # every class has a positive union whatever the routing
    last: int | None = None  # the candidate that every configuration ends with, where only such are asked for

    @property
    def images(self) -> int:
        """Number of images, I."""
        return int(self.rank.shape[1])

    def route_costs(self, chosen: tuple[int, ...]) -> tuple[float, ...]:
        """Cost of leaving at each of the chosen candidates (see evaluate.route_costs)."""
        heads = np.cumsum(self.head_cost[list(chosen)])
        boundaries = np.minimum(np.arange(1, len(chosen) + 1), len(chosen) - 1) * self.boundary
        return tuple(float(v) for v in self.depth_cost[list(chosen)] + heads + boundaries)

    def configuration(self, setting: str, chosen: tuple[int, ...], levels: tuple[int, ...]) -> Configuration:
        """The configuration of chosen candidates and threshold intervals."""
        return Configuration(
            setting,
            tuple(int(self.exit_of[c]) for c in chosen),
            tuple(self.names[c] for c in chosen),
            tuple(float(self.thresholds[c][t]) for c, t in zip(chosen, levels, strict=False)),
        )

    def exit_sets(self, count: int) -> list[tuple[int, ...]]:
        """Every choice of `count` exits that have candidates, in depth order; with `last`, only those it ends."""
        occupied = [e for e, members in enumerate(self.by_exit) if members]
        sets = combinations(occupied, count)
        return [exits for exits in sets if self.last is None or exits[-1] == self.exit_of[self.last]]

    def size(self, setting: str, max_exits: int) -> int:
        """Number of configurations: exits x heads x threshold intervals."""
        largest = 1 if setting == "budgeted" else min(max_exits, len(self.by_exit))
        total = 0
        for count in range(1, largest + 1):
            for exits in self.exit_sets(count):
                early = [self._choices(e, setting) for e in exits[:-1]]
                total += prod(early) * len(self.by_exit[exits[-1]])
        return total

    def _choices(self, exit_index: int, setting: str) -> int:
        members = self.by_exit[exit_index]
        return int(sum(self.levels[c] for c in members)) if setting == "adaptive" else len(members)


def build_space(
    statistics: ExitStatistics, table: LatencyTable, threshold_grid: int | None, *, ends_with_full: bool = False
) -> SearchSpace:
    """Compile the two files; `ends_with_full`: only configurations that end with the full network.

    Raises InputError where they disagree or no candidate is left.
    """
    table.matches(statistics)
    by_exit, slots, names = _candidates(statistics, table, ends_with_full=ends_with_full)
    exit_of = np.array([e for e, _ in slots], dtype=np.int64)
    head_of = np.array([h for _, h in slots], dtype=np.int64)
    packed, totals, classes, always_present = _pack(statistics, exit_of, head_of)
    grids = [interval_thresholds(statistics.confidence[e, h], threshold_grid) for e, h in slots]
    ranks = [
        np.searchsorted(observed, statistics.confidence[e, h], side="right")
        for (observed, _), (e, h) in zip(grids, slots, strict=True)
    ]
    rank = np.array(ranks, dtype=np.int32)
    levels = np.array([len(observed) for observed, _ in grids], dtype=np.int64)
    order = np.argsort(rank, axis=1, kind="stable").astype(np.int32)
    return SearchSpace(
        exit_of=exit_of,
        head_of=head_of,
        names=names,
        by_exit=by_exit,
        packed=packed,
        totals=totals,
        rank=rank,
        levels=levels,
        thresholds=tuple(middle for _, middle in grids),
        order=order,
        row_start=_row_starts(rank, int(levels.max())),
        head_cost=np.array([table.heads[e][h] for e, h in slots], dtype=np.float64),
        depth_cost=np.cumsum(np.array(table.blocks, dtype=np.float64))[exit_of],
        boundary=table.boundary_ns,
        classes=classes,
        lanes=packed.shape[2] // 2,
        always_present=always_present,
        last=slots.index(statistics.reference) if ends_with_full else None,
    )


def interval_thresholds(
    confidence: NDArray[np.float32], grid: int | None
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Observed confidences that close a threshold interval, rising, and each interval's float32 midpoint.

    All thresholds in (next lower observed, observed] route alike. grid: only the `grid` quantiles at levels
    k / (grid + 1) of the observed values. The lowest interval reaches down to 0.
    """
    values = np.unique(confidence)
    lower = np.concatenate([np.zeros(1, np.float32), values[:-1]])
    middle = ((lower.astype(np.float64) + values.astype(np.float64)) / 2).astype(np.float32)
    # Neighbouring floats have no float32 between them: their midpoint may round down onto the lower one.
    inside = (middle > lower) & (middle <= values)
    middle = np.where(inside, middle, values)
    if grid is None:
        return values, middle
    positions = np.ceil(np.arange(1, grid + 1) / (grid + 1) * len(confidence)).astype(np.int64) - 1
    chosen = np.unique(np.searchsorted(values, np.sort(confidence)[np.maximum(positions, 0)]))
    return values[chosen], middle[chosen]


def _candidates(
    statistics: ExitStatistics, table: LatencyTable, *, ends_with_full: bool
) -> tuple[tuple[tuple[int, ...], ...], list[tuple[int, int]], tuple[str, ...]]:
    """A candidate exists where its name is not empty and its latency not null, and the full network may follow it."""
    full = statistics.reference
    if ends_with_full and table.heads[full[0]][full[1]] is None:
        raise InputError(f"the latency table has no figure for the full network (exit {full[0]}, head {full[1]})")
    slots: list[tuple[int, int]] = []
    by_exit = []
    for e, row in enumerate(statistics.heads):
        heads = [h for h, name in enumerate(row) if name and table.heads[e][h] is not None]
        if ends_with_full and e >= full[0]:
            heads = [full[1]] if e == full[0] else []
        heads.sort(key=lambda h, row=row: row[h])  # type: ignore[misc]
        by_exit.append(tuple(range(len(slots), len(slots) + len(heads))))
        slots.extend((e, h) for h in heads)
    if not slots:
        raise InputError("no candidate: no head has both statistics and a latency")
    return tuple(by_exit), slots, tuple(statistics.heads[e][h] for e, h in slots)


def _pack(
    statistics: ExitStatistics, exit_of: NDArray[np.int64], head_of: NDArray[np.int64]
) -> tuple[NDArray[np.unsignedinteger | np.signedinteger], NDArray[np.int32] | NDArray[np.int64], int, bool]:
    """Class sums of every candidate, without the classes that no candidate ever sees."""
    slots = list(zip(exit_of, head_of, strict=True))
    highest = np.max([statistics.union[slot] for slot in slots], axis=0)  # [I, C]
    lowest = np.min([statistics.union[slot] for slot in slots], axis=0)
    seen = highest.any(axis=0)
    classes = int(seen.sum())
    lanes = max(LANES, -(-classes // LANES) * LANES)
    packed = aligned((len(slots), len(highest), 2 * lanes), _narrowest(int(highest.max())))
    for c, slot in enumerate(slots):
        packed[c, :, :classes] = statistics.intersection[slot][:, seen]
        packed[c, :, lanes : lanes + classes] = statistics.union[slot][:, seen]
    # No routing's sum can overflow what holds the sum of the highest unions.
    kind = np.int32 if int(highest.sum(axis=0).max()) < 2**30 else np.int64
    totals = packed.sum(axis=1, dtype=kind)
    return packed, totals, classes, bool((lowest[:, seen] > 0).any(axis=0).all())


def _narrowest(largest: int) -> type[np.uint16] | type[np.int32] | type[np.int64]:
    if largest < 2**16:
        return np.uint16
    return np.int32 if largest < 2**30 else np.int64


def aligned(shape: tuple[int, ...], kind: type[np.generic]) -> NDArray[Any]:
    """Zeros that start on a cache line: the kernels' loads then touch as few lines as they can."""
    size = int(np.prod(shape)) * np.dtype(kind).itemsize
    raw = np.zeros(size + CACHE_LINE, dtype=np.uint8)
    start = -raw.ctypes.data % CACHE_LINE
    return raw[start : start + size].view(kind).reshape(shape)


def _row_starts(rank: NDArray[np.int32], most: int) -> NDArray[np.int32]:
    """[N, most + 2]: the images of rank r of candidate c are order[c, row_start[c, r] : row_start[c, r + 1]]."""
    counts = np.zeros((len(rank), most + 2), dtype=np.int64)
    for c, row in enumerate(rank):
        counts[c, 1:] = np.bincount(row, minlength=most + 1)
    return np.cumsum(counts, axis=1).astype(np.int32)
