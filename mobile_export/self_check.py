"""The sample that a bundle carries: one image, the exit it takes, and the deployment's own answer at every exit."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from device_profiler.errors import VerificationError
from device_profiler.workload import Array, CascadePlan
from mobile_export.artifact import Artifact
from mobile_export.session import CascadeResult, HostSession

CONFIDENCE_TOLERANCE = {"fp32": 1e-3, "fp16": 0.01, "w8": 0.01, "int8": 0.02}
"""How far a confidence of the same file may lie from the validated one on another processor, by precision."""
LABEL_AGREEMENT = 0.99
"""Least share of pixels with the same label on another processor."""


@dataclass(frozen=True, eq=False)
class Sample:
    """An image uint8 [H, W, 3] RGB of the input's size; `answers[n]`: the deployment's when it leaves at exit n.

    `tolerance`: how far a confidence may lie from these on another processor.
    """

    image: npt.NDArray[np.uint8]
    exit: int
    answers: tuple[CascadeResult, ...]
    tolerance: float

    @property
    def labels(self) -> Array:
        """The labels as deployed."""
        return self.answers[self.exit].labels


def confidence_tolerance(artifact: Artifact, flips: int = 0) -> float:
    """How far a confidence may lie from the validated one on another processor: `flips` positions more if it counts."""
    return CONFIDENCE_TOLERANCE[artifact.precision] + artifact.flips_cost(flips)


def make_sample(
    artifact_file: Path, runtime: str, plan: CascadePlan, image: npt.NDArray[np.uint8], stored: Array, tolerance: float
) -> Sample:
    """Run `image` (`stored`: as the first stage takes it) to every exit, and as deployed, on this machine.

    Raises:
        VerificationError: the runtime failed.
    """
    with HostSession(artifact_file, runtime) as session:
        answers = tuple(session.run_cascade(leaving_at(plan, n), stored) for n in range(len(plan.stages)))
        return Sample(image, session.run_cascade(plan, stored).exit, answers, tolerance)


def leaving_at(plan: CascadePlan, exit: int) -> CascadePlan:
    """The plan with thresholds that make every image leave at stage `exit`."""
    limits = [math.inf] * exit + [-math.inf] * (len(plan.stages) - 1 - exit)
    return msgspec.structs.replace(plan, thresholds=tuple(limits))


def compare_samples(expected: Sample, found: Sample) -> tuple[str, ...]:
    """Hold a device's answers to the sample against the expected ones; a line for each exit says what held.

    Raises:
        VerificationError: the image leaves elsewhere, a confidence or too many labels differ.
    """
    if found.exit != expected.exit:
        raise VerificationError(f"self-check failed: the sample leaves at exit {found.exit}, not {expected.exit}")
    pairs = zip(expected.answers, found.answers, strict=True)
    return tuple(_compare(n, theirs, ours, expected.tolerance) for n, (theirs, ours) in enumerate(pairs))


def _compare(exit: int, expected: CascadeResult, found: CascadeResult, tolerance: float) -> str:
    equal = float((expected.labels.reshape(-1) == found.labels.reshape(-1)).mean())
    error = largest_difference(expected.confidences, found.confidences)
    told = f"{equal:.4f} of the labels agree, confidences differ by {error:.2g} at most"
    if equal < LABEL_AGREEMENT or not error <= tolerance:
        raise VerificationError(
            f"self-check failed at exit {exit}: {told}; {LABEL_AGREEMENT} must agree, {tolerance:g} may differ"
        )
    return f"exit {exit}: {told}"


def largest_difference(expected: Sequence[float], found: Sequence[float]) -> float:
    """Largest difference between two paths' confidences; infinite where one met more exits than the other."""
    if len(expected) != len(found):
        return math.inf
    return max((abs(ours - theirs) for ours, theirs in zip(expected, found, strict=True)), default=0.0)

