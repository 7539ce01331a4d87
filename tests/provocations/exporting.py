"""Errors of exporters and of what runs exported files, raised by calls with a wrong value."""

import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from mobile_export import qnn_sdk
from mobile_export.artifact import EntryPoint, Port
from mobile_export.exporters import exporter
from mobile_export.mil_evaluator import _Operation, _resized
from mobile_export.parity import TOLERANCES, _compare, check_parity
from mobile_export.program import TensorSpec
from mobile_export.reference_check import check_reference_on_phone
from mobile_export.runtimes import load
from tests.device_profiler.local_transport import LocalTransport


def _precision(runtime: str, precision: str, name: str = "model.pte") -> None:
    exporter(runtime)((), Path(name), precision=precision)  # type: ignore[arg-type]


def precision_of_coreml(folder: Path, patch: pytest.MonkeyPatch) -> None:
    _precision("coreml", "int4", "model.mlpackage")


def ending_of_coreml(folder: Path, patch: pytest.MonkeyPatch) -> None:
    _precision("coreml", "fp16")


def precision_of_executorch_coreml(folder: Path, patch: pytest.MonkeyPatch) -> None:
    _precision("executorch-coreml", "int8")


def precision_of_qnn(folder: Path, patch: pytest.MonkeyPatch) -> None:
    _precision("executorch-qnn-sm8550", "fp32")


def precision_of_vulkan(folder: Path, patch: pytest.MonkeyPatch) -> None:
    _precision("executorch-vulkan", "int8")


def runtime_of_the_phone_alone(folder: Path, patch: pytest.MonkeyPatch) -> None:
    load(Path("model.pte"), "executorch-vulkan", 1)


def resizing_of_another_kind(folder: Path, patch: pytest.MonkeyPatch) -> None:
    _resized(_Operation("enlarged", "resize_bilinear", {}, {"sampling_mode": "OFFSET_CORNERS"}, {}))


def parity_without_samples(folder: Path, patch: pytest.MonkeyPatch) -> None:
    check_parity(None, {})  # type: ignore[arg-type]


def output_of_another_shape(folder: Path, patch: pytest.MonkeyPatch) -> None:
    port = Port(TensorSpec("logits", (1, 2)))
    _compare(EntryPoint("stage_0", (), (port,), ()), port, [(np.zeros((1, 2)), np.zeros((1, 3)))], TOLERANCES["fp32"])


def libraries_of_qualcomm_out_of_reach(folder: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setenv("PIP_CONFIG_FILE", os.devnull)
    patch.setenv("PIP_NO_INDEX", "1")
    qnn_sdk.fetch()


def libraries_of_qualcomm_for_another_machine(folder: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setenv("QNN_SDK_ROOT", "")
    for name in (qnn_sdk.LICENCE, *(pattern.replace("*", "1.so") for pattern in qnn_sdk._SUPPORT)):
        file = qnn_sdk.folder() / (name if "/" in name else f"onnxruntime_qnn.libs/{name}")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("for another machine")
    qnn_sdk.load()


def _check_on_phone(folder: Path, runtime: str) -> None:
    bundle = SimpleNamespace(folder=folder, manifest=SimpleNamespace(target=SimpleNamespace(runtime=runtime)))
    check_reference_on_phone(bundle, LocalTransport())  # type: ignore[arg-type]


def bundle_without_cpp(folder: Path, patch: pytest.MonkeyPatch) -> None:
    _check_on_phone(folder, "coreml")


def runtime_without_a_wheel(folder: Path, patch: pytest.MonkeyPatch) -> None:
    (folder / "glue" / "cpp").mkdir(parents=True)
    (folder / "glue" / "cpp" / "main.cpp").write_text("")
    _check_on_phone(folder, "executorch-vulkan")
