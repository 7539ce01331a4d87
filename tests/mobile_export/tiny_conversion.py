"""The tiny cascade as a float .tflite, converted once, to be quantised in several ways."""

from dataclasses import dataclass
from pathlib import Path

import pytest
from tiny_network import Images, Samples, cascade_programs, cascade_samples, images, inputs_of

from device_profiler.workload import CascadePlan
from mobile_export import litert
from mobile_export.artifact import Artifact
from mobile_export.program import Program


@dataclass(frozen=True)
class Converted:
    """Programs, their float .tflite, real inputs to calibrate with, and samples to check with."""

    programs: tuple[Program, ...]
    plan: CascadePlan
    content: bytes
    calibration: dict[str, list[tuple[Images, ...]]]
    samples: Samples

    def export(self, monkeypatch: pytest.MonkeyPatch, path: Path) -> Artifact:
        """The int8 artifact, without converting again."""
        monkeypatch.setattr(litert, "_convert", lambda programs: self.content)
        return litert.export(self.programs, path, calibration=self.calibration)


def convert() -> Converted:
    """Convert the tiny cascade: some seconds."""
    programs, plan = cascade_programs()
    calibration = inputs_of(cascade_samples(programs, images(16, seed=100)))
    samples = cascade_samples(programs, images(6, seed=7))
    return Converted(programs, plan, litert._convert(programs), calibration, samples)
