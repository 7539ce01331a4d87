"""Several input sizes in one file: entries of their own, weights shared, and a host that takes the nearest shape."""

from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from tiny_network import CLASSES, STAGE_CHANNELS, Stage, make_stages
from torch import Tensor, nn
from torch.nn import functional

from device_profiler.targets import find_target
from mobile_export import executorch_xnnpack
from mobile_export.artifact import Artifact
from mobile_export.bundle import Bundle, write_bundle
from mobile_export.glue.python.cascade import Segmenter
from mobile_export.handover import Handover, at_size, handovers
from mobile_export.manifest import ImageInput, Manifest, Resolution
from mobile_export.manifest import Stage as Step
from mobile_export.program import Program, TensorSpec
from mobile_export.self_check import confidence_tolerance, make_sample

pytestmark = pytest.mark.slow
SQUARE, PORTRAIT = (64, 64), (96, 32)
THRESHOLD = 0.5


class Finish(nn.Module):
    """Logits to labels at a size."""

    def __init__(self, size: tuple[int, int]) -> None:
        super().__init__()
        self.size = size

    def forward(self, logits: Tensor) -> tuple[Tensor]:
        enlarged = functional.interpolate(logits, size=self.size, mode="bilinear", align_corners=False)
        return (enlarged.argmax(1).to(torch.int32),)


class Last(nn.Module):
    """Features to labels at a size."""

    def __init__(self, stage: Stage, size: tuple[int, int]) -> None:
        super().__init__()
        self.block, self.head, self.finish = stage.block, stage.head, Finish(size)

    def forward(self, features: Tensor) -> tuple[Tensor]:
        labels: tuple[Tensor] = self.finish(self.head(self.block(features)))
        return labels


def names(size: tuple[int, int]) -> tuple[str, str, str]:
    plain = ("stage_0", "stage_1", "finish_0")
    if size == SQUARE:
        return plain
    first, last, finish = (at_size(name, size) for name in plain)
    return first, last, finish


def programs(first: Stage, last: Stage, size: tuple[int, int]) -> tuple[Program, ...]:
    half = (size[0] // 2, size[1] // 2)
    image, labels = TensorSpec("image", (1, 3, *size)), TensorSpec("labels", (1, *size), "int32")
    features = TensorSpec("features", (1, STAGE_CHANNELS[0], *half))
    logits, confidence = TensorSpec("logits", (1, CLASSES, *half)), TensorSpec("confidence", (1,))
    stage_0, stage_1, finish_0 = names(size)
    return (
        Program(stage_0, first, (image,), (features, logits, confidence)),
        Program(stage_1, Last(last, size).eval(), (features,), (labels,)),
        Program(finish_0, Finish(size).eval(), (logits,), (labels,)),
    )


def steps(size: tuple[int, int]) -> tuple[Step, ...]:
    stage_0, stage_1, finish_0 = names(size)
    return Step(stage_0, "exit1", "fcn-r1", THRESHOLD, finish_0, 0.5), Step(stage_1, "exit3", "fcn-r1", None, None, 0.5)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Artifact, Artifact]:
    """The square network alone, and both sizes in one file."""
    first, last = make_stages()
    folder = tmp_path_factory.mktemp("sizes")
    alone = executorch_xnnpack.export(programs(first, last, SQUARE), folder / "alone.pte")
    shared = (*programs(first, last, SQUARE), *programs(first, last, PORTRAIT))
    return alone, executorch_xnnpack.export(shared, folder / "both.pte")


@pytest.fixture
def sized(manifest: Manifest, both: tuple[Artifact, Artifact], tmp_path: Path) -> Bundle:
    artifact = both[1]
    own = msgspec.structs.replace(
        manifest,
        target=find_target("pixel7-cpu"),
        artifact=artifact,
        input=ImageInput(SQUARE, "NCHW", "float32"),
        stages=steps(SQUARE),
        resolutions=(Resolution(ImageInput(PORTRAIT, "NCHW", "float32"), steps(PORTRAIT)),),
    )
    pixels = picture(SQUARE)
    stored = pixels.transpose(2, 0, 1)[None].astype(np.float32)
    sample = make_sample(Path(artifact.path), "executorch", own.plan, pixels, stored, confidence_tolerance(artifact))
    return write_bundle(tmp_path / "sized", own, Path(artifact.path), sample)


def picture(size: tuple[int, int]) -> np.ndarray:
    return np.random.default_rng(8).integers(0, 256, (*size, 3), dtype=np.uint8)


@torch.no_grad()
def eager(rgb: np.ndarray) -> np.ndarray:
    first, last = make_stages()
    size = (rgb.shape[0], rgb.shape[1])
    features, logits, confidence = first(torch.from_numpy(rgb.transpose(2, 0, 1)[None].astype(np.float32)))
    if float(confidence) >= THRESHOLD:
        return Finish(size)(logits)[0].numpy()
    return Last(last, size)(features)[0].numpy()


@pytest.mark.parametrize("size", [SQUARE, PORTRAIT])
def test_each_shape_runs_at_its_own_size(sized: Bundle, size: tuple[int, int]) -> None:
    rgb = picture(size)
    result = Segmenter(sized.folder).run(rgb)
    assert result.labels.shape == size
    assert np.mean(result.labels == eager(rgb)[0]) > 0.999


def test_a_second_size_shares_the_weights(both: tuple[Artifact, Artifact]) -> None:
    alone, shared = both
    weights = sum(p.numel() * 4 for stage in make_stages() for p in stage.parameters())
    grown = shared.size_bytes - alone.size_bytes
    assert grown < alone.size_bytes, "graphs are stored again, weights are not"
    assert grown < alone.size_bytes - 0.5 * weights


def test_entries_hand_over_within_their_size() -> None:
    assert handovers([*names(SQUARE), *names(PORTRAIT)]) == (
        Handover("stage_0", 0, "stage_1"),
        Handover("stage_0", 1, "finish_0"),
        Handover("stage_0_at_32x96", 0, "stage_1_at_32x96"),
        Handover("stage_0_at_32x96", 1, "finish_0_at_32x96"),
    )
