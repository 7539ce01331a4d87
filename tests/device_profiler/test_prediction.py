"""The device model: properties that any roofline must have, and the shipped file's figures."""

import dataclasses
import json
import re
from importlib import resources
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_profiler.errors import InputError
from device_profiler.prediction import load_model, predict, scaled
from device_profiler.targets import all_targets
from device_profiler.workload import Operator

MODEL = load_model("tensor-g2-tpu")
MODELS = [file.name.removesuffix(".toml") for file in resources.files("device_profiler.device_models").iterdir()
          if file.name.endswith(".toml")]
GOLDEN = Path(__file__).parents[1] / "golden" / "prediction_tensor_g2_tpu.json"
KINDS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "ADD", "RESIZE_BILINEAR", "SOME_CUSTOM_OPERATOR")
counts = st.integers(0, 10**10)
operators = st.builds(Operator, st.sampled_from(KINDS), counts, counts, counts, counts, st.booleans())
graphs = st.lists(operators, max_size=8)


def grown(operator: Operator, name: str, by: int) -> Operator:
    return msgspec.structs.replace(operator, **{name: getattr(operator, name) + by})


@given(graphs, st.sampled_from(["macs", "bytes_weights", "bytes_in", "bytes_out"]), st.data())
def test_more_work_never_takes_less_time(graph: list[Operator], name: str, data: st.DataObject) -> None:
    if graph:
        index = data.draw(st.integers(0, len(graph) - 1))
        more = [*graph[:index], grown(graph[index], name, 10**6), *graph[index + 1 :]]
        assert predict(more, MODEL).total_ns >= predict(graph, MODEL).total_ns


@given(graphs, graphs)
def test_two_graphs_in_one_program_save_at_most_the_overhead(first: list[Operator], second: list[Operator]) -> None:
    one, other, both = predict(first, MODEL), predict(second, MODEL), predict(first + second, MODEL)
    assert both.total_ns - both.overhead_ns == pytest.approx(
        one.total_ns - one.overhead_ns + other.total_ns - other.overhead_ns, rel=1e-12, abs=1e-6
    )
    assert both.overhead_ns <= one.overhead_ns + other.overhead_ns
    assert len(both.by_operator) == len(first) + len(second)


@given(graphs, st.sampled_from(MODEL.parameters.__struct_fields__), st.floats(1.0, 4.0))
def test_a_better_unit_is_never_slower(graph: list[Operator], name: str, factor: float) -> None:
    base, variant = predict(graph, MODEL).total_ns, predict(graph, scaled(MODEL, name, factor)).total_ns
    slack = 1e-9 * base
    assert variant >= base - slack if name.endswith("overhead") else variant <= base + slack


@given(graphs)
def test_an_operator_off_the_unit_cuts_the_graph(graph: list[Operator]) -> None:
    on_unit = Operator("ADD", 0, 0, 100, 100, True)
    host = Operator("MEAN", 0, 0, 100, 4, False)
    assert predict([on_unit, on_unit], MODEL).partitions == 1
    assert predict([on_unit, host, on_unit], MODEL).partitions == 2
    assert predict([host], MODEL).overhead_ns == 0
    prediction = predict(graph, MODEL)
    assert prediction.partitions <= len(graph)
    assert (prediction.overhead_ns > 0) == (prediction.partitions > 0)


def test_depthwise_work_is_dearer_than_dense_convolutions() -> None:
    work = {"macs": 10**8, "bytes_weights": 100, "bytes_in": 100, "bytes_out": 100, "delegated": True}
    convolution, depthwise = (predict([Operator(kind, **work)], MODEL) for kind in ("CONV_2D", "DEPTHWISE_CONV_2D"))
    assert depthwise.by_operator[0].ns > 5 * convolution.by_operator[0].ns
    assert depthwise.by_operator[0].bound == "compute"


def test_an_operator_that_the_unit_does_not_know_is_a_fallback() -> None:
    prediction = predict([Operator("SOME_CUSTOM_OPERATOR", 0, 0, 10, 10, True)], MODEL)
    assert prediction.fallbacks == ("SOME_CUSTOM_OPERATOR",) and prediction.by_operator[0].place == "host"


@pytest.mark.parametrize("name", MODELS)
def test_every_parameter_has_a_unit_and_a_source(name: str) -> None:
    model = load_model(name)
    assert model.name == name and model.title
    for field in model.parameters.__struct_fields__:
        parameter = getattr(model.parameters, field)
        assert parameter.value > 0 and parameter.unit and len(parameter.source) >= len("assumed"), field
    assert set(model.assumed) <= set(model.parameters.__struct_fields__) and "invocation_overhead" in model.assumed
    kinds = model.kinds.supported
    assert len(set(kinds)) == len(kinds)


@pytest.mark.parametrize("name", [name for name in MODELS if name.endswith("-gpu")])
def test_a_gpu_takes_what_its_delegate_registers(name: str) -> None:
    """Operators that the installed ExecuTorch's Vulkan partitioner does not know must not be predicted on the unit."""
    registry = resources.files("executorch").joinpath("backends/vulkan/op_registry.py").read_text()
    registered = {found.lstrip("_") for found in re.findall(r"exir_ops\.edge\.aten\.(\w+)\.", registry)}
    ours = {"conv2d", "depthwise_convolution", "matmul"}  # what our graphs call them, or what they are lowered from
    assert set(load_model(name).kinds.supported) - registered <= ours


def test_targets_name_models_that_exist() -> None:
    for target in all_targets():
        assert target.device_model or target.untimed or target.unit == "cpu", f"{target.name}: no latency, no reason"
        assert target.unit != "cpu" or target.device_model is None, "a phone's CPU is timed or emulated"
        if target.device_model:
            assert load_model(target.device_model).name == target.device_model


def test_unknown_names_are_told() -> None:
    with pytest.raises(InputError, match=r"unknown device model 'x'; known: .*tensor-g2-tpu"):
        load_model("x")
    with pytest.raises(InputError, match=r"no parameter 'speed'; it has: peak_macs"):
        scaled(MODEL, "speed", 2)
    with pytest.raises(InputError, match="must be > 0"):
        scaled(MODEL, "bandwidth", 0)


def test_a_variant_never_passes_for_the_model() -> None:
    variant = scaled(MODEL, "bandwidth", 2)
    assert variant.fingerprint != MODEL.fingerprint
    assert variant.parameters.bandwidth.value == 2 * MODEL.parameters.bandwidth.value


def test_known_network_keeps_its_prediction() -> None:
    """A change of the model's figures or formulas shows here, and is to be meant."""
    stored = json.loads(GOLDEN.read_text())
    prediction = predict([Operator(**operator) for operator in stored["operators"]], MODEL)
    assert prediction.total_ns == pytest.approx(stored["total_ns"])
    assert [dataclasses.asdict(time)["bound"] for time in prediction.by_operator] == stored["bounds"]
