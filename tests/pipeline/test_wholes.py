"""Which of the candidates ships once they are timed whole: sums of parts rank, wholes decide."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import pytest
from search_tables import random_statistics, random_table

from device_profiler.errors import InfeasibleError
from pipeline.deciding import Decision
from pipeline.deployment import TimedWhole
from pipeline.exact_search.configuration import Candidate, Configuration
from pipeline.exact_search.evaluate import head_indices, read_at_deadlines, route_costs
from pipeline.exact_search.objective import Objective
from pipeline.exact_search.solver import search, strongest_single_exit
from pipeline.wholes import best_whole

STATISTICS = random_statistics(14, images=8)
TABLE = random_table(14, STATISTICS)


class Whole:
    """A whole whose time is its parts' times a factor: what measuring on the phone gives, without a phone."""

    def __init__(self, candidate: Candidate, factor: float) -> None:
        self.search, self.factor = candidate, factor

    def expected_ns(self, rates: tuple[float, ...]) -> float:
        assert rates == self.search.exit_rates
        return self.search.latency_ns * self.factor

    @property
    def worst_ns(self) -> float:
        return self.search.worst_latency_ns * self.factor


class Phone:
    """Answers `measure`; remembers what was asked."""

    def __init__(self, factor: Callable[[Candidate], float]) -> None:
        self.factor, self.asked = factor, list[Configuration]()

    def __call__(self, candidates: Sequence[Candidate]) -> list[TimedWhole]:
        self.asked += [candidate.configuration for candidate in candidates]
        return [cast(TimedWhole, Whole(candidate, self.factor(candidate))) for candidate in candidates]


class AnytimeWhole:
    """The same of an anytime configuration, worth what its paths answer by the deadlines."""

    def __init__(self, candidate: Candidate, factor: float, deadlines_ns: tuple[float, ...]) -> None:
        chosen = candidate.configuration
        parts = route_costs(TABLE, chosen.exits, head_indices(STATISTICS, chosen))
        self.shipment = SimpleNamespace(configuration=chosen)
        self.paths = [SimpleNamespace(median_ns=part * factor) for part in parts]
        self.search = read_at_deadlines(STATISTICS, chosen, [path.median_ns for path in self.paths], deadlines_ns)

    @property
    def worst_ns(self) -> float:
        return max(path.median_ns for path in self.paths)


def timed_by(factor: float, objective: Objective) -> Callable[[Sequence[Candidate]], list[TimedWhole]]:
    """`measure` where every whole takes its parts' time times a factor."""
    return lambda candidates: [
        cast(TimedWhole, AnytimeWhole(candidate, factor, objective.deadlines_ns)) for candidate in candidates
    ]


def decided(objective: Objective, *, single_fits: bool = False) -> Decision:
    single = strongest_single_exit(STATISTICS, TABLE, objective if single_fits else None).candidate
    winner = search(STATISTICS, TABLE, objective)
    return Decision(winner, single, single, single_fits, (), winner.configuration)


def test_wholes_as_foretold_ship_the_winner() -> None:
    objective = Objective(max_drop=0.1)
    decision, phone = decided(objective), Phone(lambda _: 1.0)
    best = best_whole(phone, STATISTICS, TABLE, decision, objective)
    assert best.search == decision.winner.candidate
    assert phone.asked[0] == decision.winner.configuration


@pytest.mark.parametrize(("miou", "single_fits"), [(0.2, False), (0.22, True)])
def test_a_rival_that_is_faster_whole_ships(miou: float, single_fits: bool) -> None:
    """A runner-up within the table's error, or the strongest single exit however far behind."""
    objective = Objective(min_miou=miou)
    decision = decided(objective, single_fits=single_fits)
    slow = decision.winner.configuration
    phone = Phone(lambda candidate: 1.2 if candidate.configuration == slow else 1.0)
    best = best_whole(phone, STATISTICS, TABLE, decision, objective)
    assert best.search.configuration != slow
    assert best.search.miou >= miou
    assert best.expected_ns(best.search.exit_rates) < decision.winner.latency_ns * 1.2
    if single_fits:
        assert best.search == decision.strongest_single


def test_a_bound_that_wholes_break_is_asked_for_again_lower() -> None:
    objective = Objective(max_latency_ns=7.5)
    decision, phone = decided(objective), Phone(lambda _: 1.2)
    assert decision.winner.latency_ns * 1.2 > 7.5
    best = best_whole(phone, STATISTICS, TABLE, decision, objective)
    assert best.expected_ns(best.search.exit_rates) <= 7.5
    assert best.search.miou < decision.winner.miou
    lower = search(STATISTICS, TABLE, Objective(max_latency_ns=7.5 / 1.2 / 1.001))
    assert best.search.miou >= lower.miou


def anytime_decision(objective: Objective) -> Decision:
    winner = search(STATISTICS, TABLE, objective)
    single = search(STATISTICS, TABLE, replace(objective, max_exits=1)).candidate
    return Decision(winner, single, single, True, (), winner.configuration)


DEADLINES = Objective(setting="anytime", deadlines_ns=(8.0, 10.0, 16.0))


def test_anytime_wholes_as_foretold_ship_the_winner() -> None:
    decision = anytime_decision(DEADLINES)
    assert len(decision.winner.configuration.exits) > 1
    best = best_whole(timed_by(1.0, DEADLINES), STATISTICS, TABLE, decision, DEADLINES)
    assert best.search == decision.winner.candidate


@pytest.mark.parametrize("factor", [1.1, 1.25])
def test_anytime_wholes_that_miss_a_deadline_are_searched_anew(factor: float) -> None:
    """What ships is worth at least what the winner still is, and at least what was found for sooner deadlines."""
    decision, measure = anytime_decision(DEADLINES), timed_by(factor, DEADLINES)
    missed = measure([decision.winner.candidate])[0].search
    assert missed.miou < decision.winner.miou
    best = best_whole(measure, STATISTICS, TABLE, decision, DEADLINES)
    sooner = replace(DEADLINES, deadlines_ns=tuple(one / factor / 1.001 for one in DEADLINES.deadlines_ns))
    assert best.search.miou >= max(missed.miou, search(STATISTICS, TABLE, sooner).miou - 1e-12)
    assert best.search.miou > missed.miou


def test_an_answer_that_comes_after_the_first_deadline_is_infeasible() -> None:
    with pytest.raises(InfeasibleError, match=r"passes before the first answer is there \(.*, timed whole\)"):
        best_whole(timed_by(1000.0, DEADLINES), STATISTICS, TABLE, anytime_decision(DEADLINES), DEADLINES)


@pytest.mark.parametrize("objective", [Objective(max_latency_ns=8.0), Objective(max_worst_latency_ns=8.0)])
def test_a_bound_that_no_whole_keeps_is_infeasible_and_names_the_nearest(objective: Objective) -> None:
    phone = Phone(lambda _: 1000.0)
    with pytest.raises(InfeasibleError, match=r"timed whole; the nearest takes .* at worst with mIoU"):
        best_whole(phone, STATISTICS, TABLE, decided(objective), objective)
