"""The last check before a bundle: the shipped file itself, run on the whole test split, against what was searched."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from device_profiler.errors import VerificationError
from device_profiler.files import atomic_path
from mobile_export.self_check import leaving_at
from mobile_export.session import CascadeResult, HostSession
from pipeline.data.source import DataSource, Split
from pipeline.evaluation import label_map, overlap
from pipeline.exact_search.configuration import Configuration
from pipeline.exact_search.evaluate import head_indices, images_near_threshold, routed_overlap, routes
from pipeline.exit_statistics import ExitStatistics, mean_iou
from pipeline.policy_name import parse_policy
from pipeline.progress import Progress
from pipeline.shipping import Shipment, image_code, plan_key, stored_image
from pipeline.workspace import Workspace, content_key

WORKERS = 2
MIOU_TOLERANCE = {"fp32": 0.002, "fp16": 0.003, "w8": 0.005, "int8": 0.01}
"""How far the shipped file's mIoU on the test split may lie from what its statistics say, by precision."""
CONFIDENCE_TOLERANCE = {"fp32": 1e-3, "fp16": 2e-3, "w8": 5e-3, "int8": 0.02}
"""How far a confidence of the shipped file may lie from the statistics', by precision."""


@dataclass(frozen=True, eq=False)
class Answers:
    """The shipped file's answers for every test image, run on this machine.

    `exits` [I]: position among the selected exits where each image left; `confidences` [I, N-1], NaN where an exit was
    not reached; `intersection`, `union` [I, C] pixels; `sample_labels` [H, W] of the first image.
    """

    exits: NDArray[np.int64]
    confidences: NDArray[np.float64]
    intersection: NDArray[np.int64]
    union: NDArray[np.int64]
    sample_labels: NDArray[np.int64]

    @property
    def miou(self) -> float:
        """Over all images."""
        return mean_iou(self.intersection.sum(axis=0), self.union.sum(axis=0))

    def save(self, path: Path) -> None:
        """Write an .npz, whole or not at all."""
        with atomic_path(path) as temporary, temporary.open("wb") as stream:
            np.savez_compressed(stream, **{field.name: getattr(self, field.name) for field in fields(self)})

    @classmethod
    def load(cls, path: Path) -> "Answers":
        """Read what `save` wrote."""
        with np.load(path, allow_pickle=False) as archive:
            return cls(**{field.name: archive[field.name] for field in fields(cls)})


@dataclass(frozen=True, eq=False)
class Proof:
    """The shipped file held against its statistics.

    `near_threshold`: images whose confidence lies within `parity_error` of their threshold; only these may leave
    elsewhere than the statistics say (`flipped`). `exits_miou`: mIoU of every image leaving at each exit in turn, where
    any of them may be what is read (anytime); else empty.
    """

    answers: Answers
    miou: float
    near_threshold: int
    flipped: int
    parity_error: float
    exits_miou: tuple[float, ...] = ()


def prove(shipment: Shipment, source: DataSource, statistics: ExitStatistics, workspace: Workspace) -> Proof:
    """Run the shipped file on every image of the test split and hold it against the statistics it was chosen by.

    Raises:
        VerificationError: an image left at another exit without being near its threshold, a confidence or the mIoU is
            off.
    """
    answers = _answers(shipment, source, workspace)
    configuration, precision = shipment.configuration, shipment.artifact.precision
    error = parity_error(answers, statistics, configuration)
    flipped = int((answers.exits != routes(statistics, configuration)).sum())
    near = images_near_threshold(statistics, configuration, error)
    miou = answers.miou
    expected = mean_iou(*(part.sum(axis=0) for part in routed_overlap(statistics, configuration)))
    allowed = CONFIDENCE_TOLERANCE[precision] + shipment.artifact.flips_cost(parse_policy(statistics.policy).flips)
    if error > allowed:
        raise VerificationError(
            f"a confidence of the exported file is {error:.3g} off its statistics; at most {allowed:.3g} is allowed "
            f"for {precision}"
        )
    if flipped > near:
        raise VerificationError(
            f"{flipped} of {len(answers.exits)} test images leave at another exit than the statistics say, but only "
            f"{near} lie within {error:.3g} of a threshold: the exported cascade does not compute what was searched"
        )
    _check_miou(miou, expected, precision)
    earlier = _earlier_exits(shipment, source, statistics, workspace) if configuration.setting == "anytime" else None
    return Proof(answers, miou, near, flipped, error, () if earlier is None else (*earlier, miou))


