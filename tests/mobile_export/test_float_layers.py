"""Mixed precision: the layer that int8 harms is found by name, and kept in floating point by every int8 exporter."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_conversion import Converted
from tiny_network import Images, Stage, cascade_programs, cascade_samples, images, inputs_of
from torch import nn

from device_profiler.errors import InputError, VerificationError
from mobile_export import coreml, executorch_xnnpack, litert, quantize, tflite_graph
from mobile_export.artifact import Artifact
from mobile_export.boundary import to_real, to_stored
from mobile_export.canonical import canonical
from mobile_export.float_layers import layers
from mobile_export.program import Program, TensorSpec
from mobile_export.sensitivity import SimulatedInt8
from mobile_export.session import HostSession
from mobile_export.structure import structure_hash
from pipeline.model import MultiExitModel, build_model, design_model
from pipeline.partition import Partition, deployment_programs
from pipeline.shipping import chain_inputs

HARMED = "head.layers.3"
KEPT = {"stage_0": (HARMED,)}


def harm(stage: Stage) -> None:
    """Let one weight of each output be huge, on a channel that is always 0: int8 rounds the others to nothing."""
    with torch.no_grad():
        norm = stage.head.layers[0][1]
        norm.weight[0], norm.bias[0] = 0.0, -1.0
        stage.head.layers[3].weight[:, 0] = 3000.0


@pytest.fixture(scope="module")
def programs() -> tuple[Program, ...]:
    found, _ = cascade_programs()
    harm(found[0].module)
    return found


@pytest.fixture(scope="module")
def calibration(programs: tuple[Program, ...]) -> dict[str, list[tuple[Images, ...]]]:
    return inputs_of(cascade_samples(programs, images(8, seed=100)))


def keeping(programs: tuple[Program, ...]) -> tuple[Program, ...]:
    return tuple(replace(program, float_layers=KEPT.get(program.name, ())) for program in programs)


def test_the_layer_that_int8_harms_is_the_most_sensitive(
    programs: tuple[Program, ...], calibration: dict[str, list[tuple[Images, ...]]]
) -> None:
    simulated = SimulatedInt8(programs[0], calibration["stage_0"])
    image = torch.from_numpy(calibration["stage_0"][0][0])
    expected = programs[0].module(image)[1].detach()

    def error() -> float:
        return float((simulated.run(image)[1] - expected).abs().mean())

    by_layer = {}
    for layer in simulated.layers:
        simulated.only(layer)
        by_layer[layer] = error()
    simulated.float()
    assert error() == pytest.approx(0, abs=1e-5)
    others = [value for layer, value in by_layer.items() if layer != HARMED]
    assert by_layer[HARMED] > 5 * max(others) > 0

    simulated.all_but([HARMED])
    kept = error()
    simulated.all_but(())
    assert error() > 5 * kept


def logits_error(artifact: Artifact, programs: tuple[Program, ...]) -> float:
    """Mean error of stage_0's logits."""
    entry, errors = artifact.entry("stage_0"), []
    with HostSession(Path(artifact.path), artifact.runtime) as session:
        for (image,), expected in cascade_samples(programs, images(3, seed=7))["stage_0"]:
            found = to_real(entry.outputs[1], session.run("stage_0", (to_stored(entry.inputs[0], image),))[1])
            errors.append(np.abs(found - expected[1]).mean())
    return float(np.mean(errors))


@pytest.mark.parametrize(
    ("export", "name"),
    [
        (litert.export, "x.tflite"),
        pytest.param(executorch_xnnpack.export, "x.pte", marks=pytest.mark.slow),
        pytest.param(coreml.export, "x.mlpackage", marks=pytest.mark.slow),
    ],
    ids=["litert", "executorch", "coreml"],
)
def test_the_kept_layer_is_computed_in_floating_point(
    export: object, name: str, programs: tuple[Program, ...], calibration: dict[str, list[tuple[Images, ...]]],
    tmp_path: Path,
) -> None:
    assert callable(export)
    throughout = export(programs, tmp_path / f"int8-{name}", precision="int8", calibration=calibration)
    mixed = export(keeping(programs), tmp_path / f"mixed-{name}", precision="int8", calibration=calibration)

    assert logits_error(mixed, programs) < logits_error(throughout, programs) / 5


