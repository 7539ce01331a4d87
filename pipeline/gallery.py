"""Example images of a deployment: easy ones that left early and hard ones that went on, with every mask on the way."""

import numpy as np
from numpy.typing import NDArray

from mobile_export.session import HostSession, real_confidence
from pipeline.data.source import Sample
from pipeline.deployment import Deployment
from pipeline.evaluation import label_map
from pipeline.report import Example, ExampleStep, encode_labels, encode_photo
from pipeline.shipping import Shipment, stored_image

PER_EXIT = 3


def examples(deployment: Deployment) -> tuple[Example, ...]:
    """A few test images for every selected exit: the one it does best on, one in the middle, and its worst."""
    shipment, split = deployment.winner.shipment, deployment.network.source.test
    classes = deployment.network.source.classes
    chosen = [i for n in range(len(shipment.plan.stages)) for i in _picked(deployment, n)]
    with HostSession(shipment.file, shipment.artifact.runtime) as session:
        return tuple(_example(deployment, shipment, session, index, split[index], classes.ignore) for index in chosen)


def _picked(deployment: Deployment, position: int) -> list[int]:
    answers = deployment.proof.answers
    here = np.flatnonzero(answers.exits == position)
    if not len(here):
        return []
    quality = answers.intersection[here].sum(axis=1) / answers.union[here].sum(axis=1)
    ordered = here[np.argsort(-quality, kind="stable")]
    places = np.linspace(0, len(ordered) - 1, min(PER_EXIT, len(ordered))).astype(int)
    return [int(ordered[place]) for place in places]


def _example(
    deployment: Deployment, shipment: Shipment, session: HostSession, index: int, sample: Sample, ignore: int
) -> Example:
    left = int(deployment.proof.answers.exits[index])
    value = stored_image(shipment.artifact, shipment.plan, deployment.network.source.test, index)
    steps = []
    for n in range(left + 1):
        outputs = session.run(shipment.plan.stages[n], (value,))
        last = n == len(shipment.plan.stages) - 1
        confidence = None
        if not last:
            value, logits = outputs[0], outputs[1]
            port = shipment.artifact.entry(shipment.plan.stages[n]).outputs[2]
            confidence = real_confidence(outputs[2], port.quantization)
        else:
            logits = outputs[0]
        labels = session.run(shipment.plan.finish[n], (logits,))[0] if shipment.plan.finish else logits
        steps.append(_step(shipment, n, label_map(labels, sample.mask), sample, ignore, confidence, last))
    return Example(
        name=sample.id,
        photo=encode_photo(sample.image),
        truth=encode_labels(_truth(sample, ignore)),
        steps=tuple(steps),
    )


def _step(
    shipment: Shipment,
    n: int,
    labels: NDArray[np.int64],
    sample: Sample,
    ignore: int,
    confidence: float | None,
    last: bool,
) -> ExampleStep:
    counted = sample.mask != ignore
    agreement = float((labels == sample.mask)[counted].mean()) if counted.any() else 1.0
    return ExampleStep(
        exit=shipment.configuration.exits[n],
        confidence=confidence,
        threshold=None if last else shipment.plan.thresholds[n],
        mask=encode_labels(labels),
        agreement=agreement,
    )


def _truth(sample: Sample, ignore: int) -> NDArray[np.int64]:
    return np.where(sample.mask == ignore, 255, sample.mask.astype(np.int64))
