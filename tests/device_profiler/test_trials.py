"""Trials of the protocol on disturbed clocks; benchmarks/profiler/trials.py runs 100 a climate."""

import pytest

from device_profiler.emulator.trials import CLIMATES, Climate, run_trials


@pytest.mark.parametrize("climate", CLIMATES, ids=lambda climate: climate.name)
def test_the_true_ratio_of_two_models_lies_within_the_stated_interval(climate: Climate) -> None:
    trials = run_trials(climate, range(1000, 1020))
    assert sum(trial.holds for trial in trials) >= 19
    for trial in trials:
        assert trial.ratio is not None and trial.ratio == pytest.approx(trial.truth, rel=0.02)
        assert trial.low is not None and trial.high is not None and trial.high / trial.low < 1.06


def test_rough_climates_void_blocks_and_wait_for_heat() -> None:
    climates = {climate.name: climate for climate in CLIMATES}
    drifting, hot = (run_trials(climates[name], range(1000, 1006)) for name in ("drift", "throttling"))
    assert sum(trial.void for trial in drifting) > 0
    assert all(trial.waited_s > 0 for trial in hot)
    assert run_trials(climates["drift"], [1000]) == drifting[:1], "a seed gives the same trial"
