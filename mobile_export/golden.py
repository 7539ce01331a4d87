"""Makes the golden models that ship with device_profiler: `python -m mobile_export.golden`.

One small network, whose time tells whether a phone drifted: two 3x3 convolutions, 1.3 million multiply-adds. Made again
only for a runtime that no longer reads the files: their bytes decide whether golden times compare.
"""

import torch
from torch import nn

from device_profiler.golden import GOLDEN_ENTRY, golden_file
from device_profiler.targets import Runtime
from mobile_export.exporters import exporter
from mobile_export.program import Program, TensorSpec

_SHAPE = (1, 8, 24, 24)
_RUNTIMES: tuple[Runtime, ...] = ("executorch", "litert")


class _Golden(nn.Module):
    """float32 [1, 8, 24, 24] -> the same shape."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 8, 3, padding=1))

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor]:
        return (self.body(features),)


def main() -> None:
    """Write one file for each runtime."""
    torch.manual_seed(0)
    spec = TensorSpec("features", _SHAPE), TensorSpec("result", _SHAPE)
    program = Program(GOLDEN_ENTRY, _Golden().eval(), (spec[0],), (spec[1],))
    for runtime in _RUNTIMES:
        exporter(runtime)([program], golden_file(runtime), precision="fp32")


if __name__ == "__main__":
    main()
