"""What a configuration is worth: routing by float32 thresholds, costs, uncertainty, runners-up."""

import math
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from search_tables import Row, brute_force, random_statistics, random_table

from device_profiler.errors import InputError
from pipeline.exact_search.adaptive import single_exits
from pipeline.exact_search.configuration import Configuration
from pipeline.exact_search.evaluate import evaluate_configuration, images_near_threshold, routes
from pipeline.exact_search.goal import Goal, Incumbent
from pipeline.exact_search.objective import Objective
from pipeline.exact_search.ranges import tightened
from pipeline.exact_search.relaxation import Relaxation
from pipeline.exact_search.runners_up import runners_up
from pipeline.exact_search.solver import search, strongest_single_exit
from pipeline.exact_search.space import SearchSpace, build_space, interval_thresholds
from pipeline.exact_search.surrogate import Linearisation, around_best, routing
from pipeline.exact_search.uncertainty import latency_interval, miou_gap_interval, miou_interval, overlaps_bound
from pipeline.exit_statistics import ExitStatistics
from pipeline.latency_table import LatencyTable, PartDetail


def two_exits() -> tuple[ExitStatistics, LatencyTable]:
    statistics = ExitStatistics(
        confidence=np.array([[[0.9, 0.5, 0.1, 0.5]], [[0.0, 0.0, 0.0, 0.0]]], dtype=np.float32),
        intersection=np.array([[[[4], [2], [1], [2]]], [[[4], [4], [4], [4]]]]),
        union=np.full((2, 1, 4, 1), 4),
        exits=("exit1", "exit2"),
        heads=(("fcn-r1",), ("fcn-r1",)),
        classes=("road",),
        images=("a", "b", "c", "d"),
        reference=(1, 0),
        policy="mean",
    )
    return statistics, LatencyTable("t", "measured", (10.0, 20.0), ((1.0,), (2.0,)), boundary_ns=3.0)


def test_an_image_leaves_at_its_threshold_exactly() -> None:
    statistics, table = two_exits()
    configuration = Configuration("adaptive", (0, 1), ("fcn-r1", "fcn-r1"), (0.5,))
    assert routes(statistics, configuration).tolist() == [0, 0, 1, 0]
    candidate = evaluate_configuration(statistics, table, configuration)
    assert candidate.exit_rates == (0.75, 0.25)
    assert candidate.worst_latency_ns == 10 + 1 + 3 + 20 + 2
    assert candidate.latency_ns == pytest.approx(0.75 * (10 + 1 + 3) + 0.25 * 36)
    assert candidate.miou == pytest.approx((4 + 2 + 4 + 2) / 16)


@pytest.mark.parametrize(
    ("configuration", "words"),
    [
        (Configuration("adaptive", (1, 0), ("fcn-r1", "fcn-r1"), (0.5,)), "must rise"),
        (Configuration("adaptive", (0, 2), ("fcn-r1", "fcn-r1"), (0.5,)), "must rise"),
        (Configuration("adaptive", (0, 1), ("fcn-r1", "aspp"), (0.5,)), "choose one of fcn-r1"),
        (Configuration("adaptive", (0, 1), ("fcn-r1", "fcn-r1"), ()), "1 thresholds"),
        (Configuration("anytime", (0, 1), ("fcn-r1", "fcn-r1")), "deadlines"),
    ],
)
def test_configurations_of_another_network(configuration: Configuration, words: str) -> None:
    with pytest.raises(InputError, match=words):
        evaluate_configuration(*two_exits(), configuration)


def test_neighbouring_floats_keep_a_threshold_between_them() -> None:
    low = np.float32(0.5)
    values = np.array([low, np.nextafter(low, np.float32(1)), 0.0, 1.0], dtype=np.float32)
    observed, middle = interval_thresholds(values, None)
    lower = np.concatenate([[-np.inf], observed[:-1]])
    assert ((middle > lower) & (middle <= observed)).all()


def test_images_near_a_threshold() -> None:
    statistics, _ = two_exits()
    configuration = Configuration("adaptive", (0, 1), ("fcn-r1", "fcn-r1"), (0.48,))
    assert images_near_threshold(statistics, configuration, 0.03) == 2
    assert images_near_threshold(statistics, configuration, 0.001) == 0


