"""The deployments of make_models.py with the answers that a runner's results are held against."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from device_profiler.targets import Runtime
from device_profiler.workload import Array, Call, CascadePlan

SOURCES = {"stage_0": "images", "stage_1": "stage_0.0", "finish_0": "stage_0.1"}
OUTPUTS = {"stage_0": 3, "stage_1": 1, "finish_0": 1}


@dataclass(frozen=True)
class Deployed:
    """One artifact. `tolerance`: largest error against eager PyTorch; int8 outputs equal the interpreter's."""

    runtime: Runtime
    file: str
    answers: str
    tolerance: float

    def path(self, folder: Path) -> Path:
        return folder / self.file

    def expected(self, folder: Path) -> dict[str, Array]:
        with np.load(folder / self.answers) as stored:
            return dict(stored)

    def calls(self, folder: Path, image: int = 0) -> list[Call]:
        answers = self.expected(folder)
        return [Call(entry, (answers[source][image],)) for entry, source in SOURCES.items()]

    def labels(self, folder: Path, exit: int) -> Array:
        """Label maps [images, 1, 32, 32] of one exit."""
        return self.expected(folder)[("finish_0.0", "stage_1.0")[exit]]

    def confidences(self, folder: Path) -> np.ndarray:
        """Confidence of each image at the first exit: float32 of scale * (stored - zero point) where it is int8."""
        answers = self.expected(folder)
        stored = answers["stage_0.2"].ravel()
        if "confidence_quantization" not in answers or stored.dtype == np.float32:
            return stored
        scale, zero_point = answers["confidence_quantization"]
        return np.float32(scale) * (stored.astype(np.int32) - int(zero_point)).astype(np.float32)


EXECUTORCH = Deployed("executorch", "cascade.pte", "eager.npz", 1e-5)
LITERT = Deployed("litert", "cascade.tflite", "eager.npz", 1e-5)
LITERT_INT8 = Deployed("litert", "cascade_int8.tflite", "int8.npz", 0.0)
ALL = [EXECUTORCH, LITERT, LITERT_INT8]
NAMES = ["executorch", "litert", "litert-int8"]


def plan(threshold: float) -> CascadePlan:
    return CascadePlan(("stage_0", "stage_1"), (threshold,), ("finish_0",))


def middle(confidences: np.ndarray) -> float:
    """A threshold between two observed confidences, so that some images leave early and some do not."""
    values = np.unique(confidences)
    low, high = values[len(values) // 2 - 1], values[len(values) // 2]
    return float(np.float32((low + high) / 2))
