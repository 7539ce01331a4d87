"""From raw samples to a figure: where a series settles, its median, ratios, and bootstrap intervals across launches."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

WINDOW = 8
SETTLED_CV = 0.03
"""A series has settled where the coefficient of variation over a window of WINDOW samples is at most this."""
_RESAMPLES = 2000
_CONFIDENCE = 0.95
_Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """Median (or ratio) with its 95 % interval, in the unit of the samples."""

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
    """Median over all samples and its 95 % bootstrap interval.

    Launches are resampled first, then the samples within each: variance between launches hides behind a calm single
    run (hierarchical bootstrap; Kalibera and Jones, "Rigorous benchmarking in reasonable time", 2013). The percentiles
    are widened for few launches, see `tail_of`.
    """
    arrays = [np.asarray(samples, np.float64) for samples in launches]
    median = float(np.median(np.concatenate(arrays)))
    generator = np.random.default_rng(seed)
    chosen = generator.integers(len(arrays), size=(_RESAMPLES, len(arrays)))
    medians = np.median(_resampled(arrays, chosen, generator).reshape(_RESAMPLES, -1), axis=1)
    return _interval(median, medians, len(arrays))


def ratio_interval(numerator: Sequence[Sequence[int]], denominator: Sequence[Sequence[int]], seed: int = 0) -> Interval:
    """Ratio of two entries' latencies, launch by launch, with its 95 % bootstrap interval.

    Both give their samples of the same launches in the same order: what a launch does to both of them cancels out. The
    ratio is the geometric mean, over launches, of the ratio of the medians.
    """
    above = [np.asarray(samples, np.float64) for samples in numerator]
    below = [np.asarray(samples, np.float64) for samples in denominator]
    if len(above) != len(below) or not above:
        raise ValueError(f"{len(above)} launches over {len(below)}: a ratio is taken launch by launch")
    logs = [math.log(np.median(a) / np.median(b)) for a, b in zip(above, below, strict=True)]
    generator = np.random.default_rng(seed)
    chosen = generator.integers(len(above), size=(_RESAMPLES, len(above)))
    medians = [np.median(_resampled(arrays, chosen, generator), axis=2) for arrays in (above, below)]
    resampled = np.exp(np.mean(np.log(medians[0] / medians[1]), axis=1))
    return _interval(math.exp(sum(logs) / len(logs)), resampled, len(above))


def tail_of(launches: int) -> float:
    """The share that is cut off on either side of a bootstrap distribution over so many launches.

    Percentiles of a bootstrap over few clusters are too narrow: the normal quantile behind them is replaced by
    Student's, and the variance, which resampling understates by (n-1)/n, is restored (Hesterberg, "What teachers should
    know about the bootstrap", The American Statistician 2015, section 5.3: the expanded percentile interval).
    """
    usual = (1 - _CONFIDENCE) / 2
    if launches < 2:
        return usual
    widened = math.sqrt(launches / (launches - 1)) * student_quantile(launches - 1, 1 - usual)
    return NormalDist().cdf(-widened)


@cache
def student_quantile(degrees: int, probability: float) -> float:
    """Quantile (above the median) of Student's t distribution with so many degrees of freedom, by bisection."""
    low, high = 0.0, 1e4
    while high - low > 1e-9 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if _within(middle, degrees) < 2 * probability - 1 else (low, middle)
    return high


def _within(t: float, degrees: int) -> float:
    """Probability that |T| < t: Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.3 and 26.7.4."""
    angle = math.atan(t / math.sqrt(degrees))
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = degrees % 2
    term, total = (cosine if odd else 1.0), 0.0
    for k in range(1 + odd, degrees, 2):
        total += term
        term *= cosine * cosine * k / (k + 1)
    return 2 / math.pi * (angle + sine * total) if odd else sine * total


def _resampled(arrays: Sequence[_Floats], chosen: npt.NDArray[np.int64], generator: np.random.Generator) -> _Floats:
    """[resample, launch, sample]: of each chosen launch as many samples, with replacement, as the longest one has."""
    lengths = np.array([len(array) for array in arrays])
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    places = generator.random((*chosen.shape, int(lengths.max()))) * lengths[chosen][..., None]
    picked: _Floats = np.concatenate(arrays)[starts[chosen][..., None] + places.astype(np.int64)]
    return picked


def _interval(center: float, resampled: _Floats, launches: int) -> Interval:
    tail = tail_of(launches)
    low, high = np.quantile(resampled, [tail, 1 - tail])
    return Interval(center, min(float(low), center), max(float(high), center))
