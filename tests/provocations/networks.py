"""Errors about networks, configurations and what the phone answers, raised by calls."""

import importlib.util
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from device_profiler.runner.results import EntryEvents
from device_profiler.workload import Operator
from mobile_export.artifact import Artifact, EntryPoint, Port
from mobile_export.self_check import Sample, compare_samples
from mobile_export.session import CascadeResult
from mobile_export.tensors import TensorSpec
from pipeline import bundling
from pipeline.backbones import lite_weights
from pipeline.cli.run import read_image
from pipeline.data.source import default_size
from pipeline.exact_search.configuration import Configuration
from pipeline.model import ModelSpec, design_model
from pipeline.phone_check import compare_cascades, compare_delegation, compare_outputs
from pipeline.shipping import check_configuration


def _spec() -> ModelSpec:
    return design_model(("a", "b"), (64, 64), exits=3, heads=("fcn-r4",))


def _answer(exit: int, labels: int, confidence: float = 0.5) -> CascadeResult:
    return CascadeResult(exit, (confidence,), np.full((4, 4), labels, np.int32), 1)


def exits_out_of_range(folder: Path, patch: pytest.MonkeyPatch) -> None:
    check_configuration(_spec(), Configuration("adaptive", (0, 7), ("fcn-r4", "fcn-r4"), (0.5,)))


def one_head_for_two_exits(folder: Path, patch: pytest.MonkeyPatch) -> None:
    check_configuration(_spec(), Configuration("adaptive", (0, 2), ("fcn-r4",), (0.5,)))


def head_that_is_not_there(folder: Path, patch: pytest.MonkeyPatch) -> None:
    check_configuration(_spec(), Configuration("budgeted", (2,), ("lraspp-r1",)))


def output_stride(folder: Path, patch: pytest.MonkeyPatch) -> None:
    design_model(("a", "b"), (64, 64), exits=3, heads=("fcn-r4",), output_stride=7)


def weights_not_installed(folder: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(importlib.util, "find_spec", lambda name: None)
    lite_weights.weight_path("efficientnet_lite0")


def area_without_a_size(folder: Path, patch: pytest.MonkeyPatch) -> None:
    default_size(1.0, 10)


def no_image(folder: Path, patch: pytest.MonkeyPatch) -> None:
    read_image(Path("photo.png"))


def text_for_an_image(folder: Path, patch: pytest.MonkeyPatch) -> None:
    Path("photo.png").write_text("text")
    read_image(Path("photo.png"))


LOGITS = EntryPoint("stage_0", (), (Port(TensorSpec("logits", (1, 4), "int8")),), ())


def other_shape_on_the_phone(folder: Path, patch: pytest.MonkeyPatch) -> None:
    compare_outputs(LOGITS, [np.zeros((1, 2), np.int8)], [np.zeros((1, 3), np.int8)])


def other_values_on_the_phone(folder: Path, patch: pytest.MonkeyPatch) -> None:
    compare_outputs(LOGITS, [np.full((1, 4), 9, np.int8)], [np.zeros((1, 4), np.int8)])


def other_exit_on_the_phone(folder: Path, patch: pytest.MonkeyPatch) -> None:
    compare_cascades([_answer(0, 1, 0.75)], [_answer(1, 1, 0.5)])


def other_labels_on_the_phone(folder: Path, patch: pytest.MonkeyPatch) -> None:
    compare_cascades([_answer(0, 1)], [_answer(0, 2)])


def _artifact(*host_side: str) -> Artifact:
    operators = (Operator("convolution", 9, 9, 9, 9, True), *(Operator(kind, 0, 0, 9, 9, False) for kind in host_side))
    return Artifact("m.pte", "", 9, "executorch", "fp32", (EntryPoint("stage_0", (), (), operators, host_side),), {})


def no_delegate_on_the_phone(folder: Path, patch: pytest.MonkeyPatch) -> None:
    compare_delegation(_artifact("argmax"), [EntryEvents("stage_0", 0, {"convolution.out": 1, "argmax.out": 1})])


def kernel_that_no_export_declared(folder: Path, patch: pytest.MonkeyPatch) -> None:
    compare_delegation(_artifact("argmax"), [EntryEvents("stage_0", 2, {"_softmax.out": 1, "argmax.out": 1})])


def _sample(exit: int, labels: int) -> Sample:
    return Sample(np.zeros((4, 4, 3), np.uint8), exit, (_answer(0, labels), _answer(1, labels)), 0.02)


def sample_that_leaves_elsewhere(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """A runtime that does not give the same twice: none that is real does so on demand."""
    patch.setattr(bundling, "stored_image", lambda *words: np.zeros(1))
    patch.setattr(bundling, "taken_image", lambda *words: np.zeros((4, 4, 3), np.uint8))
    patch.setattr(bundling, "make_sample", lambda *words: _sample(1, 1))
    shipped = SimpleNamespace(artifact=SimpleNamespace(precision="int8", runtime="litert"), file=Path("model.tflite"),
                              plan=SimpleNamespace(thresholds=(0.5,)))  # fmt: skip
    answers = SimpleNamespace(confidences=np.array([[0.9]]), exits=np.array([0]))
    images = [SimpleNamespace(image=np.zeros((4, 4, 3), np.uint8))]
    bundling._sample(shipped, images, SimpleNamespace(answers=answers), 0.02)  # type: ignore[arg-type]


def self_check_exit(folder: Path, patch: pytest.MonkeyPatch) -> None:
    compare_samples(_sample(1, 1), _sample(0, 1))


def self_check_labels(folder: Path, patch: pytest.MonkeyPatch) -> None:
    compare_samples(_sample(1, 1), _sample(1, 2))
