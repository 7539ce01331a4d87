"""What every exporter promises, asserted over all of them: parity, shared weights, named ports, clear refusals."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from _pytest.mark.structures import ParameterSet
from tiny_network import (
    CLASSES,
    SIZE,
    Images,
    Samples,
    budgeted_program,
    cascade_programs,
    cascade_samples,
    images,
    inputs_of,
)
from torch.utils.flop_counter import FlopCounterMode

from device_profiler.errors import InputError, VerificationError
from device_profiler.files import sha256_path
from device_profiler.targets import Precision
from device_profiler.workload import CascadePlan
from mobile_export import qnn_sdk
from mobile_export.artifact import Artifact
from mobile_export.boundary import to_stored
from mobile_export.export_worker import ExportJob, export_in_parallel, export_in_worker
from mobile_export.exporters import exporter
from mobile_export.parity import check_parity
from mobile_export.program import Program, TensorSpec
from mobile_export.runtimes import load
from mobile_export.session import CascadeResult, HostSession


def form(runtime: str, precision: Precision, suffix: str, *, slow: bool = False) -> ParameterSet:
    marks = [pytest.mark.slow] if slow else []
    return pytest.param((runtime, precision, suffix), marks=marks, id=f"{runtime}-{precision}{suffix}")


FORMS = (
    form("executorch", "fp32", ".pte"),
    form("litert", "int8", ".tflite"),
    form("coreml", "fp16", ".mlpackage"),
    form("executorch", "int8", ".pte", slow=True),
    form("litert", "fp32", ".tflite", slow=True),
    form("coreml", "fp32", ".mlpackage", slow=True),
    form("coreml", "fp16", ".mlpackages", slow=True),
    form("coreml", "w8", ".mlpackage", slow=True),
    form("coreml", "int8", ".mlpackage", slow=True),
)
"""Every form that this machine can run: runtime, precision, ending. A .mlpackages is a package an entry."""
NEEDS_QNN = pytest.mark.skipif(not (qnn_sdk.folder() / qnn_sdk.LICENCE).is_file(), reason="Qualcomm's libraries absent")
QNN_FORMS = tuple(
    pytest.param(("executorch-qnn-sm8550", precision, ".pte"), marks=[pytest.mark.slow, NEEDS_QNN], id=precision)
    for precision in ("int8", "fp16")
)
"""Run in workers alone, whose process Qualcomm's libraries are loaded into."""
LEAST_AGREEMENT = {"fp32": 0.999, "fp16": 0.99, "w8": 0.95, "int8": 0.9}
NOISE = np.random.default_rng(0).random((1, 3, 8, 8), np.float32)


NOISE_IN, NOISE_OUT = (TensorSpec("x", (1, 3, 8, 8)),), (TensorSpec("y", (1, 300, 8, 8)),)


class Heavy(torch.nn.Module):
    """A graph of its own around a convolution that several programs have in common."""

    def __init__(self, convolution: torch.nn.Conv2d, factor: float) -> None:
        super().__init__()
        self.convolution, self.factor = convolution, factor

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
        return (torch.sigmoid(self.convolution(x)) + self.factor,)