def test_latency_interval_adds_the_parts_shares() -> None:
    statistics, table = two_exits()
    table = msgspec.structs.replace(
        table, details={"block_1": PartDetail(interval=(18.0, 24.0)), "head_0_fcn-r1": PartDetail(interval=(1.0, 2.0))}
    )
    candidate = evaluate_configuration(
        statistics, table, Configuration("adaptive", (0, 1), ("fcn-r1", "fcn-r1"), (0.5,))
    )
    low, high = latency_interval(statistics, table, candidate)
    assert low == pytest.approx(candidate.latency_ns - 0.25 * 2)
    assert high == pytest.approx(candidate.latency_ns + 0.25 * 4 + 1)
    inside, outside = Objective(max_latency_ns=candidate.latency_ns), Objective(max_latency_ns=high + 1)
    assert overlaps_bound(statistics, table, inside, candidate)
    assert not overlaps_bound(statistics, table, outside, candidate)


def test_bootstrap_intervals_hold_the_point_and_shrink_with_images() -> None:
    widths = []
    for images in (20, 500):
        statistics = random_statistics(2, images=images, coarse=False)
        configuration = Configuration("adaptive", (2,), ("head0",))
        low, high = miou_interval(statistics, configuration)
        assert low < statistics.miou(2, 0) < high
        assert miou_gap_interval(statistics, configuration) == (0.0, 0.0)  # it is the full network itself
        widths.append(high - low)
    assert widths[1] < widths[0] / 2


def test_surrogate_is_above_every_configuration() -> None:
    for seed in range(40):
        statistics = random_statistics(seed)
        table = random_table(seed, statistics)
        space = build_space(statistics, table, None)
        generator = np.random.default_rng(seed)
        surrogate = Linearisation(space, generator.random(space.classes)).surrogate((0, 1, 2))
        for _ in range(50):
            chosen = tuple(int(generator.choice(members)) for members in space.by_exit if members)
            levels = tuple(int(generator.integers(space.levels[c])) for c in chosen[:-1])
            configuration = space.configuration("adaptive", chosen, levels)
            position = routes(statistics, configuration)
            miou = evaluate_configuration(statistics, table, configuration).miou
            worth = sum(surrogate.worth[chosen[p], i] for i, p in enumerate(position))
            assert miou * surrogate.classes <= surrogate.offset + worth


