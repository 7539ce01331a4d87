"""Input size as an axis: the best configuration of all sizes, under one bound for all, as a search of each tells it."""

from dataclasses import replace

import msgspec
import pytest
from search_tables import random_statistics, random_table

from device_profiler.errors import InfeasibleError
from pipeline.deciding import SplitStatistics
from pipeline.exact_search.objective import Objective
from pipeline.exact_search.solver import search
from pipeline.input_sizes import Offered, at_other_sizes, choose_size

SIZES = ((64, 64), (96, 96), (128, 96))


def offered(seed: int) -> list[Offered]:
    found = []
    for n, size in enumerate(SIZES):
        statistics = random_statistics(3 * seed + n, images=8)
        found.append(Offered(size, SplitStatistics(statistics, statistics), random_table(3 * seed + n, statistics)))
    return found


def alone(one: Offered, objective: Objective) -> tuple[float, float] | None:
    """mIoU and latency of the best configuration of one size."""
    try:
        found = search(one.statistics.search, one.table, objective)
    except InfeasibleError:
        return None
    return found.miou, found.latency_ns


@pytest.mark.parametrize("seed", range(12))
def test_the_cheapest_of_all_sizes_keeps_the_bound_of_the_first(seed: int) -> None:
    sizes = offered(seed)
    bound = sizes[0].full_miou - 0.05
    best = [alone(one, Objective(min_miou=max(0.0, bound))) for one in sizes]
    choice = choose_size(sizes, Objective(max_drop=0.05))
    assert choice.offers[choice.index].best is not None
    assert min(pair[1] for pair in best if pair) == choice.offers[choice.index].best.latency_ns
    assert [offer.best is None for offer in choice.offers] == [pair is None for pair in best]
    assert all(offer.best.miou >= bound - 1e-9 for offer in choice.offers if offer.best)
    assert [offer.chosen for offer in choice.offers] == [n == choice.index for n in range(len(sizes))]


@pytest.mark.parametrize("seed", range(12))
def test_the_most_accurate_of_all_sizes_within_a_latency(seed: int) -> None:
    sizes = offered(seed)
    objective = Objective(max_latency_ns=max(one.table.blocks[0] for one in sizes) + 12.0)
    best = [alone(one, objective) for one in sizes]
    choice = choose_size(sizes, objective)
    assert choice.objective == objective
    assert max(pair[0] for pair in best if pair) == pytest.approx(choice.offers[choice.index].best.miou)


def test_where_nothing_fits_at_any_size_each_says_what_would() -> None:
    with pytest.raises(InfeasibleError, match=r"^no input size offered .*: at 64x64: .+; at 96x96: .+; at 96x128: .+"):
        choose_size(offered(0), Objective(max_latency_ns=1e-3))


def test_a_drop_becomes_the_bound_that_it_is_at_the_first_size() -> None:
    assert at_other_sizes(Objective(max_drop=0.02), 0.6) == Objective(min_miou=0.58)
    assert at_other_sizes(Objective(), 0.6).min_miou == pytest.approx(0.59)
    assert at_other_sizes(Objective(max_drop=0.5), 0.3).min_miou == 0.0
    kept = Objective(min_miou=0.4, max_worst_latency_ns=9.0)
    assert at_other_sizes(kept, 0.6) == kept
    fast = Objective(max_latency_ns=5.0)
    assert at_other_sizes(fast, 0.6) is fast


def test_the_objective_is_as_asked_where_the_first_size_wins() -> None:
    sizes = offered(1)
    dear = msgspec.structs.replace(sizes[1].table, blocks=tuple(1000 * cost for cost in sizes[1].table.blocks))
    objective = Objective(max_drop=0.05)
    choice = choose_size([sizes[0], replace(sizes[1], table=dear)], objective)
    assert choice.index == 0 and choice.objective is objective