class AsTuple(torch.nn.Module):
    """The least program: its input plus one."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
        return (x + 1,)


@dataclass(frozen=True)
class Exported:
    """One form of the tiny cascade."""

    artifact: Artifact
    path: Path
    programs: tuple[Program, ...]
    plan: CascadePlan
    samples: Samples


@pytest.fixture(scope="module", params=[*FORMS, *QNN_FORMS])
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    runtime, precision, suffix = request.param
    path = tmp_path_factory.mktemp(f"{runtime}-{precision}") / f"cascade{suffix}"
    programs, plan = cascade_programs()
    calibration = inputs_of(cascade_samples(programs, images(16, seed=100)))
    artifact = export_in_worker(runtime, programs, path, precision=precision, calibration=calibration)
    return Exported(artifact, path, programs, plan, cascade_samples(programs, images(12, seed=7)))


def test_computes_what_eager_pytorch_computes(exported: Exported) -> None:
    report = check_parity(exported.artifact, exported.samples)

    assert report.passed
    assert {(o.entry, o.output) for o in report.outputs} == {
        *(("stage_0", name) for name in ("features", "logits", "confidence")),
        *((entry, "labels") for entry in ("finish_0", "stage_1")),
    }
    assert all(parity.samples == 12 for parity in report.outputs)


def test_another_networks_outputs_do_not_pass(exported: Exported) -> None:
    other = cascade_samples(cascade_programs(seed=5)[0], images(4, seed=7))
    with pytest.raises(VerificationError, match=r"differs from eager PyTorch: stage_0\."):
        check_parity(exported.artifact, other)


def test_the_cascade_takes_eagers_exits_and_gives_its_labels(exported: Exported) -> None:
    batch = images(12, seed=7)
    confidences = [float(outputs[2][0]) for _, outputs in exported.samples["stage_0"]]
    threshold = float(np.sort(confidences)[5:7].mean())
    plan = CascadePlan(exported.plan.stages, (threshold,), exported.plan.finish)

    results = run_all(exported.artifact, plan, batch)

    far = [abs(confidence - threshold) > 0.01 for confidence in confidences]
    expected = [0 if confidence >= threshold else 1 for confidence in confidences]
    assert {0, 1} <= set(expected)
    assert [r.exit for r, clear in zip(results, far, strict=True) if clear] == [
        e for e, clear in zip(expected, far, strict=True) if clear
    ]
    agreement = [
        (result.labels == exported.samples[("finish_0", "stage_1")[result.exit]][index][1][0]).mean()
        for index, result in enumerate(results)
    ]
    assert np.mean(agreement) > LEAST_AGREEMENT[exported.artifact.precision]


def run_all(artifact: Artifact, plan: CascadePlan, batch: Images) -> list[CascadeResult]:
    port = artifact.entry(plan.stages[0]).inputs[0]
    with HostSession(Path(artifact.path), artifact.runtime) as session:
        return [session.run_cascade(plan, to_stored(port, image[None])) for image in batch]


@pytest.mark.parametrize("chosen", [one for one in FORMS if "mlpackages" not in str(one.id)])
def test_entries_share_their_weights(chosen: tuple[str, Precision, str], tmp_path: Path) -> None:
    runtime, precision, suffix = chosen
    heavy = torch.nn.Conv2d(3, 300, 15, padding=7).eval()
    graphs = {"a": Heavy(heavy, 1.0), "b": Heavy(heavy, 2.0)}
    programs = tuple(Program(name, graph.eval(), NOISE_IN, NOISE_OUT) for name, graph in graphs.items())
    calibration = {program.name: [(NOISE,)] for program in programs}

    artifact = exporter(runtime)(programs, tmp_path / f"x{suffix}", precision=precision, calibration=calibration)

    one_copy = sum(operator.bytes_weights for operator in artifact.entry("a").operators)
    assert one_copy < artifact.size_bytes < 1.5 * one_copy


@pytest.mark.parametrize("chosen", FORMS)
def test_exporting_twice_gives_the_same_bytes(chosen: tuple[str, Precision, str], tmp_path: Path) -> None:
    runtime, precision, suffix = chosen
    program = Program("a", Heavy(torch.nn.Conv2d(3, 300, 15, padding=7), 1.0).eval(), NOISE_IN, NOISE_OUT)
    paths = [tmp_path / f"{n}{suffix}" for n in (1, 2)]

    first, second = (
        exporter(runtime)((program,), path, precision=precision, calibration={"a": [(NOISE,)]}) for path in paths
    )

    assert first.entries == second.entries
    assert first.sha256 == second.sha256


def test_two_exports_run_beside_each_other_and_keep_their_order(tmp_path: Path) -> None:
    program = Program("a", torch.nn.Sequential(AsTuple()).eval(), NOISE_IN, (TensorSpec("y", (1, 3, 8, 8)),))
    jobs = [ExportJob("executorch", (program,), tmp_path / f"{n}.pte", "fp32") for n in (1, 2)]

    assert [Path(artifact.path).name for artifact in export_in_parallel(jobs)] == ["1.pte", "2.pte"]


def test_ports_are_named_as_declared(exported: Exported) -> None:
    for program in exported.programs:
        entry = exported.artifact.entry(program.name)
        assert [port.spec.name for port in entry.outputs] == [spec.name for spec in program.outputs]
        for port, spec in zip((*entry.inputs, *entry.outputs), (*program.inputs, *program.outputs), strict=True):
            n, c, *size = spec.shape if len(spec.shape) == 4 else (0, 0)
            assert port.spec.shape == ((n, *size, c) if port.layout == "NHWC" else spec.shape)


def test_multiply_adds_agree_with_pytorchs_count(exported: Exported) -> None:
    program = exported.programs[0]
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        program.module(*program.example_inputs())
    counted = counter.get_total_flops() // 2

    normalisation = 3 * SIZE * SIZE  # LiteRT's form has it as a 1x1 depthwise convolution
    assert exported.artifact.entry("stage_0").macs in (counted, counted + normalisation)


def test_all_but_the_declared_operators_are_on_the_delegate(exported: Exported) -> None:
    stage, finish = exported.artifact.entry("stage_0"), exported.artifact.entry("finish_0")
    if exported.artifact.runtime == "executorch":
        assert stage.host_side == ("amax", "mean", "softmax")
        assert finish.host_side == ("argmax", "to_dim_order_copy")
    else:
        assert (stage.delegated_share, finish.delegated_share) == (1.0, 1.0)


def test_the_file_is_the_one_described(exported: Exported) -> None:
    assert sha256_path(exported.path) == exported.artifact.sha256
    files = [exported.path] if exported.path.is_file() else [p for p in exported.path.rglob("*") if p.is_file()]
    assert sum(file.stat().st_size for file in files) == exported.artifact.size_bytes


class BranchesOnData(torch.nn.Module):
    """What no exporter takes."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
        return (x + 1,) if bool(x.sum() > 0) else (x - 1,)