def _check_miou(found: float, expected: float, precision: str) -> None:
    if abs(found - expected) > MIOU_TOLERANCE[precision]:
        raise VerificationError(
            f"the exported file reaches mIoU {found:.4f} on the test split, its statistics say {expected:.4f}; at most "
            f"{MIOU_TOLERANCE[precision]} apart is allowed for {precision}"
        )


def _earlier_exits(
    shipment: Shipment, source: DataSource, statistics: ExitStatistics, workspace: Workspace
) -> tuple[float, ...]:
    """mIoU of the shipped file with every image leaving at each exit before the last, held against the statistics."""
    configuration, found = shipment.configuration, []
    heads = head_indices(statistics, configuration)
    for n in range(len(configuration.exits) - 1):
        stopped = replace(shipment, plan=leaving_at(shipment.plan, n))
        found.append(_answers(stopped, source, workspace).miou)
        _check_miou(found[-1], statistics.miou(configuration.exits[n], heads[n]), shipment.artifact.precision)
    return tuple(found)


def parity_error(answers: Answers, statistics: ExitStatistics, configuration: Configuration) -> float:
    """Largest difference between a confidence of the shipped file and the statistics' on the same image and exit."""
    largest = 0.0
    for n in range(len(configuration.exits) - 1):
        e = configuration.exits[n]
        ours = answers.confidences[:, n]
        theirs = statistics.confidence[e, statistics.head_index(e, configuration.heads[n])]
        reached = ~np.isnan(ours)
        largest = max(largest, float(np.abs(ours - theirs)[reached].max(initial=0.0)))
    return largest


def _answers(shipment: Shipment, source: DataSource, workspace: Workspace) -> Answers:
    made_by = image_code(shipment, source.test)
    key = content_key("answers", shipment.artifact.sha256, *plan_key(shipment.plan), source.fingerprint, *made_by)
    path = workspace.kept("answers", key) / "answers.npz"
    if path.exists():
        workspace.note_reuse("proof", "the shipped file's answers on the test split")
        return Answers.load(path)
    with workspace.timed("proof on the test split"):
        answers = _collect(run_all(shipment, source.test, workspace.progress), shipment, source)
    answers.save(path)
    return answers


def run_all(shipment: Shipment, split: Split, progress: Progress) -> list[CascadeResult]:
    """The shipped file's answer for every image of a split, in order, on this machine."""
    results: dict[int, CascadeResult] = {}
    with progress.task("running the deployment on every test image", len(split)) as advance:

        def work(worker: int) -> None:
            with HostSession(shipment.file, shipment.artifact.runtime) as session:
                for index in range(worker, len(split), WORKERS):
                    image = stored_image(shipment.artifact, shipment.plan, split, index)
                    results[index] = session.run_cascade(shipment.plan, image)
                    advance(1, "")

        with ThreadPoolExecutor(WORKERS) as pool:
            for done in [pool.submit(work, worker) for worker in range(WORKERS)]:
                done.result()
    return [results[index] for index in range(len(split))]


def _collect(results: list[CascadeResult], shipment: Shipment, source: DataSource) -> Answers:
    split, classes = source.test, source.classes
    rows = [
        overlap(label_map(result.labels, split[i].image), split[i].mask, len(classes.names), classes.ignore)
        for i, result in enumerate(results)
    ]
    intersection, union = (np.stack(part) for part in zip(*rows, strict=True))
    confidences = np.full((len(results), len(shipment.plan.thresholds)), np.nan)
    for i, result in enumerate(results):
        confidences[i, : len(result.confidences)] = result.confidences
    return Answers(
        exits=np.array([result.exit for result in results]),
        confidences=confidences,
        intersection=intersection,
        union=union,
        sample_labels=label_map(results[0].labels, split[0].image),
    )
