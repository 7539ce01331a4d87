"""Errors about programs, runs and device models, raised by calls with a wrong value."""

from pathlib import Path

import numpy as np
import pytest

from device_profiler.prediction import load_model, scaled
from device_profiler.runner.job import Repetitions, write_calls, write_cascade, write_watches
from device_profiler.runner.wheels import Wheel
from device_profiler.store import Store
from device_profiler.workload import Call, CascadePlan
from mobile_export.exporters import exporter
from mobile_export.runtimes import load
from mobile_export.session import HostSession

ONCE = Repetitions(0, 1)


def no_calls(folder: Path, patch: pytest.MonkeyPatch) -> None:
    write_calls(folder, "model", [], ONCE)


def nothing_to_watch(folder: Path, patch: pytest.MonkeyPatch) -> None:
    write_watches(folder, "model", [], ONCE)


def name_with_a_space(folder: Path, patch: pytest.MonkeyPatch) -> None:
    write_calls(folder, "model", [Call("stage 0", ())], ONCE)


def _cascade(folder: Path, thresholds: tuple[float, ...], finish: tuple[str, ...], images: int = 1) -> None:
    plan = CascadePlan(("stage_0", "stage_1"), thresholds, finish)
    write_cascade(folder, "model", plan, [np.zeros(1, np.float32)] * images, ONCE)


def no_images(folder: Path, patch: pytest.MonkeyPatch) -> None:
    _cascade(folder, (0.5,), ("finish_0",), images=0)


def too_many_thresholds(folder: Path, patch: pytest.MonkeyPatch) -> None:
    _cascade(folder, (0.5, 0.6), ("finish_0",))


def too_many_finishes(folder: Path, patch: pytest.MonkeyPatch) -> None:
    _cascade(folder, (0.5,), ("finish_0", "finish_1"))


def threshold_that_is_no_number(folder: Path, patch: pytest.MonkeyPatch) -> None:
    _cascade(folder, (float("nan"),), ("finish_0",))


def no_threads(folder: Path, patch: pytest.MonkeyPatch) -> None:
    Repetitions(1, 1, threads=0)


def device_model(folder: Path, patch: pytest.MonkeyPatch) -> None:
    load_model("tensor-g9")


def device_parameter(folder: Path, patch: pytest.MonkeyPatch) -> None:
    scaled(load_model("tensor-g2-tpu"), "colour", 2)


def device_factor(folder: Path, patch: pytest.MonkeyPatch) -> None:
    scaled(load_model("tensor-g2-tpu"), "invocation_overhead", 0)


def package_not_installed(folder: Path, patch: pytest.MonkeyPatch) -> None:
    _ = Wheel("no-such-package", ()).version


def store_that_is_no_url(folder: Path, patch: pytest.MonkeyPatch) -> None:
    Store("redis://nowhere")


def store_in_no_folder(folder: Path, patch: pytest.MonkeyPatch) -> None:
    Store("sqlite:///no/such/folder/store.db")


def nothing_to_export(folder: Path, patch: pytest.MonkeyPatch) -> None:
    exporter("executorch")((), Path("model.pte"), precision="fp32")


def precision_of_executorch(folder: Path, patch: pytest.MonkeyPatch) -> None:
    exporter("executorch")((), Path("model.pte"), precision="int4")


def precision_of_litert(folder: Path, patch: pytest.MonkeyPatch) -> None:
    exporter("litert")((), Path("model.tflite"), precision="int4")


def runtime_of_this_machine(folder: Path, patch: pytest.MonkeyPatch) -> None:
    load(Path("model.onnx"), "onnx", 1)


def no_artifact(folder: Path, patch: pytest.MonkeyPatch) -> None:
    HostSession(Path("model.pte"), "executorch").__enter__()
