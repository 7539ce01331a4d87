"""Random statistics and latency tables of any size, with the structure of real ones.

Deeper exits and costlier heads are better, images differ in difficulty, and confidence follows difficulty with noise;
everything is drawn from a seed, so that every script of this folder searches the same tables.
"""

import msgspec
import numpy as np

from pipeline.exit_statistics import ExitStatistics
from pipeline.latency_table import LatencyTable

PIXELS = 200 * 200


def random_tables(
    exits: int, heads: int, images: int, classes: int, seed: int = 0
) -> tuple[ExitStatistics, LatencyTable]:
    """Statistics and latency table of exits x heads candidates over images."""
    generator = np.random.default_rng(seed)
    quality = 0.3 + 0.4 * np.linspace(0.3, 1, exits)[:, None] + 0.05 * generator.standard_normal((exits, heads))
    difficulty = generator.standard_normal(images)
    noise = 0.7 * generator.standard_normal((exits, heads, images))
    confidence = _logistic(difficulty + noise + quality[..., None]).astype(np.float32)
    present = generator.random((images, classes)) * (generator.random((images, classes)) < 0.5)
    truth = present / np.maximum(present.sum(axis=1, keepdims=True), 1e-9) * PIXELS
    shape = (exits, heads, images, classes)
    intersection, union = np.empty(shape, dtype=np.int64), np.empty(shape, dtype=np.int64)
    for e in range(exits):  # one exit at a time: the noise of all of them at once would not fit beside the tables
        score = 3 * quality[e, :, None, None] - 1.5 + 0.8 * difficulty[:, None]
        iou = _logistic(score + 0.4 * generator.standard_normal(shape[1:]))
        intersection[e] = np.round(truth * iou)
        union[e] = np.maximum(np.round(truth * (1.3 - 0.3 * iou)), intersection[e])
        union[e] += 50 * (generator.random(shape[1:]) < 0.02)  # predicted where it is not
    statistics = ExitStatistics(
        confidence=confidence,
        intersection=intersection,
        union=union,
        exits=tuple(f"exit{e + 1}" for e in range(exits)),
        heads=tuple(tuple(f"head{h:02d}" for h in range(heads)) for _ in range(exits)),
        classes=tuple(f"class{c}" for c in range(classes)),
        images=tuple(f"image{i}" for i in range(images)),
        reference=(exits - 1, 0),
        policy="random",
    )
    costs = tuple(float(cost) for cost in 3e5 * np.linspace(1, 1 + 0.05 * heads, heads))
    blocks = tuple([18e6 / exits] * exits)
    return statistics, LatencyTable("random", "predicted", blocks, (costs,) * exits)


def with_head_cost(
    statistics: ExitStatistics, table: LatencyTable, factor: float
) -> tuple[ExitStatistics, LatencyTable]:
    """The tables with every head `factor` times as costly: the less heads cost, the more exits are worth having."""
    rows = tuple(tuple(None if cost is None else factor * cost for cost in row) for row in table.heads)
    return statistics, msgspec.structs.replace(table, heads=rows)


def _logistic(values: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-values)))
