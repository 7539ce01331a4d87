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
from pipeline.policy import Confidence, enlarge
from pipeline.policy_name import AGREEMENT

SHARE = 0.9
POLICIES = {
    "mean": "mean",
    "share": f"share:{SHARE}",
    "median": "median",
    "quantile": "quantile:0.1",
    "patch": "patch:0.05",
    "margin": "margin",
    "entropy": "entropy",
    "margin_quantile": "margin-quantile:0.1",
    "entropy_median": "entropy-median",
    "agreement": AGREEMENT,
    "nothing_agrees": AGREEMENT,
    "mean_edges": "mean+edges",
    "quantile_edges": "quantile:0.1+edges",
}
HARDEST = ("quantile_edges", "agreement", "nothing_agrees")
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


class Witnessed(nn.Module):
    """Image to the agreement of the second stage's logits with those of the first, which are finer."""

    def __init__(self, first: Stage, second: Stage) -> None:
        super().__init__()
        self.first, self.second, self.confidence = first, second, Confidence(AGREEMENT)

    def forward(self, image: Tensor) -> tuple[Tensor]:
        features, logits, _ = self.first(image)
        return (self.confidence(self.second.head(self.second.block(features)), logits),)


def program_of(name: str) -> Program:
    """Image to confidence."""
    first, second = make_stages()
    module = Witnessed(first, second) if name == "agreement" else Judged(first, POLICIES[name])
    image, confidence = TensorSpec("image", (1, 3, SIZE, SIZE)), TensorSpec("confidence", (1,))
    return Program(name, module.eval(), (image,), (confidence,))


@torch.no_grad()
def samples_of(programs: tuple[Program, ...], seed: int) -> Samples:
    """Real inputs and eager confidences by entry, without images of which rounding decides a pixel that is counted."""
    first, second = make_stages()
    batch = [torch.from_numpy(image[None]) for image in images(48, seed)]
    clear = [image for image in batch if is_clear(image, first, second)]
    assert len(clear) >= 8
    return {
        program.name: [((image.numpy(),), (program.module(image)[0].numpy(),)) for image in clear]
        for program in programs
    }


def is_clear(image: Tensor, first: Stage, second: Stage) -> bool:
    """No pixel on the line of `share`, none on a tie between two classes."""
    features, logits, _ = first(image)
    coarse = enlarge(second.head(second.block(features)), (logits.shape[2], logits.shape[3]))
    leads = [best - rival for best, rival in (maps.topk(2, dim=1).values.unbind(1) for maps in (logits, coarse))]
    sure = torch.softmax(logits, 1).amax(1)
    return bool((sure - SHARE).abs().min() > 1e-5) and all(bool(lead.min() > 1e-5) for lead in leads)


@pytest.mark.parametrize(("runtime", "precision", "suffix", "names"), FORMS)
def test_every_policy_is_computed_in_the_graph(
    runtime: str, precision: Precision, suffix: str, names: tuple[str, ...], tmp_path: Path
) -> None:
    programs = tuple(map(program_of, names))
    calibration = inputs_of(samples_of(programs, seed=100))
    artifact = export_in_worker(
        runtime, programs, tmp_path / f"judged{suffix}", precision=precision, calibration=calibration
    )
    report = check_parity(artifact, samples_of(programs, seed=7))
    assert report.passed and {parity.entry for parity in report.outputs} == set(names)
