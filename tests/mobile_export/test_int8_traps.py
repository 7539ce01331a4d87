"""XNNPACK int8: each trap fails without its cure, and not with it. When one stops failing, its rewrite can go."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from device_profiler.errors import VerificationError
from mobile_export import canonical_int8, executorch_xnnpack
from mobile_export.canonical import Rewrite, canonical
from mobile_export.canonical_int8 import INT8_REWRITES
from mobile_export.executorch_xnnpack import export
from mobile_export.program import Program, TensorSpec
from mobile_export.session import HostSession

pytestmark = pytest.mark.slow
SHAPE = (1, 3, 16, 16)
SAMPLES = [(np.random.default_rng(seed).standard_normal(SHAPE).astype(np.float32),) for seed in range(4)]


class CalledTwice(nn.Module):
    """One convolution over two scales of an image, as a pyramid with a shared head has it."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.shared = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x: Tensor) -> tuple[Tensor]:
        return (self.shared(self.shared(x)),)


class EnlargedOutput(nn.Module):
    """Logits that are given back and enlarged as well."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.conv(x)
        return logits, functional.interpolate(logits, size=(32, 32), mode="bilinear", align_corners=False)


def program_for(module: nn.Module) -> Program:
    module = module.eval()
    outputs = module(torch.zeros(SHAPE))
    specs = tuple(TensorSpec(f"y{n}", tuple(output.shape)) for n, output in enumerate(outputs))
    return Program("odd", module, (TensorSpec("x", SHAPE),), specs)


def worst_share_of_scale(module: nn.Module, path: Path) -> float:
    """Largest error of any output over its own largest value."""
    export((program_for(module),), path, precision="int8", calibration={"odd": SAMPLES})
    expected: Sequence[Tensor] = module.eval()(torch.from_numpy(SAMPLES[0][0]))
    with HostSession(path, "executorch") as session:
        found = session.run("odd", SAMPLES[0])
    return max(
        float(np.abs(f - e.detach().numpy()).max() / e.abs().max()) for f, e in zip(found, expected, strict=True)
    )


@pytest.mark.parametrize(
    ("module", "cure"),
    [
        (CalledTwice, canonical_int8.separate_shared_weights),
        (EnlargedOutput, canonical_int8.separate_enlarged_outputs),
    ],
    ids=["a convolution called twice", "logits enlarged and given back"],
)
def test_the_trap_fails_without_its_cure_alone(
    module: type[nn.Module], cure: Rewrite, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert worst_share_of_scale(module(), tmp_path / "cured.pte") < 0.1

    without = tuple(rewrite for rewrite in INT8_REWRITES if rewrite is not cure)
    monkeypatch.setattr(executorch_xnnpack, "INT8_REWRITES", without)
    with pytest.raises(VerificationError, match=r"broken\.pte"):
        worst_share_of_scale(module(), tmp_path / "broken.pte")


@pytest.mark.parametrize("module", [CalledTwice, EnlargedOutput])
def test_the_cures_keep_the_function(module: type[nn.Module]) -> None:
    network, x = module().eval(), torch.from_numpy(SAMPLES[0][0])
    for found, expected in zip(canonical(program_for(network), INT8_REWRITES)(x), network(x), strict=True):
        assert torch.allclose(found, expected, atol=1e-5)


class Clipped(nn.Module):
    """One channel gives far more than the ReLU6 behind it lets through, as in trained networks; the others count."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.wide, self.clip, self.last = nn.Conv2d(3, 8, 3, padding=1), nn.ReLU6(), nn.Conv2d(8, 4, 1)
        self.wide.weight.data[0] *= 300
        self.last.weight.data[:, 0] = 0

    def forward(self, x: Tensor) -> tuple[Tensor]:
        return (self.last(self.clip(self.wide(x))),)


def test_what_a_relu6_cuts_off_costs_no_steps(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    cured = worst_share_of_scale(Clipped(), tmp_path / "cured.pte")
    monkeypatch.setattr(executorch_xnnpack, "_is_relu6", lambda node: False)
    assert worst_share_of_scale(Clipped(), tmp_path / "broken.pte") > 3 * cured