class Tupled(torch.nn.Module):
    """A module's output as the tuple that a program gives."""

    def __init__(self, inner: torch.nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
        return (self.inner(x),)


class OffTheDelegate(torch.nn.Module):
    """A convolution behind an operator that no delegate has."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 4, 1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
        return (self.conv(torch.cumsum(x, 2)),)


def program_of(module: torch.nn.Module, channels: int = 3) -> Program:
    return Program("odd", module.eval(), (TensorSpec("x", (1, 3, 8, 8)),), (TensorSpec("y", (1, channels, 8, 8)),))


@pytest.mark.parametrize("runtime", ["executorch", "litert", "coreml"])
def test_control_flow_on_data_is_refused_by_name(runtime: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'odd' can't be exported"):
        exporter(runtime)((program_of(BranchesOnData()),), tmp_path / "x.mlpackage", precision="fp32")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("runtime", ["executorch", "litert", "coreml"])
def test_outputs_other_than_declared_are_refused(runtime: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="declares"):
        exporter(runtime)((program_of(torch.nn.Identity(), channels=7),), tmp_path / "x.mlpackage", precision="fp32")


@pytest.mark.parametrize("runtime", ["executorch", "litert", "coreml"])
def test_the_same_name_twice_is_refused(runtime: str, tmp_path: Path) -> None:
    program = budgeted_program()
    with pytest.raises(InputError, match="segment is given more than once"):
        exporter(runtime)((program, program), tmp_path / "x.mlpackage", precision="fp32")


@pytest.mark.parametrize(("runtime", "precision"), [("executorch", "fp32"), ("litert", "int8")])
def test_an_undeclared_fallback_fails_the_export(runtime: str, precision: Precision, tmp_path: Path) -> None:
    program = program_of(OffTheDelegate(), channels=4)
    with pytest.raises(VerificationError, match=r"'odd'.*(cumsum|CUMSUM)"):
        exporter(runtime)((program,), tmp_path / "x", precision=precision, calibration={"odd": [(NOISE,)]})
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("runtime", ["executorch", "litert", "coreml"])
def test_int8_without_calibration_is_refused(runtime: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"calibration inputs from real images.*segment"):
        exporter(runtime)((budgeted_program(),), tmp_path / "x.mlpackage", precision="int8")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("runtime", ["executorch-vulkan", "executorch-coreml"])
def test_what_nothing_here_runs_is_exported_and_never_called_verified(runtime: str, tmp_path: Path) -> None:
    program = program_of(torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.ReLU6()), channels=4)
    program = Program(program.name, Tupled(program.module).eval(), program.inputs, program.outputs)

    artifact = exporter(runtime)((program,), tmp_path / "x.pte", precision="fp16")
    report = check_parity(artifact, {"odd": [((NOISE,), (NOISE,))]})

    assert artifact.entry("odd").delegated_share == 1.0
    assert (report.passed, report.checked_by, report.outputs) == (False, "", ())
    assert "not runnable here" in report.not_runnable
    with pytest.raises(InputError, match="not runnable here"):
        load(tmp_path / "x.pte", runtime, 1)


@pytest.mark.parametrize(
    ("runtime", "precision"), [("executorch", "fp16"), ("litert", "w8"), ("executorch-vulkan", "int8")]
)
def test_a_precision_that_a_runtime_lacks_is_refused(runtime: str, precision: Precision, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"offers .*, not '{precision}'"):
        exporter(runtime)((budgeted_program(),), tmp_path / "x.pte", precision=precision)


def test_an_unknown_runtime_is_refused() -> None:
    with pytest.raises(InputError, match=r"coreml, executorch, executorch-coreml, executorch-qnn-sm8550, .*litert"):
        exporter("onnx")


def test_the_tiny_network_is_no_trivial_case() -> None:
    samples = cascade_samples(cascade_programs()[0], images(12, seed=7))
    labels = np.stack([outputs[0] for _, outputs in samples["stage_1"]])
    shares = np.bincount(labels.reshape(-1), minlength=CLASSES) / labels.size
    assert (shares > 0.02).sum() >= 3
