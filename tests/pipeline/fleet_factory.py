"""Bundles of a fleet that never was: made-up manifests in folders that look like bundles."""

from pathlib import Path

from device_profiler.files import sha256_bytes
from device_profiler.measurement import Provenance
from device_profiler.targets import Target, find_target
from mobile_export.artifact import Artifact
from mobile_export.manifest import (
    Accuracy,
    ImageInput,
    Latency,
    LatencyFigure,
    Manifest,
    SegmentationClass,
    Stage,
    encode_manifest,
)
from pipeline.fleet.index import BundleIndex, Finished, make_index

WEIGHTS = sha256_bytes(b"weights")
PROVENANCE: dict[str, Provenance] = {"cpu": "emulated", "npu": "predicted"}


def manifest(target: Target, content: bytes) -> Manifest:
    """Of a bundle whose model file holds `content`."""
    figure = LatencyFigure(3e6, 2.9e6, 3.1e6, PROVENANCE[target.unit], note="as made up")
    worst = LatencyFigure(4e6, 3.9e6, 4.1e6, PROVENANCE[target.unit])
    return Manifest(
        created="2025-01-01T00:00:00Z", target=target, setting="adaptive", policy="mean",
        classes=(SegmentationClass("ground", (0, 0, 0)),), input=ImageInput((64, 64), "NCHW", "float32"),
        stages=(Stage("segment", "exit1", "fcn-r4", None, None, 1.0),), latency=Latency(figure, worst, (figure,)),
        accuracy=(
            Accuracy("deployment", "search", 0.7, 8, target.precision),
            Accuracy("deployment", "test", 0.6, 8, target.precision),
            Accuracy("shipped file, run on every image", "test", 0.5, 8, target.precision),
        ),
        artifact=Artifact(
            f"model{target.suffix}", sha256_bytes(content), len(content), target.runtime, target.precision, (), {}
        ),
        versions={}, licences=(), warnings=("made up",),
    )  # fmt: skip


def finished(run: Path, name: str) -> Finished:
    """A bundle in RUN/NAME/deployment."""
    target, content = find_target(name), f"the model for {name}".encode()
    folder = run / name / "deployment"
    folder.mkdir(parents=True)
    own = manifest(target, content)
    (folder / own.artifact.path).write_bytes(content)
    (folder / "manifest.json").write_bytes(encode_manifest(own))
    return Finished(target, folder.relative_to(run), own, WEIGHTS)


def fleet_index(run: Path, *names: str) -> BundleIndex:
    """The index of bundles for these targets, in folders below `run`."""
    return make_index([finished(run, name) for name in names], WEIGHTS)
