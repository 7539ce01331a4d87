"""Few measured prefixes of a network predict the rest: with bounds that always hold, and calibrated intervals.

Prefixes nest: the backbone up to exit e contains the one up to any exit before. So a prefix takes at least as long as
every measured one that it contains, and at most as long as every measured one that contains it: bounds, whatever the
device. Between them a device model says how the time is spread. It errs on a network as a whole (its scale) and on each
block by itself, in proportion to the block's time; what is measured is explained by both (Gaussian conditioning:
kriging; Rasmussen and Williams, "Gaussian Processes for Machine Learning", 2006, equation 2.19). How large the one kind
of error is beside the other, and how far estimates are off on this kind of device, is known from networks whose every
prefix was measured there (conformal prediction: Vovk, Gammerman and Shafer, "Algorithmic Learning in a Random World",
2005): one score a network, its worst prefix, so that an interval at level 0.9 holds for all prefixes of a new network
at once with probability 0.9, if that network is of a kind with the others.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from device_profiler.errors import InputError

Floats = npt.NDArray[np.float64]
_COMMON = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 16.0)
_LEAST = 1e-3
"""An estimate is at least this share of the time that bounds it from above."""


@dataclass(frozen=True)
class KnownNetwork:
    """A network of which everything was measured; ns, shortest prefix first. `predicted`: by the device model."""

    predicted: tuple[float, ...]
    measured: tuple[float, ...]


@dataclass(frozen=True)
class Calibration:
    """How far estimates from `shots` measured prefixes are off, at `level`; from `networks` networks.

    `common`: error of a network's scale beside that of a single block. `width`: half an interval's width in units of
    an estimate's spread; infinite where there were too few networks: then only the bounds are left.
    """

    shots: int
    level: float
    networks: int
    common: float
    width: float


@dataclass(frozen=True)
class PrefixEstimate:
    """One prefix: its latency in ns with an interval; equal to the figure where it was measured."""

    ns: float
    low_ns: float
    high_ns: float
    measured: bool


def choose_prefixes(predicted: Sequence[float], shots: int) -> tuple[int, ...]:
    """Which `shots` prefixes to measure: the longest, so that all are bounded, then always the least sure one.

    Raises:
        InputError: no prefixes, predictions that don't grow, or a number of shots that is not 1 to all of them.
    """
    _check_predicted(predicted)
    if not 1 <= shots <= len(predicted):
        raise InputError(f"{shots} prefixes can't be measured of {len(predicted)}: choose 1 to {len(predicted)}")
    chosen = [len(predicted) - 1]
    while len(chosen) < shots:
        left = [index for index in range(len(predicted)) if index not in chosen]
        spread = _conditioned(np.asarray(predicted), {index: predicted[index] for index in chosen}, 1.0)[1]
        chosen.append(max(left, key=lambda index: float(spread[index])))
    return tuple(sorted(chosen))


def calibrate(networks: Sequence[KnownNetwork], shots: int, level: float = 0.9) -> Calibration:
    """Calibrate on networks of which all prefixes were measured on the device.

    Raises:
        InputError: a level outside (0, 1), or figures that can't be those of nested prefixes.
    """
    if not 0 < level < 1:
        raise InputError(f"the level of an interval lies between 0 and 1, not {level}")
    usable = [network for network in networks if len(network.predicted) > shots]
    for network in usable:
        _check_known(network)
    common = max(_COMMON, key=lambda ratio: sum(_likelihood(network, ratio) for network in usable)) if usable else 1.0
    scores = sorted(_score(network, shots, common) for network in usable)
    rank = math.ceil((len(scores) + 1) * level)
    return Calibration(shots, level, len(scores), common, scores[rank - 1] if rank <= len(scores) else math.inf)


def predict_prefixes(
    predicted: Sequence[float], measured: Mapping[int, float], calibration: Calibration
) -> tuple[PrefixEstimate, ...]:
    """Every prefix of a network: `measured` ones (ns by index) as they are, the others estimated.

    Raises:
        InputError: figures that can't be those of nested prefixes, the longest prefix was not measured, or their number
            is not the one that was calibrated for.
    """
    _check_predicted(predicted)
    if len(predicted) - 1 not in measured:
        raise InputError("the longest prefix has to be measured: nothing else bounds what lies below it")
    if len(measured) != calibration.shots:
        raise InputError(f"{len(measured)} prefixes are measured, the intervals are calibrated for {calibration.shots}")
    low, high = _bounds(len(predicted), measured)
    middle, spread = _conditioned(np.asarray(predicted), measured, calibration.common)
    middle = np.clip(middle, np.maximum(low, _LEAST * high), high)
    found = []
    for index, ns in enumerate(middle):
        reach = math.inf if calibration.width == math.inf else calibration.width * float(spread[index])
        least, most = max(float(low[index]), float(ns) - reach), min(float(high[index]), float(ns) + reach)
        found.append(PrefixEstimate(float(ns), least, most, index in measured))
    return tuple(found)


def _covariance(predicted: Floats, common: float) -> Floats:
    """How errors of prefixes go together, in units of one block's relative error: float64 [E, E]."""
    blocks = np.diff(predicted, prepend=0.0)
    shared = np.tril(np.ones((len(blocks), len(blocks))))
    return np.asarray(common**2 * np.outer(predicted, predicted) + shared @ np.diag(blocks**2) @ shared.T)


