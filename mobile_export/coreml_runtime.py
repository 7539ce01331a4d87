"""Runs a Core ML artifact on this machine: by Core ML itself on macOS, elsewhere by the MIL evaluator."""

import sys
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from device_profiler.workload import Array
from mobile_export.artifact import Quantization
from mobile_export.mil_program import functions_of

ON_APPLE = sys.platform == "darwin"
CHECKED_BY = "Core ML's predict on macOS" if ON_APPLE else "the MIL evaluator (Core ML itself runs on Apple only)"


class _Function(Protocol):
    inputs: dict[str, str]

    def run(self, inputs: dict[str, Array]) -> tuple[Array, ...]: ...


class CoremlRuntime:
    """A Core ML artifact behind `runtimes.HostRuntime`; functions are loaded when first run."""

    def __init__(self, path: Path, threads: int) -> None:
        import torch

        torch.set_num_threads(threads)
        self._functions = functions_of(path)
        self.entries = tuple(sorted(self._functions))
        self._loaded: dict[str, _Function] = {}

    def run(self, entry: str, inputs: tuple[Array, ...]) -> tuple[Array, ...]:
        """Outputs of `entry`. Raises ValueError for another number of inputs than it takes."""
        function = self._function(entry)
        if len(function.inputs) != len(inputs):
            raise ValueError(f"takes {len(function.inputs)} inputs, but {len(inputs)} were given")
        return function.run(dict(zip(function.inputs, inputs, strict=True)))

    def output_quantization(self, entry: str) -> tuple[Quantization | None, ...]:
        """None for each output: Core ML hands over real values."""
        return (None,) * 3

    def _function(self, entry: str) -> _Function:
        if entry not in self._loaded:
            package, name = self._functions[entry]
            self._loaded[entry] = PredictedFunction(package, name) if ON_APPLE else _evaluated(package, name)
        return self._loaded[entry]


def _evaluated(package: Path, name: str) -> _Function:
    from mobile_export.mil_evaluator import MilFunction

    return MilFunction(package, name)


class PredictedFunction:
    """One function of a package, run by Core ML on every unit of a Mac."""

    def __init__(self, package: Path, function: str) -> None:
        import coremltools as ct

        several = len(functions_of(package)) > 1 or function != "main"
        self._model = ct.models.MLModel(str(package), function_name=function if several else None)
        description: Any = self._model.get_spec().description
        described = {one.name: one for one in description.functions}.get(function, description)
        self.inputs = {feature.name: feature.type.WhichOneof("Type") for feature in described.input}
        self._outputs = [feature.name for feature in described.output]

    def run(self, inputs: dict[str, Array]) -> tuple[Array, ...]:
        """Outputs in the function's order."""
        given = {name: _image(array) if self.inputs[name] == "imageType" else array for name, array in inputs.items()}
        found = self._model.predict(given)
        return tuple(np.asarray(found[name]) for name in self._outputs)


def _image(array: Array) -> Any:
    """uint8 [1, 3, H, W] as Core ML's Python binding takes an image."""
    from PIL import Image

    return Image.fromarray(np.ascontiguousarray(array[0].transpose(1, 2, 0).astype(np.uint8)))
