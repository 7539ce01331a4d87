"""Few measured prefixes of a network predict the rest: with bounds that always hold, and calibrated intervals.

Prefixes nest: the backbone up to exit e contains the one up to any exit before. So a prefix takes at least as long as
every measured one that it contains, and at most as long as every measured one that contains it: bounds, whatever the
device. Between them a device model says how the time is spread, scaled to what was measured. How far such estimates
are off on this kind of device is known from networks whose every prefix was measured there (conformal prediction: Vovk,
Gammerman and Shafer, "Algorithmic Learning in a Random World", 2005): one score a network, its worst prefix, so that an
interval at level 0.9 holds for all prefixes of a new network at once with probability 0.9, if that network is of a kind
with the others.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from device_profiler.errors import InputError

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class KnownNetwork:
    """A network of which everything was measured; ns, shortest prefix first. `predicted`: by the device model."""

    predicted: tuple[float, ...]
    measured: tuple[float, ...]


@dataclass(frozen=True)
class Calibration:
    """How far estimates from `shots` measured prefixes are off, at `level`; from `networks` networks.

    `width`: allowed logarithmic error for each unit of distance from what was measured; infinite where there were too
    few networks: then only the bounds are left.
    """

    shots: int
    level: float
    networks: int
    width: float


@dataclass(frozen=True)
class PrefixEstimate:
    """One prefix: its latency in ns with an interval; equal to the figure where it was measured."""

    ns: float
    low_ns: float
    high_ns: float
    measured: bool


def choose_prefixes(predicted: Sequence[float], shots: int) -> tuple[int, ...]:
    """Which `shots` prefixes to measure: the longest, so that all are bounded, and others evenly in predicted time.

    Raises:
        InputError: no prefixes, predictions that don't grow, or a number of shots that is not 1 to all of them.
    """
    _check_predicted(predicted)
    if not 1 <= shots <= len(predicted):
        raise InputError(f"{shots} prefixes can't be measured of {len(predicted)}: choose 1 to {len(predicted)}")
    chosen = [len(predicted) - 1]
    while len(chosen) < shots:
        left = [index for index in range(len(predicted)) if index not in chosen]
        chosen.append(max(left, key=lambda index: _distance(predicted, chosen, index)))
    return tuple(sorted(chosen))


def calibrate(networks: Sequence[KnownNetwork], shots: int, level: float = 0.9) -> Calibration:
    """Calibrate on networks of which all prefixes were measured on the device.

    Raises:
        InputError: a level outside (0, 1), or figures that can't be those of nested prefixes.
    """
    if not 0 < level < 1:
        raise InputError(f"the level of an interval lies between 0 and 1, not {level}")
    scores = sorted(_score(network, shots) for network in networks if len(network.predicted) > shots)
    rank = math.ceil((len(scores) + 1) * level)
    width = scores[rank - 1] if rank <= len(scores) else math.inf
    return Calibration(shots, level, len(scores), width)


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
    middle = _estimates(predicted, measured)
    found = []
    for index, ns in enumerate(middle):
        reach = calibration.width * _distance(predicted, list(measured), index)
        least = max(low[index], ns * math.exp(-reach)) if reach < math.inf else low[index]
        most = min(high[index], ns * math.exp(reach)) if reach < math.inf else high[index]
        found.append(PrefixEstimate(float(ns), float(min(least, ns)), float(max(most, ns)), index in measured))
    return tuple(found)


def _estimates(predicted: Sequence[float], measured: Mapping[int, float]) -> Floats:
    """The device model's times, scaled by what measured ones say of it: its error is interpolated in predicted time."""
    at = sorted(measured)
    times = np.log(np.asarray(predicted))
    error = np.log([measured[index] for index in at]) - times[at]
    estimates = np.exp(times + np.interp(times, times[at], error))
    low, high = _bounds(len(predicted), measured)
    return np.asarray(np.clip(estimates, low, high))


def _bounds(count: int, measured: Mapping[int, float]) -> tuple[Floats, Floats]:
    """Between which measured prefixes each one lies. Noise may turn two neighbours round: the bounds allow for it."""
    low, high = np.zeros(count), np.full(count, np.inf)
    for index, ns in measured.items():
        low[index:], high[: index + 1] = np.maximum(low[index:], ns), np.minimum(high[: index + 1], ns)
        low[index] = high[index] = ns
    return np.minimum(low, high), np.maximum(low, high)


def _distance(predicted: Sequence[float], known: Sequence[int], index: int) -> float:
    """How far a prefix is from the nearest known one, in logarithms of predicted time."""
    return min(abs(math.log(predicted[index] / predicted[other])) for other in known)


def _score(network: KnownNetwork, shots: int) -> float:
    """The worst error on a prefix that was not measured, for each unit of distance."""
    if len(network.predicted) != len(network.measured) or not all(ns > 0 for ns in network.measured):
        raise InputError("a network's prefixes need a prediction and a latency above 0 each")
    chosen = choose_prefixes(network.predicted, shots)
    estimates = _estimates(network.predicted, {index: network.measured[index] for index in chosen})
    return max(
        abs(math.log(network.measured[index] / estimates[index])) / _distance(network.predicted, chosen, index)
        for index in range(len(estimates))
        if index not in chosen
    )


def _check_predicted(predicted: Sequence[float]) -> None:
    grows = all(0 < before < after for before, after in pairwise(predicted))
    if not predicted or predicted[0] <= 0 or not grows:
        raise InputError("predictions of nested prefixes are above 0 and grow from each to the next")