def test_relaxation_is_above_every_configuration() -> None:
    """Whole and behind a prefix, at the multipliers that it settles on; what it discards misses the bounds."""
    held = 0
    for seed in range(40):
        statistics = random_statistics(seed, exits=4)
        table = random_table(seed, statistics, boundary=1.0)
        space = build_space(statistics, table, None)
        if not all(space.by_exit):
            continue
        exits = (0, 1, 2, 3)
        rows = [row for row in brute_force(statistics, table, 4) if len(row.slots) == len(exits)]
        goal = Goal(cheapest=False, max_cost=sorted(row.latency for row in rows)[len(rows) // 2])
        collector = Incumbent(goal)
        surrogate = Linearisation(space, np.full(space.classes, 0.5)).surrogate(exits)
        relaxation = Relaxation(space, exits, surrogate)
        root = relaxation.settle(relaxation.root(collector), collector)
        assert root is not None
        for branch in relaxation.children(root, collector):
            settled = relaxation.settle(branch.node(), collector)
            covered = [row for row in rows if row.latency <= goal.max_cost and places(statistics, space, row)]
            covered = [row for row in covered if places(statistics, space, row)[0] == (branch.candidate, branch.level)]
            for row in covered:
                held += 1
                assert settled is not None, row
                assert row.miou <= min(root.bound, branch.bound, settled.bound) + 1e-9
    assert held > 1000


def places(statistics: ExitStatistics, space: SearchSpace, row: Row) -> list[tuple[int, int]]:
    """Candidates of a configuration and their threshold intervals (-1: the last); nothing where one is not searched."""
    numbers = {(int(space.exit_of[c]), int(space.head_of[c])): c for c in range(len(space.names))}
    if any(threshold > 1 for threshold in row.thresholds):
        return []  # a threshold above every confidence: the configuration without that exit is no worse
    early = zip(row.slots, row.thresholds, strict=False)
    levels = [int(np.searchsorted(np.unique(statistics.confidence[slot]), t)) for slot, t in early]
    return [(numbers[slot], level) for slot, level in zip(row.slots, [*levels, -1], strict=True)]


@pytest.mark.parametrize("cheapest", [False, True])
def test_tightened_ranges_hold_every_configuration_that_meets_the_bounds(cheapest: bool) -> None:
    narrower = 0
    for seed in range(25):
        statistics = random_statistics(seed, exits=3, images=8)
        table = random_table(seed, statistics)
        space = build_space(statistics, table, None)
        rows = list(brute_force(statistics, table, 3))
        middle = rows[len(rows) // 2]
        goal = Goal(cheapest, min_miou=middle.miou) if cheapest else Goal(cheapest, max_cost=middle.latency)
        collector = Incumbent(goal)
        for found in single_exits(space, goal):
            collector.offer(found)
        around = around_best(space, collector)
        plain = around.ranges([e for e in range(3) if space.by_exit[e]])
        found_ranges = tightened(space, around, collector, math.inf)
        narrower += int((found_ranges.highest - found_ranges.lowest < 0.99 * (plain.highest - plain.lowest)).sum())
        highest, lowest = collector.bounds()
        for row in rows:
            at = places(statistics, space, row)
            if row.latency > highest or row.miou < lowest or not at:
                continue
            union, difference = class_sums(space, around, at)
            assert (found_ranges.lowest <= union).all()
            assert (union <= found_ranges.highest).all()
            assert (found_ranges.below <= difference + 1e-9).all()
            assert (difference <= found_ranges.above + 1e-9).all()
    assert narrower > 20


def class_sums(space: SearchSpace, around: Linearisation, at: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    """[certain] unions and differences of a configuration."""
    leaves_at, images = routing(space, [c for c, _ in at], [level for _, level in at[:-1]]), np.arange(space.images)
    union = space.packed[leaves_at, images].sum(axis=0, dtype=np.int64)[space.lanes + around.certain]
    return union, around.differences[leaves_at, images].sum(axis=0)


@pytest.mark.parametrize(("exits", "limit"), [(3, 1e-9), (5, 1e-9), (5, 0.05)])
def test_time_limit_gives_the_best_found_and_an_admissible_bound(exits: int, limit: float) -> None:
    for seed in range(10):
        statistics = random_statistics(seed, exits=exits)
        table = random_table(seed, statistics)
        for objective in (Objective(max_latency_ns=12.0), Objective(max_drop=0.1)):
            objective = replace(objective, max_exits=exits)
            hurried = search(statistics, table, replace(objective, time_limit_s=limit))
            best = search(statistics, table, objective)
            assert best.optimal
            if objective.cheapest:
                assert hurried.bound <= best.latency_ns + 1e-9 <= hurried.latency_ns + 2e-9
            else:
                assert hurried.bound >= best.miou - 1e-12 >= hurried.miou - 2e-12
            assert hurried.optimal == (hurried.bound in (hurried.miou, hurried.latency_ns))


def test_strongest_single_exit() -> None:
    statistics = random_statistics(4, heads=3)
    table = random_table(4, statistics)
    rows = brute_force(statistics, table, 1)
    assert strongest_single_exit(statistics, table).miou == pytest.approx(max(row.miou for row in rows))
    floor = statistics.miou(*statistics.reference) - 0.05
    cheapest = min(row.latency for row in rows if row.miou >= floor)
    assert strongest_single_exit(statistics, table, Objective(max_drop=0.05)).latency_ns == cheapest


@pytest.mark.parametrize("exits", [3, 4])
def test_runners_up_are_the_next_best_structures(exits: int) -> None:
    for seed in range(20 if exits == 3 else 5):
        statistics = random_statistics(seed, exits=exits, images=8 if exits == 3 else 5)
        table = random_table(seed, statistics)
        objective = Objective(max_drop=0.1, max_exits=exits)
        best = search(statistics, table, objective)
        floor = statistics.miou(*statistics.reference) - 0.1
        structures: dict[object, float] = {}
        for row in brute_force(statistics, table, exits):
            if row.miou >= floor - 1e-9:
                structures[row.slots] = min(row.latency, structures.get(row.slots, math.inf))
        nearby = sorted(v for v in structures.values() if v <= best.latency_ns * 1.21 + 1e-6)
        others = runners_up(statistics, table, objective, best.configuration, error=0.1, count=2)
        assert len(others) <= 2
        assert all(other.latency_ns <= best.latency_ns * 1.21 + 1e-6 for other in others)
        assert all(other.miou >= floor - 1e-9 for other in others)
        assert len(
            {(o.configuration.exits, o.configuration.heads) for o in others}
            - {(best.configuration.exits, best.configuration.heads)}
        ) == len(others)
        assert [o.latency_ns for o in others] == sorted(o.latency_ns for o in others)
        if others:
            assert others[0].latency_ns <= nearby[min(1, len(nearby) - 1)] + 1e-6 or len(nearby) > 2


def test_runners_up_end_with_one_that_is_safe() -> None:
    statistics, table = two_exits()
    objective = Objective(max_latency_ns=20.0)
    best = search(statistics, table, objective)
    others = runners_up(statistics, table, objective, best.configuration, error=0.5, count=2)
    assert others[-1].latency_ns <= 20 / 1.5
