"""What a search finds: configurations, what they are worth, and the Pareto front of them. Light; all of it is JSON."""

import math
from typing import Literal

import msgspec

# Constraints hold within these; ties are decided within TIE_MIOU and LATENCY_TOLERANCE (above float64's noise).
MIOU_TOLERANCE = 1e-9
LATENCY_TOLERANCE = 1e-6
TIE_MIOU = 1e-12


class Configuration(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which exits, which head at each, and when an image leaves.

    exits: 0-based, in depth order. heads: a name for each. thresholds: adaptive only, float32 values, one for each
    exit but the last; an image leaves at the first exit whose confidence >= its threshold.
    """

    setting: str
    exits: tuple[int, ...]
    heads: tuple[str, ...]
    thresholds: tuple[float, ...] = ()

    @property
    def ships_as(self) -> Literal["budgeted", "adaptive", "anytime"]:
        """Its setting as a deployment: of a single exit, budgeted and adaptive are one."""
        if self.setting == "anytime":
            return "anytime"
        return "adaptive" if len(self.exits) > 1 else "budgeted"

    @property
    def limits(self) -> tuple[float, ...]:
        """Least confidence to leave with, at every exit but the last: infinite where only a deadline ends (anytime)."""
        return (math.inf,) * (len(self.exits) - 1) if self.setting == "anytime" else self.thresholds


class Candidate(msgspec.Struct, frozen=True):
    """A configuration and what it is worth on one split and one latency table.

    miou: over the images as routed (anytime: mean over the deadlines). latency_ns: expected (anytime: full path), in
    the table's unit. worst_latency_ns: full path. exit_rates: share of images that leave at each selected exit
    (anytime: share of deadlines that are answered by it).
    """

    configuration: Configuration
    miou: float
    latency_ns: float
    worst_latency_ns: float
    exit_rates: tuple[float, ...]


class SearchResult(msgspec.Struct, frozen=True):
    """The best configuration found, and how much of the space that claim covers.

    optimal: proven over the whole space. bound: no configuration is better than this: mIoU when the objective is the
    most accurate, latency (table's unit) when it is the cheapest. configurations: size of the searched space (each
    choice of exits, heads and threshold intervals is one). seconds: wall time of the search.
    """

    configuration: Configuration
    miou: float
    latency_ns: float
    worst_latency_ns: float
    exit_rates: tuple[float, ...]
    optimal: bool
    bound: float
    configurations: int
    seconds: float

    @property
    def candidate(self) -> Candidate:
        """The configuration with its worth, without the proof."""
        return Candidate(self.configuration, self.miou, self.latency_ns, self.worst_latency_ns, self.exit_rates)


class Front(msgspec.Struct, frozen=True):
    """The Pareto set of (latency, mIoU) of one setting, by rising latency; optimal: proven complete."""

    setting: str
    points: tuple[Candidate, ...]
    optimal: bool
    configurations: int
    seconds: float


def result_from(
    candidate: Candidate, *, optimal: bool, bound: float, configurations: int, seconds: float
) -> SearchResult:
    """A search result around a candidate."""
    return SearchResult(
        candidate.configuration,
        candidate.miou,
        candidate.latency_ns,
        candidate.worst_latency_ns,
        candidate.exit_rates,
        optimal,
        bound,
        configurations,
        seconds,
    )


def tie_key(configuration: Configuration) -> tuple[int, tuple[int, ...], tuple[str, ...]]:
    """What decides between equals: fewer exits, then shallower, then names."""
    return len(configuration.exits), configuration.exits, configuration.heads


def better(first: Candidate, second: Candidate, *, cheapest: bool) -> bool:
    """Whether `first` beats `second` under the objective and design's tie rules."""
    miou = first.miou - second.miou if abs(first.miou - second.miou) > TIE_MIOU else 0.0
    latency = second.latency_ns - first.latency_ns
    latency = latency if abs(latency) > LATENCY_TOLERANCE else 0.0
    for gain in (latency, miou) if cheapest else (miou, latency):
        if gain != 0.0:
            return gain > 0
    return tie_key(first.configuration) < tie_key(second.configuration)
