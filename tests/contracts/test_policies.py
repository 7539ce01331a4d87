"""Every exit policy is computed inside the exported graph as eager PyTorch does: by XNNPACK, LiteRT and Core ML."""

from pathlib import Path

import pytest
import torch
from tiny_network import SIZE, Samples, Stage, images, inputs_of, make_stages
from torch import Tensor, nn

from device_profiler.targets import Precision
from mobile_export.export_worker import export_in_worker
from mobile_export.parity import check_parity
from mobile_export.program import Program, TensorSpec
from pipeline.policy import Confidence

SHARE = 0.9
POLICIES = {
    "mean": "mean",
    "share": f"share:{SHARE}",
    "median": "median",
    "quantile": "quantile:0.1",
    "patch": "patch:0.05",
    "margin": "margin",
    "entropy": "entropy",
    "mean_edges": "mean+edges",
    "quantile_edges": "quantile:0.1+edges",
}
HARDEST = ("quantile_edges",)
EVERY = tuple(POLICIES)
FORMS = (
    pytest.param("executorch", "fp32", ".pte", HARDEST, id="executorch-fp32-hardest"),
    pytest.param("litert", "int8", ".tflite", HARDEST, id="litert-int8-hardest"),
    *(
        pytest.param(runtime, precision, suffix, EVERY, id=f"{runtime}-{precision}", marks=pytest.mark.slow)
        for runtime, precision, suffix in (
            ("executorch", "fp32", ".pte"),
            ("executorch", "int8", ".pte"),
            ("litert", "fp32", ".tflite"),
            ("litert", "int8", ".tflite"),
            ("coreml", "fp32", ".mlpackage"),
            ("coreml", "fp16", ".mlpackage"),
        )
    ),
)


class Judged(nn.Module):
    """Image to the confidence that a policy gives a stage's logits."""

    def __init__(self, stage: Stage, policy: str) -> None:
        super().__init__()
        self.stage, self.confidence = stage, Confidence(policy)

    def forward(self, image: Tensor) -> tuple[Tensor]:
        return (self.confidence(self.stage(image)[1]),)


@torch.no_grad()
def samples_of(programs: tuple[Program, ...], stage: Stage, seed: int) -> Samples:
    """Real inputs and eager confidences by entry; for `share` without images of which one pixel decides by rounding."""
    batch = [torch.from_numpy(image[None]) for image in images(24, seed)]
    clear = [image for image in batch if (torch.softmax(stage(image)[1], 1).amax(1) - SHARE).abs().min() > 1e-5]
    assert len(clear) >= 8
    return {
        program.name: [((image.numpy(),), (program.module(image)[0].numpy(),)) for image in clear]
        for program in programs
    }


@pytest.mark.parametrize(("runtime", "precision", "suffix", "names"), FORMS)
def test_every_policy_is_computed_in_the_graph(
    runtime: str, precision: Precision, suffix: str, names: tuple[str, ...], tmp_path: Path
) -> None:
    image, confidence = TensorSpec("image", (1, 3, SIZE, SIZE)), TensorSpec("confidence", (1,))
    stage = make_stages()[0]
    programs = tuple(
        Program(name, Judged(stage, POLICIES[name]).eval(), (image,), (confidence,)) for name in names
    )
    calibration = inputs_of(samples_of(programs, stage, seed=100))
    artifact = export_in_worker(
        runtime, programs, tmp_path / f"judged{suffix}", precision=precision, calibration=calibration
    )
    report = check_parity(artifact, samples_of(programs, stage, seed=7))
    assert report.passed and {parity.entry for parity in report.outputs} == set(names)
