"""The MIL evaluator against torch, operation by operation, and against what Core ML packages may hold that it lacks."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from device_profiler.errors import InputError, VerificationError
from device_profiler.targets import Precision
from mobile_export import mil_evaluator
from mobile_export.coreml import export
from mobile_export.mil_evaluator import MilFunction
from mobile_export.mil_program import functions_of
from mobile_export.program import Program, TensorSpec
from mobile_export.runtimes import load


class Every(nn.Module):
    """The operations that segmentation networks are made of, each with settings that are not the default."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 8, 3, stride=2, padding=(1, 2), bias=False)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=2, dilation=2, groups=8)
        self.gate = nn.Conv2d(8, 8, 1)
        self.last = nn.Conv2d(16, 5, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = functional.hardswish(self.conv(functional.pad(x, (0, 1, 2, 0))))
        y = functional.relu6(self.depthwise(x)) * torch.sigmoid(self.gate(functional.adaptive_avg_pool2d(x, 1)))
        pooled = functional.avg_pool2d(functional.max_pool2d(y, 3, stride=1, padding=1), 2)
        back = functional.interpolate(pooled, size=tuple(y.shape[2:]), mode="bilinear", align_corners=False)
        logits = self.last(torch.cat([functional.silu(y), back - functional.gelu(x)], 1))
        share = (torch.softmax(logits, 1).amax(1) >= 0.3).to(torch.float32).mean((1, 2))
        enlarged = functional.interpolate(logits, scale_factor=3.0, mode="bilinear", align_corners=False)
        return logits, share, enlarged.argmax(1).to(torch.int32)


INPUT = (TensorSpec("x", (1, 3, 14, 12)),)
VALUES = torch.randn(INPUT[0].shape, generator=torch.Generator().manual_seed(1))


def program() -> Program:
    module = Every().eval()
    outputs = module(VALUES)
    names = ("logits", "confidence", "labels")
    specs = tuple(
        TensorSpec(name, tuple(value.shape), str(value.dtype).removeprefix("torch."))
        for name, value in zip(names, outputs, strict=True)
    )
    return Program("every", module, INPUT, specs)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Precision], Path]:
    folder = tmp_path_factory.mktemp("packages")

    def exported(precision: Precision) -> Path:
        path = folder / f"{precision}.mlpackage"
        if not path.exists():
            export((program(),), path, precision=precision)
        return path

    return exported


@pytest.mark.parametrize(("precision", "error"), [("fp32", 1e-5), ("fp16", 5e-3)])
def test_it_computes_what_torch_computes(
    precision: Precision, error: float, package: Callable[[Precision], Path]
) -> None:
    expected = [output.detach().numpy() for output in Every().eval()(VALUES)]
    stored = VALUES.numpy().astype({"fp32": np.float32, "fp16": np.float32}[precision])

    logits, share, labels = load(package(precision), "coreml", 1).run("every", (stored,))

    assert logits.dtype == {"fp32": np.float32, "fp16": np.float16}[precision]
    assert np.abs(logits.astype(np.float64) - expected[0]).max() < error * np.abs(expected[0]).max()
    assert np.abs(share - expected[1]).max() < (1e-6 if precision == "fp32" else 0.1)
    assert (labels == expected[2]).mean() > (0.999 if precision == "fp32" else 0.98)


def test_fp16_is_rounded_after_every_operation(package: Callable[[Precision], Path]) -> None:
    exact = load(package("fp32"), "coreml", 1).run("every", (VALUES.numpy(),))[0]
    halves = load(package("fp16"), "coreml", 1).run("every", (VALUES.numpy(),))[0]

    last_rounding_alone = exact.astype(np.float16)
    assert (halves != last_rounding_alone).mean() > 0.2


def test_an_operation_without_a_kernel_is_named(
    package: Callable[[Precision], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    left = {name: kernel for name, kernel in mil_evaluator.KERNELS.items() if name != "softmax"}
    monkeypatch.setattr(mil_evaluator, "KERNELS", left)
    with pytest.raises(VerificationError, match=r"no kernel for operation 'softmax'.* on macOS"):
        MilFunction(*functions_of(package("fp32"))["every"])


def test_another_number_of_inputs_is_refused(package: Callable[[Precision], Path]) -> None:
    with pytest.raises(ValueError, match="takes 1 inputs, but 2"):
        load(package("fp32"), "coreml", 1).run("every", (VALUES.numpy(), VALUES.numpy()))


@pytest.mark.parametrize("name", ["x.pte", "x.mlpackage", "x.mlpackages"])
def test_what_is_no_package_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    with pytest.raises(InputError, match="no Core ML artifact"):
        functions_of(tmp_path / name)