def _conditioned(predicted: Floats, measured: Mapping[int, float], common: float) -> tuple[Floats, Floats]:
    """Expected time of every prefix given the measured ones, and its spread (0 where it was measured)."""
    at = sorted(measured)
    together = _covariance(predicted, common)
    weights = np.linalg.solve(together[np.ix_(at, at)], together[at]).T
    expected = predicted + weights @ (np.array([measured[index] for index in at]) - predicted[at])
    spread = np.sqrt(np.maximum(np.diag(together) - np.einsum("ij,ji->i", weights, together[at]), 0.0))
    expected[at], spread[at] = [measured[index] for index in at], 0.0
    return expected, spread


def _likelihood(network: KnownNetwork, common: float) -> float:
    """Logarithmic likelihood of a network's errors, whatever their size; up to a constant."""
    predicted = np.asarray(network.predicted) / network.predicted[-1]
    error = np.asarray(network.measured) / network.predicted[-1] - predicted
    together = _covariance(predicted, common)
    size = max(float(error @ np.linalg.solve(together, error)) / len(error), 1e-12)
    return -0.5 * (len(error) * math.log(size) + float(np.linalg.slogdet(together)[1]))


def _bounds(count: int, measured: Mapping[int, float]) -> tuple[Floats, Floats]:
    """Between which measured prefixes each one lies. Noise may turn two neighbours round: the bounds allow for it."""
    low, high = np.zeros(count), np.full(count, np.inf)
    for index, ns in measured.items():
        low[index:], high[: index + 1] = np.maximum(low[index:], ns), np.minimum(high[: index + 1], ns)
        low[index] = high[index] = ns
    return np.minimum(low, high), np.maximum(low, high)


def _score(network: KnownNetwork, shots: int, common: float) -> float:
    """The worst error on a prefix that was not measured, in units of its spread."""
    predicted, chosen = np.asarray(network.predicted), choose_prefixes(network.predicted, shots)
    expected, spread = _conditioned(predicted, {index: network.measured[index] for index in chosen}, common)
    rest = [index for index in range(len(predicted)) if index not in chosen]
    return float(np.max(np.abs(np.asarray(network.measured)[rest] - expected[rest]) / spread[rest]))


def _check_known(network: KnownNetwork) -> None:
    if len(network.predicted) != len(network.measured) or not all(ns > 0 for ns in network.measured):
        raise InputError("a network's prefixes need a prediction and a latency above 0 each")


def _check_predicted(predicted: Sequence[float]) -> None:
    grows = all(0 < before < after for before, after in pairwise(predicted))
    if not predicted or predicted[0] <= 0 or not grows:
        raise InputError("predictions of nested prefixes are above 0 and grow from each to the next")
