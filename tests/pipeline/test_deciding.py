"""What a winner is compared to, and whether it still wins when a device model's assumptions move."""

import pytest
from search_tables import random_statistics, random_table

from device_profiler.errors import InfeasibleError
from device_profiler.prediction import DeviceModel, load_model
from pipeline.deciding import SplitStatistics, decide, doubts
from pipeline.exact_search.configuration import Configuration
from pipeline.exact_search.front import front
from pipeline.exact_search.objective import Objective
from pipeline.exact_search.solver import strongest_single_exit
from pipeline.model import ModelCost

SPLITS = SplitStatistics(random_statistics(14, images=8), random_statistics(15, images=8))
TABLE = random_table(14, SPLITS.search)
COST = ModelCost((1, 1, 1), ((1, 1), (1, 1), (1, 1)), (0, 0, 0))


def test_the_strongest_single_exit_meets_the_objective_where_one_does() -> None:
    objective = Objective(min_miou=0.25)
    decision = decide(SPLITS, TABLE, objective, COST)
    assert decision.single_fits
    assert decision.strongest_single == strongest_single_exit(SPLITS.search, TABLE, objective).candidate
    assert decision.winner.latency_ns <= decision.strongest_single.latency_ns


def test_where_no_single_exit_meets_it_that_is_said() -> None:
    best = max(front(SPLITS.search, TABLE, Objective()).points, key=lambda point: point.miou)
    alone = strongest_single_exit(SPLITS.search, TABLE).candidate
    assert len(best.configuration.exits) > 1 and best.miou > alone.miou
    decision = decide(SPLITS, TABLE, Objective(min_miou=best.miou), COST)
    assert not decision.single_fits
    assert decision.strongest_single == alone


def test_an_anytime_winner_is_held_against_the_best_single_exit_at_the_same_deadlines() -> None:
    objective = Objective(setting="anytime", deadlines_ns=(8.0, 16.0))
    decision = decide(SPLITS, TABLE, objective, COST)
    single = decision.strongest_single
    assert decision.single_fits and len(single.configuration.exits) == 1
    assert decision.winner.miou >= single.miou
    assert {found.setting for found in decision.fronts} == {"budgeted", "anytime"}
    assert decision.winner_by_macs.setting == "anytime"


def test_a_deadline_before_any_answer_is_told_at_once() -> None:
    objective = Objective(setting="anytime", deadlines_ns=(0.001, 16.0))
    with pytest.raises(InfeasibleError, match=r"by the sum of its parts\): leave it out"):
        decide(SPLITS, TABLE, objective, COST)


def test_a_parameter_beyond_which_nothing_is_feasible_is_no_same_winner() -> None:
    model = load_model("tensor-g2-tpu")
    winner = Configuration("budgeted", (0,), ("fcn",))
    moved = model.assumed[0]

    def choose(changed: DeviceModel) -> Configuration:
        if getattr(changed.parameters, moved).value > getattr(model.parameters, moved).value:
            raise InfeasibleError("nothing meets it")
        return winner

    found = {doubt.parameter: (doubt.at_half, doubt.at_double) for doubt in doubts(model, choose)}
    assert found.pop(moved) == (winner, None)
    assert set(found.values()) == {(winner, winner)}


