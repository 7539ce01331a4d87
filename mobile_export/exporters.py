"""The registry of exporters: one a runtime, all called alike."""

from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Protocol, cast

from device_profiler.errors import InputError
from device_profiler.targets import Precision
from device_profiler.workload import Array
from mobile_export import qnn_sdk
from mobile_export.artifact import Artifact
from mobile_export.program import Program

Calibration = Mapping[str, Sequence[tuple[Array, ...]]]
"""Per entry: real float32 inputs in torch's layout (NCHW), one tuple a sample."""


class Exporter(Protocol):
    """Lowers several programs into one file, an entry point each, sharing weights."""

    def __call__(
        self,
        programs: Sequence[Program],
        destination: Path,
        *,
        precision: Precision,
        calibration: Calibration | None = None,
    ) -> Artifact:
        """Write `destination` and describe it.

        `calibration`: needed for int8, ignored for fp32.

        Raises:
            InputError: a program that can't be exported, a precision this runtime doesn't offer, calibration missing.
            VerificationError: an operator that fell off the delegate undeclared, boundaries that don't agree.
        """


_MODULES = {
    "executorch": "mobile_export.executorch_xnnpack",
    "litert": "mobile_export.litert",
    "coreml": "mobile_export.coreml",
    "executorch-coreml": "mobile_export.executorch_coreml",
    "executorch-vulkan": "mobile_export.executorch_vulkan",
    "executorch-qnn-sm8550": "mobile_export.executorch_qnn:export_sm8550",
    "executorch-qnn-sm8650": "mobile_export.executorch_qnn:export_sm8650",
}
_PACKAGES = {
    "executorch": ("torch", "torchao", "executorch"),
    "litert": ("torch", "litert-torch", "litert-converter", "ai-edge-litert", "ai-edge-quantizer"),
    "coreml": ("torch", "torchao", "coremltools"),
    "executorch-coreml": ("torch", "executorch", "coremltools"),
    "executorch-vulkan": ("torch", "executorch"),
    "executorch-qnn-sm8550": ("torch", "torchao", "executorch"),
    "executorch-qnn-sm8650": ("torch", "torchao", "executorch"),
}


QNN = "executorch-qnn-"
"""What the runtimes of Qualcomm's NPUs begin with; behind it stands the chip."""


def exporter(runtime: str) -> Exporter:
    """The exporter of `runtime`, imported when asked for.

    Raises:
        InputError: no such runtime.
    """
    module, _, name = _MODULES[_known(runtime)].partition(":")
    return cast(Exporter, getattr(import_module(module), name or "export"))


def toolchain(runtime: str) -> dict[str, str]:
    """Versions of the packages that shape what `exporter(runtime)` writes, by package name.

    Raises:
        InputError: no such runtime.
    """
    versions = {package: version(package) for package in _PACKAGES[_known(runtime)]}
    return {**versions, qnn_sdk.PACKAGE: qnn_sdk.VERSION} if runtime.startswith(QNN) else versions


def _known(runtime: str) -> str:
    if runtime not in _MODULES:
        raise InputError(f"unknown runtime {runtime!r}: exporters exist for {', '.join(sorted(_MODULES))}")
    return runtime


def check_programs(programs: Sequence[Program]) -> None:
    """Entry names are what a runtime finds programs by: at least one, all different.

    Raises:
        InputError: no program, or a name given twice.
    """
    names = [program.name for program in programs]
    if not names:
        raise InputError("nothing to export: give at least one program")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"entry names must differ, but {', '.join(twice)} is given more than once")
