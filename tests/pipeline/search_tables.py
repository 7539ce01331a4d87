"""Random tables for the search's tests, and the slow, obvious search that the fast one must equal."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np
from numpy.typing import NDArray

from pipeline.exact_search.configuration import LATENCY_TOLERANCE, MIOU_TOLERANCE, Configuration
from pipeline.exact_search.evaluate import evaluate_configuration
from pipeline.exact_search.space import interval_thresholds
from pipeline.exit_statistics import ExitStatistics
from pipeline.latency_table import LatencyTable


@dataclass(frozen=True)
class Row:
    """One configuration of the brute force: candidates (exit, head), thresholds, worth."""

    slots: tuple[tuple[int, int], ...]
    thresholds: tuple[np.float32, ...]
    miou: float
    latency: float
    worst: float


def random_statistics(
    seed: int, exits: int = 3, heads: int = 2, images: int = 6, classes: int = 3, *, coarse: bool = True
) -> ExitStatistics:
    """Small tables with the awkward cases: equal confidences, duplicate images, empty classes, missing heads."""
    generator = np.random.default_rng(seed)
    shape = (exits, heads, images, classes)
    union = generator.integers(0, 12, shape)
    intersection = np.floor(union * generator.random(shape)).astype(np.int64)
    if generator.random() < 0.5:  # a class that no image holds, one that only some heads predict
        union[..., 0] = intersection[..., 0] = 0
        union[..., -1] *= generator.random(shape[:3]) < 0.2
        intersection[..., -1] = 0
    levels = 4 if coarse else 1000
    confidence = (generator.integers(0, levels + 1, shape[:3]) / levels).astype(np.float32)
    if images > 2 and generator.random() < 0.5:  # a duplicate image
        for array in (confidence, intersection, union):
            array[:, :, -1] = array[:, :, 0]
    names = np.array([[f"head{h}" for h in range(heads)] for _ in range(exits)], dtype=object)
    if heads > 1:
        names[generator.random((exits, heads)) < 0.2] = ""
        names[-1, 0] = "head0"
    for e, h in np.argwhere(names == ""):
        confidence[e, h], union[e, h] = np.nan, -7  # a slot without a head is ignored, whatever stands there
    return ExitStatistics(
        confidence=confidence,
        intersection=intersection,
        union=union,
        exits=tuple(f"exit{e + 1}" for e in range(exits)),
        heads=tuple(tuple(row) for row in names),
        classes=tuple(f"class{c}" for c in range(classes)),
        images=tuple(f"image{i}" for i in range(images)),
        reference=(exits - 1, 0),
        policy="mean",
    )


def random_table(seed: int, statistics: ExitStatistics, *, boundary: float = 0.0) -> LatencyTable:
    """Costs of a few ns, many of them equal; some heads without a latency."""
    generator = np.random.default_rng(seed + 10_000)
    exits, heads = len(statistics.exits), len(statistics.heads[0])
    costs = [[float(v) for v in row] for row in generator.integers(0, 5, (exits, heads))]
    absent = generator.random((exits, heads)) < 0.1
    absent[statistics.reference] = False
    rows = tuple(
        tuple(None if gone else v for v, gone in zip(*pair, strict=True)) for pair in zip(costs, absent, strict=True)
    )
    blocks = tuple(float(v) for v in generator.integers(0, 6, exits))
    return LatencyTable("test", "predicted", blocks, rows, boundary_ns=boundary)


def graded_tables(
    seed: int, exits: int = 4, heads: int = 3, images: int = 60, classes: int = 5
) -> tuple[ExitStatistics, LatencyTable]:
    """Tables as of trained networks: deeper is better, confidence tells the hard images, heads cost little.

    A good share of the Pareto front has every exit, so what discards such configurations wrongly is caught.
    """
    generator = np.random.default_rng(seed)
    quality = np.linspace(0.2, 1, exits)[:, None] + 0.1 * generator.standard_normal((exits, heads))
    difficulty = generator.standard_normal(images)
    noise = 0.3 * generator.standard_normal((exits, heads, images))
    truth = generator.integers(1000, 9000, (images, classes))
    score = 3 * quality[:, :, None, None] + 1.5 * difficulty[:, None] - 1
    iou = _logistic(score + 0.3 * generator.standard_normal((exits, heads, images, classes)))
    intersection = np.round(truth * iou).astype(np.int64)
    statistics = ExitStatistics(
        confidence=_logistic(difficulty + noise + quality[..., None]).astype(np.float32),
        intersection=intersection,
        union=np.maximum(np.round(truth * (1.3 - 0.3 * iou)).astype(np.int64), intersection),
        exits=tuple(f"exit{e + 1}" for e in range(exits)),
        heads=tuple(tuple(f"head{h}" for h in range(heads)) for _ in range(exits)),
        classes=tuple(f"class{c}" for c in range(classes)),
        images=tuple(f"image{i}" for i in range(images)),
        reference=(exits - 1, 0),
        policy="mean",
    )
    costs = tuple(tuple(float(v) for v in row) for row in 0.05 + 0.1 * generator.random((exits, heads)))
    return statistics, LatencyTable("test", "predicted", (10.0,) * exits, costs, boundary_ns=0.05)


def _logistic(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(1 / (1 + np.exp(-values)))


def brute_force(statistics: ExitStatistics, table: LatencyTable, max_exits: int) -> list[Row]:
    """Every adaptive configuration, image by image, in plain loops."""
    slots = [
        (e, h)
        for e, names in enumerate(statistics.heads)
        for h, name in enumerate(names)
        if name and table.heads[e][h] is not None
    ]
    rows = []
    for count in range(1, max_exits + 1):
        for chosen in combinations(slots, count):
            if len({e for e, _ in chosen}) == count:
                rows += [_row(statistics, table, chosen, t) for t in _threshold_choices(statistics, chosen)]
    return rows


def pareto_of_all(
    statistics: ExitStatistics, table: LatencyTable, max_exits: int, grid: int
) -> list[tuple[float, float]]:
    """(latency, mIoU) of the undominated of all configurations on a threshold grid, each evaluated by itself."""
    slots = [(e, h) for e, names in enumerate(statistics.heads) for h in range(len(names))]
    points = []
    for count in range(1, max_exits + 1):
        for chosen in combinations(slots, count):
            if len({e for e, _ in chosen}) < count:
                continue
            grids = [interval_thresholds(statistics.confidence[slot], grid)[1] for slot in chosen[:-1]]
            for thresholds in product(*grids):
                exits, heads = tuple(e for e, _ in chosen), tuple(statistics.heads[e][h] for e, h in chosen)
                configuration = Configuration("adaptive", exits, heads, tuple(float(t) for t in thresholds))
                found = evaluate_configuration(statistics, table, configuration)
                points.append((found.latency_ns, found.miou))
    kept: list[tuple[float, float]] = []
    for latency, miou in sorted(points, key=lambda point: (point[0], -point[1])):
        if not kept or miou > kept[-1][1] + 1e-12:
            kept.append((latency, miou))
    return kept


def best_row(rows: list[Row], *, cheapest: bool, latency: float, worst: float, miou: float) -> Row | None:
    """The best legal row by the objective's two figures."""
    legal = [
        row
        for row in rows
        if row.latency <= latency + LATENCY_TOLERANCE
        and row.worst <= worst + LATENCY_TOLERANCE
        and row.miou >= miou - MIOU_TOLERANCE
    ]
    if not legal:
        return None
    if cheapest:
        least = min(row.latency for row in legal)
        return max((row for row in legal if row.latency <= least + LATENCY_TOLERANCE), key=lambda row: row.miou)
    most = max(row.miou for row in legal)
    return min((row for row in legal if row.miou >= most - 1e-12), key=lambda row: row.latency)


