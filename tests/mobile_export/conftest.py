"""What the tests of this package share: the tiny cascade converted once, exported once, bundled."""

from pathlib import Path

import msgspec
import numpy as np
import pytest
from tiny_conversion import Converted, convert
from tiny_network import images

from device_profiler.targets import find_target
from mobile_export import executorch_xnnpack
from mobile_export.artifact import Artifact
from mobile_export.boundary import to_stored
from mobile_export.bundle import Bundle, write_bundle
from mobile_export.camera_input import takes_bytes
from mobile_export.frame_images import frame_of
from mobile_export.frame_input import takes_frames
from mobile_export.manifest import (
    Accuracy,
    ImageInput,
    Latency,
    LatencyFigure,
    Licence,
    Manifest,
    SegmentationClass,
    Stage,
)
from mobile_export.self_check import Sample, confidence_tolerance, make_sample

FRAME = (128, 192)
"""Height and width of the camera's frames that `frame_bundle` takes: twice and three times the network's."""
COLOURS = ((0, 0, 0), (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0))


@pytest.fixture(scope="session")
def converted() -> Converted:
    return convert()


@pytest.fixture(scope="session")
def artifact(converted: Converted, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    with pytest.MonkeyPatch.context() as patch:
        return converted.export(patch, tmp_path_factory.mktemp("artifact") / "cascade.tflite")


@pytest.fixture(scope="session")
def manifest(artifact: Artifact) -> Manifest:
    figure = LatencyFigure(value_ns=1.5e6, low_ns=1.4e6, high_ns=1.6e6, provenance="predicted", note="assumed clock")
    return Manifest(
        created="2025-01-01T00:00:00Z",
        target=find_target("pixel7-npu"),
        setting="adaptive",
        policy="mean",
        classes=tuple(SegmentationClass(f"class {n}", colour) for n, colour in enumerate(COLOURS)),
        input=ImageInput((64, 64), "NHWC", "int8", quantization=artifact.entry("stage_0").inputs[0].quantization),
        stages=(
            Stage("stage_0", "exit1", "fcn-r1", 0.1, "finish_0", 0.75),
            Stage("stage_1", "exit3", "fcn-r1", None, None, 0.25),
        ),
        latency=Latency(figure, figure, (figure, figure)),
        accuracy=(Accuracy("deployment", "test", 0.5, 6, "int8", (0.5, None, 0.4, 0.6, 0.5)),),
        artifact=artifact,
        versions=artifact.toolchain,
        licences=(Licence("weights", "Apache-2.0"),),
    )


@pytest.fixture(scope="session")
def sample(manifest: Manifest, artifact: Artifact) -> Sample:
    image = images(1, seed=7)
    stored = to_stored(artifact.entry("stage_0").inputs[0], image)
    pixels = image[0].transpose(1, 2, 0).astype(np.uint8)
    return make_sample(Path(artifact.path), "litert", manifest.plan, pixels, stored, confidence_tolerance(artifact))


@pytest.fixture
def bundle(manifest: Manifest, artifact: Artifact, sample: Sample, tmp_path: Path) -> Bundle:
    return write_bundle(tmp_path / "deployment", manifest, Path(artifact.path), sample)


@pytest.fixture(scope="session")
def pte_artifact(converted: Converted, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return executorch_xnnpack.export(converted.programs, tmp_path_factory.mktemp("artifact") / "cascade.pte")


@pytest.fixture(scope="session")
def pte_int8_artifact(converted: Converted, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    file = tmp_path_factory.mktemp("artifact") / "cascade.pte"
    return executorch_xnnpack.export(
        converted.programs, file, precision="int8", calibration=converted.calibration
    )


@pytest.fixture
def pte_bundle(manifest: Manifest, pte_artifact: Artifact, tmp_path: Path) -> Bundle:
    """The same cascade for ExecuTorch."""
    return executorch_bundle(manifest, pte_artifact, "pixel7-cpu", tmp_path / "pte" / "deployment")


@pytest.fixture(scope="session")
def frame_artifact(converted: Converted, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """The same cascade, the first stage of which takes a camera's frame."""
    first, *others = converted.programs
    file = tmp_path_factory.mktemp("artifact") / "cascade.pte"
    return executorch_xnnpack.export([takes_bytes(takes_frames(first, FRAME)), *others], file)


@pytest.fixture
def frame_bundle(manifest: Manifest, frame_artifact: Artifact, tmp_path: Path) -> Bundle:
    """The cascade that takes frames: labels are smaller than the image."""
    own = msgspec.structs.replace(
        manifest, artifact=frame_artifact, target=find_target("pixel7-cpu"),
        input=ImageInput(FRAME, "NHWC", "uint8", labels_size=(64, 64)),
    )
    pixels = frame_of(images(1, seed=7)[0].transpose(1, 2, 0).astype(np.uint8), FRAME)
    tolerance = confidence_tolerance(frame_artifact)
    made = make_sample(Path(frame_artifact.path), "executorch", own.plan, pixels, pixels[None], tolerance)
    return write_bundle(tmp_path / "frames" / "deployment", own, Path(frame_artifact.path), made)


@pytest.fixture
def pte_int8_bundle(manifest: Manifest, pte_int8_artifact: Artifact, tmp_path: Path) -> Bundle:
    """The same cascade for ExecuTorch in int8."""
    return executorch_bundle(manifest, pte_int8_artifact, "pixel7-cpu-int8", tmp_path / "pte" / "deployment")


def executorch_bundle(manifest: Manifest, artifact: Artifact, target: str, folder: Path) -> Bundle:
    file, port = Path(artifact.path), artifact.entry("stage_0").inputs[0]
    own = msgspec.structs.replace(
        manifest, artifact=artifact, input=ImageInput((64, 64), "NCHW", "float32"), target=find_target(target)
    )
    image = images(1, seed=7)
    pixels = image[0].transpose(1, 2, 0).astype(np.uint8)
    stored = to_stored(port, image)
    made = make_sample(file, "executorch", own.plan, pixels, stored, confidence_tolerance(artifact))
    return write_bundle(folder, own, file, made)