def test_a_layer_that_is_read_by_others_too_stays_behind_its_signature(
    converted: Converted, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """head.layers.0.0 reads the features, which are an output as well."""
    mixed = replace(converted, programs=(replace(converted.programs[0], float_layers=("head.layers.0.0",)),
                                         *converted.programs[1:]))
    artifact = mixed.export(monkeypatch, tmp_path / "cured.tflite")
    entry = artifact.entry("stage_0")
    assert [port.spec.dtype for port in entry.outputs] == ["int8"] * 3
    assert entry.host_side == ("CONV_2D", "DEQUANTIZE", "QUANTIZE")
    stored = to_stored(entry.inputs[0], images(1))
    with HostSession(tmp_path / "cured.tflite", "litert") as session:
        assert len(session.run("stage_0", (stored,))) == 3

    monkeypatch.setattr(quantize, "settle_outputs", lambda original, quantized: quantized)
    mixed.export(monkeypatch, tmp_path / "broken.tflite")
    with (
        HostSession(tmp_path / "broken.tflite", "litert") as session,
        pytest.raises(VerificationError, match="Tensor data is null"),
    ):
        session.run("stage_0", (stored,))


class Awkward(nn.Module):
    """A layer behind a padding that is wider at one end, and one that reads what the program gives as well."""

    def __init__(self) -> None:
        super().__init__()
        self.front = nn.Conv2d(8, 8, 1)
        self.padded = nn.Conv2d(8, 8, 3, stride=2, groups=8)
        self.shown = nn.Conv2d(8, 8, 1)
        self.reader = nn.Conv2d(8, 8, 1)
        self.last = nn.Conv2d(8, 4, 1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = self.shown(self.padded(nn.functional.pad(self.front(x), (0, 1, 0, 1))))
        return features, self.last(self.reader(features).relu())


def awkward(*kept: str) -> tuple[Program, list[tuple[Images, ...]]]:
    torch.manual_seed(0)
    spec = [TensorSpec(name, shape, "float32")
            for name, shape in (("x", (1, 8, 16, 24)), ("features", (1, 8, 8, 12)), ("logits", (1, 4, 8, 12)))]
    inputs = np.random.default_rng(0).standard_normal((4, 1, 8, 16, 24)).astype(np.float32)
    return Program("awkward", Awkward().eval(), (spec[0],), tuple(spec[1:]), kept), [(one,) for one in inputs]


def awkward_errors(export: Callable[..., Artifact], path: Path, *kept: str) -> list[float]:
    """Of each output: the mean error in standard deviations."""
    program, inputs = awkward(*kept)
    artifact = export((program,), path, precision="int8", calibration={"awkward": inputs})
    entry = artifact.entry("awkward")
    expected = [output.detach().numpy() for output in program.module(torch.from_numpy(inputs[0][0]))]
    with HostSession(Path(artifact.path), artifact.runtime) as session:
        stored = session.run("awkward", (to_stored(entry.inputs[0], inputs[0][0]),))
    found = [to_real(port, array) for port, array in zip(entry.outputs, stored, strict=True)]
    return [float(np.abs(a - b).mean() / b.std()) for a, b in zip(found, expected, strict=True)]


@pytest.mark.parametrize(
    ("export", "name"),
    [
        (litert.export, "x.tflite"),
        (executorch_xnnpack.export, "x.pte"),
        pytest.param(coreml.export, "x.mlpackage", marks=pytest.mark.slow),
    ],
    ids=["litert", "executorch", "coreml"],
)
@pytest.mark.parametrize(
    "kept", [("padded",), ("reader",), ("shown", "reader"), ("front", "padded", "shown", "reader", "last")]
)
def test_layers_in_awkward_places_can_be_kept(
    export: Callable[..., Artifact], name: str, kept: tuple[str, ...], tmp_path: Path
) -> None:
    assert max(awkward_errors(export, tmp_path / name, *kept)) < 0.03


@pytest.mark.parametrize(
    ("kept", "message"), [("padded", "Weight and Input should both be quantized"), ("reader", r"execute\(\) failed")]
)
def test_xnnpack_fails_where_float_layers_are_not_set_apart(
    kept: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executorch_xnnpack, "set_apart_float_layers", lambda graph_module, program: None)
    with pytest.raises((RuntimeError, VerificationError), match=message):
        awkward_errors(executorch_xnnpack.export, tmp_path / "x.pte", kept)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize(
    ("backbone", "head"),
    [("efficientnet_lite0", "lraspp-r1"), ("mobilenet_v3_small", "dsaspp-r1"), ("resnet18", "fcn-r4-b1")],
)
@pytest.mark.parametrize("export", [executorch_xnnpack.export, litert.export], ids=["executorch", "litert"])
def test_every_other_layer_of_a_network_can_be_kept(
    export: Callable[..., Artifact], backbone: str, head: str, first: int, tmp_path: Path
) -> None:
    """Nearly every layer stands beside one of the other kind. No worse than int8 throughout, but for chance."""
    model = random_network(backbone, head)
    programs, _ = deployment_programs(Partition(model, "mean"), (0, 1), (head, head), (0.5,))
    pictures = np.random.default_rng(0).random((6, 3, 64, 64), np.float32) * 255
    chains = [chain_inputs(programs, pictures[n : n + 1]) for n in range(len(pictures))]
    calibration = {program.name: [chain[program.name][0] for chain in chains] for program in programs}
    mixed = tuple(replace(program, float_layers=paths_of(program)[first::2]) for program in programs)
    errors = []
    for name, chosen in (("mixed", mixed), ("int8", programs)):
        artifact = export(chosen, tmp_path / f"{name}.file", precision="int8", calibration=calibration)
        entry, found = artifact.entry("stage_0"), []
        with HostSession(Path(artifact.path), artifact.runtime) as session:
            for (image,), expected in (chain["stage_0"] for chain in chains):
                logits = to_real(entry.outputs[1], session.run("stage_0", (to_stored(entry.inputs[0], image),))[1])
                found.append(np.abs(logits - expected[1]).mean())
        errors.append(float(np.mean(found)))
    assert errors[0] < 1.2 * errors[1]


def random_network(backbone: str, head: str) -> MultiExitModel:
    """Random weights, in evaluation mode as it is built."""
    spec = design_model(tuple("abcdefgh"), (64, 64), backbone=backbone, exits=2, heads=(head,))
    return build_model(spec, pretrained=False, seed=3)


def paths_of(program: Program) -> tuple[str, ...]:
    """Its layers with weights, in order."""
    return tuple(dict.fromkeys(path for path, _ in layers(canonical(program))))


def test_a_layer_that_the_program_lacks_is_refused(tmp_path: Path) -> None:
    program = replace(cascade_programs()[0][0], float_layers=("head.layers.9",))
    with pytest.raises(InputError, match=r"has no layer 'head\.layers\.9' .* it has block\.depthwise\.0, .*head"):
        executorch_xnnpack.export((program,), tmp_path / "x.pte", precision="int8", calibration={"stage_0": []})


def test_a_layer_that_is_not_to_be_found_in_the_file_is_refused(
    converted: Converted, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    mixed = replace(converted, programs=(replace(converted.programs[0], float_layers=(HARMED,)),
                                         *converted.programs[1:]))
    monkeypatch.setattr(tflite_graph.TfliteGraph, "outputs_with", lambda *_: iter(()))
    with pytest.raises(VerificationError, match=r"'head\.layers\.3' of entry 'stage_0' stands 0 times"):
        mixed.export(monkeypatch, tmp_path / "x.tflite")


def test_a_quantiser_that_keeps_another_number_of_layers_is_refused(
    converted: Converted, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    mixed = replace(converted, programs=(replace(converted.programs[0], float_layers=(HARMED,)),
                                         *converted.programs[1:]))
    whole = quantize._instructions((), ())
    monkeypatch.setattr(quantize, "_instructions", lambda kept, tails: whole)
    with pytest.raises(VerificationError, match=r"0 convolution\(s\) are in floating point, 1 were to be"):
        mixed.export(monkeypatch, tmp_path / "x.tflite")


def test_what_stays_in_floating_point_makes_another_part() -> None:
    program = cascade_programs()[0][0]
    kept = replace(program, float_layers=(HARMED,))

    assert structure_hash(kept, "executorch", "int8") != structure_hash(program, "executorch", "int8")
    assert structure_hash(kept, "executorch", "fp32") == structure_hash(program, "executorch", "fp32")
