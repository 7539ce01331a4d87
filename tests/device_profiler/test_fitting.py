"""Fitting a device model: it finds what made the figures, tells its error on what it has not seen, keeps sources."""

import msgspec
import numpy as np
import pytest
from measurement_example import ONE

from device_profiler.errors import InputError
from device_profiler.fitting import LEAST_PARTS, FitPart, fit, stored_parts
from device_profiler.measurement import Verdict
from device_profiler.operator_arrays import OperatorArrays, values_of
from device_profiler.prediction import DeviceModel, load_model, predict, scaled
from device_profiler.store import Store
from device_profiler.workload import Operator

MODEL = load_model("tensor-g2-cpu")
KINDS = ("convolution", "depthwise_convolution", "linear", "add", "softmax", "some_operator")


def programs(count: int, seed: int = 0) -> list[tuple[Operator, ...]]:
    """Random programs with work of every kind."""
    rng = np.random.default_rng(seed)

    def operator() -> Operator:
        kind = KINDS[rng.integers(len(KINDS))]
        macs = int(10 ** rng.uniform(5, 8)) if "conv" in kind or kind == "linear" else 0
        sizes = [int(10 ** rng.uniform(3, 6)) for _ in range(3)]
        return Operator(kind, macs, sizes[0] if macs else 0, sizes[1], sizes[2], kind != "softmax")

    return [tuple(operator() for _ in range(rng.integers(1, 30))) for _ in range(count)]


def moved(model: DeviceModel) -> DeviceModel:
    """The machine that the figures come from: another one than the model says."""
    for name, factor in {"convolution_efficiency": 0.5, "bandwidth": 2.0, "operator_overhead": 3.0}.items():
        model = scaled(model, name, factor)
    return model


def parts(count: int, noise: float = 0.0) -> list[FitPart]:
    rng, machine = np.random.default_rng(1), moved(MODEL)
    return [FitPart(p, predict(p, machine).total_ns * float(np.exp(rng.normal(0, noise)))) for p in programs(count)]


def test_array_arithmetic_is_the_model() -> None:
    graphs = [*programs(40), ()]
    for model in (MODEL, moved(MODEL), load_model("tensor-g2-tpu")):
        found = OperatorArrays.of(graphs, model.kinds).predict_ns(values_of(model))
        assert found == pytest.approx([predict(graph, model).total_ns for graph in graphs], rel=1e-12)


def test_a_fit_finds_the_machine_behind_the_figures() -> None:
    fitted, report = fit(MODEL, parts(60), "in a test")
    assert report.parts == 60 and report.median_error < 0.02 < 0.05 < report.before_median
    assert fitted.parameters.convolution_efficiency.value == pytest.approx(0.3, rel=0.05)
    assert fitted.parameters.bandwidth.value == pytest.approx(3e10, rel=0.15)
    true = values_of(moved(MODEL))
    determined = {one.name: one.after for one in report.parameters if one.determined}
    assert len(determined) >= 3 and determined == pytest.approx({name: true[name] for name in determined}, rel=0.3)


def test_the_error_that_is_told_is_that_of_unseen_parts() -> None:
    """With noise of 10 %, an error far under it would be that of a fit on the very parts it was fitted to."""
    fitted, report = fit(MODEL, parts(60, noise=0.1), "in a test")
    fresh = programs(300, seed=9)
    errors = [abs(predict(p, fitted).total_ns / predict(p, moved(MODEL)).total_ns - 1) for p in fresh]
    assert 0.04 < report.median_error < 0.12 and np.median(errors) < 0.1
    assert report.worst_tenth > report.median_error


def test_what_has_a_public_source_stays_and_what_moved_says_so() -> None:
    fitted, report = fit(MODEL, parts(40), "measured for a test")
    assert fitted.parameters.peak_macs == MODEL.parameters.peak_macs
    assert fitted.fingerprint != MODEL.fingerprint
    for one in report.parameters:
        new, old = getattr(fitted.parameters, one.name), getattr(MODEL.parameters, one.name)
        assert new.assumed != one.determined and "40 parts measured for a test" in new.source
        assert f"began at {old.value:g}" in new.source and new.value == pytest.approx(one.after)


def test_what_no_part_shows_is_not_determined() -> None:
    alike = [FitPart(tuple(o for o in p.operators if o.kind in ("convolution", "add")) or p.operators[:1], 1e6 + n,
                     group=f"{n % 7}") for n, p in enumerate(parts(40))]
    _, report = fit(MODEL, alike, "in a test")
    [dense] = [one for one in report.parameters if one.name == "host_macs"]
    assert not dense.determined and dense.after == pytest.approx(dense.before)


def test_too_little_to_fit_to_is_told() -> None:
    with pytest.raises(InputError, match=rf"3 measured parts are too few .* takes {LEAST_PARTS} or more"):
        fit(MODEL, parts(3), "in a test")
    with pytest.raises(InputError, match="too alike"):
        fit(MODEL, [FitPart(parts(1)[0].operators, 1e6)] * 20, "in a test")


def test_the_newest_figures_that_hold_are_taken_from_the_store(tmp_path: str) -> None:
    operators = programs(1)[0]
    refuted = msgspec.structs.replace(ONE, key="refuted", verdict=Verdict("REFUTED", "npu", ("it ran on the CPU",)))
    with Store(f"{tmp_path}/store.sqlite") as store:
        for key in ("k", "refuted"):
            store.keep_operators(key, operators)
        store.add_all([ONE, msgspec.structs.replace(ONE, median_ns=99.0), refuted,
                       msgspec.structs.replace(ONE, key="without operators")])
        assert stored_parts(store, ["pixel7-cpu"], ["emulated"]) == [FitPart(operators, 99.0)]
        assert stored_parts(store, ["pixel7-cpu"], ["measured"]) == []
