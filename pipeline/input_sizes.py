"""Input size as an axis of the search: the best configuration of every size offered, and the best of those."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from device_profiler.errors import InfeasibleError
from pipeline.data.source import Size
from pipeline.deciding import SplitStatistics, winning
from pipeline.exact_search.configuration import Candidate, better
from pipeline.exact_search.objective import Objective
from pipeline.latency_table import LatencyTable
from pipeline.pixel_size import width_x_height
from pipeline.promise import Promise


@dataclass(frozen=True, eq=False)
class Offered:
    """One input size (height, width): what a network answers and costs there."""

    size: Size
    statistics: SplitStatistics
    table: LatencyTable

    @property
    def full_miou(self) -> float:
        """Of the full network, on the search split."""
        return self.statistics.search.miou(*self.statistics.search.reference)


@dataclass(frozen=True)
class SizeOffer:
    """The best configuration at one input size, on the search split: None where nothing there meets the objective.

    `full_miou`: of the full network at that size.
    """

    size: Size
    full_miou: float
    best: Candidate | None
    chosen: bool


@dataclass(frozen=True)
class SizeChoice:
    """The best of the sizes offered: its index, and the objective as it reads there; `offers` in the order offered."""

    index: int
    objective: Objective
    offers: tuple[SizeOffer, ...]


def choose_size(offered: Sequence[Offered], objective: Objective, promise: Promise | None = None) -> SizeChoice:
    """The size whose best configuration is best, on the search split.

    A bound on mIoU is the same at every size: a drop counts from the full network at the first.

    Raises:
        InfeasibleError: at no size does anything meet the objective.
    """
    elsewhere = at_other_sizes(objective, offered[0].full_miou)
    asked = [objective, *[elsewhere] * (len(offered) - 1)]
    found: list[Candidate | None] = []
    failed: list[str] = []
    for one, bounds in zip(offered, asked, strict=True):
        try:
            found.append(winning(one.statistics, one.table, bounds, promise).candidate)
        except InfeasibleError as error:
            found.append(None)
            failed.append(f"at {width_x_height(one.size)}: {error}")
    chosen = _best(found, objective)
    if chosen is None:
        raise InfeasibleError(f"no input size offered meets the objective: {'; '.join(failed)}")
    offers = tuple(
        SizeOffer(one.size, one.full_miou, best, n == chosen)
        for n, (one, best) in enumerate(zip(offered, found, strict=True))
    )
    return SizeChoice(chosen, asked[chosen], offers)


def at_other_sizes(objective: Objective, full_miou: float) -> Objective:
    """An objective whose bound on mIoU, if it has one, is counted from a full network of `full_miou`."""
    if not objective.cheapest:
        return objective
    return replace(objective, max_drop=None, min_miou=max(0.0, objective.miou_bound(full_miou)))


def _best(found: Sequence[Candidate | None], objective: Objective) -> int | None:
    chosen: tuple[int, Candidate] | None = None
    for n, candidate in enumerate(found):
        if candidate and (chosen is None or better(candidate, chosen[1], cheapest=objective.cheapest)):
            chosen = n, candidate
    return chosen and chosen[0]
