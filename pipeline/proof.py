"""The last check before a bundle: the shipped file itself, run on the whole test split, against what was searched."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from device_profiler.errors import VerificationError
from mobile_export.session import CascadeResult, HostSession
from pipeline.data.source import Split
from pipeline.evaluation import label_map, overlap
from pipeline.progress import Progress
from pipeline.search.evaluate import images_near_threshold, routed_overlap, routes
from pipeline.shipping import Shipment, stored_image
from pipeline.statistics import ExitStatistics, mean_iou

WORKERS = 2
MIOU_TOLERANCE = {"fp32": 0.002, "int8": 0.01}
"""How far the shipped file's mIoU on the test split may lie from what its statistics say, by precision."""
CONFIDENCE_TOLERANCE = {"fp32": 1e-3, "int8": 0.02}
"""How far a confidence of the shipped file may lie from the statistics', by precision."""


@dataclass(frozen=True, eq=False)
class Proof:
    """The shipped file on every test image.

    `exits`: position among the selected exits where each image left. `near_threshold`: images whose confidence lies
    within `parity_error` of their threshold; only these may leave elsewhere than the statistics say (`flipped`).
    """

    miou: float
    exits: NDArray[np.int64]
    intersection: NDArray[np.int64]
    union: NDArray[np.int64]
    near_threshold: int
    flipped: int
    parity_error: float


def prove(shipment: Shipment, split: Split, ignore: int, statistics: ExitStatistics, progress: Progress) -> Proof:
    """Run the shipped file on every image of the test split and hold it against the statistics it was chosen by.

    Raises:
        VerificationError: an image left at another exit without being near its threshold, or the mIoU is off.
    """
    results = run_all(shipment, split, progress)
    rows = [
        overlap(label_map(result.labels, split[i].mask), split[i].mask, len(statistics.classes), ignore)
        for i, result in enumerate(results)
    ]
    intersection, union = (np.stack(part) for part in zip(*rows, strict=True))
    exits = np.array([result.exit for result in results])
    error = parity_error(shipment, statistics, results)
    flipped = int((exits != routes(statistics, shipment.configuration)).sum())
    near = images_near_threshold(statistics, shipment.configuration, error)
    miou = mean_iou(intersection.sum(axis=0), union.sum(axis=0))
    expected = mean_iou(*(part.sum(axis=0) for part in routed_overlap(statistics, shipment.configuration)))
    precision = shipment.artifact.precision
    allowed = MIOU_TOLERANCE[precision]
    if error > CONFIDENCE_TOLERANCE[precision]:
        raise VerificationError(
            f"a confidence of the exported file is {error:.3g} off its statistics; at most "
            f"{CONFIDENCE_TOLERANCE[precision]} is allowed for {precision}"
        )
    if flipped > near:
        raise VerificationError(
            f"{flipped} of {len(split)} test images leave at another exit than the statistics say, but only {near} lie "
            f"within {error:.3g} of a threshold: the exported cascade does not compute what was searched"
        )
    if abs(miou - expected) > allowed:
        raise VerificationError(
            f"the exported file reaches mIoU {miou:.4f} on the test split, its statistics say {expected:.4f}; at most "
            f"{allowed} apart is allowed for {precision}"
        )
    return Proof(miou, exits, intersection, union, near, flipped, error)


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


def parity_error(shipment: Shipment, statistics: ExitStatistics, results: Sequence[CascadeResult]) -> float:
    """Largest difference between a confidence of the shipped file and the statistics' on the same image and exit."""
    configuration = shipment.configuration
    largest = 0.0
    for index, result in enumerate(results):
        for n, confidence in enumerate(result.confidences):
            e = configuration.exits[n]
            h = statistics.head_index(e, configuration.heads[n])
            largest = max(largest, abs(confidence - float(statistics.confidence[e, h, index])))
    return largest