def _threshold_choices(
    statistics: ExitStatistics, chosen: tuple[tuple[int, int], ...]
) -> Iterator[tuple[np.float32, ...]]:
    """Every observed confidence as a threshold, plus one above all of them."""
    observed = [[*np.unique(statistics.confidence[slot]), np.float32(2)] for slot in chosen[:-1]]
    return product(*observed)


def _row(
    statistics: ExitStatistics,
    table: LatencyTable,
    chosen: tuple[tuple[int, int], ...],
    thresholds: tuple[np.float32, ...],
) -> Row:
    costs, spent = [], 0.0
    for n, (e, h) in enumerate(chosen):
        spent += table.heads[e][h] or 0.0
        if n < len(chosen) - 1:
            spent += table.boundary_ns
        costs.append(spent + sum(table.blocks[: e + 1]))
    classes = len(statistics.classes)
    inter, union, latency = [0] * classes, [0] * classes, 0.0
    for i in range(len(statistics.images)):
        n = 0
        while n < len(thresholds) and not statistics.confidence[chosen[n]][i] >= thresholds[n]:
            n += 1
        latency += costs[n]
        for c in range(classes):
            inter[c] += int(statistics.intersection[chosen[n]][i, c])
            union[c] += int(statistics.union[chosen[n]][i, c])
    ious = [a / b for a, b in zip(inter, union, strict=True) if b > 0]
    miou = sum(ious) / len(ious) if ious else 0.0
    return Row(chosen, thresholds, miou, latency / len(statistics.images), costs[-1])
