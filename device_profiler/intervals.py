"""From raw samples to a figure: where a series settles, its median, and a bootstrap interval across launches."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

WINDOW = 8
SETTLED_CV = 0.03
"""A series has settled where the coefficient of variation over a window of WINDOW samples is at most this."""
_RESAMPLES = 2000
_CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """Median with its 95 % interval, in the unit of the samples."""

    median: float
    low: float
    high: float


def settled_from(samples_ns: Sequence[int]) -> int | None:
    """Start of the first window whose coefficient of variation is settled, or None where there is no such window."""
    series = np.asarray(samples_ns, np.float64)
    if len(series) < WINDOW:
        return None
    windows = np.lib.stride_tricks.sliding_window_view(series, WINDOW)
    calm = np.flatnonzero(windows.std(axis=1) <= SETTLED_CV * windows.mean(axis=1))
    return int(calm[0]) if len(calm) else None


def median_interval(launches: Sequence[Sequence[int]], seed: int = 0) -> Interval:
    """Median over all samples and its 95 % percentile bootstrap interval.

    Launches are resampled first, then the samples within each: variance between launches hides behind a calm single
    run (hierarchical bootstrap; Kalibera and Jones, "Rigorous benchmarking in reasonable time", 2013).
    """
    arrays = [np.asarray(samples, np.float64) for samples in launches]
    median = float(np.median(np.concatenate(arrays)))
    generator = np.random.default_rng(seed)
    medians = [_resampled_median(arrays, generator) for _ in range(_RESAMPLES)]
    tail = (1 - _CONFIDENCE) / 2
    low, high = np.quantile(medians, [tail, 1 - tail])
    return Interval(median, min(float(low), median), max(float(high), median))


def _resampled_median(arrays: Sequence[npt.NDArray[np.float64]], generator: np.random.Generator) -> float:
    chosen = generator.integers(len(arrays), size=len(arrays))
    parts = [generator.choice(arrays[index], size=len(arrays[index])) for index in chosen]
    return float(np.median(np.concatenate(parts)))
