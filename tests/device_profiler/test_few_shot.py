"""Few-shot prediction of nested prefixes: bounds that hold, intervals that cover, on random and the phone's figures."""

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_profiler.errors import InputError
from device_profiler.few_shot import KnownNetwork, calibrate, choose_prefixes, predict_prefixes
from device_profiler.fitting import FitPart, fit
from device_profiler.prediction import load_model, predict
from device_profiler.workload import Operator

FIGURES = Path(__file__).parents[2] / "benchmarks" / "profiler" / "results" / "prefixes.json"
grown = st.lists(st.floats(1.0, 100.0), min_size=2, max_size=8).map(lambda steps: tuple(np.cumsum(steps).tolist()))


def random_network(rng: np.random.Generator) -> KnownNetwork:
    """A network on a machine where each block is off its prediction by its own factor."""
    blocks = 10 ** rng.uniform(5, 7, rng.integers(4, 9))
    off = np.exp(rng.normal(0, 0.3, len(blocks)) + rng.normal(0, 0.3))
    return KnownNetwork(tuple(np.cumsum(blocks).tolist()), tuple(np.cumsum(blocks * off).tolist()))


@given(grown, st.data())
def test_the_longest_prefix_is_always_measured(predicted: tuple[float, ...], data: st.DataObject) -> None:
    shots = data.draw(st.integers(1, len(predicted)))
    chosen = choose_prefixes(predicted, shots)
    assert len(set(chosen)) == shots and chosen[-1] == len(predicted) - 1


@given(st.integers(0, 10**6), st.integers(1, 3))
def test_without_calibration_the_bounds_alone_hold_always(seed: int, shots: int) -> None:
    network = random_network(np.random.default_rng(seed))
    chosen = choose_prefixes(network.predicted, shots)
    found = predict_prefixes(network.predicted, {i: network.measured[i] for i in chosen}, calibrate([], shots))
    for index, (one, true) in enumerate(zip(found, network.measured, strict=True)):
        assert one.low_ns <= true <= one.high_ns and one.low_ns <= one.ns <= one.high_ns < math.inf
        assert (one.measured, one.ns == true) == (index in chosen, True) or not one.measured


def test_intervals_cover_all_prefixes_of_a_new_network_as_often_as_they_say() -> None:
    rng = np.random.default_rng(4)
    covered = []
    for _ in range(300):
        calibration = calibrate([random_network(rng) for _ in range(30)], 2, 0.8)
        new = random_network(rng)
        chosen = choose_prefixes(new.predicted, 2)
        found = predict_prefixes(new.predicted, {i: new.measured[i] for i in chosen}, calibration)
        covered.append(all(o.low_ns <= t <= o.high_ns for o, t in zip(found, new.measured, strict=True)))
    assert 0.75 <= np.mean(covered) <= 0.92


def test_more_measured_prefixes_err_less() -> None:
    rng = np.random.default_rng(5)
    networks = [random_network(rng) for _ in range(100)]
    errors = []
    for shots in (1, 2, 3):
        calibration = calibrate(networks, shots)
        logs = []
        for one in networks:
            chosen = choose_prefixes(one.predicted, shots)
            found = predict_prefixes(one.predicted, {i: one.measured[i] for i in chosen}, calibration)
            logs += [abs(math.log(f.ns / t)) for f, t in zip(found, one.measured, strict=True)]
        errors.append(np.mean(logs))
    assert errors[0] > errors[1] > errors[2]


def phone_networks() -> list[KnownNetwork]:
    """Every network that was measured on the emulated phone, each predicted by a model fitted to the others."""
    stored = json.loads(FIGURES.read_text())["networks"]
    parts: dict[str, list[FitPart]] = {}
    for network in stored:
        operators: tuple[Operator, ...] = ()
        for prefix in network["prefixes"]:
            operators += tuple(Operator(**operator) for operator in prefix["further_operators"])
            name = f"{network['name']} {network['size']}"
            family = re.sub(r"_\d+\.\d+$", "", network["name"])
            parts.setdefault(name, []).append(FitPart(operators, prefix["ns"], group=family))
    known = []
    for own in parts.values():
        others = [part for other in parts.values() for part in other if part.group != own[0].group]
        fitted, _ = fit(load_model("tensor-g2-cpu"), others, "here")
        known.append(KnownNetwork(tuple(predict(p.operators, fitted).total_ns for p in own),
                                  tuple(p.measured_ns for p in own)))
    return known


def test_the_phones_own_prefixes_are_covered() -> None:
    """Each network is predicted from two of its prefixes, calibrated on all the others."""
    networks = phone_networks()
    assert len(networks) >= 6
    inside, errors = [], []
    for index, network in enumerate(networks):
        calibration = calibrate(networks[:index] + networks[index + 1 :], 2, 0.8)
        chosen = choose_prefixes(network.predicted, 2)
        found = predict_prefixes(network.predicted, {i: network.measured[i] for i in chosen}, calibration)
        rest = [(one, ns) for one, ns in zip(found, network.measured, strict=True) if not one.measured]
        inside.append(all(one.low_ns <= ns <= one.high_ns for one, ns in rest))
        errors += [abs(one.ns / ns - 1) for one, ns in rest]
    assert np.mean(inside) >= 0.6
    assert np.median(errors) < 0.06


def test_what_can_not_be_is_told() -> None:
    known = calibrate([], 1)
    for call, told in (
        (lambda: choose_prefixes((), 1), "grow from each to the next"),
        (lambda: choose_prefixes((2.0, 1.0), 1), "grow from each to the next"),
        (lambda: choose_prefixes((1.0, 2.0), 3), "3 prefixes can't be measured of 2"),
        (lambda: calibrate([], 1, 1.5), "between 0 and 1"),
        (lambda: calibrate([KnownNetwork((1.0, 2.0), (1.0,))], 1), "a prediction and a latency"),
        (lambda: predict_prefixes((1.0, 2.0), {0: 1.0}, known), "the longest prefix has to be measured"),
        (lambda: predict_prefixes((1.0, 2.0), {0: 1.0, 1: 2.0}, known), "calibrated for 1"),
    ):
        with pytest.raises(InputError, match=told):
            call()
