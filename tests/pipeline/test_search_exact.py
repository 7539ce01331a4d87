"""The search against a slow, obvious brute force on hundreds of random tables."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from search_tables import Row, best_row, brute_force, graded_tables, pareto_of_all, random_statistics, random_table

from device_profiler.errors import InfeasibleError
from pipeline.exact_search.configuration import Candidate
from pipeline.exact_search.evaluate import evaluate_configuration, route_costs
from pipeline.exact_search.front import front
from pipeline.exact_search.objective import Objective
from pipeline.exact_search.solver import search
from pipeline.exit_statistics import ExitStatistics
from pipeline.latency_table import LatencyTable

SEEDS = st.integers(0, 10**6)
BOUNDARIES = st.sampled_from([0.0, 1.0])
PATIENT = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def expect(statistics: ExitStatistics, table: LatencyTable, objective: Objective, row: Row | None) -> None:
    """The search finds what the brute force found, or finds it infeasible too."""
    if row is None:
        with pytest.raises(InfeasibleError):
            search(statistics, table, objective)
        return
    result = search(statistics, table, objective)
    assert result.optimal
    assert result.miou == pytest.approx(row.miou, abs=1e-9)
    assert result.latency_ns == pytest.approx(row.latency, abs=1e-6)
    assert evaluate_configuration(statistics, table, result.configuration) == result.candidate


def reaches_full(statistics: ExitStatistics, row: Row) -> bool:
    """Whether the last exit is the full network and some image gets there."""
    staying = [
        statistics.confidence[slot] < threshold for slot, threshold in zip(row.slots, row.thresholds, strict=False)
    ]
    return row.slots[-1] == statistics.reference and bool(np.all(staying, axis=0).any() if staying else True)


@PATIENT
@given(seed=SEEDS, boundary=BOUNDARIES, share=st.floats(0, 1), heads=st.integers(1, 3))
def test_most_accurate_within_a_latency(seed: int, boundary: float, share: float, heads: int) -> None:
    statistics = random_statistics(seed, heads=heads)
    table = random_table(seed, statistics, boundary=boundary)
    rows = brute_force(statistics, table, 3)
    bound = max(1e-3, share * max(row.latency for row in rows))
    row = best_row(rows, cheapest=False, latency=bound, worst=math.inf, miou=-1)
    expect(statistics, table, Objective(max_latency_ns=bound), row)


@PATIENT
@given(seed=SEEDS, boundary=BOUNDARIES, share=st.floats(0, 1), worst=st.sampled_from([8.0, 15.0, math.inf]))
def test_cheapest_over_an_miou(seed: int, boundary: float, share: float, worst: float) -> None:
    statistics = random_statistics(seed)
    table = random_table(seed, statistics, boundary=boundary)
    rows = brute_force(statistics, table, 3)
    bound = share * max(row.miou for row in rows)
    row = best_row(rows, cheapest=True, latency=math.inf, worst=worst, miou=bound)
    limit = None if worst == math.inf else worst
    expect(statistics, table, Objective(min_miou=bound, max_worst_latency_ns=limit), row)


@PATIENT
@given(
    seed=SEEDS, exits=st.integers(4, 5), cheapest=st.booleans(), share=st.floats(0.3, 1), worst=st.floats(0.5, 1),
    bounded=st.booleans(),
)  # fmt: skip
def test_more_than_three_exits(
    seed: int, exits: int, cheapest: bool, share: float, worst: float, bounded: bool
) -> None:
    statistics = random_statistics(seed, exits=exits, heads=1, images=4)
    table = random_table(seed, statistics, boundary=0.5)
    rows = brute_force(statistics, table, exits)
    path = max(1e-3, worst * max(row.worst for row in rows)) if bounded else math.inf
    limit = path if bounded else None
    if cheapest:
        bound = share * max(row.miou for row in rows)
        row = best_row(rows, cheapest=True, latency=math.inf, worst=path, miou=bound)
        expect(statistics, table, Objective(min_miou=bound, max_worst_latency_ns=limit, max_exits=exits), row)
    else:
        bound = max(1e-3, share * max(row.latency for row in rows))
        row = best_row(rows, cheapest=False, latency=bound, worst=path, miou=-1)
        expect(statistics, table, Objective(max_latency_ns=bound, max_worst_latency_ns=limit, max_exits=exits), row)


@PATIENT
@given(seed=SEEDS, boundary=BOUNDARIES, share=st.floats(0, 1), cheapest=st.booleans(), exits=st.integers(3, 4))
def test_only_configurations_that_end_with_the_full_network(
    seed: int, boundary: float, share: float, cheapest: bool, exits: int
) -> None:
    statistics = random_statistics(seed) if exits == 3 else random_statistics(seed, exits=exits, heads=1, images=4)
    table = random_table(seed, statistics, boundary=boundary)
    rows = [row for row in brute_force(statistics, table, exits) if reaches_full(statistics, row)]
    if cheapest:
        bound = share * max(row.miou for row in rows)
        row = best_row(rows, cheapest=True, latency=math.inf, worst=math.inf, miou=bound)
        expect(statistics, table, Objective(min_miou=bound, ends_with_full=True, max_exits=exits), row)
    else:
        bound = max(1e-3, share * max(row.latency for row in rows))
        row = best_row(rows, cheapest=False, latency=bound, worst=math.inf, miou=-1)
        expect(statistics, table, Objective(max_latency_ns=bound, ends_with_full=True, max_exits=exits), row)


@PATIENT
@given(seed=SEEDS, max_exits=st.integers(1, 3), coarse=st.booleans())
def test_front_is_the_pareto_set(seed: int, max_exits: int, coarse: bool) -> None:
    statistics = random_statistics(seed, coarse=coarse)
    table = random_table(seed, statistics)
    rows = sorted(brute_force(statistics, table, max_exits), key=lambda row: (row.latency, -row.miou))
    pareto: list[Row] = []
    for row in rows:
        if not pareto or row.miou > pareto[-1].miou + 1e-12:
            if pareto and row.latency <= pareto[-1].latency + 1e-6:
                pareto.pop()
            pareto.append(row)
    found = front(statistics, table, Objective(max_exits=max_exits))
    assert found.optimal
    assert [point.latency_ns for point in found.points] == pytest.approx([row.latency for row in pareto], abs=1e-6)
    assert [point.miou for point in found.points] == pytest.approx([row.miou for row in pareto], abs=1e-9)


@PATIENT
@given(seed=SEEDS, share=st.floats(0, 1))
def test_budgeted_is_the_best_single_exit(seed: int, share: float) -> None:
    statistics = random_statistics(seed, heads=3)
    table = random_table(seed, statistics)
    rows = brute_force(statistics, table, 1)
    bound = max(1e-3, share * max(row.latency for row in rows))
    row = best_row(rows, cheapest=False, latency=bound, worst=math.inf, miou=-1)
    expect(statistics, table, Objective(setting="budgeted", max_latency_ns=bound), row)


@PATIENT
@given(seed=SEEDS, deadlines=st.lists(st.integers(1, 25), min_size=1, max_size=3), max_exits=st.integers(1, 4))
def test_anytime_reads_the_deepest_exit_by_each_deadline(seed: int, deadlines: list[int], max_exits: int) -> None:
    statistics = random_statistics(seed, exits=4)
    table = random_table(seed, statistics, boundary=0.5)
    best = 0.0
    for row in brute_force(statistics, table, max_exits):
        exits, heads = zip(*row.slots, strict=True)
        costs = route_costs(table, exits, heads)
        read = []
        for deadline in deadlines:
            reached = [slot for slot, cost in zip(row.slots, costs, strict=True) if cost <= deadline]
            read.append(statistics.miou(*reached[-1]) if reached else 0.0)
        best = max(best, sum(read) / len(read))
    objective = Objective(setting="anytime", deadlines_ns=tuple(float(d) for d in deadlines), max_exits=max_exits)
    result = search(statistics, table, objective)
    assert result.optimal
    assert result.miou == pytest.approx(best, abs=1e-9)


@PATIENT
@given(
    seed=SEEDS, deadlines=st.lists(st.integers(5, 40), min_size=1, max_size=3), max_exits=st.integers(2, 4),
    least=st.one_of(st.none(), st.floats(0, 0.3)),
)
def test_every_exit_of_an_anytime_configuration_refines_the_one_before(
    seed: int, deadlines: list[int], max_exits: int, least: float | None
) -> None:
    """Whoever waits longer never reads a worse result: an exit that would give one is not chosen."""
    statistics = random_statistics(seed, exits=4)
    table = random_table(seed, statistics, boundary=0.5)
    objective = Objective(
        setting="anytime", deadlines_ns=tuple(map(float, deadlines)), max_exits=max_exits, min_miou=least
    )
    try:
        found = [search(statistics, table, objective).configuration]
    except InfeasibleError:
        found = []
    found += [point.configuration for point in front(statistics, table, objective).points]
    for one in found:
        mious = [
            statistics.miou(e, statistics.head_index(e, head)) for e, head in zip(one.exits, one.heads, strict=True)
        ]
        assert all(later > earlier for earlier, later in pairwise(mious)), one


def test_sums_beyond_32_bits_stay_exact() -> None:
    statistics = random_statistics(3)
    huge = ExitStatistics(
        confidence=statistics.confidence,
        intersection=statistics.intersection * 2**30,
        union=statistics.union * 2**30,
        exits=statistics.exits,
        heads=statistics.heads,
        classes=statistics.classes,
        images=statistics.images,
        reference=statistics.reference,
        policy=statistics.policy,
    )
    table = random_table(3, statistics)
    small, large = (search(s, table, Objective(max_drop=0.05)) for s in (statistics, huge))
    assert small.candidate == large.candidate


@pytest.mark.parametrize(("exits", "max_exits", "grid"), [(4, 3, None), (4, 3, 8), (5, 5, 3)])
def test_what_the_bounds_discard_is_never_the_best(exits: int, max_exits: int, grid: int | None) -> None:
    """On tables of some size the search, which discards by bounds, agrees with the front, which looks everywhere."""
    for seed in range(4):
        statistics = random_statistics(seed, exits=exits, heads=3, images=40, classes=5, coarse=False)
        table = random_table(seed, statistics, boundary=0.5)
        whole = front(statistics, table, Objective(max_exits=max_exits, threshold_grid=grid)).points
        agree_with_front(statistics, table, whole[:: max(1, len(whole) // 6)], max_exits, grid)


@pytest.mark.parametrize(("exits", "heads", "grid"), [(4, 2, 4), (4, 3, 2), (5, 2, 2)])
def test_front_of_many_exits_is_the_pareto_set(exits: int, heads: int, grid: int) -> None:
    deep = 0
    for seed in range(2):
        statistics, table = graded_tables(seed, exits=exits, heads=heads, images=40)
        found = front(statistics, table, Objective(max_exits=exits, threshold_grid=grid))
        deep += sum(len(point.configuration.exits) > 3 for point in found.points)
        assert found.optimal
        points = [(point.latency_ns, point.miou) for point in found.points]
        np.testing.assert_allclose(points, pareto_of_all(statistics, table, exits, grid), rtol=0, atol=1e-9)
    assert deep > 10


def test_a_front_of_many_exits_that_runs_out_of_time_says_so() -> None:
    statistics, table = graded_tables(0)
    short = front(statistics, table, Objective(max_exits=4, threshold_grid=5, time_limit_s=1e-9))
    assert short.points
    assert not short.optimal


@pytest.mark.parametrize(("exits", "grid", "seeds"), [(4, 5, 6), (5, 4, 2)])
def test_branch_and_bound_keeps_the_best_of_many_exits(exits: int, grid: int, seeds: int) -> None:
    """Where the Pareto front has configurations of every exit: the search finds each of those by either bound."""
    deep = 0
    for seed in range(seeds):
        statistics, table = graded_tables(seed, exits=exits)
        whole = front(statistics, table, Objective(max_exits=exits, threshold_grid=grid)).points
        many = [point for point in whole if len(point.configuration.exits) > 3]
        deep += len(many)
        agree_with_front(statistics, table, tuple(many[:: max(1, len(many) // 12)]), exits, grid)
    assert deep > 100


def agree_with_front(
    statistics: ExitStatistics, table: LatencyTable, points: tuple[Candidate, ...], max_exits: int, grid: int | None
) -> None:
    for point in points:
        latency = Objective(max_latency_ns=point.latency_ns, max_exits=max_exits, threshold_grid=grid)
        miou = Objective(min_miou=point.miou, max_exits=max_exits, threshold_grid=grid)
        for objective in (latency, miou):
            result = search(statistics, table, objective)
            assert result.optimal
            assert result.miou == pytest.approx(point.miou, abs=1e-9)
            assert result.latency_ns == pytest.approx(point.latency_ns, abs=1e-6)


def test_a_grid_never_beats_every_interval() -> None:
    for seed in range(20):
        statistics = random_statistics(seed, images=12, coarse=False)
        table = random_table(seed, statistics)
        exact = search(statistics, table, Objective(max_latency_ns=9.0, max_exits=2))
        grid = search(statistics, table, Objective(max_latency_ns=9.0, max_exits=2, threshold_grid=3))
        assert grid.optimal
        assert grid.miou <= exact.miou + 1e-12
        assert grid.configurations < exact.configurations


def test_thresholds_are_midpoints_that_round_trip() -> None:
    statistics = random_statistics(1, images=40, coarse=False)
    table = random_table(1, statistics)
    for point in front(statistics, table, Objective()).points:
        chosen = point.configuration
        for e, head, threshold in zip(chosen.exits, chosen.heads, chosen.thresholds, strict=False):
            observed = np.unique(statistics.confidence[e, statistics.head_index(e, head)])
            above = observed[observed >= np.float32(threshold)].min()
            below = observed[observed < np.float32(threshold)].max(initial=np.float32(0))
            assert float(np.float32(threshold)) == threshold
            assert threshold == pytest.approx((float(above) + float(below)) / 2, abs=1e-7)
