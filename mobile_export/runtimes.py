"""The runtimes that run an artifact on this machine, one entry at a time, inside the current process.

Both may end the interpreter on a bad file: use them through `session.HostSession`, which puts them in a process of
their own.
"""

from pathlib import Path
from typing import Any, Protocol

import numpy as np

from device_profiler.errors import InputError
from device_profiler.workload import Array
from mobile_export import qnn_sdk
from mobile_export.artifact import Quantization

NOT_RUNNABLE = {
    "executorch-vulkan": "not runnable here: ExecuTorch's wheel has no Vulkan runtime, which needs the phone's driver",
    "executorch-coreml": "not runnable here: ExecuTorch's Core ML delegate runs on Apple's systems only",
}
"""Runtimes whose artifacts this project exports and can't run on this machine, and why."""


def checked_by(runtime: str) -> str:
    """What runs an artifact of `runtime` on this machine."""
    if runtime == "coreml":
        from mobile_export.coreml_runtime import CHECKED_BY

        return CHECKED_BY
    if runtime.startswith("executorch-qnn-"):
        return "Qualcomm's emulation of the HTP on this CPU"
    return {"executorch": "ExecuTorch's runtime on this CPU", "litert": "LiteRT's interpreter on this CPU"}[runtime]


class HostRuntime(Protocol):
    """A loaded artifact: named entries that map stored arrays to stored arrays."""

    entries: tuple[str, ...]

    def run(self, entry: str, inputs: tuple[Array, ...]) -> tuple[Array, ...]:
        """Outputs of `entry`, as copies. Raises RuntimeError or ValueError where the runtime refuses the inputs."""

    def output_quantization(self, entry: str) -> tuple[Quantization | None, ...]:
        """Quantisation of each output of `entry`; None where it is stored as it is meant."""


def load(path: Path, runtime: str, threads: int) -> HostRuntime:
    """Load `path` with `runtime` ("executorch", "litert", "coreml") on `threads` threads.

    Raises:
        InputError: no such runtime.
    """
    if runtime in NOT_RUNNABLE:
        raise InputError(f"{path.name} is {NOT_RUNNABLE[runtime]}")
    if runtime.startswith("executorch-qnn-"):
        qnn_sdk.load()
        return ExecutorchRuntime(path, threads)
    if runtime == "executorch":
        return ExecutorchRuntime(path, threads)
    if runtime == "litert":
        return LitertRuntime(path, threads)
    if runtime == "coreml":
        from mobile_export.coreml_runtime import CoremlRuntime

        return CoremlRuntime(path, threads)
    raise InputError(f"unknown runtime {runtime!r}: this machine runs executorch, litert, coreml")


class ExecutorchRuntime:
    """ExecuTorch's Python binding. Outputs are copied here: cloning them inside it costs milliseconds."""

    def __init__(self, path: Path, threads: int) -> None:
        import torch
        from executorch.extension.pybindings import portable_lib
        from executorch.runtime import Runtime

        torch.set_num_threads(threads)
        portable_lib._unsafe_reset_threadpool(threads)
        self._from_numpy = torch.from_numpy
        self._program = Runtime.get().load_program(path)
        self.entries = tuple(sorted(self._program.method_names))
        self._methods: dict[str, Any] = {}

    def run(self, entry: str, inputs: tuple[Array, ...]) -> tuple[Array, ...]:
        method = self._methods.get(entry)
        if method is None:
            method = self._methods[entry] = self._program.load_method(entry)._method
        tensors = [self._from_numpy(np.ascontiguousarray(array)) for array in inputs]
        return tuple(output.numpy().copy() for output in method.call(tensors, False))

    def output_quantization(self, entry: str) -> tuple[Quantization | None, ...]:
        return (None,) * int(self._program.metadata(entry).num_outputs())


class LitertRuntime:
    """LiteRT's interpreter, or tflite-runtime's, which it succeeded, where only that one is installed."""

    def __init__(self, path: Path, threads: int) -> None:
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError:
            from tflite_runtime.interpreter import Interpreter  # type: ignore[import-not-found]
        self._interpreter = Interpreter(model_path=str(path), num_threads=threads)
        self.entries = tuple(sorted(self._interpreter.get_signature_list()))
        self._runners: dict[str, Any] = {}

    def run(self, entry: str, inputs: tuple[Array, ...]) -> tuple[Array, ...]:
        runner = self._runner(entry)
        names = _in_order(runner.get_input_details())
        if len(names) != len(inputs):
            raise ValueError(f"takes {len(names)} inputs, but {len(inputs)} were given")
        outputs = runner(**dict(zip(names, inputs, strict=True)))
        return tuple(outputs[name] for name in _in_order(outputs))

    def output_quantization(self, entry: str) -> tuple[Quantization | None, ...]:
        details = self._runner(entry).get_output_details()
        return tuple(_quantization(*details[name]["quantization"]) for name in _in_order(details))

    def _runner(self, entry: str) -> Any:
        if entry not in self._runners:
            self._runners[entry] = self._interpreter.get_signature_runner(entry)
        return self._runners[entry]


def _quantization(scale: float, zero_point: int) -> Quantization | None:
    return Quantization(float(scale), int(zero_point)) if scale else None


def _in_order(names: dict[str, Any]) -> list[str]:
    """args_0, args_1, ... and output_0, output_1, ... by their number."""
    return sorted(names, key=lambda name: (len(name), name))
